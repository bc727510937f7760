"""The learner's own store: *my runs*, answers to questions, and small values kept by key (predictions).

One SQLite file in the user's data folder, or in `LABKIT_HOME`. Two notebooks may write at once. Nothing leaves the
machine. If the file cannot be written (read-only, full disk), the session goes on in memory, and one line says that
progress is not kept. Every row has a stable id, so export and import neither lose nor duplicate anything. What a row
means is known in its topic's module.

In Colab the machine, and the file with it, is gone after some hours. `download` hands the learner everything as a file;
and where they have mounted their Drive, a copy is kept there after every change, and taken up by the next session. The
copy is the exported JSON, not the database: SQLite's locks do not hold across machines that synchronize a folder.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import sqlite3
import sys
import uuid
import weakref
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from time import monotonic, sleep
from typing import Any, TypeVar

from labkit.common import InputError, write_atomically

Result = TypeVar("Result")

FILE = "progress.sqlite3"
DRIVE = Path("/content/drive/MyDrive")  # where Colab mounts it
COPY = "labkit-progress.json"
BUSY_SECONDS = 10  # how long a write waits for the other notebook's
PAUSE_SECONDS = 0.01  # between two tries, in cases where SQLite itself does not wait

SCHEMA = (  # one entry for each version: a new version is appended, and older files are upgraded to it
    """
    CREATE TABLE runs (
        id TEXT PRIMARY KEY, time TEXT NOT NULL, lab TEXT NOT NULL, recipe TEXT NOT NULL, hash TEXT NOT NULL,
        score REAL NOT NULL, low REAL NOT NULL, high REAL NOT NULL, note TEXT NOT NULL
    );
    CREATE TABLE kept (key TEXT PRIMARY KEY, time TEXT NOT NULL, value TEXT NOT NULL);
    """,
    """
    CREATE TABLE answers (
        id TEXT PRIMARY KEY, time TEXT NOT NULL, question TEXT NOT NULL, place TEXT NOT NULL, correct INTEGER NOT NULL,
        rating INTEGER NOT NULL, seconds REAL NOT NULL, details TEXT NOT NULL
    );
    """,
)
RUN_COLUMNS = ("id", "time", "lab", "recipe", "hash", "score", "low", "high", "note")
ANSWER_COLUMNS = ("id", "time", "question", "place", "correct", "rating", "seconds", "details")
KEPT_COLUMNS = ("key", "time", "value")


def home() -> Path:
    """The folder that holds the store: `LABKIT_HOME` if it is set, else the user's data folder."""
    if named := os.environ.get("LABKIT_HOME"):
        return Path(named).expanduser()
    import platformdirs

    return Path(platformdirs.user_data_dir("labkit", appauthor=False))


def store() -> Store:
    """The store in the current `home()`; with a copy on the Drive, if one is mounted and `LABKIT_HOME` is not set."""
    mounted = not os.environ.get("LABKIT_HOME") and DRIVE.is_dir()
    return _store(home(), DRIVE / "labkit" / COPY if mounted else None)


@cache
def _store(folder: Path, copy: Path | None) -> Store:
    return Store(folder, copy)


def download(file: str | Path = COPY) -> None:
    """Write everything that is kept to a file, and in Colab let the browser save it. `labkit progress import FILE` takes
    it up again, here or elsewhere.
    """
    _export(Path(file))
    if "google.colab" in sys.modules:
        sys.modules["google.colab"].files.download(str(file))
    else:
        print(f"Your progress is in {file}. `labkit progress import {file}` takes it up on another machine.")


class Store:
    """What a learner keeps, in one file. Each call opens the file and closes it again, so threads and notebooks may
    share it.
    """

    def __init__(self, folder: str | Path, copy: Path | None = None):
        """`copy`: a file that holds the same after every change, and is taken up now if it is there."""
        self.path = Path(folder) / FILE
        self._copy = copy
        self._idle: sqlite3.Connection | None = None
        self._memory: sqlite3.Connection | None = None  # replaces the file once that cannot be written
        self._changed()

    @property
    def lasting(self) -> bool:
        """Whether what is kept goes into the file; false once the file could not be written."""
        return self._memory is None

    def add_run(
        self, *, lab: str, recipe: str, hash: str, score: float, low: float, high: float, note: str = ""
    ) -> str:
        """Add a row to *my runs* and return its id. The id comes from the row's contents, so keeping it twice keeps it
        once.
        """
        if not all(math.isfinite(number) for number in (score, low, high)):
            raise InputError(f"{recipe}: a score of {score} ({low} to {high}) cannot be kept; check the run's loss")
        said = [lab, recipe, hash, float(score), float(low), float(high), note]
        id = hashlib.sha256(json.dumps(said).encode()).hexdigest()[:16]
        self._do(lambda connection: _insert_run(connection, (id, _now(), *said)))
        self._changed()
        return id

    def runs(self) -> list[dict]:
        """The rows of *my runs*, oldest first."""
        query = f"SELECT {', '.join(RUN_COLUMNS)} FROM runs ORDER BY time, rowid"
        return [
            dict(zip(RUN_COLUMNS, row)) for row in self._do(lambda connection: connection.execute(query).fetchall())
        ]

    def add_answer(
        self,
        question: str,
        *,
        place: str,
        correct: bool,
        rating: int,
        seconds: float,
        details: Any = None,
        time: datetime | None = None,
    ) -> str:
        """Add an answer and return its id. `place` says where it was asked, `rating` is FSRS's (1 missed to 4 easy),
        `details` is anything JSON can hold. Once this returns, the answer survives the end of the process.
        """
        row = (
            uuid.uuid4().hex,
            _now() if time is None else time.astimezone(UTC).isoformat(timespec="microseconds"),
            question,
            place,
            int(correct),
            rating,
            max(0.0, float(seconds)),
            json.dumps(details, ensure_ascii=False),
        )
        self._do(lambda connection: _insert_answer(connection, row))
        self._changed()
        return row[0]

    def answers(self) -> list[dict]:
        """All answers, oldest first."""
        query = f"SELECT {', '.join(ANSWER_COLUMNS)} FROM answers ORDER BY time, id"
        rows = self._do(lambda connection: connection.execute(query).fetchall())
        return [
            dict(zip(ANSWER_COLUMNS, row)) | {"correct": bool(row[4]), "details": json.loads(row[-1])} for row in rows
        ]

    def keep(self, key: str, value: Any) -> None:
        """Keep a value (anything JSON can hold) by key; the latest one counts."""
        row = (key, _now(), json.dumps(value, ensure_ascii=False))
        self._do(
            lambda connection: connection.execute("INSERT OR REPLACE INTO kept (key, time, value) VALUES (?,?,?)", row)
        )
        self._changed()

    def kept(self, key: str, default: Any = None) -> Any:
        """The value kept by this key."""
        query = "SELECT value FROM kept WHERE key = ?"
        row = self._do(lambda connection: connection.execute(query, (key,)).fetchone())
        return default if row is None else json.loads(row[0])

    def export(self) -> dict:
        """All that is kept, as plain data for JSON."""
        query = f"SELECT {', '.join(KEPT_COLUMNS)} FROM kept ORDER BY key"
        kept = self._do(lambda connection: connection.execute(query).fetchall())
        return {
            "labkit_progress": len(SCHEMA),
            "runs": self.runs(),
            "answers": self.answers(),
            "kept": [{"key": key, "time": time, "value": json.loads(value)} for key, time, value in kept],
        }

    def merge(self, exported: dict) -> int:
        """Add what another store exported, all of it or nothing; returns how many rows were new. If a key has two
        values, the later one counts. Stores end up the same in whatever order they are merged, and however often.
        """
        new = self._merge(exported)
        self._changed()
        return new

    def _changed(self) -> None:
        """Bring the copy up to date. Another machine may have written it since, so its rows are taken up first."""
        if self._copy is None:
            return
        try:
            if self._copy.is_file():
                self._merge(json.loads(self._copy.read_text(encoding="utf-8")))
            self._copy.parent.mkdir(parents=True, exist_ok=True)
            with write_atomically(self._copy) as file:
                json.dump(self.export(), file, ensure_ascii=False, indent=1)
        except (OSError, ValueError, InputError) as error:  # JSON's errors are ValueErrors
            print(f"Progress is not copied to {self._copy}: {error}. It is kept on this machine only.")
            self._copy = None

    def _merge(self, exported: dict) -> int:
        runs, answers, kept = _rows(exported)

        def write(connection: sqlite3.Connection) -> int:
            return (
                sum(_insert_run(connection, row) for row in runs)
                + sum(_insert_answer(connection, row) for row in answers)
                + sum(_insert_kept(connection, row) for row in kept)
            )

        return self._do(write)

    def _do(self, work: Callable[[sqlite3.Connection], Result]) -> Result:
        """Do the work in one transaction: in the file if it can be written, otherwise in memory."""
        given_up = monotonic() + BUSY_SECONDS
        while self._memory is None:
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                with closing(sqlite3.connect(self.path, timeout=BUSY_SECONDS, isolation_level=None)) as connection:
                    with _transaction(connection):
                        result = work(connection)
                    if self._idle is None:
                        self._stay_open()
                    return result
            except (OSError, sqlite3.Error) as error:
                if _is_busy(error) and monotonic() < given_up:  # SQLite waits for some locks only, not for all
                    sleep(PAUSE_SECONDS)
                    continue
                print(f"Progress is not kept in {self.path}: {error}. This session goes on without.")
                self._memory = _copy_in_memory(self.path)
        with _transaction(self._memory):
            return work(self._memory)

    def _stay_open(self) -> None:
        """Hold one idle connection, because closing a file's last connection waits for the disk."""
        idle = sqlite3.connect(self.path, check_same_thread=False)
        try:
            idle.execute("PRAGMA user_version").fetchone()
        except sqlite3.Error:  # the work is done; the next write tries again
            idle.close()
            return
        self._idle = idle
        weakref.finalize(self, idle.close)


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """One write transaction on an up-to-date schema. It takes the lock at the start, so that it waits instead of
    failing halfway.
    """
    if connection.execute("PRAGMA journal_mode").fetchone()[0] == "delete":
        connection.execute(
            "PRAGMA journal_mode = WAL"
        )  # readers and a writer at once; if it is not available, the old mode will do
    connection.execute("PRAGMA synchronous = NORMAL")  # survives the process; a power failure may lose the last rows
    connection.execute("BEGIN IMMEDIATE")
    try:
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version > len(SCHEMA):
            raise sqlite3.DatabaseError("it was written by a newer labkit; update this one")
        for script in SCHEMA[version:]:
            for statement in filter(str.strip, script.split(";")):  # executescript would end the transaction
                connection.execute(statement)
        if version < len(SCHEMA):
            connection.execute(f"PRAGMA user_version = {len(SCHEMA)}")
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _is_busy(error: Exception) -> bool:
    """Whether another process has the file locked, which passes."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def _copy_in_memory(path: Path) -> sqlite3.Connection:
    """A store in memory, with what the file holds as far as it can be read."""
    memory = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    for mode in ("mode=ro", "mode=ro&immutable=1"):  # the second can read even if no lock file can be written
        try:
            with closing(sqlite3.connect(f"{path.absolute().as_uri()}?{mode}", uri=True, timeout=1)) as file:
                if file.execute("PRAGMA user_version").fetchone()[0] <= len(SCHEMA):
                    file.backup(memory)
            break
        except sqlite3.Error:
            continue
    return memory


def _insert_run(connection: sqlite3.Connection, row: tuple) -> int:
    new = connection.execute(
        f"INSERT OR IGNORE INTO runs ({', '.join(RUN_COLUMNS)}) VALUES (?,?,?,?,?,?,?,?,?)", row
    ).rowcount
    if not new:  # for a run that was made twice, the first time counts, whichever store is merged into which
        connection.execute("UPDATE runs SET time = min(time, ?) WHERE id = ?", (row[1], row[0]))
    return new


def _insert_answer(connection: sqlite3.Connection, row: tuple) -> int:
    return connection.execute(
        f"INSERT OR IGNORE INTO answers ({', '.join(ANSWER_COLUMNS)}) VALUES (?,?,?,?,?,?,?,?)", row
    ).rowcount


def _insert_kept(connection: sqlite3.Connection, row: tuple) -> int:
    later = (
        "ON CONFLICT (key) DO UPDATE SET time = excluded.time, value = excluded.value "
        "WHERE (excluded.time, excluded.value) > (time, value)"
    )
    return connection.execute(f"INSERT INTO kept (key, time, value) VALUES (?,?,?) {later}", row).rowcount


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")


def _rows(exported: Any) -> tuple[list[tuple], list[tuple], list[tuple]]:
    """The rows of an exported store, in the order of the columns. Raises `InputError` if it is not an exported store."""
    if not isinstance(exported, dict) or "labkit_progress" not in exported:
        raise InputError("this was not written by `labkit progress export`; name a file that it wrote")
    if exported["labkit_progress"] not in range(1, len(SCHEMA) + 1):
        raise InputError("it was written by a newer labkit; update this one")
    rows: dict[str, list[tuple]] = {"runs": [], "answers": [], "kept": []}
    for table, columns in (("runs", RUN_COLUMNS), ("answers", ANSWER_COLUMNS), ("kept", KEPT_COLUMNS)):
        given = exported.get(table, [] if table == "answers" and exported["labkit_progress"] == 1 else None)
        if not isinstance(given, list):
            raise InputError(f'"{table}" is missing or not a list; export it again')
        for number, row in enumerate(given, start=1):
            for column in columns:
                if not isinstance(row, dict) or column not in row or not _fits(column, row[column]):
                    raise InputError(
                        f'{table}, row {number}: "{column}" is missing or of another type; export it again'
                    )
            rows[table].append(tuple(row[column] for column in columns))
            if table == "answers" and not _is_utc(row["time"]):
                raise InputError(f'answers, row {number}: "time" is not a time in UTC; export it again')
    for table in ("answers", "kept"):  # whose last column is JSON
        rows[table] = [(*row[:-1], json.dumps(row[-1], ensure_ascii=False)) for row in rows[table]]
    return rows["runs"], rows["answers"], rows["kept"]


def _is_utc(time: str) -> bool:
    """Whether a time is in this store's own format, so that times sort as text."""
    try:
        return datetime.fromisoformat(time).astimezone(UTC).isoformat(timespec="microseconds") == time
    except (ValueError, OverflowError):
        return False


def _fits(column: str, value: Any) -> bool:
    if column in ("value", "details"):
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except (UnicodeEncodeError, RecursionError):
            return False
        return True
    if column == "correct":
        return isinstance(value, bool)
    if column == "rating":
        return type(value) is int and 1 <= value <= 4
    if column == "seconds":
        return type(value) in (int, float) and 0 <= value < 1e9
    if column in ("score", "low", "high"):
        return type(value) in (int, float) and -1e9 < value < 1e9  # false for NaN too
    return (
        isinstance(value, str) and value.encode("utf-8", "replace").decode() == value
    )  # false for half a surrogate pair


def _export(file: Path) -> int:
    """Write everything that is kept to a file; returns how many rows that are."""
    exported = store().export()
    with write_atomically(file) as whole:
        json.dump(exported, whole, ensure_ascii=False, indent=1)
        whole.write("\n")
    return sum(len(rows) for rows in exported.values() if isinstance(rows, list))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "examples:\n  labkit progress export mine.json\n  labkit progress import mine.json"
    parser.add_argument(
        "action", choices=("export", "import"), help="write everything that is kept to FILE, or add what FILE holds"
    )
    parser.add_argument("file", metavar="FILE.json", type=Path)
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")


def main(args: argparse.Namespace) -> int:
    if args.action == "export":
        count = _export(args.file)
        print(f"{count} rows written to {args.file}")
    else:
        try:
            exported = json.loads(args.file.read_text(encoding="utf-8"))
        except OSError as error:
            raise InputError(f"{args.file}: cannot be read ({error.strerror or error}); check the name") from None
        except (ValueError, RecursionError) as error:
            raise InputError(
                f"{args.file}: is not JSON ({error}); name a file that `labkit progress export` wrote"
            ) from None
        try:
            count = store().merge(exported)
        except InputError as error:
            raise InputError(f"{args.file}: {error}") from None
        print(f"{count} new rows from {args.file}")
    if args.json:
        print(json.dumps({"file": str(args.file), "rows": count}))
    return 0
