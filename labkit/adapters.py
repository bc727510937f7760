"""Adapters from strangers: a folder's two files are read as data, checked, and laid over a base whose own weights stay.

`PeftModel.from_pretrained` does more than load: it lets further tensors replace the base's weights, changes those
weights for some values of the config, builds as many layers as the config says, and compiles the config's regular
expressions. Nothing of the folder reaches it here. A few scalars are taken from the config; PEFT builds a LoRA from
them; its A and B are copied from tensors that have exactly its names, shapes and a float type. The folder's other files
are not read.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import math
import os
import re
import stat
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from labkit.common import InputError, printable

if TYPE_CHECKING:
    import torch
    from peft import PeftModel

    from labkit.models import Model

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
MAX_BYTES = {CONFIG: 64_000, WEIGHTS: 64_000_000}  # PEFT writes 1 kB, and 15 MB for rank 256 on the kit's base
MAX_HEADER = 1_000_000  # bytes of the header of the weights: about 150 for each tensor
MAX_TENSORS = 4_096
MAX_RANK, MAX_ALPHA = 256, 65_536.0
MAX_DIGITS = 30  # of a number in JSON; Python refuses some thousands in an error of its own
BESIDE = ("README.md", "card.yaml")  # what PEFT writes too, and the run card: not worth a remark
MAX_LISTED = 1_000  # names of the folder that are looked at, to say what is ignored
TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
TARGET = re.compile(rf"([A-Za-z0-9_]+\.)*({'|'.join(TARGETS)})")  # such a layer everywhere, or by its whole name
FLOATS = ("F16", "BF16", "F32", "F64")
KEY = re.compile(r"base_model\.model\.([A-Za-z0-9_.]+)\.lora_([AB])\.weight")
MAX_CHANGE = 1e18  # an entry of α/r·BA beyond it overflows float32 as soon as it is squared
TAKEN = {"peft_type", "r", "lora_alpha", "target_modules", "use_rslora", "init_lora_weights"}  # of the config's fields
# What names other places, or was for training only; it decides nothing here.
PASSED_OVER = {"base_model_name_or_path", "revision", "task_type", "inference_mode", "lora_dropout", "peft_version"} | {
    "auto_mapping"
}


@dataclass(frozen=True)
class Files:
    """An adapter's two files, as they were when they were read, and what is to be said about the folder."""

    config: bytes
    weights: bytes
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Config:
    """What is taken from an adapter's config."""

    rank: int
    alpha: float
    target_modules: tuple[str, ...]  # each one of `TARGETS`, or the whole name of such a layer
    rank_stabilized: bool = False

    @property
    def scale(self) -> float:
        """α/r, or α/√r (Kalajdzievski 2023)."""
        return self.alpha / (math.sqrt(self.rank) if self.rank_stabilized else self.rank)


@dataclass(frozen=True)
class Adapter:
    """A checked config; A and B in float32 by (layer, "A" or "B"), A (rank, in) and B (out, rank); what was noticed."""

    config: Config
    tensors: dict[tuple[str, str], torch.Tensor]
    notes: tuple[str, ...] = ()


def read(folder: str | Path) -> Adapter:
    """The adapter in a folder that PEFT, TRL or this kit wrote, in memory. Raises `InputError` if it cannot be used."""
    return parse(read_files(folder))


def read_files(folder: str | Path) -> Files:
    """A folder's two files, each read once: regular files below their size limits, no links.

    Raises `InputError` of one line for a folder that is none, or lacks them.
    """
    folder = Path(folder).expanduser()
    try:
        if not folder.is_dir():
            what = "is a file; unpack it, and name the folder" if folder.exists() else "there is no such folder"
            raise InputError(f"{folder}: {what} that holds {CONFIG} and {WEIGHTS}")
        names = _listed(folder)
    except (OSError, ValueError) as error:
        raise InputError(f"{printable(str(folder))}: cannot be read ({_first(error)})") from None
    if CONFIG not in names or WEIGHTS not in names:
        _say_what_is_there(folder, names)
    config, weights = (_regular(folder, name) for name in (CONFIG, WEIGHTS))
    return Files(config, weights, tuple(_ignored(names)))


def parse(files: Files) -> Adapter:
    """The adapter in two files' bytes. Raises `InputError`, which names the file and what is wrong in it."""
    with _about(CONFIG):
        config, passed = _config(files.config)
    with _about(WEIGHTS):
        tensors, rounded = _tensors(files.weights)
    notes = [*files.notes, *passed, *rounded]
    if tensors and not any(bool(tensor.any()) for (_, side), tensor in tensors.items() if side == "B"):
        notes.append("every B is 0: it was never trained, and answers as the base does")
    return Adapter(config, tensors, tuple(notes))


def attach(adapter: Adapter, model: Model) -> PeftModel:
    """The base with the adapter laid over it; the base's weights are not touched, and their hash is compared.

    Raises `InputError` if the tensors are not exactly those of such an adapter for this base, in names and shapes, or if
    what they add to a layer overflows.
    """
    import torch

    from labkit import models

    config, wanted = adapter.config, _shapes(adapter.config, model)
    _same_names(adapter.tensors, wanted)
    for (layer, side), shape in wanted.items():
        found = tuple(adapter.tensors[layer, side].shape)
        if found != shape:
            raise InputError(f"{WEIGHTS}: lora_{side} of {layer} has the shape {found}, and needs {shape}")
    for layer in {layer for layer, _ in wanted}:
        A, B = (adapter.tensors[layer, side].double() for side in "AB")
        # |BA| is at most |B||A| entry by entry, and this product cannot be NaN: each of its terms is at least 0.
        most = float((B.abs() @ A.abs()).max()) * config.scale
        if not most <= MAX_CHANGE:
            raise InputError(
                f"{WEIGHTS}: what it adds to {layer} reaches {most:.0e}, and would overflow; train it again"
            )
    before = fingerprint(model)
    adapted = models.add_lora(
        model, config.rank, config.alpha, config.target_modules, use_rslora=config.rank_stabilized
    )
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if (place := _place(name.replace(".default.weight", ".weight"))) is not None:
                parameter.copy_(adapter.tensors[place])
    if fingerprint(adapted) != before:
        raise RuntimeError("attaching an adapter changed the base")
    return adapted.eval()


def fingerprint(model: torch.nn.Module) -> str:
    """sha256 over the base's weights and buffers, names, types and shapes; the same with an adapter over it."""
    digest = hashlib.sha256()
    for name, value in sorted((_own_name(name), value) for name, value in model.state_dict().items()):
        if ".lora_" not in name:
            digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
            digest.update(_bytes(value))
    return digest.hexdigest()


# The folder


def _listed(folder: Path) -> list[str]:
    """The names in the folder, and `NAME/adapter_config.json` for folders in it that hold an adapter."""
    names = []
    with os.scandir(folder) as entries:
        for number, entry in enumerate(entries):
            if number == MAX_LISTED:
                break
            inner = f"{entry.name}/{CONFIG}"
            names.append(inner if os.path.lexists(folder / inner) else entry.name)
    return sorted(names)


def _say_what_is_there(folder: Path, names: list[str]) -> NoReturn:
    inner = [name.partition("/")[0] for name in names if "/" in name]
    if len(inner) == 1:
        raise InputError(f"{folder}: holds no adapter, but its folder {printable(inner[0])} does; name that")
    if inner:
        shown = ", ".join(map(printable, inner[:3]))
        raise InputError(f"{folder}: holds {len(inner)} adapters in folders of their own ({shown}); name one of them")
    if any(name.endswith((".bin", ".pt", ".pth", ".ckpt", ".pkl")) for name in names) and WEIGHTS not in names:
        raise InputError(
            f"{folder}: its weights are a pickle, which can run code when it is loaded; save them with "
            "save_pretrained(folder, safe_serialization=True)"
        )
    lacks = " and ".join(name for name in (CONFIG, WEIGHTS) if name not in names)
    empty = "is empty" if not names else f"has no {lacks}"
    raise InputError(f"{folder}: {empty}; name a folder that save_pretrained or save_adapter wrote")


def _regular(folder: Path, name: str) -> bytes:
    """The bytes of a regular file of the folder, of its size when it was opened; a link, a pipe or a device is refused
    before anything is read.
    """
    path, limit = folder / name, MAX_BYTES[name]
    flags = os.O_RDONLY
    for more in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_BINARY"):  # what the system has of these
        flags |= getattr(os, more, 0)
    try:
        if not stat.S_ISREG(os.lstat(path).st_mode):
            raise InputError(f"{path}: is a link, a folder or a device; put the file itself there")
        with open(os.open(path, flags), "rb") as file:
            about = os.fstat(file.fileno())
            if not stat.S_ISREG(about.st_mode):  # it was replaced just now
                raise InputError(f"{path}: is a link, a folder or a device; put the file itself there")
            if about.st_size > limit:
                raise InputError(f"{path}: has {about.st_size:,} bytes, and an adapter's has at most {limit:,}")
            return file.read(limit)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({_first(error)})") from None


def _ignored(names: list[str]) -> Iterator[str]:
    others = [printable(name) for name in names if name not in (CONFIG, WEIGHTS, *BESIDE)]
    if others:
        more = f" and {len(others) - 3} more" if len(others) > 3 else ""
        yield f"not read: {', '.join(name[:60] for name in others[:3])}{more}"


# The config


def _config(data: bytes) -> tuple[Config, list[str]]:
    """(what is taken, notes on what is passed over)."""
    values = _json(data)
    if values.get("peft_type") != "LORA":
        raise InputError(f"its peft_type is {_shown(values.get('peft_type'))}: only LORA can be scored")
    rank: Any
    alpha: Any
    rank, alpha, targets = (values.get(name) for name in ("r", "lora_alpha", "target_modules"))
    if type(rank) is not int or not 1 <= rank <= MAX_RANK:
        raise InputError(f"its r is {_shown(rank)}: it must be a whole number from 1 to {MAX_RANK}")
    if type(alpha) not in (int, float) or not 0 < alpha <= MAX_ALPHA:
        raise InputError(f"its lora_alpha is {_shown(alpha)}: it must be a number above 0, at most {MAX_ALPHA:,.0f}")
    if not isinstance(targets, list) or not targets or not all(map(_is_target, targets)):
        raise InputError(
            f"its target_modules are {_shown(targets)}: they must be a list of layers named {', '.join(TARGETS)}"
        )
    stabilized = values.get("use_rslora", False)
    if type(stabilized) is not bool:
        raise InputError(f"its use_rslora is {_shown(stabilized)}: it must be true or false")
    start = values.get("init_lora_weights", True)
    if type(start) is not bool and start != "gaussian":
        raise InputError(
            f"its init_lora_weights is {_shown(start)}, which changes the base's own weights; train from the default, or "
            "save it with PEFT's path_initial_model_for_weight_conversion"
        )
    unused = _unused()
    for name in sorted(values.keys() - TAKEN - PASSED_OVER):
        value = values[name]
        off = value is None or value is False or (isinstance(value, list | dict) and not value)
        if not off and not (name in unused and type(value) is type(unused[name]) and value == unused[name]):
            raise InputError(f"it sets {_shown(name)} to {_shown(value)}, which a plain LoRA adapter leaves alone")
    notes = []
    if values.get("auto_mapping") is not None:
        notes.append("not followed: auto_mapping in its config, which names a library")
    return Config(rank, float(alpha), tuple(dict.fromkeys(targets)), stabilized), notes


def _is_target(name: object) -> bool:
    return isinstance(name, str) and len(name) <= 100 and TARGET.fullmatch(name) is not None


def _unused() -> dict[str, Any]:
    """What PEFT writes for the fields that a plain LoRA adapter does not use, where that is a word or a number."""
    from peft import LoraConfig

    fields = dataclasses.fields(LoraConfig)
    return {field.name: field.default for field in fields if isinstance(field.default, str | int | float)}


def _json(data: bytes) -> dict[str, Any]:
    """A JSON object as data: no key twice, no NaN or infinity, no number with too many digits."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, value in pairs:
            if name in found:
                raise InputError(f"the key {_shown(name)} is there twice")
            found[name] = value
        return found

    def number(kind: Callable[[str], Any]) -> Callable[[str], Any]:
        def read_number(text: str) -> Any:
            if len(text) > MAX_DIGITS or not math.isfinite(float(text)):
                raise InputError(f"the number {text[:12]}{'…' * (len(text) > 12)} is too large, or too long")
            return kind(text)

        return read_number

    def constant(text: str) -> NoReturn:
        raise InputError(f"{text} is not a number")

    try:
        found = json.loads(
            data.decode(),
            object_pairs_hook=once,
            parse_constant=constant,
            parse_int=number(int),
            parse_float=number(float),
        )
    except InputError:
        raise
    except RecursionError:
        raise InputError("its brackets are nested too deeply") from None
    except ValueError as error:  # of json, and of decoding
        raise InputError(f"is not JSON ({_first(error)})") from None
    if not isinstance(found, dict):
        raise InputError("is not a JSON object")
    return found


# The weights


def _tensors(data: bytes) -> tuple[dict[tuple[str, str], torch.Tensor], list[str]]:
    """(A and B in float32 by layer and side, notes)."""
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load

    kinds = _header(data)
    try:
        loaded = load(data)  # which checks that offsets neither overlap nor leave gaps
    except (SafetensorError, ValueError, KeyError, RuntimeError) as error:
        raise InputError(f"is not a sound safetensors file ({_first(error)})") from None
    found: dict[tuple[str, str], torch.Tensor] = {}
    for name, tensor in loaded.items():
        place = _place(name)
        assert place is not None  # `_header` has refused other names
        found[place] = tensor.to(torch.float32)
        if not bool(torch.isfinite(found[place]).all()):
            raise InputError(f"lora_{place[1]} of {place[0]} holds a value that is no finite number in float32")
    return found, ["its float64 numbers are rounded to float32"] if "F64" in kinds else []


def _header(data: bytes) -> set[str]:
    """The types in the header, checked before safetensors reads it; it accepts keys that are there twice, and shapes
    with no numbers in them.
    """
    if len(data) < 8 or (length := struct.unpack("<Q", data[:8])[0]) > min(MAX_HEADER, len(data) - 8):
        raise InputError("is not safetensors: it has no header of that format, or one that is too long")
    entries = _json(data[8 : 8 + length])
    entries.pop("__metadata__", None)
    if not 0 < len(entries) <= MAX_TENSORS:
        raise InputError(f"holds {len(entries):,} tensors; an adapter has 2 for each layer that it changes")
    kinds = set()
    for name, entry in entries.items():
        if KEY.fullmatch(name) is None:
            raise InputError(
                f"holds {_shown(name)}, which is not a part of a LoRA adapter: only A and B can be scored, no weights "
                "of the base and no other kinds"
            )
        kind, shape = (entry.get(key) if isinstance(entry, dict) else None for key in ("dtype", "shape"))
        if kind not in FLOATS:
            raise InputError(f"holds {_shown(name)} in {_shown(kind)}: save it in one of {', '.join(FLOATS)}")
        if not isinstance(shape, list) or len(shape) != 2 or not all(type(n) is int and n > 0 for n in shape):
            raise InputError(
                f"holds {_shown(name)} with the shape {_shown(shape)}: A and B have two dimensions above 0"
            )
        kinds.add(kind)
    return kinds


def _place(name: str) -> tuple[str, str] | None:
    """(layer, side) that a key of a file means; None for other keys."""
    found = KEY.fullmatch(name)
    return None if found is None else (found[1], found[2])


# The base


def _shapes(config: Config, model: Model) -> dict[tuple[str, str], tuple[int, int]]:
    """The shapes of A and B of each layer that such an adapter changes in this base."""
    import torch

    wanted: dict[tuple[str, str], tuple[int, int]] = {}
    for name, layer in model.named_modules():
        meant = any(name == target or name.endswith(f".{target}") for target in config.target_modules)
        if meant and isinstance(layer, torch.nn.Linear):
            wanted[name, "A"] = (config.rank, layer.in_features)
            wanted[name, "B"] = (layer.out_features, config.rank)
    return wanted


def _same_names(found: Mapping[tuple[str, str], Any], wanted: Mapping[tuple[str, str], Any]) -> None:
    for those, what in ((wanted.keys() - found.keys(), "lacks"), (found.keys() - wanted.keys(), "has")):
        if those:
            layer, side = min(those)
            raise InputError(
                f"{WEIGHTS}: it {what} {len(those)} of the tensors, such as lora_{side} of {_shown(layer)}; for this base "
                f"and its target_modules it needs {len(wanted)}: was it trained on another base?"
            )


def _own_name(name: str) -> str:
    return name.removeprefix("base_model.model.").replace(".base_layer.", ".")


def _bytes(value: torch.Tensor) -> bytes:
    import torch

    return value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


# What is said


@contextlib.contextmanager
def _about(name: str) -> Iterator[None]:
    try:
        yield
    except InputError as error:
        raise InputError(f"{name}: {error}") from None


def _shown(value: object) -> str:
    """A value of a stranger's file, short and without control characters."""
    text = printable(value if isinstance(value, str) else repr(value))
    return text if len(text) <= 60 else f"{text[:60]}…"


def _first(error: Exception) -> str:
    """The first line of a library's error, or what the system says."""
    lines = str(getattr(error, "strerror", None) or error).strip().splitlines()
    return printable(lines[0][:160]) if lines else type(error).__name__
