"""Readers of training logs: a file in any of ten formats becomes a `Log`, plain lists that `signs` looks at.

A reader only finds rows; `_Collector` gives all of them the same names, puts evaluation beside training, sees where a
run was resumed, and keeps memory bounded. What the numbers mean is decided elsewhere.
"""

from __future__ import annotations

import ast
import codecs
import csv
import itertools
import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from labkit.common import InputError

MAX_DOCUMENT_BYTES = 100_000_000  # a JSON document is read whole, and takes several times its size in memory
MAX_LINE = 1_000_000  # characters; the rest of a longer line is treated as a line of its own
MAX_POINTS = 20_000  # a longer log is thinned: neighbours are replaced by their mean
FORMATS = (
    "transformers' or TRL's trainer_state.json, console text, LLaMA-Factory's trainer_log.jsonl, a CSV of W&B, "
    "TensorBoard or your own, or the console of litgpt, nanoGPT, torchtune, Megatron, gpt-neox or mmengine"
)

NAMES = {  # the names of many trainers, in lower case and without `train/`: ours
    "loss": ("loss", "train_loss", "training_loss", "lm_loss", "lm loss", "loss train"),
    "validation_loss": ("eval_loss", "val_loss", "valid_loss", "validation_loss", "test_loss", "val loss", "val"),
    "step": ("step", "steps", "global_step", "current_steps", "iteration", "iter"),
    "lr": ("lr", "learning_rate", "learning rate"),
    "grad_norm": ("grad_norm", "gradient_norm", "grad norm", "grad_norm_total"),
    "epoch": ("epoch",),
    "unmasked_tokens": ("counted_tokens", "unmasked_tokens"),
    "tokens": ("num_tokens", "num_input_tokens_seen", "total_tokens"),
    "entropy": ("entropy",),
    "accuracy": ("mean_token_accuracy",),
    "validation_entropy": ("eval_entropy", "validation_entropy"),
    "distance": ("distance",),
    "share_changed": ("share_changed",),
    "micro_step": (),
}
OURS = {name: ours for ours, names in NAMES.items() for name in (*names, ours)}
TRAINING = ("step", "loss", "lr", "grad_norm", "unmasked_tokens", "tokens", "epoch", "entropy", "accuracy")
VALIDATION = ("validation_loss", "validation_entropy", "distance", "share_changed")
ONCE = ("base_loss", "ln_vocabulary")


@dataclass
class Log:
    """A log as it was read. In `history`, lists named as in `training.History`: those in `TRAINING` have an entry for
    each training row, those in `VALIDATION` one for each in `validation_step`; a cell that is missing is None, and one
    that says NaN is NaN. A column that no row has is left out.
    """

    format: str
    history: dict[str, list] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)  # what was unusual in the file
    runs: list[str] = field(default_factory=list)  # names, if the file holds several
    resumed: list[int] = field(default_factory=list)  # places in the training rows at which the steps went back

    @property
    def missing(self) -> list[str]:
        """What the log does not contain, and what therefore cannot be said, a line each."""
        wanted = {
            "validation_loss": "no validation loss: overfitting cannot be seen",
            "grad_norm": "no gradient norm: there is one sign less for a flat loss",
            "lr": "no learning rate: a schedule that ended early cannot be seen",
            "unmasked_tokens": "no counted tokens: masking and grouping by length show only in the loss",
            "epoch": "no epoch: repeated rows cannot be seen",
            "distance": "no distance of the weights from the start: whether anything was trained shows only in the loss",
        }
        return [text for name, text in wanted.items() if name not in self.history]


def read(path: str | Path, run: str | None = None) -> Log:
    """The log in a file; of several runs the one named, or else the first.

    Raises `InputError` for a file that is missing, empty, binary, of an unknown format, or without a single training
    loss.
    """
    path = Path(path).expanduser()
    try:
        with open(path, "rb") as file:
            head = file.read(65_536)
        size = path.stat().st_size
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error}); name a log file") from None
    encoding = _encoding(path, head)
    text = head.decode(encoding, errors="replace").lstrip("\ufeff")
    if not text.strip():
        raise InputError(f"{path}: is empty; name the log of a run that has written at least one loss")
    name, rows, notes, runs = _rows(path, text, encoding, size, run)
    collected = _Collector(counts_rows=name.startswith("console text of transformers"))
    for row in rows:
        collected.add(row)
    log = Log(name, collected.history(), notes + collected.notes, runs, collected.resumed)
    if log.format == TRANSFORMERS and {"entropy", "accuracy"} & log.history.keys():
        log.format = "TRL's trainer_state.json"
    if not log.history.get("loss"):
        found = "a validation loss but no training loss" if log.history.get("validation_loss") else "no loss"
        raise InputError(f"{path}: read as {log.format}, it holds {found}; known formats are {FORMATS}")
    return log


TRANSFORMERS = "transformers' trainer_state.json"


def _encoding(path: Path, head: bytes) -> str:
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"  # PowerShell's `>` writes so
    if b"\x00" in head:
        raise InputError(f"{path}: is a binary file, not a text log; event files are exported as CSV by TensorBoard")
    return "utf-8-sig"


def _lines(path: Path, encoding: str) -> Iterator[str]:
    """The lines, with progress bars' carriage returns as line ends and without escape codes."""
    with open(path, encoding=encoding, errors="replace", newline=None) as file:
        while line := file.readline(MAX_LINE):
            yield _ESCAPES.sub("", line)


_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b\][^\x07]*\x07")


Found = tuple[str, Iterable[Mapping], list[str], list[str]]  # the format's name, its rows, notes, names of the runs


def _rows(path: Path, text: str, encoding: str, size: int, run: str | None) -> Found:
    first = next(line for line in text.splitlines() if line.strip()).strip()
    if text.lstrip()[0] in "{[" and not first.startswith("{'") and not re.match(r"\[\d{4}-|\[rank|\[20", first):
        if (found := _json_object(first)) is not None and not first.startswith("["):
            if "log_history" not in found and not any(isinstance(value, list) for value in found.values()):
                name = "LLaMA-Factory's trainer_log.jsonl" if "current_steps" in found else "JSON lines"
                return name, _json_lines(path, encoding), [], []
        return _document(path, encoding, size)
    delimiter = max(",;\t", key=first.count)
    header = [cell.strip() for cell in next(csv.reader([first], delimiter=delimiter), [])]
    known = [cell for cell in header if _our_name(cell.rpartition(" - ")[2]) or cell in ("Wall time", "Value")]
    if len(header) > 1 and known and not any(_number(cell) is not None for cell in header):
        return _table(path, encoding, header, delimiter, run)
    return _console(path, encoding, text)


# JSON


def _json_object(line: str) -> dict | None:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _json_lines(path: Path, encoding: str) -> Iterator[Mapping]:
    for line in _lines(path, encoding):
        row = _json_object(line)
        if row is not None:
            yield row


def _document(path: Path, encoding: str, size: int) -> Found:
    if size > MAX_DOCUMENT_BYTES:
        raise InputError(
            f"{path}: {size / 1e6:.0f} MB of JSON in one piece is too much; give the console's text or a CSV"
        )
    try:
        with open(path, encoding=encoding, errors="replace") as file:
            value = json.load(file)  # takes the bare NaN and Infinity that transformers writes
    except (ValueError, RecursionError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{path}: begins like JSON but cannot be read as such ({reason}); copy it again") from None
    rows = value.get("log_history", value.get("history", value)) if isinstance(value, dict) else value
    notes: list[str] = []
    if isinstance(rows, dict) and all(isinstance(column, list) for column in rows.values()):
        return "the kit's history", _from_columns(rows), notes, []
    if not (isinstance(rows, list) and all(isinstance(row, dict) for row in rows)):
        raise InputError(f"{path}: is JSON without rows; a log has `log_history`, or is a list of rows")
    done, planned = (value.get(name) for name in ("global_step", "max_steps")) if value is not rows else (None, None)
    if isinstance(done, int) and isinstance(planned, int) and 0 < done < planned:
        notes.append(f"the run stopped at step {done} of {planned}")
    return (TRANSFORMERS if isinstance(value, dict) else "a list of rows in JSON"), rows, notes, []


def _from_columns(columns: Mapping[str, list]) -> Iterator[dict]:
    """The rows of a dict of lists: of training, of validation, and values that occur once. None stands for NaN."""
    columns = {name: [math.nan if value is None else value for value in values] for name, values in columns.items()}
    yield {name: columns[name][0] for name in ONCE if columns.get(name)}
    for names in (TRAINING, ("validation_step", *VALIDATION)):
        there = [name for name in names if columns.get(name)]
        for values in zip(*(columns[name] for name in there)):
            yield {"step" if name == "validation_step" else name: value for name, value in zip(there, values)}


# Tables


def _table(path: Path, encoding: str, header: list[str], delimiter: str, run: str | None) -> Found:
    def cells() -> Iterator[dict[str, str]]:
        csv.field_size_limit(MAX_LINE)
        with open(path, encoding=encoding, errors="replace", newline="") as file:
            reader = csv.reader(file, delimiter=delimiter)
            try:
                names = next(row for row in reader if any(cell.strip() for cell in row))
                names = [name.strip().lstrip("\ufeff") for name in names]
                for row in reader:
                    yield dict(zip(names, row))
            except csv.Error as error:
                raise InputError(
                    f"{path}, line {reader.line_num}: is not valid CSV ({error}); export it again"
                ) from None

    if "Wall time" in header and "Value" in header:
        kind = path.stem.lower()
        ours = "validation_loss" if re.search(r"eval|val|test", kind) else "loss"
        ours = "lr" if re.search(r"learning.rate|lr", kind) else "grad_norm" if "grad" in kind else ours
        rows = ({"step": row.get("Step"), ours: row.get("Value")} for row in cells())
        return "TensorBoard's CSV", rows, [f"one metric, by its file name the {ours.replace('_', ' ')}"], []
    if any(" - " in name for name in header):
        return _wandb(cells, header, run)
    if {"iter", "step", "loss"} <= set(header):
        rows = ({**row, "micro_step": row["iter"]} for row in cells())
        return "litgpt's metrics.csv", rows, [], []
    return "a CSV of your own", cells(), [], []


def _wandb(cells: Callable[[], Iterator[dict[str, str]]], header: list[str], run: str | None) -> Found:
    """W&B's export: a column for each run and metric, and its smallest and largest value beside it."""
    columns = {}  # (run, metric): the column
    for name in header:
        of, dash, metric = name.rpartition(" - ")
        if dash and not metric.endswith(("__MIN", "__MAX")) and _our_name(metric):
            columns[of, metric] = name
    runs = list(dict.fromkeys(of for of, _ in columns))
    if run is not None and run not in runs:
        raise InputError(f"there is no run {run!r} in the file; there are {', '.join(runs)}")
    chosen = run or runs[0]
    notes = [f"{len(runs)} runs in the file; this is {chosen}, --run takes another"] if len(runs) > 1 else []

    def rows() -> Iterator[dict]:
        for row in cells():
            found = {metric: row.get(column) for (of, metric), column in columns.items() if of == chosen}
            step = next((row[name] for name in ("Step", "train/global_step", "global_step") if row.get(name)), None)
            yield {"step": step} | {name: cell for name, cell in found.items() if name != "_step" and cell}

    return "W&B's CSV", rows(), notes, runs


# Text


_PAIR = re.compile(r"([A-Za-z][\w /]*?)\s*[:=]\s*\[?\s*([-+]?(?:\d[\d.]*(?:[eE][-+]?\d+)?|nan|NaN|inf|Infinity))\b")
_DICT = re.compile(r"\{\s*'[^{}]*\}")
_BARE = re.compile(r"(?<=[\s:])(-?(?:nan|inf))(?=\s*[,}])")
_N = r"([-+]?[\d.]+(?:[eE][-+]?\d+)?|nan|inf)"
_CONSOLES = (  # (name, what a line looks like, the names of its groups, whether other `name: value` pairs are read too)
    (
        "litgpt's console",
        re.compile(rf"iter (\d+) step (\d+) \| loss train: {_N}(?:, val: {_N})?"),
        ("micro_step", "step", "loss", "validation_loss"),
        False,
    ),
    ("litgpt's console", re.compile(rf"iter (\d+): val loss {_N}"), ("", "validation_loss"), False),
    ("nanoGPT's console", re.compile(rf"iter (\d+): loss {_N}, time"), ("step", "loss"), False),
    (
        "nanoGPT's console",
        re.compile(rf"step (\d+): train loss {_N}, val loss {_N}"),
        ("step", "", "validation_loss"),
        False,
    ),
    ("torchtune's log", re.compile(r"Step (\d+) \| (?=\S+:)"), ("step",), True),
    ("Megatron's or gpt-neox's console", re.compile(r"iteration\s+(\d+)\s*/\s*\d+ \|"), ("step",), True),
    ("Megatron's or gpt-neox's console", re.compile(r"\bsteps?: (\d+) (?=loss: )"), ("step",), True),
    (
        "mmengine's console",
        re.compile(r"(?:Iter|Epoch)\(train\)\s*(?:\[\d+\])?\s*\[\s*(\d+)/\s*\d+\]"),
        ("step",),
        True,
    ),
    (
        "mmengine's console",
        re.compile(r"(?:Iter|Epoch)\(val\)\s*(?:\[\d+\])?\s*\[\s*\d+/\s*\d+\].*?loss: " + _N),
        ("validation_loss",),
        False,
    ),
)


def _console(path: Path, encoding: str, text: str) -> Found:
    for name, pattern, _, _ in _CONSOLES:
        if pattern.search(text):
            return name, _console_rows(path, encoding, name), [], []
    if not _DICT.search(text):  # it may come late, after a long preamble
        for line in _lines(path, encoding):
            found = next((name for name, pattern, _, _ in _CONSOLES if pattern.search(line)), None)
            if found:
                return found, _console_rows(path, encoding, found), [], []
            if _DICT.search(line):
                break
        else:
            raise InputError(f"{path}: no losses in a known form; known formats are {FORMATS}")
    quoted = re.search(r"'loss': '", text)
    name = f"console text of transformers {'5' if quoted else '4'}"
    return name, _dict_rows(path, encoding), [], []


def _console_rows(path: Path, encoding: str, name: str) -> Iterator[dict]:
    kinds = [kind[1:] for kind in _CONSOLES if kind[0] == name]
    epoch, per_epoch = 0, 0
    for line in _lines(path, encoding):
        for pattern, names, pairs in kinds:
            found = pattern.search(line)
            if not found:
                continue
            row = dict(_PAIR.findall(line[found.end() :])) if pairs else {}
            row |= {ours: value for ours, value in zip(names, found.groups()) if ours and value is not None}
            if "epoch" in line[: found.end()].lower() and (
                place := re.search(r"\[(\d+)\]\s*\[\s*\d+/\s*(\d+)\]", line)
            ):
                epoch, per_epoch = int(place[1]) - 1, int(place[2])  # mmengine starts counting again in each epoch
                row["step"] = str(epoch * per_epoch + int(row["step"])) if "step" in row else None
            yield row
            break


def _dict_rows(path: Path, encoding: str) -> Iterator[dict]:
    for line in _lines(path, encoding):
        for found in _DICT.findall(line):
            row = _json_object(found.replace("'", '"'))  # nearly always, and ten times as fast as the next step
            if row is None:
                try:
                    row = ast.literal_eval(_BARE.sub(r"'\1'", found))
                except (ValueError, SyntaxError, RecursionError, MemoryError):
                    continue
            if isinstance(row, dict):
                yield row


# What all have in common


@lru_cache(maxsize=10_000)
def _our_name(name: str) -> str | None:
    text = name.strip().lower()
    for prefix in ("train/", "train_metrics/", "training/"):
        text = text.removeprefix(prefix)
    for prefix in ("eval/", "val/", "valid/", "validation/"):
        if text.startswith(prefix):
            text = f"eval_{text.removeprefix(prefix)}"
    return OURS.get(text) or (text if text in ONCE else None)


def _number(value: Any, whole: bool = False) -> float | None:
    """The number in a cell, or None if there is none; a comma is the decimal point, or groups digits in integers."""
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, (int, float)):
        try:
            return float(value)
        except OverflowError:
            return math.inf
    text = str(value).strip().replace("\u2212", "-")
    if "," in text:
        text = text.replace(",", "") if whole or text.count(",") > 1 or "." in text else text.replace(",", ".")
    try:
        return float(text) if "_" not in text else None
    except ValueError:
        return None


class _Collector:
    """Rows as they come, under our names: training and validation apart, in bounded memory."""

    def __init__(self, counts_rows: bool) -> None:
        self.training: list[dict] = []
        self.validation: list[dict] = []
        self.once: dict[str, float] = {}
        self.notes: list[str] = []
        self.resumed: list[int] = []
        self.counted = 0  # rows without a step, whose number became the step
        self.stride, self.read, self.micro = 1, 0, 0
        self.waiting: list[dict] = []  # rows that make one point
        self.doubled = False

    def add(self, raw: Mapping) -> None:
        row: dict[str, float] = {}
        for name, value in raw.items():
            ours = _our_name(str(name))
            if ours is None or ("train_runtime" in raw and ours == "loss"):
                continue  # the last row of transformers is a mean over the run, not a point of it
            number = _number(value, whole=ours in ("step", "micro_step"))
            if number is not None:
                row[ours] = number
        self.once |= {name: row.pop(name) for name in ONCE if name in row}
        if "step" in row and not math.isfinite(row["step"]):
            del row["step"]
        if "loss" in row or (row.keys() & {"lr", "grad_norm"} and not row.keys() & set(VALIDATION) and "step" in row):
            self._train({name: value for name, value in row.items() if name in (*TRAINING, "micro_step")})
        found = {name: value for name, value in row.items() if name in VALIDATION}
        if found:
            found["step"] = row.get("step", self._last("step", 0.0))
            if len(self.validation) < MAX_POINTS:
                self.validation.append(found)

    def _last(self, name: str, otherwise: float | None) -> Any:
        rows = self.waiting or self.training
        return rows[-1].get(name, otherwise) if rows else otherwise

    def _train(self, row: dict) -> None:
        last = self._last("step", None)
        if "step" not in row:
            self.counted += 1
            row["step"] = (last or 0.0) + 1
        elif last is not None and row["step"] <= last:
            if "micro_step" in row and row["step"] == last:
                self._merge(row)  # another micro-batch of the same update
                return
            previous = (self.waiting or self.training)[-1]
            same = row["step"] == last
            if same and not (row.keys() & previous.keys() - {"step"}):
                previous |= row  # a metric of the same step, in a line of its own
                return
            if same and all(_equal(previous.get(name), value) for name, value in row.items()):
                self.doubled = True  # each process has printed it
                return
            self._flush()
            kept = [each for each in self.training if each["step"] < row["step"]]
            lost = len(self.training) - len(kept)
            if not same:
                self.resumed = [place for place in self.resumed if place < len(kept)] + [len(kept)]
                self.notes.append(f"steps go back from {last:.0f} to {row['step']:.0f}: resumed, {lost} rows replaced")
            self.training = kept
        row.setdefault("loss", None)
        row["count"] = 1
        self.waiting.append(row)
        self.read += 1
        if len(self.waiting) >= self.stride:
            self._flush()
            if len(self.training) >= 2 * MAX_POINTS:
                self.training = [_mean(self.training[at : at + 2]) for at in range(0, len(self.training), 2)]
                self.resumed = [place // 2 for place in self.resumed]
                self.stride *= 2

    def _merge(self, row: dict) -> None:
        last = (self.waiting or self.training)[-1]
        count = last["count"]
        if row.get("loss") is not None and last["loss"] is not None:
            last["loss"] = (last["loss"] * count + row["loss"]) / (count + 1)
        last["count"] = count + 1
        self.micro += 1

    def _flush(self) -> None:
        if self.waiting:
            self.training.append(_mean(self.waiting) if len(self.waiting) > 1 else self.waiting[0])
            self.waiting = []

    def history(self) -> dict[str, list]:
        self._flush()
        if self.counted:
            self.notes.append("no step in the lines: a step is a line of the log")
        if self.micro:
            self.notes.append("micro-batches are logged one by one: a point is the mean of an update's")
        if self.doubled:
            self.notes.append("lines occur more than once, as if each process had printed them: used once")
        if self.stride > 1:
            self.notes.append(f"{self.read:,} rows: a point is the mean of {self.stride}")
        steps = [row["step"] for row in self.training if row["loss"] is not None]
        gaps = [later - earlier for earlier, later in itertools.pairwise(steps)]
        if gaps and max(gaps) > 1.5 * min(gaps) and not self.resumed and min(gaps) > 0:
            self.notes.append(f"the logging interval changes, between {min(gaps):g} and {max(gaps):g} steps")
        found: dict[str, list] = {}
        rows = [row for row in self.training if row["loss"] is not None] or self.training
        for name in TRAINING:
            if any(row.get(name) is not None for row in rows):
                found[name] = [row.get(name) for row in rows]
        if self.validation:
            found["validation_step"] = [row["step"] for row in self.validation]
            for name in VALIDATION:
                if any(name in row for row in self.validation):
                    found[name] = [row.get(name) for row in self.validation]
        for name in ("step", "validation_step"):
            if name in found:
                found[name] = [int(value) for value in found[name]]
        return found | {name: [value] for name, value in self.once.items()}


def _equal(a: float | None, b: float | None) -> bool:
    return a == b or (isinstance(a, float) and isinstance(b, float) and math.isnan(a) and math.isnan(b))


def _mean(rows: list[dict]) -> dict:
    """One row for several: the mean loss, and the rest from the last row."""
    losses = [row["loss"] for row in rows if row["loss"] is not None]
    return rows[-1] | {"loss": sum(losses) / len(losses) if losses else None}
