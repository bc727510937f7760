"""Ten real architectures, shipped as configurations: their models on the meta device, and their parameter counts.

The configurations are in `architectures.yaml`. On torch's meta device a tensor has a shape but no numbers, so a model
of 8 billion parameters is made in a second and takes no memory. What is counted for LoRA is `lora.count`; PEFT's own
count is here beside it.
"""

from __future__ import annotations

import difflib
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from labkit import lora
from labkit.common import InputError

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

FILE = Path(__file__).with_suffix(".yaml")


@dataclass(frozen=True)
class Count:
    """How many numbers LoRA trains in a model, and how many the model has with the adapter."""

    trainable: int
    total: int

    @property
    def share(self) -> float:
        return self.trainable / self.total


@cache
def catalogue() -> dict[str, dict]:
    """{name: its row}, with `hub`, `parameters` (as published), `model_type` and `config`."""
    return yaml.safe_load(FILE.read_text(encoding="utf-8"))


def read(name_or_path: str | Path) -> dict[str, Any]:
    """A configuration as plain data, with its `model_type`: one of the ten by name, a config.json, or its folder.

    Raises `InputError` for what is none of these, and for a file that is not a JSON object.
    """
    if str(name_or_path) in catalogue():
        row = catalogue()[str(name_or_path)]
        return {"model_type": row["model_type"], **row["config"]}
    path = Path(name_or_path).expanduser()
    if not path.exists():
        near = difflib.get_close_matches(str(name_or_path), catalogue(), n=2, cutoff=0.4) or catalogue()
        raise InputError(
            f"there is no architecture, file or folder {str(name_or_path)!r}; name a config.json, or {', '.join(near)}"
        )
    path = path / "config.json" if path.is_dir() else path
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        reason = (getattr(error, "strerror", None) or str(error)).partition("\n")[0]
        raise InputError(f"{path}: cannot be read as a configuration ({reason}); name a model's config.json") from None
    if not isinstance(found, dict):
        raise InputError(f"{path}: is not a configuration, because it is not a JSON object; name a model's config.json")
    return found


def config(name: str) -> PretrainedConfig:
    """The configuration of that name. Raises `InputError`, with the nearest names, for an unknown one."""
    from transformers import AutoConfig

    if name not in catalogue():
        near = difflib.get_close_matches(str(name), catalogue(), n=2) or catalogue()
        raise InputError(f"there is no architecture {name!r}; choose from {', '.join(near)}")
    row = catalogue()[name]
    return AutoConfig.for_model(row["model_type"], **row["config"])


def on_meta(model: str | PretrainedConfig) -> PreTrainedModel:
    """The model of that name, or of any configuration, with shapes but without numbers."""
    import torch
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config(model) if isinstance(model, str) else model)


def count(model: str | PretrainedConfig, rank: int, targets: list[str] | str) -> Count:
    """What LoRA trains in that model, by `lora.count`. Raises `InputError` for what `lora.count` rejects."""
    empty = on_meta(model)
    try:
        trainable = lora.count(lora.linear_shapes(empty), rank, targets)
    except ValueError as error:
        raise InputError(str(error)) from None
    return Count(trainable, trainable + sum(parameter.numel() for parameter in empty.parameters()))


def count_with_peft(model: str | PretrainedConfig, rank: int, targets: list[str] | str) -> Count:
    """The same, counted by PEFT: the two numbers that its `print_trainable_parameters` prints."""
    import torch

    from labkit.models import add_lora

    with torch.device("meta"):
        return Count(*add_lora(on_meta(model), rank, 2 * rank, targets).get_nb_trainable_parameters())
