"""Predictions: what is asked, what is kept, and what is stored in a notebook."""

import pytest

import labkit as lk
from labkit import predictions
from labkit.common import InputError
from labkit.live import VIEW
from labkit.predictions import KEY, _comment, _read, guess, predict
from labkit.progress import store

NUMBER = {"unit": "points", "choices": None}


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("LABKIT_HOME", str(tmp_path))


def test_it_stands_behind_lk():
    assert lk.predict is predict


def test_without_a_guess_the_question_and_the_outcome_are_all(capsys):
    predict("data.leak", "How many points does it look better?", unit="points", low=0, high=100)
    predict("data.leak", outcome=12.34567)
    assert capsys.readouterr().out == "Predict: How many points does it look better?\nOutcome: 12.3 points\n"


def test_a_guess_changes_nothing_that_is_stored(capsys):
    predict("data.leak", "How many?", unit="points")
    predict("data.leak", outcome=12)
    before = capsys.readouterr().out
    store().keep(KEY + "data.leak", 30.0)
    predict("data.leak", "How many?", unit="points")
    predict("data.leak", outcome=12)
    assert capsys.readouterr().out == before
    assert guess("data.leak") == 30


def test_choices_are_listed_and_the_outcome_is_one_of_them(capsys):
    predict("data.which", "Which is better?", choices=["clean", "dirty"])
    predict("data.which", outcome="clean")
    assert capsys.readouterr().out == "Predict: Which is better?\n  ○ clean\n  ○ dirty\nOutcome: clean\n"
    with pytest.raises(InputError, match="not among the choices"):
        predict("data.which", outcome="blue")


@pytest.mark.parametrize(
    "typed, value",
    [("12", 12), (" 0,5 ", 0.5), ("-3", -3), ("−3", -3), ("2e-1", 0.2), ("12,000", 12000), ("1,234,567", 1234567)],
)
def test_numbers_are_read_as_people_type_them(typed, value):
    assert _read(typed, NUMBER, None, None) == (value, None)


def test_percent_is_a_share_without_a_unit_and_no_other_unit():
    assert _read("35%", {"unit": "", "choices": None}, 0, 1) == (0.35, None)
    assert _read("35%", {"unit": "tokens", "choices": None}, 0, 100) == (None, "Type a number of tokens, without %.")


def test_percent_stays_percent_where_that_is_the_unit():
    assert _read("35 %", {"unit": "%", "choices": None}, 0, 100) == (35, None)


@pytest.mark.parametrize("typed", ["", "many", "nan", "inf", "101", "-1"])
def test_what_is_no_guess_is_answered_in_words(typed):
    value, problem = _read(typed, NUMBER, 0, 100)
    assert value is None and problem.startswith("Type a number")


def test_the_comment_says_how_far_off():
    assert _comment(30, 12, NUMBER) == "That is 18 points too high."
    assert _comment(11.5, 12, NUMBER) == "Within a tenth of it."
    assert _comment(30, 12, {"unit": "%", "choices": None}) == "That is 18 points too high."
    assert _comment("a", "a", {"unit": "", "choices": ["a", "b"]}) == "That is how it turned out."


def test_calls_that_do_neither_or_both_are_refused():
    with pytest.raises(InputError):
        predict("data.leak")
    with pytest.raises(InputError):
        predict("data.leak", "How many?", outcome=3)
    with pytest.raises(InputError):
        predict("data.leak", "Which?", choices=["one"])
    with pytest.raises(InputError):
        predict("data.leak", outcome=float("nan"))


@pytest.fixture
def made(monkeypatch):
    """The widgets that are made, in turn, as if in a kernel."""
    widgets = pytest.importorskip("ipywidgets")
    made = []
    monkeypatch.setattr(predictions, "in_notebook", lambda: True)
    monkeypatch.setattr("IPython.display.display", lambda *args, **options: None)
    for name in ("Text", "RadioButtons", "Button", "HTML"):
        kind = getattr(widgets, name)

        def make(*args, kind=kind, **options):
            made.append(kind(*args, **options))
            return made[-1]

        monkeypatch.setattr(widgets, name, make)
    return made


def test_of_two_displays_of_a_question_the_first_that_is_locked_counts(made):
    for _ in range(2):
        predict("data.leak", "How many?", unit="points")
    first, second = made[1:4], made[5:]
    first[0].value, second[0].value = "30", "40"
    first[1].click()
    second[1].click()
    assert guess("data.leak") == 30
    assert "30 points" in second[2].value and second[0].disabled


def test_a_guess_of_another_kind_is_none_and_may_be_made_anew(made, capsys):
    store().keep(KEY + "data.leak", "clean")
    predict("data.leak", "How many?", unit="points")
    predict("data.leak", outcome=12)
    assert not made[2].disabled
    made[1].value = "30"
    made[2].click()
    assert guess("data.leak") == 30
    made.clear()
    predict("data.leak", "Which?", choices=["clean", "dirty"])
    predict("data.leak", outcome="clean")
    assert not made[1].disabled and made[1].value is None


def test_in_a_kernel_the_first_guess_that_is_locked_in_counts(made):
    predict("data.leak", "How many?", unit="points", low=0, high=100)
    asked, field, button, said = made
    assert "How many?" in asked.value
    field.value = "lots"
    button.click()
    assert "Type a number" in said.value and guess("data.leak") is None
    field.value = "30"
    button.click()
    assert guess("data.leak") == 30 and "30 points" in said.value and field.disabled and button.disabled
    made.clear()
    predict("data.leak", "How many?", unit="points", low=0, high=100)
    assert made[1].disabled and "Locked in" in made[3].value


def test_a_notebook_shows_the_question_once_and_stores_its_words(monkeypatch):
    pytest.importorskip("ipywidgets")
    shown = []
    monkeypatch.setattr(predictions, "in_notebook", lambda: True)
    monkeypatch.setattr("IPython.display.display", lambda data, raw: shown.append(data))
    predict("data.which", "Which is better?", choices=["clean", "dirty"])
    (data,) = shown
    assert data.pop("text/plain") == "Predict: Which is better?\n  ○ clean\n  ○ dirty"
    assert set(data) == {VIEW}  # in place of the words, not beside them
