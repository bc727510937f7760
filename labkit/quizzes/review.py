"""A review session: the questions due today in all labs; then what is coming, and how much is still known.

`lk.review()` in a notebook, `labkit review` in a terminal. When a question is due is decided in `schedule`.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from datetime import timedelta

from labkit.common import InputError
from labkit.live import in_notebook, show_widget
from labkit.progress import store
from labkit.quizzes import banks, learner, schedule
from labkit.quizzes.answers import Put, put
from labkit.quizzes.printed import as_html, as_text

TITLE = "What is due today"


def review(limit: int = schedule.SITTING) -> None:
    """Ask what is due today, over all labs, at most `limit` questions; with new numbers each time."""
    puts = due(limit)
    if not in_notebook():
        from labkit.quizzes import terminal

        terminal.sit(puts, "review")
        print("\n".join(outlook()))
        return
    if puts:
        from labkit.quizzes.widget import Quiz

        show_widget(
            Quiz(puts, TITLE, "review").box, {"text/html": as_html(puts, TITLE), "text/plain": as_text(puts, TITLE)}
        )
    draw()


def due(limit: int) -> list[Put]:
    """The questions that are due now, each with new numbers and in a new order. Raises `InputError` for none."""
    if limit < 1:
        raise InputError(f"the limit is {limit}; ask for one question or more")
    at, answers = schedule.now(), store().answers()
    found = schedule.due(schedule.cards(answers, at), banks.everything(), at, limit)
    return [put(question, f"{learner()} {time.time_ns()}") for question in found]


def outlook() -> list[str]:
    """What is due in the next days, and how much was recalled, as lines of text."""
    at, answers = schedule.now(), store().answers()
    cards, known = schedule.cards(answers, at), banks.everything()
    counts = schedule.forecast([card for id, card in cards.items() if id in known], at)
    lines = []
    if wrong := schedule.misdated(answers, at):
        lines.append(f"{wrong} answers are dated in the future and left out. Is this machine's clock right?")
    if not cards:
        return [*lines, "No question has been answered yet; begin with the quizzes in the labs."]
    if not any(counts):
        return [*lines, f"Nothing is due in the next {len(counts)} days."]
    lines.append("Falls due:")
    for days, count in enumerate(counts):
        if count:
            day = "today" if days == 0 else f"{(at + timedelta(days=days)).date():%d %b}"
            lines.append(f"  {day:<7}{count:>4}  {'▪' * min(count, 60)}")
    for week, recalled, asked in schedule.retention(answers, at)[-4:]:
        lines.append(f"  recalled in {week}: {recalled} of {asked}")
    return lines


def draw() -> None:
    """Two figures: what is due in the next days, and the share that was recalled in each week."""
    from labkit import plots

    at, answers = schedule.now(), store().answers()
    lines = outlook()
    cards = schedule.cards(answers, at)
    counts = schedule.forecast(cards.values(), at)
    if not any(counts):
        print("\n".join(lines))
        return
    days = [f"{(at + timedelta(days=days)).date():%d %b}" for days in range(len(counts))]
    title = f"{_are_due(counts[0])} today, {sum(counts[1:])} in the {len(counts) - 1} days after"
    figure, axes = plots.figure(title, "day", "questions")
    axes.bar(days, counts, color=plots.COLOURS[0])
    axes.tick_params(axis="x", rotation=60)
    axes.yaxis.get_major_locator().set_params(integer=True)
    plots.show(figure, f"{title}. " + ", ".join(f"{day}: {count}" for day, count in zip(days, counts) if count))
    if weeks := schedule.retention(answers, at):
        asked = sum(total for _, _, total in weeks)
        title = f"{sum(known for _, known, _ in weeks)} of {asked} answers were recalled on a later day"
        figure, axes = plots.figure(title, "week", "share known")
        axes.plot([week for week, _, _ in weeks], [known / total for _, known, total in weeks], marker="o")
        axes.axhline(schedule.RETENTION, linestyle="--", color=plots.COLOURS[2])
        axes.set_ylim(0, 1.05)
        shares = ", ".join(f"{week}: {known} of {total}" for week, known, total in weeks)
        plots.show(figure, f"{title}; the schedule aims at {schedule.RETENTION:.0%}. {shares}")


def _are_due(count: int) -> str:
    return "1 question is due" if count == 1 else f"{count} questions are due"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "examples:\n  labkit review\n  labkit review --limit 5\n  labkit review --forecast --json"
    parser.add_argument("--limit", type=int, default=schedule.SITTING, help="questions at most (default: %(default)s)")
    parser.add_argument("--forecast", action="store_true", help="ask nothing; say what is due in the next days")
    parser.add_argument("--json", action="store_true", help="end with one JSON object")


def main(args: argparse.Namespace) -> int:
    from labkit.quizzes import terminal

    results: Sequence[bool] = []
    if not args.forecast:
        puts = due(args.limit)
        if puts:
            print(
                f"{_are_due(len(puts))}. An empty line shows the answer; a ? after yours says that you guessed; Ctrl-D ends."
            )
            results = terminal.sit(puts, "review")
            print(f"\n{sum(results)} of {len(results)} right.")
        else:
            print("Nothing is due now.")
    print("\n".join(outlook()))
    if args.json:
        at, answers = schedule.now(), store().answers()
        counts = schedule.forecast(schedule.cards(answers, at).values(), at)
        retention = schedule.retention(answers, at)
        weeks = [{"week": week, "known": known, "asked": asked} for week, known, asked in retention]
        print(json.dumps({"asked": len(results), "right": sum(results), "due": counts, "retention": weeks}))
    return 0
