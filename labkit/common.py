"""What no topic owns: the one-line error, files that appear whole, JSON and tables for people, peak memory.

Nothing here knows of examples, models or labs, and nothing heavy is imported.
"""

from __future__ import annotations

import html
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TextIO


class InputError(ValueError):
    """The user's input cannot be used. The message is one line: what is wrong, where, and what to do."""


def as_json(value: object) -> str:
    """One line of JSON. Letters of all scripts are kept; a value that JSON does not know becomes its text."""
    line = json.dumps(value, ensure_ascii=False, default=str)
    return line.encode("utf-8", "backslashreplace").decode()  # half of a surrogate pair stays an escape


def printable(text: str) -> str:
    """The text without characters that a terminal takes for a command or a new line."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


def say(line: str, file: TextIO | None = None) -> None:
    """Print a line for a person in which anything may be named: what a terminal would take for a command, and letters
    that the stream cannot hold, become escapes.
    """
    file = file or sys.stdout
    encoding = getattr(file, "encoding", None) or "utf-8"
    print(printable(line).encode(encoding, "backslashreplace").decode(encoding), file=file)


@contextmanager
def private_files() -> Iterator[None]:
    """Whatever is made inside it, nobody else can read or enter (0600, 0700)."""
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)


def shortened(text: str, width: int = 110) -> str:
    """One line of at most `width` characters."""
    text = " ".join(text.split())
    return text if len(text) <= width else text[: width - 2] + " …"


@contextmanager
def write_atomically(path: str | Path, binary: bool = False) -> Iterator[IO]:
    """A file (text unless `binary`) that gets its name only when everything is written.

    Raises `InputError` if it cannot be written.
    """
    path = Path(path).expanduser()
    temporary = None
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
        with open(handle, "wb") if binary else open(handle, "w", encoding="utf-8", newline="\n") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)  # mkstemp makes a private file; the result should be like any other
        os.replace(temporary, path)
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"{path}: cannot be written ({reason}); free space there, or name another place") from None
    finally:
        if temporary is not None and os.path.exists(temporary):
            os.unlink(temporary)


def text_table(rows: Sequence[Sequence[str]]) -> str:
    """Rows, the headings first, as lines with aligned columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def html_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """The same as an HTML table, every cell escaped."""

    def line(tag: str, cells: Sequence[str]) -> str:
        return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells) + "</tr>"

    return f"<table><thead>{line('th', head)}</thead><tbody>{''.join(line('td', row) for row in rows)}</tbody></table>"


def write_between(target: Path, begin: str, end: str, text: str) -> bool:
    """Put `text` between two marks, each a line of its own, in a file; returns whether that changed it."""
    try:
        before = target.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{target}: cannot be read ({error}); name a Markdown file") from None
    if before.count(begin) != 1 or before.count(end) != 1 or before.index(begin) > before.index(end):
        raise InputError(f"{target}: needs one line {begin} and after it one line {end}; the table goes between them")
    written = f"{before[: before.index(begin)]}{begin}\n{text}\n{before[before.index(end) :]}"
    if written != before:
        with write_atomically(target) as file:
            file.write(written)
    return written != before


def peak_rss_mb() -> float:
    """The most memory this process has held so far, in megabytes of 10⁶ bytes."""
    status = Path("/proc/self/status")  # on Linux getrusage counts what the process that started this one held, too
    if status.is_file() and (peak := status.read_text().partition("VmHWM:")[2].split()):
        return round(int(peak[0]) * 1024 / 1e6, 1)
    try:
        import resource
    except ImportError:  # Windows
        import psutil

        return round(psutil.Process().memory_info().peak_wset / 1e6, 1)
    unit = 1 if sys.platform == "darwin" else 1024  # macOS counts bytes
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6, 1)
