"""The learner's store: what is kept stays, once, under two notebooks at once; and where nothing can be kept the
session goes on.
"""

import argparse
import json
import os
import sqlite3
import subprocess
import sys
from types import SimpleNamespace

import pytest

from labkit import progress
from labkit.common import InputError
from labkit.progress import Store

ROW = dict(lab="00", recipe="sft-lab00", hash="abc", score=0.91, low=0.86, high=0.94, note="first")


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "new" / "home")


def test_a_run_is_kept_and_keeping_it_again_keeps_it_once(store):
    first = store.add_run(**ROW)
    assert store.add_run(**ROW) == first
    assert store.add_run(**ROW | {"note": "second"}) != first
    rows = Store(store.path.parent).runs()  # as the next session sees it
    assert [row["note"] for row in rows] == ["first", "second"]
    assert {name: rows[0][name] for name in ROW} == ROW


def test_of_the_values_kept_by_a_key_the_last_counts(store):
    assert store.kept("prediction", "none") == "none"
    for value in (0.3, {"é": [1, None]}):
        store.keep("prediction", value)
    assert Store(store.path.parent).kept("prediction") == {"é": [1, None]}


def test_a_score_that_is_no_number_is_refused(store):
    with pytest.raises(InputError, match="nan"):
        store.add_run(**ROW | {"score": float("nan")})
    assert store.runs() == []


def test_labkit_home_moves_the_store(tmp_path, monkeypatch):
    for name in ("one", "two"):
        monkeypatch.setenv("LABKIT_HOME", str(tmp_path / name))
        progress.store().add_run(**ROW | {"note": name})
    assert [row["note"] for row in progress.store().runs()] == ["two"]
    assert (tmp_path / "one" / progress.FILE).is_file()
    monkeypatch.delenv("LABKIT_HOME")
    assert "labkit" in str(progress.home())


def test_several_processes_write_at_once(tmp_path):
    code = """
import sys
from labkit.progress import Store
for number in range(20):
    Store(sys.argv[1]).add_run(lab="00", recipe="r", hash="h", score=number, low=0, high=1, note=sys.argv[2])
    Store(sys.argv[1]).keep("shared", sys.argv[2])
"""
    writers = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path), str(number)], stdout=subprocess.PIPE)
        for number in range(4)
    ]
    assert [writer.communicate()[0] for writer in writers] == [b""] * 4  # nobody gave up
    assert [writer.returncode for writer in writers] == [0] * 4
    assert len(Store(tmp_path).runs()) == 80


@pytest.mark.parametrize("limit, reason", [("max_page_count = 1", "full"), ("query_only = 1", "readonly")])
def test_on_a_full_or_read_only_disk_the_session_goes_on(store, monkeypatch, capsys, limit, reason):
    store.add_run(**ROW)
    connect = sqlite3.connect

    def limited(name, *args, **more):
        connection = connect(name, *args, **more)
        if name != ":memory:":
            connection.execute(f"PRAGMA {limit}")
        return connection

    monkeypatch.setattr(sqlite3, "connect", limited)
    for number in range(2):
        store.add_run(**ROW | {"note": f"{number}" * 200_000})
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 1 and "not kept" in said[0] and reason in said[0]
    assert len(store.runs()) == 3  # what was there, and this session's
    monkeypatch.undo()
    assert [row["note"] for row in Store(store.path.parent).runs()] == ["first"]


def make_file_instead_of_folder(home):
    home.parent.mkdir(parents=True)
    home.write_text("not a folder")


def make_no_database(home):
    home.mkdir(parents=True)
    (home / progress.FILE).write_text("no database at all" * 100)


def make_newer(home):
    Store(home).add_run(**ROW)
    with sqlite3.connect(home / progress.FILE) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()


@pytest.mark.parametrize("spoil", [make_file_instead_of_folder, make_no_database, make_newer])
def test_a_store_that_cannot_be_used_is_said_once_and_left_alone(tmp_path, capsys, spoil):
    home = tmp_path / "a" / "home"
    spoil(home)
    file = home if home.is_file() else home / progress.FILE
    before = file.read_bytes()
    store = Store(home)
    store.add_run(**ROW)
    assert len(store.runs()) == 1
    assert len(capsys.readouterr().out.splitlines()) == 1
    assert file.read_bytes() == before


def test_stores_merge_without_loss_or_doubling(tmp_path):
    here, there = Store(tmp_path / "here"), Store(tmp_path / "there")
    for store, note in ((here, "both"), (there, "both"), (here, "here"), (there, "there")):
        store.add_run(**ROW | {"note": note})
        store.keep(f"only {note}", note)
        store.keep("last", note)
    exported = json.loads(json.dumps(here.export()))
    assert there.merge(exported) == 2  # the run and the key that only `here` has; its "both" is older
    assert there.merge(exported) == 0
    assert here.merge(there.export()) > 0
    assert here.merge(there.export()) == 0
    for store in (here, there):
        assert sorted(row["note"] for row in store.runs()) == ["both", "here", "there"]
        assert store.kept("last") == "there"
        assert [store.kept(f"only {note}") for note in ("both", "here", "there")] == ["both", "here", "there"]
    assert here.export()["runs"][0].keys() == there.export()["runs"][0].keys()


GOOD_RUN = {"id": "x", "time": "2026", **ROW}


@pytest.mark.parametrize("exported, reason", [
    ([], "not written by"),
    ({"runs": []}, "not written by"),
    ({"labkit_progress": 99, "runs": [], "kept": []}, "newer"),
    ({"labkit_progress": 1, "runs": {}, "kept": []}, "not a list"),
    ({"labkit_progress": 1, "runs": [GOOD_RUN, 3], "kept": []}, "row 2"),
    ({"labkit_progress": 1, "runs": [GOOD_RUN, GOOD_RUN | {"score": "high"}], "kept": []}, '"score"'),
    ({"labkit_progress": 1, "runs": [GOOD_RUN, GOOD_RUN | {"score": 10**400}], "kept": []}, '"score"'),
    ({"labkit_progress": 1, "runs": [GOOD_RUN, GOOD_RUN | {"note": "\ud800"}], "kept": []}, '"note"'),
    ({"labkit_progress": 1, "runs": [GOOD_RUN], "kept": [{"key": "k", "time": "2026"}]}, '"value"'),
])  # fmt: skip
def test_what_is_no_export_is_refused_whole(store, exported, reason):
    with pytest.raises(InputError, match=reason) as caught:
        store.merge(exported)
    assert "\n" not in str(caught.value)
    assert store.export() == {"labkit_progress": 2, "runs": [], "answers": [], "kept": []}


def test_a_merge_that_breaks_off_leaves_nothing(store, monkeypatch):
    def break_off(connection, row):
        raise KeyboardInterrupt

    monkeypatch.setattr(progress, "_insert_kept", break_off)
    with pytest.raises(KeyboardInterrupt):
        store.merge({"labkit_progress": 1, "runs": [GOOD_RUN], "kept": [{"key": "k", "time": "2026", "value": 1}]})
    assert store.runs() == []


def command(*arguments):
    parser = argparse.ArgumentParser()
    progress.add_arguments(parser)
    return progress.main(parser.parse_args(list(map(str, arguments))))


def test_the_command_exports_and_imports(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("LABKIT_HOME", str(tmp_path / "old"))
    progress.store().add_run(**ROW)
    assert command("export", tmp_path / "mine.json") == 0
    monkeypatch.setenv("LABKIT_HOME", str(tmp_path / "new"))
    assert command("import", tmp_path / "mine.json", "--json") == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["rows"] == 1
    assert progress.store().runs()[0]["note"] == "first"


@pytest.mark.parametrize("content", [None, b"", b"{", b"\xff\xfe", b"[" * 100_000, b'{"runs": []}'])
def test_the_command_refuses_other_files_in_one_line(tmp_path, monkeypatch, content):
    monkeypatch.setenv("LABKIT_HOME", str(tmp_path / "home"))
    file = tmp_path / "bad.json"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(InputError, match="bad.json") as caught:
        command("import", file)
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_one_may_not_write_to(tmp_path, capsys):
    tmp_path.chmod(0o555)
    Store(tmp_path).add_run(**ROW)
    assert "not kept" in capsys.readouterr().out


# Colab: a machine that is gone tomorrow


@pytest.fixture
def drive(tmp_path, monkeypatch):
    """A mounted Drive; `machine(name)` is the store on another machine that has it mounted."""
    monkeypatch.setattr(progress, "DRIVE", tmp_path / "MyDrive")
    monkeypatch.delenv("LABKIT_HOME")
    (tmp_path / "MyDrive").mkdir()

    def machine(name):
        monkeypatch.setattr(progress, "home", lambda: tmp_path / name)
        return progress.store()

    return machine


def test_the_next_machine_takes_up_what_lies_on_the_drive(drive):
    first = drive("first")
    first.add_run(**ROW)
    first.keep("prediction", 0.3)
    second = drive("second")
    assert [row["note"] for row in second.runs()] == ["first"] and second.kept("prediction") == 0.3
    first.add_answer("q", place="lab", correct=True, rating=3, seconds=1)  # both are open at once
    second.keep("prediction", 0.5)
    third = drive("third")
    assert len(third.answers()) == 1 and third.kept("prediction") == 0.5


def test_what_was_done_before_the_drive_was_mounted_is_copied_too(drive, tmp_path, monkeypatch):
    (tmp_path / "MyDrive").rmdir()
    drive("first").add_run(**ROW)
    (tmp_path / "MyDrive").mkdir()
    assert len(drive("first").runs()) == 1
    assert len(drive("second").runs()) == 1


def test_a_copy_that_cannot_be_used_is_said_once_and_left_alone(drive, tmp_path, capsys):
    copy = tmp_path / "MyDrive" / "labkit" / progress.COPY
    copy.parent.mkdir()
    copy.write_text("{")
    store = drive("first")
    store.add_run(**ROW)
    store.add_run(**ROW | {"note": "second"})
    assert len(store.runs()) == 2 and copy.read_text() == "{"
    assert capsys.readouterr().out.count("not copied") == 1


def test_where_labkit_home_is_set_nothing_is_copied(drive, tmp_path, monkeypatch):
    monkeypatch.setenv("LABKIT_HOME", str(tmp_path / "mine"))
    drive("mine").add_run(**ROW)
    assert list((tmp_path / "MyDrive").iterdir()) == []


def test_progress_can_be_downloaded(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("LABKIT_HOME", str(tmp_path / "mine"))
    monkeypatch.chdir(tmp_path)
    progress.store().add_run(**ROW)
    progress.download()
    assert progress.COPY in capsys.readouterr().out
    assert Store(tmp_path / "other").merge(json.loads((tmp_path / progress.COPY).read_text())) == 1
    saved = []
    colab = SimpleNamespace(files=SimpleNamespace(download=saved.append))
    monkeypatch.setitem(sys.modules, "google.colab", colab)
    progress.download()
    assert saved == [progress.COPY] and capsys.readouterr().out == ""
