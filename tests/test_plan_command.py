"""`labkit plan`: what it prints, draws and gives as JSON, and one clear line for what it cannot use."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from labkit import architectures, cli, models
from labkit.common import InputError
from labkit.memory import GB, METHODS, MOMENTS


def plan(*arguments):
    return cli.main(["plan", *arguments])


def last_line(capsys):
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def test_without_a_method_all_three_are_compared(capsys):
    assert plan("--model", "Llama-3.1-8B", "--gpu", "24GB", "--sequence", "512", "--checkpointing", "--json") == 0
    out = capsys.readouterr().out
    figures = json.loads(out.splitlines()[-1])
    assert list(figures["methods"]) == list(METHODS) and figures["card"] == 24 * GB
    verdicts = [row["verdict"] for row in figures["methods"].values()]
    assert verdicts == ["does not fit", "fits", "fits"]
    for row in figures["methods"].values():
        assert row["peak"] < row["low"] < row["high"]
        assert abs(sum(row["moments"][row["moment"]].values()) - row["peak"]) < 10
    assert figures["methods"]["lora"]["change"] == [] and figures["methods"]["full"]["change"] is None
    assert "none does" in out and "given up" in out


def test_with_a_method_each_term_of_each_moment_is_shown(capsys):
    assert plan("--model", "Qwen2.5-0.5B", "--gpu", "16GB", "--method", "full", "--batch", "8") == 1
    out = capsys.readouterr().out
    assert all(moment in out for moment in MOMENTS) and "backward: loss (peak)" in out
    assert "the card holds 16.0 GB (14.9 GiB)" in out
    assert "cheapest change that makes it fit: a micro batch of 2, accumulated 4 times" in out


def test_both_units_are_told_apart(capsys):
    for text, size in (("16GB", 16 * 10**9), ("16GiB", 16 * 2**30), ("16G", 16 * 2**30)):
        plan("--model", "SmolLM2-135M", "--gpu", text, "--json")
        assert last_line(capsys)["card"] == size


def test_a_config_is_read_from_a_file_and_from_a_folder(tmp_path, capsys):
    (tmp_path / "config.json").write_text(json.dumps(architectures.read("Mistral-7B")))
    for place in (tmp_path, tmp_path / "config.json"):
        assert plan("--model", str(place), "--gpu", "80GB", "--method", "lora", "--json") == 0
        assert last_line(capsys)["parameters"] == 7_241_732_096
    assert plan("--model", str(models.BASE), "--gpu", "1GB", "--method", "qlora", "--json") == 0
    assert last_line(capsys)["parameters"] == 2_164_416


@pytest.mark.parametrize("ending", ["png", "svg"])
def test_the_picture_is_written(tmp_path, ending):
    path = tmp_path / f"plan.{ending}"
    assert plan("--model", "SmolLM2-135M", "--gpu", "16GB", "--plot", str(path)) == 0
    assert path.read_bytes()[:4] in (b"\x89PNG", b"<?xm")
    assert plan("--model", "SmolLM2-135M", "--gpu", "16GB", "--method", "full", "--plot", str(path)) == 0


@pytest.mark.parametrize(
    "changed, says",
    [
        ({"--gpu": "0GB"}, "a card of '0GB'; give a size above 0"),
        ({"--gpu": "big"}, "a card of 'big'"),
        ({"--sequence": "9000"}, "beyond the model's context of 8192"),
        ({"--sequence": "0"}, "each is at least 1"),
        ({"--model": "Llama-3.2-1C"}, "Llama-3.2-1B"),
        ({"--model": "EMPTY"}, "the architecture None is not known"),
        ({"--model": "MAMBA"}, "the architecture 'mamba' is not known"),
        ({"--model": "SIZELESS"}, "the config has num_attention_heads None"),
        ({"--model": "BROKEN"}, "cannot be read as a configuration"),
        ({"--model": "LIST"}, "is not a configuration"),
        ({"--model": "BINARY"}, "cannot be read as a configuration"),
        ({"--model": "FOLDER"}, "cannot be read as a configuration"),
        ({"--targets": "q_proj,nothing"}, "no layer is named 'nothing'"),
        ({"--targets": ","}, "no layer is targeted"),
        ({"--plot": "plan.gif"}, "ends in .png or .svg"),
        ({"--batch": "x"}, "invalid int value"),
        ({"--optimizer": "lion"}, "invalid choice"),
    ],
)
def test_what_cannot_be_used_is_one_line_and_status_2(changed, says, tmp_path, capsys):
    files = {
        "EMPTY": b"{}",
        "MAMBA": b'{"model_type": "mamba"}',
        "SIZELESS": b'{"model_type": "llama"}',
        "BROKEN": b"{",
        "LIST": b"[]",
        "BINARY": b"\xff\xfe\x00",
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "FOLDER").mkdir()
    values = {"--model": "SmolLM2-135M", "--gpu": "16GB", **changed}
    if (tmp_path / values["--model"]).exists():
        values["--model"] = str(tmp_path / values["--model"])
    if "--plot" in values:
        values["--plot"] = str(tmp_path / values["--plot"])
    assert plan(*(part for pair in values.items() for part in pair)) == 2
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1 and says in captured.err


def test_read_names_the_nearest():
    with pytest.raises(InputError, match="Llama-2-7B"):
        architectures.read("Llama-2-7b")


def test_a_plan_loads_neither_torch_nor_transformers():
    source = (
        "import sys; from labkit import cli\n"
        "cli.main(['plan', '--model', 'Llama-2-7B', '--gpu', '80GB'])\n"
        "assert not {'torch', 'transformers'} & set(sys.modules)\n"
        "import labkit as lk; assert lk.memory.METHODS and 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
