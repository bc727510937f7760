"""A patient of the clinic is diagnosed in JupyterLab by keyboard alone, up to a knob that changes nothing."""

import time

import pytest

from labkit.progress import Store

pytestmark = pytest.mark.browser


@pytest.fixture
def cells():
    return ["import labkit as lk", "lk.clinic(3)"]


@pytest.fixture
def ready():
    return ".labkit-quiz .labkit-question"


def replied(page, text: str) -> str:
    """The last reply, once it says this."""
    for _ in range(120):
        replies = page.locator(".labkit-reply").all_inner_texts()
        if replies and text in replies[-1]:
            return replies[-1]
        time.sleep(0.5)
    raise AssertionError(f"nothing says {text!r}: {replies}")


def test_a_patient_is_diagnosed_by_keyboard(page, tab_to, tmp_path):
    keys = page.keyboard
    cells = page.locator(".jp-Notebook .jp-Cell").count()
    pictures = page.locator(".labkit-quiz img:visible").count()
    page.locator(".jp-InputPrompt").nth(1).click()
    tab_to("SELECT")
    keys.type("rows")
    tab_to("checkbox")
    keys.press("Space")
    page.wait_for_function(
        "count => [...document.querySelectorAll('.labkit-quiz img')].filter(e => e.offsetParent).length > count",
        arg=pictures,
    )

    tab_to("SELECT")
    keys.type("overflow")
    tab_to("Commit to it")
    keys.press("Enter")
    replied(page, "Your diagnosis: overflow.")
    tab_to("SELECT")
    keys.type("rate")
    tab_to("See this test")
    keys.press("Enter")
    replied(page, "at a millionth of the rate")
    tab_to("SELECT")
    keys.type("grouped")
    tab_to("Change to this")
    keys.press("Space")
    replied(page, "now: grouped by length")
    tab_to("What was planted?")
    keys.press("Enter")
    assert "✓ Right: grouped by length. At first you said: overflow." in replied(page, "Planted:")
    tab_to("SELECT")
    keys.type("l")
    tab_to("Run it again")
    keys.press("Enter")
    replied(page, "as it should be already")

    assert page.locator(".jp-Notebook .jp-Cell").count() == cells
    kept = Store(tmp_path / "LABKIT_HOME").kept("clinic:3")
    assert (kept["diagnosis"], kept["changed"], kept["revealed"]) == ("overflow", "grouped by length", True)
    assert kept["tests"] == ["rate of nearly 0"] and kept["knobs"] == ["labels"]
