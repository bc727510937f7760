"""The records that ship with the kit are what their recipes give with this base."""

import pytest

from labkit import runs


@pytest.mark.parametrize("name", runs.recorded())
def test_a_record_matches_its_recipe_and_its_base(name):
    assert runs.stale(name) is None
    record = runs.Record.load(name)
    assert len(record.outcomes) == len(record.shares)
    train, test = runs.mix(runs.RECIPES[name])  # of seed 0: the almanac still gives the examples that were recorded
    first = record.outcome(0)
    assert first.trained_on == runs.digest(train), f"labkit runs rebuild {name} --again"
    assert first.questions == runs.digest(test[: runs.RECIPES[name].evaluation_n])
    for outcome in record.outcomes:
        assert outcome.right.count("1") == outcome.score["correct"] and len(outcome.right) == outcome.score["n"]
        assert outcome.score["low"] <= outcome.score["share"] <= outcome.score["high"]
        assert outcome.machine and outcome.date and outcome.versions
