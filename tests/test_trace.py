"""The trace counts what is alive, on fake tensors as on real ones, and the planner's formula agrees with it.

Here each architecture has four of its layers, which keeps a trace to seconds; `labkit bench memory` takes all of them.
"""

from __future__ import annotations

import pytest
import torch

from labkit import architectures, memory, models
from labkit.memory import METHODS, Setup
from labkit.trace import Meter, measure, trace

pytestmark = pytest.mark.slow

ALL = list(architectures.catalogue())


def short(name, layers=4):
    """(configuration, sizes) of an architecture with fewer layers."""
    config = architectures.config(name)
    config.num_hidden_layers = layers
    if getattr(config, "layer_types", None):
        config.layer_types = config.layer_types[-layers:]
    return config, memory.sizes({**architectures.read(name), "num_hidden_layers": layers})


def agree(name, setup, within=0.1):
    config, sizes = short(name)
    traced, plan = trace(config, setup), memory.plan(sizes, setup)
    start, end = plan.moments["end of forward"], plan.moments["optimizer step"]
    assert start["weights"] + start["quantization constants"] == pytest.approx(traced.weights, rel=2e-3)
    assert end["optimizer states"] == pytest.approx(traced.states, rel=1e-3)
    assert end["gradients"] == pytest.approx(traced.gradients, rel=1e-3)
    totals = plan.totals
    assert totals["end of forward"] == pytest.approx(traced.forward, rel=0.05)
    assert totals["optimizer step"] == pytest.approx(traced.step, rel=0.01)
    backward = max(total for at, total in totals.items() if at.startswith("backward"))
    assert backward == pytest.approx(traced.backward, rel=within)
    assert plan.peak == pytest.approx(traced.peak, rel=within)


@pytest.mark.parametrize("checkpointing", [False, True], ids=["", "checkpointing"])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ALL)
def test_the_planner_is_within_a_tenth_of_the_trace(name, method, checkpointing):
    agree(name, Setup(method, 2, 1024, checkpointing))


@pytest.mark.parametrize(
    "name, setup",
    [
        ("Llama-2-7B", Setup("lora", 1, 512, targets=("q_proj", "v_proj"), adapter_dtype="bfloat16", rank=8)),
        ("phi-1.5", Setup("lora", 1, 512, targets=("dense", "fc2"), adapter_dtype="bfloat16")),
        ("Qwen3-0.6B", Setup("full", 1, 512, dtype="float32", optimizer="adamw-fused")),
        ("SmolLM2-135M", Setup("lora", 4, 64, dtype="float32")),
        ("Mistral-7B", Setup("full", 1, 32)),
    ],
    ids=lambda value: value if isinstance(value, str) else value.method,
)
def test_other_set_ups_too(name, setup):
    agree(name, setup)


def test_the_meter_counts_a_storage_once_and_until_it_is_freed():
    held = torch.zeros(100)  # 400 bytes
    with Meter([held, held[:10]]) as meter:
        assert meter.alive == 400
        made = held + 1
        view = made[:50].reshape(5, 10)
        assert meter.alive == 800
        del made
        assert meter.alive == 800  # the view holds it
        del view
        assert meter.alive == 400 and meter.peak == 800
        meter.restart()
        held.add_(1)
        assert meter.peak == 400
    assert max(meter.course) == 800


@pytest.mark.parametrize("method", METHODS)
def test_on_the_kits_base_with_real_tensors_the_planner_is_within_a_tenth(method):
    sizes = memory.sizes(architectures.read(models.BASE))
    traced, plan = real(method), memory.plan(sizes, Setup(method, 8, 64, dtype="float32"))
    assert plan.peak == pytest.approx(traced.peak, rel=0.1)
    assert plan.totals["end of forward"] == pytest.approx(traced.forward, rel=0.1)


def real(method):
    torch.manual_seed(0)
    model, _ = models.load(device="cpu", quantize="nf4" if method == "qlora" else None)
    if method != "full":
        model = models.add_lora(model)
    return measure(model.train(), torch.randint(0, 1000, (8, 64)))


def test_on_the_kits_base_qlora_saves_next_to_nothing():
    sizes = memory.sizes(architectures.read(models.BASE))
    planned = {method: memory.plan(sizes, Setup(method, 16, 128, dtype="float32")).peak for method in METHODS}
    assert 0.95 < planned["qlora"] / planned["lora"] < 1


def test_a_trace_of_fake_tensors_is_that_of_real_ones():
    config = architectures.config("SmolLM2-135M")
    config.num_hidden_layers, config.vocab_size = 2, 1000
    fake = trace(config, Setup("full", 2, 64, dtype="float32"))
    from transformers import AutoModelForCausalLM

    true = measure(AutoModelForCausalLM.from_config(config).float().train(), torch.zeros(2, 64, dtype=torch.long))
    assert (fake.weights, fake.states, fake.gradients) == (true.weights, true.states, true.gradients)
    assert fake.peak == pytest.approx(true.peak, rel=0.01)


def test_after_a_trace_transformers_is_as_before():
    from transformers import masking_utils

    before = masking_utils.find_packed_sequence_indices
    agree("SmolLM2-135M", Setup("lora", 1, 64))
    assert masking_utils.find_packed_sequence_indices is before
