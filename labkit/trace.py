"""A training step, traced: how many bytes are alive after each operation, on a model without numbers.

Under torch's `FakeTensorMode` a tensor has a shape, a type and a device but no storage, so that a step of a model of 8
billion parameters is traced in seconds on any machine. `Meter` counts what is alive, in such a trace as on real tensors.
What comes out is what torch allocates for tensors; what a card holds besides them (its context, the allocator's reserve)
is not in it. The formula that says the same without a trace is in `memory`.
"""

from __future__ import annotations

import contextlib
import warnings
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast
from unittest import mock

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from labkit import architectures, memory, models

if TYPE_CHECKING:
    from transformers import PretrainedConfig


class Meter(TorchDispatchMode):
    """Bytes of all storages that are alive: those of `held`, and each that an operation makes until it is freed.

    A view costs nothing, because it shares its storage. `course` has the bytes after each operation; `peak` is the most
    since the last `restart`.
    """

    def __init__(self, held: list[torch.Tensor]) -> None:
        super().__init__()
        self.alive, self.peak = 0, 0
        self.course: list[int] = []
        self._known: dict[int, int] = {}  # storage: its bytes
        for tensor in held:
            self._add(tensor)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for made in tree_leaves(result):
            if isinstance(made, torch.Tensor):
                self._add(made)
        self.course.append(self.alive)
        return result

    def restart(self) -> None:
        self.peak = self.alive

    def _add(self, tensor: torch.Tensor) -> None:
        storage = tensor.untyped_storage()
        place, size = storage._cdata, storage.nbytes()
        if place in self._known:
            return
        self._known[place] = size
        self.alive += size
        self.peak = max(self.peak, self.alive)
        weakref.finalize(storage, self._forget, place)

    def _forget(self, place: int) -> None:
        self.alive -= self._known.pop(place, 0)


@dataclass(frozen=True)
class Trace:
    """Bytes of one step as it is from the second on, when the optimizer's states are there.

    `forward`, `backward` and `step` are the most that is alive during each of the three; `course` has what is alive
    after each operation of the three.
    """

    weights: int
    states: int
    gradients: int
    forward: int
    backward: int
    step: int
    course: tuple[int, ...]
    parts: tuple[int, int]  # where in `course` backward and step begin

    @property
    def peak(self) -> int:
        return max(self.forward, self.backward, self.step)


def trace(config: PretrainedConfig, setup: memory.Setup) -> Trace:
    """One step of that model, without weights. Of the optimizers, AdamW with `foreach` or fused can be traced."""
    with warnings.catch_warnings(action="ignore"):
        model = _on_meta(config, setup)
    with warnings.catch_warnings(action="ignore"), _nothing_packed(), FakeTensorMode(allow_non_fake_inputs=True):
        model.to_empty(device="cpu")
        whole = cast(Any, model)
        (whole if setup.method == "full" else whole.get_base_model()).tie_weights()
        ids = torch.zeros(setup.batch, setup.sequence, dtype=torch.long)
        return measure(model, ids, setup.optimizer)


def measure(model: torch.nn.Module, ids: torch.Tensor, optimizer: str = "adamw") -> Trace:
    """One step of a model, real or fake, on rows of ids (batch, length), every token of which is counted.

    Gradients must be None before it, and afterwards are again. On real tensors it changes what is trainable.
    """
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    stepper = torch.optim.AdamW(trained, lr=1e-5, foreach=optimizer == "adamw", fused=optimizer == "adamw-fused")
    meter = Meter(_tensors(model))
    weights = meter.alive
    meter.restart()
    with meter:
        loss = model(input_ids=ids, labels=ids, use_cache=False).loss
        forward, ends = meter.peak, len(meter.course)
        meter.restart()
        loss.backward()
        backward, stepped = meter.peak, len(meter.course)
        del loss
        meter.restart()
        before = meter.alive
        stepper.step()
        step = meter.peak
    states = meter.alive - before
    gradients = sum(parameter.grad.nbytes for parameter in trained if parameter.grad is not None)
    model.zero_grad(set_to_none=True)
    course = [alive + states for alive in meter.course[:stepped]] + meter.course[stepped:]
    return Trace(weights, states, gradients, forward + states, backward + states, step, tuple(course), (ends, stepped))


def _tensors(model: torch.nn.Module) -> list[torch.Tensor]:
    """All that a model keeps: parameters, buffers, and the constants of weights in four bits."""
    kept = [*model.parameters(), *model.buffers()]
    for parameter in model.parameters():
        state = getattr(parameter, "quant_state", None)
        if state is not None:
            kept += [state.absmax, state.code]
            kept += [state.offset, state.state2.absmax, state.state2.code] if state.nested else []
    return kept


def _on_meta(config: PretrainedConfig, setup: memory.Setup) -> torch.nn.Module:
    """The model in that set-up, in training mode, with shapes alone."""
    kind = getattr(torch, setup.dtype)
    with torch.device("meta"):
        model = architectures.on_meta(config).to(kind)
        if setup.method == "qlora":
            _in_four_bits(model, kind)
        if setup.method != "full":
            adapted = models.add_lora(model, setup.rank, 2 * setup.rank, list_or_all(setup.targets))
            for name, parameter in adapted.named_parameters():
                if ".lora_" in name:
                    parameter.data = parameter.data.to(getattr(torch, setup.adapter_dtype))
            model = cast(Any, adapted)
    if setup.checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    return model.train()


def list_or_all(targets: tuple[str, ...]) -> list[str] | str:
    return "all-linear" if targets == ("all-linear",) else list(targets)


class _Dequantized(torch.autograd.Function):
    """x times a weight that is kept packed: it is unpacked in forward and once more in backward, and never saved.

    As bitsandbytes' `MatMul4Bit`. In a trace no number counts, so an empty tensor stands for the unpacked weight.
    """

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, packed: torch.Tensor, shape: tuple[int, int]) -> torch.Tensor:
        ctx.save_for_backward(packed)
        ctx.shape = shape
        return torch.nn.functional.linear(x, torch.empty(shape, dtype=x.dtype, device=packed.device))

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        (gradient,) = gradients
        (packed,) = ctx.saved_tensors
        return gradient @ torch.empty(ctx.shape, dtype=gradient.dtype, device=packed.device), None, None


class _FourBits(torch.nn.Linear):
    """A linear layer in NF4 with double quantization, as to its bytes: what PEFT adapts like any other linear layer."""

    def __init__(self, in_features: int, out_features: int, bias: torch.nn.Parameter | None, dtype: torch.dtype):
        super().__init__(in_features, out_features, bias=False, device="meta", dtype=dtype)
        count = in_features * out_features
        blocks = -(-count // 64)
        packed = torch.empty(-(-count // 2), 1, dtype=torch.uint8, device="meta")
        self.weight = torch.nn.Parameter(packed, requires_grad=False)
        self.bias = bias  # type: ignore[assignment]  # which a linear layer may lack
        self.register_buffer("absmax", torch.empty(blocks, dtype=torch.uint8, device="meta"))
        self.register_buffer("absmax2", torch.empty(-(-blocks // 256), dtype=torch.float32, device="meta"))
        self.register_buffer("tables", torch.empty(16 + 256 + 1, dtype=torch.float32, device="meta"))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result = _Dequantized.apply(x, self.weight, (self.out_features, self.in_features))
        return result if self.bias is None else result + self.bias


def _in_four_bits(model: torch.nn.Module, dtype: torch.dtype) -> None:
    """Replace every linear layer but the output layer."""
    for module in list(model.modules()):
        for child, layer in list(module.named_children()):
            if isinstance(layer, torch.nn.Linear) and child != "lm_head":
                setattr(module, child, _FourBits(layer.in_features, layer.out_features, layer.bias, dtype))


@contextlib.contextmanager
def _nothing_packed() -> Iterator[None]:
    """transformers looks into the positions for rows packed into one, and takes what it cannot see for packed.

    It then makes a mask of length × length, and copies the keys for each head. Here each row is one example.
    """
    with mock.patch("transformers.masking_utils.find_packed_sequence_indices", lambda *args, **kwargs: None):
        yield
