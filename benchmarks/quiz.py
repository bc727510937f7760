"""What a quiz costs: ten questions from the start of their cell until they are on the screen, and keeping an answer.

The kernel is warm: labkit and ipywidgets are imported, and one quiz was shown. First a client without a browser:
`seconds` ends when the kernel's last message has arrived. Then JupyterLab in Chromium, where there is one: from the key
that runs the cell until the tenth question is drawn, as `tests/browser/test_quiz.py` measures it. Then two processes
keep 2,000 answers each at once.
"""

import importlib.util
import json
import os
import queue
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

QUESTIONS, REPETITIONS, ANSWERS = 10, 9, 2000
LIMIT = 0.3  # seconds until ten questions are on the screen
WARM = f"""
import labkit as lk
from labkit import quizzes
from labkit.quizzes import banks
asked = [question for path in banks.shipped() for question in banks.load(path)]
kinds = {{}}
for question in asked:
    kinds.setdefault(question.kind, []).append(question)
mixed = [group[n % len(group)] for n in range({QUESTIONS}) for group in kinds.values()][:{QUESTIONS}]
quizzes.choose, quizzes.AFTER = lambda *given: list(mixed), {QUESTIONS}
print(sorted({{question.kind for question in mixed}}))
"""
SHOW = 'lk.quiz("masking", when="before")'
KEEP = f"""
import json, sys, time
from labkit.progress import Store
store, seconds = Store(sys.argv[1]), []
for number in range({ANSWERS}):
    start = time.perf_counter()
    store.add_answer(f"masking.q{{number}}", place="during", correct=True, rating=3, seconds=1.0)
    seconds.append(time.perf_counter() - start)
print(json.dumps(sorted(seconds)))
"""


def run(client, code: str) -> tuple[float, list[str]]:
    """(seconds until the kernel is idle again and its last message has arrived, the kinds of its messages)."""
    start = time.perf_counter()
    id = client.execute(code)
    kinds = []
    while True:
        try:
            message = client.get_iopub_msg(timeout=60)
        except queue.Empty:
            raise SystemExit("the kernel did not answer within a minute") from None
        if message["parent_header"].get("msg_id") != id:
            continue
        kinds.append(message["msg_type"])
        if message["msg_type"] == "error":
            raise SystemExit(f"{message['content']['ename']}: {message['content']['evalue']}")
        if kinds[-1] == "status" and message["content"]["execution_state"] == "idle":
            return time.perf_counter() - start, kinds


def shown() -> dict:
    from jupyter_client.manager import start_new_kernel

    with tempfile.TemporaryDirectory() as home:
        manager, client = start_new_kernel(kernel_name="python3", env=os.environ | {"LABKIT_HOME": home})
        try:
            run(client, WARM)
            first, kinds = run(client, SHOW)
            seconds = [run(client, SHOW)[0] for _ in range(REPETITIONS)]
        finally:
            client.stop_channels()
            manager.shutdown_kernel(now=True)
    middle = statistics.median(seconds)
    widgets = kinds.count("comm_open")
    print(
        f"{QUESTIONS} questions: {middle * 1000:.0f} ms (median of {REPETITIONS}; the first time, with the import of "
        f"ipywidgets, {first * 1000:.0f} ms), {widgets} widget models; the limit is {LIMIT * 1000:.0f} ms"
    )
    return {"seconds": middle, "first_seconds": first, "models": widgets, "ok": middle <= LIMIT}


def on_screen() -> dict:
    """What the browser test measures; left out where Chromium or Playwright is missing."""
    if not (shutil.which("chromium") or shutil.which("google-chrome")) or not importlib.util.find_spec("playwright"):
        print("on the screen: not measured, for want of Chromium and Playwright")
        return {}
    test = Path(__file__).parent.parent / "tests" / "browser" / "test_quiz.py"
    command = [sys.executable, "-m", "pytest", "-q", "-s", "-m", "browser", "-k", "on_the_screen", str(test)]
    said = subprocess.run(command, capture_output=True, text=True, cwd=test.parents[2]).stdout
    if not (found := re.search(r'\{"seconds_on_screen": .*?\}', said)):
        raise SystemExit(f"the browser test did not come so far: {said.strip().splitlines()[-1]}")
    seconds = json.loads(found[0])["seconds_on_screen"]
    middle = statistics.median(seconds)
    print(
        f"on the screen: {middle * 1000:.0f} ms (median of {len(seconds)}, {min(seconds) * 1000:.0f} to "
        f"{max(seconds) * 1000:.0f} ms); the limit is {LIMIT * 1000:.0f} ms"
    )
    return {"seconds": middle, "fastest_seconds": min(seconds), "slowest_seconds": max(seconds), "ok": middle <= LIMIT}


def kept() -> dict:
    with tempfile.TemporaryDirectory() as home:
        command = [sys.executable, "-c", KEEP, home]
        alone = json.loads(subprocess.run(command, capture_output=True, check=True, text=True).stdout)
        start = time.perf_counter()
        writers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
        together = sorted(second for writer in writers for second in json.loads(writer.communicate()[0]))
        wall = time.perf_counter() - start
        from labkit.progress import Store

        count = len(Store(home).answers())
    print(
        f"keeping an answer: median {statistics.median(alone) * 1000:.2f} ms; two processes at once: "
        f"median {statistics.median(together) * 1000:.2f} ms, longest {together[-1] * 1000:.0f} ms, "
        f"{count - ANSWERS} of {2 * ANSWERS} kept in {wall:.1f} s"
    )
    return {
        "median_seconds": statistics.median(alone),
        "together_median_seconds": statistics.median(together),
        "together_longest_seconds": together[-1],
        "kept": count - ANSWERS,
        "ok": count == 3 * ANSWERS,
    }


def main(args) -> dict:
    return {"shown": shown(), "on_screen": on_screen(), "kept": kept()}
