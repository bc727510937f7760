"""From a log to a cause: the exercise's rules, the signs, the verdicts, and what `labkit diagnose` prints."""

from __future__ import annotations

import json
import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit import cli
from labkit.diagnosis import checks, command, diagnose
from labkit.diagnosis.causes import CANNOT_TELL, CAUSES, Verdict, judge, read
from labkit.diagnosis.formats import Log
from labkit.diagnosis.signs import Signs, see

FALLING = [3.0, 2.0, 1.7, 1.6, 1.5, 1.45, 1.4, 1.35, 1.3, 1.28, 1.26, 1.25]

SLOW = {  # forty lines of a loss that falls late; steps of chance would move the weights by 0.063
    "loss": [3.0 - 0.01 * n for n in range(40)],
    "step": list(range(1, 41)),
    "lr": [0.01] * 40,
    "grad_norm": [1.0] * 40,
    "epoch": None,
    "validation_step": [0, 10, 20, 40],
    "validation_loss": [3.1, 3.0, 2.8, 2.65],
}


def log(**changes) -> dict:
    """A sound log of twelve lines."""
    values = {
        "step": list(range(1, 13)),
        "loss": FALLING,
        "lr": [0.01] * 12,
        "grad_norm": [3.0, 2.5, *[1.0] * 10],
        "epoch": [(step + 1) / 12 for step in range(12)],
        "validation_step": [0, 4, 8, 12],
        "validation_loss": [3.1, 1.8, 1.4, 1.3],
        "distance": [0.0, 0.02, 0.03, 0.04],
        "share_changed": [0.0, 1.0, 1.0, 1.0],
        "base_loss": [3.1],
        "ln_vocabulary": [6.0],
    } | changes
    count = len(values["loss"])
    for name in ("step", "lr", "grad_norm", "epoch"):
        values[name] = values[name] and values[name][:count]
    return {name: value for name, value in values.items() if value is not None}


def named(**changes) -> str:
    return read(see(log(**changes))).name


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({}, "sound"),
        ({"loss": FALLING[:4]}, "cannot tell"),
        ({"loss": [0.0] * 12, "grad_norm": [0.0] * 12}, "nothing counted"),
        ({"loss": [0.0] * 12, "grad_norm": [math.nan] * 12}, "not a number"),
        ({"loss": [*FALLING[:5], math.inf, *FALLING[6:]]}, "not a number"),
        ({"validation_loss": [3.1] * 4}, "nothing updated"),
        ({"lr": [0.01] * 10 + [0.0] * 2}, "schedule spent early"),
        ({"lr": [0.01] * 11 + [0.0]}, "sound"),
        ({"loss": [*FALLING[:6], 4.0, *FALLING[7:]]}, "spike"),
        ({"validation_loss": [3.1, 1.8, 1.4, 1.6]}, "overfitting"),
        ({"loss": [3.0, 3.1, 2.9] * 4}, "flat"),
        ({"validation_loss": None, "lr": None, "grad_norm": None}, "cannot tell"),
    ],
)
def test_rules_of_the_exercise(changes, name):
    assert diagnose(log(**changes)) == name


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({}, "sound"),
        ({"loss": FALLING[:4]}, CANNOT_TELL),
        ({"loss": [0.0] * 12, "grad_norm": [0.0] * 12}, "nothing counted"),
        ({"loss": [*FALLING[:6], *[0.0] * 6], "grad_norm": [*[1.0] * 6, *[math.nan] * 6]}, "broken example"),
        ({"distance": [0.0] * 4, "validation_loss": [3.1] * 4}, "optimizer holds other weights"),
        ({"loss": [60, *FALLING[1:]], "validation_loss": [55.0, 1.8, 1.4, 1.3]}, "new embedding rows"),
        ({"validation_loss": [9.0, 1.8, 1.4, 1.3], "entropy": [0.5, 1.0, 1.2, 1.2]}, "new embedding rows"),
        ({"validation_loss": [9.0, 1.8, 1.4, 1.3], "entropy": [1.5, 1.0, 1.2, 1.2]}, "labels shifted twice"),
        ({"loss": [4 * loss for loss in FALLING]}, "accumulation undivided"),
        ({"base_loss": [2.5]}, "labels shifted twice"),
        ({"share_changed": [0.0, 0.1, 0.2, 0.2]}, "pure bfloat16"),
        ({"lr": [0.01] * 5 + [0.0] * 7}, "schedule spent early"),
        ({"distance": [0.0, 0.2, 0.4, 0.5]}, "beta2"),
        ({"distance": [0.0, 0.01, 0.015, 0.02]}, "rate too high"),
        (SLOW | {"distance": [0.0, 0.1, 0.2, 0.3]}, "rate too low"),
        (SLOW | {"distance": [0.0, 0.06, 0.1, 0.15]}, "too little capacity"),
        (SLOW | {"distance": [0.0, 0.04, 0.06, 0.08]}, CANNOT_TELL),
        (SLOW | {"distance": [0.0, 0.04, 0.05, 0.06]}, "rate too high"),
        ({"unmasked_tokens": [5.0, 6.0] * 6}, "batch too small"),
        ({"validation_loss": [3.1, 3.3, 3.5, 3.7]}, "validation of another kind"),
        ({"validation_loss": [3.1, 1.8, 1.6, 1.9], "epoch": [3.0 * n for n in range(12)]}, "overfitting"),
    ],
)
def test_causes_by_their_signs(changes, name):
    assert named(**changes) == name


def test_nan_that_the_log_hides_is_not_convergence():
    hidden = log(loss=[*FALLING[:6], *[0.0] * 6], grad_norm=[*[1.0] * 6, *[math.nan] * 6])
    assert see(hidden).nan_at == 0.5
    masked = log(loss=[0.0] * 12, grad_norm=[0.0] * 12)
    assert see(masked).nan_at is None and see(masked).all_zero


def test_other_units_and_more_lines_change_no_verdict_of_shape():
    """Losses in bits instead of nats, or a log with each line twice as long apart: the same signs."""
    bits = log(
        loss=[loss / math.log(2) for loss in FALLING], validation_loss=[v / math.log(2) for v in (3.1, 1.8, 1.4, 1.3)]
    )
    bits["base_loss"] = [3.1 / math.log(2)]
    assert read(see(bits)).name == "sound"
    apart = log(
        step=list(range(2, 26, 2)), validation_step=[0, 8, 16, 24], distance=[2**0.5 * d for d in (0, 0.02, 0.03, 0.04)]
    )
    assert read(see(apart)).name == "sound"


numbers = st.floats(0, 50) | st.just(math.nan) | st.just(0.0) | st.just(math.inf)


@given(st.data())
def test_any_log_gets_a_verdict(data):
    count = data.draw(st.integers(1, 30))
    looks = data.draw(st.integers(1, 5))
    history = {"step": list(range(1, count + 1))}
    for name in ("loss", "lr", "grad_norm", "unmasked_tokens", "epoch"):
        if name == "loss" or data.draw(st.booleans()):
            cells = numbers if name == "loss" else numbers | st.none()
            history[name] = data.draw(st.lists(cells, min_size=count, max_size=count))
    if data.draw(st.booleans()):
        history["validation_step"] = [round(place * count / looks) for place in range(looks)]
        for name in ("validation_loss", "distance", "share_changed"):
            history[name] = data.draw(st.lists(numbers, min_size=looks, max_size=looks))
    verdict = judge(see(history))
    assert verdict.name in CAUSES or verdict.name == CANNOT_TELL
    assert set(verdict.others) <= set(CAUSES) and verdict.why
    assert isinstance(diagnose(history | {"grad_norm": []}), str)


def test_every_cause_names_a_test_that_there_is():
    for name, cause in CAUSES.items():
        assert cause.test.startswith(("none is needed", *checks.TESTS)), name


# The command


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "run.json"
    path.write_text(json.dumps(log()))
    return path


def test_command_tells_and_draws(file, tmp_path, capsys):
    assert cli.main(["diagnose", str(file), "--plot", str(tmp_path / "run.png"), "--json"]) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[0].startswith(f"{file}: the kit's history, steps 1 to 12 in 12 lines; no counted tokens")
    assert json.loads(told[-1])["cause"] == judge(see(log())).name
    assert (tmp_path / "run.png").read_bytes().startswith(b"\x89PNG")


def test_command_with_a_fault_ends_in_1(tmp_path, capsys):
    path = tmp_path / "own.csv"
    path.write_text("step,loss,grad_norm\n" + "\n".join(f"{step},0,0" for step in range(1, 10)))
    assert cli.main(["diagnose", str(path)]) == 1
    assert "nothing counted" in capsys.readouterr().out


def test_what_to_do_about_a_loss_that_scatters_is_said():
    def lines(noise):
        signs = Signs(lines=90, first=3.0, last=1.0, noise=noise, validation_gain=2.0, validation_rise=0.0)
        return command.told("own.csv", Log("a CSV", {"loss": [3.0, 1.0]}), signs, Verdict(CANNOT_TELL, "many fit"))

    assert any(line.startswith("  first: the loss scatters by 280%") for line in lines(2.8))
    assert not any(
        "first:" in line for line in lines(0.1)
    ) and "seen: the held-out loss ends at 1/2 of where it began, its lowest" in lines(0.1)


def test_command_says_why_it_cannot_tell(tmp_path, capsys):
    path = tmp_path / "own.csv"
    path.write_text("step,loss\n1,3.0\n2,2.0\n")
    assert cli.main(["diagnose", str(path), "--json"]) == 0
    told = capsys.readouterr().out
    assert "cannot tell, because" in told and "no validation loss: overfitting cannot be seen" in told
    assert json.loads(told.splitlines()[-1])["cause"] == CANNOT_TELL


@pytest.mark.parametrize("plot", ["nowhere/run.png", "run.riddle"])
def test_plot_that_cannot_be_written_is_one_line(file, tmp_path, capsys, plot):
    assert cli.main(["diagnose", str(file), "--plot", str(tmp_path / plot)]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_log_of_noise_is_not_called_sound():
    draw = random.Random(0)
    history = {"step": list(range(60)), "loss": [3 + draw.random() for _ in range(60)]}
    assert judge(see(history)).name == CANNOT_TELL


def test_a_fall_at_the_very_end_is_seen_there():
    from labkit.diagnosis.signs import see

    half = see({"loss": [1.0, 1.0, 1.0, 1.0, 0.0]}).half
    assert half is not None and half > 0.7


def test_losses_of_zero_beside_a_held_out_loss_get_a_verdict():
    assert judge(see(log(loss=[3.0, *[0.0] * 11])))
