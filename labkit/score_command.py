"""`labkit score`: rate an adapter, or a class's adapters, on questions that are drawn when they are asked.

The adapter is answered for by a child process, in the sandbox of `labkit grade` where there is one; the right answers
stay here. A folder of many becomes a board, a CSV file whose rows are kept: the same command again rates what is new.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import dataclasses
import hashlib
import html
import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

from labkit import adapters, run_card, scoring
from labkit.almanac.capstone import questions
from labkit.common import InputError, html_table, printable, text_table, write_atomically
from labkit.grading.book import safe
from labkit.live import Line
from labkit.scoring import Rating, Written

SECONDS = 120  # for writing
START = 180  # to start a process, load torch and the base, and measure forgetting, on a busy machine
MAX_SAID = 20_000_000  # bytes that the child may say
BOARD = tuple(
    "place,name,score,low,high,seen,later,out of distribution,forgetting,predicted,predicted low,predicted high,holds,off,"
    "card,remarks,files,seed".split(",")
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("adapter", nargs="?", type=Path, metavar="ADAPTER", help="its folder; or a folder of many")
    parser.add_argument("--card", type=Path, metavar="CARD", help=f"the run card (default: {run_card.NAME} beside it)")
    parser.add_argument("--out", type=Path, metavar="DIR", help="write score.json and report.html there")
    parser.add_argument(
        "--leaderboard", type=Path, metavar="FILE.csv", help="rate each folder in ADAPTER into this file"
    )
    parser.add_argument("--seed", type=int, help="of the questions (default: drawn now)")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="for writing answers (default %(default)s)")
    parser.add_argument("--card-template", action="store_true", help="print a run card to fill in")
    parser.add_argument("--json", action="store_true", help="end with one JSON object")
    parser.epilog = (
        "Exit status 1 if not all answers were written in time, or an adapter of a class could not be rated.\n\n"
        "examples:\n  labkit score --card-template > my-adapter/card.yaml\n"
        "  labkit score my-adapter --out rating\n  labkit score class/ --leaderboard class.csv"
    )


def main(args: argparse.Namespace) -> int:
    if args.card_template:
        print(run_card.TEMPLATE.read_text(encoding="utf-8"), end="")
        return 0
    if args.adapter is None:
        raise InputError("name the adapter's folder, or ask for --card-template")
    if not args.seconds > 0:
        raise InputError(f"--seconds is {args.seconds:g}: it must be more than 0")
    if reason := no_sandbox():
        print(f"labkit: no sandbox here ({reason}); an adapter is data, and a plain process reads it", file=sys.stderr)
    if args.leaderboard is not None:
        if args.card is not None or args.out is not None:
            raise InputError(f"--card and --out go with one adapter; a class's cards are each {run_card.NAME}")
        return _board(args)
    seed = secrets.randbelow(10**9) if args.seed is None else args.seed
    files = adapters.read_files(args.adapter)
    card = _card(args.adapter, args.card)
    if args.out is not None:
        _folder(args.out.expanduser())
    found = rated(files, card, seed, args.seconds)
    report = _report(found, card, seed, files)
    _print(found, card, seed)
    if args.out is not None:
        _write(args.out.expanduser(), found, card, report)
    if args.json:
        print(json.dumps(report))
    return 1 if found.problems else 0


def _card(folder: Path, named: Path | None) -> run_card.Card | None:
    beside = folder.expanduser() / run_card.NAME
    if named is None and not os.path.lexists(beside):
        return None
    if named is None and beside.is_symlink():
        raise InputError(f"{beside}: is a link; put the card itself there")
    return run_card.load(named or beside)


def rated(files: adapters.Files, card: run_card.Card | None, seed: int, seconds: float = SECONDS) -> Rating:
    """Rate an adapter in a child process. Raises `InputError` if it cannot be used."""
    asked = questions(seed, card.pool_seed if card else 0)
    written = _written(scoring.request(files, scoring.prompts_of(asked), seed, seconds), seconds)
    return scoring.rate(asked, written, card.predicted if card else None)


# The child


def _written(request: bytes, seconds: float) -> Written:
    """What the child wrote to a request."""
    command = [sys.executable, "-P", "-m", "labkit.scoring"]  # -P: no module out of the folder it runs in
    line = Line()
    with contextlib.ExitStack() as stack:
        stack.callback(line.close)
        command, options = _confined(command, stack)
        errors = stack.enter_context(tempfile.TemporaryFile())
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": errors}
        child = stack.enter_context(subprocess.Popen(command, start_new_session=True, **pipes, **options))
        clock = threading.Timer(seconds + START, _end, (child,))
        clock.start()
        stack.callback(_end, child)
        stack.callback(clock.cancel)
        assert child.stdin and child.stdout
        with contextlib.suppress(BrokenPipeError):  # it has ended; why is below
            child.stdin.write(request)
            child.stdin.close()
        left = MAX_SAID
        while text := child.stdout.readline(left):
            left -= len(text)
            said = json.loads(text)
            if "refused" in said:
                raise InputError(said["refused"])
            if "written" in said:
                return Written(**said["written"])
            line.show(f"answering, {said['done']} of {said['n']}", said["done"] / said["n"])
        if not clock.is_alive():
            raise InputError(f"no answer within {seconds + START:.0f} s; try again when the machine is less busy")
        child.wait()
        errors.seek(0)
        reason = ([""] + errors.read().decode(errors="replace").strip().splitlines())[-1]
    if "memory" in reason.lower():
        raise InputError(f"answering took more than {scoring.MEMORY_MB:,} MB of memory")
    raise InputError(f"the process that answers has ended (status {child.returncode}: {printable(reason)[:200]})")


def no_sandbox() -> str | None:
    """Why there is no sandbox here, or None."""
    try:
        from labkit.grading import sandbox
    except ImportError as error:
        return f"it needs {error.name}; `pip install labkit[grade]`"
    return sandbox.missing()


def _confined(command: list[str], stack: contextlib.ExitStack) -> tuple[list[str], dict[str, Any]]:
    """(the command in the sandbox, or where there is none as a plain process in an empty folder; options for `Popen`)."""
    if no_sandbox() is None:
        from labkit.grading import sandbox

        limits = sandbox.Limits(memory_mb=scoring.MEMORY_MB, space_mb=None, processes=256, open_files=256)
        command, options = sandbox.wrapped(command, limits, "lab", stack)
        return command, options | {"cwd": "/", "env": {"PATH": os.environ.get("PATH", "/usr/bin:/bin")}}
    empty = stack.enter_context(tempfile.TemporaryDirectory())
    package = str(Path(scoring.__file__).resolve().parents[1])
    kept = {name: os.environ[name] for name in ("PATH", "SYSTEMROOT", "OMP_NUM_THREADS") if name in os.environ}
    return command, {"cwd": empty, "env": kept | {"PYTHONPATH": package, "HF_HUB_OFFLINE": "1", "HOME": empty}}


def _end(child: subprocess.Popen[bytes]) -> None:
    if child.poll() is not None:  # its number may be another process's by now
        return
    with contextlib.suppress(OSError):
        if hasattr(os, "killpg"):
            os.killpg(child.pid, signal.SIGKILL)
        else:
            child.kill()


# One adapter


def _report(found: Rating, card: run_card.Card | None, seed: int, files: adapters.Files) -> dict[str, Any]:
    values = dataclasses.asdict(found)
    values = json.loads(json.dumps(values, default=str), parse_constant=lambda name: None)  # NaN is not JSON
    return {"score": values["parts"]["unseen"]["share"], "seed": seed, "files": digest(files, card), **values}


def rows(found: Rating) -> list[tuple[str, ...]]:
    """The parts and their tasks as a table, the headings first."""

    def row(name: str, share: scoring.Share) -> tuple[str, ...]:
        span = f"{share.low:.1%} to {share.high:.1%}"
        return name, f"{share.correct} of {share.n}", f"{share.share:.1%}", span

    table: list[tuple[str, ...]] = [("asked", "right", "share", "95% interval")]
    for name, part in found.parts.items():
        table.append(row(name, part))
        if name != "seen":
            table += [row(f"  {task}", share) for task, share in part.by_task.items()]
    return table


def remarks(found: Rating) -> list[str]:
    """What else is to be said about a rating, a sentence each."""
    told = [
        f"forgetting: {found.text_loss:.3f} nats a token on the base's own kind of text, {found.base_text_loss:.3f} "
        f"without the adapter",
        f"{found.stopped:.1%} of the answers end by themselves",
    ]
    if found.predicted is not None and found.off is not None:
        low, high = found.predicted["low"], found.predicted["high"]
        where = "in" if found.holds else "not in"
        told.append(
            f"predicted: {found.predicted['score']:.1%}, {low:.1%} to {high:.1%}; the score is {where} that interval, and "
            f"{100 * abs(found.off):.1f} points {'below' if found.off > 0 else 'above'} what was predicted"
        )
    return told + found.problems + found.notes


def _print(found: Rating, card: run_card.Card | None, seed: int) -> None:
    print(
        f"{printable(card.name) + ': ' if card else ''}{found.score.share:.1%} of unseen questions right, seed {seed}"
    )
    print(text_table(rows(found)))
    for remark in remarks(found):
        print(printable(remark))


def _folder(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{out}: cannot be made ({error.strerror or error}); name another place") from None


def _write(out: Path, found: Rating, card: run_card.Card | None, report: dict[str, Any]) -> None:
    with write_atomically(out / "score.json") as file:
        json.dump(report | {"card": card.model_dump() if card else None}, file, indent=1)
    head, *table = rows(found)
    said = (
        []
        if card is None
        else [("name", card.name), ("data", card.data.why), ("split", card.split.by), ("mask", card.mask)]
    )
    told = [(what, printable(text)) for what, text in said]
    with write_atomically(out / "report.html") as file:
        file.write('<!doctype html><html lang="en"><meta charset="utf-8"><title>Rating of an adapter</title>')
        file.write(f"<h1>{found.score.share:.1%} of unseen questions right</h1>")
        file.write(html_table(head, table))
        file.write("".join(f"<p>{html.escape(printable(remark))}</p>" for remark in remarks(found)))
        file.write(f"<h2>The run card</h2>{html_table(('what', 'said'), told)}</html>" if card else "</html>")


# A class


def digest(files: adapters.Files, card: run_card.Card | None) -> str:
    """A short sha256 of what was handed in: other files, another row."""
    told = hashlib.sha256()
    for part in (files.config, files.weights, card.model_dump_json().encode() if card else b""):
        told.update(len(part).to_bytes(8, "big") + part)
    return told.hexdigest()[:16]


def _board(args: argparse.Namespace) -> int:
    """Rate each folder in a folder; all of them on the same questions."""
    folder, path = args.adapter.expanduser(), args.leaderboard.expanduser()
    if not folder.is_dir():
        raise InputError(f"{folder}: is no folder; name the one that holds the adapters' folders")
    found = sorted(entry.name for entry in os.scandir(folder) if not entry.name.startswith(".") and entry.is_dir())
    if not found or (folder / adapters.CONFIG).exists():
        raise InputError(f"{folder}: holds no folders of adapters; for one adapter leave --leaderboard out")
    kept = _kept(path)
    drawn = next((int(row["seed"]) for row in kept.values()), secrets.randbelow(10**9))
    seed = drawn if args.seed is None else args.seed
    board: dict[str, dict[str, str]] = {name: row for name, row in kept.items() if row["seed"] == str(seed)}
    new = refused = 0
    for name in found:
        shown = cell(name)
        before = board.get(shown)
        row = _row(folder / name, before, seed, args.seconds)
        if row is not before:
            new += 1
            board[shown] = row | {"name": shown}
            _save(path, board)
            print(f"{shown}: {row['score'] or row['remarks']}")
        refused += board[shown]["score"] == ""
    _save(path, board)
    print(f"{len(found)} adapters, {new} rated now, {refused} could not be rated; {path}, seed {seed}")
    if args.json:
        print(json.dumps({"adapters": len(found), "new": new, "refused": refused, "seed": seed, "file": str(path)}))
    return 1 if refused else 0


def _row(folder: Path, before: dict[str, str] | None, seed: int, seconds: float) -> dict[str, str]:
    """An adapter's row: the one from before if it is about the same files."""
    row = dict.fromkeys(BOARD, "") | {"seed": str(seed)}
    try:
        if folder.is_symlink():
            raise InputError("is a link; put the folder itself there")
        files, card = adapters.read_files(folder), _card(folder, None)
        row["files"] = digest(files, card)
        if before is not None and before["files"] == row["files"]:
            return before
        found = rated(files, card, seed, seconds)
    except InputError as error:
        row["remarks"] = cell(str(error).replace(f"{folder}: ", "").replace(f"{folder}{os.sep}", ""))
        return before if before is not None and before["remarks"] == row["remarks"] else row
    shares = {"score": found.score.share, "low": found.score.low, "high": found.score.high}
    shares |= {name: part.share for name, part in found.parts.items() if name in BOARD} | {
        "forgetting": found.forgetting
    }
    if found.predicted is not None and found.off is not None:
        shares |= {"predicted": found.predicted["score"], "off": found.off}
        shares |= {"predicted low": found.predicted["low"], "predicted high": found.predicted["high"]}
        row["holds"] = "yes" if found.holds else "no"
    row |= {name: f"{value:.4f}" for name, value in shares.items()}
    row["card"] = cell(card.name) if card else "none"
    row["remarks"] = cell("; ".join(found.problems + found.notes))
    return row


def cell(text: str) -> str:
    """Somebody's text for a table: no control characters, not too long, and no formula."""
    return str(safe(printable(text)[:200]))


def _kept(path: Path) -> dict[str, dict[str, str]]:
    """The rows of the board that is there."""
    if not path.exists():
        return {}
    try:
        with open(path, encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            read = list(reader)
            if tuple(reader.fieldnames or ()) != BOARD or not all(row["seed"].isdigit() for row in read):
                raise InputError(f"{path}: is not a board that labkit score wrote; name a new file")
            return {row["name"]: row for row in read}
    except (OSError, UnicodeDecodeError, csv.Error, AttributeError) as error:
        raise InputError(f"{path}: cannot be read as a board ({error}); name a new file") from None


def _save(path: Path, board: dict[str, dict[str, str]]) -> None:
    """The board, the best first; who could not be rated comes last."""
    scores = [float(row["score"]) for row in board.values() if row["score"]]
    order = sorted(board.values(), key=lambda row: (-float(row["score"] or -1), row["name"]))
    with write_atomically(path) as file:
        writer = csv.DictWriter(file, BOARD, lineterminator="\n")
        writer.writeheader()
        for row in order:
            better = sum(score > float(row["score"]) for score in scores) if row["score"] else 0
            writer.writerow(row | {"place": str(better + 1) if row["score"] else ""})
