"""Trying a learner's cell: in a namespace of the preamble and that cell alone, within limits, on the probes of a seed.

`check` takes the source of a cell, `judge` a function that is there already; both give a `Verdict` of one line. The
grader calls in the sandbox (`call`) and decides outside it (`decide`). Limits on time, output and memory are in
`limits`.
"""

from __future__ import annotations

import ast
import contextlib
import copy
import hashlib
import json
import linecache
import traceback
import types
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from itertools import count
from typing import Any, NoReturn

from labkit.exercises import limits
from labkit.exercises.kinds import (
    Exercise,
    Misconception,
    Outcome,
    Probe,
    alike,
    difference,
    literal,
    plain,
    same,
    shown,
)
from labkit.exercises.limits import CELL, SECONDS, LimitReached

BY_ITSELF = "the cell is tried by itself, without names of other cells, so copy or import what it needs into it"
NOT_OF_LK = "an exercise's cell is tried by itself and may use only `lk.exercise`"
_cells = count(1)
_trying: list[dict[str, Any]] = []  # what the cells that are being tried put under the decorator, innermost last


@dataclass(frozen=True)
class Verdict:
    """The verdict on a learner's function: its kind, and one line. `function` is there if it passed."""

    kind: str  # passed, not attempted, misconception, wrong, raised, changed, shared, remembers, slow, flood, memory …
    text: str
    misconception: str | None = None
    function: Callable | None = None
    details: str = ""  # the traceback, if there is one

    @property
    def passed(self) -> bool:
        return self.kind == "passed"


def check(exercise: Exercise, source: str, seed: int = 0, seconds: float = SECONDS) -> Verdict:
    """Run the cell `source` by itself and judge the function it defines under `@lk.exercise(exercise.id)`."""
    if is_stub(source, exercise.id):
        return Verdict("not attempted", "not attempted")
    _import(exercise.preamble(source))
    _import(source)
    if (verdict := _tried_by_a_copy(exercise, source, seed, seconds)) is not None:
        return verdict
    try:
        with limits.within(seconds):
            function = isolated(exercise, source)
    except LimitReached as error:
        return _limit_verdict(error.kind, seconds)
    except Exception as error:  # whatever the cell raises
        outcome = raised(error)
        return Verdict("raised", _in_words(outcome), details=outcome.details)
    return judge(exercise, function, seed, seconds, afresh=lambda: isolated(exercise, source))


def judge(
    exercise: Exercise,
    function: Any,
    seed: int = 0,
    seconds: float = SECONDS,
    afresh: Callable[[], Callable] | None = None,
) -> Verdict:
    """Call `function` on the probes of `seed` and judge it.

    `afresh` makes the function again; with it, a function that remembers something from call to call is detected.
    """
    if not callable(function) or isinstance(function, type):
        return no_function(exercise)
    probes, outcomes, faults = exercise.draw(seed), [], []
    try:
        with limits.within(seconds):
            for probe in probes:
                outcome, fault = call(function, probe.args)
                outcomes.append(outcome)
                faults.append(fault)
            if afresh and (verdict := _remembers(exercise, probes, outcomes, seed, afresh)):
                return verdict
    except LimitReached as error:
        return _limit_verdict(error.kind, seconds)
    return decide(exercise, outcomes, faults, seed, function)


def decide(
    exercise: Exercise, outcomes: list[Outcome], faults: list[str | None], seed: int, function: Callable | None = None
) -> Verdict:
    """The verdict on a function that did this on the probes of `seed`, here or in the grader's sandbox."""
    probes, expected = exercise.draw(seed), expected_outcomes(exercise, seed)
    if all(outcome.error == "NotImplementedError" for outcome in outcomes):
        return Verdict("not attempted", "not attempted")

    wrong = [i for i, outcome in enumerate(outcomes) if not same(outcome, expected[i], exercise.compare)]
    if wrong and (known := _misconception(exercise, outcomes, wrong, seed)):
        return Verdict("misconception", f"misconception: {known.message}", misconception=known.name)
    unnamed = [i for i in wrong if outcomes[i].error == "NameError" or outcomes[i].message.startswith(NOT_OF_LK)]
    for kind, said in (
        ("changed", "changes its argument; build a new object and leave what came in as it is"),
        ("shared", "returns its argument itself, so that changing one changes the other; return a new object"),
    ):
        if kind in faults and not unnamed:
            probe = probes[faults.index(kind)]
            return Verdict(kind, f"{said} (for {call_as_text(exercise, probe.args)})")
    if wrong:
        valued = unnamed or [i for i in wrong if not expected[i].error] or wrong  # a wrong kind of error comes last
        first = min(valued, key=lambda i: len(call_as_text(exercise, probes[i].args, 10_000)))
        outcome, asked = outcomes[first], call_as_text(exercise, probes[first].args, 900)
        if outcome.message.startswith("unhashable type") and hasattr(function, "cache_info"):
            return Verdict("raised", f"`@cache` cannot handle lists and dicts (for {asked}); remove it")
        if outcome.error and (first in unnamed or not expected[first].error):
            return Verdict("raised", f"{_in_words(outcome)} (for {asked})", details=outcome.details)
        said = f"wrong for {asked}: {difference(outcome, expected[first], exercise.compare)}"
        if outcome.value is None and not outcome.error:
            said += "; does every branch end with `return`? What is printed is not returned"
        if isinstance(outcome.value, str) and isinstance(expected[first].value, str):
            mistaken = (each for known in exercise.misconceptions for each in mistaken_outcomes(exercise, known, seed))
            if all(outcome.value != each.value for each in (*expected, *mistaken)):
                said += f"; {shown(outcome.value)} is none of the words that it may return"
        return Verdict("wrong", said)
    return Verdict("passed", "passed", function=function)


def no_function(exercise: Exercise) -> Verdict:
    """The verdict if something other than a function is under the decorator."""
    return Verdict("wrong", f"{exercise.name} is not a function; write `def {exercise.name}(…):` under the decorator")


def is_stub(source: str, id: str) -> bool:
    """Whether the function under `@lk.exercise(id)` has no body yet: a docstring, `...`, `pass`, an error."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and any(
            isinstance(call, ast.Call) and [getattr(arg, "value", None) for arg in call.args] == [id]
            for call in node.decorator_list
        ):
            return all(_says_nothing(statement) for statement in node.body)
    return False


def _says_nothing(statement: ast.stmt) -> bool:
    if isinstance(statement, ast.Raise) and statement.exc is not None:
        raised = statement.exc.func if isinstance(statement.exc, ast.Call) else statement.exc
        return isinstance(raised, ast.Name) and raised.id == "NotImplementedError"
    return isinstance(statement, ast.Pass) or (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and (statement.value.value is ... or isinstance(statement.value.value, str))
    )


def isolated(exercise: Exercise, source: str) -> Any:
    """What the cell puts under the exercise's decorator, in a namespace of the preamble and this cell alone."""
    found: dict[str, Any] = {}
    namespace = _after_preamble(exercise, source, found)
    name = f"{CELL}{next(_cells)}>"
    _trying.append(found)
    try:
        _run(source, name, namespace)
    finally:
        _trying.pop()
    if exercise.id not in found:
        raise NameError(f"nothing in this cell is under @lk.exercise({exercise.id!r})")
    return found[exercise.id]


def _import(source: str) -> None:
    """Run the imports in the source by themselves, so that the time they take does not count as the function's."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return
    for node in ast.walk(tree):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            with contextlib.suppress(Exception, SystemExit, LimitReached), limits.silence():  # the cell's run will say
                exec(compile(ast.Module([node], []), "<import>", "exec"), {})


def _after_preamble(exercise: Exercise, source: str, found: dict[str, Any]) -> dict[str, Any]:
    """The namespace of an exercise's cell. Its `lk` has only the decorator, which records in `found`."""

    def decorator(id: str) -> Callable:
        def note(function: Any) -> Any:
            found[id] = function
            return function

        return note

    namespace: dict[str, Any] = {"__name__": "__exercise__"}
    _run(exercise.preamble(source), f"<preamble of {exercise.id}>", namespace)
    lk = namespace["lk"] = types.ModuleType("labkit")
    vars(lk).update(exercise=decorator, __getattr__=no_attribute)
    return namespace


def _run(source: str, name: str, namespace: dict[str, Any]) -> None:
    """Run source in a namespace, under a file name that lets a traceback show its lines."""
    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
    exec(compile(source, name, "exec", dont_inherit=True), namespace)


def tried_now() -> dict[str, Any] | None:
    """The record of the cell that is being tried, if there is one, because such a cell may import `labkit` itself."""
    return _trying[-1] if _trying else None


def no_attribute(name: str) -> NoReturn:
    """The attribute `name` of a cell's `lk`, which has only the decorator. Raises `AttributeError`, which says so."""
    raise AttributeError(f"{NOT_OF_LK}, not `lk.{name}`")


@lru_cache(maxsize=64)
def expected_outcomes(exercise: Exercise, seed: int) -> list[Outcome]:
    """What the reference does on the probes of `seed`."""
    return [call(exercise.reference, probe.args)[0] for probe in exercise.draw(seed)]


@lru_cache(maxsize=512)
def mistaken_outcomes(exercise: Exercise, known: Misconception, seed: int) -> list[Outcome]:
    """What a wrong function does on the probes of `seed`."""
    return [call(known.function, probe.args)[0] for probe in exercise.draw(seed)]


def _misconception(exercise: Exercise, outcomes: list[Outcome], wrong: list[int], seed: int) -> Misconception | None:
    """The misconception with exactly these results; otherwise, of those that explain everything that is wrong, and of
    whose errors half show, the one with the fewest errors that do not. If values are wrong, errors are counted where
    a value is right: whoever makes a mistake may well raise all the errors that were asked for, or none of them.
    """
    expected = expected_outcomes(exercise, seed)
    valued = {i for i, each in enumerate(expected) if not each.error}
    counted = valued if valued & set(wrong) else set(range(len(expected)))
    telling = counted & set(wrong)
    best, least = None, (2, 0)
    for known in exercise.misconceptions:
        its = mistaken_outcomes(exercise, known, seed)
        if all(alike(a, b, exercise.compare) for a, b in zip(outcomes, its)):
            return known
        shows = sum(not same(its[i], expected[i], exercise.compare) for i in counted)
        missed = [i for i in wrong if not alike(outcomes[i], its[i], exercise.compare)]
        if telling.isdisjoint(missed) and len(wrong) >= 2 and shows <= 2 * len(telling):
            best, least = min((best, least), (known, (bool(missed), shows)), key=lambda each: each[1])
    return best


def call(function: Callable, args: tuple) -> tuple[Outcome, str | None]:
    """What the call does, and its fault towards the arguments: "changed", "shared" or None."""
    return attempt(function, args)[:2]


def attempt(function: Callable, args: tuple) -> tuple[Outcome, str | None, tuple]:
    """The same, and the arguments as the call left them."""
    given = copy.deepcopy(args)
    try:
        with limits.silence():
            result = function(*given)
            outcome = Outcome(value=plain(result))
    except Exception as error:  # whatever the function raises is its outcome
        return raised(error), None, given
    except SystemExit as error:
        return raised(error), None, given
    if plain(given) != plain(args):
        return outcome, "changed", given
    return outcome, "shared" if _shares(result, given) else None, given


def fingerprint(args: tuple) -> str:
    """A short hash of arguments in their plain form: equal for equal arguments, in any process."""
    return hashlib.blake2b(json.dumps(plain(args)).encode(), digest_size=12).hexdigest()


def _shares(result: Any, args: tuple) -> bool:
    """Whether a result, or a part of it if it is a tuple or dict, is an argument or shares its memory."""
    parts = [result, *(result if type(result) is tuple else result.values() if type(result) is dict else ())]
    return any(_one(part, arg) for part in parts for arg in args)


def _one(a: Any, b: Any) -> bool:
    if a is b:
        return isinstance(a, (list, dict, set, bytearray)) or hasattr(a, "shape")
    if hasattr(a, "untyped_storage") and hasattr(b, "untyped_storage"):
        return a.numel() > 0 and a.untyped_storage().data_ptr() == b.untyped_storage().data_ptr()
    if hasattr(a, "__array_interface__") and hasattr(b, "__array_interface__"):
        import numpy as np

        return bool(np.may_share_memory(a, b))
    return False


def raised(error: BaseException) -> Outcome:
    """An exception as an outcome; the line is the last one within the learner's cell."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename.startswith(CELL)]
    line = frames[-1].lineno if frames else None
    if isinstance(error, SyntaxError) and error.filename and error.filename.startswith(CELL):
        line = error.lineno
    try:
        message = str(error)
    except Exception:  # a learner's exception may fail even at that
        message = ""
    message = " ".join(message.split())[:200]
    kept = traceback.TracebackException.from_exception(error, limit=-10)
    own = [i for i, frame in enumerate(kept.stack) if frame.filename.startswith(CELL)]
    del kept.stack[: own[0] if own else None]  # the engine's frames mean nothing to a learner
    try:
        details = "".join(kept.format())[-4000:]
    except Exception:
        details = ""
    kind = "ValueError" if isinstance(error, ValueError) else type(error).__name__
    return Outcome(error=kind, message=message, line=line, details=details)


def _in_words(outcome: Outcome) -> str:
    where = f" in your line {outcome.line}" if outcome.line else ""
    if outcome.error == "NameError" and outcome.message.startswith("name '"):
        name = outcome.message.split("'")[1]
        if name == "get_ipython":
            return f"a line with % or ! cannot be in an exercise's cell{where.replace(' in', ', it is')}"
        return f"`{name}` is not defined in this cell{where}; {BY_ITSELF}"
    power = "; a power is written `**`" if outcome.message.startswith("unsupported operand type(s) for ^") else ""
    return f"raised {outcome.error}{where}: {outcome.message}".rstrip(": ") + power


def call_as_text(exercise: Exercise, args: tuple, width: int = 160) -> str:
    """The call as Python, so that it can be tried again; long arguments are cut."""
    each = max(30, width // max(len(args), 1))
    texts = [literal(arg) for arg in args]
    return f"{exercise.name}({', '.join(text if len(text) <= each else text[: each - 2] + ' …' for text in texts)})"


def _remembers(
    exercise: Exercise, probes: list[Probe], outcomes: list[Outcome], seed: int, afresh: Callable[[], Callable]
) -> Verdict | None:
    """The verdict if the first wrong call has another result when no call went before it."""
    pairs = enumerate(zip(outcomes, expected_outcomes(exercise, seed)))
    first = next((i for i, (yours, right) in pairs if not same(yours, right, exercise.compare)), None)
    if first is None:
        return None
    late, (early, _, given) = outcomes[first], attempt(afresh(), probes[first].args)
    if (late.error, late.value) == (early.error, early.value):
        return None
    asked = call_as_text(exercise, probes[first].args)
    results = [each.error or shown(each.value) for each in (early, late)]
    if any(_unused(generator, probe) for generator, probe in zip(given, probes[first].args)):
        return Verdict(
            "remembers",
            f"draws without the generator that it is given, so each call gives something else: {asked} gives {results[0]} "
            f"at first and {results[1]} later; pass it on, `generator=generator`",
        )
    return Verdict(
        "remembers",
        f"remembers something from call to call: {asked} gives {results[0]} at first and {results[1]} later; look for a "
        "default argument that it changes (`found=[]`), a name outside the function, a random draw",
    )


def _unused(after: Any, before: Any) -> bool:
    """Whether this argument is a generator of torch's from which the call has drawn nothing."""
    return hasattr(before, "get_state") and bool((after.get_state() == before.get_state()).all())


def _tried_by_a_copy(exercise: Exercise, source: str, seed: int, seconds: float) -> Verdict | None:
    """The verdict on a cell if a copy of this process did not get through it and all calls; otherwise None."""
    probes = exercise.draw(seed)

    def work() -> None:
        function = isolated(exercise, source)
        for probe in probes:
            if call(function, probe.args)[0].error == "MemoryError":
                raise MemoryError

    exceeded = limits.exceeded_by_a_copy(work, seconds)
    return _limit_verdict(exceeded, seconds) if exceeded else None


def _limit_verdict(exceeded: str, seconds: float) -> Verdict:
    said = {
        "slow": f"took longer than {seconds:g} s; is there a loop that never ends?",
        "flood": f"prints more than {limits.MAX_PRINTED:,} characters; take the print out of the loop",
        "memory": f"takes more than {limits.MAX_MEMORY >> 30} GB of memory; is there a loop that never ends?",
        "crash": "crashes Python itself; is there an endless recursion?",
    }
    return Verdict(exceeded, said[exceeded])
