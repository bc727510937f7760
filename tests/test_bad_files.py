"""What a file can have wrong: one clear line and exit status 2, with nothing half-written; and no line is ever lost."""

from __future__ import annotations

import argparse
import gzip
import json
import random
import string
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from labkit import cli, models, sft
from labkit.common import InputError
from labkit.lint import lint

ROWS = [{"prompt": f"What is kept in chest {i}?", "completion": f"A coin of year {i}."} for i in range(30)]


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """A folder with files that are good, and files that are not, in which the commands are called."""
    import pyarrow
    from pyarrow import parquet

    monkeypatch.chdir(tmp_path)
    draw = random.Random(0)
    noise = [row | {"id": "".join(draw.choices(string.ascii_letters, k=60))} for row in ROWS * 20]  # packs badly
    packed = gzip.compress("".join(json.dumps(row) + "\n" for row in noise).encode())
    text = "".join(json.dumps(row) + "\n" for row in ROWS)
    for name in ("good.jsonl", "copy.jsonl", "twice/a.jsonl"):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_text(text)
    Path("twice/a.jsonl.gz").write_bytes(gzip.compress(text.encode()))
    Path("one.jsonl").write_text(json.dumps(ROWS[0]) + "\n")
    for name in ("cut.jsonl.gz", "shards/cut.jsonl.gz"):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_bytes(packed[: len(packed) // 2])
    Path("ragged.csv").write_text("prompt,completion\na,b,c\nd\n")
    nested = pyarrow.table({"prompt": [[["a"], ["b"]]] * 3, "completion": [[["c"]]] * 3})
    parquet.write_table(nested, "nested.parquet")
    return tmp_path


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (f"{command} {option}", f"{file}: {said}")
        for file, said in (("cut.jsonl.gz", "the compressed file is cut off"), ("ragged.csv", ""), ("nested.parquet", ""))
        for command, option in (
            ("dedup", f"{file} --out out"),
            ("dedup", f"good.jsonl --against {file} --out out"),
            ("split", f"{file} --out out"),
        )
    ]
    + [
        (f"{command} {file} {option}", f"{file}{said}")
        for file, said in (
            ("cut.jsonl.gz", ": the compressed file is cut off"),
            ("ragged.csv", ", line 2: has more or fewer values"),
            ("nested.parquet", ', line 1: "prompt", message 1: a message is'),
        )
        for command, option in (("lint", ""), ("sft --steps 1 --out out --data", ""), ("sft --steps 1 --out out --data good.jsonl --validation", ""))
    ]
    + [
        ("corpus shards --out out", "cut.jsonl.gz: the compressed file is cut off"),
        ("corpus twice --out out", "a.jsonl and a.jsonl.gz would both become a.jsonl"),
        ("dedup good.jsonl --against copy.jsonl --out out", "all of it is in copy.jsonl"),
        ("dedup good.jsonl --against good.jsonl --out out", "is the training file itself"),
        ("sft --steps 1 --data good.jsonl --validation copy.jsonl --out out", "all of it is in good.jsonl too"),
        ("split one.jsonl --out out", "nothing is left for training"),
        ("split good.jsonl --by random --test 0.99 --out out", "nothing is left for training"),
        ("sft --steps 1 --data one.jsonl --out out", "1 example cannot be split"),
    ],
)  # fmt: skip
def test_one_clear_line_and_nothing_half_written(call, named, folder, capsys, tiny_model_folder):
    before = sorted(folder.rglob("*"))
    model = ["--model", str(tiny_model_folder)] if call.startswith(("lint", "sft")) else []
    assert cli.main([*call.split(), *model]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and err.startswith("labkit: ") and named in err
    assert sorted(folder.rglob("*")) == before


# Nothing is lost: what the other commands write is in their own tests


@pytest.fixture(scope="module")
def loaded(tiny_model_folder):
    return models.load(tiny_model_folder, "cpu")


SOUND = st.builds(lambda i, text: json.dumps({"prompt": f"Say {i}.", "completion": text}), st.integers(0, 99), st.text(st.characters(codec="utf-8", categories=["L", "N", "P"]), min_size=1, max_size=9))  # fmt: skip
HOSTILE = st.sampled_from(
    ["{", "[]", "null", '{"prompt": 1, "completion": "x"}', '{"messages": [{"role": "user", "content": "hi"}]}', "  ",
     '{"prompt": "", "completion": "x"}', '{"completion": "x"}', '{"prompt": "\\ud800", "completion": "x"}', "[" * 3000,
     '{"messages": null}', '{"prompt": "a", "completion": null}', '{"conversations": {}}', "\x00", "9" * 5000]
)  # fmt: skip
LINES = st.lists(st.one_of(SOUND, SOUND, HOSTILE), min_size=1, max_size=12)
ONE_FILE = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


@ONE_FILE
@given(lines=LINES)
def test_lint_counts_every_line(lines, loaded, tmp_path):
    path = tmp_path / "in.jsonl"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    wanted = [number for number, line in enumerate(lines, start=1) if line.strip()]
    try:
        report = lint(path, loaded[1])
    except InputError as error:
        assert "\n" not in str(error) and "no usable example" in str(error)
        return
    assert report.examples + len(report.bad_lines) == len(wanted) and set(report.bad_lines) <= set(wanted)


@ONE_FILE
@given(lines=LINES, seed=st.integers(0, 3))
def test_sft_trains_on_or_holds_out_every_line_or_names_one(lines, seed, loaded, tmp_path):
    path = tmp_path / "in.jsonl"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    parser = argparse.ArgumentParser()
    sft.add_arguments(parser)
    args = parser.parse_args(["--data", str(path), "--seed", str(seed)])
    try:
        prepared = sft.prepare(args, *loaded)
    except InputError as error:
        assert "\n" not in str(error) and str(path) in str(error)
        return
    assert len(prepared.rows) + len(prepared.validation) == sum(bool(line.strip()) for line in lines)
    assert len(prepared.held_out) == len(prepared.validation) > 0 and prepared.rows
