"""A sweep: many trials on the same model and rows, each kept in a file as it finishes.

Adapters that can be trained at once are trained at once (`together`); the others run one by one, on this machine's
cores or a Ray cluster (`labkit.cluster`). The results are the same, except for rounding.
"""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from labkit import cluster
from labkit.common import InputError, write_atomically
from labkit.live import Line
from labkit.training.loop import History, Row, Settings, checked_row
from labkit.training.together import AT_ONCE, NotAtOnce, Trained, Trial, fit_alone, fit_together, groups

if TYPE_CHECKING:
    from labkit.models import Model


def sweep(
    model: Model,
    rows: Sequence[Row],
    trials: Sequence[Trial],
    *,
    pad: int,
    validation: Sequence[Row] | None = None,
    folder: str | Path | None = None,
    at_once: int = AT_ONCE,
    workers: int | None = None,
    cluster_address: str | None = None,
    on_step: Callable[[int, list[History]], None] | None = None,
) -> list[Trained]:
    """Train the model by each trial, from the same start on the same rows; returns what each left, in the trials'
    order.

    Up to `at_once` adapters share each forward pass. One such group runs in this process, and so do all on a GPU or
    with `workers=1`: `on_step(step, histories)` is called after each of their steps. Several groups, and trials that
    cannot be grouped (all weights, dropout), are spread over this machine's cores, or over the Ray cluster at
    `cluster_address`. With a `folder`, each group is kept there as it finishes, a file for each trial; an interrupted
    call continues from there. A loss that is NaN or infinite is recorded, and does not stop the run.

    Raises `InputError` for fewer than two trials, for equal ones, for rows that cannot be trained on, a folder that
    cannot be written to, or a cluster that does not answer, before anything is trained.
    """
    trials = list(trials)
    if len(trials) < 2:
        raise InputError(f"a sweep of {len(trials)} compares nothing: give at least two trials, or use training.fit")
    (most, times), *_ = Counter(trials).most_common(1)
    if times > 1:
        raise InputError(f"{times} of the trials are the same ({most}): give each another rate, rank, alpha or seed")
    taught = [checked_row(row, number, model) for number, row in enumerate(rows)]
    held_out = [checked_row(row, number, model, "validation row") for number, row in enumerate(validation or [])]
    if not taught:
        raise InputError("there are no rows to train on")
    kept = None if folder is None else _Kept(Path(folder).expanduser(), model, taught, held_out)
    earlier = {} if kept is None else {index: kept.load(trial) for index, trial in enumerate(trials)}
    found = {index: trained for index, trained in earlier.items() if trained is not None}
    missing = [index for index in range(len(trials)) if index not in found]
    chosen = [[missing[place] for place in group] for group in groups([trials[i] for i in missing], at_once)]
    here = cluster_address is None and (
        workers == 1 or (workers is None and len(chosen) <= 1) or next(model.parameters()).device.type != "cpu"
    )
    line = Line()

    def keep(number: int, results: list[Trained]) -> None:
        for index, trained in zip(chosen[number], results, strict=True):
            found[index] = trained
            if kept is not None:
                kept.save(trained)
        line.show(f"{len(found)} of {len(trials)} runs are done", len(found) / len(trials))

    def watched(number: int) -> Callable:
        group = [trials[index] for index in chosen[number]]
        before, steps = len(trials) - len(missing), max(trial.settings.steps for trial in group)
        before += sum(map(len, chosen[:number]))

        def told(step: int, histories: History | list[History]) -> None:
            histories = histories if isinstance(histories, list) else [histories]
            runs = f"{len(group)} runs at once" if len(histories) > 1 else str(group[0])
            share = (before + len(group) * step / steps) / len(trials)
            line.show(f"{runs}: step {step} of {steps}", share)
            if on_step is not None:
                on_step(step, histories)

        return told

    jobs = [_Job(model, taught, held_out, pad, [trials[index] for index in group]) for group in chosen]
    try:
        if here:
            for number, job in enumerate(jobs):
                keep(number, _work(job, watched(number)))
        else:
            if cluster_address is not None:  # its machines may lack this one's GPU
                on_cpu = copy.deepcopy(model).cpu()
                jobs = [dataclasses.replace(job, model=on_cpu) for job in jobs]
            cluster.map(_work, jobs, cluster=cluster_address, workers=workers, progress=keep)
    finally:
        line.close()
    return [found[index] for index in range(len(trials))]


@dataclass(frozen=True)
class _Job:
    """The work of one process: trials that are trained at once, or a single one."""

    model: Model
    rows: list[Mapping]
    held_out: list[Mapping]
    pad: int
    trials: list[Trial]

    def __repr__(self) -> str:
        return "; ".join(map(str, self.trials))


def _work(job: _Job, on_step: Callable | None = None) -> list[Trained]:
    count = len(job.trials)
    if job.trials[0].rank is not None:
        try:
            return fit_together(
                job.model,
                job.trials,
                [job.rows] * count,
                pad=job.pad,
                validation=[job.held_out] * count,
                on_step=on_step,
            )
        except NotAtOnce:  # found out before the first step
            pass
    return [
        fit_alone(job.model, trial, job.rows, pad=job.pad, validation=job.held_out, on_step=on_step)
        for trial in job.trials
    ]


class _Kept:
    """A folder with a safetensors file for each finished trial: its weights, and in the header its curves.

    A file's name is the digest of everything that decides the run, so that other rows or another model find nothing.
    """

    def __init__(self, folder: Path, model: Model, rows: Sequence[Mapping], held_out: Sequence[Mapping]) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{folder}: cannot be made ({error.strerror or error}); name another folder") from None
        self.folder = folder
        digest = hashlib.sha256()
        for name, weight in model.state_dict().items():
            digest.update(f"{name} {tuple(weight.shape)} {weight.dtype}\n".encode())
            digest.update(weight.detach().cpu().contiguous().view(torch.uint8).numpy())
        for part in (rows, held_out):
            digest.update(json.dumps([[list(row["input_ids"]), list(row["labels"])] for row in part]).encode())
        self.base = digest.hexdigest()

    def path(self, trial: Trial) -> Path:
        told = json.dumps([self.base, dataclasses.asdict(trial)], sort_keys=True)
        return self.folder / f"run-{hashlib.sha256(told.encode()).hexdigest()[:16]}.safetensors"

    def save(self, trained: Trained) -> None:
        from safetensors.torch import save

        told = {"trial": dataclasses.asdict(trained.trial), "history": trained.history.as_dict()}
        with write_atomically(self.path(trained.trial), binary=True) as file:
            file.write(save(trained.weights, {"labkit": json.dumps(told)}))

    def load(self, trial: Trial) -> Trained | None:
        """The finished trial, or None. Raises `InputError` if its file is damaged."""
        from safetensors import SafetensorError, safe_open

        path = self.path(trial)
        if not path.is_file():
            return None
        try:
            with safe_open(path, "pt") as file:
                told = json.loads(file.metadata()["labkit"])
                weights = {name: file.get_tensor(name) for name in file.keys()}
            settings = Settings(**told["trial"].pop("settings"))
            return Trained(Trial(settings, **told["trial"]), History.from_dict(told["history"]), weights)
        except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise InputError(f"{path}: is damaged ({reason}); delete it, and this run is made again") from None
