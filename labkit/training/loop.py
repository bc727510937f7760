"""One loop for full fine-tuning and adapters: its settings, learning rate schedule and batches, and what it records.

The loop is short and fast: a batch is computed in parts of similar length, and the output layer only where there is a
label. Rows come from `masking`, models from `models`; many adapters at once are in `together`.
"""

from __future__ import annotations

import dataclasses
import math
import random
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import torch
import torch.nn.functional as F

from labkit.common import InputError
from labkit.live import Line
from labkit.masking import IGNORED, Rendered, collate

Row: TypeAlias = Mapping | Rendered  # `input_ids` and `labels`, equally long

SCHEDULES = ("cosine", "linear", "constant")
PARTS = 4  # a CPU gains more from less padding than it loses from smaller matrix products
NUMBER_FORMATS = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class Settings:
    """Everything that decides a run besides the model and the rows. Raises `InputError` for values that make no sense."""

    steps: int = 240
    batch_size: int = 32  # rows a step
    lr: float = 3e-3  # the highest learning rate of the schedule
    schedule: str = "cosine"
    warmup: float = 0.05  # share of the steps over which the learning rate rises
    weight_decay: float = 0.0
    beta1: float = 0.9
    beta2: float = 0.999
    clip: float | None = 1.0  # largest gradient norm; None: no clipping
    accumulation: int = 1  # parts a batch is computed in, at least: less memory, the same gradient
    b_ratio: float = 1.0  # of the rate for LoRA's B to the rate for everything else: LoRA+ (arXiv 2402.12354) has 16
    seed: int = 0
    eval_every: int | None = None  # steps between validations; None: once, at the end
    number_format: str = "auto"  # of the matrix products: float32, bfloat16, or what suits the device

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "accumulation", "eval_every"):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, int) or value < 1):
                raise InputError(f"{name} is {value}: give an integer of at least 1")
        if not (math.isfinite(self.lr) and self.lr > 0):
            raise InputError(
                f"lr is {self.lr}: give a finite learning rate above 0, such as 3e-3 for LoRA or 1e-3 for all weights"
            )
        if not (math.isfinite(self.b_ratio) and self.b_ratio > 0):
            raise InputError(f"b_ratio is {self.b_ratio}: give a number above 0, such as 16")
        if self.schedule not in SCHEDULES:
            raise InputError(f"schedule is {self.schedule!r}: choose one of {', '.join(SCHEDULES)}")
        if not 0 <= self.warmup <= 1:
            raise InputError(f"warmup is {self.warmup}: give the share of the steps, between 0 and 1")
        if not (math.isfinite(self.weight_decay) and self.weight_decay >= 0):
            raise InputError(f"weight_decay is {self.weight_decay}: give 0 or more")
        for name in ("beta1", "beta2"):
            if not 0 <= getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}: give a number from 0 up to, but not including, 1")
        if self.clip is not None and not self.clip > 0:
            raise InputError(f"clip is {self.clip}: give the largest gradient norm, above 0, or None")
        if self.number_format not in ("auto", *NUMBER_FORMATS):
            raise InputError(f"number_format is {self.number_format!r}: choose auto, float32 or bfloat16")

    def dtype(self, device: torch.device | str) -> torch.dtype:
        """The type of the matrix products on this device."""
        return number_format(device) if self.number_format == "auto" else NUMBER_FORMATS[self.number_format]


@dataclass
class History:
    """What a run recorded, an entry a step: loss in nats per counted token, gradient norm before clipping, time."""

    step: list[int] = field(default_factory=list)  # from 1
    loss: list[float] = field(default_factory=list)
    lr: list[float] = field(default_factory=list)
    grad_norm: list[float] = field(default_factory=list)
    unmasked_tokens: list[int] = field(default_factory=list)  # tokens that carried loss in this step
    tokens: list[int] = field(default_factory=list)  # real tokens, without padding, in this step
    seconds: list[float] = field(default_factory=list)  # since the start, without validation and `on_step`
    validation_step: list[int] = field(default_factory=list)
    validation_loss: list[float] = field(default_factory=list)

    def as_dict(self) -> dict[str, list]:
        """Plain lists for JSON, which knows no NaN or infinity: such losses become None."""
        return {
            name: [None if isinstance(value, float) and not math.isfinite(value) else value for value in values]
            for name, values in dataclasses.asdict(self).items()
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Sequence]) -> History:
        """The inverse of `as_dict`; None becomes NaN."""
        rows: dict[str, list] = {
            name: [math.nan if value is None else value for value in row] for name, row in values.items()
        }
        return cls(**rows)


def schedule(step: int, steps: int, lr: float, warmup: float, kind: str) -> float:
    """The learning rate of update `step`, counted from 0: a linear rise over the `warmup` share, then the decay.

    No update is wasted at rate 0: the first has lr / (warmup steps), the last of a decay is just above 0.
    """
    rising = round(warmup * steps)
    if step < rising:
        return lr * (step + 1) / rising
    done = (step - rising) / (steps - rising)
    if kind == "cosine":
        return lr * (1 + math.cos(math.pi * done)) / 2
    if kind == "linear":
        return lr * (1 - done)
    return lr


def batches(rows: int, batch_size: int, steps: int, seed: int) -> list[list[int]]:
    """For each step the indices of its rows, drawn at random; every epoch is complete and shuffled again.

    An epoch's last batch may be smaller.
    """
    if not rows:
        raise InputError("there are no rows to train on")
    draw = random.Random(seed)
    order: list[list[int]] = []
    while len(order) < steps:
        epoch = draw.sample(range(rows), rows)
        order += [epoch[start : start + batch_size] for start in range(0, rows, batch_size)]
    return order[:steps]


def parts(batch: Sequence[int], lengths: Sequence[int], count: int = PARTS) -> list[list[int]]:
    """The rows of one batch in at most `count` parts of similar length, shortest first.

    Each part is padded to its own longest row. The gradient, summed over the parts, is that of the whole batch.
    """
    alike = sorted(batch, key=lambda row: lengths[row])
    size = math.ceil(len(alike) / count)
    return [alike[start : start + size] for start in range(0, len(alike), size)]


def mean_loss(summed: torch.Tensor, counted: int, part: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """A part's share of the step's loss: its sum divided by the counted tokens of the whole batch, not of the part
    alone.
    """
    return summed / counted


@dataclass(frozen=True)
class Hooks:
    """The places at which `fit` can be changed, so that one fault can be planted while the rest stays sound.

    The defaults are correct; `labkit.diagnosis.clinic` replaces them.
    """

    batches: Callable[[int, int, int, int], list[list[int]]] = batches
    schedule: Callable[[int, int, float, float, str], float] = schedule
    mean_loss: Callable[[torch.Tensor, int, Mapping[str, torch.Tensor]], torch.Tensor] = mean_loss
    optimized: Callable[[list], list] = list  # of the parameters that require gradients, those the optimizer gets
    unlabelled: bool = False  # whether rows without a counted token are let through
    parts: int = PARTS  # a batch is computed in, on a CPU


def seed_everything(seed: int) -> None:
    """Seed Python, numpy and torch, and keep float32 products exact (TF32 would round them on some GPUs)."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False


def number_format(device: torch.device | str) -> torch.dtype:
    """bfloat16 on GPUs since Ampere, else float32.

    On every CPU float32: at the kit's size a step in bfloat16 is slower even where the processor has instructions for
    it, because converting costs more than the small products save.
    """
    kind = torch.device(device).type
    if kind == "cuda":
        return torch.bfloat16 if torch.cuda.get_device_capability(device)[0] >= 8 else torch.float32
    return torch.float32


def fit(
    model: torch.nn.Module,
    rows: Sequence[Row],
    settings: Settings,
    *,
    pad: int,
    validation: Sequence[Row] | None = None,
    on_step: Callable[[int, History], bool | None] | None = None,
    on_nan: str = "raise",
    hooks: Hooks = Hooks(),
    state: Mapping | None = None,
    on_state: Callable[[int, Callable[[], dict]], None] | None = None,
) -> History:
    """Train the parameters that require gradients; the same seed gives the same losses to the bit on one CPU.

    AdamW; the loss of a step is the sum over its counted tokens divided by their number, however many parts it is
    computed in. `on_step(step, history)` is called after every step, and ends the run by returning True; without it a
    line shows how far the run is. A loss or gradient that is NaN or infinite raises `InputError` before it reaches the
    weights; with `on_nan="record"` it is recorded and the run goes on.

    After `on_step` comes `on_state(step, take)`: `take()` gives all that decides the rest of the run, as plain data and
    tensors that the next step changes, so save them at once. A later call with that `state`, the same model, rows and
    settings goes on after that step, and ends with the same weights to the bit on one CPU.
    """
    taught = [checked_row(row, number, model, unlabelled=hooks.unlabelled) for number, row in enumerate(rows)]
    held_out = [checked_row(row, number, model, "validation row") for number, row in enumerate(validation or [])]
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not parameters:
        raise InputError("no parameter of the model is trainable; add an adapter, or set requires_grad")
    seed_everything(settings.seed)
    device = parameters[0].device
    dtype = settings.dtype(device)
    ratios = {id(weight): settings.b_ratio for name, weight in model.named_parameters() if ".lora_B." in name}
    groups: dict[tuple[bool, float], list] = {}
    for weight in hooks.optimized(parameters):
        groups.setdefault((weight.ndim >= 2, ratios.get(id(weight), 1.0)), []).append(weight)
    optimizer = torch.optim.AdamW(
        [  # biases and norms are not decayed
            {"params": weights, "weight_decay": settings.weight_decay if decayed else 0.0, "ratio": ratio}
            for (decayed, ratio), weights in groups.items()
        ],
        betas=(settings.beta1, settings.beta2),
        fused=device.type in ("cpu", "cuda"),
    )
    summed_loss = _summed_loss(model, dtype)
    history = History()
    if state is not None:
        _restore(state, model, optimizer, device)
        history = History.from_dict(state["history"])
    seconds = history.seconds[-1] if history.seconds else 0.0

    def validate(step: int) -> None:
        history.validation_step.append(step)
        history.validation_loss.append(evaluate(model, held_out, pad=pad, dtype=dtype))
        model.train()

    model.train()
    if held_out and settings.eval_every and state is None:
        validate(0)
    lengths = [len(row["input_ids"]) for row in taught]
    count = max(settings.accumulation, hooks.parts if device.type == "cpu" else 1)
    order = hooks.batches(len(taught), settings.batch_size, settings.steps, settings.seed)
    line = Line() if on_step is None else None
    for step, chosen in enumerate(order):
        if step < len(history.step):
            continue
        started = time.perf_counter()
        batch = [taught[index] for index in chosen]
        counted = sum(counted_tokens(row) for row in batch)
        rate = hooks.schedule(step, settings.steps, settings.lr, settings.warmup, settings.schedule)
        for group in optimizer.param_groups:
            group["lr"] = rate * group["ratio"]

        optimizer.zero_grad(set_to_none=True)
        loss = 0.0
        for part in parts(chosen, lengths, count):
            collated = collate([taught[index] for index in part], pad)
            mean = hooks.mean_loss(summed_loss(collated), counted, collated)
            mean.backward()
            loss += mean.item()
        norm = torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
        grad_norm = norm.item()
        if not (math.isfinite(loss) and math.isfinite(grad_norm)) and on_nan != "record":
            raise InputError(
                f"step {step + 1}: the loss is {loss:.3g}, gradient norm {grad_norm:.3g} at learning rate {rate:.3g}; "
                "try a tenth of the learning rate, a longer warmup, or clipping at 1"
            )
        if settings.clip is not None:
            torch.nn.utils.clip_grads_with_norm_(parameters, settings.clip, norm)
        optimizer.step()
        seconds += time.perf_counter() - started

        history.step.append(step + 1)
        history.loss.append(loss)
        history.lr.append(rate)
        history.grad_norm.append(grad_norm)
        history.unmasked_tokens.append(counted)
        history.tokens.append(sum(len(row["input_ids"]) for row in batch))
        history.seconds.append(seconds)
        due = step + 1 == settings.steps or (settings.eval_every and (step + 1) % settings.eval_every == 0)
        if held_out and due:
            validate(step + 1)
        if line is not None:
            line.show(f"step {step + 1} of {settings.steps}, loss {loss:.3f}", (step + 1) / settings.steps)
        ended = on_step is not None and on_step(step + 1, history)
        if on_state is not None:
            on_state(step + 1, lambda: _state(model, optimizer, history, device))
        if ended:
            break
    if line is not None:
        line.close()
    model.eval()
    return history


def _state(model: torch.nn.Module, optimizer: torch.optim.Optimizer, history: History, device: torch.device) -> dict:
    """What `_restore` and the loop need to go on: trained weights, the optimizer's moments, random states, history."""
    return {
        "weights": {name: value.detach() for name, value in model.named_parameters() if value.requires_grad},
        "optimizer": optimizer.state_dict(),
        "history": history.as_dict(),
        "random": torch.get_rng_state(),
        "device_random": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
    }


@torch.no_grad()
def _restore(state: Mapping, model: torch.nn.Module, optimizer: torch.optim.Optimizer, device: torch.device) -> None:
    """Put a state back. Raises `InputError` if it is not one of this model."""
    there = {name: value for name, value in model.named_parameters() if value.requires_grad}
    shapes = [{name: tuple(value.shape) for name, value in each.items()} for each in (there, state["weights"])]
    if shapes[0] != shapes[1]:
        raise InputError("the saved state is not of this model: its trained weights have other names or shapes")
    for name, value in there.items():
        value.copy_(state["weights"][name])
    optimizer.load_state_dict(state["optimizer"])
    torch.set_rng_state(state["random"])
    if device.type == "cuda" and state["device_random"] is not None:
        torch.cuda.set_rng_state(state["device_random"], device)


@torch.no_grad()
def evaluate(
    model: torch.nn.Module,
    rows: Sequence[Row],
    *,
    pad: int,
    batch_size: int = 64,
    dtype: torch.dtype = torch.float32,
) -> float:
    """The loss on rows, in nats per counted token; leaves the model in evaluation mode."""
    asked = [checked_row(row, number, model) for number, row in enumerate(rows)]
    asked.sort(key=lambda row: len(row["input_ids"]))
    if not asked:
        raise InputError("there are no rows to evaluate on")
    model.eval()
    summed_loss = _summed_loss(model, dtype)
    total = sum(
        summed_loss(collate(asked[start : start + batch_size], pad)).item()
        for start in range(0, len(asked), batch_size)
    )
    return total / sum(counted_tokens(row) for row in asked)


def checked_row(row: Row, number: int, model: torch.nn.Module, kind: str = "row", unlabelled: bool = False) -> Mapping:
    """The row as a mapping, if it can be trained on."""
    row = row if isinstance(row, Mapping) else vars(row)
    context = getattr(model.config, "max_position_embeddings", None)
    if context is not None and len(row["input_ids"]) > context:
        length = len(row["input_ids"])
        raise InputError(
            f"{kind} {number}: {length} tokens, but the model's context is {context}; render with max_length={context}"
        )
    if not (unlabelled or counted_tokens(row)):
        raise InputError(f"{kind} {number}: no token carries loss, all labels are {IGNORED}; check the mask")
    return row


def counted_tokens(row: Mapping) -> int:
    """How many tokens of a row carry loss; the first never does, because nothing comes before it."""
    return sum(label != IGNORED for label in row["labels"][1:])


def _summed_loss(model: torch.nn.Module, dtype: torch.dtype) -> Callable[[dict], torch.Tensor]:
    """A function from a batch to the cross-entropy summed over its counted tokens."""
    forward = logits_at_labels(model, dtype)

    def summed_loss(batch: dict[str, torch.Tensor]) -> torch.Tensor:
        logits, targets, _ = forward(batch)
        return F.cross_entropy(logits, targets, reduction="sum")

    return summed_loss


def logits_at_labels(
    model: torch.nn.Module, dtype: torch.dtype
) -> Callable[[dict], tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    """A function from a batch to (logits in float32, the labels they should predict, the row each is in), one line
    for each counted token.

    Most tokens of a row carry no label, so the output layer, the widest of a small model, is computed only where one
    does. If a model does more than apply it to the last hidden states, the whole forward pass is used instead. Padding
    is on the right, so causal attention never sees it from a real token, and needs no mask.
    """
    device = next(model.parameters()).device
    parts = _backbone_and_head(model)

    def forward(batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        targets = batch["labels"][:, 1:]
        counted = targets != IGNORED
        row, column = counted.nonzero(as_tuple=True)
        positions = (row * batch["input_ids"].shape[1] + column).to(device)
        ids = batch["input_ids"].to(device)
        with torch.autocast(device.type, dtype=dtype) if dtype != torch.float32 else nullcontext():
            if parts is not None:
                backbone, head = parts
                hidden = backbone(input_ids=ids, use_cache=False).last_hidden_state
                logits = head(hidden.flatten(0, 1).index_select(0, positions))
            else:
                logits = model(input_ids=ids, attention_mask=batch["attention_mask"].to(device)).logits
                logits = logits.flatten(0, 1).index_select(0, positions)
        return logits.float(), targets[counted].to(device), row.to(device)

    return forward


def _backbone_and_head(model: torch.nn.Module) -> tuple[torch.nn.Module, torch.nn.Module] | None:
    """(the part that gives the last hidden states, the output layer) if together they give the model's logits,
    otherwise None.

    Tried out on a few tokens rather than known by name: some architectures scale or cap their logits.
    """
    whole: Any = getattr(model, "get_base_model", lambda: model)()
    backbone = getattr(whole, getattr(whole, "base_model_prefix", "") or "model", None)
    head = whole.get_output_embeddings() if hasattr(whole, "get_output_embeddings") else None
    if backbone is None or head is None:
        return None
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            ids = torch.arange(1, 9, device=next(model.parameters()).device)[None]
            logits = head(backbone(input_ids=ids, use_cache=False).last_hidden_state)
            same = torch.allclose(logits, model(input_ids=ids).logits, rtol=1e-4, atol=1e-4)
            return (backbone, head) if same else None
    except (TypeError, AttributeError, RuntimeError):  # another signature, or no hidden states
        return None
    finally:
        model.train(training)
