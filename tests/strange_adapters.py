"""Adapters that attack, and adapters that are merely wrong: each spoils a copy of a good adapter's folder in one way.

A case says whether the adapter is refused, with a part of the one line, or is scored, with a part of what is noted.
`tests/test_adapters.py` and `labkit bench adapters` go through all of them.
"""

from __future__ import annotations

import copy
import json
import os
import shutil
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save, save_file

from labkit import models

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
SECRET = "what stands in a file outside the folder"
TRIPWIRE = "import os, pathlib\npathlib.Path(os.environ.get('TRIPWIRE', '/dev/null')).write_text('ran')\n"


@dataclass(frozen=True)
class Case:
    """`spoil(folder)` changes the good adapter there; `refused` or `noted` is a part of what has to be said."""

    name: str
    spoil: Callable[[Path], object]
    refused: str | None = None
    noted: str | None = None


CASES: list[Case] = []


def write_good(folder: Path, base: Any) -> None:
    """A sound adapter, as the kit writes it; B is drawn so that it changes every layer a little."""
    model = models.add_lora(copy.deepcopy(base), rank=4, alpha=8, seed=1)
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, value in model.named_parameters():
            if "lora_B" in name:
                value.copy_(0.02 * torch.randn(value.shape, generator=draw))
    models.save_adapter(model, folder)


def case(name: str, refused: str | None = None, noted: str | None = None) -> Callable:
    def add(spoil: Callable[[Path], object]) -> Callable:
        CASES.append(Case(name, spoil, refused, noted))
        return spoil

    return add


def config(**changes: object) -> Callable[[Path], object]:
    """Fields of the config set to other values."""

    def spoil(folder: Path) -> None:
        values = json.loads((folder / CONFIG).read_text()) | changes
        (folder / CONFIG).write_text(json.dumps(values))

    return spoil


def in_config(old: str, new: str) -> Callable[[Path], object]:
    """A piece of the config's text replaced."""

    def spoil(folder: Path) -> None:
        text = (folder / CONFIG).read_text()
        assert old in text
        (folder / CONFIG).write_text(text.replace(old, new, 1))

    return spoil


def tensors(change: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Path], object]:
    """The tensors changed in place, or others returned."""

    def spoil(folder: Path) -> None:
        found = load_file(folder / WEIGHTS)
        other = change(found)
        save_file(other if isinstance(other, dict) else found, folder / WEIGHTS)

    return spoil


def raw(folder: Path, header: str | dict, data: bytes = b"", length: int | None = None) -> None:
    """A file of safetensors' form with any header."""
    text = (header if isinstance(header, str) else json.dumps(header)).encode()
    (folder / WEIGHTS).write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + data)


def header_of(folder: Path) -> tuple[dict, bytes]:
    data = (folder / WEIGHTS).read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def first(found: dict[str, torch.Tensor], side: str) -> str:
    return next(name for name in sorted(found) if f"lora_{side}" in name)


# Files


@case("01 a pickle alone", "is a pickle|are a pickle")
def _(folder):
    torch.save(load_file(folder / WEIGHTS), folder / "adapter_model.bin")
    (folder / WEIGHTS).unlink()


class Bomb:
    def __reduce__(self):
        return exec, (TRIPWIRE,)


@case("02 a pickle beside good weights", noted="adapter_model.bin")
def _(folder):
    import pickle

    (folder / "adapter_model.bin").write_bytes(pickle.dumps(Bomb()))


@case("03 a pickle renamed", "not safetensors")
def _(folder):
    import pickle

    (folder / WEIGHTS).write_bytes(pickle.dumps(Bomb()) * 20)


@case("04 a link to a file outside", "is a link")
def _(folder):
    outside = folder.parent / f"{folder.name}-outside"
    shutil.move(folder / WEIGHTS, outside)
    (folder / WEIGHTS).symlink_to(outside)


@case("04 a link to a secret as config", "is a link")
def _(folder):
    outside = folder.parent / f"{folder.name}-secret"
    outside.write_text(SECRET)
    (folder / CONFIG).unlink()
    (folder / CONFIG).symlink_to(outside)


@case("05 a FIFO", "is a link, a folder or a device")
def _(folder):
    (folder / CONFIG).unlink()
    os.mkfifo(folder / CONFIG)


@case("05 a socket", "is a link, a folder or a device")
def _(folder):
    (folder / WEIGHTS).unlink()
    here = os.getcwd()
    os.chdir(folder)  # a socket's path is short
    try:
        socket.socket(socket.AF_UNIX).bind(WEIGHTS)
    finally:
        os.chdir(here)


@case("05 a folder", "is a link, a folder or a device")
def _(folder):
    (folder / WEIGHTS).unlink()
    (folder / WEIGHTS).mkdir()


@case("05 a link to a device", "is a link")
def _(folder):
    (folder / WEIGHTS).unlink()
    (folder / WEIGHTS).symlink_to("/dev/zero")


case("06 a path out of the folder in the config", "sets corda_config")(
    config(corda_config={"cache_file": "../../outside.pt", "covariance_file": "/etc/passwd"})
)


@case("06 a path out of the folder in the weights", "not a part of a LoRA")
@tensors
def _(found):
    found["../../etc/passwd"] = torch.zeros(2, 2)


@case("07 a sparse file of a terabyte", "bytes, and an adapter's has at most")
def _(folder):
    os.truncate(folder / WEIGHTS, 10**12)


@case("07 a config of a gigabyte", "bytes, and an adapter's has at most")
def _(folder):
    os.truncate(folder / CONFIG, 10**9)


@case("08 400,000 empty tensors", "header of that format, or one that is too long")
def _(folder):
    entry = '{"dtype":"F32","shape":[0],"data_offsets":[0,0]}'
    raw(folder, "{" + ",".join(f'"t{number}":{entry}' for number in range(400_000)) + "}")


case("09 a header of 2^62 bytes", "header of that format")(lambda folder: raw(folder, "{}", length=2**62))
case("09 a header of 2^64 - 1 bytes", "header of that format")(lambda folder: raw(folder, "{}", length=2**64 - 1))
case("09 an empty file", "header of that format")(lambda folder: (folder / WEIGHTS).write_bytes(b""))


@case("10 overlapping offsets", "not a sound safetensors")
def _(folder):
    header, data = header_of(folder)
    names = [name for name in header if name != "__metadata__"]
    header[names[1]] = header[names[0]]
    raw(folder, header, data)


@case("10 trailing bytes", "not a sound safetensors")
def _(folder):
    raw(folder, *header_of(folder)[:1], header_of(folder)[1] + b"more")


@case("10 an overflowing shape", "not a sound safetensors|is too large")
def _(folder):
    header, data = header_of(folder)
    name = next(name for name in header if name != "__metadata__")
    header[name]["shape"] = [2**40, 2**40]
    raw(folder, header, data)


@case("10 a key twice in the header", "is there twice")
def _(folder):
    header, data = header_of(folder)
    text = json.dumps(header)
    name = next(name for name in header if name != "__metadata__")
    raw(folder, f"{text[:-1]}, {json.dumps(name)}: {json.dumps(header[name])}}}", data)


@case("10 a shape without numbers and a huge dimension", "two dimensions above 0")
def _(folder):
    header, data = header_of(folder)
    name = next(name for name in header if name != "__metadata__")
    header[name] = {"dtype": "F32", "shape": [0, 2**60], "data_offsets": [0, 0]}
    raw(folder, header, data)


@case("11 modules in the folder", noted="not read")
def _(folder):
    for name in ("torch.py", "peft.py", "sitecustomize.py", "modeling_x.py"):
        (folder / name).write_text(TRIPWIRE)


@case("13 odd file names", noted=r"\\x1b")
def _(folder):
    for name in ("a\nline", "\x1b[31mred", "\u202egpj.exe", "=cmd()"):
        (folder / name).write_text("")


# The config

case("14 a key twice", "is there twice")(in_config('"r":', '"r": 4, "r":'))
case("15 NaN", "NaN is not a number")(config(lora_alpha=float("nan")))
case("15 Infinity", "Infinity is not a number")(config(lora_alpha=float("inf")))
case("15 1e999", "too large")(in_config('"lora_alpha":', '"x": 1e999, "lora_alpha":'))
case("16 5,000 digits", "too large, or too long")(in_config('"lora_alpha":', f'"x": {"9" * 5000}, "lora_alpha":'))
case("16 brackets nested 30,000 deep", "nested too deeply")(lambda folder: (folder / CONFIG).write_text("[" * 30_000))
case("16 brackets nested 100,000 deep", "at most")(lambda folder: (folder / CONFIG).write_text("[" * 100_000))
case("16 bytes that are no text", "is not JSON")(lambda folder: (folder / CONFIG).write_bytes(b"\xff\xfe\x00"))
case("16 a list", "not a JSON object")(lambda folder: (folder / CONFIG).write_text("[]"))
BOMB = "(a+)+$" + "(x+x+)+y" * 5
case("17 a slow expression as target_modules", "must be a list")(config(target_modules=f"^(([a-z._0-9])+)+${BOMB}"))
case("17 a slow expression in target_modules", "must be a list")(config(target_modules=[BOMB]))
case("17 a slow expression in exclude_modules", "sets exclude_modules")(config(exclude_modules="(([a-z._])+)+$"))
case("17 a slow expression in rank_pattern", "sets rank_pattern")(config(rank_pattern={"(([a-z._])+)+$": 4}))
case("17 a slow expression in alpha_pattern", "sets alpha_pattern")(config(alpha_pattern={"(([a-z._])+)+$": 4}))
case("17 a slow expression in modules_to_save", "sets modules_to_save")(config(modules_to_save=["(([a-z._])+)+$"]))
case("18 a huge rank", "whole number from 1 to 256")(config(r=10_000_000))
case("18 a huge rank for one layer", "sets rank_pattern")(config(rank_pattern={"q_proj": 10_000_000}))
for odd in ("4", 4.0, True, None, [4], 0, -4):
    case(f"19 rank {odd!r}", "whole number from 1 to 256")(config(r=odd))
case("20 layers replicated", "sets layer_replication")(config(layer_replication=[[0, 2]] * 1500))
for start in ("pissa", "pissa_niter_16", "olora", "eva", "corda", "loftq", "lora_ga", "orthogonal", 1, ["pissa"]):
    case(f"21 init {start!r}", "changes the base's own weights")(config(init_lora_weights=start))
case("21 KaSA", "sets kasa_config")(config(kasa_config={"beta": 1e-4, "gemma": 1e-3}))
case("22 modules_to_save", "sets modules_to_save")(config(modules_to_save=["embed_tokens"]))
case("22 trainable_token_indices", "sets trainable_token_indices")(config(trainable_token_indices=[1, 2]))
case("22 target_parameters", "sets target_parameters")(config(target_parameters=["mlp.experts.gate_up_proj"]))
case("22 bias all", "sets bias")(config(bias="all"))
case("22 lora_bias", "sets lora_bias")(config(lora_bias=True))
case("22 use_dora", "sets use_dora")(config(use_dora=True))
case("22 alora_invocation_tokens", "sets alora_invocation_tokens")(config(alora_invocation_tokens=[1]))
case("22 fan_in_fan_out", "sets fan_in_fan_out")(config(fan_in_fan_out=True))
case("22 a key that nobody knows", "sets brand_new")(config(brand_new={"a": 1}))
for kind in ("XLORA", "PROMPT_TUNING", "ADALORA", ["LORA"], None):
    case(f"23 peft_type {kind!r}", "only LORA")(config(peft_type=kind, adapters={"a": "../other"}, tokenizer_name="x"))
case("24 auto_mapping", noted="not followed: auto_mapping")(
    config(auto_mapping={"base_model_class": "system", "parent_library": "os"})
)
case("24 megatron_core", "sets megatron_co")(config(megatron_config={"x": 1}, megatron_core="os"))
case("25 another base by name", noted=None)(config(base_model_name_or_path="somebody/else", revision="main"))
case("25 another base by path", noted=None)(config(base_model_name_or_path="/etc"))
for alpha in (-32, 0, 1e30, "32", True, None):
    case(f"26 alpha {alpha!r}", "number above 0")(config(lora_alpha=alpha))

# The tensors

OTHERS = ("model.embed_tokens", "model.layers.0.mlp.up_proj", "model.layers.0.self_attn.q_proj.base_layer", "lm_head")


@case("27 keys of the base", "not a part of a LoRA")
@tensors
def _(found):
    for name in OTHERS:
        found[f"base_model.model.{name}.weight"] = torch.zeros(192, 192)


@case("27 an adapter of the output layer", "has 2 of the tensors")
@tensors
def _(found):
    found["base_model.model.lm_head.lora_A.weight"] = torch.zeros(16, 192)
    found["base_model.model.lm_head.lora_B.weight"] = torch.zeros(2048, 16)


@case("28 keys of another base", "another base")
@tensors
def _(found):
    return {name.replace("model.layers", "transformer.h"): value for name, value in found.items()}


@case("28 fewer layers", "lacks")
@tensors
def _(found):
    return {name: value for name, value in found.items() if ".layers.3." not in name}


@case("28 a key with the adapter's name", "not a part of a LoRA")
@tensors
def _(found):
    return {name.replace(".weight", ".default.weight"): value for name, value in found.items()}


@case("29 A and B exchanged", "has the shape")
@tensors
def _(found):
    one, other = first(found, "A"), first(found, "B")
    found[one], found[other] = found[other].clone(), found[one].clone()


@case("29 the product's shape with another rank", "has the shape")
@tensors
def _(found):
    one, other = first(found, "A"), first(found, "B")
    found[one], found[other] = found[one][:3].clone(), found[other][:, :3].clone()


case("29 another rank in the config", "has the shape")(config(r=8))


@case("30 one NaN", "no finite number")
@tensors
def _(found):
    found[first(found, "B")][0, 0] = float("nan")


@case("30 one infinity", "no finite number")
@tensors
def _(found):
    found[first(found, "A")][0, 0] = float("inf")


@case("30 a sum that overflows", "would overflow")
@tensors
def _(found):
    found[first(found, "A")].fill_(1e30)
    found[first(found, "B")].fill_(1e30)


@case("30 float64 that float32 cannot hold", "no finite number")
@tensors
def _(found):
    return {name: value.double() + 1e300 for name, value in found.items()}


for dtype in (torch.int32, torch.bool, torch.float8_e4m3fn, torch.complex64, torch.uint8):

    def kind(found: dict[str, torch.Tensor], dtype: torch.dtype = dtype) -> dict[str, torch.Tensor]:
        return {name: value.to(dtype) for name, value in found.items()}

    case(f"31 {dtype}".replace("torch.", ""), "save it in one of")(tensors(kind))

case("31 float64", noted="rounded to float32")(
    tensors(lambda found: {name: value.double() for name, value in found.items()})
)


@case("32 never trained", noted="every B is 0")
@tensors
def _(found):
    for name, value in found.items():
        if "lora_B" in name:
            value.zero_()


@case("33 tensors that share memory", "not a sound safetensors")
def _(folder):
    header, data = header_of(folder)
    names = [name for name in header if name != "__metadata__" and "lora_A" in name]
    for name in names[1:]:
        if header[name]["shape"] == header[names[0]]["shape"]:
            header[name]["data_offsets"] = header[names[0]]["data_offsets"]
    raw(folder, header, data)


# Behaviour


@case("34 never writes the end token")
@tensors
def _(found):
    generator = torch.Generator().manual_seed(0)
    for value in found.values():
        value.copy_(torch.randn(value.shape, generator=generator))


@case("35 commands for a terminal in the metadata and the model card", noted=None)
def _(folder):
    found = load_file(folder / WEIGHTS)
    evil = "\x1b]0;title\x07<script>alert(1)</script>=HYPERLINK(1)"
    (folder / WEIGHTS).write_bytes(save(found, metadata={"format": "pt", "note": evil}))
    (folder / "README.md").write_text(evil)


@case("39 a tokenizer and a chat template", noted="chat_template.jinja")
def _(folder):
    (folder / "tokenizer.json").write_text("{}")
    (folder / "chat_template.jinja").write_text("{% for i in range(10**9) %}{{ i }}{% endfor %}")


@case("40 another adapter in a folder inside", noted="other/adapter_config.json")
def _(folder):
    shutil.copytree(folder, folder.parent / f"{folder.name}-copy")
    shutil.move(folder.parent / f"{folder.name}-copy", folder / "other")


@case("40 two adapters, each in a folder", "holds 2 adapters")
def _(folder):
    for name in ("one", "two"):
        (folder / name).mkdir()
        for file in (CONFIG, WEIGHTS):
            shutil.copy(folder / file, folder / name / file)
    for file in (CONFIG, WEIGHTS):
        (folder / file).unlink()
