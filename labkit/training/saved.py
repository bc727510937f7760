"""A run's folder, which a kill at any moment leaves usable: what was asked, the last checkpoint, the log, the report.

Each file appears whole or not at all. Trained weights are written by `models.save_into`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from labkit.common import InputError, write_atomically
from labkit.models import check_adapter_folder
from labkit.training.loop import History

ASKED, CHECKPOINT, LOG = "sft.json", "checkpoint.pt", "trainer_state.json"


class SavedRun:
    """The folder of one run.

    A new or empty folder begins a run. One that holds a run is only taken with `resume` and the same `asked`: `report`
    is then what the finished run reported, or None. Raises `InputError` otherwise, and changes nothing.
    """

    def __init__(self, folder: str | Path, asked: Mapping[str, Any], resume: bool = False) -> None:
        self.folder = Path(folder).expanduser()
        self.asked = json.loads(json.dumps(asked))
        self.report: dict | None = None
        self.is_new = not (self.folder / ASKED).is_file()
        if self.is_new:
            check_adapter_folder(self.folder, allowed=())
            return
        try:
            found = json.loads((self.folder / ASKED).read_text(encoding="utf-8"))
            earlier, self.report = found["asked"], found["report"]
        except (OSError, ValueError, KeyError, TypeError):
            raise InputError(f"{self.folder / ASKED}: cannot be read as that of a run; name a new folder") from None
        if not resume:
            state = "a finished run" if self.report else "an unfinished run, which --resume continues"
            raise InputError(f"{self.folder}: holds {state}; name a new folder")
        for name, value in self.asked.items():
            if name not in earlier or earlier[name] != value:
                raise InputError(
                    f"{self.folder}: that run has {name} {earlier.get(name)!r}, not {value!r}; give what it was begun "
                    "with, or name a new folder"
                )

    def begin(self) -> None:
        """Make the folder and write down what was asked; remove what a killed process left half-written."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{self.folder}: cannot be made ({error.strerror or error}); name another place") from None
        for left in self.folder.glob(".*.tmp"):
            left.unlink(missing_ok=True)
        if self.is_new:
            self._write(ASKED, lambda file: json.dump({"asked": self.asked, "report": None}, file, indent=1))

    def checkpoint(self) -> dict | None:
        """The last checkpoint, or None if none was written."""
        path = self.folder / CHECKPOINT
        if not path.is_file():
            return None
        try:
            return torch.load(path, map_location="cpu", weights_only=True)
        except Exception:  # torch raises many kinds for a damaged file
            raise InputError(f"{path}: is damaged; remove it, and --resume starts over") from None

    def save(self, state: Mapping[str, Any], log: Mapping[str, Any]) -> None:
        """Replace checkpoint and log."""
        with write_atomically(self.folder / CHECKPOINT, binary=True) as file:
            torch.save(dict(state), file)
        self.write_log(log)

    def write_log(self, log: Mapping[str, Any]) -> None:
        self._write(LOG, lambda file: json.dump(log, file, indent=1))

    def finish(self, report: Mapping[str, Any]) -> None:
        """The weights are there: keep the report, and drop the checkpoint."""
        self._write(ASKED, lambda file: json.dump({"asked": self.asked, "report": report}, file, indent=1))
        (self.folder / CHECKPOINT).unlink(missing_ok=True)

    def _write(self, name: str, write: Callable) -> None:
        with write_atomically(self.folder / name) as file:
            write(file)


class Moved:
    """How far the trained weights of a model are from where they are now: the two columns of a log that tell causes apart
    that the loss does not. It looks at no more than a million of them, evenly spread, and keeps only those.
    """

    def __init__(self, model: torch.nn.Module, most: int = 1_000_000) -> None:
        self._trained = [weight for weight in model.parameters() if weight.requires_grad]
        self._stride = max(math.ceil(sum(weight.numel() for weight in self._trained) / most), 1)
        self._start = self._now()

    def _now(self) -> torch.Tensor:
        return torch.cat([weight.detach().flatten()[:: self._stride].float().cpu() for weight in self._trained])

    def look(self) -> dict[str, float]:
        """`distance`, the root mean square change of a weight, and `share_changed`, from 0 to 1."""
        change = self._now() - self._start
        return {
            "distance": change.square().mean().sqrt().item(),
            "share_changed": change.count_nonzero().item() / change.numel(),
        }


def trainer_state(
    history: History,
    steps: int,
    steps_per_epoch: int,
    looks: Mapping[int, Mapping[str, float]] = {},
    once: Mapping[str, float] = {},
) -> dict:
    """The history as transformers' `trainer_state.json`, which `TrainerState.load_from_json` and log readers take.

    `steps` is what the run was planned for; a loss is in nats per counted token, `counted_tokens` how many there were.
    `looks` holds more columns for the validation at a step, such as `Moved.look`; `once` what is said in the first row.
    """
    rows: list[dict] = [
        {
            "step": step,
            "epoch": step / steps_per_epoch,
            "loss": loss,
            "learning_rate": rate,
            "grad_norm": norm,
            "counted_tokens": counted,
            "num_tokens": tokens,
        }
        for step, loss, rate, norm, counted, tokens in zip(
            history.step, history.loss, history.lr, history.grad_norm, history.unmasked_tokens, _sums(history.tokens)
        )
    ]
    rows += [
        {"step": step, "epoch": step / steps_per_epoch, "eval_loss": loss, **looks.get(step, {})}
        for step, loss in zip(history.validation_step, history.validation_loss)
    ]
    if once:
        rows.append({"step": 0, "epoch": 0.0, **once})
    best = best_place(history)
    done = len(history.step)
    return {
        "best_global_step": None if best is None else history.validation_step[best],
        "best_metric": None if best is None else history.validation_loss[best],
        "best_model_checkpoint": None,
        "epoch": done / steps_per_epoch,
        "eval_steps": 0,
        "global_step": done,
        "is_hyper_param_search": False,
        "is_local_process_zero": True,
        "is_world_process_zero": True,
        "log_history": sorted(rows, key=lambda row: (row["step"], "eval_loss" in row)),
        "logging_steps": 1,
        "max_steps": steps,
        "num_input_tokens_seen": 0,
        "num_train_epochs": math.ceil(steps / steps_per_epoch),
        "save_steps": 0,
        "stateful_callbacks": {},
        "total_flos": 0.0,
        "train_batch_size": None,
        "trial_name": None,
        "trial_params": None,
    }


def best_place(history: History) -> int | None:
    """Which validation has the lowest loss; None without one."""
    losses = [math.inf if math.isnan(loss) else loss for loss in history.validation_loss]
    return min(range(len(losses)), key=losses.__getitem__, default=None)


def _sums(counts: list[int]) -> list[int]:
    total, sums = 0, []
    for count in counts:
        total += count
        sums.append(total)
    return sums
