"""Answers are kept: through a kill, from two processes at once, over versions, and through any merge."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing, contextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labkit import progress
from labkit.common import InputError
from labkit.progress import Store

pytestmark = pytest.mark.slow

GIVEN = {"given": "−0.2 nats <b>", "drawn": {"p": 0.8}}
WRITE = """
import sys
from labkit.progress import Store
store = Store(sys.argv[1])
for number in range(int(sys.argv[2])):
    store.add_answer(f"masking.q{number}", place="during", correct=True, rating=3, seconds=1.5)
print("kept", flush=True)
"""


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


def answered(store, question="masking.why", **changes):
    return store.add_answer(question, **{"place": "during", "correct": False, "rating": 1, "seconds": 2.0} | changes)


def test_an_answer_comes_back_as_it_was_given(store):
    id = answered(store, details=GIVEN)
    [row] = Store(store.path.parent).answers()
    assert row.pop("time").endswith("+00:00")
    assert row == {
        "id": id, "question": "masking.why", "place": "during", "correct": False, "rating": 1, "seconds": 2.0,
        "details": GIVEN,
    }  # fmt: skip
    assert answered(store, details=GIVEN) != id and len(store.answers()) == 2  # the same again is another answer


@pytest.mark.skipif(os.name == "nt", reason="there is no kill -9")
def test_an_answer_outlives_a_kill_right_behind_it(tmp_path):
    for attempt in range(3):
        folder = tmp_path / str(attempt)
        process = subprocess.Popen([sys.executable, "-c", WRITE + "\nimport time; time.sleep(60)", str(folder), "5"],
                                   stdout=subprocess.PIPE)  # fmt: skip
        assert process.stdout.readline() == b"kept\n"
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        store = Store(folder)
        assert len(store.answers()) == 5
        answered(store)
        assert len(store.answers()) == 6 and store.lasting


def test_a_kill_in_the_middle_of_a_write_leaves_whole_answers(store):
    answered(store)
    with closing(sqlite3.connect(store.path, isolation_level=None)) as torn:
        torn.execute("BEGIN IMMEDIATE")
        torn.execute("INSERT INTO answers VALUES ('half', '', '', '', 0, 1, 0, 'no JSON')")
    assert len(Store(store.path.parent).answers()) == 1


def test_two_processes_keep_two_thousand_answers_each(tmp_path):
    command = [sys.executable, "-c", WRITE, str(tmp_path), "2000"]
    writers = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(2)]
    assert [writer.communicate()[0] for writer in writers] == [b"kept\n"] * 2
    assert len({row["id"] for row in Store(tmp_path).answers()}) == 4000


def locked(monkeypatch, times):
    """As when two processes make a new file at once: SQLite says so many times, without a wait, that it is locked."""
    whole, said = progress._transaction, []

    @contextmanager
    def transaction(connection):
        if len(said) < times:
            said.append(sqlite3.OperationalError("database is locked"))
            said[-1].sqlite_errorcode = sqlite3.SQLITE_BUSY
            raise said[-1]
        with whole(connection):
            yield

    monkeypatch.setattr(progress, "_transaction", transaction)


def test_a_lock_that_passes_costs_nothing(store, monkeypatch, capsys):
    locked(monkeypatch, times=3)
    answered(store)
    assert store.lasting and len(Store(store.path.parent).answers()) == 1 and capsys.readouterr().out == ""


def test_a_lock_that_does_not_pass_is_said_and_the_session_goes_on(store, monkeypatch, capsys):
    monkeypatch.setattr(progress, "BUSY_SECONDS", 0.1)
    store.path.parent.mkdir()
    with closing(sqlite3.connect(store.path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        answered(store)
        assert not store.lasting and len(store.answers()) == 1
    assert "locked" in (said := capsys.readouterr().out) and len(said.splitlines()) == 1


def test_a_store_of_the_first_version_is_brought_up_to_this_one(tmp_path):
    with closing(sqlite3.connect(tmp_path / progress.FILE)) as old:
        old.executescript(progress.SCHEMA[0] + "PRAGMA user_version = 1;")
        old.execute("INSERT INTO kept VALUES ('a', '2026', '1')")
        old.commit()
    store = Store(tmp_path)
    answered(store)
    assert store.kept("a") == 1 and len(store.answers()) == 1
    assert store.merge({"labkit_progress": 1, "runs": [], "kept": []}) == 0  # an export of that version has no answers


TIMES = st.integers(0, 3).map(lambda n: f"2026-01-0{n + 1}T00:00:00.000000+00:00")
ANSWERS = st.dictionaries(st.text("ab", min_size=1, max_size=2), TIMES, max_size=4).map(
    lambda rows: [
        {"id": id, "time": f"2026-01-01T00:00:0{len(id)}.000000+00:00", "question": f"q{id}", "place": "after",
         "correct": id > "b", "rating": 1 + len(id), "seconds": 1.0, "details": {"id": id}}
        for id in rows
    ]
)  # fmt: skip
RUNS = st.dictionaries(st.sampled_from("ab"), TIMES).map(
    lambda rows: [
        {"id": id, "time": time, "lab": "00", "recipe": id, "hash": "h", "score": 0.5, "low": 0.4, "high": 0.6,
         "note": ""}
        for id, time in rows.items()
    ]
)  # fmt: skip
KEPT = st.dictionaries(st.sampled_from("ab"), st.tuples(TIMES, st.integers(0, 2))).map(
    lambda rows: [{"key": key, "time": time, "value": value} for key, (time, value) in rows.items()]
)
EXPORTS = st.tuples(RUNS, ANSWERS, KEPT).map(
    lambda rows: {"labkit_progress": 2, "runs": rows[0], "answers": rows[1], "kept": rows[2]}
)


def merged(*exports):
    store = Store("/nowhere")
    store._memory = progress._copy_in_memory(store.path)  # nothing on the disk: a hundred stores a second
    for exported in exports:
        store.merge(json.loads(json.dumps(exported)))
    exported = store.export().items()
    return {name: sorted(rows, key=json.dumps) if isinstance(rows, list) else rows for name, rows in exported}


@settings(max_examples=60, deadline=None)
@given(EXPORTS, EXPORTS, EXPORTS)
def test_a_merge_depends_on_no_order_and_twice_is_as_once(a, b, c):
    whole = merged(a, b, c)
    assert whole == merged(c, b, a) == merged(b, a, c) == merged(a, a, b, c, b)
    assert whole == merged(merged(a, b), c) == merged(a, merged(b, c)) == merged(whole, whole)
    ids = {row["id"] for exported in (a, b, c) for row in exported["answers"]}
    assert {row["id"] for row in whole["answers"]} == ids and len(whole["answers"]) == len(ids)


ROW = {
    "id": "x", "time": "2026-01-01T00:00:00.000000+00:00", "question": "q", "place": "after", "correct": True,
    "rating": 3, "seconds": 1.0, "details": None,
}  # fmt: skip


@pytest.mark.parametrize("change", [
    {"time": "yesterday"}, {"time": "2026-01-01"}, {"time": "2026-01-01T00:00:00.000000"}, {"rating": 5},
    {"rating": True}, {"correct": 1}, {"seconds": -1}, {"seconds": float("nan")}, {"details": "\ud800"},
    {"id": 3}, {"question": None},
])  # fmt: skip
def test_an_import_that_is_spoiled_anywhere_is_refused_whole(store, change):
    answered(store)
    with pytest.raises(InputError, match="answers, row 2") as caught:
        store.merge({"labkit_progress": 2, "runs": [], "kept": [], "answers": [ROW, ROW | {"id": "y"} | change]})
    assert "\n" not in str(caught.value) and len(store.answers()) == 1
    assert store.merge({"labkit_progress": 2, "runs": [], "kept": [], "answers": [ROW]}) == 1


def test_a_truncated_file_and_one_of_a_later_version_leave_progress_alone(tmp_path, monkeypatch, capsys):
    from labkit.cli import main

    monkeypatch.setenv("LABKIT_HOME", str(tmp_path / "home"))
    answered(progress.store())
    file = tmp_path / "mine.json"
    assert main(["progress", "export", str(file)]) == 0
    whole = file.read_text()
    for spoiled in (whole[: len(whole) // 2], whole.replace('"labkit_progress": 2', '"labkit_progress": 3')):
        file.write_text(spoiled)
        assert main(["progress", "import", str(file)]) == 2
        said = capsys.readouterr().err
        assert "mine.json" in said and len(said.splitlines()) == 1
    assert len(progress.store().answers()) == 1
