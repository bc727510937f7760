"""`labkit sft`: what it learns and keeps; killed at any moment and resumed, it ends with the same weights to the bit."""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import workers

from labkit import cli, models, sft
from labkit.data import load_examples
from labkit.diagnosis import formats
from labkit.masking import prompt_ids
from labkit.training import Settings, fit, saved


@pytest.fixture
def data(tmp_path) -> Path:
    return written(tmp_path / "mine.jsonl", 40)


def written(path: Path, count: int, first: int = 0) -> Path:
    rows = [{"prompt": f"Say {i}.", "completion": f"It is {i % 7}."} for i in range(first, first + count)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def run(capsys, tiny_model_folder):
    """A function from options to (exit status, the JSON report or None, stdout, stderr)."""

    def called(*options: object, model: Path = tiny_model_folder) -> tuple[int, dict | None, str, str]:
        quick = ["--steps", "6", "--questions", "2", "--device", "cpu", "--json", "--model", model]
        status = cli.main(["sft", *map(str, [*quick, *options])])
        out, err = capsys.readouterr()
        return status, json.loads(out.splitlines()[-1]) if status == 0 else None, out, err

    return called


def weights(folder: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    [file] = folder.glob("*.safetensors")
    return load_file(file)


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


# What it learns and keeps


@pytest.mark.parametrize("method", sft.METHODS)
def test_each_method_leaves_what_loads_without_the_kit(
    method, run, data, tmp_path, tiny_model_folder, wide_model_folder
):
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder, out = wide_model_folder if method == "qlora" else tiny_model_folder, tmp_path / "out"
    status, report, said, err = run("--data", data, "--method", method, "--out", out, "--lr", "0.02", model=folder)
    assert status == 0 and err == "" and f"{method}: 36 examples, 4 held out; 6 steps of 8" in said
    assert report["number_format"] == "float32" and "float32 on cpu" in said
    assert report["validation_loss"][-1] < report["validation_loss"][0] and report["n"] == 2
    assert (report["trainable"] == report["total"]) == (method == "full")
    if method == "full":
        again = AutoModelForCausalLM.from_pretrained(out)
        assert AutoTokenizer.from_pretrained(out).chat_template
    else:
        again = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(folder), out)
    before, tokenizer = models.load(folder, "cpu")
    ids = torch.tensor([prompt_ids(load_examples(data)[0], tokenizer)])
    assert not torch.allclose(again.eval()(ids).logits, before(ids).logits, atol=1e-3)
    assert sorted(path.name for path in out.iterdir() if path.name in ("checkpoint.pt", "unfinished")) == []


def test_the_log_is_read_by_transformers_and_by_diagnose(run, data, tmp_path, capsys):
    from transformers import TrainerState

    _, report, _, _ = run("--data", data, "--out", tmp_path / "out", "--eval-every", "2")
    path = tmp_path / "out" / "trainer_state.json"
    state = TrainerState.load_from_json(str(path))
    assert (state.global_step, state.max_steps, state.num_train_epochs) == (6, 6, 2)
    log = formats.read(path)
    assert log.history["step"] == [1, 2, 3, 4, 5, 6] and log.history["validation_step"] == [0, 2, 4, 6]
    assert log.history["loss"][-1] == report["loss"] and log.history["validation_loss"] == report["validation_loss"]
    assert {"lr", "grad_norm", "epoch"} <= log.history.keys() and log.notes == log.missing == []
    assert (
        log.history["base_loss"] == log.history["validation_loss"][:1] and log.history["share_changed"][1:] == [1] * 3
    )
    start, *later = log.history["distance"]
    assert start == 0 and later[0] < later[1] < later[2] < 6 * max(log.history["lr"])
    assert cli.main(["diagnose", str(path)]) in (0, 1) and "steps 1 to 6" in capsys.readouterr().out


def test_gradient_checkpointing_changes_no_weight(run, data, tmp_path, tiny_model_folder):
    for name, more in (("plain", []), ("recomputed", ["--gradient-checkpointing"])):
        assert run("--data", data, "--out", tmp_path / name, "--questions", "0", *more)[0] == 0
    plain, recomputed = weights(tmp_path / "plain"), weights(tmp_path / "recomputed")
    assert plain.keys() == recomputed.keys()
    for name in plain:
        torch.testing.assert_close(plain[name], recomputed[name], rtol=1e-4, atol=1e-6)
    calls = []
    for more in ([], ["--gradient-checkpointing"]):
        model, _ = models.load(tiny_model_folder, "cpu")
        row = {"input_ids": [5, 6, 7], "labels": [-100, 6, 7]}
        calls.append(0)
        model.model.layers[0].mlp.register_forward_pre_hook(lambda *_: calls.__setitem__(-1, calls[-1] + 1))
        fit(sft.trainable(parsed("--data", data, *more), model), [row], Settings(steps=3, batch_size=1), pad=0)
    assert calls[1] == calls[0] + 3  # each step computes the layer once more


def parsed(*options: object):
    parser = argparse.ArgumentParser()
    sft.add_arguments(parser)
    return parser.parse_args(list(map(str, options)))


def test_patience_stops_and_keeps_the_weights_of_the_lowest_loss(run, data, tmp_path):
    options = ["--data", data, "--steps", "60", "--lr", "0.5", "--eval-every", "2", "--warmup", "0"]
    status, report, said, _ = run(*options, "--patience", "2", "--out", tmp_path / "out")
    assert status == 0 and report["steps_done"] < 60 and report["kept_step"] == report["steps_done"] - 4
    losses = dict(zip(report["validation_step"], report["validation_loss"]))
    assert losses[report["kept_step"]] == min(losses.values()) and f"those of step {report['kept_step']}" in said
    again = run(*options[:2], "--steps", "1", "--lr", "1e-12", "--out", tmp_path / "again")[1]
    assert again["validation_loss"][0] == pytest.approx(losses[0])  # the same examples are held out


def test_the_default_rate_is_by_method_and_width(tiny_model_folder):
    lora, full = parsed("--data", "x"), parsed("--data", "x", "--method", "full")
    assert sft.settings_of(lora, 80, 2000).lr == pytest.approx(5e-4)
    assert sft.settings_of(full, 80, 2000).lr == pytest.approx(5e-5)
    assert sft.settings_of(lora, 81, 192).steps == 33 and sft.settings_of(lora, 81, 192).eval_every == 3


# What is held out


def test_copies_are_on_one_side(tmp_path):
    path = tmp_path / "mine.jsonl"
    rows = [{"prompt": f"What is kept in chest {i % 20}?", "completion": f"word{i % 20}"} for i in range(80)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    own = load_examples(path)
    train, test, said = sft.held_out_part(own, 0)
    assert len(train) + len(test) == 80 and 8 <= len(test) < 12 and "near-duplicates" in said
    assert not {each.prompt for each in train} & {each.prompt for each in test}
    alike = sft.held_out_part(own[:1] * 20, 0)
    assert (len(alike[0]), len(alike[1])) == (18, 2) and "leaks" in alike[2]
    assert sft.held_out_part(own[:20], 3)[2] is None
    lone = sft.held_out_part(own[:1] * 30 + own[1:2], 0)  # the one that is no copy
    assert lone[1] == own[1:2] and len(lone[0]) == 30
    assert len(sft.held_out_part(own[:20], 3, share=0.5)[1]) == 10


def test_a_file_can_be_what_is_held_out(run, data, tmp_path):
    other = written(tmp_path / "test.jsonl", 5, first=37)  # three of them are in the data too
    status, report, _, err = run("--data", data, "--validation", other)
    assert status == 0 and (report["examples"], report["held_out"]) == (40, 5)
    assert f"{other}: 3 of its 5 examples are in {data} too" in err
    copy = written(tmp_path / "copy.jsonl", 40)
    status, _, _, err = run("--data", data, "--validation", copy)
    assert status == 2 and err.count("\n") == 1 and "measures nothing" in err
    status, report, _, _ = run("--data", data, "--validation", "0")
    assert status == 0 and report["held_out"] == 0 and report["validation_loss"] == [] and report["after"] is None


# Killed, and resumed

KILLED = int(os.environ.get("LABKIT_TEST_KILLS", "1"))  # runs; 20 before a release


def run_apart(options: list[str], told: Path, after: float | None = None) -> int:
    """The exit status; below 0 if it was killed."""
    process = workers.apart().Process(target=workers.sft, args=(options, after, told))
    process.start()
    process.join()
    return process.exitcode


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux" or torch.cuda.is_available(), reason="forks, and dies by a signal")
@pytest.mark.parametrize("method, chain", [("lora", 2), ("full", 1)])
def test_killed_at_random_moments_and_resumed_it_ends_with_the_same_weights(
    method, chain, data, tmp_path, tiny_model_folder
):
    """Each of `KILLED` runs is killed `chain` times, each time at a random moment of what a whole run takes."""
    whole, told, draw = tmp_path / "whole", tmp_path / "seconds", random.Random(f"{method} {KILLED}")
    options = ["--data", data, "--model", tiny_model_folder, "--device", "cpu", "--steps", "16", "--save-every", "2"]
    options = [
        *map(str, options),
        "--method",
        method,
        "--questions",
        "1" if method == "lora" else "0",
        "--eval-every",
        "5",
        "--lr",
        "0.01",
    ]
    options += ["--patience", "100"] if method == "full" else []
    assert run_apart([*options, "--out", str(whole)], told) == 0
    seconds, expected = float(told.read_text()), weights(whole)
    report = json.loads((whole / "sft.json").read_text())["report"]
    killed = 0
    for moment in range(KILLED):
        out = tmp_path / f"killed-{moment}"
        call = [*options, "--out", str(out), "--resume"]
        killed += sum(run_apart(call, told, draw.uniform(0.01, seconds / chain)) < 0 for _ in range(chain))
        assert run_apart(call, told) == 0
        assert same(expected, weights(out))
        again = json.loads((out / "sft.json").read_text())["report"]
        for name in ("loss", "validation_loss", "before", "after", "kept_step", "steps_done"):
            assert again[name] == report[name]
        assert (out / "trainer_state.json").read_text() == (whole / "trainer_state.json").read_text()
        assert sorted(path.name for path in out.iterdir()) == sorted(path.name for path in whole.iterdir())
        shutil.rmtree(out)
    assert killed >= max(KILLED * chain // 2, 1)


@pytest.mark.parametrize("broken", ["checkpoint.pt", "trainer_state.json", "adapter_model.safetensors", "sft.json"])
def test_a_fault_while_a_file_is_written_loses_nothing(broken, run, data, tmp_path, monkeypatch):
    """The file that is being replaced when the process ends keeps what it had, and the run goes on."""
    options = ["--data", data, "--save-every", "2", "--lr", "0.01", "--questions", "0"]
    assert run(*options, "--out", tmp_path / "whole")[0] == 0
    replace, seen = os.replace, []

    def replaced(source, target):
        seen.append(Path(target).name)
        if seen.count(broken) == 2 or broken.startswith("adapter") and broken in seen:
            raise KeyboardInterrupt
        replace(source, target)

    monkeypatch.setattr(os, "replace", replaced)
    out = tmp_path / "out"
    status, _, _, err = run(*options, "--out", out)
    assert status == 130 and (out / "checkpoint.pt").is_file() and "--resume goes on" in err
    monkeypatch.setattr(os, "replace", replace)
    status, _, _, err = run(*options, "--out", out)
    assert status == 2 and err.count("\n") == 1 and "--resume" in err
    assert run(*options, "--out", out, "--resume")[0] == 0
    assert same(weights(out), weights(tmp_path / "whole"))


def test_resume_takes_only_the_same_run(run, data, tmp_path):
    options, out = ["--data", data, "--lr", "0.01"], tmp_path / "out"
    status, report, _, err = run(*options, "--out", out, "--resume")
    assert status == 0 and "from the start" in err
    for more, named in (
        (["--resume", "--lr", "0.02"], "has lr 0.01, not 0.02"),
        (["--resume", "--method", "full"], "has method 'lora', not 'full'"),
        ([], "a finished run"),
    ):
        status, _, _, err = run(*options, "--out", out, *more)
        assert status == 2 and err.count("\n") == 1 and named in err
    before = weights(out)
    status, again, _, err = run(*options, "--out", out, "--resume")
    assert status == 0 and again == report and "is finished" in err and same(before, weights(out))


def test_other_examples_under_the_same_name_are_no_resumption(run, data, tmp_path, monkeypatch):
    out, save = tmp_path / "out", saved.SavedRun.save

    def saved_once(self, *args):
        save(self, *args)
        raise KeyboardInterrupt

    monkeypatch.setattr(saved.SavedRun, "save", saved_once)
    assert run("--data", data, "--out", out)[0] == 130
    monkeypatch.setattr(saved.SavedRun, "save", save)
    written(data, 40, first=1)
    status, _, _, err = run("--data", data, "--out", out, "--resume")
    assert status == 2 and err.count("\n") == 1 and "have changed" in err
    (out / "checkpoint.pt").write_bytes(b"half")
    status, _, _, err = run("--data", data, "--out", out, "--resume")
    assert status == 2 and err.count("\n") == 1 and "is damaged" in err


# What cannot be used


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--lr", "nan"], "lr"),
        (["--steps", "0"], "steps"),
        (["--epochs", "0"], "--epochs"),
        (["--batch-size", "0"], "batch_size"),
        (["--patience", "0"], "patience"),
        (["--save-every", "0"], "save_every"),
        (["--questions", "-1"], "--questions"),
        (["--number-format", "float8"], "number_format"),
        (["--rank", "0"], "rank"),
        (["--method", "prefix"], "--method"),
        (["--target-modules", "q_prok"], "q_prok"),
        (["--validation", "1.5"], "--validation"),
        (["--validation", "nowhere.jsonl"], "nowhere.jsonl"),
        (["--max-length", "1"], "--max-length"),
        (["--data", "nowhere.jsonl"], "nowhere.jsonl"),
        (["--data", "."], "."),
        (["--model", "./nowhere"], "./nowhere"),
        (["--out", "/dev/null/adapter"], "/dev/null"),
        (["--resume"], "--out"),
        (["--device", "abacus"], "abacus"),
    ],
)
def test_what_cannot_be_used_is_said_in_one_line(options, named, run, data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, _, _, err = run("--data", data, *options)
    assert status == 2 and err.count("\n") == 1 and named in err
    assert [path.name for path in tmp_path.iterdir()] == ["mine.jsonl"]


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
def test_a_bad_line_is_named(run, tmp_path, line, named):
    path = tmp_path / "bad.jsonl"
    good = b'{"prompt": "Say 1.", "completion": "It is 1."}\n'
    path.write_bytes(good + b"\n" + line + good * 20)  # an empty line counts, and is passed over
    status, _, _, err = run("--data", path)
    assert status == 2 and err.count("\n") == 1 and f"{path}, line 3: " in err and named in err
    held_out = written(tmp_path / "good.jsonl", 4, first=100)
    status, _, _, err = run("--data", held_out, "--validation", path)
    assert status == 2 and err.count("\n") == 1 and f"{path}, line 3: " in err


def test_bad_lines_are_left_out_and_kept_where_that_is_asked_for(run, tmp_path):
    path = written(tmp_path / "mine.jsonl", 40)
    path.write_text("broken\n" + path.read_text())
    status, report, _, err = run("--data", path, "--skip-bad", "--steps", "1")
    assert status == 0 and report["examples"] + report["held_out"] == 40 and "1 bad lines skipped" in err
    assert json.loads(Path(f"{path}.rejected.jsonl").read_text())["line"] == 1
    with open(path, "a") as file:
        file.write(json.dumps({"prompt": "Say.", "completion": "word " * 3000}) + "\n")
    status, _, _, err = run("--data", path, "--skip-bad", "--steps", "1")
    assert status == 2 and f"{path}, line 42: " in err  # the file's own number


def test_a_prompt_that_cannot_be_asked_is_named_and_one_example_is_too_few(run, tmp_path):
    path = tmp_path / "mine.jsonl"
    row = json.dumps({"id": "q", "prompt": "word " * 3000, "completion": "It."}) + "\n"
    for count, named in ((2, "line 1: "), (1, "at least 2")):
        path.write_text(row * count)
        status, _, _, err = run("--data", path, "--seed", "1")
        assert status == 2 and err.count("\n") == 1 and str(path) in err and named in err


def test_an_empty_file_and_a_huge_one(run, tmp_path):
    (tmp_path / "empty.jsonl").touch()
    with open(tmp_path / "huge.jsonl", "wb") as file:
        file.truncate(10**9)
    for name in ("empty", "huge"):
        status, _, _, err = run("--data", tmp_path / f"{name}.jsonl")
        assert status == 2 and err.count("\n") == 1 and name in err


def test_a_place_that_holds_other_things_is_refused_before_training(run, data, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("all I have")
    status, _, out, err = run("--data", data, "--out", tmp_path / "out")
    assert status == 2 and "thesis.txt" in err and err.count("\n") == 1 and out == ""


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


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="sends SIGINT")
def test_an_interruption_is_said_with_how_to_go_on(data, tmp_path, tiny_model_folder):
    terminal, its_end = os.openpty()  # where the progress is shown
    options = ["--data", data, "--model", tiny_model_folder, "--out", tmp_path / "out", "--save-every", "1"]
    process = subprocess.Popen(
        [sys.executable, "-m", "labkit.cli", "sft", *map(str, options), "--steps", "100000"],
        stdout=subprocess.DEVNULL,
        stderr=its_end,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background jobs ignore it
    )
    os.close(its_end)
    try:
        err = until(terminal, b"step 3 of 100000")
        process.send_signal(signal.SIGINT)
        err = (err + until(terminal, None)).decode().replace("\r\n", "\n")
        process.wait(60)
    finally:
        process.kill()
        os.close(terminal)
    assert process.returncode == 130 and err.endswith("labkit: interrupted\n") and "--resume goes on" in err
    assert "Traceback" not in err and {"checkpoint.pt", "sft.json"} <= {
        path.name for path in (tmp_path / "out").iterdir()
    }
