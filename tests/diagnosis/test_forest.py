"""The forests: those of scikit-learn, as the shipped file holds them, and what they decide beside the rules."""

from __future__ import annotations

import numpy as np
import pytest

from labkit.common import InputError
from labkit.diagnosis import causes, forest, record
from labkit.diagnosis.signs import Signs, see


@pytest.fixture(scope="module")
def runs():
    return [run for name in ("digits-lora", "small-sums") for run in record.recorded(name)]


def test_set_ups_of_one_mix_and_base_are_held_out_together():
    groups = record.groups()
    assert sorted(name for group in groups for name in group) == sorted(record.SETUPS)
    assert ["digits-lora", "digits-all"] in groups and ["small-dates"] in groups and len(groups) == 11


def test_the_table_says_what_scikit_learns_trees_say(runs, monkeypatch):
    from sklearn.ensemble import RandomForestClassifier

    kept = []
    fit = RandomForestClassifier.fit
    monkeypatch.setattr(RandomForestClassifier, "fit", lambda self, *args: kept.append(fit(self, *args)) or self)
    grown = forest.grow(runs)
    for number, columns in enumerate(forest.COLUMNS):
        for run in runs[::9]:
            signs = forest.seen_in(run, columns)
            theirs = kept[number].predict_proba([forest.features(signs)])[0]
            ours = grown[number].likely(signs)
            for name, share in zip(kept[number].classes_, theirs, strict=True):
                assert ours[name] == pytest.approx(share, abs=2e-3)


def test_the_shipped_forests_are_those_of_the_shipped_runs():
    """Ten runs of each set-up are enough to see that the file is not stale: they were all learned from."""
    forests, right, asked = forest.load(), 0, 0
    for name in record.SETUPS:
        for run in record.recorded(name)[:10]:
            asked += 1
            right += max(forests[0].likely(forest.seen_in(run)).items(), key=lambda each: each[1])[0] == run["cause"]
    assert asked == 150 and right / asked > 0.97
    assert {*forests[0].causes} == {*causes.CAUSES}


@pytest.mark.parametrize("number", range(4))
def test_a_log_is_judged_by_the_columns_that_it_has(runs, number):
    signs = forest.seen_in(runs[0], forest.COLUMNS[number])
    assert forest.place(signs) == number
    assert causes.judge(signs).why


def fake(**shares):
    """Forests that always say this."""
    names = tuple(name.replace("_", " ") for name in shares)
    one = forest.Forest(names, *(np.array(values) for values in ([0], [-1], [0.0], [0], [0], [[*shares.values()]])))
    return (one,) * 4


def test_the_forest_has_the_last_word_if_it_is_sure_or_the_rules_agree():
    falling = {
        "loss": [3.0, 2.0, 1.7, 1.6, 1.5, 1.45, 1.4, 1.35],
        "validation_step": [0, 8],
        "validation_loss": [3, 1.4],
    }
    signs = see(falling)
    assert causes.read(signs).name == "sound"
    agreed = causes.judge(signs, fake(sound=0.4, overfitting=0.3, rate_too_low=0.3))
    assert agreed.name == "sound" and set(agreed.others) >= {"overfitting", "rate too low"}
    sure = causes.judge(signs, fake(overfitting=0.7, sound=0.3))
    assert sure.name == "overfitting" and sure.others[0] == "sound" and "70%" in sure.why
    unsure = causes.judge(signs, fake(overfitting=0.5, sound=0.4, beta2=0.1))
    assert unsure.name == causes.CANNOT_TELL and set(unsure.causes) == {"overfitting", "sound", "labels shifted twice"}


def test_what_one_column_says_by_itself_needs_no_forest():
    assert causes.judge(Signs(lines=3), fake(sound=1.0)).name == causes.CANNOT_TELL
    assert causes.judge(Signs(lines=9, share_changed=0.2), fake(sound=1.0)).name == "pure bfloat16"
    assert causes.judge(Signs(lines=9, nan_at=0.5, straight=0.0), fake(overflow=1.0)).name == "overflow"


def test_a_file_that_is_missing_is_one_line(tmp_path):
    with pytest.raises(InputError, match="cannot be read .* make it with"):
        forest.load(tmp_path / "forests.npz")
