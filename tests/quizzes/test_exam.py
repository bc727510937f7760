"""The practice exam: spread over the objectives, silent until the end, and a report that adds up."""

import json
from random import Random

import ipywidgets
import pytest

from labkit.cli import main
from labkit.common import InputError
from labkit.progress import store
from labkit.quizzes import banks, exam
from labkit.quizzes.answers import put
from labkit.syllabus import LABS, OBJECTIVES


@pytest.fixture
def bank(questions):
    """Twelve exam questions over the four objectives."""
    kinds = ["number", "choice", "match", "order", "blanks", "choice"] * 2
    return [
        questions[kind].model_copy(update={"id": f"exam.q{n}", "when": "exam", "objective": list(OBJECTIVES)[n % 4]})
        for n, kind in enumerate(kinds)
    ]


def test_it_is_spread_over_the_objectives_and_drawn_anew(bank):
    for count in (1, 4, 6, 8, 12):
        chosen = exam.sample(bank, count, Random(count))
        each = [sum(question.objective == name for question in chosen) for name in OBJECTIVES]
        assert sum(each) == count == len({question.id for question in chosen}) and max(each) - min(each) <= 1
    assert len({tuple(q.id for q in exam.sample(bank, 8, Random(seed))) for seed in range(20)}) > 10
    for count in (0, 13):
        with pytest.raises(InputError, match="1 to 12"):
            exam.sample(bank, count, Random(0))


@pytest.fixture
def sat(bank):
    """An exam of eight in a notebook, half of it answered rightly and surely, one wrongly, the rest not at all."""
    widget = exam.Exam([put(question, "seed") for question in bank[:8]], "Title", None)
    widget.begin()
    for number, (fields, sure) in enumerate(widget.rows[:5]):
        given = fields.put.as_given
        values = list(given.values()) if isinstance(given, dict) else given if isinstance(given, list) else [given]
        for field, value in zip(fields.fields, values, strict=True):
            field.value = fields.put.offered.index(value) if fields.put.offered else value
        sure.value = 0.95
        if number == 1:
            fields.fields[0].value = (fields.fields[0].value + 1) % 3
            sure.value = 0.75
    return widget


def shown(box) -> str:
    """All text that the widget shows."""
    if isinstance(box, ipywidgets.Box):
        return " ".join(map(shown, box.children))
    return str(getattr(box, "value", "")) + str(getattr(box, "outputs", ""))


def test_nothing_is_said_and_nothing_kept_before_the_end(sat):
    assert not any(word in shown(sat.box) for word in ("Right", "right.", "Not right", "rationale"))
    for fields, _ in sat.rows:
        assert fields.put.rationale not in shown(sat.box)
    assert store().answers() == []


def test_what_is_missing_is_said_once_then_it_is_handed_in(sat):
    sat.hand_in()
    assert "3 are not answered" in sat.note.value and sat.answers is None
    sat.hand_in()
    sat.hand_in()  # a third press changes nothing
    assert len(store().answers()) == 8 and all(row["place"] == "exam" for row in store().answers())
    assert all(field.disabled for fields, _ in sat.rows for field in fields.fields)
    assert sum(each.right for each in sat.answers) == 4


def test_the_report_adds_up(sat):
    sat.finish()
    answers = sat.answers
    objectives = exam.by_objective(answers)
    assert [row[0] for row in objectives] == list(OBJECTIVES)
    assert sum(right for _, right, _, _ in objectives) == 4 and sum(asked for _, _, asked, _ in objectives) == 8
    assert sum(len(missed) for *_, missed in objectives) == 4
    assert exam.calibration(answers) == [(0.75, 0, 1), (0.95, 4, 4)]
    assert exam.brier(answers) == pytest.approx((0.75**2 + 4 * 0.05**2) / 5)
    assert exam.summary(answers)[0] == "4 of 8 right. Of 5 you said how sure you were: 4.5 expected, 4 right."
    page = shown(sat.box)
    assert 'href="04_masking.ipynb' in page and "<script>" not in page


def test_a_section_is_a_heading_of_the_lab(questions, monkeypatch):
    monkeypatch.setattr(exam, "_headings", lambda file: ("02 · X", "1 · Labels and more"))
    assert exam.section(questions["choice"]) == ("1 · Labels and more", "04_masking.ipynb#1-·-Labels-and-more")
    monkeypatch.setattr(exam, "_headings", lambda file: ())
    assert exam.section(questions["blanks"]) == ("teacher forcing", "04_masking.ipynb")
    named = questions["choice"].model_copy(update={"section": "What you keep"})
    assert exam.section(named)[0] == "What you keep"
    monkeypatch.setattr(exam, "_headings", lambda file: None)
    assert exam.section(questions["blanks"]) == ("teacher forcing, in lab 04_masking", "")


def test_the_exam_that_ships_links_to_headings_that_are_there_and_to_no_lab_that_is_not():
    from labkit.lab import shipped_labs

    there = {path.stem for path in shipped_labs()}
    asked = banks.load(banks.folder() / f"{banks.EXAM}.yaml")
    for question in asked:
        file, _, heading = exam.section(question)[1].partition(".ipynb#")
        assert bool(heading) == (LABS[question.lab].file in there) and file in ("", LABS[question.lab].file), (
            question.id
        )
    missed = [exam.graded(put(question), None, None) for question in asked]
    page, text = exam.as_html(missed), exam.as_text(missed)
    for stem in {lab.file for lab in LABS.values()} - there:
        assert f'href="{stem}' not in page and f"{stem}.ipynb" not in text


def test_in_a_terminal_the_time_ends_it(bank, monkeypatch, capsys):
    puts = [put(question) for question in bank[:3]]
    clock = iter([0, 10, 700, 700])
    monkeypatch.setattr(exam.time, "monotonic", lambda: next(clock, 800))
    typed = iter(["1.609", "4", "A", "1", "x"])
    answers = exam.in_terminal(puts, 10, lambda prompt: next(typed))
    assert [each.right for each in answers] == [True, False, False] and "time is over" in capsys.readouterr().out
    assert [each.sure for each in answers] == [0.95, None, None]


def test_the_command(bank, monkeypatch, capsys):
    monkeypatch.setattr(banks, "load", lambda path: tuple(bank))
    monkeypatch.setattr("builtins.input", lambda prompt: (_ for _ in ()).throw(EOFError))
    assert main(["quiz", "exam", "--questions", "4", "--json"]) == 0
    said = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (said["asked"], said["right"], said["brier"]) == (4, 0, None)
    assert store().answers() == []  # nobody sat it
    for spoiled in (["--questions", "99"], ["--minutes", "-1"], ["--minutes", "nan"]):
        assert main(["quiz", "exam", *spoiled]) == 2
        assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.parametrize("minutes", [0, -1, 1e9])
def test_a_time_that_is_none_is_refused(minutes):
    with pytest.raises(InputError, match="minutes"):
        exam.exam(minutes=minutes)
