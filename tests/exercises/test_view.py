"""How a verdict is shown where there is a kernel: hints a rung at a time, the traceback on demand."""

import pytest
from toy_exercise import TOY, cell

from labkit.exercises import view
from labkit.exercises.engine import check


def test_hints_climb_and_the_traceback_folds(monkeypatch, capsys):
    widgets = pytest.importorskip("ipywidgets")
    shown = []
    monkeypatch.setattr(view, "in_notebook", lambda: True)
    monkeypatch.setattr(view, "show_widget", lambda widget, printed: shown.append(widget))
    view.show(TOY, check(TOY, cell("return values + 1")))
    row, hints, details = shown[0].children
    hint, traceback = row.children
    hint.click()
    assert hints.value == "<ol><li>Add them up.</li></ol>" and hint.description == "Hint 2 of 3"
    hint.click()
    hint.click()
    assert hint.disabled and hints.value.count("<li>") == 3
    traceback.click()
    assert "values + 1" in details.value and isinstance(details, widgets.HTML)
    traceback.click()
    assert details.value == ""
    assert capsys.readouterr().out.count("\n") == 1


def test_without_a_widget_manager_hints_and_traceback_unfold_as_html(monkeypatch):
    pytest.importorskip("ipywidgets")
    shown = []
    monkeypatch.setattr(view, "in_notebook", lambda: True)
    monkeypatch.setattr("IPython.display.display", lambda data, raw: shown.append(data))
    view.show(TOY, check(TOY, cell("return values + '<b>'")))
    page = shown[0]["text/html"]
    places = [page.index(f"<summary>{title}</summary>") for title in ("Hint 1 of 3", "Hint 2 of 3", "Hint 3 of 3")]
    assert places == sorted(places) and "</details>" not in page[: places[2]]  # the third only inside the first two
    assert "<p>Add them up.</p>" in page and "&lt;b&gt;" in page and "<b>" not in page and "<script" not in page


def test_code_in_a_hint_is_set_as_code():
    assert view._marked("`a < b` and `c`") == "<code>a &lt; b</code> and <code>c</code>"
