"""A notebook of the kit's own widgets in JupyterLab in Chromium, its cells run, and the Tab key.

A module that uses `page` says in fixtures of its own which `cells` the notebook holds, and which selector is `ready`
once they have run.
"""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import nbformat
import pytest

FOCUS = """() => { const e = document.activeElement;
  return [!!e.closest('.labkit-quiz'), e.tagName, e.type || '', e.textContent] }"""


@pytest.fixture
def serve(tmp_path):
    """A function: a context with the address of a JupyterLab that `python -m MODULE …` starts in `tmp_path`."""

    @contextmanager
    def served(*module: str, more: Sequence[str] = (), **environment: str) -> Iterator[str]:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        options = ["--no-browser", f"--port={port}", "--ServerApp.port_retries=0", "--IdentityProvider.token=", *more]
        with open(tmp_path / "log", "w") as log:
            server = subprocess.Popen(
                [sys.executable, "-m", *module, *options],
                cwd=tmp_path,
                env=os.environ | environment,
                stdout=log,
                stderr=log,
            )
        address = f"http://127.0.0.1:{port}"
        try:
            for _ in range(120):
                try:
                    urllib.request.urlopen(f"{address}/api/status", timeout=5)
                    break
                except (urllib.error.URLError, ConnectionError):
                    assert server.poll() is None, (tmp_path / "log").read_text()
                    time.sleep(0.5)
            yield address
        finally:
            server.kill()  # asked to end, JupyterLab waits for its extensions; the kernel ends with it
            server.wait()

    return served


@pytest.fixture
def notebook(tmp_path, cells, serve):
    """The address of a notebook with these cells in JupyterLab."""
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    made = nbformat.v4.new_notebook(cells=list(map(nbformat.v4.new_code_cell, cells)), metadata=kernel)
    nbformat.write(made, tmp_path / "widgets.ipynb")
    homes = {name: str(tmp_path / name) for name in ("LABKIT_HOME", "JUPYTER_CONFIG_DIR", "JUPYTERLAB_WORKSPACES_DIR")}
    with serve("jupyterlab", more=["--allow-root"], **homes) as address:
        yield f"{address}/lab/tree/widgets.ipynb"


@pytest.fixture
def page(notebook, ready):
    """The notebook with all cells run."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium") or shutil.which("google-chrome"), args=["--no-sandbox"]
        )
        page = browser.new_page(viewport={"width": 1100, "height": 1900})
        page.goto(notebook)
        page.wait_for_selector(".jp-Notebook .jp-Cell", timeout=90_000)
        page.wait_for_selector(".jp-Notebook-ExecutionIndicator[data-status=idle]", timeout=60_000)
        run_all(page, ready)
        yield page
        browser.close()


def run_all(page, ready: str) -> None:
    """Run all cells. JupyterLab may drop what is run before its kernel has answered, so it is tried again."""
    from playwright.sync_api import TimeoutError

    for left in (2, 1, 0):
        page.locator(".jp-InputPrompt").first.click()
        page.click(".lm-MenuBar >> text=Run")
        page.click("text=Run All Cells")
        try:
            page.wait_for_selector(ready, timeout=30_000)
            return
        except TimeoutError:
            if not left:
                raise


@pytest.fixture
def tab_to(page):
    """A function that presses Tab until the focus is on a tag, a type of input, or a button of that name."""

    def press(*wanted: str) -> None:
        for _ in range(12):
            page.keyboard.press("Tab")
            inside, tag, kind, text = page.evaluate(FOCUS)
            if inside and (kind in wanted or tag in wanted or text in wanted):
                return
        raise AssertionError(f"no {wanted} is reached with Tab; the focus is on {page.evaluate(FOCUS)}")

    return press
