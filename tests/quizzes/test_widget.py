"""The widget: every kind can be answered, the first answer is kept, and it needs no more than ipywidgets 7.7.1 has.

With 7.7.1 they run as well, and say the same of it, the table of its traits included:
pip install --no-deps --target SEVEN ipywidgets==7.7.1 ipython_genutils; PYTHONPATH=SEVEN python -m pytest tests/quizzes
"""

import ipywidgets
import pytest
from version7 import TRAITS, kept_to

from labkit import quizzes
from labkit.common import InputError
from labkit.live import VIEW
from labkit.progress import store
from labkit.quizzes.answers import put
from labkit.quizzes.exam import Exam
from labkit.quizzes.widget import NOTHING, Fields, Maker, Quiz


@pytest.fixture
def views(puts):
    """{kind: its question on the screen}."""
    quiz = Quiz(list(puts.values()), "Title", "during")
    return {view.put.question.kind: view for view in quiz.views} | {"quiz": quiz}


def button(view, label):
    return next(each for each in view.buttons.children if each.description == label)


def enter(fields: Fields, given) -> None:
    """Put an answer into the fields, as a person would."""
    asked, kind = fields.put, fields.put.question.kind
    values = list(given.values()) if kind == "blanks" else given if kind in ("match", "order") else [given]
    for field, value in zip(fields.fields, values, strict=True):
        field.value = asked.offered.index(value) if asked.offered else value


def wrong(asked):
    kind = asked.question.kind
    if kind == "number":
        return "12345"
    if kind == "choice":
        return next(option for option in asked.offered if option != asked.right)
    if kind == "blanks":
        return dict.fromkeys(asked.asked, "12345")
    return asked.right[1:] + asked.right[:1]


@pytest.mark.parametrize("kind", ["number", "choice", "match", "order", "blanks"])
def test_each_kind_is_answered_and_kept_once(views, kind):
    view = views[kind]
    button(view, "Check").click()
    assert store().answers() == [] and "…" in view.reply.value  # nothing was given yet
    enter(view.fields, wrong(view.put))
    button(view, "Check").click()
    assert "Not right" in view.reply.value
    button(view, "Show the answer").click()
    enter(view.fields, view.put.as_given)
    button(view, "Check").click()
    assert "✓ Right." in view.reply.value
    [kept] = store().answers()
    assert kept["question"] == view.put.question.id and kept["place"] == "during"
    assert not kept["correct"] and kept["rating"] == 1 and kept["details"]["given"] == wrong(view.put)


def test_a_right_answer_is_kept_as_known(views):
    for kind in ("number", "choice", "match", "order", "blanks"):
        enter(views[kind].fields, views[kind].put.as_given)
        button(views[kind], "Check").click()
    assert [(row["correct"], row["rating"]) for row in store().answers()] == [(True, 3)] * 5
    assert views["quiz"].end.value == ""
    views["recall"].fields.fields[0].value = "something"
    button(views["recall"], "Reveal the answer").click()
    button(views["recall"], "Missed it").click()
    assert "5 of 6 right" in views["quiz"].end.value


def test_in_a_review_a_guess_has_a_button_of_its_own(puts, views):
    assert [each.description for each in views["choice"].buttons.children] == ["Check"]
    quiz = Quiz([puts["choice"], puts["recall"]], "Title", "review")
    guess, recall = quiz.views
    assert [each.description for each in guess.buttons.children] == ["Check", "Check; I guessed"]
    assert [each.description for each in recall.buttons.children] == ["Reveal the answer"]
    enter(guess.fields, guess.put.as_given)
    button(guess, "Check; I guessed").click()
    assert "✓ Right." in guess.reply.value and "A guess" in guess.reply.value
    [kept] = store().answers()
    assert (kept["correct"], kept["rating"], kept["details"]["guessed"]) == (True, 1, True)


def test_recall_is_written_revealed_and_rated(views):
    view = views["recall"]
    button(view, "Reveal the answer").click()
    assert "write what you remember" in view.reply.value
    view.fields.fields[0].value = "<script>x</script>"
    button(view, "Reveal the answer").click()
    assert view.put.right in view.reply.value and store().answers() == []
    button(view, "Hard").click()
    button(view, "Easy").click()  # the first rating counts
    [kept] = store().answers()
    assert (kept["correct"], kept["rating"], kept["details"]["given"]) == (True, 2, "<script>x</script>")


def test_enter_in_a_field_answers(views):
    field = views["number"].fields.fields[0]
    field.value = views["number"].put.as_given
    field._handle_custom_msg({"event": "submit"}, [])
    assert "✓ Right." in views["number"].reply.value


def test_every_field_has_a_label_and_nothing_is_chosen_yet(views):
    for kind, view in views.items():
        for field in view.fields.fields if kind != "quiz" else ():
            assert field.description
            assert field.value in (None, "", NOTHING)


def test_scripts_are_text_on_the_screen(views):
    texts = [child.value for view in views.values() for child in view.box.children if hasattr(child, "value")]
    shown = "".join(text for text in texts if isinstance(text, str))
    assert "<script" not in shown
    assert any("<script>" in label for label, _ in views["choice"].fields.fields[0].options)  # a label is plain text


def test_a_formula_that_is_no_label_is_shown_above_letters(questions):
    question = questions["choice"].model_copy(deep=True)
    options = [option.model_copy(update={"text": rf"$\frac{{{n}}}{{r}}$"}) for n, option in enumerate(question.options)]
    question = question.model_copy(update={"options": options, "answer": options[0].text})
    fields = Fields(put(question, "a"), Maker(), lambda: None)
    listed, radios = fields.box
    assert all(option.text in listed.value for option in options)
    assert [label for label, _ in radios.options] == ["A", "B", "C"]
    radios.value = fields.put.order.index(0)
    assert fields.given() == question.answer


def test_labels_are_plain_text_in_both_versions(questions, monkeypatch):
    question = questions["match"]
    first, *others = question.answer
    pairs = [first.model_copy(update={"left": "`a < b` *<img src=x>*", "right": "*th · er*"}), *others]
    asked = put(question.model_copy(update={"answer": pairs}))
    for version, label in {"7.7.1": "a &lt; b &lt;img src=x&gt;", "8.1.9": "a < b <img src=x>"}.items():
        monkeypatch.setattr(ipywidgets, "__version__", version)
        field = Fields(asked, Maker(), lambda: None).fields[0]
        assert field.description == label
        assert "th · er" in [text for text, _ in field.options]  # options are text in both


def test_where_nothing_can_be_kept_the_quiz_goes_on_and_says_so(views, home, capsys):
    home.parent.mkdir(exist_ok=True)
    home.write_text("not a folder")
    enter(views["number"].fields, views["number"].put.as_given)
    button(views["number"], "Check").click()
    assert "✓ Right." in views["number"].reply.value and "not kept" in views["quiz"].end.value
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_only_what_version_7_has_is_used(puts):
    """Every keyword and attribute that a widget is given is one of 7.7.1's, in a quiz and in an exam."""
    if ipywidgets.__version__ == "7.7.1":  # where the table says what there is
        for kind, names in TRAITS.items():
            there = getattr(ipywidgets, kind, None) or getattr(ipywidgets.widgets.widget_description, kind)
            assert set(names) <= set(there.class_trait_names()), kind
    with kept_to({"HTMLMathStyle", "HTMLStyle", "TextStyle"}) as used:
        quiz = Quiz(list(puts.values()), "Title")
        for view in quiz.views:
            view.check()
            view.fields.close()
        sitting = Exam([each for each in puts.values() if each.question.kind != "recall"], "Title", None)
        sitting.begin()
        sitting.finish()
    assert ("RadioButtons", "options") in used and "RadioButtons" in TRAITS


def test_in_a_kernel_the_bundle_holds_the_view_and_the_printed_form(all_kinds, monkeypatch):
    shown = []
    monkeypatch.setattr(quizzes, "in_notebook", lambda: True)
    monkeypatch.setattr(quizzes, "choose", lambda *args: list(all_kinds))
    monkeypatch.setattr("IPython.display.display", lambda data, raw: shown.append(data))
    quizzes.quiz("masking", when="before")
    store().add_answer(all_kinds[0].id, place="after", correct=True, rating=3, seconds=1)
    quizzes.quiz("masking", when="before")
    assert all(set(bundle) == {VIEW, "text/html", "text/plain"} for bundle in shown)
    first, second = ({kind: bundle[kind] for kind in ("text/html", "text/plain")} for bundle in shown)
    assert first == second  # what a notebook stores does not depend on who answered what


def test_without_a_kernel_the_questions_are_printed(all_kinds, monkeypatch, capsys):
    monkeypatch.setattr(quizzes, "choose", lambda *args: list(all_kinds))
    quizzes.quiz("masking", when="before")
    assert "1 of" not in (said := capsys.readouterr().out) and "Answers" in said


@pytest.mark.parametrize("call, said", [
    (dict(lab="maskin", when="before"), "did you mean 'masking'"),
    (dict(lab="masking", when="later"), "one of 'before'"),
    (dict(lab="masking", when="during"), "segment"),
    (dict(lab="masking", when="during", segment="nowhere"), "labels, share"),
    (dict(lab="masking", when="before", segment="labels"), "left out"),
])  # fmt: skip
def test_a_quiz_that_there_is_not_is_refused_in_one_line(call, said):
    with pytest.raises(InputError, match=said) as caught:
        quizzes.quiz(**call)
    assert "\n" not in str(caught.value)


def test_a_learner_has_one_name_and_a_day_one_order(questions):
    assert quizzes.learner() == quizzes.learner()
    assert quizzes.today() == quizzes.today()
    store().keep("learner", "somebody else")
    assert quizzes.today().startswith("somebody else ")
