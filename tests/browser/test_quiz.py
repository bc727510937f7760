"""A quiz with a question of each kind is answered in JupyterLab by keyboard alone, and no key reaches the notebook."""

import json
import os
import time
from pathlib import Path

import pytest

from labkit.progress import Store

pytestmark = pytest.mark.browser

BANK = Path(__file__).parent.parent / "quizzes" / "all_kinds.yaml"
SETUP = f"""
from pathlib import Path
import labkit as lk
from labkit import quizzes
from labkit.quizzes import banks
questions = list(banks.load(Path({str(BANK)!r})))
quizzes.choose, quizzes.AFTER = lambda *given: list(questions), 10
"""
LIMIT = 0.3  # seconds until ten questions are on the screen


@pytest.fixture
def cells():
    """A cell to begin, one with a quiz of each kind."""
    return [SETUP, 'lk.quiz("masking", when="before")']


@pytest.fixture
def ready():
    return ".labkit-quiz .labkit-question >> nth=5"


def replies(page, count: int) -> list[str]:
    page.wait_for_function(f"() => document.querySelectorAll('.labkit-reply').length >= {count}", timeout=10_000)
    time.sleep(0.5)
    return page.locator(".labkit-reply").all_inner_texts()


def test_every_kind_is_answered_by_keyboard(page, tab_to, tmp_path):
    keys = page.keyboard
    cells = page.locator(".jp-Notebook .jp-Cell").count()
    page.locator(".jp-InputPrompt").nth(1).click()
    tab_to("text")
    keys.type("12345 nats")
    keys.press("Enter")
    assert "✗ Not right." in replies(page, 1)[0]

    tab_to("radio")
    keys.press("Space")
    keys.press("ArrowDown")
    for key in ("x", "d", "d", "a"):  # which would cut, delete and add cells
        keys.press(key)
    tab_to("Check")
    keys.press("Enter")
    replies(page, 2)

    tab_to("textarea")
    keys.type("<b>left out</b>")
    tab_to("Reveal the answer")
    keys.press("Enter")
    assert "How well did you know it?" in replies(page, 3)[2]
    tab_to("Hard")
    keys.press("Space")

    for number, fields in ((4, 3), (5, 4)):
        for place in range(fields):
            tab_to("SELECT")
            for _ in range(place + 1):
                keys.press("ArrowDown")
        tab_to("Check")
        keys.press("Enter")
        replies(page, number)

    tab_to("text")
    keys.type("Left out")
    tab_to("text")
    keys.type("-100")
    keys.press("Enter")
    assert "✓ Right." in replies(page, 6)[5]
    assert page.locator(".jp-Notebook .jp-Cell").count() == cells
    assert "of 6 right at once" in page.locator(".labkit-quiz").inner_text()

    answers = Store(tmp_path / "LABKIT_HOME").answers()
    asked = [row["question"].split(".")[1] for row in answers]
    assert asked == ["surprise", "why", "recall", "match", "order", "blanks"]
    assert answers[0]["details"]["given"] == "12345 nats" and answers[2]["rating"] == 2
    assert page.locator(".labkit-quiz script, .labkit-reply b").count() == 0


def test_ten_questions_are_soon_on_the_screen(page):
    """From the key that runs the cell until the tenth question is drawn; the kernel is warm."""
    page.locator(".jp-Cell").nth(1).locator(".cm-content").click()
    page.keyboard.press("Control+a")
    page.keyboard.type("questions = (questions * 2)[:10]; lk.quiz('masking', when='before')")
    watch = """() => { window.drawn = window.began = null;
      document.querySelectorAll('.labkit-question').forEach(e => e.dataset.old = '');
      document.addEventListener('keydown', e => {
        if (e.ctrlKey && e.key === 'Enter' && window.began === null) window.began = performance.now() }, true);
      const look = () => { if (document.querySelectorAll('.labkit-question:not([data-old])').length === 10)
        window.drawn = performance.now(); else requestAnimationFrame(look) }; requestAnimationFrame(look) }"""
    seconds = []
    for _ in range(5):
        page.evaluate(watch)
        page.keyboard.press("Control+Enter")
        page.wait_for_function("() => window.drawn !== null", timeout=20_000)
        seconds.append(page.evaluate("() => (window.drawn - window.began) / 1000"))
        page.wait_for_selector(".jp-Notebook-ExecutionIndicator[data-status=idle]")
        time.sleep(1)
        page.locator(".jp-Cell").nth(1).locator(".cm-content").click()
    print(json.dumps({"seconds_on_screen": [round(each, 3) for each in seconds]}))
    if hasattr(os, "getloadavg") and os.getloadavg()[0] > os.cpu_count():
        pytest.skip(f"this machine is busy, so the time says little: {seconds}")
    assert min(seconds) <= LIMIT
