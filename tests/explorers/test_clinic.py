"""The clinic as a learner meets it: the whole way through, coming back, the text without a kernel, wrong input."""

from __future__ import annotations

import dataclasses
import html
import re

import pytest
from version7 import kept_to

import labkit as lk
from labkit.common import InputError
from labkit.diagnosis import patients
from labkit.diagnosis.causes import CAUSES
from labkit.diagnosis.knobs import KNOBS
from labkit.explorers import clinic
from labkit.explorers.clinic import AXES, EXTRAS, NONE, TESTS, Chart, Visit, kept
from labkit.live import VIEW
from labkit.progress import Store, store

pytestmark = pytest.mark.slow

NUMBERS = list(patients.patients())
NUMBER = 3


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """A store of its own for each test."""
    monkeypatch.setenv("LABKIT_HOME", str(tmp_path / "home"))


@pytest.fixture
def chart():
    return Chart(patients.patient(NUMBER))


@pytest.fixture
def wrong(chart):
    """A cause that is not the patient's, and not among its neighbours."""
    return next(cause for cause in CAUSES if cause != chart.cause and cause not in chart.who.neighbours)


def opened(visit: Visit) -> list[str]:
    return [name for name, part in visit.parts.items() if part in visit.box.children]


def until_revealed(visit: Visit, diagnosis: str, test: str, changed: str | None = None) -> str:
    visit.cause.value = diagnosis
    visit.commit.click()
    visit.test.value = test
    visit.see.click()
    if changed:
        visit.other.value = changed
        visit.change.click()
    visit.reveal.click()
    return visit.said["case"].value


def test_one_thing_opens_the_next_and_each_commitment_is_kept(chart):
    visit = Visit(chart)
    assert opened(visit) == ["cause"] and kept(NUMBER)["diagnosis"] is None
    visit.commit.click()
    assert "Choose one" in visit.said["cause"].value and opened(visit) == ["cause"]
    visit.cause.value = chart.cause
    assert kept(NUMBER)["diagnosis"] is None  # chosen is not yet committed
    visit.commit.click()
    assert kept(NUMBER)["diagnosis"] == chart.cause and visit.commit.disabled and opened(visit) == ["cause", "test"]
    visit.see.click()
    assert "Choose one" in visit.said["test"].value
    for test in list(chart.record["tests"])[:2]:
        visit.test.value = test
        visit.see.click()
    assert kept(NUMBER)["tests"] == list(chart.record["tests"])[:2] and opened(visit) == ["cause", "test", "case"]
    assert visit.said["test"].value.count("<em>") == 2
    assert chart.who.planted[:20] not in visit.said["case"].value
    visit.reveal.click()
    assert kept(NUMBER)["revealed"] and opened(visit) == list(visit.parts)
    assert "✓ Right" in visit.said["case"].value and chart.who.planted[:20] in visit.said["case"].value


def test_a_wrong_answer_is_met_by_name(chart, wrong):
    visit = Visit(chart)
    test = next(test for test in TESTS if test not in chart.who.tells and test != NONE)
    said = until_revealed(visit, wrong, test)
    assert f"✗ You said: {wrong}" in said and patients.shows(wrong)[:20] in said
    assert (
        f"<em>{test}</em> does not tell it" in said
        and chart.record["tests"][next(iter(chart.who.tells))]["line"] in said
    )
    neighbour, told = next(iter(chart.who.neighbours.items()))
    assert f"<em>{neighbour}</em>" in said and told[:20] in said


def test_a_neighbour_is_answered_with_what_tells_it_apart(chart):
    neighbour, told = next(iter(chart.who.neighbours.items()))
    best = next(iter(chart.who.tells))
    said = until_revealed(Visit(chart), neighbour, best)
    assert f"<em>{neighbour}</em>. {told[:20]}" in said and f"✓ <em>{best}</em> tells" in said
    assert chart.record["tests"][best]["line"] not in said  # it stands above already


def test_the_diagnosis_may_be_changed_once(chart, wrong):
    visit = Visit(chart)
    said = until_revealed(visit, wrong, "distance", changed=chart.cause)
    assert "✓ Right" in said and f"At first you said: {wrong}" in said
    assert kept(NUMBER)["diagnosis"] == wrong and kept(NUMBER)["changed"] == chart.cause
    assert visit.change.disabled and visit.other.disabled
    visit.other.value = "overfitting"
    visit._change()
    assert kept(NUMBER)["changed"] == chart.cause


def test_a_right_diagnosis_that_was_given_up_is_said(chart, wrong):
    said = until_revealed(Visit(chart), chart.cause, "distance", changed=wrong)
    assert "Your first diagnosis was right" in said


def test_changing_to_the_same_is_no_change(chart, wrong):
    visit = Visit(chart)
    visit.cause.value = visit.other.value = wrong
    visit.commit.click()
    visit.test.value = NONE
    visit.see.click()
    assert "No test was run" in visit.said["test"].value
    visit.change.click()
    assert "your diagnosis already" in visit.said["case"].value and kept(NUMBER)["changed"] is None


def test_coming_back_shows_what_was_committed_to(chart, wrong):
    until_revealed(Visit(chart), wrong, "distance", changed=chart.cause)
    again = Visit(chart)
    assert opened(again) == list(again.parts) and again.cause.value == wrong and again.other.value == chart.cause
    assert again.commit.disabled and again.reveal.disabled and "✓ Right" in again.said["case"].value
    assert "moved" in again.said["test"].value


def test_half_way_it_goes_on_where_it_was(chart, wrong):
    first = Visit(chart)
    first.cause.value = wrong
    first.commit.click()
    again = Visit(chart)
    assert opened(again) == ["cause", "test"] and not again.see.disabled


def test_of_two_views_the_first_commitment_counts(chart, wrong):
    one, two = Visit(chart), Visit(chart)
    one.cause.value, two.cause.value = wrong, chart.cause
    one.commit.click()
    two.commit.click()
    assert kept(NUMBER)["diagnosis"] == two.cause.value == wrong


@pytest.mark.parametrize("odd", [None, 3, "x", [], {"diagnosis": "measles", "tests": ["x"]}, {"tests": ["distance"]}])
def test_what_is_kept_but_names_nothing_is_left_aside(odd, chart):
    store().keep(f"clinic:{NUMBER}", odd)
    assert opened(Visit(chart)) == ["cause"]


def test_where_nothing_can_be_kept_it_goes_on_and_says_so(chart, tmp_path, capsys):
    (tmp_path / "home").write_text("not a folder")
    said = until_revealed(Visit(chart), chart.cause, "distance")
    assert "✓ Right" in said and "not kept" in said
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_curves_are_drawn_as_asked(chart):
    visit = Visit(chart)
    assert visit.picture.layout.display == "none"
    visit.axis.value = "samples"
    first = bytes(visit.picture.value)
    assert visit.picture.layout.display == "" and first.startswith(b"\x89PNG")
    visit.extras["grad_norm"].value = True
    assert bytes(visit.picture.value) != first
    assert "by rows seen" in visit.words.value and "Gradient norm, by rows seen" in visit.words.value


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("axis", AXES)
def test_every_patient_can_be_drawn_on_every_axis(number, axis):
    one = Chart(patients.patient(number))
    _, alt = one.figure(axis, list(EXTRAS), one.record["rerun"], "a knob")
    assert alt.startswith(f"Patient {number}: training loss") and "nan" not in alt
    last = clinic.number(one.log["validation_loss"][-1])
    assert f"Held-out loss, by {AXES[axis]}: 0: " in alt and f": {last}" in alt
    for name in ("Gradient norm", "Learning rate", "Counted tokens", "Entropy"):
        assert f"{name}, by" in alt and f"{name} with a knob, by" in alt


def test_words_hold_the_numbers():
    assert clinic.in_words([1, 2, 3], [2.0, float("nan"), 0.5]) == "1: 2, 2: no number, 3: 0.5"
    told = clinic.in_words(list(range(1, 65)), [float(step) for step in range(1, 65)])
    assert told.startswith("1 to 4: 2.5 (1 to 4); 5 to 8: 6.5") and told.count(";") == 15
    lost = clinic.in_words(list(range(1, 65)), [1.0] * 30 + [float("nan")] * 34)
    assert "29 to 32: 1, 2 no number; 33 to 36: no number" in lost


def test_epochs_begin_where_the_rows_come_again():
    log = {"epoch": [0.5, 1.0, 1.5, 2.0, 2.5]}
    assert clinic.epoch_starts(log) == [2, 4]
    assert clinic.epoch_starts({"epoch": [0.5, 1.0]}) == []


# Running it again


@pytest.fixture
def tiny(chart, tiny_model_folder):
    """The patient's chart, with a plan of a tiny model."""
    setup = {"base": str(tiny_model_folder), "trained": "all", "lr": 1e-3, "steps": 8, "batch_size": 4, "eval_every": 4}
    chart.who = dataclasses.replace(chart.who, setup=setup, strength=2)
    chart.log = patients.run(chart.who.plan())
    chart.record = chart.record | {"hash": patients.digest(chart.who.plan())}
    return chart


def test_it_is_run_again_with_a_knob_turned(tiny):
    visit = Visit(tiny)
    until_revealed(visit, tiny.cause, "distance")
    visit.run.click()
    assert "Choose one" in visit.said["knob"].value
    shown = []
    visit.said["knob"].observe(lambda change: shown.append(change["new"]), "value")
    visit.knob.value = "shuffle"
    visit.run.click()
    assert any("step 8 of 8" in text and "<progress" in text for text in shown)
    name, again = visit.again
    assert name == "shuffle" and len(again["loss"]) == 8 and again["loss"] != tiny.log["loss"]
    assert re.search(r"Held-out loss at the end: [\d.]+ before, [\d.]+ with rows shuffled", visit.said["knob"].value)
    assert "with rows shuffled, by step" in visit.new_words.value and visit.words.value == "" and not visit.run.disabled
    assert kept(NUMBER)["knobs"] == ["shuffle"]


def test_a_knob_that_was_right_already_changes_nothing(tiny, monkeypatch):
    visit = Visit(tiny)
    monkeypatch.setattr(patients, "run", lambda *_: pytest.fail("nothing is to be run"))
    visit.knob.value = "optimizer"
    visit.run.click()
    said = visit.said["knob"].value
    assert "as it should be already" in said and "does not help" in said


def test_a_run_that_is_interrupted_or_fails_leaves_the_buttons(tiny, monkeypatch):
    visit = Visit(tiny)
    visit.knob.value = "tenth"
    for error, said in ((KeyboardInterrupt(), "Stopped."), (InputError("no memory; do this"), "no memory")):
        monkeypatch.setattr(patients, "run", lambda *_: (_ for _ in ()).throw(error))
        visit.run.click()
        assert said in visit.said["knob"].value and not visit.run.disabled and not visit.recorded.disabled


@pytest.mark.parametrize("number", NUMBERS)
def test_the_recorded_cure_is_shown(number):
    one = Chart(patients.patient(number))
    visit = Visit(one)
    visit.recorded.click()
    said = visit.said["knob"].value
    assert html.escape(KNOBS[one.who.knobs[0]].text) in said
    assert "Nothing was wrong" in said if one.cause == "sound" else "✓ It helps." in said


# The frame


def test_every_control_has_a_name(chart):
    visit = Visit(chart)
    controls = [visit.axis, *visit.extras.values(), visit.cause, visit.test, visit.other, visit.knob]
    buttons = [visit.commit, visit.see, visit.change, visit.reveal, visit.run, visit.recorded]
    assert all(each.description for each in [*controls, *buttons])


def test_only_what_version_7_has_is_used(chart):
    with kept_to({"HTMLMathStyle", "HTMLStyle", "CheckboxStyle"}):
        visit = Visit(chart)
        until_revealed(visit, chart.cause, "distance")
        visit.recorded.click()


@pytest.fixture
def shown(monkeypatch):
    """What is displayed in a kernel."""
    outputs = []
    monkeypatch.setattr(clinic, "in_notebook", lambda: True)
    monkeypatch.setattr("IPython.display.display", lambda data, **_: outputs.append(data))
    return outputs


def test_what_a_notebook_stores_is_the_same_for_everybody(shown, chart, wrong):
    lk.clinic(NUMBER)
    until_revealed(Visit(chart), wrong, "distance")
    lk.clinic(NUMBER)
    first, second = (
        [{kind: data[kind] for kind in data if kind not in (VIEW, "image/png")} for data in outputs]
        for outputs in (shown[:3], shown[3:])
    )
    assert first == second and len(first) == 3
    assert (
        VIEW in shown[2] and "image/png" in shown[0] and shown[0]["text/plain"].startswith("Patient 3: training loss.")
    )
    page = shown[2]["text/html"]
    before, *folded = page.split("<details>")
    assert chart.who.planted[:20] not in before and "What is the cause?" in before and len(folded) == 4
    assert any(chart.who.planted[:20] in part for part in folded)
    assert all(html.escape(test["line"].split(":")[-1]) in page for test in chart.record["tests"].values())


def test_without_a_kernel_it_is_text(capsys):
    lk.clinic(NUMBER)
    said = " ".join(capsys.readouterr().out.split())
    assert said.startswith("Patient 3: training loss. Training loss, by step: 1 to 6:")
    assert "1. What is the cause?" in said and "It is: *grouped by length*." in said and "with rows shuffled." in said


@pytest.mark.parametrize("number", NUMBERS)
def test_neither_picture_nor_question_gives_it_away(number):
    one = Chart(patients.patient(number))
    _, alt = one.figure()
    heading, lines = next(clinic.blocks(one))
    seen = " ".join([one.title, one.intro, alt])
    assert heading == "" and one.cause not in seen and one.who.fault not in seen


@pytest.mark.parametrize("wrong", [99, 0, "x", 1.5, True])
def test_a_patient_that_there_is_not_is_one_line(wrong):
    with pytest.raises(InputError, match="give a whole number from 1 to") as caught:
        lk.clinic(wrong)
    assert "\n" not in str(caught.value)


def test_a_patient_without_a_record_is_one_line(monkeypatch, tmp_path):
    monkeypatch.setattr(patients, "FOLDER", tmp_path)
    with pytest.raises(InputError, match="python -m labkit.diagnosis.patients 3"):
        lk.clinic(3)


def test_it_loads_no_torch_before_it_is_run_again():
    import subprocess
    import sys

    code = "import sys, labkit as lk; lk.clinic(3); print('torch' in sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip().endswith("False")


def test_commitments_are_merged_with_another_machines(chart, tmp_path):
    until_revealed(Visit(chart), chart.cause, "distance")
    other = Store(tmp_path / "other")
    other.merge(store().export())
    assert other.kept(f"clinic:{NUMBER}")["diagnosis"] == chart.cause
