"""A sweep gives the same wherever its runs are made, keeps what is finished, and says in one line what cannot be."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import sweeping
import torch
from sums import number_questions

from labkit import cluster, models
from labkit.common import InputError
from labkit.masking import render
from labkit.training import Settings, Trial, fit_alone, sweep, sweeps

pytestmark = pytest.mark.slow

SHORT = Settings(steps=3, batch_size=4, number_format="float32")


@pytest.fixture(scope="module")
def rows(loaded):
    return [render(example, loaded[1]) for example in number_questions(16)]


def same(one, other) -> None:
    assert one.trial == other.trial
    assert one.history.loss == pytest.approx(other.history.loss, abs=1e-5)
    assert one.history.validation_loss == pytest.approx(other.history.validation_loss, abs=1e-5)
    assert one.weights.keys() == other.weights.keys()
    for name, weight in one.weights.items():
        torch.testing.assert_close(weight, other.weights[name], rtol=1e-3, atol=1e-4)


GRID = [
    Trial(replace(SHORT, lr=1e-3), rank=2),
    Trial(replace(SHORT, lr=1e-3), rank=None),
    Trial(replace(SHORT, lr=3e-3, batch_size=6), rank=4),
    Trial(replace(SHORT, lr=3e-3), rank=None),
]


def test_a_grid_of_adapters_and_all_weights_equals_separate_runs_wherever_it_is_run(loaded, rows):
    model = loaded[0]
    expected = [fit_alone(model, trial, rows, pad=0, validation=rows[:4]) for trial in GRID]
    for where in ({"workers": 1}, {"workers": 2}):
        for found, alone in zip(sweep(model, rows, GRID, pad=0, validation=rows[:4], **where), expected, strict=True):
            same(found, alone)


def test_a_cluster_is_given_the_same_runs(loaded, rows, monkeypatch):
    asked = []

    def fake_map(function, items, *, cluster, workers, progress):
        for index in reversed(range(len(items))):  # they finish in any order
            progress(index, function(items[index]))
        asked.append((cluster, [repr(item) for item in items]))

    monkeypatch.setattr(cluster, "map", fake_map)
    here = sweep(loaded[0], rows, GRID, pad=0, workers=1)
    there = sweep(loaded[0], rows, GRID, pad=0, cluster_address="head:6379")
    for one, other in zip(here, there, strict=True):
        same(one, other)
    [(address, items)] = asked
    assert address == "head:6379" and sorted(map(len, (item.split("; ") for item in items))) == [1, 1, 2]


@pytest.mark.skipif(
    "RAY_ADDRESS" not in os.environ, reason="needs a Ray cluster: ray start --head, then RAY_ADDRESS=auto"
)
def test_a_real_cluster(loaded, rows):
    there = sweep(loaded[0], rows, GRID, pad=0, cluster_address=os.environ["RAY_ADDRESS"])
    for one, other in zip(sweep(loaded[0], rows, GRID, pad=0, workers=1), there, strict=True):
        same(one, other)


def test_a_killed_sweep_goes_on_where_it_was(tiny_model_folder, tmp_path):
    tests = Path(__file__).parent
    path = os.pathsep.join(map(str, (tests, tests.parent, tests.parent.parent)))
    killed = subprocess.run(
        [sys.executable, sweeping.__file__, str(tiny_model_folder), str(tmp_path), "kill"],
        env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        capture_output=True,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    first = {file.name: file.stat().st_mtime_ns for file in tmp_path.iterdir()}
    assert len(first) == 2 and all(name.endswith(".safetensors") for name in first)
    steps = []
    again = sweeping.run(tiny_model_folder, tmp_path, lambda step, histories: steps.append((step, len(histories))))
    assert steps == [(1, 2), (2, 2), (3, 2)]  # the second pair alone
    files = {file.name: file.stat().st_mtime_ns for file in tmp_path.iterdir()}
    assert len(files) == 4 and {name: files[name] for name in first} == first
    assert [trained.trial for trained in again] == sweeping.TRIALS
    for one, other in zip(again, sweeping.run(tiny_model_folder, None), strict=True):
        same(one, other)
    assert not [step for step in steps[3:]]
    sweeping.run(tiny_model_folder, tmp_path, lambda step, histories: pytest.fail("everything was there"))


def test_other_rows_or_another_model_find_nothing_in_the_folder(loaded, rows, tmp_path):
    names = set()
    for number, (model, chosen) in enumerate([(loaded[0], rows), (loaded[0], rows[1:]), (loaded[0], rows)]):
        if number == 2:
            model = models.load(loaded[0].name_or_path, device="cpu")[0]
            model.model.norm.weight.data += 0.5
        sweep(model, chosen, GRID[:1] + GRID[2:3], pad=0, folder=tmp_path)
        names |= {file.name for file in tmp_path.iterdir()}
        assert len(names) == 2 * (number + 1)


def test_a_full_disk_leaves_nothing_half_written(loaded, rows, tmp_path, monkeypatch):
    pair = [GRID[0], GRID[2]]

    def no_space(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", no_space)
        with pytest.raises(InputError, match="No space left on device"):
            sweep(loaded[0], rows, pair, pad=0, folder=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_file_is_named(loaded, rows, tmp_path):
    pair = [GRID[0], GRID[2]]
    sweep(loaded[0], rows, pair, pad=0, folder=tmp_path)
    file = sorted(tmp_path.iterdir())[0]
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(InputError, match=rf"{file.name}: is damaged .*; delete it") as caught:
        sweep(loaded[0], rows, pair, pad=0, folder=tmp_path)
    assert "\n" not in str(caught.value)


def test_what_cannot_be_at_once_is_run_alone(loaded, rows):
    pair = [Trial(replace(SHORT, seed=seed), rank=2, target_modules="lm_head") for seed in (0, 1)]
    for found in sweep(loaded[0], rows, pair, pad=0):
        same(found, fit_alone(loaded[0], found.trial, rows, pad=0))


@pytest.mark.parametrize(
    ("trials", "more", "says"),
    [
        ([], {}, "a sweep of 0 compares nothing"),
        (GRID[:1], {}, "a sweep of 1 compares nothing"),
        ([*GRID, GRID[0]], {}, r"2 of the trials are the same \(lr 0.001, rank 2, alpha 32, seed 0\)"),
        (GRID, {"rows": []}, "no rows to train on"),
        (GRID, {"workers": 0}, "workers is 0"),
        (GRID, {"at_once": 0}, "at_once is 0"),
        (GRID, {"folder": __file__}, "cannot be made"),
    ],
)
def test_sweeps_that_make_no_sense(loaded, rows, trials, more, says):
    with pytest.raises(InputError, match=says) as caught:
        sweep(loaded[0], **{"rows": rows, "trials": trials, "pad": 0, **more})
    assert "\n" not in str(caught.value)


def test_a_cluster_that_does_not_answer_loses_nothing(loaded, rows, tmp_path, monkeypatch):
    pair = [GRID[0], GRID[2]]
    finished = sweep(loaded[0], rows, pair, pad=0, folder=tmp_path)

    def nobody(*given, **more):
        raise InputError("no Ray cluster answers at 'nowhere' (nobody there); start one with `ray start --head`")

    monkeypatch.setattr(cluster, "map", nobody)
    with pytest.raises(InputError, match="no Ray cluster answers"):
        sweep(loaded[0], rows, GRID, pad=0, folder=tmp_path, cluster_address="nowhere")
    for one, other in zip(sweep(loaded[0], rows, pair, pad=0, folder=tmp_path), finished, strict=True):
        assert one.history == other.history
        assert all(torch.equal(weight, other.weights[name]) for name, weight in one.weights.items())


def test_progress_is_told(loaded, rows, monkeypatch):
    shown = []

    class Told:
        def show(self, text, share):
            shown.append((text, share))

        def close(self):
            shown.append(None)

    monkeypatch.setattr(sweeps, "Line", Told)
    sweep(loaded[0], rows, GRID[:3], pad=0, workers=1)
    assert shown.pop() is None
    shares = [share for _, share in shown]
    assert shares == sorted(shares) and shares[-1] == 1 and 0 < shares[0] < 0.5
    assert shown[0][0] == "2 runs at once: step 1 of 3" and shown[-1][0] == "3 of 3 runs are done"
