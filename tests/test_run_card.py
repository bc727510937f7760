"""Run cards: the template is one, and whatever is wrong with another is said in one line."""

from __future__ import annotations

import os

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from labkit import run_card
from labkit.common import InputError

FILLED = yaml.safe_load(run_card.TEMPLATE.read_text())


def test_the_template_is_a_card():
    card = run_card.load(run_card.TEMPLATE)
    assert len(card.seeds) == len(card.curves) and card.predicted.low < card.predicted.score < card.predicted.high


def changed(**fields):
    return yaml.safe_dump(FILLED | fields).encode()


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "begins with"),
        (b"- a\n- b", "begins with"),
        (b"name: [", "line 1: is not YAML"),
        (b"\xff\xfe", "not valid UTF-8"),
        (b"a: &x [1]\nb: *x", "anchor or alias"),
        (b"name: a\nname: b", "there twice"),
        (b"name: !!python/object/apply:os.system [ls]", "is not YAML"),
        (b"[" * 50_000, "nested too deeply"),
        (b"name: 2024-99-99", "name|date|month"),
        (changed(seeds=[0, 1, 2]), "claims 3 seeds and holds 1 curves"),
        (changed(seeds=[0, 0], curves=[[1.0, 2.0], [1.0, 2.0]]), "a seed twice"),
        (changed(predicted={"score": 0.9, "low": 0.2, "high": 0.8}), "low ≤ score ≤ high"),
        (changed(predicted={"score": float("nan"), "low": 0.2, "high": 0.8}), "predicted.score"),
        (changed(curves=[[1.0, float("inf")]]), "curves.0.1"),
        (changed(seeds=["0"]), "seeds.0"),
        (changed(extra=1), "extra"),
        (yaml.safe_dump({key: value for key, value in FILLED.items() if key != "split"}).encode(), "split"),
    ],
)
def test_a_faulty_card_is_refused_in_one_line(data, said):
    with pytest.raises(InputError, match=said) as error:
        run_card.parse(data)
    assert str(error.value).isprintable()


def test_what_is_no_file_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "long").write_bytes(b"#" * 300_000)
    for name, said in (("none", "no such run card"), (".", "not a file"), ("pipe", "not a file"), ("long", "bytes")):
        with pytest.raises(InputError, match=said):
            run_card.load(tmp_path / name)


def test_a_rate_may_be_written_in_powers_of_ten():
    assert run_card.parse(yaml.safe_dump(FILLED).replace("0.006", "6e-3").encode()).learning_rate == 6e-3


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=60) | st.text(max_size=60).map(lambda text: text.encode("utf-8", "replace")))
def test_any_bytes_are_a_card_or_one_line(data):
    try:
        run_card.parse(data)
    except InputError as error:
        assert str(error).isprintable()
