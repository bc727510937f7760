"""How likely each cause is, by random forests over the signs (Breiman 2001), grown on the recorded runs.

There are four, each for logs with fewer columns, so that a log is judged by what it has. `python -m
labkit.diagnosis.forest` grows them with scikit-learn and writes `labkit/records/diagnosis/forests.npz`; to use them
needs numpy alone. `labkit bench diagnosis` measures them on set-ups that they have not seen.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from labkit.common import InputError
from labkit.diagnosis import record
from labkit.diagnosis.signs import Signs, see

FILE = record.FOLDER / "forests.npz"
TREES, LEAF = 60, 2  # and the fewest runs in a leaf
NAMES = [field.name for field in fields(Signs)]
MISSING, LARGEST = -9.0, 1e6
USUAL = ("step", "loss", "lr", "grad_norm", "epoch", "validation_step", "validation_loss")  # transformers, evaluating
COLUMNS: tuple[tuple[str, ...] | None, ...] = (None, USUAL, USUAL[:5], USUAL[:2])  # of each forest; None: all
TABLES = ("roots", "feature", "threshold", "left", "right", "shares")


def seen_in(run: dict, columns: Sequence[str] | None = None) -> Signs:
    """The signs of a recorded run, or of these columns of its log."""
    history = record.history(run)
    return see(history if columns is None else {name: history[name] for name in columns})


def features(signs: Signs) -> np.ndarray:
    """The signs as a row of numbers; one that is not known is `MISSING`."""
    values = [getattr(signs, name) for name in NAMES]
    row = np.array([MISSING if value is None else float(value) for value in values])
    return np.clip(np.where(np.isnan(row), MISSING, row), -LARGEST, LARGEST).astype(
        np.float32
    )  # as scikit-learn takes it


@dataclass(frozen=True)
class Forest:
    """Trees in one table: node `n` sends a row with `row[feature[n]] <= threshold[n]` to `left[n]`, others to
    `right[n]`; a leaf has feature −1, and in `shares[left[n]]` what it says about each cause. `roots` are the trees'.
    """

    causes: tuple[str, ...]
    roots: np.ndarray
    feature: np.ndarray
    threshold: np.ndarray
    left: np.ndarray
    right: np.ndarray
    shares: np.ndarray

    def likely(self, signs: Signs) -> dict[str, float]:
        """The share that each cause has, on the mean over the trees; the likeliest first."""
        row, total = features(signs), np.zeros(len(self.causes))
        for node in self.roots.tolist():
            while self.feature[node] >= 0:
                goes_left = row[self.feature[node]] <= self.threshold[node]
                node = int(self.left[node] if goes_left else self.right[node])
            total += self.shares[self.left[node]]
        total /= len(self.roots)
        return {self.causes[place]: float(total[place]) for place in np.argsort(-total, kind="stable")}


def place(signs: Signs) -> int:
    """Which of `COLUMNS` the log has."""
    if signs.share_changed is not None or signs.walk is not None:
        return 0
    if signs.validation_gain is not None or signs.gap is not None:
        return 1
    return 2 if signs.grad_spread is not None or signs.grad_peak is not None else 3


@cache
def load(path: Path = FILE) -> tuple[Forest, ...]:
    """The forests that ship with the kit, in the order of `COLUMNS`."""
    try:
        with np.load(path, allow_pickle=False) as held:
            causes = tuple(map(str, held["causes"]))
            return tuple(Forest(causes, *(held[f"{name}{n}"] for name in TABLES)) for n in range(len(COLUMNS)))
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error}); make it with `python -m labkit.diagnosis.forest`"
        ) from None


def save(forests: Sequence[Forest], path: Path) -> None:
    tables = {f"{name}{n}": getattr(forest, name) for n, forest in enumerate(forests) for name in TABLES}
    np.savez_compressed(path, causes=np.array(forests[0].causes), **tables)


def grow(runs: Iterable[dict]) -> tuple[Forest, ...]:
    """A forest for each of `COLUMNS`, grown on recorded runs; needs scikit-learn. Same runs, same forests."""
    from sklearn.ensemble import RandomForestClassifier

    runs, grown = [*runs], []
    for columns in COLUMNS:
        rows = np.array([features(seen_in(run, columns)) for run in runs])
        trees = RandomForestClassifier(TREES, min_samples_leaf=LEAF, class_weight="balanced", random_state=0)
        grown.append(_packed(trees.fit(rows, [run["cause"] for run in runs])))
    return tuple(grown)


def _packed(grown: Any) -> Forest:
    """scikit-learn's trees in one table."""
    parts: dict[str, list] = {name: [] for name in ("feature", "threshold", "left", "right", "shares")}
    roots, nodes, leaves = [], 0, 0
    for tree in (each.tree_ for each in grown.estimators_):
        roots.append(nodes)
        inner = tree.feature >= 0
        value = tree.value[:, 0, :]
        parts["feature"].append(np.where(inner, tree.feature, -1))
        parts["threshold"].append(np.where(inner, tree.threshold, 0))
        leaf = leaves + np.cumsum(~inner) - 1
        parts["left"].append(np.where(inner, tree.children_left + nodes, leaf))
        parts["right"].append(np.where(inner, tree.children_right + nodes, 0))
        parts["shares"].append((value / value.sum(1, keepdims=True))[~inner])
        nodes, leaves = nodes + tree.node_count, leaves + int((~inner).sum())
    kinds = {"feature": np.int16, "threshold": np.float64, "left": np.int32, "right": np.int32, "shares": np.float16}
    tables = {name: np.concatenate(part).astype(kinds[name]) for name, part in parts.items()}
    return Forest(tuple(map(str, grown.classes_)), np.array(roots, np.int32), **tables)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m labkit.diagnosis.forest", description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=FILE, metavar="FILE.npz")
    args = parser.parse_args(arguments)
    runs = [run for setup in record.SETUPS for run in record.recorded(setup)]
    save(grow(runs), args.out)
    print(
        f"{args.out}: {len(COLUMNS)} forests of {TREES} trees, grown on {len(runs)} runs, {args.out.stat().st_size:,} bytes"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
