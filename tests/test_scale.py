"""`accelerate launch -m labkit.scale`: two processes end where one does, and one where `labkit sft` does."""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import workers

from labkit import cli, scale
from labkit.common import InputError
from labkit.diagnosis import formats

pytest.importorskip("trl")
FORKS = pytest.mark.skipif(sys.platform != "linux" or torch.cuda.is_available(), reason="forks")


def weights(folder: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    [file] = folder.glob("*.safetensors")
    return load_file(file)


def parsed(options: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    scale.add_arguments(parser)
    return parser.parse_args(options)


def processes(count: int, options: list[str], log: Path, dies_at: int | None = None) -> tuple[set[int], str]:
    """(exit statuses, what the first of so many processes printed), which are told what `accelerate launch` tells them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
    running = []
    for rank in range(count):
        env = {"ACCELERATE_USE_CPU": "true", "CUDA_VISIBLE_DEVICES": ""}
        if count > 1:
            env |= place | {"WORLD_SIZE": str(count), "RANK": str(rank), "LOCAL_RANK": str(rank)}
        arguments = (options, log if rank == 0 else Path(os.devnull), dies_at, env)
        running.append(workers.apart().Process(target=workers.scale, args=arguments))
        running[-1].start()
    for process in running:
        process.join(120)
    status = {process.exitcode for process in running}
    for process in running:
        process.kill()
    return status, log.read_text()


@pytest.fixture
def options(tmp_path, tiny_model_folder) -> list[str]:
    path = tmp_path / "mine.jsonl"
    rows = [
        {"prompt": f"Say {i}.", "completion": f"It is {'so ' * (i % 5)}{i}."} for i in range(60)
    ]  # 54 to train on: six batches of 8 and the rest
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    more = ["--steps", "6", "--batch-size", "8", "--lr", "0.01", "--warmup", "0"]
    return ["--model", str(tiny_model_folder), "--data", str(path), *more]


def launched(count: int, options: list[str]) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "accelerate.commands.launch", "--num_processes", str(count), "--multi_gpu"]
    command += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"]
    env = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.run([*command, "-m", "labkit.scale", *options], env=env, capture_output=True, text=True)


@pytest.mark.slow
@FORKS
@pytest.mark.parametrize("method", ["lora", "full"])
def test_two_processes_end_where_one_does(method, options, tmp_path, tiny_model_folder):
    """Up to the rounding of float32: no weight differs by more than 2e-4, and they moved by more than 1e-2.

    `labkit sft` ends there too, because there is no warmup and every batch is full.
    """
    call = [*options, "--method", method]
    assert cli.main(["sft", *call, "--questions", "0", "--device", "cpu", "--out", str(tmp_path / "sft")]) == 0
    for count in (1, 2):
        out = ["--out", str(tmp_path / str(count))]
        if (method, count) == ("lora", 2):  # once as people call it
            done = launched(count, [*call, *out])
            assert done.returncode == 0, done.stderr
            said = done.stdout
        else:
            status, said = processes(count, [*call, *out], tmp_path / "log")
            assert status == {0}, said
        assert f"6 steps of 8 = {count} devices × {8 // count} × 1" in said
    alone, together, ours = (weights(tmp_path / name) for name in ("1", "2", "sft"))
    start = weights(tiny_model_folder) if method == "full" else {name: 0 for name in alone if "lora_B" in name}
    assert all((alone[name] - start[name]).abs().max() > 1e-2 for name in start)
    for other in (together, ours):
        assert other.keys() == alone.keys()
        assert max((other[name] - alone[name]).abs().max().item() for name in alone) < 2e-4
    logs = [formats.read(tmp_path / name / "trainer_state.json").history for name in ("1", "2")]
    assert logs[0]["step"] == list(range(1, 7)) and logs[0]["loss"] == pytest.approx(logs[1]["loss"], rel=1e-3)
    assert not list((tmp_path / "2").glob("checkpoint-*")) and not (tmp_path / "2" / "training_args.bin").exists()


@pytest.mark.slow
@FORKS
@pytest.mark.parametrize("method", ["lora", "full"])
def test_killed_and_resumed_it_ends_with_the_same_weights(method, options, tmp_path):
    """To the bit on one CPU; a checkpoint that the end left half-written is passed over."""
    call, log = [*options, "--method", method, "--save-every", "2"], tmp_path / "log"
    whole, out = tmp_path / "whole", tmp_path / "out"
    status, said = processes(1, [*call, "--out", str(whole)], log)
    assert status == {0}, said
    status, said = processes(1, [*call, "--out", str(out)], log, dies_at=6)
    assert status == {9}, said
    (out / "checkpoint-5").mkdir()
    for other, expected in (([], "which --resume continues"), (["--resume", "--lr", "0.02"], "has lr 0.01, not 0.02")):
        status, said = processes(1, [*call, "--out", str(out), *other], log)
        assert status == {2} and expected in said
    status, said = processes(1, [*call, "--out", str(out), "--resume"], log)
    assert status == {0} and "goes on after step 4" in said, said
    alone, again = weights(whole), weights(out)
    assert alone.keys() == again.keys() and all(torch.equal(alone[name], again[name]) for name in alone)
    assert sorted(path.name for path in out.iterdir()) == sorted(path.name for path in whole.iterdir())
    histories = [formats.read(folder / "trainer_state.json").history for folder in (whole, out)]
    for history in histories:
        del history["tokens"]  # of which TRL begins a new count
    assert histories[0] == histories[1] and histories[1]["step"] == list(range(1, 7))


def test_there_must_be_something_to_go_on_from(options, tmp_path):
    with pytest.raises(InputError, match="holds no run to go on with"):
        scale.main(parsed([*options, "--out", str(tmp_path / "out"), "--resume"]))
    (tmp_path / "out" / "checkpoint-2").mkdir(parents=True)
    with pytest.raises(InputError, match="holds other things"):
        scale.main(parsed([*options, "--out", str(tmp_path / "out"), "--resume"]))


@pytest.mark.slow
@FORKS
def test_killed_before_its_first_checkpoint_it_begins_again(options, tmp_path):
    call, log = [*options, "--save-every", "4", "--out", str(tmp_path / "out")], tmp_path / "log"
    status, said = processes(1, call, log, dies_at=2)
    assert status == {9}, said
    status, said = processes(1, [*call, "--resume"], log)
    assert status == {0} and (tmp_path / "out" / "adapter_config.json").is_file(), said
    status, said = processes(1, [*call, "--resume"], log)
    assert status == {0} and "is finished" in said


def test_a_batch_is_shared_or_refused():
    assert scale.share_of_batch(8, 2, None) == (4, 1) and scale.share_of_batch(8, 2, 1) == (1, 4)
    for wrong in ((8, 3, None), (8, 2, 3), (1, 2, None), (8, 2, -1)):
        with pytest.raises(InputError, match="--per-device"):
            scale.share_of_batch(*wrong)
