"""The ledger: what the chapter claims, the verdict on each claim, and what this kit measured.

`measured` prints a verdict that is the same on every machine as long as the value lies in its interval. `claim` looks a
claim up by id. Recorded values are in records/claims.json with the machine and the date; the table in docs/ledger.md is
made from both. The claims themselves are in claims.yaml, in our own words.
"""

from __future__ import annotations

import argparse
import json
import math
import textwrap
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from labkit.common import InputError, write_atomically, write_between
from labkit.live import Line

LEDGER = Path(__file__).parent / "claims.yaml"
RECORDED = Path(__file__).parent / "records" / "claims.json"
BEGIN, END = "<!-- ledger:begin -->", "<!-- ledger:end -->"
WIDTH = 72  # columns: what a page of 820 pixels shows
VERDICTS = (HOLDS, HOLDS_IF, CORRECTED) = ("holds", "holds if", "corrected")


@dataclass(frozen=True)
class Claim:
    """One claim. `rest` completes the verdict: the condition, or what is right instead; empty where the claim holds.
    `control` is what was recorded beside the effect and could have refuted it.
    """

    id: str
    lab: str
    statement: str
    verdict: str
    rest: str = ""
    control: str = ""


@dataclass(frozen=True)
class Measurement:
    """What was recorded for a claim: a value, the interval it may lie in, and where and when it was measured."""

    name: str
    value: float
    low: float
    high: float
    machine: str
    date: str
    source: str  # the run or cell it comes from


@cache
def ledger() -> dict[str, Claim]:
    """All claims, by id."""
    import yaml

    rows = yaml.safe_load(LEDGER.read_text(encoding="utf-8"))
    return {
        id: Claim(id, row["lab"], row["claim"], row["verdict"], row.get("rest", ""), row.get("control", ""))
        for id, row in rows.items()
    }


def measured(name: str, value: float, low: float, high: float) -> None:
    """Print whether a measured value lies in its interval, ends included.

    Within, the line names the interval and not the value, so it is the same on every machine; the value itself is
    shown in the live page only. Outside, the line says by how much.
    """
    if not low <= high:
        raise InputError(f"{name}: the interval goes from {low} to {high}; give the lower end first")
    value = float(value)
    span = _span(low, high)
    if low <= value <= high:
        _print(f"{name}: within {span}, as recorded")
        Line().show(f"{name}: {value:.4g} here")
    elif math.isnan(value):
        _print(f"{name}: NaN is not a number, so it is outside {span}")
    else:
        beyond, side = (low - value, "below") if value < low else (value - high, "above")
        _print(f"{name}: {value:.6g}, outside {span}: {beyond:.2g} {side} it")


def claim(id: str, measured: float | None = None) -> None:
    """Print a claim with its verdict, and what was recorded for it or, if given, what was `measured` here."""
    if id not in ledger():
        raise InputError(f"there is no claim {id!r}; they go from {min(ledger())} to {max(ledger())}")
    looked_up = ledger()[id]
    _print(f"{id}: {looked_up.statement}. {_verdict(looked_up)}.")
    record = recorded().get(id)
    if measured is None:
        _print(f"  {_where(looked_up, record)}")
    elif record is None:
        print("  measured here; nothing is recorded yet to compare it with")
        Line().show(f"{id}: {float(measured):.4g} here")
    else:
        globals()["measured"](f"  {record.name}", measured, record.low, record.high)


def recorded(path: Path | None = None) -> dict[str, Measurement]:
    """What is recorded, by claim."""
    path = path or RECORDED
    if not path.is_file():
        return {}
    return {id: Measurement(**values) for id, values in json.loads(path.read_text(encoding="utf-8")).items()}


def record(id: str, name: str, value: float, low: float, high: float, source: str, path: Path | None = None) -> None:
    """Record what was measured for a claim, with this machine and today's date. The value must lie in its interval."""
    from labkit.runs import machine

    if id not in ledger():
        raise InputError(f"there is no claim {id!r}; they go from {min(ledger())} to {max(ledger())}")
    if not (low <= value <= high and math.isfinite(low) and math.isfinite(high)):
        raise InputError(
            f"{id}: {value} does not lie between {low} and {high}; the interval must come from the recorded seeds"
        )
    values = recorded(path)
    values[id] = Measurement(name, value, low, high, machine(), datetime.now(UTC).date().isoformat(), source)
    with write_atomically(path or RECORDED) as file:
        json.dump({key: asdict(values[key]) for key in sorted(values)}, file, ensure_ascii=False, indent=1)
        file.write("\n")


def table(path: Path | None = None) -> str:
    """The ledger as a Markdown table. Where a value is recorded the table shows it; otherwise it names the lab that
    will measure it.
    """
    values = recorded(path)
    lines = ["| id | claim | verdict | lab | measured here | what could have refuted it |", "|---|---|---|---|---|---|"]
    for id, each in ledger().items():
        cells = (id, each.statement, _verdict(each), each.lab, _where(each, values.get(id)), each.control)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines)


def write_table(target: Path, path: Path | None = None) -> bool:
    """Put the table between the ledger's marks in a file; returns whether that changed it."""
    return write_between(target, BEGIN, END, table(path))


def _verdict(looked_up: Claim) -> str:
    if looked_up.verdict == HOLDS:
        return "Holds"
    return f"Holds if {looked_up.rest}" if looked_up.verdict == HOLDS_IF else f"Corrected: {looked_up.rest}"


def _where(looked_up: Claim, record: Measurement | None) -> str:
    if record is None:
        return f"not yet; in lab {looked_up.lab}"
    return (
        f"{record.name}: {record.value:.4g} (within {_span(record.low, record.high)}), {record.date}, {record.machine}"
    )


def _span(low: float, high: float) -> str:
    """An interval with as many decimals as its ends need, at most four: 0.93–1.00, or -0.1 to 0.2."""
    decimals = max(len(f"{end:.4f}".rstrip("0").partition(".")[2]) for end in (low, high))
    return f"{low:.{decimals}f}{' to ' if low < 0 else '–'}{high:.{decimals}f}"


def _print(text: str) -> None:
    """Print in lines that a narrow page shows whole, because it breaks longer ones within words."""
    indent = " " * (len(text) - len(text.lstrip()) + 2)
    print(textwrap.fill(text, WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "examples:\n  labkit claims table --write docs/ledger.md\n  labkit claims show C45"
    actions = parser.add_subparsers(dest="action", required=True, metavar="table | show ID")
    whole = actions.add_parser("table", help="the whole ledger as a Markdown table")
    whole.add_argument("--write", metavar="FILE.md", type=Path, help=f"put it between {BEGIN} and {END} in this file")
    one = actions.add_parser("show", help="one claim, its verdict, and what was recorded")
    one.add_argument("id", metavar="ID")
    for action in (whole, one):
        action.add_argument("--json", action="store_true", help="print one JSON object as the last line")


def main(args: argparse.Namespace) -> int:
    values = recorded()
    if args.action == "show":
        chosen = [args.id.upper()]
        claim(chosen[0])
    else:
        chosen = list(ledger())
        if args.write is None:
            print(table())
        else:
            print(f"{args.write}: {'the ledger is written' if write_table(args.write) else 'the ledger is up to date'}")
    if args.json:
        rows = {id: asdict(ledger()[id]) | {"measured": asdict(values[id]) if id in values else None} for id in chosen}
        print(json.dumps(rows, ensure_ascii=False))
    return 0
