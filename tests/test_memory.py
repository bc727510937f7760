"""The planner's formula: by hand, what must hold of any set-up, what it reads, and what it proposes."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labkit import architectures, measurements, memory
from labkit.memory import GB, GIB, METHODS, MOMENTS, Setup, card_bytes, cheapest_change, plan, sizes

ALL = list(architectures.catalogue())
LLAMA = sizes(architectures.read("Llama-2-7B"))
setups = st.builds(
    Setup,
    method=st.sampled_from(METHODS),
    batch=st.integers(1, 16),
    sequence=st.integers(1, 2048),
    checkpointing=st.booleans(),
    optimizer=st.sampled_from(memory.OPTIMIZERS),
    rank=st.integers(1, 64),
)
quick = settings(max_examples=60, deadline=None)


@pytest.mark.parametrize("name", ALL)
def test_parameters_are_the_published_ones(name):
    assert sizes(architectures.read(name)).parameters == architectures.catalogue()[name]["parameters"]


@pytest.mark.parametrize("name", ALL)
def test_what_lora_trains_is_lora_count(name):
    setup = Setup("lora", rank=8)
    assert (
        memory.trainable(sizes(architectures.read(name)), setup) == architectures.count(name, 8, "all-linear").trainable
    )


def test_the_terms_of_7b_by_hand():
    """What stands behind 60, 16 and 6 GB: 8 bytes a parameter, 2, and about half a byte."""
    parameters = 6_738_415_616
    full = plan(LLAMA, Setup("full", 1, 512)).moments["optimizer step"]
    assert full["weights"] == full["gradients"] == full["working copies"] == 2 * parameters
    assert full["optimizer states"] == 4 * parameters
    fused = plan(LLAMA, Setup("full", 1, 512, optimizer="adamw-fused")).moments["optimizer step"]
    assert sum(fused.values()) == 8 * parameters == pytest.approx(53.9 * GB, rel=1e-3)
    mixed = plan(LLAMA, Setup("full", 1, 512, optimizer="adamw-fused", dtype="float32")).moments["optimizer step"]
    assert sum(mixed.values()) == 16 * parameters == pytest.approx(107.8 * GB, rel=1e-3)
    packed = plan(LLAMA, Setup("qlora", 1, 512)).moments["end of forward"]
    linear = 32 * (4 * 4096 * 4096 + 3 * 4096 * 11008)
    assert packed["quantization constants"] == linear / 64 * (1 + 4 / 256)
    adapter = 4 * 32 * 16 * (4 * 2 * 4096 + 3 * (4096 + 11008))
    assert packed["weights"] == linear / 2 + 2 * (parameters - linear) + adapter


@pytest.mark.parametrize("vocabulary_bytes", [12])
def test_the_loss_takes_three_tensors_of_logits_in_float32(vocabulary_bytes):
    found = plan(LLAMA, Setup("lora", 2, 1000)).moments
    assert found["backward: loss"]["logits"] == vocabulary_bytes * 2000 * 32000
    assert found["end of forward"]["logits"] == (2 + 4 + 4) * 2000 * 32000
    pieces = plan(LLAMA, Setup("lora", 2, 1000, loss_pieces=4)).moments["backward: loss"]["logits"]
    assert pieces == (2 + 2 + 3) * 2000 * 32000


@quick
@given(st.sampled_from(ALL), setups)
def test_more_rows_take_more_and_savings_save(name, setup):
    model = sizes(architectures.read(name))
    here = plan(model, setup)
    assert tuple(here.moments) == MOMENTS and here.peak == max(here.totals.values())
    assert all(size >= 0 for terms in here.moments.values() for size in terms.values())
    assert plan(model, dataclasses.replace(setup, batch=setup.batch + 1)).peak >= here.peak
    assert here.peak < here.range[0] < here.range[1]
    least = plan(model, dataclasses.replace(setup, optimizer="adamw-8bit"))
    assert least.peak <= plan(model, dataclasses.replace(setup, optimizer="adamw")).peak
    kept, again = (
        plan(model, dataclasses.replace(setup, checkpointing=each)).moments["end of forward"]["activations"]
        for each in (False, True)
    )
    assert again < kept


def test_small_models_gain_nothing_from_qlora_and_large_ones_do():
    """What QLoRA saves of LoRA's peak, with 8 rows of 512 tokens and checkpointing."""
    saved = {}
    for name in ("SmolLM2-135M", "Qwen2.5-0.5B", "Llama-3.1-8B", "Llama-2-7B"):
        model = sizes(architectures.read(name))
        lora, qlora = (plan(model, Setup(method, 8, 512, True)).peak for method in ("lora", "qlora"))
        saved[name] = 1 - qlora / lora
    assert saved["SmolLM2-135M"] < 0.06 and saved["Qwen2.5-0.5B"] < 0.08
    assert saved["Llama-3.1-8B"] > 0.4 and saved["Llama-2-7B"] > 0.45


def test_rows_as_long_as_the_window_need_a_mask():
    gemma = sizes(architectures.read("Gemma-3-1B"))
    short, long = (plan(gemma, Setup("lora", 1, sequence)).moments["end of forward"] for sequence in (511, 512))
    assert long["activations"] - short["activations"] > 2 * 512**2


@quick
@given(st.sampled_from(ALL), setups, st.integers(1, 100))
def test_the_change_fits_and_without_its_costliest_part_nothing_does(name, setup, gigabytes):
    model, card = sizes(architectures.read(name)), float(gigabytes * GB)
    found = cheapest_change(model, setup, card)
    if plan(model, setup).verdict(card) == "fits":
        assert found is not None and found[0] == () and found[1].setup == setup
    elif found is None:
        smallest = dataclasses.replace(
            setup,
            method="qlora",
            batch=1,
            sequence=min(setup.sequence, 256),
            checkpointing=True,
            optimizer="adamw-8bit",
        )
        assert plan(model, smallest).verdict(card) != "fits"
    else:
        words, changed = found
        assert words and changed.verdict(card) == "fits" and plan(model, changed.setup) == changed
        if changed.setup.method != setup.method:
            assert cheapest_change(model, setup, card, keep_method=True) is None


def test_the_micro_batch_is_as_large_as_it_can_be():
    words, changed = cheapest_change(LLAMA, Setup("lora", 64, 512, True), 24 * GB)
    assert words == (f"a micro batch of {changed.setup.batch}, accumulated {64 // changed.setup.batch} times",)
    twice = dataclasses.replace(changed.setup, batch=2 * changed.setup.batch)
    assert plan(LLAMA, twice).verdict(24 * GB) != "fits"


def test_a_card_of_either_unit():
    assert card_bytes("16GB") == 16 * GB and card_bytes("16GiB") == card_bytes(" 16g ") == 16 * GIB
    assert card_bytes("0.5gb") == GB // 2


@pytest.mark.parametrize("text", ["", "0GB", "0", "16", "GB", "-4GB", "16MB", "1e3GB", "nan GB", "16 GB free", "٣GBx"])
def test_a_card_that_is_none_is_one_line(text):
    with pytest.raises(ValueError, match="give a size above 0") as caught:
        card_bytes(text)
    assert "\n" not in str(caught.value)


def config(**changes):
    return {**architectures.read("Llama-2-7B"), **changes}


@pytest.mark.parametrize(
    "call, says",
    [
        (lambda: sizes(config(model_type="mamba")), "'mamba' is not known"),
        (lambda: sizes({}), "None is not known"),
        (lambda: sizes(config(hidden_size=None)), "hidden_size None"),
        (lambda: sizes(config(num_hidden_layers=0)), "num_hidden_layers 0"),
        (lambda: sizes(config(vocab_size="many")), "vocab_size 'many'"),
        (lambda: sizes(config(intermediate_size=True)), "intermediate_size True"),
        (lambda: plan(LLAMA, Setup(sequence=4097)), "beyond the model's context of 4096"),
        (lambda: plan(LLAMA, Setup("lora", targets=("q_prj",))), "no layer is named 'q_prj'"),
        (lambda: Setup("dora"), "method is 'dora'"),
        (lambda: Setup(optimizer="lion"), "optimizer is 'lion'"),
        (lambda: Setup(batch=0), "batch 0"),
        (lambda: memory.memory(10, 5, "full", "adamw", 0), "for full the same twice"),
        (lambda: memory.choose({}, 1.0), "at least one range"),
    ],
)
def test_what_cannot_be_is_one_line(call, says):
    with pytest.raises(ValueError, match=says) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_published_rows_that_ran_what_is_counted_are_within_a_fifth():
    published = measurements.published()
    same = [row for row in published if not row.differs]
    assert len(published) == 52 and len(same) == 23
    for row in published:
        assert row.source and row.unit in ("GB", "GiB") and row.meter in ("allocated", "reserved", "unstated")
        assert abs(row.ratio - 1) <= 0.2 or row.differs, row
    assert max(abs(row.ratio - 1) for row in same) <= 0.2
    explained = [row for row in published if row.explained is not None]
    assert len(explained) == 8
    assert all(abs(row.explained / row.measured - 1) <= 0.2 < abs(row.ratio - 1) for row in explained)


def test_the_gap_of_a_loaded_model_is_what_its_rows_say():
    rows = [row for row in measurements.published() if row.bits]
    output_layer = {"phi-1.5 in litgpt": 51200 * 2048, "StableLM-Alpha-3B": 50688 * 4096}
    output_layer |= {"Llama-2-7B": 32000 * 4096, "Llama-2-13B": 32000 * 5120}
    for row in rows:
        assert 2 <= (row.measured - row.expected) / (2 * output_layer[row.model]) <= 2.4
