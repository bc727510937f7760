"""LoRA in a whole model, written out: a layer that holds W, A and B, and what adding and merging do to the base.

The formula is in `lora`; adapters that PEFT makes, which the labs train and save, are in `models`. The code here is
equal to those, and short enough to read.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from labkit import lora
from labkit.common import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class LoRALinear(torch.nn.Module):
    """A frozen linear layer with an adapter: base(x) + (α/r)·BAx. At the start B is 0, and the output is the base's."""

    def __init__(self, base: torch.nn.Linear, rank: int, alpha: float, generator: torch.Generator) -> None:
        super().__init__()
        self.base, self.alpha = base.requires_grad_(False), alpha
        A, B = lora.initialize(rank, base.in_features, base.out_features, generator)
        self.A, self.B = (torch.nn.Parameter(drawn.to(base.weight.device)) for drawn in (A, B))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scale = lora.scale(self.alpha, len(self.A), rank_stabilized=False)
        return self.base(x) + scale * (x @ self.A.T @ self.B.T)

    def merged(self) -> torch.nn.Linear:
        """One linear layer in place of both; the base's own weight is left as it is."""
        layer = copy.deepcopy(self.base)
        layer.weight.data = lora.merge(self.base.weight.data, self.A.data, self.B.data, self.alpha)
        return layer


def adapt(
    model: torch.nn.Module, rank: int, alpha: float, targets: Sequence[str] | str, generator: torch.Generator
) -> list[str]:
    """Freeze the model and replace each targeted layer with a `LoRALinear`; returns the layers' names.

    Targets as in `lora.count`. Raises `InputError` for what `lora.count` rejects.
    """
    layers = lora.linear_layers(model)
    try:
        lora.scale(alpha, rank, rank_stabilized=False)
        lora.count(lora.linear_shapes(model), rank, targets if isinstance(targets, str) else list(targets))
    except ValueError as error:
        raise InputError(str(error)) from None
    model.requires_grad_(False)
    chosen = lora.targeted(layers, targets)
    for name in chosen:
        model.set_submodule(name, LoRALinear(layers[name], rank, alpha, generator))
    return chosen


def merge(model: torch.nn.Module) -> None:
    """Replace each `LoRALinear` with a plain linear layer: the model has the base's own form again."""
    for name, layer in list(model.named_modules()):
        if isinstance(layer, LoRALinear):
            model.set_submodule(name, layer.merged())


# What "nothing is disturbed" and "merging is free" leave out.


@dataclass(frozen=True)
class Loading:
    """What adding an untrained adapter did: to the base's weights, and to the logits with it and without it.

    Each is a distance relative to what was there: ‖after − before‖ / ‖before‖.
    """

    base: float
    with_adapter: float
    without_adapter: float


@torch.no_grad()
def loading(model: PreTrainedModel, init: bool | str = True, rank: int = 8) -> Loading:
    """Add an adapter of PEFT's initialization `init` to a copy of the model, and see what that moved.

    With True (A drawn, B zero) nothing moves, to the bit. "pissa" (Meng et al. 2024) and "olora" (Büyükakyüz 2024)
    subtract from W what they put into BA: the whole is unchanged except for rounding, but the base without its adapter
    is not.
    """
    from labkit.models import add_lora

    ids = torch.arange(min(32, model.config.vocab_size), device=model.device)[None]  # any text will do
    logits = model(input_ids=ids).logits
    adapted = add_lora(copy.deepcopy(model), rank, 2 * rank, init_lora_weights=init)
    layers, under = lora.linear_layers(model), lora.linear_layers(adapted.get_base_model())
    before = {name: layers[name].weight for name in lora.targeted(layers, "all-linear")}
    moved = _norm(under[f"{name}.base_layer"].weight - weight for name, weight in before.items())
    whole = _norm(before.values())
    with_adapter = adapted(input_ids=ids).logits
    with adapted.disable_adapter():
        without_adapter = adapted(input_ids=ids).logits
    distances = (float((after - logits).norm() / logits.norm()) for after in (with_adapter, without_adapter))
    return Loading(moved / whole, *distances)


def _norm(parts: Iterable[torch.Tensor]) -> float:
    """‖·‖_F of all parts together."""
    return math.sqrt(sum(float(part.square().sum()) for part in parts))


@dataclass(frozen=True)
class Rounding:
    """What merging lost: ‖merged − exact‖ / ‖ΔW‖, and the share of W's entries that did not move at all."""

    lost: float
    unmoved: float


def rounding(
    W: torch.Tensor, A: torch.Tensor, B: torch.Tensor, alpha: float, dtype: torch.dtype = torch.bfloat16
) -> Rounding:
    """Merge into W kept as `dtype`, and compare with the sum in float64."""
    W = W.to(dtype)
    change = lora.scale(alpha, len(A), rank_stabilized=False) * (B.double() @ A.double())
    merged = lora.merge(W, A, B, alpha)
    lost = (merged.double() - (W.double() + change)).norm() / change.norm()
    return Rounding(float(lost), float((merged == W).double().mean()))
