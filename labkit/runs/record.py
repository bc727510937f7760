"""What a run leaves: an `Outcome` for each seed, the `Record` that ships, and the machine and versions it was made
with.
"""

from __future__ import annotations

import dataclasses
import json
import os
import platform
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from labkit.common import InputError, write_atomically
from labkit.runs.recipe import Recipe
from labkit.runs.recipes import RECIPES

# What decides which kernels a CPU uses, named as in /proc/cpuinfo.
FLAGS = ("avx2", "fma", "avx512f", "avx512_bf16", "amx_bf16", "asimd", "sve", "bf16")

RECORDS = Path(__file__).parents[1] / "records"
SCORED = ("n", "correct", "share", "low", "high", "cot", "stopped", "tokens")  # what a record keeps of a `Score`


@dataclass(frozen=True)
class Outcome:
    """One seed's run, as plain data: what `Score` and `History` hold, which questions were right, and where and when
    it ran.
    """

    seed: int
    score: dict  # the fields in `SCORED`; older records lack the last two
    by_task: dict[str, dict]  # task: the same
    right: str  # a 1 or 0 for each question, in order
    questions: str  # digest of the questions: equal digests, same questions
    trained_on: str  # the same for the training examples, before mask and control
    history: dict[str, list]
    trainable: int
    total: int
    train_seconds: float
    seconds: float
    machine: str
    versions: dict[str, str]
    date: str
    probabilities: list[float] | None = None  # of each question's right completion, in order; None in older records
    flags: list[str] | None = None  # those of `FLAGS` that the processor has; None in older records
    text_loss: float | None = None  # afterwards, on text like the base's own: nats a token; None in older records
    at_once: int = 1  # how many runs were trained together (`training.fit_together`): another order of sums


@dataclass(frozen=True)
class Record:
    """A recipe's recorded runs, one outcome for each seed. `hash` is the recipe's at the time."""

    recipe: dict
    hash: str
    outcomes: tuple[Outcome, ...]

    @property
    def name(self) -> str:
        return self.recipe["name"]

    @property
    def shares(self) -> dict[int, float]:
        """The share of right answers, by seed."""
        return {outcome.seed: outcome.score["share"] for outcome in self.outcomes}

    def outcome(self, seed: int) -> Outcome:
        for outcome in self.outcomes:
            if outcome.seed == seed:
                return outcome
        seeds = ", ".join(map(str, sorted(self.shares)))
        raise InputError(
            f"{self.name} is recorded for the seeds {seeds}, not for {seed}; choose one of them, or run it with "
            f"live=True"
        )

    def save(self, folder: Path | None = None) -> Path:
        path = (folder or RECORDS) / f"{self.name}.json"
        with write_atomically(path) as file:  # one line for each seed, so that a diff can be read
            file.write(f'{{"recipe": {json.dumps(self.recipe)},\n"hash": "{self.hash}",\n"outcomes": [\n')
            file.write(
                ",\n".join(json.dumps(dataclasses.asdict(outcome), separators=(",", ":")) for outcome in self.outcomes)
            )
            file.write("\n]}\n")
        return path

    @classmethod
    def load(cls, name: str, folder: Path | None = None) -> Record:
        path = (folder or RECORDS) / f"{name}.json"
        if not path.is_file():
            raise InputError(
                f"{name} is not recorded; run it with live=True, or record it with `labkit runs rebuild {name}`"
            )
        values = json.loads(path.read_text(encoding="utf-8"))
        return cls(values["recipe"], values["hash"], tuple(Outcome(**outcome) for outcome in values["outcomes"]))


def recorded(folder: Path | None = None) -> list[str]:
    """The names of all records."""
    return sorted(path.stem for path in (folder or RECORDS).glob("*.json") if path.stem != "claims")


def stale(name: str, folder: Path | None = None) -> str | None:
    """Why a record no longer matches its recipe, or None."""
    record = Record.load(name, folder)
    if name not in RECIPES or record.name != name:
        return f"{name}: there is a record but no such recipe; delete the record, or add the recipe"
    now = dataclasses.asdict(RECIPES[name])
    then = {field.name: field.default for field in dataclasses.fields(Recipe)} | record.recipe
    changed = sorted(field for field in then.keys() | now.keys() if then.get(field) != now.get(field))
    if changed:
        return f"{name}: recorded with another {', '.join(changed)}; `labkit runs rebuild {name}`"
    if RECIPES[name].hash != record.hash:
        return f"{name}: recorded with another base; `labkit runs rebuild {name}`"
    return None


def machine(device: str = "cpu") -> str:
    """This machine in words: cores and processor, and the GPU if `device` is one."""
    processor = _cpuinfo("model name") or platform.processor() or platform.machine()
    text = f"{os.cpu_count()} cores, {processor}, {platform.system()}"
    if device == "cuda":
        import torch

        text = f"{torch.cuda.get_device_name()}; {text}"
    return text if device in ("cpu", "cuda") else f"{device}; {text}"


def flags() -> list[str]:
    """Which of `FLAGS` this machine's processor has; none if the system does not say."""
    found = (_cpuinfo("flags") or _cpuinfo("Features")).split()
    return [flag for flag in FLAGS if flag in found]


def _cpuinfo(name: str) -> str:
    """The first value of that name in Linux's /proc/cpuinfo; empty where there is none."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return next((line.partition(":")[2].strip() for line in file if line.partition(":")[0].strip() == name), "")
    except OSError:
        return ""


def versions() -> dict[str, str]:
    """The versions of the libraries that a run's numbers depend on."""
    found = {"python": platform.python_version()}
    for package in ("labkit", "torch", "transformers", "peft", "bitsandbytes", "tokenizers", "numpy"):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found
