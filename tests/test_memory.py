"""The planner agrees with a trace that counts every byte, its terms with arithmetic, and its command says what fits."""

from __future__ import annotations

import dataclasses
import json
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labkit import architectures, cli, memory, trace
from labkit.common import InputError
from labkit.memory import GB, GIB, Setup

BASE = "labkit/almanac/base"
NAMES = list(architectures.catalogue())
QUICK = {  # what the default run traces of ten architectures × methods × checkpointing; `-m slow` does the others
    *((name, "full", False) for name in ("SmolLM2-135M", "Llama-3.2-1B", "Qwen3-0.6B", "Gemma-3-1B", "Llama-2-7B")),
    *((name, "full", True) for name in ("phi-1.5", "Qwen2.5-0.5B")),
    ("Llama-3.2-1B", "lora", False),
    ("phi-1.5", "lora", True),
    ("phi-1.5", "qlora", False),
    ("Llama-3.2-1B", "qlora", True),
}
GRID = [
    pytest.param(name, method, checkpointing, marks=() if (name, method, checkpointing) in QUICK else pytest.mark.slow)
    for name in NAMES
    for method in memory.METHODS
    for checkpointing in (False, True)
]

model = cache(memory.read)


def phase(plan: memory.Plan, *names: str) -> int:
    return max(moment.total for moment in plan.moments if any(name in moment.name for name in names))


def agree(name: str, setup: Setup) -> None:
    """All that a plan and a trace both say lies within 10% of each other, also what is beyond the weights."""
    traced, planned = trace.step(name, setup), memory.plan(model(name), setup)
    fixed = sum(memory.weights(planned.model, setup).values())
    assert fixed == pytest.approx(traced.weights, rel=0.001)
    assert memory.states(planned.model, setup) == pytest.approx(traced.states, rel=0.001)
    assert planned.tensors == pytest.approx(traced.peak, rel=0.1)
    assert planned.tensors - fixed == pytest.approx(traced.peak - traced.weights, rel=0.1)
    assert phase(planned, "forward", "loss") == pytest.approx(traced.forward, rel=0.1)
    assert phase(planned, "backward", "done") == pytest.approx(traced.backward, rel=0.1)
    assert phase(planned, "optimizer") == pytest.approx(traced.step, rel=0.1)


@pytest.mark.parametrize("name, method, checkpointing", GRID)
def test_the_plan_agrees_with_the_trace(name, method, checkpointing):
    agree(name, Setup(method, sequence=1024, checkpointing=checkpointing))


@pytest.mark.parametrize(
    "name, setup",
    [
        ("SmolLM2-135M", Setup("full", sequence=256, optimizer="adamw_torch", number_format="float32")),
        ("Llama-3.2-1B", Setup("full", sequence=256, batch=3, number_format="mixed", optimizer="adamw_bnb_8bit")),
        ("Llama-3.2-1B", Setup("lora", number_format="mixed", checkpointing=True)),
        ("phi-1.5", Setup("full", sequence=2048, batch=4, checkpointing=True, optimizer="sgd")),  # its layers' peak
        ("phi-1.5", Setup("lora", targets=("q_proj", "fc2"), rank=64, adapter_format="bfloat16")),
        ("phi-1.5", Setup("qlora", sequence=2048, checkpointing=True, double_quantization=False)),
    ],
    ids=lambda value: value if isinstance(value, str) else value.method,
)
def test_it_agrees_in_other_set_ups_too(name, setup):
    agree(name, setup)


def test_a_config_of_another_family_agrees():
    from transformers import GPTNeoXConfig

    config = GPTNeoXConfig(
        vocab_size=5000, hidden_size=512, intermediate_size=2048, num_hidden_layers=6, num_attention_heads=8,
        tie_word_embeddings=False,
    )  # fmt: skip
    setup = Setup("lora", sequence=512, batch=4, targets=("query_key_value",))
    planned = memory.plan(memory.read(config), setup)
    assert planned.tensors == pytest.approx(trace.step(config, setup).peak, rel=0.1)


# The terms, by arithmetic.


def test_the_parameters_are_the_published_ones_and_the_linear_ones_those_of_the_blocks():
    llama = model("Llama-2-7B")
    assert llama.parameters == 6_738_415_616
    assert llama.linear == 32 * (4 * 4096 * 4096 + 3 * 4096 * 11008)
    assert (model("Llama-3.2-1B").key, model("Qwen3-0.6B").query, model("Gemma-3-1B").inner) == (512, 2048, 6912)


def test_seven_billion_by_the_chapters_numbers():
    """8 bytes a parameter in pure bfloat16, 16 in mixed precision; 4.127 bits for the linear weights of QLoRA."""
    llama = model("Llama-2-7B")
    rest = memory.plan(llama, Setup("full")).moments[0]
    gradients = memory.plan(llama, Setup("full")).moments[-1].terms["gradients"]
    assert (rest.total + gradients) / llama.parameters == 8
    mixed = memory.plan(llama, Setup("full", number_format="mixed")).moments
    assert (mixed[0].total + mixed[-1].terms["gradients"]) / llama.parameters == 16
    quantized = memory.weights(llama, Setup("qlora"))
    linear = quantized["weights"] - 2 * (llama.parameters - llama.linear) + quantized["quantization constants"]
    assert 8 * linear / llama.linear == pytest.approx(4.127, abs=0.001)
    single = memory.weights(llama, Setup("qlora", double_quantization=False))["quantization constants"]
    assert 8 * single / llama.linear == pytest.approx(0.5, abs=0.001)


def test_the_exercises_terms_are_the_planners():
    for method, optimizer, names in (
        ("full", "adamw", "adamw_torch_fused"),
        ("lora", "adamw_8bit", "adamw_bnb_8bit"),
        ("qlora", "sgd", "sgd"),
    ):
        llama, setup = model("Llama-2-7B"), Setup(method, optimizer=names)
        sizes = {"linear": llama.linear, "other": llama.parameters - llama.linear}
        terms = memory.memory(sizes, memory.trainable(llama, setup), method, optimizer)
        planned = memory.plan(llama, setup).moments[-1].terms
        weights = planned["weights"] + planned.get("quantization constants", 0)
        assert terms["weights"] == pytest.approx(weights, rel=1e-4)  # the tables beside each matrix are left out
        assert terms["adapter"] == planned.get("adapter", 0)
        assert terms["gradients"] == planned["gradients"]
        assert terms["optimizer"] == pytest.approx(planned.get("optimizer states", 0), rel=0.02)


def test_where_the_peak_comes():
    at = {
        "long rows, without checkpointing": ("Llama-3.1-8B", Setup("lora"), "start of the backward pass"),
        "all gradients at once": ("Llama-3.1-8B", Setup("full", checkpointing=True), "end of the backward pass"),
        "foreach's copy": ("Llama-2-7B", Setup("full", optimizer="adamw_torch"), "optimizer step"),
        "a shared table's two gradients and their sum": ("Gemma-3-1B", Setup("full", sequence=64), "end of"),
    }
    for name, setup, moment in at.values():
        assert memory.plan(model(name), setup).peak.name.startswith(moment), (name, setup)


def test_the_copy_of_foreach_is_one_more_of_all_that_is_trained():
    llama = model("Llama-2-7B")
    fused, copied = (memory.plan(llama, Setup("full", optimizer=f"adamw_torch{o}")).moments[-1] for o in ("_fused", ""))
    assert copied.total - fused.total == 2 * llama.parameters


@given(
    setup=st.builds(
        Setup,
        method=st.sampled_from(memory.METHODS),
        sequence=st.integers(1, 2048),
        batch=st.integers(1, 8),
        checkpointing=st.booleans(),
        optimizer=st.sampled_from(list(memory.OPTIMIZERS)),
        adapter_format=st.sampled_from(["float32", "bfloat16"]),
        rank=st.integers(1, 64),
    ),
    name=st.sampled_from(["phi-1.5", "Llama-3.2-1B"]),
)
@settings(deadline=None, max_examples=60)
def test_more_needs_more_and_less_needs_less(setup, name):
    planned = memory.plan(model(name), setup)
    assert all(size > 0 for moment in planned.moments for size in moment.terms.values())
    assert planned.tensors < planned.low < planned.expected < planned.high
    assert planned.moments[0].total <= planned.tensors
    for more in ({"batch": setup.batch + 1}, {"rank": setup.rank + 1}, {"optimizer": "adamw_torch"}):
        assert memory.plan(model(name), dataclasses.replace(setup, **more)).tensors >= planned.tensors
    for less in ({"chunked_loss": True}, {"adapter_format": "bfloat16"}, {"step_in_backward": True}):
        assert memory.plan(model(name), dataclasses.replace(setup, **less)).tensors <= planned.tensors


def test_a_small_model_gains_nothing_from_qlora():
    base = memory.read(BASE)
    setups = [Setup(method, sequence=256, batch=32, number_format="float32") for method in ("lora", "qlora")]
    lora, qlora = (memory.plan(base, setup).tensors for setup in setups)
    assert abs(qlora / lora - 1) < 0.02
    lora, qlora = (memory.plan(model("Llama-2-7B"), Setup(m, checkpointing=True)).tensors for m in ("lora", "qlora"))
    assert qlora < 0.4 * lora


# A card.


@pytest.mark.parametrize(
    "text, size", [("16GB", 16 * GB), ("16 GiB", 16 * GIB), ("0.5gib", GIB // 2), ("24000MB", 24 * GB)]
)
def test_gb_and_gib_are_told_apart(text, size):
    assert memory.card_bytes(text) == size
    assert memory.shown(16 * GB) == "16.00 GB (14.90 GiB)"


@pytest.mark.parametrize("text", ["0GB", "16", "GB", "-1GB", "1e400GB", "16 GBit", "nan GB", ""])
def test_what_is_no_card_is_one_line(text):
    with pytest.raises(InputError, match="the card is") as caught:
        memory.card_bytes(text)
    assert "\n" not in str(caught.value)


def test_the_cheapest_change_fits_and_gives_up_no_more_than_needed():
    before = memory.plan(model("Llama-3.1-8B"), Setup("qlora", sequence=2048))
    change = memory.cheapest_change(before, 16 * GB)
    assert change.plan.setup == dataclasses.replace(before.setup, checkpointing=True) and change.plan.fits(16 * GB)
    assert memory.cheapest_change(before, 80 * GB) is None  # it fits as it is
    assert memory.cheapest_change(before, 1 * GB) is None  # nothing helps
    full = memory.plan(model("Llama-3.1-8B"), Setup("full", sequence=2048))
    assert memory.cheapest_change(full, 80 * GB).plan.setup.method == "full"
    assert memory.cheapest_change(full, 24 * GB).plan.setup.method != "full"
    foreach = memory.plan(model("Qwen3-0.6B"), Setup("full", sequence=64, optimizer="adamw_torch"))
    between = memory.plan(foreach.model, Setup("full", sequence=64)).expected
    assert between < foreach.expected
    assert memory.cheapest_change(foreach, between).words == ("the fused AdamW, which makes no copy",)


def test_an_accumulated_batch_is_not_updated_within_the_backward_pass():
    before = memory.plan(model("Llama-3.1-8B"), Setup("full", sequence=4096, batch=8))
    for card in range(8 * GB, 120 * GB, 8 * GB):
        if change := memory.cheapest_change(before, card):
            setup = change.plan.setup
            assert not (setup.step_in_backward and setup.batch < 8) and change.plan.fits(card)


# What is not valid.


@pytest.mark.parametrize(
    "changed, says",
    [
        ({"method": "qlra"}, "choose from qlora"),
        ({"optimizer": "adamw"}, "choose from adamw_torch"),
        ({"number_format": "fp8"}, "number_format is 'fp8'"),
        ({"adapter_format": "mixed"}, "adapter_format"),
        ({"sequence": 0}, "sequence is 0"),
        ({"batch": 1.5}, "batch is 1.5"),
        ({"rank": True}, "rank is True"),
        ({"method": "qlora", "number_format": "mixed"}, "one number_format"),
    ],
)
def test_a_set_up_that_cannot_be(changed, says):
    with pytest.raises(InputError, match=says):
        Setup(**changed)


@pytest.mark.parametrize(
    "setup, says",
    [
        (Setup(sequence=2049), "2,049 is beyond the 2,048 tokens of phi-1.5"),
        (Setup(targets=("query",)), "no layer is named 'query'"),
        (Setup(rank=4096), "rank is 4096: give 1 to 2048"),
    ],
)
def test_a_set_up_that_the_model_does_not_take(setup, says):
    with pytest.raises(InputError, match=says):
        memory.plan(model("phi-1.5"), setup)


@pytest.mark.parametrize("kind", ["mamba", "mixtral", "gpt2"])
def test_a_model_that_is_no_dense_decoder_is_refused(kind):
    from transformers import AutoConfig

    sizes = {"num_hidden_layers": 2, "hidden_size": 64, "vocab_size": 100}
    with pytest.raises(InputError, match=f"the planner does not know {kind}"):
        memory.read(AutoConfig.for_model(kind, **sizes))


# The command.


def run(capsys, *args: str) -> tuple[int, str]:
    status = cli.main(["plan", *args])
    captured = capsys.readouterr()
    return status, captured.out + captured.err


def test_the_command_says_each_term_and_the_moment_and_exits(capsys):
    call = ["--model", "phi-1.5", "--method", "lora", "--checkpointing", "--json"]
    status, out = run(capsys, *call, "--gpu", "8GB")
    told = json.loads(out.splitlines()[-1])["methods"]["lora"]
    assert status == 0 and told["fits"] and told["moment"] == "start of the backward pass" in out
    assert sum(told["terms"].values()) == told["peak"] < told["low"] < told["expected"] < told["high"]
    assert all(f"  {term} " in out for term in told["terms"])
    assert "8.00 GB (7.45 GiB): lora fits" in out
    status, out = run(capsys, *call, "--gpu", "3GB")
    found = json.loads(out.splitlines()[-1])
    assert status == 1 and found["choice"] is None and "does not fit" in out
    assert found["change"] and all(words in out for words in found["change"])


def test_without_a_method_it_compares_and_chooses(capsys, tmp_path):
    picture = tmp_path / "methods.png"
    call = ["--model", "meta-llama/Llama-3.1-8B", "--checkpointing", "--json", "--plot", str(picture)]
    for card, choice in (("80GB", "full"), ("24GB", "lora"), ("12GB", "qlora")):
        status, out = run(capsys, *call, "--gpu", card)
        assert status == 0 and json.loads(out.splitlines()[-1])["choice"] == choice
        assert f"{choice} fits: take {choice}" in out
    assert picture.stat().st_size > 10_000
    status, out = run(capsys, *call, "--gpu", "4GB")
    assert status == 1 and "qlora does not fit" in out


def test_any_config_is_read(capsys, tmp_path):
    config = {"model_type": "qwen2", **architectures.catalogue()["Qwen2.5-0.5B"]["config"]}
    (tmp_path / "config.json").write_text(json.dumps(config))
    call = ["--method", "full", "--gpu", "80GB", "--json"]
    outs = [run(capsys, "--model", str(place), *call) for place in (tmp_path, tmp_path / "config.json", "Qwen2.5-0.5B")]
    peaks = {json.loads(out.splitlines()[-1])["methods"]["full"]["peak"] for _, out in outs}
    assert len(peaks) == 1 and all(status == 0 for status, _ in outs)


@pytest.mark.parametrize(
    "text, says",
    [
        ('{"model_type": "llama"}', "does not say vocab_size, hidden_size, num_hidden_layers, num_attention_heads"),
        ('{"model_type": "llama", "vocab_size": 9, "hidden_size": 8, "num_attention_heads": 2}', "num_hidden_layers"),
        ('{"model_type": "lama"}', "no architecture 'lama'; did you mean llama"),
        ('{"vocab_size": 100}', "says no model_type"),
        ("[]", "says no model_type"),
        ("{", "cannot be read as JSON"),
        ("[" * 100_000, "cannot be read as JSON"),
        (
            '{"model_type": "llama", "vocab_size": 9, "hidden_size": 8, "num_attention_heads": 2, "num_hidden_layers": -1}',
            "num_hidden_layers is -1",
        ),
        (
            '{"model_type": "llama", "vocab_size": 1e9, "hidden_size": 8, "num_attention_heads": 2, '
            '"num_hidden_layers": 1}',
            "vocab_size",
        ),
        (
            '{"model_type": "llama", "vocab_size": "x", "hidden_size": 8, "num_attention_heads": 2, '
            '"num_hidden_layers": 1}',
            "vocab_size",
        ),
    ],
)
def test_a_config_that_does_not_do_is_one_line(capsys, tmp_path, text, says):
    path = tmp_path / "config.json"
    path.write_text(text)
    status, out = run(capsys, "--model", str(path), "--gpu", "16GB")
    assert status == 2 and says in out and out.count("\n") == 1


@pytest.mark.parametrize(
    "args, says",
    [
        (["--model", "Lama-3.2-1B", "--gpu", "16GB"], "choose from Llama-3.2-1B"),
        (["--model", "gone/config.json", "--gpu", "16GB"], "no such file"),
        (["--model", "phi-1.5", "--gpu", "0GB"], "it holds nothing"),
        (["--model", "phi-1.5", "--gpu", "16GB", "--sequence", "4096"], "beyond the 2,048 tokens"),
        (["--model", "phi-1.5", "--gpu", "16GB", "--batch", "x"], "invalid int value"),
        (["--model", "phi-1.5", "--gpu", "16GB", "--plot", "a.txt"], "end it in .png"),
        (["--gpu", "16GB"], "--model"),
    ],
)
def test_what_cannot_be_used_is_one_line(capsys, monkeypatch, tmp_path, args, says):
    monkeypatch.chdir(tmp_path)
    status, out = run(capsys, *args)
    assert status == 2 and says in out.splitlines()[-1]
