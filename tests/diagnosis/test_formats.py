"""Each of the formats is read, with its traps: logs that the real libraries wrote, and small ones of their structure."""

from __future__ import annotations

import csv
import io
import json
import math
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sums import number_questions

from labkit.common import InputError
from labkit.diagnosis import formats
from labkit.diagnosis.formats import read


@pytest.fixture
def logged(tmp_path):
    def write(text: str | bytes, name: str = "train.log"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return read(path)

    return write


# Logs by the libraries themselves


@pytest.fixture(scope="module")
def by_transformers(tiny_model_folder, tmp_path_factory):
    """(what `Trainer` printed, the folder with its trainer_state.json, the losses that it kept)."""
    import contextlib

    from datasets import Dataset
    from transformers import Trainer, TrainingArguments

    from labkit import models
    from labkit.masking import collate, render

    model, tokenizer = models.load(tiny_model_folder, device="cpu")
    rows = [vars(render(example, tokenizer)) for example in number_questions(24)]
    data = Dataset.from_list([{key: row[key] for key in ("input_ids", "labels")} for row in rows])
    folder = tmp_path_factory.mktemp("trainer")
    arguments = TrainingArguments(
        output_dir=str(folder),
        max_steps=6,
        per_device_train_batch_size=4,
        logging_steps=1,
        eval_strategy="steps",
        eval_steps=3,
        save_strategy="no",
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
    )
    trainer = Trainer(model, arguments, train_dataset=data, eval_dataset=data, data_collator=lambda r: collate(r, 0))
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        trainer.train()
    trainer.state.save_to_json(str(folder / "trainer_state.json"))
    return (
        printed.getvalue(),
        folder / "trainer_state.json",
        [row for row in trainer.state.log_history if "loss" in row],
    )


def test_trainer_state_of_transformers(by_transformers):
    log = read(by_transformers[1])
    assert log.format == "transformers' trainer_state.json"
    assert log.history["loss"] == [row["loss"] for row in by_transformers[2]]  # the mean at the end is no point
    assert log.history["step"] == [1, 2, 3, 4, 5, 6] and log.history["validation_step"] == [3, 6]
    assert {"lr", "grad_norm", "epoch"} <= log.history.keys() and log.notes == []


def test_console_of_transformers(by_transformers, logged):
    printed = by_transformers[0]
    assert "'loss': '" in printed  # transformers 5 prints quoted strings
    log = logged("Loading…\n" + printed)
    assert log.format == "console text of transformers 5"
    assert log.history["loss"] == pytest.approx([row["loss"] for row in by_transformers[2]], rel=1e-3)
    assert log.history["validation_step"] == [3, 6]  # has no step of its own
    assert any("no step" in note for note in log.notes)


def test_trainer_state_of_trl(tiny_model_folder, tmp_path):
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    from labkit import models

    model, tokenizer = models.load(tiny_model_folder, device="cpu")
    data = Dataset.from_list([{"prompt": e.prompt, "completion": e.completion} for e in number_questions(8)])
    arguments = SFTConfig(
        output_dir=str(tmp_path),
        max_steps=2,
        per_device_train_batch_size=4,
        logging_steps=1,
        save_strategy="no",
        report_to=[],
        use_cpu=True,
        bf16=False,
        disable_tqdm=True,
    )
    trainer = SFTTrainer(model, arguments, train_dataset=data, processing_class=tokenizer)
    trainer.train()
    trainer.state.save_to_json(str(tmp_path / "trainer_state.json"))
    log = read(tmp_path / "trainer_state.json")
    assert log.format == "TRL's trainer_state.json"
    assert len(log.history["entropy"]) == len(log.history["accuracy"]) == len(log.history["tokens"]) == 2
    assert "unmasked_tokens" not in log.history  # `num_tokens` counts all real tokens, not those that carry loss


# transformers' traps


def test_bare_nan_and_infinity(logged):
    log = logged('{"log_history": [{"loss": 0.0, "grad_norm": NaN, "step": 1}, {"loss": Infinity, "step": 2}]}')
    assert log.history["loss"] == [0.0, math.inf]
    assert math.isnan(log.history["grad_norm"][0]) and log.history["grad_norm"][1] is None  # missing is not NaN


def test_console_between_bars_and_colours(logged):
    log = logged(
        "\x1b[1mrun\x1b[0m\r 10%|█  | 1/3 [00:01<?]\r{'loss': '5.603', 'grad_norm': 'nan', 'learning_rate': '0'}\r"
        " 66%|███| 2/3\x1b[A{'loss': 1.5872, 'grad_norm': nan, 'learning_rate': 1e-06, 'epoch': 0.01}\n"
        "{'eval_loss': 2.5, 'eval_runtime': 1.0, 'epoch': 0.01}\n{'train_runtime': 3.0, 'train_loss': 9.9}\n"
    )
    assert log.history["loss"] == [5.603, 1.5872] and all(map(math.isnan, log.history["grad_norm"]))
    assert log.history["validation_loss"] == [2.5] and log.history["validation_step"] == [2]


def test_numbers_of_transformers_4(logged):
    log = logged("{'loss': 1.5872, 'learning_rate': 1e-06, 'epoch': 0.01}\n" * 3)
    assert log.format == "console text of transformers 4" and len(log.history["loss"]) == 3
    assert "grad_norm" not in log.history and any("gradient norm" in text for text in log.missing)


# Other trainers


def test_llama_factory(logged):
    rows = [
        {"current_steps": 5, "total_steps": 10, "loss": 1.5, "lr": 1e-4, "epoch": 0.5, "percentage": 50.0},
        {"current_steps": 5, "total_steps": 10, "eval_loss": 1.6, "epoch": 0.5},
        {"current_steps": 10, "total_steps": 10, "loss": 1.1, "lr": 0.0, "epoch": 1.0},
        {"current_steps": 10, "total_steps": 10, "epoch": 1.0, "percentage": 100.0},
    ]
    log = logged("\n".join(map(json.dumps, rows)) + "\n", "trainer_log.jsonl")
    assert log.format == "LLaMA-Factory's trainer_log.jsonl"
    assert log.history["step"] == [5, 10] and log.history["loss"] == [1.5, 1.1] and log.history["lr"] == [1e-4, 0.0]
    assert log.history["validation_loss"] == [1.6]


def wandb(rows: list[dict]) -> str:
    file = io.StringIO()
    writer = csv.DictWriter(file, list(dict.fromkeys(name for row in rows for name in row)), quoting=csv.QUOTE_ALL)
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()


def test_wandb_with_several_runs(tmp_path):
    path = tmp_path / "wandb.csv"
    path.write_text(
        wandb(
            [
                {"Step": 1, "a - train/loss": 3.0, "a - train/loss__MIN": 2.0, "a - train/loss__MAX": 4.0, "a - _step": 1,
                 "Group: b - train/loss": 9.0, "Group: b - eval/loss": ""},
                {"Step": 2, "a - train/loss": "", "Group: b - train/loss": 8.0, "Group: b - eval/loss": 8.5},
                {"Step": 3, "a - train/loss": "NaN"},
            ]
        )
    )  # fmt: skip
    log = read(path)
    assert log.format == "W&B's CSV" and log.runs == ["a", "Group: b"] and "2 runs" in log.notes[0]
    assert log.history["step"] == [1, 3] and log.history["loss"][0] == 3.0 and math.isnan(log.history["loss"][1])
    other = read(path, run="Group: b").history
    assert other["loss"] == [9.0, 8.0] and other["validation_loss"] == [8.5]
    with pytest.raises(InputError, match="there are a, Group: b"):
        read(path, run="c")


def test_tensorboard(logged):
    text = "Wall time,Step,Value\n1700000000.5,10,2.5\n1700000001.5,20,2.25\n"
    assert logged(text, "run_train_loss.csv").history == {"step": [10, 20], "loss": [2.5, 2.25]}
    with pytest.raises(InputError, match="a validation loss but no training loss"):
        logged(text, "run_eval_loss.csv")


def test_litgpt(logged):
    log = logged(
        "Epoch 1 | iter 1 step 0 | loss train: 3.000, val: n/a | iter time: 45.1 ms\n"
        "Epoch 1 | iter 2 step 1 | loss train: 2.000, val: n/a | iter time: 45.1 ms (step)\n"
        "Epoch 1 | iter 3 step 1 | loss train: 1.000, val: n/a | iter time: 45.1 ms\n"
        "Epoch 1 | iter 4 step 2 | loss train: 1.500, val: 1.750 | iter time: 45.1 ms (step)\n"
    )
    assert log.history["step"] == [0, 1, 2] and log.history["loss"] == [3.0, 1.5, 1.5]  # a mean for each update
    assert log.history["validation_loss"] == [1.75] and any("micro-batches" in note for note in log.notes)
    rows = (
        "loss,iter,step,epoch,iter_time,learning_rate\n4.0,1,1,0,0.1,0.001\n2.0,2,1,0,0.1,0.001\n1.0,3,2,0,0.1,0.001\n"
    )
    log = logged(rows, "metrics.csv")
    assert log.format == "litgpt's metrics.csv" and log.history["loss"] == [3.0, 1.0]


def test_nanogpt(logged):
    log = logged(
        "step 0: train loss 4.2, val loss 4.3\niter 0: loss 4.25, time 12.3ms, mfu -100.00%\n"
        "iter 10: loss 2.3456, time 12.3ms, mfu 1.2%\nstep 10: train loss 2.2, val loss 2.4\n"
    )
    assert log.history["step"] == [0, 10] and log.history["loss"] == [4.25, 2.3456]
    assert log.history["validation_step"] == [0, 10] and log.history["validation_loss"] == [4.3, 2.4]


def test_torchtune(logged):
    log = logged(
        "Step 1 | loss:1.5 lr:0.0002 tokens_per_second_per_gpu:812.3 \nStep 2 | loss:1.25 lr:0.0001 grad_norm:0.5\n"
    )
    assert log.format == "torchtune's log"
    assert log.history["loss"] == [1.5, 1.25] and log.history["lr"] == [2e-4, 1e-4]
    assert log.history["grad_norm"] == [None, 0.5]


def test_megatron_and_gpt_neox(logged):
    log = logged(
        " iteration       10/     100 | consumed samples: 160 | learning rate: 1.500E-04 | lm loss: 2.27E+00 | "
        "grad norm: 1.25 | number of skipped iterations:   0 |\n"
    )
    assert (log.history["step"], log.history["loss"], log.history["lr"]) == ([10], [2.27], [1.5e-4])
    assert log.history["grad_norm"] == [1.25]
    neox = logged("steps: 20 loss: 2.1 iter time (s): 0.3 samples/sec: 40.1\n[INFO] step=20, skipped=0, lr=[0.0001]\n")
    assert neox.history["loss"] == [2.1]


def test_mmengine(logged):
    log = logged(
        "07/14 10:00:00 - mmengine - INFO - Iter(train) [  10/1000]  lr: 1.9870e-04  eta: 0:10:00  time: 0.5  "
        "loss: 2.7522  grad_norm: nan\n"
        "07/14 10:00:05 - mmengine - INFO - Iter(train) [  20/1000]  lr: 1.9e-04  eta: 0:09:00  loss: 2.5  grad_norm: 1.5\n"
    )
    assert log.format == "mmengine's console" and log.history["step"] == [10, 20]
    assert log.history["loss"] == [2.7522, 2.5] and log.history["lr"] == [1.987e-4, 1.9e-4]
    assert math.isnan(log.history["grad_norm"][0]) and log.history["grad_norm"][1] == 1.5
    epochs = logged("Epoch(train)  [1][10/20]  lr: 1e-3  loss: 3.0\nEpoch(train)  [2][10/20]  lr: 1e-3  loss: 2.0\n")
    assert epochs.history["step"] == [10, 30]  # counts anew in each epoch: that is no resumed run
    assert epochs.resumed == []


# Your own, and what is out of the ordinary


def test_own_csv_with_byte_order_mark_and_decimal_commas(logged):
    log = logged(
        "\ufeffstep;loss;val_loss;lr;grad_norm;counted_tokens\n1;2,5;;0,001;1,5;1.024\n1000;1,25;1,5;0,0005;1;96\n"
    )
    assert log.format == "a CSV of your own" and log.history["loss"] == [2.5, 1.25]
    assert log.history["step"] == [1, 1000] and log.history["validation_loss"] == [1.5]
    assert log.history["lr"] == [1e-3, 5e-4] and log.history["unmasked_tokens"][1] == 96


def test_text_as_powershell_writes_it(logged):
    assert logged("{'loss': 1.5, 'epoch': 0.1}\r\n".encode("utf-16")).history["loss"] == [1.5]


def test_steps_that_go_back_are_a_resumed_run(logged):
    rows = "\n".join(f"{step},{loss}" for step, loss in [(1, 3.0), (2, 2.0), (3, 1.0), (2, 2.5), (3, 2.25), (4, 2.0)])
    log = logged(f"step,loss\n{rows}\n", "own.csv")
    assert log.history["step"] == [1, 2, 3, 4] and log.history["loss"] == [3.0, 2.5, 2.25, 2.0]
    assert log.resumed == [1] and any("go back from 3 to 2" in note for note in log.notes)


def test_lines_that_each_process_printed(logged):
    log = logged("".join(2 * f"Step {step} | loss:{3 - step / 4} lr:0.001\n" for step in range(1, 5)))
    assert log.history["step"] == [1, 2, 3, 4] and any("more than once" in note for note in log.notes)


def test_interval_that_changes_is_told(logged):
    rows = "\n".join(f"{step},1.5" for step in (1, 2, 3, 13, 23))
    assert any("between 1 and 10" in note for note in logged(f"step,loss\n{rows}\n", "own.csv").notes)


def test_history_of_the_kit_is_read_back(logged):
    from labkit.training import History

    history = History(step=[1, 2], loss=[2.0, math.nan], lr=[1e-3, 1e-3], grad_norm=[1.0, math.nan])
    history.validation_step, history.validation_loss = [2], [2.5]
    log = logged(json.dumps(history.as_dict()), "history.json")
    assert log.history["loss"][0] == 2.0 and math.isnan(log.history["loss"][1])
    assert log.history["validation_loss"] == [2.5] and log.missing[-1].startswith("no distance")


@pytest.mark.slow
def test_large_log_in_bounded_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(formats, "MAX_POINTS", 500)
    path = tmp_path / "large.csv"
    with open(path, "w", encoding="utf-8") as file:
        file.write("step,loss\n")
        file.writelines(f"{step},{1000 / step:.6f}\n" for step in range(1, 40_001))
    tracemalloc.start()
    log = read(path)
    assert tracemalloc.get_traced_memory()[1] < 4_000_000
    tracemalloc.stop()
    assert 250 <= len(log.history["loss"]) <= 1000 and log.history["step"][-1] == 40_000
    assert any("40,000 rows" in note for note in log.notes)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "empty"),
        (b" \n\n", "empty"),
        (b"\x00\x01\x02" * 50, "binary"),
        (b"hello\nworld\n", "no losses"),
        (b'{"log_history": []}', "no loss"),
        (b'{"log_history": [{"step": 1, ', "cannot be read"),
        (b'{"log_history": 3}', "without rows"),
        (b"[" * 100_000, "cannot be read"),
        (b"step,lr\n1,0.001\n", "no loss"),
        (b"step,loss\n1,\n2,\n", "no loss"),
    ],
)
def test_bad_files_get_one_line(logged, content, said):
    with pytest.raises(InputError, match=said) as caught:
        logged(content)
    assert "\n" not in str(caught.value)


def test_no_such_file(tmp_path):
    for path in (tmp_path / "none.log", tmp_path):
        with pytest.raises(InputError, match="cannot be read"):
            read(path)


@given(st.text() | st.binary())
def test_any_file_is_read_or_refused(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("any") / "any.log"
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))
    try:
        assert read(path).history["loss"]
    except InputError:
        pass


losses = st.floats(0, 100).map(lambda value: round(value, 4)) | st.just(math.nan)


@given(st.lists(losses, min_size=1, max_size=20))
def test_the_same_losses_in_every_format(tmp_path_factory, found):
    folder = tmp_path_factory.mktemp("same")
    texts = {
        "a.json": json.dumps({"log_history": [{"loss": loss, "step": step} for step, loss in enumerate(found, 1)]}),
        "b.jsonl": "\n".join(json.dumps({"current_steps": s, "loss": loss}) for s, loss in enumerate(found, 1)),
        "c.csv": "step,loss\n" + "\n".join(f"{step},{loss}" for step, loss in enumerate(found, 1)),
        "d.log": "\n".join(f"{{'loss': '{loss}', 'epoch': '1'}}" for loss in found),
        "e.log": "\n".join(f"{{'loss': {loss}, 'epoch': 1}}" for loss in found),
        "f.log": "\n".join(f"Step {step} | loss:{loss} lr:0.1" for step, loss in enumerate(found, 1)),
        "g.log": "\n".join(f"iter {step}: loss {loss}, time 1ms" for step, loss in enumerate(found, 1)),
    }
    for name, text in texts.items():
        (folder / name).write_text(text)
        assert read(folder / name).history["loss"] == pytest.approx(found, nan_ok=True), name
