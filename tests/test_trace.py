"""The trace allocates what a real step allocates, to the byte, without a number in it."""

from __future__ import annotations

import pytest
import torch
from torch.profiler import ProfilerActivity, profile
from transformers import LlamaConfig

from labkit import trace
from labkit.common import InputError
from labkit.memory import Setup


def config(tied: bool = True) -> LlamaConfig:
    return LlamaConfig(
        vocab_size=4096, hidden_size=256, intermediate_size=768, num_hidden_layers=3, num_attention_heads=4,
        num_key_value_heads=2, tie_word_embeddings=tied,
    )  # fmt: skip


def allocated(setup: Setup, tied: bool) -> tuple[int, int]:
    """(peak of forward and backward pass, gradients) of a real step, from what PyTorch's allocator itself reports."""
    model = trace.built(config(tied), setup)
    model.to_empty(device="cpu")
    base = model if setup.method == "full" else model.get_base_model()
    base.tie_weights()
    for parameter in model.parameters():
        parameter.data.uniform_(-0.01, 0.01)
    base.model.rotary_emb.inv_freq.fill_(0.1)
    if setup.checkpointing:
        base.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        if setup.method != "full":
            base.enable_input_require_grads()
    model.train()
    rows = torch.zeros(setup.batch, setup.sequence, dtype=torch.long)
    model(input_ids=rows, labels=rows).loss.backward()  # what is made once is made here
    model.zero_grad(set_to_none=True)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        model(input_ids=rows, labels=rows).loss.backward()
    events = [event for event in seen.profiler.kineto_results.events() if event.name() == "[memory]"]
    now = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        now += event.nbytes()
        peak = max(peak, now)
    return peak, sum(parameter.grad.nbytes for parameter in model.parameters() if parameter.grad is not None)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize(
    "setup",
    [
        Setup("full", sequence=16, optimizer="sgd"),  # the gradients are most
        Setup("full", sequence=384, optimizer="sgd"),  # the activations and logits are most
        Setup("full", sequence=384, checkpointing=True, optimizer="sgd"),
        Setup("lora", sequence=384, optimizer="sgd"),
    ],
    ids=["gradients", "activations", "checkpointing", "lora"],
)
def test_it_allocates_what_a_real_step_allocates(setup, tied):
    peak, gradients = allocated(setup, tied)
    traced = trace.step(config(tied), setup)
    assert traced.gradients == gradients
    assert traced.peak - traced.weights == pytest.approx(peak, rel=0.002)
    if not setup.checkpointing:  # which also keeps the random state
        assert abs(traced.peak - traced.weights - peak) <= 64


def test_the_optimizer_keeps_two_numbers_and_foreach_makes_a_third():
    size = 4_096 * 256 + 3 * (256 * 256 * 3 + 3 * 256 * 768 + 2 * 256) + 256
    steps = [
        trace.step(config(), Setup("full", sequence=8, optimizer=each)) for each in ("adamw_torch_fused", "adamw_torch")
    ]
    for traced in steps:
        assert traced.weights == traced.gradients == 2 * size and traced.states == 4 * size
    assert steps[1].step - steps[0].step == pytest.approx(2 * size, rel=0.01)
    assert steps[0].step == pytest.approx(8 * size, rel=0.01)


def test_its_course_begins_and_ends_at_rest_and_reaches_its_peak():
    traced = trace.step(config(), Setup("full", sequence=64))
    rest = traced.weights + traced.states
    assert traced.course[0] >= rest and traced.course[-1] >= rest + traced.gradients
    assert max(traced.course) <= traced.peak and max(traced.course[traced.turn :]) <= traced.backward
    assert 0 < traced.turn < len(traced.course)


def test_quantized_layers_have_the_bytes_of_bitsandbytes():
    bitsandbytes = pytest.importorskip("bitsandbytes")
    real = bitsandbytes.nn.Linear4bit(
        512, 384, bias=False, compute_dtype=torch.bfloat16, quant_type="nf4", compress_statistics=True
    )
    real.load_state_dict({"weight": torch.randn(384, 512)})
    real.to("cpu")
    state = real.weight.quant_state
    parts = (real.weight.data, state.absmax, state.code, state.offset, state.state2.absmax, state.state2.code)
    made = trace.Quantized(torch.nn.Linear(512, 384, bias=False, device="meta"), double=True)
    assert sum(part.nbytes for part in made.parameters()) == sum(part.nbytes for part in parts)


@pytest.mark.parametrize("changed", [{"chunked_loss": True}, {"step_in_backward": True}])
def test_what_is_not_traced_says_so(changed):
    with pytest.raises(InputError, match="not traced"):
        trace.step(config(), Setup("full", sequence=8, **changed))
