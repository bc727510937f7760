"""The practice exam: spread over the objectives, silent until the end, and a report that adds up."""

import json
import re
import signal
import subprocess
import sys
from random import Random

import ipywidgets
import pytest

from labkit.cli import main
from labkit.common import InputError
from labkit.progress import store
from labkit.quizzes import banks, exam
from labkit.quizzes.answers import put
from labkit.quizzes.markup import to_html, to_plain
from labkit.quizzes.sitting import graded
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
    assert "3 questions are not answered" in sat.note.value and sat.answers is None
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
    missed = [graded(put(question), None, None) for question in asked]
    page, text = exam.as_html(missed), exam.as_text(missed)
    for stem in {lab.file for lab in LABS.values()} - there:
        assert f'href="{stem}' not in page and f"{stem}.ipynb" not in text


def typist(puts, wrong=()):
    """Somebody who types each question's right answer (or a wrong one) and how sure they are, prompt by prompt."""
    for asked in puts:
        right, kind = asked.as_given, asked.question.kind
        if kind == "blanks":
            yield from right.values()
        elif kind == "number":
            yield "99" if asked.question.id in wrong else right
        else:
            chosen = [asked.offered.index(item) for item in (right if kind in ("match", "order") else [right])]
            if asked.question.id in wrong:
                chosen = [*chosen[1:], chosen[0]] if len(chosen) > 1 else [(chosen[0] + 1) % len(asked.offered)]
            yield " ".join("ABCDEF"[place] for place in chosen)
        yield "95%"


def test_in_a_terminal_the_time_ends_it(bank, monkeypatch, capsys):
    puts = [put(question) for question in bank[:3]]
    clock = iter([0, 10, 10, 700])
    monkeypatch.setattr(exam.time, "monotonic", lambda: next(clock))
    typed = iter(["1.609", "4", "A", "1"])
    answers = exam.in_terminal(puts, 10, lambda prompt: next(typed))
    assert [each.right for each in answers] == [True] and "time is over" in capsys.readouterr().out
    assert [each.sure for each in answers] == [0.95] and len(store().answers()) == 1


@pytest.mark.parametrize("ending", [KeyboardInterrupt, RuntimeError])
def test_wherever_it_is_interrupted_nothing_answered_is_lost_and_nothing_unseen_counted(bank, ending):
    known = {question.id: question for question in bank}
    prompts = list(typist([put(question, "seed") for question in bank[:5]]))
    for stop in range(len(prompts)):
        sitting = exam.Sitting([put(question, "seed") for question in bank[:5]])
        left = iter(prompts[:stop])

        def ask(prompt: str, left=left) -> str:
            for typed in left:
                return typed
            raise ending

        with pytest.raises(ending):
            exam.in_terminal(sitting.puts, None, ask, sitting)
        done = sum("95%" == typed for typed in prompts[:stop])
        assert len([row for row in store().answers() if row["details"]["sitting"] == sitting.name]) == done
        again = exam.unfinished(known)
        assert again is not None and again.name == sitting.name and again.puts == sitting.puts
        rest = typist(again.puts[done:])
        answers = exam.in_terminal(again.puts, None, lambda prompt, rest=rest: next(rest), again)
        assert [each.put.question.id for each in answers] == [question.id for question in bank[:5]]
        assert all(each.right and each.sure == 0.95 for each in answers)
        assert len([row for row in store().answers() if row["details"]["sitting"] == sitting.name]) == 5
        assert exam.unfinished(known) is None


KILLED = """
import builtins, os, signal, sys
from labkit.cli import main

write = sys.stdout.write

def written(text):
    if "3 of 4." in text:
        os.kill(os.getpid(), signal.SIGKILL)
    return write(text)

sys.stdout.write = written
builtins.input = lambda prompt: ""  # skips, however many fields a question has
main(["quiz", "exam", "--questions", "4"])
"""


def test_a_process_that_is_killed_keeps_what_was_answered(home):
    """Two questions were skipped when it is killed; the next call asks the third."""
    killed = subprocess.run([sys.executable, "-c", KILLED], capture_output=True, timeout=120)
    assert killed.returncode == -signal.SIGKILL and len(store().answers()) == 2
    command = [sys.executable, "-m", "labkit.cli", "quiz", "exam", "--questions", "4", "--json"]
    said = subprocess.run(command, input="\n", capture_output=True, text=True, timeout=120)
    assert "2 of 4 answered" in said.stdout and "3 of 4." in said.stdout and "1 of 4." not in said.stdout
    asked = json.loads(said.stdout.splitlines()[-1])["asked"]
    assert asked == len(store().answers()) and asked >= 2  # a question of several fields may have begun


def test_the_end_of_the_input_leaves_unseen_questions_unanswered(bank):
    puts = [put(question, "seed") for question in bank[:6]]
    typed = typist(puts[:2])

    def ask(prompt: str) -> str:
        for each in typed:
            return each
        raise EOFError

    answers = exam.in_terminal(puts, None, ask)
    assert len(answers) == len(store().answers()) == 2
    assert sum(asked for _, _, asked, _ in exam.by_objective(answers)) == 2
    assert exam.unfinished({question.id: question for question in bank}) is None  # it was handed in


def test_what_cannot_be_read_is_asked_again_and_skipping_asks_no_more(bank, capsys):
    puts = [put(question) for question in bank[:2]]
    typed = iter(["many", "1.61", "a lot", "95", ""])
    answers = exam.in_terminal(puts, None, lambda prompt: next(typed))
    assert [(each.right, each.sure) for each in answers] == [(True, 0.95), (False, None)] and not list(typed)
    assert capsys.readouterr().out.count("…") == 2


@pytest.mark.parametrize("said, sure", [
    ("1", 0.25), ("4", 0.95), ("95%", 0.95), ("95 %", 0.95), ("95", 0.95), ("0.95", 0.95), (".5", 0.5), ("80 percent", 0.8),
    ("100%", 1), ("0%", 0), ("sure", 0.95), ("guess", 0.25), ("three quarters", 0.75), ("1%", 0.01), ("120%", None), ("-5", None),
    ("very", None), ("", None),
])  # fmt: skip
def test_how_sure_is_read_as_it_is_said(said, sure):
    assert exam.read_sure(said) == (sure if sure is None else pytest.approx(sure))


def test_the_report_puts_own_and_right_answers_side_by_side(bank):
    puts = [put(question, "seed") for question in bank[:6]]
    typed = typist(puts, wrong={each.question.id for each in puts[:4]})
    answers = exam.in_terminal(puts, None, lambda prompt: next(typed))
    text, page = exam.as_text(answers), exam.as_html(answers)
    assert "yours: 99" in text and re.search(r"yours: [A-C]\. .*\n +right: [A-C]\. ", text)
    for each in answers[:4]:
        for _, own, wanted in exam.side_by_side(each):
            assert to_plain(own)[:30] in text and to_plain(wanted)[:30] in text and to_html(own) in page
        assert all(to_html(reason) in page for reason in exam.reasons_for(each))
    assert text.count("✗") == page.count("✗") == 4 and text.count("✓") == page.count("✓") == 2


def test_the_command(bank, monkeypatch, capsys):
    monkeypatch.setattr(banks, "load", lambda path: tuple(bank))
    monkeypatch.setattr("builtins.input", lambda prompt: (_ for _ in ()).throw(EOFError))
    assert main(["quiz", "exam", "--questions", "4", "--json"]) == 0
    said = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (said["asked"], said["right"], said["unseen"], said["brier"]) == (0, 0, 4, None)
    assert store().answers() == []  # nobody sat it
    monkeypatch.setattr("builtins.input", lambda prompt: (_ for _ in ()).throw(KeyboardInterrupt))
    for options in ([], ["--new"]):
        assert main(["quiz", "exam", "--questions", "4", *options]) == 1
        assert "goes on" in capsys.readouterr().out
    assert main(["quiz", "exam"]) == 1 and "Going on" in capsys.readouterr().out
    for spoiled in (["--questions", "99"], ["--minutes", "-1"], ["--minutes", "nan"]):
        assert main(["quiz", "exam", "--new", *spoiled]) == 2
        assert len(capsys.readouterr().err.splitlines()) == 1


def test_in_a_notebook_what_was_entered_is_there_again(sat, bank):
    """The kernel is gone, and the cell is run again."""
    known = {question.id: question for question in bank}
    again = exam.unfinished(known)
    widget = exam.Exam(again.puts, "Title", None, again)
    assert widget.button.description == "Go on"
    widget.begin()
    for (before, sure), (after, as_sure) in zip(sat.rows, widget.rows, strict=True):
        assert before.given() == after.given() and sure.value == as_sure.value
    widget.finish()
    assert sum(each.right for each in widget.answers) == 4 and len(store().answers()) == 8
    assert exam.unfinished(known) is None


def test_in_a_notebook_what_cannot_be_read_is_said_before_it_is_handed_in(sat):
    number = next(fields for fields, _ in sat.rows if fields.put.question.kind == "number")
    number.fields[0].value = "many"
    sat.hand_in()
    assert f"cannot be read in {sat.puts.index(number.put) + 1}." in sat.note.value and sat.answers is None
    sat.hand_in()
    assert "1 could not be read" in exam.summary(sat.answers)[0]


def test_a_sitting_whose_questions_have_changed_is_not_continued(bank):
    exam.Sitting([put(question, "seed") for question in bank[:3]]).keep()
    known = {question.id: question for question in bank}
    assert exam.unfinished(known) is not None
    assert exam.unfinished({id: question for id, question in known.items() if id != bank[0].id}) is None
    for broken in (None, {}, {"questions": 3}, {"questions": [{"id": bank[0].id}]}, "x"):
        store().keep("exam", broken)
        assert exam.unfinished(known) is None


@pytest.mark.parametrize("minutes", [0, -1, 1e9])
def test_a_time_that_is_none_is_refused(minutes):
    with pytest.raises(InputError, match="minutes"):
        exam.exam(minutes=minutes)
