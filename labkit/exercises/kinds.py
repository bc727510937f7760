"""What an exercise is made of, and when two results are the same.

Results are compared as *plain data*, which JSON can hold: a learner's result is first converted into that form, so that
a comparison never runs the learner's code (an `__eq__`, a `__repr__`). Nothing here runs a function; that is `engine`.
"""

from __future__ import annotations

import ast
import inspect
import math
import random
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

WIDTH = 70  # characters of a value that is shown
MAX_ITEMS, MAX_DEPTH = 1_000_000, 20  # of a result; a larger one cannot be the answer to any probe
MODULES = ("collections", "itertools", "math", "random", "re", "statistics")  # which every exercise's cell has
FLOATS = "; without `dtype=torch.int64`, `torch.zeros(…)`, `torch.ones(…)` and `torch.tensor([])` make float32"
IMPORTS = "".join(f"import {name}\n" for name in MODULES) + "\nimport labkit as lk\nimport numpy as np\n"


@dataclass(frozen=True)
class Probe:
    """One call: the arguments, and the grading group it counts in."""

    args: tuple
    group: str


@dataclass(frozen=True)
class Comparison:
    """When two results are the same.

    Lists are ordered, sets are not; a tuple is a list; numbers of all libraries are numbers; a nested list of numbers,
    a numpy array and a tensor of the same shape are equivalent. Numbers agree within max(atol, rtol·|expected|), NaN
    with NaN only. With `dtype`, a tensor of the reference must be a tensor of this type, and an array an array; where
    the reference's requires a gradient, so must this one. With `partition` the result is a list of groups, and neither
    their order nor the order within them counts.
    """

    rtol: float = 1e-6
    atol: float = 1e-9
    dtype: str | None = None
    partition: bool = False


@dataclass(frozen=True)
class Misconception:
    """A mistake that people make, as a small wrong function, and the message to the person who made it."""

    name: str
    function: Callable
    message: str


def mistake(name: str, message: str) -> Callable[[Callable], Misconception]:
    """Decorator of a wrong function: turns it into the misconception `name`, which an exercise takes.

    A message ends with a full stop, and says what the code does and what to do instead.
    """
    return lambda function: Misconception(name, function, message)


@dataclass(frozen=True)
class Exercise:
    """Something to write: the reference, the calls that try it, the known mistakes, and hints.

    `uses` are earlier exercises of the same lab. The cell may call their references, which come before it under their
    own names; if the cell defines a function of the same name, that one comes later and replaces it.
    """

    id: str  # topic.name: the lab's topic, and the name of the reference
    points: int
    minutes: int
    reference: Callable
    probes: Callable[[random.Random], Iterable[Probe]]
    misconceptions: tuple[Misconception, ...]
    hints: tuple[str, str, str]
    compare: Comparison = Comparison()
    torch: bool = False
    uses: tuple[Exercise, ...] = ()

    def __post_init__(self) -> None:
        for each in self.uses:
            if each.topic != self.topic:
                raise ValueError(f"{self.id} uses {each.id}, which is of another lab")

    @property
    def topic(self) -> str:
        return self.id.split(".")[0]

    @property
    def name(self) -> str:
        return self.id.split(".")[1]

    @property
    def lab(self) -> str:
        """The number of its lab, two digits."""
        from labkit.syllabus import LABS  # which is not in the grading sandbox

        return LABS[self.topic].number

    def draw(self, seed: int) -> list[Probe]:
        """The probes of a seed."""
        return list(self.probes(random.Random(f"{self.id} {seed}")))

    @cached_property
    def earlier(self) -> tuple[Exercise, ...]:
        """The exercises it uses, and those that they use, each after the ones it uses itself."""
        found = [earlier for each in self.uses for earlier in (*each.earlier, each)]
        return tuple({each.id: each for each in found}.values())

    def preamble(self, cell: str = "") -> str:
        """The code before this cell, at home as in grading: the imports, and the source of what the exercise uses.

        Loading torch takes a second or two, so it is there only if the exercise declares it or the cell uses the name.
        """
        torch = any(each.torch for each in (self, *self.earlier)) or _names(cell, "torch")
        sources = [inspect.getsource(each.reference) for each in self.earlier]
        return "\n\n".join([IMPORTS + "import torch\n" * torch, *sources])


def _names(source: str, name: str) -> bool:
    """Whether the code uses the name; a comment or a text that holds it does not."""
    if name not in source:
        return False
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # what the cell's own run will say
        return False
    return any(isinstance(node, ast.Name) and node.id == name for node in ast.walk(tree))


@dataclass(frozen=True)
class Outcome:
    """What a call did: it gave a value (as plain data), or raised an error of some kind."""

    value: Any = None
    error: str | None = None  # the name of the exception's class
    message: str = ""
    line: int | None = None  # in the learner's cell, from 1
    details: str = ""  # the traceback


def plain(value: Any) -> Any:
    """`value` in a form that JSON can hold: numbers, text and None as they are; everything else as a dict of one tag.

    For a type that no exercise returns, only the name is kept. Never raises for what a function may have returned.
    """
    return _plain(value, 0, [MAX_ITEMS])


def _plain(value: Any, depth: int, room: list[int]) -> Any:
    room[0] -= 1
    if depth > MAX_DEPTH or room[0] < 0:
        return {"other": "something too large"}
    kind = type(value)
    if kind is int and value.bit_length() > 10_000:
        return {"other": "an integer of thousands of digits"}
    if value is None or kind in (bool, int, str):
        return value
    if kind is float:
        return value if math.isfinite(value) else {"float": repr(value)}
    for base in (list, tuple, deque):  # a NamedTuple too; its items are taken without running code of its class
        if issubclass(kind, base):
            return {"list": [_plain(item, depth + 1, room) for item in base.__iter__(value)]}
    if kind in (set, frozenset):
        return {"set": _sorted(_plain(item, depth + 1, room) for item in value)}
    if kind in (dict, Counter, defaultdict, OrderedDict):
        pairs = ([_plain(key, depth + 1, room), _plain(item, depth + 1, room)] for key, item in value.items())
        return {"dict": _sorted(pairs)}
    if kind is bytes:
        return {"bytes": value.hex()}
    if kind.__module__ == "numpy" and kind.__name__ in ("str_", "ndarray"):
        if kind.__name__ == "str_":
            return str(value)
        if value.dtype == object and value.size <= room[0]:
            return _plain(value.tolist(), depth + 1, room)
    array = _array(value)
    if array is None:
        return {"other": _named(kind)}
    if array.size > room[0]:
        return {"other": "something too large"}
    room[0] -= array.size
    numbers = [_plain(item, depth + 1, room) for item in array.reshape(-1).tolist()]
    if array.ndim == 0:
        return numbers[0]
    of = value if kind.__module__.startswith("torch") else array  # a tensor's type is written as torch.int64
    grad = {"grad": True} if getattr(of, "requires_grad", False) else {}
    return {"array": numbers, "shape": list(array.shape), "dtype": str(of.dtype), **grad}


def _named(kind: type) -> str:
    """A type that no exercise returns, with its article: "a generator"."""
    if kind.__module__ not in ("builtins", "itertools", "collections", "types"):
        return f"a value of type {kind.__name__}"
    return f"{'an' if kind.__name__[0] in 'aeio' else 'a'} {kind.__name__}"


def literal(value: Any) -> str:
    """A probe's argument as a Python expression that recreates it, in a namespace with `np` and `torch`.

    Types, the order of a dict, NaN and infinities are kept. Raises `TypeError` for types that a probe cannot hold.
    """
    kind = type(value)
    if value is None or kind in (bool, int, str, bytes):
        return repr(value)
    if kind is float:
        return repr(value) if math.isfinite(value) else f'float("{value}")'
    if kind is list:
        return f"[{', '.join(map(literal, value))}]"
    if kind is tuple:
        return f"({', '.join(map(literal, value))}{',' * (len(value) == 1)})"
    if kind in (set, frozenset):
        items = ", ".join(sorted(map(literal, value)))
        return f"{{{items}}}" if kind is set and value else f"{kind.__name__}({f'[{items}]' if value else ''})"
    if kind is dict:
        return f"{{{', '.join(f'{literal(key)}: {literal(item)}' for key, item in value.items())}}}"
    if kind.__module__.startswith("torch") and kind.__name__ == "Generator":  # a fresh one: its seed is its state
        return f"torch.Generator().manual_seed({value.initial_seed()})"
    if (array := _array(value)) is None:
        raise TypeError(f"a probe cannot hold a value of type {kind.__name__}")
    if array is not value and not kind.__module__.startswith("torch"):
        return f"np.{kind.__name__}({literal(value.item())})"
    import numpy as np

    name, said = ("np.array", f'"{value.dtype}"') if array is value else ("torch.tensor", str(value.dtype))
    usual = "torch.float32" if name == "torch.tensor" and array.dtype.kind == "f" else np.array(array.tolist()).dtype
    typed = "" if array.size and str(value.dtype).removeprefix("torch.") == str(usual).removeprefix("torch.") else said
    numbers = array.astype(str).astype(float) if array.dtype == np.float32 else array  # 0.1, not 0.10000000149011612
    text = f"{name}({literal(numbers.tolist())}{f', dtype={typed}' if typed else ''})"
    text = text if array.size else f"{text}.reshape({literal(tuple(value.shape))})"
    return text + ".requires_grad_()" * getattr(value, "requires_grad", False)


def _array(value: Any) -> Any:
    """A numpy array for numpy's and torch's arrays and scalars of plain numbers; None for anything else."""
    import sys

    import numpy as np

    torch = sys.modules.get("torch")  # if torch was never loaded, nothing can be a tensor
    if torch is not None and type(value) in (torch.Tensor, torch.nn.Parameter):
        value = value.detach().cpu()
        value = value.to_dense() if value.layout != torch.strided else value
        value = (value.float() if value.dtype in (torch.bfloat16, torch.float16) else value).numpy()
    if type(value) is np.ndarray or isinstance(value, np.generic):
        array = np.asarray(value)
        return array if array.dtype.kind in "biuf" else None
    return None


def _sorted(items: Iterable) -> list:
    return sorted(items, key=repr)


def difference(yours: Outcome, expected: Outcome, compare: Comparison) -> str | None:
    """None if two outcomes are the same, otherwise how they differ, in words: "yours 3, expected 4"."""
    if same(yours, expected, compare):
        return None
    if yours.error or expected.error:
        if yours.error and expected.error:
            return f"it raises {yours.error}, but a {expected.error} is right"
        if expected.error and yours.value == {"other": f"a {expected.error}"}:
            return f"it returns a {expected.error}, which has to be raised: `raise {expected.error}(…)`"
        if expected.error:
            return f"yours {shown(yours.value)}, expected a {expected.error}"
        return f"it raises {yours.error}: {yours.message}".rstrip(": ")
    a, b = yours.value, expected.value
    if compare.partition:
        a, b = _groups(a), _groups(b)
    if compare.dtype and (said := _wrong_type(a, b, compare.dtype)):
        return said
    if _is_other(yours.value):
        return f"it returns {yours.value['other']}; return {_kind(expected.value)} ({shown(expected.value)})"
    shape_a, shape_b = _shape(a), _shape(b)
    if "array" in _tags(b) and shape_a is not None and shape_b is not None and shape_a != shape_b:
        return f"shape {_tuple(shape_a)}, expected {_tuple(shape_b)}"
    kind_a, kind_b = _kind(yours.value), _kind(expected.value)
    if kind_a != kind_b and {kind_a, kind_b} != {"a list", "an array"}:  # those two are equivalent
        given = "None" if yours.value is None else f"{kind_a} ({shown(yours.value)})"
        return f"yours is {given}, expected {kind_b} ({shown(expected.value)})"
    if "dict" in _tags(b):
        return _entries(a, b, compare)
    text_a, text_b = shown(yours.value), shown(expected.value)
    if max(len(text_a), len(text_b)) >= WIDTH and not compare.partition and _tags(a) == _tags(b) == {"list"}:
        return _first_place(a["list"], b["list"], compare)
    if text_a == text_b:  # they differ beyond the digits or the items that are shown
        text_a, text_b = shown(yours.value, 400, 17), shown(expected.value, 400, 17)
    return f"yours {text_a}, expected {text_b}"


def _first_place(a: list, b: list, compare: Comparison) -> str:
    """How two different long lists differ, in words: their lengths, or the first place where their items do."""
    if len(a) != len(b):
        return f"yours has {len(a)} items ({shown({'list': a})}), expected {len(b)} ({shown({'list': b})})"
    place = next(i for i, (x, y) in enumerate(zip(a, b)) if not _same(x, y, compare))
    return f"at place {place}, counted from 0: {difference(Outcome(a[place]), Outcome(b[place]), compare)}"


def _entries(a: dict, b: dict, compare: Comparison) -> str:
    """How two different dicts differ, in words, the entries that are the same left out."""
    yours, expected = ({_key(key, 17): item for key, item in each["dict"]} for each in (a, b))
    found = [
        f"under {key}: {said}"
        for key in expected
        if key in yours and (said := difference(Outcome(yours[key]), Outcome(expected[key]), compare))
    ]
    found += [f"{key} is missing" for key in expected if key not in yours]
    found += [f"{key} is one entry too many" for key in yours if key not in expected]
    return "; ".join(found[:3]) + (f"; and {len(found) - 3} more" if len(found) > 3 else "")


def same(yours: Outcome, expected: Outcome, compare: Comparison) -> bool:
    """Whether two outcomes are the same: `difference` without the words."""
    if yours.error or expected.error:
        return yours.error == expected.error
    a, b = yours.value, expected.value
    if compare.partition:
        a, b = _groups(a), _groups(b)
    return not (compare.dtype and _wrong_type(a, b, compare.dtype)) and _same(a, b, compare)


def alike(one: Outcome, other: Outcome, compare: Comparison) -> bool:
    """Whether two functions did the same, right or wrong: `same`, but a wrong type may be wrong in the same way."""
    return same(one, other, replace(compare, dtype=None)) and (
        compare.dtype is None or _types(one.value) == _types(other.value)
    )


def _types(value: Any) -> list:
    """The types of the arrays in plain data, in order, and whether each requires a gradient."""
    if "array" in _tags(value):
        return [(value["dtype"], "grad" in value)]
    parts = (value.get("list") or value.get("dict") or []) if isinstance(value, dict) else []
    return [found for part in parts for each in (part if isinstance(part, list) else [part]) for found in _types(each)]


def _same(a: Any, b: Any, compare: Comparison) -> bool:
    number_a, number_b = _number(a), _number(b)
    if number_a is not None and number_b is not None:
        return _close(number_a, number_b, compare)
    if isinstance(a, dict) and isinstance(b, dict):
        for tag in ("list", "set", "dict"):
            if tag in a and tag in b:
                if len(a[tag]) != len(b[tag]):
                    return False
                if tag == "set":
                    return _same_sets(a[tag], b[tag], compare)
                if tag == "dict":
                    return _same_dicts(a[tag], b[tag], compare)
                return all(_same(x, y, compare) for x, y in zip(a[tag], b[tag]))
        if "array" in a or "array" in b:
            if _shape(a) is None or _shape(a) != _shape(b):
                return False
            return all(_same(x, y, compare) for x, y in zip(_flat(a), _flat(b)))
    return type(a) is type(b) and a == b and not _is_other(a)


def _same_sets(a: list, b: list, compare: Comparison) -> bool:
    left = list(b)
    for item in a:
        found = next((i for i, other in enumerate(left) if _same(item, other, compare)), None)
        if found is None:
            return False
        left.pop(found)
    return True


def _same_dicts(a: list, b: list, compare: Comparison) -> bool:
    expected = {repr(key): item for key, item in b}
    return all(repr(key) in expected and _same(item, expected[repr(key)], compare) for key, item in a)


def _number(value: Any) -> float | int | None:
    if isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, dict) and "float" in value:
        return float(value["float"])
    return None


def _close(a: float, b: float, compare: Comparison) -> bool:
    if isinstance(b, int) and (isinstance(a, int) or abs(b) > 1000):
        return a == b  # integers are exact, even if they are too large for a float
    try:
        a, b = float(a), float(b)
    except OverflowError:
        return False
    if math.isnan(a) or math.isnan(b):
        return math.isnan(a) and math.isnan(b)
    if math.isinf(a) or math.isinf(b):
        return a == b
    return abs(a - b) <= max(compare.atol, compare.rtol * abs(b))


def _groups(value: Any) -> Any:
    """A list of groups in an order that does not depend on theirs."""
    items = value.get("list") if isinstance(value, dict) else None
    if items is None:
        return value
    inner = [
        {"list": _sorted(item["list"] if "list" in item else item["set"])}
        if isinstance(item, dict) and ("list" in item or "set" in item)
        else item
        for item in items
    ]
    return {"list": _sorted(inner)}


def _wrong_type(a: Any, b: Any, dtype: str) -> str | None:
    """What to say if an array of `dtype` is expected and something else was given, at any depth."""
    if isinstance(b, dict) and "array" in b:
        library, _, _ = b["dtype"].rpartition(".")
        wanted = f"{library}.{dtype}" if library else dtype
        if not isinstance(a, dict) or "array" not in a:
            return f"yours is {_kind(a)} ({shown(a)}), expected {_typed(wanted)}"
        if a["dtype"] != wanted:
            hint = FLOATS if (a["dtype"], wanted) == ("torch.float32", "torch.int64") else ""
            return f"yours is {_typed(a['dtype'])}, expected {_typed(wanted)}{hint}"
        if "grad" in b and "grad" not in a:
            return "yours does not require a gradient, as it must where an argument does: something detaches it"
    if isinstance(a, dict) and isinstance(b, dict):
        if "list" in a and "list" in b:
            pairs = list(zip(a["list"], b["list"]))
        elif "dict" in a and "dict" in b:
            others = {repr(key): item for key, item in a["dict"]}
            pairs = [(others[repr(key)], item) for key, item in b["dict"] if repr(key) in others]
        else:
            return None
        return next((said for x, y in pairs if (said := _wrong_type(x, y, dtype))), None)
    return None


def _typed(dtype: str) -> str:
    """A type of an array in words: `torch.int64` is a tensor of int64."""
    library, _, name = dtype.rpartition(".")
    return f"a tensor of {name}" if library else f"a numpy array of {name}"


def _tags(value: Any) -> set[str]:
    return set(value) if isinstance(value, dict) else set()


def _is_other(value: Any) -> bool:
    return "other" in _tags(value)


def _shape(value: Any) -> tuple[int, ...] | None:
    """The shape of an array, or of a nested list of numbers that is equivalent to one; None for anything else."""
    if isinstance(value, dict) and "array" in value:
        return tuple(value["shape"])
    if isinstance(value, dict) and "list" in value:
        if all(_number(item) is not None for item in value["list"]):
            return (len(value["list"]),)
        shapes = {_shape(item) for item in value["list"]}
        inner = shapes.pop() if len(shapes) == 1 else None
        return None if inner is None else (len(value["list"]), *inner)
    return None


def _flat(value: Any) -> list:
    if "array" in value:
        return value["array"]
    return [x for item in value["list"] for x in (_flat(item) if isinstance(item, dict) and "list" in item else [item])]


def _tuple(shape: tuple[int, ...]) -> str:
    return str(tuple(shape))


def _kind(value: Any) -> str:
    if value is None:
        return "None"
    if isinstance(value, str):
        return "text"
    if isinstance(value, bool):
        return "a truth value"
    if _number(value) is not None:
        return "a number"
    if _is_other(value):
        return value["other"]
    named = {"list": "a list", "set": "a set", "dict": "a dict", "array": "an array", "bytes": "bytes"}
    return named[next(iter(value))]


def shown(value: Any, width: int = WIDTH, digits: int = 6) -> str:
    """Plain data as Python would write it, cut to `width` characters."""
    text = _written(value, digits)
    return text if len(text) <= width else text[: width - 2] + " …"


def _written(value: Any, digits: int) -> str:
    if isinstance(value, float):
        text = f"{value:.{digits}g}"
        return text if set(text) & set(".e") else text + ".0"
    if not isinstance(value, dict):
        return repr(value)
    if "float" in value:
        return value["float"]
    if "list" in value:
        return f"[{', '.join(_written(item, digits) for item in value['list'][:200])}]"
    if "set" in value:
        return f"{{{', '.join(_key(item, digits) for item in value['set'][:200])}}}" if value["set"] else "set()"
    if "dict" in value:
        return f"{{{', '.join(f'{_key(k, digits)}: {_written(v, digits)}' for k, v in value['dict'][:200])}}}"
    if "array" in value:
        return _written(_nested(value["array"][:400], value["shape"]), digits)
    if "bytes" in value:
        return repr(bytes.fromhex(value["bytes"]))
    return value["other"]


def _key(value: Any, digits: int) -> str:
    """A key of a dict or an item of a set: a list in plain data was a tuple there."""
    if isinstance(value, dict) and "list" in value:
        items = [_key(item, digits) for item in value["list"][:200]]
        return f"({', '.join(items)}{',' * (len(items) == 1)})"
    return _written(value, digits)


def _nested(numbers: list, shape: list[int]) -> dict:
    if len(shape) <= 1:
        return {"list": numbers}
    size = math.prod(shape[1:])
    if not size:
        return {"list": []}
    return {"list": [_nested(numbers[i : i + size], shape[1:]) for i in range(0, len(numbers), size)]}
