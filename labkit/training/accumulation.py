"""A batch computed in parts: the gradient that comes out, by what each part's loss is divided by, and a fence that
stands for a card's memory.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from labkit.masking import collate
from labkit.training.loop import IGNORED

Divide = Callable[[torch.Tensor, int, int], torch.Tensor]  # (a part's summed loss, its count, that of all parts)


@dataclass(frozen=True)
class Accumulated:
    """The gradient over all weights in one row, summed over the parts; each part's summed loss and counted tokens."""

    gradient: torch.Tensor
    sums: list[float]
    counts: list[int]

    def off(self, other: Accumulated) -> float:
        """The distance between two gradients, as a share of the other's length."""
        return float((self.gradient - other.gradient).norm() / other.gradient.norm())


class Fence:
    """Adds up what autograd keeps for the backward pass, and raises `MemoryError` above a limit in megabytes."""

    def __init__(self, megabytes: float) -> None:
        self.left, self.seen = megabytes * 1e6, set[int]()

    def keep(self, tensor: torch.Tensor) -> torch.Tensor:
        """A hook for `torch.autograd.graph.saved_tensors_hooks`. A storage counts once, and weights do not."""
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in self.seen and not isinstance(tensor, torch.nn.Parameter):
            self.seen.add(storage.data_ptr())
            self.left -= storage.nbytes()
        if self.left < 0:
            raise MemoryError("out of memory: the fence was reached")
        return tensor


def accumulated(
    model: torch.nn.Module, parts: Sequence[Sequence], pad: int, divide: Divide, megabytes: float | None = None
) -> Accumulated:
    """The gradient of a batch in parts, each a list of rows. `megabytes` fences in what one part may keep for backward.

    Raises `MemoryError` where the fence is reached.
    """
    counts = [sum(label != IGNORED for row in part for label in row.labels[1:]) for part in parts]
    device = next(model.parameters()).device
    weights, sums = [weight for weight in model.parameters() if weight.requires_grad], []
    total = [torch.zeros_like(weight) for weight in weights]
    for part, count in zip(parts, counts):
        batch = {name: each.to(device) for name, each in collate(list(part), pad).items()}
        fence = Fence(float("inf") if megabytes is None else megabytes)
        with torch.autograd.graph.saved_tensors_hooks(fence.keep, lambda tensor: tensor):
            logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits[:, :-1]
            labels = batch["labels"][:, 1:].flatten()
            loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels, reduction="sum")
        sums.append(loss.item())
        for place, grad in enumerate(torch.autograd.grad(divide(loss, count, sum(counts)), weights)):
            total[place] += grad
    return Accumulated(torch.cat([each.flatten() for each in total]), sums, counts)
