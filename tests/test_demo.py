"""`labkit demo`: what it reports, and one clear line for each thing a user can get wrong."""

import json
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


def test_own_data_go_to_sft(capsys, tmp_path, tiny_model_folder):
    path = tmp_path / "mine.jsonl"
    path.write_text("".join(json.dumps({"prompt": f"Say {i}.", "completion": f"It is {i}."}) + "\n" for i in range(40)))
    own = ["--data", str(path), "--model", str(tiny_model_folder), *QUICK, "--batch-size", "4", "--json"]
    status, out, err = demo(capsys, *own)
    report = json.loads(out.splitlines()[-1])
    assert status == 0 and report["steps"] == 2 and report["n"] == 4 and "labkit sft" in err
    status, _, err = demo(capsys, *own, "--control", "shuffled")
    assert status == 2 and "--control" in err and err.count("\n") == 1


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


def test_a_place_that_holds_other_things_is_refused_before_training(capsys, tmp_path):
    (tmp_path / "thesis.txt").write_text("all I have")
    status, _, err = demo(capsys, *QUICK, "--out", str(tmp_path))
    assert status == 2 and "thesis.txt" in err and err.count("\n") == 1
