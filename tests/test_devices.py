"""The device, the number format and where random numbers are drawn: on a pretended card (`pretend_card`), and on a GPU.

Tests marked `gpu` need a CUDA device (`make test-gpu`).
"""

import copy
import dataclasses
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from pretend_card import CARD, pretended
from sums import number_questions

from labkit import best_of, forcing, models, quantization, updates
from labkit.common import InputError
from labkit.doctor import OK, WRONG, check_device, check_moved
from labkit.grading import sandbox
from labkit.masking import collate, render
from labkit.training import Settings, Trial, accumulated, evaluate, fit, fit_alone, fit_together

ROOT = Path(__file__).parents[1]
AMPERE, TURING = (8, 0), (7, 5)  # an A100, a T4


@pytest.fixture
def card(monkeypatch):
    """Pretend that there is a CUDA device of this compute capability."""

    def there(capability):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device=None: capability)

    return there


@pytest.mark.parametrize(
    "cuda, mps, chosen", [(True, True, "cuda"), (True, False, "cuda"), (False, True, "mps"), (False, False, "cpu")]
)
def test_the_fastest_device_there_is_is_taken(monkeypatch, cuda, mps, chosen):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert models.device().type == chosen
    assert models.device("cpu").type == "cpu"
    if not cuda:
        with pytest.raises(InputError, match="no device 'cuda:1' here"):
            models.device("cuda:1")


def test_a_card_without_bfloat16_trains_in_float32_and_the_doctor_says_so(card):
    for capability, wanted in ((TURING, torch.float32), (AMPERE, torch.bfloat16)):
        card(capability)
        assert Settings().dtype("cuda") == wanted
    assert "float32" in check_device("Tesla T4, 15360 MiB", "2.11.0", True, "float32").found


def test_a_variable_moves_what_names_the_cpu(monkeypatch, card):
    card(TURING)
    monkeypatch.setenv("LABKIT_DEVICE", "cuda")
    assert models.device("cpu").type == models.device().type == "cuda"
    (row,) = check_moved()
    assert (row.found, row.verdict) == ("cuda", OK)
    assert sandbox._environment("lab")["LABKIT_DEVICE"] == "cuda" and "LABKIT_DEVICE" not in sandbox._environment(
        "grade"
    )


@pytest.mark.parametrize("named", ["tpu", "cuda:first", "cuda"])
def test_a_device_that_is_not_there_is_one_line_that_names_the_variable(monkeypatch, named, card):
    if ":" in named:
        card(TURING)
    monkeypatch.setenv("LABKIT_DEVICE", named)
    with pytest.raises(
        InputError, match=f"^LABKIT_DEVICE is '{named}': there is no device '{named}' here; choose auto or"
    ):
        models.load(device="cpu")
    (row,) = check_moved()
    assert row.verdict == WRONG and "there is no device" in row.purpose
    monkeypatch.delenv("LABKIT_DEVICE")
    assert not [*check_moved()] and models.device("cpu").type == "cpu"


# On a pretended card, with real numbers


@pytest.fixture
def two(tiny_model_folder):
    """(the model on the CPU, the same on a pretended card, tokenizer)."""
    on_cpu, tokenizer = models.load(tiny_model_folder, device="cpu")
    with pretended():
        yield on_cpu, models.load(tiny_model_folder, device="cpu")[0], tokenizer


IDS = torch.tensor([[5, 6, 7, 8], [9, 8, 7, 6]])


@pytest.mark.slow
def test_four_bits_on_the_card_are_those_on_the_cpu(wide_model_folder):
    pytest.importorskip("bitsandbytes")
    on_cpu, tokenizer = models.load(wide_model_folder, device="cpu", quantize="nf4")
    with pretended(), torch.no_grad():
        model, _ = models.load(wide_model_folder, device="cpu", quantize="nf4")
        assert quantization.counted_bits(model) == quantization.counted_bits(on_cpu)
        assert close([model(input_ids=IDS).logits], [on_cpu(input_ids=IDS).logits])


def close(on_card, on_cpu):
    return all(weight.device == CARD for weight in on_card) and all(
        torch.allclose(one.cpu(), other, atol=1e-5) for one, other in zip(on_card, on_cpu, strict=True)
    )


def test_the_card_refuses_what_a_gpu_refuses(two):
    _, model, _ = two
    weight = next(model.parameters()).detach()
    assert weight.device == CARD and model.lm_head.weight is model.model.embed_tokens.weight
    with pytest.raises(RuntimeError, match="same device"):
        weight + torch.ones(weight.shape)
    with pytest.raises(RuntimeError, match="same device"):
        model.model(input_ids=IDS)
    with pytest.raises(RuntimeError, match="generator"):
        torch.nn.init.normal_(weight.clone(), generator=torch.Generator())
    with pytest.raises((RuntimeError, TypeError), match="numpy"):
        weight.numpy()


def test_a_model_fetches_what_it_is_called_with_and_its_copies_do(two):
    on_cpu, model, _ = two
    adapted = models.add_lora(copy.deepcopy(model), rank=2, alpha=4, seed=0)
    with torch.no_grad():
        wanted = on_cpu(input_ids=IDS).logits
        for each in (model, copy.deepcopy(model), adapted, adapted.merge_and_unload()):
            assert close([each(input_ids=IDS, attention_mask=torch.ones_like(IDS)).logits], [wanted])
    assert not on_cpu._forward_pre_hooks


@pytest.mark.parametrize("id", [-1, 10_000])
def test_an_id_without_an_embedding_is_the_cpus_error(two, id):
    for model in two[:2]:
        with pytest.raises(IndexError, match="index out of range in self"):
            model(input_ids=torch.tensor([[id]]))


def test_the_card_writes_and_scores_what_the_cpu_does(two):
    on_cpu, model, tokenizer = two
    asked = number_questions(6)
    written = [models.score(each, tokenizer, asked, max_new_tokens=6).outputs for each in (on_cpu, model)]
    assert written[0] == written[1] and any(written[0])
    assert models.probabilities(model, tokenizer, asked) == pytest.approx(
        models.probabilities(on_cpu, tokenizer, asked)
    )
    sampled = [best_of.sample(each, tokenizer, asked, 3, seed=1, max_new_tokens=6) for each in (on_cpu, model)]
    assert sampled[0] == sampled[1] != best_of.sample(model, tokenizer, asked, 3, seed=2, max_new_tokens=6)
    followed = [forcing.follow(each, tokenizer, asked, most=4) for each in (on_cpu, model)]
    assert followed[0] == followed[1]


@pytest.mark.slow
def test_training_on_the_card_follows_that_on_the_cpu(two):
    on_cpu, model, tokenizer = two
    rows, pad = taught(tokenizer), tokenizer.pad_token_id
    trials = [Trial(dataclasses.replace(SAME, steps=3, seed=seed), rank) for seed, rank in enumerate((2, 4))]
    for trial in (*trials, Trial(dataclasses.replace(SAME, steps=3, eval_every=1), None)):
        curves = [
            fit_alone(copy.deepcopy(each), trial, rows, pad=pad, validation=rows[:4]).history
            for each in (on_cpu, model)
        ]
        assert curves[1].loss == pytest.approx(curves[0].loss, rel=1e-3)
        assert curves[1].validation_loss == pytest.approx(curves[0].validation_loss, rel=1e-3)
    together = [fit_together(each, trials, [rows] * 2, pad=pad) for each in (on_cpu, model)]
    for one, other in zip(*together):
        assert other.history.loss == pytest.approx(one.history.loss, rel=1e-3)


def test_gradients_and_updates_are_those_of_the_cpu(two):
    on_cpu, model, tokenizer = two
    rows, pad = taught(tokenizer)[:6], tokenizer.pad_token_id
    first = [updates.gradients(each, rows, pad) for each in (on_cpu, model)]
    assert close(first[1].values(), first[0].values())
    batch = collate(rows, pad)
    one, other = (updates.parts(each, batch) for each in (on_cpu, model))
    assert [*other.norms, *other.sums, other.cosine] == pytest.approx([*one.norms, *one.sums, one.cosine], rel=1e-3)
    in_parts = [
        accumulated(each, [rows[:2], rows[2:]], pad, lambda summed, _, total: summed / total).gradient
        for each in (on_cpu, model)
    ]
    assert close([in_parts[1]], [in_parts[0]])
    spectra = [updates.spectra(each) for each in first]
    assert all(torch.allclose(spectra[1][name], values, atol=1e-5) for name, values in spectra[0].items())
    steps = [updates.first_steps(each, (1, 4), lr=1e-3, seeds=(0,)) for each in first]
    assert [each.drop for each in steps[1]] == pytest.approx([each.drop for each in steps[0]], rel=1e-3)
    models.keep_bits(copy.deepcopy(model), 4)
    cut = updates.cut_model(model, copy.deepcopy(model), 1)
    assert next(cut.parameters()).device == CARD


def test_an_adapter_is_drawn_on_the_cpu_wherever_the_model_is(two):
    drawn = [dict(models.add_lora(each, rank=2, alpha=4, seed=0).named_parameters()) for each in two[:2]]
    assert all(torch.equal(drawn[1][name].cpu(), weight) for name, weight in drawn[0].items())
    assert all(weight.device == CARD for weight in drawn[1].values())


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("make") is None, reason="no make here")
def test_without_a_card_make_test_gpu_ends_with_one_line():
    command = ["make", "--no-print-directory", "-o", "setup", f"VENV={sys.prefix}", "test-gpu"]
    environment = {
        name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")
    }
    environment["CUDA_VISIBLE_DEVICES"] = ""
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, env=environment)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert "There is no CUDA device that this torch can use, so nothing was run; `labkit doctor` says more" in line


# On a CUDA device: nothing of this has a fake


@pytest.fixture(scope="module")
def both(tiny_model_folder):
    """(the model on the CPU, the same on the GPU, tokenizer)."""
    on_cpu, tokenizer = models.load(tiny_model_folder, device="cpu")
    return on_cpu, models.load(tiny_model_folder, device="cuda")[0], tokenizer


def taught(tokenizer):
    return [render(example, tokenizer) for example in number_questions(32)]


SAME = Settings(steps=8, batch_size=4, lr=3e-3, number_format="float32")  # in float32 only rounding may differ


@pytest.mark.gpu
def test_training_on_the_gpu_follows_that_on_the_cpu(both):
    rows = taught(both[2])
    curves = []
    for model in both[:2]:
        trained = fit_alone(model, Trial(SAME, rank=4), rows, pad=both[2].pad_token_id)
        curves.append(trained.history.loss)
    assert curves[1] == pytest.approx(curves[0], rel=1e-3)
    assert curves[0][-1] != pytest.approx(curves[0][0], rel=1e-3)  # something was learned


@pytest.mark.gpu
def test_adapters_at_once_equal_separate_ones_on_the_gpu(both):
    _, model, tokenizer = both
    rows, pad = taught(tokenizer), tokenizer.pad_token_id
    trials = [Trial(dataclasses.replace(SAME, seed=seed), rank) for seed, rank in enumerate((2, 4, 8))]
    together = fit_together(model, trials, [rows] * 3, pad=pad)
    for trial, at_once in zip(trials, together):
        alone = fit_alone(model, trial, rows, pad=pad)
        assert at_once.history.loss == pytest.approx(alone.history.loss, rel=1e-3)


@pytest.mark.gpu
def test_the_gpu_writes_and_scores_what_the_cpu_does(both):
    examples = number_questions(16)
    on_cpu, on_gpu = (models.score(model, both[2], examples, max_new_tokens=8) for model in both[:2])
    assert on_gpu.outputs == on_cpu.outputs
    rows = taught(both[2])
    losses = [evaluate(model, rows, pad=both[2].pad_token_id) for model in both[:2]]
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)


@pytest.mark.gpu
def test_a_run_on_the_gpu_goes_on_where_it_was(both):
    _, model, tokenizer = both
    rows, pad, states = taught(tokenizer), tokenizer.pad_token_id, {}

    def run(**more):
        adapted = models.add_lora(models.load(model.name_or_path, device="cuda")[0], rank=4, alpha=8, seed=0)
        return fit(adapted, rows, SAME, pad=pad, **more).loss

    def keep(step, take):
        if step == 3:
            states[step] = copy.deepcopy(take())

    whole = run(on_state=keep)
    assert states[3]["device_random"] is not None
    assert run(state=states[3]) == pytest.approx(whole, rel=1e-4)


@pytest.mark.gpu
def test_four_bits_on_the_gpu_are_those_on_the_cpu(wide_model_folder):
    logits = []
    for device in ("cpu", "cuda"):
        model, _ = models.load(wide_model_folder, device=device, quantize="nf4")
        with torch.no_grad():
            logits.append(model(input_ids=torch.tensor([[5, 6, 7]], device=model.device)).logits.float().cpu())
    assert torch.dist(*logits) < 0.01 * logits[0].norm()


@pytest.mark.gpu
def test_the_number_format_is_the_cards(both):
    wanted = torch.bfloat16 if torch.cuda.get_device_capability()[0] >= 8 else torch.float32
    assert Settings().dtype("cuda") == wanted
    history = fit_alone(
        both[1], Trial(Settings(steps=2, batch_size=4)), taught(both[2]), pad=both[2].pad_token_id
    ).history
    assert all(map(math.isfinite, history.loss))
