"""Many LoRA adapters trained at once over one frozen base, each equal to its separate run of `loop.fit`.

The rows of all adapters go through the base together, sorted by length into parts that fit a core's cache; each row is
given its own adapter by batched matrix products (as in Punica, Chen et al. 2023, there for serving). What an adapter's
run depends on is its own: rate, schedule, rank, alpha, seed, rows, clipping. Which trials run, where, and what is kept
of them is decided in `sweeps`.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F

from labkit import models
from labkit.common import InputError
from labkit.masking import collate
from labkit.training.loop import (
    History,
    Row,
    Settings,
    batches,
    checked_row,
    counted_tokens,
    fit,
    logits_at_labels,
    schedule,
    seed_everything,
)

if TYPE_CHECKING:
    from peft import PeftModel

    from labkit.models import Model


class NotAtOnce(InputError):
    """These runs cannot share a forward pass; each alone can be trained."""


AT_ONCE = 8  # more adapters at once save little more
PART_TOKENS = {"cpu": 768}  # padded tokens of a part: what they need stays in a core's cache
MANY_TOKENS = 65_536  # the same on a GPU, where memory is the limit


@dataclass(frozen=True)
class Trial:
    """One run of many: its settings and its adapter, whose A is drawn from the settings' seed.

    Raises `InputError` for values that make no sense.
    """

    settings: Settings = field(default_factory=Settings)
    rank: int | None = 16  # None: no adapter, all weights are trained
    alpha: float = 32
    target_modules: str = "all-linear"  # or layer names joined by commas

    def __post_init__(self) -> None:
        if self.rank is None:
            return
        if not isinstance(self.rank, int) or self.rank < 1:
            raise InputError(f"rank is {self.rank}: give an integer of at least 1, or None to train all weights")
        if not (math.isfinite(self.alpha) and self.alpha > 0):
            raise InputError(f"alpha is {self.alpha}: give a finite number above 0")

    def __str__(self) -> str:
        adapter = "all weights" if self.rank is None else f"rank {self.rank}, alpha {self.alpha:g}"
        return f"lr {self.settings.lr:g}, {adapter}, seed {self.settings.seed}"


@dataclass(frozen=True)
class Trained:
    """What a trial leaves: its curves, and the trained weights on the CPU by name, an adapter's by PEFT's names."""

    trial: Trial
    history: History
    weights: dict[str, torch.Tensor]

    @contextmanager
    def on(self, model: Model) -> Iterator[Model]:
        """The model with these weights, as `models.add_lora` and `fit` would leave it: to score, or to save.

        An adapter is taken off the model afterwards; all weights are put into a copy.
        """
        if self.trial.rank is None:
            whole = copy.deepcopy(model)
            whole.load_state_dict(self.weights, strict=False)
            yield whole.eval()
            return
        from peft import set_peft_model_state_dict

        with _adapted(model, self.trial) as adapted:
            loaded: Any = set_peft_model_state_dict(adapted, self.weights)
            if unknown := loaded.unexpected_keys:
                raise InputError(f"the adapter does not fit the model, which has no {unknown[0]}; take its own base")
            yield adapted.eval()


def groups(trials: Sequence[Trial], at_once: int = AT_ONCE) -> list[list[int]]:
    """The trials' indices in groups that `fit_together` can take, at most `at_once` in each; a trial of all weights, or
    with another rate for B, is a group by itself.

    A group shares target modules and number format; number of steps and rank are similar, so that little is padded.
    """
    if at_once < 1:
        raise InputError(f"at_once is {at_once}: at least 1 is needed")
    alike: dict[tuple, list[int]] = {}
    for index, trial in enumerate(trials):
        alone = trial.rank is None or trial.settings.b_ratio != 1
        key = (index,) if alone else (trial.target_modules, trial.settings.number_format)
        alike.setdefault(key, []).append(index)
    found = []
    for members in alike.values():
        members.sort(key=lambda index: (trials[index].settings.steps, trials[index].rank or 0))
        count = math.ceil(len(members) / at_once)
        found += [members[len(members) * part // count : len(members) * (part + 1) // count] for part in range(count)]
    return found


def fit_alone(
    model: Model,
    trial: Trial,
    rows: Sequence[Row],
    *,
    pad: int,
    validation: Sequence[Row] | None = None,
    on_step: Callable[[int, History], None] | None = None,
) -> Trained:
    """One trial through `fit`: an adapter on the model, taken off afterwards, or all weights of a copy."""

    def trained(adapted: torch.nn.Module) -> History:
        return fit(adapted, rows, trial.settings, pad=pad, validation=validation, on_step=on_step, on_nan="record")

    if trial.rank is None:
        whole = copy.deepcopy(model).requires_grad_(True)
        history = trained(whole)
        return Trained(trial, history, {name: _kept(parameter) for name, parameter in whole.named_parameters()})
    with _adapted(model, trial) as adapted:
        return Trained(trial, trained(adapted), _adapter_weights(adapted))


def fit_together(
    model: Model,
    trials: Sequence[Trial],
    rows: Sequence[Sequence[Row]],
    *,
    pad: int,
    validation: Sequence[Sequence[Row]] | None = None,
    on_step: Callable[[int, list[History]], None] | None = None,
) -> list[Trained]:
    """Train an adapter for each trial, all at once, over the model, which is left as it was.

    `rows[k]` and `validation[k]` belong to trial k. Each trial's losses, norms and weights are those of `fit_alone`,
    except for rounding: sums over a batch are taken in another order. A loss that is NaN or infinite affects only its
    own trial. A history's `seconds` are the trial's share of what all took. `on_step(step, histories)` is called after
    every step. Raises `NotAtOnce` for trials that `groups` would not put together, for a model with dropout, whose
    draws would differ, and for an architecture whose layers do not see a batch row by row.
    """
    if len(groups(trials, max(len(trials), 1))) != 1 or trials[0].rank is None or trials[0].settings.b_ratio != 1:
        raise NotAtOnce("these trials cannot be trained at once: give adapters of the same modules and number format")
    if (where := _dropout(model)) is not None:
        raise NotAtOnce(f"the model has dropout ({where}): its draws at once are not those of separate runs; run alone")
    taught = [[checked_row(row, number, model) for number, row in enumerate(own)] for own in rows]
    held_out = [
        [checked_row(row, number, model, "validation row") for number, row in enumerate(own)]
        for own in validation or [()] * len(trials)
    ]
    device = next(model.parameters()).device
    settings = [trial.settings for trial in trials]
    seed_everything(settings[0].seed)
    stack = _Stack(model, trials)
    optimizer = torch.optim.AdamW(
        [
            {"params": own, "weight_decay": chosen.weight_decay, "betas": (chosen.beta1, chosen.beta2)}
            for own, chosen in zip(stack.own, settings, strict=True)
        ],
        fused=device.type in ("cpu", "cuda"),
    )
    clips = torch.tensor([math.inf if chosen.clip is None else chosen.clip for chosen in settings], device=device)
    orders = [
        batches(len(own), chosen.batch_size, chosen.steps, chosen.seed)
        for own, chosen in zip(taught, settings, strict=True)
    ]
    histories = [History() for _ in trials]
    with stack.on(model):
        forward = logits_at_labels(model, settings[0].dtype(device))

        def validate(step: int) -> None:
            due = {
                index: held_out[index]
                for index, chosen in enumerate(settings)
                if held_out[index] and step <= chosen.steps
                if step == chosen.steps or (chosen.eval_every and step % chosen.eval_every == 0)
            }
            with torch.no_grad():
                for index, loss in _losses(stack, forward, due, pad).items():
                    histories[index].validation_step.append(step)
                    histories[index].validation_loss.append(loss)

        validate(0)
        for step in range(max(chosen.steps for chosen in settings)):
            started = time.perf_counter()
            batch = {
                index: [taught[index][row] for row in orders[index][step]]
                for index, chosen in enumerate(settings)
                if step < chosen.steps
            }
            stack.zero_gradient()
            loss = _losses(stack, forward, batch, pad)
            norms = stack.clip(clips)
            for index, group in enumerate(optimizer.param_groups):
                group["lr"] = _rate(step, settings[index])
                if index not in batch:  # its last step is done, and momentum would still move it
                    group["params"] = []
            optimizer.step()
            share = (time.perf_counter() - started) / len(batch)

            for index, own in batch.items():
                history = histories[index]
                history.step.append(step + 1)
                history.loss.append(loss[index])
                history.lr.append(_rate(step, settings[index]))
                history.grad_norm.append(norms[index].item())
                history.unmasked_tokens.append(sum(map(counted_tokens, own)))
                history.tokens.append(sum(len(row["input_ids"]) for row in own))
                history.seconds.append(share + (history.seconds[-1] if history.seconds else 0.0))
            validate(step + 1)
            if on_step is not None:
                on_step(step + 1, histories)
    return [
        Trained(trial, history, stack.taken_out(index))
        for index, (trial, history) in enumerate(zip(trials, histories, strict=True))
    ]


def _rate(step: int, settings: Settings) -> float:
    return schedule(min(step, settings.steps - 1), settings.steps, settings.lr, settings.warmup, settings.schedule)


def _losses(stack: _Stack, forward: Callable, chosen: dict[int, list], pad: int) -> dict[int, float]:
    """Each adapter's loss over its rows, {adapter: nats per counted token}; where gradients are on, they are added to
    the stack's.
    """
    device = stack.device
    counts = torch.ones(len(stack.own))
    for index, own in chosen.items():
        counts[index] = sum(map(counted_tokens, own))
    counts = counts.to(device)
    summed = torch.zeros(len(stack.own), dtype=torch.float64)
    pairs = [(index, row) for index, own in chosen.items() for row in own]
    for part in _parts(pairs, PART_TOKENS.get(device.type, MANY_TOKENS)):
        stack.take([index for index, _ in part])
        logits, targets, row = forward(collate([row for _, row in part], pad))
        whose = stack.rows[row]
        each = F.cross_entropy(logits, targets, reduction="none") / counts[whose]
        if each.requires_grad:
            each.sum().backward()
        summed.index_add_(0, whose.cpu(), each.detach().double().cpu())
    return {index: summed[index].item() for index in chosen}


def _parts(pairs: Sequence[tuple[int, Mapping]], tokens: int) -> Iterator[list[tuple[int, Mapping]]]:
    """(adapter, row) pairs, shortest rows first, in parts that padded hold at most `tokens`, or one row."""
    part: list[tuple[int, Mapping]] = []
    for pair in sorted(pairs, key=lambda pair: len(pair[1]["input_ids"])):
        if part and (len(part) + 1) * len(pair[1]["input_ids"]) > tokens:
            yield part
            part = []
        part.append(pair)
    if part:
        yield part


class _Stack:
    """K adapters side by side: for each layer of the base their A as (K, rank, in) and their B as (K, out, rank).

    Lower ranks are padded with zeros up to the highest: A's zeros give B's no gradient and B's none to A's, so they
    stay zero. `own[k]` are adapter k's matrices as parameters, for the optimizer: views, with views of the gradients.
    """

    def __init__(self, model: Model, trials: Sequence[Trial]) -> None:
        self.device = next(model.parameters()).device
        self.ranks = [trial.rank or 0 for trial in trials]
        self.layers: dict[str, _Layer] = {}
        scales = [0.0] * len(trials)
        for index, trial in enumerate(trials):
            with _adapted(model, trial) as adapted:
                named: Iterable[tuple[str, Any]] = adapted.get_base_model().named_modules()
                for name, layer in named:
                    if not hasattr(layer, "lora_A"):
                        continue
                    a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
                    if name not in self.layers:
                        self.layers[name] = _Layer(self, len(trials), max(self.ranks), a.shape[1], b.shape[0])
                    self.layers[name].a.data[index, : trial.rank] = a.detach()
                    self.layers[name].b.data[index, :, : trial.rank] = b.detach()
                    scales[index] = layer.scaling["default"]
        self.scales = torch.tensor(scales, device=self.device)[:, None, None]
        self.stacks = [stack for layer in self.layers.values() for stack in (layer.a, layer.b)]
        self.own = [[_view(stack, index) for stack in self.stacks] for index in range(len(trials))]
        self.take([0])

    def take(self, rows: Sequence[int]) -> None:
        """Say which adapter each row of the next batch is given."""
        self.rows = torch.tensor(rows, device=self.device)
        self.scale = self.scales.index_select(0, self.rows)

    def clip(self, highest: torch.Tensor) -> torch.Tensor:
        """Scale each adapter's gradient down to its highest norm, as torch.nn.utils.clip_grads_with_norm_ does it.

        Returns the norms before, (K,).
        """
        gradients = [_gradient(stack) for stack in self.stacks]
        norms = torch.stack([torch.linalg.vector_norm(each, dim=(1, 2)) for each in gradients]).norm(dim=0)
        factor = torch.where(highest.isinf(), 1.0, (highest / (norms + 1e-6)).clamp(max=1.0))
        for each in gradients:
            each.mul_(factor[:, None, None])
        return norms

    def zero_gradient(self) -> None:
        torch._foreach_zero_([_gradient(stack) for stack in self.stacks])

    @contextmanager
    def on(self, model: Model) -> Iterator[None]:
        """The model with the adapters' layers around its own, which it gets back afterwards."""
        trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
        try:
            for parameter in trainable:
                parameter.requires_grad = False
            for name, layer in self.layers.items():
                layer.base = model.get_submodule(name)
                model.set_submodule(name, layer)
            yield
        finally:
            for name, layer in self.layers.items():
                if layer.base is not None:
                    model.set_submodule(name, layer.base)
            for parameter in trainable:
                parameter.requires_grad = True

    def taken_out(self, index: int) -> dict[str, torch.Tensor]:
        """One adapter by PEFT's names."""
        rank, weights = self.ranks[index], {}
        for name, layer in self.layers.items():
            weights[f"base_model.model.{name}.lora_A.weight"] = _kept(layer.a[index, :rank])
            weights[f"base_model.model.{name}.lora_B.weight"] = _kept(layer.b[index, :, :rank])
        return weights


def _gradient(stack: torch.nn.Parameter) -> torch.Tensor:
    """A stack's gradient, which is there from the start and never taken away."""
    assert stack.grad is not None
    return stack.grad


def _view(stack: torch.nn.Parameter, index: int) -> torch.nn.Parameter:
    view = torch.nn.Parameter(stack.data[index])
    view.grad = _gradient(stack)[index]
    return view


class _Layer(torch.nn.Module):
    """A layer of the base, and what the adapter of each row adds to its output."""

    a: torch.nn.Parameter
    b: torch.nn.Parameter

    def __init__(self, stack: _Stack, count: int, rank: int, wide: int, high: int) -> None:
        super().__init__()
        self.base: torch.nn.Module | None = None
        self.stack = stack
        for name, shape in (("a", (count, rank, wide)), ("b", (count, high, rank))):
            numbers = torch.nn.Parameter(torch.zeros(shape, device=stack.device))
            numbers.grad = torch.zeros_like(numbers)
            self.register_parameter(name, numbers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        assert self.base is not None  # the layer stands in the model only while it has one
        if x.ndim != 3 or len(x) != len(self.stack.rows):
            raise NotAtOnce(
                f"a layer is given shape {tuple(x.shape)} for {len(self.stack.rows)} rows: this architecture's "
                "adapters cannot be trained at once; run alone"
            )
        return _AddAdapters.apply(x, self.base(x), self.a, self.b, self.stack.scale, self.stack.rows)


class _AddAdapters(torch.autograd.Function):
    """y + s (x Aᵀ) Bᵀ for x of shape (rows, tokens, in), each row with its own adapter's A, B and s.

    The gradients of A and B are added here, not left to autograd, which would first expand each over all K.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        y: torch.Tensor,
        a: torch.Tensor,
        b: torch.Tensor,
        scale: torch.Tensor,
        rows: torch.Tensor,
    ) -> torch.Tensor:
        own_a, own_b = a.index_select(0, rows).to(y.dtype), b.index_select(0, rows).to(y.dtype)
        x = x.to(y.dtype)
        u = torch.bmm(x, own_a.mT).mul_(scale)
        ctx.save_for_backward(x, u, own_a, own_b, scale, rows)
        ctx.gradients = a.grad, b.grad
        if y._is_view():  # as GPT-2's layers give it; autograd would lose its shape
            return torch.baddbmm(y, u, own_b.mT)
        ctx.mark_dirty(y)
        return y.baddbmm_(u, own_b.mT)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, u, a, b, scale, rows = ctx.saved_tensors
        of_a, of_b = ctx.gradients
        of_u = torch.bmm(gradient, b).mul_(scale)
        of_b.index_add_(0, rows, torch.bmm(gradient.mT, u).to(of_b.dtype))
        of_a.index_add_(0, rows, torch.bmm(of_u.mT, x).to(of_a.dtype))
        return torch.bmm(of_u, a) if ctx.needs_input_grad[0] else None, gradient, None, None, None, None


@contextmanager
def _adapted(model: Model, trial: Trial) -> Iterator[PeftModel]:
    """The model with the trial's fresh adapter, through PEFT; afterwards without it, and trainable as before."""
    assert trial.rank is not None
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    adapted: Any = models.add_lora(model, trial.rank, trial.alpha, trial.target_modules, trial.settings.seed)
    try:
        yield adapted
    finally:
        adapted.unload()
        for parameter in trainable:
            parameter.requires_grad = True


def _adapter_weights(adapted: PeftModel) -> dict[str, torch.Tensor]:
    from peft import get_peft_model_state_dict

    return {name: _kept(weight) for name, weight in get_peft_model_state_dict(adapted).items()}


def _kept(weight: torch.Tensor) -> torch.Tensor:
    return weight.detach().to("cpu", copy=True).contiguous()


def _dropout(model: torch.nn.Module) -> str | None:
    """Where the model has dropout while it trains, or None."""
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Dropout) and module.p > 0:
            return name
    return next((name for name in ("attention_dropout",) if getattr(model.config, name, 0.0)), None)
