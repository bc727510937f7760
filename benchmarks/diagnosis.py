"""How often `labkit diagnose` names the planted fault, on recorded runs of set-ups that it has not seen.

The runs are those of `labkit.diagnosis.record`; nothing is trained here but forests. All set-ups of one mix and base
are held out at a time, and a forest is grown on the others (scikit-learn). Balanced accuracy is the mean over causes
of the share that is named correctly among the runs that get an answer. Beside it: the rules alone, which were written
by looking at all set-ups but those of `UNSEEN`; and logs that hold only what transformers writes.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from functools import partial

from labkit.common import InputError
from labkit.diagnosis import forest, record
from labkit.diagnosis.causes import CANNOT_TELL, CAUSES, judge, read

GOALS = {"runs": 160, "balanced_accuracy": 0.90, "unanswered": 0.20, "lowest": 0.75}
UNSEEN = ("letters-lora", "letters-all", "small-dates", "small-sums")


def main(args) -> dict:
    runs = {name: record.recorded(name) for name in record.SETUPS}
    if not any(runs.values()):
        raise InputError("no recorded runs; make them with `python -m labkit.diagnosis.record`")
    answers: dict[str, list[tuple[str, str]]] = {"held_out": [], "held_out_usual_columns": []}  # (planted, named)
    by_setup = {}
    for group in record.groups():
        grown = forest.grow(run for name in runs if name not in group for run in runs[name])
        for name in group:
            found = _named(runs[name], partial(judge, forests=grown))
            by_setup[name] = found
            answers["held_out"] += found
            answers["held_out_usual_columns"] += _named(runs[name], partial(judge, forests=grown), forest.USUAL)
    answers["unseen_by_the_rules"] = [each for name in UNSEEN for each in by_setup[name]]
    answers["rules_alone_on_these"] = [each for name in UNSEEN for each in _named(runs[name], read)]
    figures = {name: measured(found) for name, found in answers.items()}
    print(f"{'':<30}{'runs':>6}{'balanced accuracy':>20}{'unanswered':>12}{'lowest cause':>14}")
    for name, row in {**figures, **{f"  {name}": measured(found) for name, found in by_setup.items()}}.items():
        print(
            f"{name.replace('_', ' '):<30}{row['runs']:>6}{row['balanced_accuracy']:>20.1%}{row['unanswered']:>12.1%}"
            f"{row['lowest']:>14.2f}"
        )
    print("\nHeld out, planted → named:")
    for cause, named in confusion(answers["held_out"]).items():
        print(f"  {cause:<30}{', '.join(f'{name} {count}' for name, count in named.most_common())}")
    row = figures["held_out"]
    row["ok"] = (
        row["runs"] >= GOALS["runs"]
        and row["balanced_accuracy"] >= GOALS["balanced_accuracy"]
        and row["unanswered"] <= GOALS["unanswered"]
        and row["lowest"] >= GOALS["lowest"]
    )
    return figures


def _named(runs: list[dict], judged: Callable, columns=None) -> list[tuple[str, str]]:
    return [(run["cause"], judged(forest.seen_in(run, columns)).name) for run in runs]


def confusion(answers: list[tuple[str, str]]) -> dict[str, Counter]:
    """For each planted cause, how often each name was given."""
    found: dict[str, Counter] = defaultdict(Counter)
    for planted, named in answers:
        found[planted][named] += 1
    return {cause: found[cause] for cause in CAUSES if cause in found}


def measured(answers: list[tuple[str, str]]) -> dict:
    """`runs`, `balanced_accuracy` on those answered, `unanswered`, `lowest` of the causes' shares, `by_cause`."""
    table = confusion(answers)
    by_cause = {}
    for cause, named in table.items():
        answered = named.total() - named[CANNOT_TELL]
        by_cause[cause] = named[cause] / answered if answered else None  # never answered: neither right nor wrong
    shares = [share for share in by_cause.values() if share is not None]
    return {
        "runs": len(answers),
        "balanced_accuracy": sum(shares) / len(shares) if shares else 0.0,
        "unanswered": sum(named[CANNOT_TELL] for named in table.values()) / max(1, len(answers)),
        "lowest": min(shares, default=0.0),
        "by_cause": by_cause,
    }
