"""A pretended GPU: a device of its own whose numbers are real, so that code for a GPU runs to its end without one.

A tensor on the card holds one of the CPU, which computes; outside it claims to be on torch's device `meta`. What a GPU
refuses is refused: tensors of both places in one operation (single numbers aside, and indices from the CPU), numpy, and
a generator of the CPU that is to fill a tensor of the card. Rounding is the CPU's: what differs on a GPU besides is not
shown.
"""

from __future__ import annotations

import contextlib
import copy
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import bitsandbytes
import pytest
import torch
import transformers
from peft.tuners.lora import LoraLayer
from peft.tuners.tuners_utils import BaseTunerLayer
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

from labkit import architectures, models, trace

CARD, CPU = torch.device("meta"), torch.device("cpu")
STOCK = torch.tensor
aten = torch.ops.aten
TAKES_INDICES = {aten.index, aten.index_put, aten.index_put_, aten._index_put_impl_}
MOVES = {aten.copy_, aten._to_copy, aten.to}


class OnCard(torch.Tensor):
    __slots__ = ("held",)
    held: torch.Tensor

    @staticmethod
    def __new__(cls, held: torch.Tensor) -> OnCard:
        made = torch.Tensor._make_wrapper_subclass(
            cls,
            held.shape,
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=CARD,
        )
        made.held = held
        return made

    def __repr__(self, *, tensor_contents: Any = None) -> str:
        return f"OnCard({self.held!r})"

    def __deepcopy__(self, memo: dict) -> torch.Tensor:
        made = OnCard(copy.deepcopy(self.held.detach()))
        made = torch.nn.Parameter(made, self.requires_grad) if isinstance(self, torch.nn.Parameter) else made
        memo[id(self)] = made
        return made

    def tolist(self) -> Any:
        return self.held.tolist()

    @property
    def data(self) -> torch.Tensor:
        return torch.Tensor.data.__get__(self)

    @data.setter
    def data(self, value: OnCard) -> None:
        torch.Tensor.data.__set__(self, value)
        self.held = value.held.detach()

    def __getitem__(self, place: Any) -> torch.Tensor:
        return super().__getitem__(_without_lists(place))

    def __setitem__(self, place: Any, value: Any) -> None:
        super().__setitem__(_without_lists(place), value)

    def untyped_storage(self) -> Any:
        return self.held.untyped_storage()

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        return run(func, args, kwargs or {})


class Params4bit(OnCard):
    """A weight in four bits, under the name by which transformers knows one."""

    __slots__ = ()


def on_card(weight: torch.Tensor) -> torch.Tensor:
    """A model's weight, on the card."""
    state = getattr(weight, "quant_state", None)
    made = torch.nn.Parameter(OnCard(weight.data), weight.requires_grad)
    made.__dict__.update(vars(weight))
    if state is not None:
        made.__class__ = Params4bit
        state.to(CARD)
    return made


def _without_lists(place: Any) -> tuple:
    """An index whose lists are tensors: torch would put a list on `meta`, without its numbers."""
    parts = place if isinstance(place, tuple) else (place,)
    return tuple(STOCK(each) if isinstance(each, list) else each for each in parts)


def run(func: Any, args: tuple, kwargs: dict) -> Any:
    """One operation, on what the card's tensors hold."""
    leaves = [*_leaves((args, kwargs))]
    tensors = [each for each in leaves if isinstance(each, torch.Tensor)]
    held = {id(each.held): each for each in tensors if isinstance(each, OnCard)}
    named = [each for each in leaves if isinstance(each, torch.device)]
    moves = func._overloadpacket in MOVES
    if func is aten.to.other:
        named = [args[1].device]
    to_card = named[0] == CARD if named else bool(held)
    if held and not moves:
        whole = _leaves(args[:1]) if func._overloadpacket in TAKES_INDICES else tensors
        if len({isinstance(each, OnCard) for each in whole if each.ndim}) > 1:
            raise RuntimeError(f"{func}: expected all tensors to be on the same device, but found the card and cpu")
    if any(each.is_meta and not isinstance(each, OnCard) for each in tensors):
        raise RuntimeError(f"{func}: a tensor without numbers")
    if to_card and any(isinstance(each, torch.Generator) for each in leaves):
        raise RuntimeError(f"{func}: expected a generator of the card, but found one of the cpu")

    def inside(value: Any) -> Any:
        if isinstance(value, OnCard):
            return value.held
        return CPU if isinstance(value, torch.device) else value

    found = func(*_map(inside, args), **_map(inside, kwargs))
    if func is aten.copy_.default:
        return args[0]
    if moves and to_card != bool(held) and any(found is getattr(each, "held", each) for each in tensors):
        found = found.clone()  # from one place to the other is always a copy
    return _map(lambda each: _on_card(each, held), found) if to_card else found


def _on_card(value: Any, held: dict[int, OnCard]) -> Any:
    if not isinstance(value, torch.Tensor):
        return value
    return held[id(value)] if id(value) in held else OnCard(value)


def _leaves(values: Any) -> Iterator[Any]:
    for value in values.values() if isinstance(values, dict) else values:
        if isinstance(value, (tuple, list, dict)):
            yield from _leaves(value)
        else:
            yield value


def _map(change: Callable[[Any], Any], value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _map(change, each) for name, each in value.items()}
    if isinstance(value, (tuple, list)):
        return type(value)(_map(change, each) for each in value)
    return change(value)


class Card(TorchDispatchMode):
    """While this is entered, what names the card's device is made there."""

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        return run(func, args, kwargs or {})


def tensor(data: Any, *, device: Any = None, **options: Any) -> torch.Tensor:
    """`torch.tensor`, which dispatches nothing by itself."""
    made: torch.Tensor = STOCK(data, **options)
    return made if device is None else made.to(device)


def to(module: torch.nn.Module, *args: Any, stock: Any = torch.nn.Module.to, **kwargs: Any) -> torch.nn.Module:
    """`Module.to`, in place as on a GPU; weights that are shared stay so."""
    device = torch._C._nn._parse_to(*args, **kwargs)[0]
    if device != CARD:
        return stock(module, *args, **kwargs)
    moved: dict[int, torch.Tensor] = {}
    for each in module.modules():
        for name, weight in each._parameters.items():
            if weight is not None and not isinstance(weight, OnCard):
                if id(weight) not in moved:
                    moved[id(weight)] = on_card(weight)
                each._parameters[name] = moved[id(weight)]
        for name, buffer in each._buffers.items():
            if buffer is not None and not isinstance(buffer, OnCard):
                each._buffers[name] = OnCard(buffer)
    return module


def move_adapter(
    layer: Any, name: str, device: Any = None, stock: Any = BaseTunerLayer._move_adapter_to_device_of_base_layer
) -> None:
    """PEFT's own leaves a second adapter where it is, because it takes the first, on `meta`, for one without numbers."""
    stock(layer, name, device)
    if isinstance(layer.get_base_layer().weight, OnCard):
        for part in (getattr(layer, each, None) for each in layer.adapter_layer_names):
            if isinstance(part, torch.nn.ModuleDict) and name in part:
                part[name].to(CARD)


def four_bits_to(weight: Any, *args: Any, stock: Any = bitsandbytes.nn.Params4bit.to, **kwargs: Any) -> torch.Tensor:
    """bitsandbytes' own takes `meta` for a place where nothing is quantized."""
    device = torch._C._nn._parse_to(*args, **kwargs)[0]
    return stock(weight, *args, **kwargs) if device != CARD else on_card(stock(weight, CPU))


def there_first(start: Callable) -> Callable:
    """How PEFT begins an adapter with parts of W, after the adapter was moved: a weight of the CPU cannot become one of
    the card, as it can on a GPU.
    """

    def begun(layer: Any, name: str, *args: Any) -> None:
        if isinstance(layer.get_base_layer().weight, OnCard):
            layer.lora_A[name].to(CARD)
            layer.lora_B[name].to(CARD)
        start(layer, name, *args)

    return begun


STAYS = contextlib.ExitStack()


@contextlib.contextmanager
def pretended() -> Iterator[None]:
    """Inside, every model goes to the card."""
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings(), Card():
        warnings.filterwarnings("ignore", "for .*: copying from a non-meta parameter")  # here it does copy
        patch.setattr(torch, "tensor", tensor)
        patch.setattr(torch.nn.Module, "to", to)
        patch.setattr(bitsandbytes.nn.Params4bit, "to", four_bits_to)
        for name in ("pissa_init", "olora_init"):
            patch.setattr(LoraLayer, name, there_first(getattr(LoraLayer, name)))
        patch.setattr(BaseTunerLayer, "_move_adapter_to_device_of_base_layer", move_adapter)
        for name in ("device", "_device_named"):
            patch.setattr(models, name, lambda name="auto": CARD)
        # a tensor that wraps another cannot be looked at as a view in inference mode
        patch.setattr(torch.inference_mode, "__enter__", lambda self: torch.no_grad.__enter__(self))
        patch.setattr(torch.inference_mode, "__exit__", lambda self, *raised: torch.no_grad.__exit__(self, *raised))
        four_bits = models._four_bits
        patch.setattr(models, "_four_bits", lambda quantize, double, _: four_bits(quantize, double, CPU))
        for owner, name in (
            (transformers.AutoModelForCausalLM, "from_pretrained"),
            (architectures, "on_meta"),
            (trace, "trace"),
        ):
            patch.setattr(owner, name, without_card(getattr(owner, name)))
        yield


def without_card(work: Callable) -> Callable:
    """`work`, which itself uses the device `meta`, for tensors without numbers."""

    def done(*args: Any, **kwargs: Any) -> Any:
        with _disable_current_modes(), pytest.MonkeyPatch.context() as patch:
            patch.setattr(torch, "tensor", STOCK)
            return work(*args, **kwargs)

    return done


def on() -> None:
    """From now on, to the end of this process: for the kernel in `kernels/`."""
    STAYS.enter_context(pretended())
