"""`labkit demo`: what it reports, and one clear line for each thing a user can get wrong."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from xml.etree import ElementTree

import pytest

from labkit import cli

pytestmark = pytest.mark.slow

QUICK = ["--steps", "2", "--questions", "11", "--device", "cpu"]
KEYS = {
    "before",
    "after",
    "fewshot",
    "n",
    "low",
    "high",
    "after_cot",
    "after_by_task",
    "seed",
    "steps",
    "trainable",
    "total",
    "train_seconds",
    "tokens_per_second",
    "peak_rss_mb",
}


def demo(capsys, *options: str) -> tuple[int, str, str]:
    status = cli.main(["demo", *options])
    out, err = capsys.readouterr()
    return status, out, err


def words_of(picture: Path) -> list[str]:
    """The title and the texts of an SVG file."""
    space = "{http://www.w3.org/2000/svg}"
    root = ElementTree.fromstring(picture.read_text(encoding="utf-8"))
    return [root.find(f"{space}title").text, *(text.text for text in root.iter(f"{space}text"))]


def test_the_readme_shows_the_picture_with_its_words():
    root = Path(__file__).parent.parent
    picture = root / "docs" / "before-after.svg"
    assert f"![{words_of(picture)[0]}](docs/before-after.svg)" in (root / "README.md").read_text(encoding="utf-8")
    assert picture.stat().st_size < 60_000


@pytest.fixture
def data(tmp_path):
    path = tmp_path / "mine.jsonl"
    path.write_text("".join(json.dumps({"prompt": f"Say {i}.", "completion": f"It is {i}."}) + "\n" for i in range(40)))
    return path


def test_the_report(capsys, tmp_path):
    from peft import PeftModel

    from labkit import models

    drawn = tmp_path / "picture.svg"
    status, out, _ = demo(capsys, *QUICK, "--json", "--out", str(tmp_path / "adapter"), "--picture", str(drawn))
    report = json.loads(out.splitlines()[-1])
    assert status == 0 and KEYS <= report.keys()
    assert (
        report["n"] == 11
        and report["steps"] == 2
        and report["seed"] == 0
        and 0 <= report["low"] <= report["after"] <= report["high"] <= 1
    )
    assert len(report["after_by_task"]) == 11 and report["trainable"] < report["total"]
    assert "before" in out and "95% interval" in out and "asked" in out
    title, *texts = words_of(drawn)
    for name in ("before", "fewshot", "after"):
        assert f" {report[name]:.1%}" in title and f"{report[name]:.1%}" in texts
    shown = [line.removeprefix("  before  ") for line in out.splitlines() if line.startswith("  before  ")]
    assert len(shown) == 3 and all(line[:60] in " ".join(texts) for line in shown), "what the base really wrote"
    model, _ = models.load(device="cpu")
    adapted = PeftModel.from_pretrained(model, tmp_path / "adapter")
    assert any("lora" in name for name, _ in adapted.named_parameters())


def test_own_data_are_held_out_and_scored(capsys, data):
    status, out, _ = demo(capsys, "--data", str(data), "--steps", "2", "--json")
    report = json.loads(out.splitlines()[-1])
    assert status == 0 and report["n"] == 4 and report["fewshot"] is None and report["validation_loss"] > 0
    assert report["after_by_task"].keys() == {"all"} and out.count("\n  all  ") == 1


def test_copies_are_on_one_side(tmp_path):
    from labkit.data import load_examples
    from labkit.demo import held_out_part

    path = tmp_path / "mine.jsonl"
    rows = [{"prompt": f"What is kept in chest {i % 20}?", "completion": f"word{i % 20}"} for i in range(80)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    own = load_examples(path)
    train, test, said = held_out_part(own, 0)
    assert len(train) + len(test) == 80 and 8 <= len(test) < 12 and "near-duplicates" in said
    assert not {each.prompt for each in train} & {each.prompt for each in test}
    alike = held_out_part(own[:1] * 20, 0)
    assert (len(alike[0]), len(alike[1])) == (18, 2) and "leaks" in alike[2]
    assert held_out_part(own[:20], 3)[2] is None
    lone = held_out_part(own[:1] * 30 + own[1:2], 0)  # the one that is no copy
    assert lone[1] == own[1:2] and len(lone[0]) == 30


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--lr", "nan"], "lr"),
        (["--steps", "0"], "steps"),
        (["--batch-size", "0"], "batch_size"),
        (["--questions", "0"], "questions"),
        (["--rank", "0"], "rank"),
        (["--target-modules", "q_prok"], "q_prok"),
        (["--data", "nowhere.jsonl"], "nowhere.jsonl"),
        (["--data", "."], "."),
        (["--model", "."], "config.json"),
        (["--model", "./nowhere"], "./nowhere"),
        (["--lr", "-1"], "lr"),
        (["--steps", "many"], "--steps"),
        (["--mix", "medium"], "--mix"),
        (["--out", "/dev/null/adapter"], "/dev/null"),
        (["--device", "abacus"], "abacus"),
        (["--picture", "before.png"], "before.png"),
        (["--picture", "nowhere/before.svg"], "nowhere"),
    ],
)
def test_what_cannot_be_used_is_said_in_one_line(capsys, options, named, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    status, _, err = demo(capsys, *QUICK, *options)
    assert status == 2 and err.count("\n") == 1 and named in err


@pytest.mark.parametrize(
    ("line", "named"),
    [
        (b"{broken\n", "JSON"),
        (b'{"prompt": "Say."}\n', "completion"),
        (b'{"prompt": "Say.", "completion": ""}\n', "completion"),
        (b'{"prompt": "\xff", "completion": "It."}\n', "UTF-8"),
        (json.dumps({"prompt": "Say.", "completion": "word " * 3000}).encode() + b"\n", "completion"),
        (json.dumps({"id": "q", "prompt": "Say.", "completion": "word " * 3000}).encode() + b"\n", "completion"),
    ],
)
def test_a_bad_line_is_named(capsys, tmp_path, line, named):
    path = tmp_path / "bad.jsonl"
    good = b'{"prompt": "Say 1.", "completion": "It is 1."}\n'
    path.write_bytes(good + b"\n" + line + good * 20)  # an empty line counts, and is passed over
    status, _, err = demo(capsys, *QUICK, "--data", str(path))
    assert status == 2 and err.count("\n") == 1 and f"{path}, line 3: " in err and named in err


def test_a_prompt_that_cannot_be_asked_is_named_and_one_example_is_too_few(capsys, tmp_path):
    path = tmp_path / "mine.jsonl"
    row = json.dumps({"id": "q", "prompt": "word " * 3000, "completion": "It."}) + "\n"
    for count, named in ((2, "line 1: "), (1, "at least 2")):
        path.write_text(row * count)
        status, _, err = demo(capsys, *QUICK, "--data", str(path), "--seed", "1")
        assert status == 2 and err.count("\n") == 1 and str(path) in err and named in err


def test_an_empty_file_and_a_huge_one(capsys, tmp_path):
    (tmp_path / "empty.jsonl").touch()
    with open(tmp_path / "huge.jsonl", "wb") as file:
        file.truncate(10**9)
    for name in ("empty", "huge"):
        started = time.monotonic()
        status, _, err = demo(capsys, *QUICK, "--data", str(tmp_path / f"{name}.jsonl"))
        assert status == 2 and err.count("\n") == 1 and name in err and time.monotonic() - started < 10


def test_a_place_that_holds_other_things_is_refused_before_training(capsys, tmp_path):
    (tmp_path / "thesis.txt").write_text("all I have")
    status, _, err = demo(capsys, *QUICK, "--out", str(tmp_path))
    assert status == 2 and "thesis.txt" in err and err.count("\n") == 1


def until(terminal: int, words: bytes | None) -> bytes:
    """What a terminal shows, until it has shown the words; to its end if there are none."""
    seen = b""
    while words is None or words not in seen:
        try:
            more = os.read(terminal, 4096)
        except OSError:  # how Linux says that the other end is closed
            break
        if not more:
            break
        seen += more
    return seen


@pytest.mark.skipif(os.name == "nt", reason="sends SIGINT")
def test_an_interruption_leaves_what_was_there(data, tmp_path):
    out = tmp_path / "adapter"
    out.mkdir()
    (out / "adapter_config.json").write_text("before")
    terminal, its_end = os.openpty()  # where the progress is shown
    process = subprocess.Popen(
        [sys.executable, "-m", "labkit.cli", "demo", "--data", str(data), "--steps", "100000", "--out", str(out)],
        stdout=subprocess.DEVNULL,
        stderr=its_end,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background jobs ignore it
    )
    os.close(its_end)
    try:
        err = until(terminal, b"step 2 of 100000")
        process.send_signal(signal.SIGINT)
        err = (err + until(terminal, None)).decode().replace("\r\n", "\n")
        process.wait(60)
    finally:
        process.kill()
        os.close(terminal)
    assert process.returncode == 130 and err.endswith("labkit: interrupted\n")
    assert "Traceback" not in err
    assert [p.name for p in out.iterdir()] == ["adapter_config.json"]
    assert (out / "adapter_config.json").read_text() == "before"
