"""`accelerate launch -m labkit.scale`: two processes end where one does, and one where `labkit sft` does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from labkit import cli, scale
from labkit.common import InputError
from labkit.diagnosis import formats

pytest.importorskip("trl")


def weights(folder: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    [file] = folder.glob("*.safetensors")
    return load_file(file)


def launched(processes: int, options: list[str]) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "accelerate.commands.launch", "--num_processes", str(processes)]
    command += ["--multi_gpu"] if processes > 1 else ["--cpu"]
    command += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"]
    env = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.run([*command, "-m", "labkit.scale", *options], env=env, capture_output=True, text=True)


@pytest.fixture
def options(tmp_path, tiny_model_folder) -> list[str]:
    path = tmp_path / "mine.jsonl"
    rows = [
        {"prompt": f"Say {i}.", "completion": f"It is {'so ' * (i % 5)}{i}."} for i in range(80)
    ]  # 72 to train on: nine batches of 8
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    more = ["--steps", "10", "--batch-size", "8", "--lr", "0.01", "--warmup", "0"]
    return ["--model", str(tiny_model_folder), "--data", str(path), *more]


@pytest.mark.slow
@pytest.mark.parametrize("method", ["lora", "full"])
def test_two_processes_end_where_one_does(method, options, tmp_path, tiny_model_folder):
    """Up to the rounding of float32: no weight differs by more than 2e-4, and they moved by more than 1e-2.

    `labkit sft` ends there too, because there is no warmup and every batch is full.
    """
    call = [*options, "--method", method]
    assert cli.main(["sft", *call, "--questions", "0", "--device", "cpu", "--out", str(tmp_path / "sft")]) == 0
    for processes in (1, 2):
        done = launched(processes, [*call, "--out", str(tmp_path / str(processes))])
        assert done.returncode == 0, done.stderr
        assert f"10 steps of 8 = {processes} devices × {8 // processes} × 1" in done.stdout
    alone, together, ours = (weights(tmp_path / name) for name in ("1", "2", "sft"))
    start = weights(tiny_model_folder) if method == "full" else {name: 0 for name in alone if "lora_B" in name}
    assert all((alone[name] - start[name]).abs().max() > 1e-2 for name in start)
    for other in (together, ours):
        assert other.keys() == alone.keys()
        assert max((other[name] - alone[name]).abs().max().item() for name in alone) < 2e-4
    logs = [formats.read(tmp_path / name / "trainer_state.json").history for name in ("1", "2")]
    assert logs[0]["step"] == list(range(1, 11)) and logs[0]["loss"] == pytest.approx(logs[1]["loss"], rel=1e-3)
    assert not list((tmp_path / "2").glob("checkpoint-*")) and not (tmp_path / "2" / "training_args.bin").exists()


def test_a_batch_is_shared_or_refused():
    assert scale.share_of_batch(8, 2, None) == (4, 1) and scale.share_of_batch(8, 2, 1) == (1, 4)
    for wrong in ((8, 3, None), (8, 2, 3), (1, 2, None), (8, 2, -1)):
        with pytest.raises(InputError, match="--per-device"):
            scale.share_of_batch(*wrong)
