"""How often the rules name the planted fault, on recorded runs of set-ups that they were not written on.

The runs are those of `labkit.diagnosis.record`, nothing is trained here. Balanced accuracy is the mean over causes of
the share that is named correctly among the runs that get an answer. The same is printed for logs that hold only what
transformers writes, and, to see what holding out costs, for the runs that the rules were written on.
"""

from __future__ import annotations

from collections import Counter, defaultdict

from labkit.common import InputError
from labkit.diagnosis import record
from labkit.diagnosis.causes import CANNOT_TELL, CAUSES, judge
from labkit.diagnosis.signs import see

USUAL = ("step", "loss", "lr", "grad_norm", "epoch", "validation_step", "validation_loss")  # transformers, evaluating
GOALS = {"runs": 160, "balanced_accuracy": 0.90, "unanswered": 0.20, "lowest": 0.75}


def main(args) -> dict:
    held_out = [run for name in record.HELD_OUT for run in record.recorded(name)]
    development = [run for name in record.DEVELOPMENT for run in record.recorded(name)]
    if not held_out:
        raise InputError("no recorded runs; make them with `python -m labkit.diagnosis.record`")
    figures = {
        "held_out": measured(held_out),
        "held_out_usual_columns": measured(held_out, USUAL),
        "development": measured(development),
    }
    print(f"{'':<28}{'runs':>6}{'balanced accuracy':>20}{'unanswered':>12}{'lowest cause':>14}")
    for name, row in figures.items():
        print(
            f"{name.replace('_', ' '):<28}{row['runs']:>6}{row['balanced_accuracy']:>20.1%}{row['unanswered']:>12.1%}"
            f"{row['lowest']:>14.2f}"
        )
    for name in record.HELD_OUT:
        row = measured(record.recorded(name))
        print(f"  {name:<26}{row['runs']:>6}{row['balanced_accuracy']:>20.1%}{row['unanswered']:>12.1%}")
    print("\nHeld out, planted → named:")
    for cause, named in confusion(held_out).items():
        print(f"  {cause:<30}{', '.join(f'{name} {count}' for name, count in named.most_common())}")
    row = figures["held_out"]
    row["ok"] = (
        row["runs"] >= GOALS["runs"]
        and row["balanced_accuracy"] >= GOALS["balanced_accuracy"]
        and row["unanswered"] <= GOALS["unanswered"]
        and row["lowest"] >= GOALS["lowest"]
    )
    return figures


def confusion(runs: list[dict], columns: tuple[str, ...] | None = None) -> dict[str, Counter]:
    """For each planted cause, how often each name was given."""
    found: dict[str, Counter] = defaultdict(Counter)
    for run in runs:
        history = record.history(run)
        kept = history if columns is None else {name: history[name] for name in columns}
        found[run["cause"]][judge(see(kept)).name] += 1
    return {cause: found[cause] for cause in CAUSES if cause in found}


def measured(runs: list[dict], columns: tuple[str, ...] | None = None) -> dict:
    """`runs`, `balanced_accuracy` on those answered, `unanswered`, `lowest` of the causes' shares, `by_cause`."""
    table = confusion(runs, columns)
    by_cause = {}
    for cause, named in table.items():
        answered = named.total() - named[CANNOT_TELL]
        by_cause[cause] = named[cause] / answered if answered else None  # never answered: neither right nor wrong
    shares = [share for share in by_cause.values() if share is not None]
    return {
        "runs": len(runs),
        "balanced_accuracy": sum(shares) / len(shares) if shares else 0.0,
        "unanswered": sum(named[CANNOT_TELL] for named in table.values()) / max(1, len(runs)),
        "lowest": min(shares, default=0.0),
        "by_cause": by_cause,
    }
