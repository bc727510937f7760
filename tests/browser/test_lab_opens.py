"""`labkit lab` brings a learner to the first lab: JupyterLab starts and Chromium shows the notebook's title."""

import json
import shutil

import pytest

from labkit.lab import shipped_labs

pytestmark = pytest.mark.browser


@pytest.fixture
def jupyter(tmp_path, serve):
    """The address of a JupyterLab that `labkit lab` opened in an empty folder."""
    homes = {"LABKIT_HOME": str(tmp_path / "home"), "JUPYTER_CONFIG_DIR": str(tmp_path / "config")}
    with serve("labkit.cli", "lab", "--", more=["--LabApp.extension_manager=readonly"], **homes) as address:
        yield address


def test_the_first_lab_is_shown(jupyter):
    from playwright.sync_api import sync_playwright

    first = shipped_labs()[0]
    markdown = next(
        cell["source"] for cell in json.loads(first.read_text())["cells"] if cell["cell_type"] == "markdown"
    )
    title = "".join(markdown).splitlines()[0].lstrip("# ")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium") or shutil.which("google-chrome"), args=["--no-sandbox"]
        )
        page = browser.new_page()
        page.goto(f"{jupyter}/lab/tree/{first.name}")
        heading = page.locator(".jp-NotebookPanel h1").first
        heading.wait_for(timeout=60_000)
        assert heading.inner_text().rstrip("¶").strip() == title
        browser.close()
