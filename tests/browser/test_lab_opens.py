"""`labkit lab` brings a learner to the first lab: JupyterLab starts and Chromium shows the notebook's title."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest

from labkit.lab import shipped_labs

pytestmark = pytest.mark.browser


@pytest.fixture
def jupyter(tmp_path):
    """The address of a JupyterLab that `labkit lab` opened in an empty folder."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = [
        "--no-browser",
        f"--port={port}",
        "--ServerApp.port_retries=0",
        "--IdentityProvider.token=",
        "--LabApp.extension_manager=readonly",
    ]
    environment = {**os.environ, "LABKIT_HOME": str(tmp_path / "home"), "JUPYTER_CONFIG_DIR": str(tmp_path / "config")}
    with open(tmp_path / "log", "w") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "labkit.cli", "lab", "--", *options],
            cwd=tmp_path,
            env=environment,
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
