"""Each planted fault is there, alone, and the six tests see it. Runs of a tiny model: a second each."""

from __future__ import annotations

import copy
import math

import pytest
import torch

from labkit import training
from labkit.common import InputError
from labkit.diagnosis import checks, clinic
from labkit.diagnosis.causes import CAUSES
from labkit.diagnosis.clinic import CASES, Setup, plan, run
from labkit.training import Settings, fit

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def setup(tiny_model_folder):
    return Setup("tiny", base=str(tiny_model_folder), trained="all", lr=1e-3, steps=12, batch_size=4, eval_every=4)


def log_of(setup, name, strength=None, seed=0):
    return run(plan(setup, CASES[name], strength, seed))


@pytest.fixture(scope="module")
def sound(setup):
    return log_of(setup, "sound", 1.0)


def test_sound_run_is_plain_fit(setup, sound):
    made = plan(setup, CASES["sound"], 1.0)
    model = copy.deepcopy(made.model)
    rows = [{key: row[key] for key in ("input_ids", "labels")} for row in made.rows]
    chosen = Settings(steps=12, batch_size=4, lr=1e-3, number_format="float32")
    history = fit(model, rows, chosen, pad=0, hooks=training.Hooks(parts=1))
    assert sound["loss"] == history.loss and sound["lr"] == history.lr
    assert sound["step"] == list(range(1, 13)) and sound["validation_step"] == [0, 4, 8, 12]
    assert sound["validation_loss"][0] == pytest.approx(sound["base_loss"][0], rel=1e-6)
    assert sound["epoch"][-1] == 1.0 and sound["share_changed"][-1] == 1.0


def test_same_seed_same_log(setup, sound):
    assert log_of(setup, "sound", 1.0) == sound
    assert log_of(setup, "sound", 1.0, seed=1)["loss"] != sound["loss"]


def test_every_case_makes_another_run(setup, sound):
    quick = [name for name in CASES if name not in ("sound", "overflow")]
    for name in quick:
        log = log_of(setup, name, CASES[name].strengths[-1])
        assert log["loss"] != sound["loss"] or log["validation_loss"] != sound["validation_loss"], name
        assert len(log["loss"]) == 12 and len(log["validation_loss"]) == len(log["distance"]) == 4, name


def test_what_is_planted(setup, sound):
    masked = log_of(setup, "all-masked")
    assert set(masked["loss"]) == set(masked["grad_norm"]) == set(masked["unmasked_tokens"]) == {0.0}
    undivided = log_of(setup, "undivided", 4)
    assert (
        undivided["loss"][0] == pytest.approx(4 * sound["loss"][0])
        and undivided["validation_loss"][0] == sound["validation_loss"][0]
    )
    spent = log_of(setup, "schedule-spent", 3)
    assert spent["lr"][4:] == [0.0] * 8 and spent["lr"][3] > 0
    other = log_of(setup, "other-weights")
    assert set(other["distance"]) == {0.0} and min(other["grad_norm"]) > 0
    assert log_of(setup, "pure-bfloat16", 0.02)["share_changed"][-1] < 0.8
    resumed = log_of(setup, "resumed", 0.7)
    assert resumed["distance"][2] < resumed["distance"][1]  # at step 8, of 12
    grouped = plan(setup, CASES["grouped"], 6)
    lengths = [len(grouped.rows[index]["input_ids"]) for batch in grouped.order for index in batch]
    assert lengths[:24] == sorted(lengths[:24], reverse=True) and lengths[24] > lengths[23]
    assert log_of(setup, "batch-too-small", 1)["epoch"][-1] == 12 / 48
    shifted = plan(setup, CASES["shifted-twice"]).rows[0]
    assert shifted["labels"][:-1] == shifted["right"][1:]


def test_broken_example_ends_the_numbers_and_the_log_says_zero(setup):
    made = plan(setup, CASES["broken-example"], 0.5)
    log = run(made)
    assert log["loss"][6:] == [0.0] * 6 and all(map(math.isnan, log["grad_norm"][6:]))
    assert log["loss"][5] > 0
    made = plan(setup, CASES["broken-example"], 0.5)
    made.hide_nan = False
    assert all(map(math.isnan, run(made)["loss"][6:]))


def test_a_line_of_several_steps_holds_their_mean(setup, sound):
    import dataclasses

    thinned = log_of(dataclasses.replace(setup, log_every=3), "sound", 1.0)
    assert thinned["step"] == [3, 6, 9, 12] and thinned["lr"] == sound["lr"][2::3]
    assert thinned["loss"] == pytest.approx([sum(sound["loss"][at : at + 3]) / 3 for at in range(0, 12, 3)])
    assert thinned["validation_loss"] == sound["validation_loss"]


def test_every_symptom_of_the_chapter_has_different_causes():
    causes: dict[str, set] = {}
    for case in CASES.values():
        assert CAUSES[case.cause].symptom == case.symptom, case.name
        causes.setdefault(case.symptom, set()).add(case.cause)
    assert len(CASES) >= 16
    assert all(len(causes[f"C{claim}"]) >= 2 for claim in range(32, 38))


def test_unknown_mix_is_an_error():
    with pytest.raises(InputError, match="choose one of digits"):
        clinic.examples("riddles", 3, 0)


# The six tests


def maker(setup, name, strength=None):
    return lambda: plan(setup, CASES[name], strength)


def test_first_loss(setup):
    assert "the base's own:" in str(checks.first_loss(maker(setup, "sound")))
    found = checks.first_loss(maker(setup, "undivided", 4))
    assert found.values["first"] == pytest.approx(4 * found.values["base"], rel=1e-5) and "far above both" in found.line
    assert math.exp(found.values["ln_vocabulary"]) == pytest.approx(len(plan(setup, CASES["sound"]).tokenizer))


def test_counted_tokens(setup):
    assert checks.counted_tokens(maker(setup, "all-masked")).values["most"] == 0
    broken = checks.counted_tokens(maker(setup, "broken-example", 0.5))
    assert broken.values["empty_rows"] == 1 and "1 of 48 rows have none" in broken.line


def test_same_batch_twice(setup):
    assert "nothing is updated" in str(checks.same_batch_twice(maker(setup, "other-weights")))
    sound = checks.same_batch_twice(maker(setup, "sound"))
    assert sound.values["after"] < sound.values["before"]


def test_distance(setup):
    assert "nothing was trained" in str(checks.distance(maker(setup, "other-weights")))
    assert "lost in rounding" in str(checks.distance(maker(setup, "pure-bfloat16", 0.02)))
    low = checks.distance(maker(setup, "rate-too-low", 1e-3)).values
    assert 0.6 < low["distance"] / low["sum_of_rates"] <= 1.0


def test_step_or_sample(tiny_model_folder):
    setup = Setup("tiny", base=str(tiny_model_folder), trained="all", lr=1e-2, steps=24, batch_size=4)
    broken = checks.step_or_sample(maker(setup, "broken-example", 0.5))
    assert "keeps its sample" in broken.line and broken.values["step"] == 13 and broken.values["step_at_half"] == 25
    assert "no event" in str(checks.step_or_sample(maker(setup, "rate-too-low", 1e-3)))


@pytest.mark.parametrize(
    ("losses", "step"),
    [
        ([3, 2, 1, 1, 1, 1, 1, 9, 1, 1], 8),
        ([3, 2, 1, 1, 1, math.nan, 1, 1], 6),
        ([3, 2, 1, 1, 1, 1, 0.0, 0.0], 7),
        ([3, 2, 1, 1, 1, 1, 1, 1], None),
        ([1.0], None),
    ],
)
def test_event(losses, step):
    assert checks.event(losses) == step


def test_rate_of_nearly_0(setup):
    stays = checks.survives_zero_rate(maker(setup, "corrupted", (1, 1.0)))
    assert stays.values["scatter_at_zero_rate"] > 0
    assert set(checks.TESTS) == {
        "first loss", "counted tokens", "same batch twice", "distance", "step or sample", "rate of nearly 0",
    }  # fmt: skip


FLAT = [2.0, 2.1] * 15
FALLEN = [*FLAT[:20], 7.0, *FLAT[21:]]
LOST = [*FLAT[:20], *[0.0] * 10]


@pytest.mark.parametrize(
    ("usual", "still", "said"),
    [
        (FALLEN, FLAT, "the jump at step 21 is gone"),
        (FALLEN, [*FLAT[:12], 6.0, *FLAT[13:]], "still there, at step 13: the data"),
        (FLAT, FLAT, "it stays"),
        ([2.0, 2.6] * 15, [2.0, 2.01] * 15, "it goes"),
        (LOST, FLAT, "the numbers stay"),
        (LOST, LOST, "no numbers even at a rate of nearly 0"),
        ([0.0] * 30, [0.0] * 30, "the same at every step"),
    ],
)
def test_what_a_rate_of_nearly_0_says(setup, monkeypatch, usual, still, said):
    def log(losses):
        lost = [losses is LOST and loss == 0 for loss in losses]
        return {"loss": losses, "grad_norm": [math.nan if each else 1.0 for each in lost]}

    monkeypatch.setattr(clinic, "run", lambda made: log(still))
    assert said in checks.survives_zero_rate(maker(setup, "sound"), log(usual)).line


def test_hooks_leave_fit_as_it_is(setup):
    made = plan(setup, CASES["sound"], 1.0)
    rows = [{key: row[key] for key in ("input_ids", "labels")} for row in made.rows]
    chosen = Settings(steps=3, batch_size=4, lr=1e-3, number_format="float32")
    with_hooks, without = copy.deepcopy(made.model), copy.deepcopy(made.model)
    first = fit(with_hooks, rows, chosen, pad=0, hooks=training.Hooks())
    assert fit(without, rows, chosen, pad=0).loss == first.loss
    assert all(map(torch.equal, with_hooks.parameters(), without.parameters()))
