"""ΔW, what training adds to a model's linear layers: its spectrum, its truncation to a rank, LoRA's first step; and the
gradient that makes it, in the part that comes from prompts and the part that comes from completions.

An update is a dict {full name of a linear layer: ΔW, out × in}; the output layer, which in many models shares its table
with the embedding, is left out, as in LoRA. `lora.rank_needed` says what rank a spectrum needs.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from labkit import lora
from labkit.common import InputError
from labkit.masking import IGNORED, collate

Update = Mapping[str, torch.Tensor]


def layers(model: torch.nn.Module) -> dict[str, torch.nn.Linear]:
    """The linear layers of a model that an update is about, by full name."""
    found = lora.linear_layers(model)
    return {name: found[name] for name in lora.targeted(found, "all-linear")}


def between(base: torch.nn.Module, tuned: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The update that turned `base` into `tuned`. Raises `InputError` if their layers are not the same."""
    before, after = layers(base), layers(tuned)
    if {n: x.weight.shape for n, x in before.items()} != {n: x.weight.shape for n, x in after.items()}:
        raise InputError("the two models have different linear layers; give a model and its trained version, merged")
    return {name: (after[name].weight - before[name].weight).detach() for name in before}


def spectra(update: Update) -> dict[str, torch.Tensor]:
    """{name: the singular values of ΔW, descending}, on the CPU."""
    return {name: torch.linalg.svdvals(change).cpu() for name, change in update.items()}


def cut(update: Update, rank: int) -> dict[str, torch.Tensor]:
    """Each ΔW cut to its `rank` largest singular values: the nearest matrix of that rank (Eckart and Young 1936).

    Raises `InputError` for a negative rank; a rank above the matrix's leaves it unchanged.
    """
    if rank < 0:
        raise InputError(f"rank is {rank}: give 0 or more")
    found = {}
    for name, change in update.items():
        left, values, right = torch.linalg.svd(change, full_matrices=False)
        found[name] = left[:, :rank] * values[:rank] @ right[:rank]
    return found


def moved(model: torch.nn.Module, update: Update) -> torch.nn.Module:
    """A copy of the model with the update added to its layers."""
    found = copy.deepcopy(model)
    places = lora.linear_layers(found)
    with torch.no_grad():
        for name, change in update.items():
            places[name].weight += change
    return found


def cut_model(base: torch.nn.Module, tuned: torch.nn.Module, rank: int) -> torch.nn.Module:
    """`tuned`, with the update of its linear layers cut to `rank`; embedding and norms are those of `tuned`."""
    whole = between(base, tuned)
    kept = cut(whole, rank)
    return moved(tuned, {name: kept[name] - change for name, change in whole.items()})


def norm(update: Update) -> float:
    """‖ΔW‖_F over all layers together."""
    return math.sqrt(sum(float(change.double().square().sum()) for change in update.values()))


@dataclass(frozen=True)
class Parts:
    """A gradient over all weights in two parts, g = g_p + g_c: what the prompts' tokens and the completions' give."""

    norms: tuple[float, float]  # ‖g_p‖, ‖g_c‖
    sums: tuple[float, float]  # of absolute values
    cosine: float  # of the angle between the two

    @property
    def projection(self) -> float:
        """The prompts' share by projection on g: ⟨g_p, g⟩ / ⟨g, g⟩."""
        prompt, completion = self.norms
        across = self.cosine * prompt * completion
        return (prompt**2 + across) / (prompt**2 + completion**2 + 2 * across)


def parts(model: torch.nn.Module, batch: Mapping[str, torch.Tensor]) -> Parts:
    """The two parts of the gradient of the summed loss over all real tokens of a batch (`masking.collate`)."""
    place = next(model.parameters()).device
    batch = {name: each.to(place) for name, each in batch.items()}
    real, completion = batch["attention_mask"].bool(), batch["labels"] != IGNORED
    logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits[:, :-1]
    found = []
    for where in (real & ~completion, completion):
        labels = batch["input_ids"].where(where, IGNORED)[:, 1:]
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="sum")
        grads = torch.autograd.grad(loss, [p for p in model.parameters() if p.requires_grad], retain_graph=True)
        found.append(torch.cat([grad.flatten() for grad in grads]))
    one, other = found
    return Parts(
        norms=(one.norm().item(), other.norm().item()),
        sums=(one.abs().sum().item(), other.abs().sum().item()),
        cosine=(one @ other / (one.norm() * other.norm())).item(),
    )


# The first step of LoRA under Adam, for every rank from one backward pass of the base.


def gradients(model: torch.nn.Module, rows: Sequence, pad: int) -> dict[str, torch.Tensor]:
    """{name: the gradient of the rows' loss, a mean over counted tokens, on the layer's W}. The model is not changed."""
    chosen = layers(model)
    weights = [layer.weight for layer in chosen.values()]
    wanted = [weight.requires_grad for weight in weights]
    for weight in weights:
        weight.requires_grad_(True)
    try:
        batch = {name: each.to(weights[0].device) for name, each in collate(list(rows), pad).items()}
        found = torch.autograd.grad(model(**batch).loss, weights)
    finally:
        for weight, before in zip(weights, wanted):
            weight.requires_grad_(before)
    return dict(zip(chosen, found))


def first_update(
    gradients: Update, rank: int, scale: float, lr: float, generator: torch.Generator, eps: float = 1e-8
) -> dict[str, torch.Tensor]:
    """ΔW after one step of Adam from LoRA's start, B = 0: `scale`·BA with B = −lr · g / (|g| + eps).

    g = scale · G Aᵀ is B's gradient, G that of W. A does not move, because its gradient is Bᵀ times something. `scale`
    is α/r or α/√r (`lora.scale`); Adam cancels the size of g, so `scale` acts only once.
    """
    found = {}
    for name, gradient in gradients.items():
        A, _ = lora.initialize(rank, gradient.shape[1], gradient.shape[0], generator)
        A = A.to(gradient)
        g = scale * gradient @ A.T
        found[name] = scale * (-lr * g / (g.abs() + eps)) @ A
    return found


def first_order(gradients: Update, update: Update) -> float:
    """How much the loss changes by the update, to first order: Σ ⟨G, ΔW⟩."""
    return sum(float((gradients[name].double() * change.double()).sum()) for name, change in update.items())


CONVENTIONS = {  # what BA is multiplied by at a rank; all three are 2 at rank 16, as with the labs' alpha of 32
    "fixed α": lambda rank: lora.scale(32, rank, rank_stabilized=False),
    "fixed α/r": lambda rank: 2.0,
    "α/√r": lambda rank: lora.scale(8, rank, rank_stabilized=True),
}


@dataclass(frozen=True)
class FirstStep:
    """What one step of LoRA does at a rank under a convention: a mean over draws of A."""

    convention: str
    rank: int
    scale: float
    drop: float  # of the loss, to first order, in nats
    norm: float  # ‖ΔW‖_F


def first_steps(gradients: Update, ranks: Sequence[int], lr: float, seeds: Sequence[int] = range(5)) -> list[FirstStep]:
    """For each convention and rank the drop of the loss and the size of ΔW after one step, averaged over `seeds`."""
    found = []
    for convention, scale_at in CONVENTIONS.items():
        for rank in ranks:
            scale, drops, norms = scale_at(rank), [], []
            for seed in seeds:
                update = first_update(gradients, rank, scale, lr, torch.Generator().manual_seed(seed))
                drops.append(-first_order(gradients, update))
                norms.append(norm(update))
            found.append(FirstStep(convention, rank, scale, sum(drops) / len(drops), sum(norms) / len(norms)))
    return found
