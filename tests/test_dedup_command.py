"""`labkit dedup`: every line in one file, every removal verified, interrupted and gone on, hostile input."""

from __future__ import annotations

import json
import pathlib
import shlex
import signal
import subprocess
import sys

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_dedup import sentences

from labkit import dedup, dedup_command
from labkit.cli import main

NAMES = ("kept.jsonl", "removed.jsonl", "rejected.jsonl")


def write(path, *rows, end="\n"):
    path.write_bytes(b"".join((row if isinstance(row, bytes) else json.dumps(row).encode()) + b"\n" for row in rows))
    if end == "":
        path.write_bytes(path.read_bytes()[:-1])
    return path


def run(path, out, *options) -> int:
    return main(["dedup", str(path), "--out", str(out), *options])


def results(out) -> tuple[list[str], list[dict], list[dict]]:
    kept, removed, rejected = ((out / name).read_bytes().decode() for name in NAMES)
    assert sorted(path.name for path in out.iterdir()) == sorted([*NAMES, "report.json"])
    return kept.splitlines(), *([json.loads(line) for line in text.splitlines()] for text in (removed, rejected))


junk = st.sampled_from(
    [
        b"",
        b"  ",
        b"nonsense",
        b"[1]",
        b'{"text": ""}',
        b'{"text": 3}',
        b'{"text": null}',
        b'{"t": "x"}',
        b'\xff{"text": "x"}',
    ]
    + [b'{"text": "caf\xe9"}', b"[" * 5000, b'{"text": "\\ud800"}', b'{"messages": [{"role": "user"}]}', b"null"]
)
good = st.sampled_from(
    ["a b c d", "A  b c d", "a b c e", "one", "ONE", "é ü", "a b c d e f g h i j", "a b c d e f g h i k"]
)
lines = st.lists(junk | good.map(lambda text: json.dumps({"text": text}, ensure_ascii=False).encode()), max_size=20)


@pytest.mark.slow
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)
@given(lines, st.sampled_from(["", "\n"]), st.integers(1, 7), st.sampled_from([0.5, 0.8, 1.0]))
def test_every_line_is_in_exactly_one_file(tmp_path_factory, given_lines, end, part_lines, threshold):
    folder = tmp_path_factory.mktemp("lines")
    path = write(folder / "in.jsonl", *given_lines, end=end if given_lines and given_lines[-1] else "\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dedup_command, "PART_LINES", part_lines)
        patch.setattr(dedup_command, "PART_PAIRS", 2)
        patch.setattr(dedup_command, "CACHED_SHINGLES", 5)
        status = run(path, folder / "out", "--threshold", str(threshold))
    texts = {}
    for number, line in enumerate(given_lines, start=1):
        try:
            texts[number] = dedup_command.line_text(line, len(line), ())
        except ValueError:
            continue
    if not texts:
        assert status == 2 and not (folder / "out" / "report.json").exists()
        return
    kept, removed, rejected = results(folder / "out")
    assert status == bool(rejected)
    assert [row["line"] for row in rejected] == [n for n in range(1, len(given_lines) + 1) if n not in texts]
    gone = [row["line"] for row in removed]
    assert [line.encode() for line in kept] == [given_lines[n - 1] for n in texts if n not in gone]
    assert all(json.dumps(row["row"], ensure_ascii=False).encode() == given_lines[row["line"] - 1] for row in removed)
    for row in removed:
        a, b = (dedup.Reading().shingles(texts[row[name]], 3) for name in ("line", "neighbour"))
        assert row["similarity"] == dedup.jaccard(a, b) >= threshold
        assert row["kept"] in texts and row["kept"] not in gone
    numbers = list(texts)
    found = dedup.find(list(texts.values()), threshold, reading=dedup.Reading())
    expected = [(numbers[r.index], numbers[r.neighbour], r.similarity, r.reason, r.cluster) for r in found.removed]
    assert [
        tuple(row[k] for k in ("line", "neighbour", "similarity", "reason", "cluster")) for row in removed
    ] == expected


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """(file of 600 texts, what `find` says of them)."""
    texts = sentences(600, seed=3)
    path = write(tmp_path_factory.mktemp("corpus") / "in.jsonl", *({"text": text} for text in texts))
    return path, dedup.find(texts, reading=dedup.Reading())


def test_the_report_says_what_the_files_hold(corpus, tmp_path, capsys):
    path, found = corpus
    assert run(path, tmp_path / "out", "--json") == 0
    out = capsys.readouterr().out
    report = json.loads(out.splitlines()[-1])
    kept, removed, rejected = results(tmp_path / "out")
    assert json.loads((tmp_path / "out" / "report.json").read_text()) == report
    assert (report["lines"], report["documents"], report["rejected"]) == (600, 600, 0) and rejected == []
    assert (report["kept"], report["removed"]) == (len(kept), len(removed)) == (len(found.kept), len(found.removed))
    assert report["removed_exact"] + report["removed_near"] == len(removed) and report["removed_exact"] > 0
    assert report["clusters"] == len(found.clusters) == len({row["cluster"] for row in removed})
    assert report["largest_cluster"] == max(map(len, found.clusters))
    assert report["least_similarity"] == min(row["similarity"] for row in removed) >= 0.8
    assert report["recall_at_threshold"] == pytest.approx(0.9855, abs=1e-4) and "98.6% of the pairs" in out
    assert [stage["count"] for stage in report["stages"]] == [stage.count for stage in found.stages]
    assert f"{len(removed)} removed" in out and found.table() in out


def test_which_member_is_kept(tmp_path):
    short, long = " ".join(f"w{i}" for i in range(30)), " ".join(f"w{i}" for i in range(31))
    path = write(tmp_path / "in.jsonl", {"text": short}, {"text": long}, {"text": short + " "})
    for keep, kept in (("first", 1), ("last", 3), ("longest", 2)):
        assert run(path, tmp_path / keep, "--keep", keep) == 0
        assert {row["kept"] for row in results(tmp_path / keep)[1]} == {kept}


def test_texts_are_found_under_their_keys(tmp_path):
    user, assistant = {"role": "user", "content": "Where is it?"}, {"role": "assistant", "content": "Over there."}
    path = write(
        tmp_path / "in.jsonl",
        {"messages": [user, assistant], "id": 1},
        {"prompt": "Where is it?", "completion": "Over there."},
        {"prompt": [user], "completion": [assistant]},
        {"text": "where is it? over there."},
    )
    assert run(path, tmp_path / "out") == 0
    assert [row["reason"] for row in results(tmp_path / "out")[1]] == ["exact", "exact", "near"]
    assert run(path, tmp_path / "one", "--text", "prompt") == 1
    kept, removed, rejected = results(tmp_path / "one")
    assert (len(kept), len(removed), len(rejected)) == (1, 1, 2)
    assert 'the key "prompt" is missing (there are: messages, id)' in rejected[0]["problem"]


KILLED = """
import os, signal, sys
from labkit import cli, dedup_command
dedup_command.PART_LINES, dedup_command.PART_PAIRS = 100, 50
where, calls = sys.argv[1], int(sys.argv[2])
before = getattr(dedup_command._Run, where) if where != "jaccard" else dedup_command.dedup.jaccard
def dies(*args):
    global calls
    calls -= 1
    if calls < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return before(*args)
setattr(dedup_command.dedup if where == "jaccard" else dedup_command._Run, where, dies)
cli.main(sys.argv[3:])
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_killed_at_any_stage_it_goes_on(corpus, tmp_path, monkeypatch, capsys):
    path, _ = corpus
    again, jaccard = [], dedup.jaccard
    monkeypatch.setattr(dedup, "jaccard", lambda a, b: again.append(1) or jaccard(a, b))
    run(path, tmp_path / "whole")
    pairs = len(again)
    done = []
    part = dedup_command._Run._part
    monkeypatch.setattr(
        dedup_command._Run, "_part", lambda run, lines, *more: done.append(lines) or part(run, lines, *more)
    )
    monkeypatch.setattr(dedup_command, "PART_LINES", 100)
    monkeypatch.setattr(dedup_command, "PART_PAIRS", 50)
    for where, calls, parts in (("_part", 3, 3), ("jaccard", 120, 0), ("_write", 0, 0)):
        out = tmp_path / where
        command = [sys.executable, "-c", KILLED, where, str(calls), "dedup", str(path), "--out", str(out)]
        assert subprocess.run(command, check=False, capture_output=True, timeout=60).returncode == -signal.SIGKILL
        assert not any((out / name).exists() for name in (*NAMES, "report.json"))
        compared = len(list((out / "unfinished").glob("similarity-*.npy")))
        assert (compared > 0) == (where != "_part")
        done.clear()
        again.clear()
        capsys.readouterr()
        assert run(path, out) == 0
        assert len(done) == parts
        assert len(again) == pairs - 50 * compared if where == "jaccard" else bool(again) == (where == "_part")
        assert "continues after line " in capsys.readouterr().err
        assert results(out) == results(tmp_path / "whole")


def test_other_settings_begin_anew(corpus, tmp_path, monkeypatch):
    path, _ = corpus
    monkeypatch.setattr(dedup_command._Run, "_write", lambda *args: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run(path, tmp_path / "out")
    monkeypatch.undo()
    assert run(path, tmp_path / "out", "--threshold", "0.5") == 0
    assert run(path, tmp_path / "fresh", "--threshold", "0.5") == 0
    assert results(tmp_path / "out") == results(tmp_path / "fresh")


def test_results_are_not_written_over_unless_asked(corpus, tmp_path, capsys):
    path, _ = corpus
    out = tmp_path / "out"
    assert run(path, out) == 0
    before = (out / "report.json").stat().st_mtime_ns
    assert run(path, out) == 0 and (out / "report.json").stat().st_mtime_ns == before
    assert "already done" in capsys.readouterr().err
    assert run(path, out, "--threshold", "0.6") == 2
    assert "holds other results" in capsys.readouterr().err
    assert run(path, out, "--threshold", "0.6", "--overwrite") == 0
    assert json.loads((out / "report.json").read_text())["asked"]["threshold"] == 0.6
    assert run(out / "kept.jsonl", out, "--overwrite") == 2
    assert "would be replaced by its own result" in capsys.readouterr().err
    (tmp_path / "mine").mkdir()
    write(tmp_path / "mine" / "kept.jsonl", {"text": "somebody's own"})
    assert run(path, tmp_path / "mine") == 2
    assert "somebody" in (tmp_path / "mine" / "kept.jsonl").read_text()


def test_a_file_that_changes_meanwhile_is_told(tmp_path, monkeypatch, capsys):
    path = write(tmp_path / "in.jsonl", {"text": "a b c"}, {"text": "d e f"})
    pairs = dedup_command._Run._pairs

    def changed(*args):
        with open(path, "a") as file:
            file.write('{"text": "late"}\n')
        return pairs(*args)

    monkeypatch.setattr(dedup_command._Run, "_pairs", changed)
    assert run(path, tmp_path / "out") == 2
    assert "was changed while it was read" in capsys.readouterr().err
    monkeypatch.undo()
    assert run(path, tmp_path / "out") == 0
    assert len(results(tmp_path / "out")[0]) == 3


def test_what_cannot_be_read_or_written_is_one_line(tmp_path, capsys):
    path = write(tmp_path / "in.jsonl", {"text": "a"})
    (tmp_path / "empty.jsonl").touch()
    bad = write(tmp_path / "bad.jsonl", b"", b"nonsense")
    for given_path, options, says in (
        (tmp_path / "none.jsonl", (), "there is no such file"),
        (tmp_path, (), "is not a file of JSON lines"),
        (tmp_path / "empty.jsonl", (), "has no usable line; line 1: the file is empty"),
        (bad, (), "has no usable line; line 1: the line is blank"),
        (path, ("--threshold", "2"), "threshold is 2.0"),
        (path, ("--text", "body"), 'the key "body" is missing'),
    ):
        assert run(given_path, tmp_path / "out", *options) == 2
        error = capsys.readouterr().err
        assert says in error and error.count("\n") == 1
    assert run(path, path) == 2
    assert capsys.readouterr().err.startswith(f"labkit: {path}")
    assert run(path, bad) == 2
    assert capsys.readouterr().err == f"labkit: {bad}: is a file; name a folder for the results\n"


def test_a_full_disk_leaves_no_half_result(corpus, tmp_path, monkeypatch, capsys):
    path, _ = corpus

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("labkit.common.os.fsync", full)
    assert run(path, tmp_path / "out") == 2
    assert "No space left on device" in capsys.readouterr().err
    monkeypatch.undo()
    assert not any((tmp_path / "out" / name).exists() for name in NAMES)
    assert run(path, tmp_path / "out") == 0


def test_a_line_of_ten_megabytes_is_rejected_and_a_long_one_is_not(tmp_path, monkeypatch):
    monkeypatch.setattr(dedup_command, "MAX_LINE_BYTES", 1_000_000)
    long = {"text": " ".join(f"w{i % 30_000}" for i in range(100_000))}
    path = write(tmp_path / "in.jsonl", {"text": "a b"}, {"text": "x " * 1_500_000}, long, {"text": "b c"}, long)
    assert run(path, tmp_path / "out") == 1
    kept, removed, rejected = results(tmp_path / "out")
    assert len(kept) == 3 and [(row["line"], row["reason"]) for row in removed] == [(5, "exact")]
    (row,) = rejected
    assert row["line"] == 2 and "longer than 1 MB" in row["problem"]
    assert row["bytes"] == len(json.dumps({"text": "x " * 1_500_000})) + 1 and len(row["text"]) == 10_000


@pytest.mark.parametrize(
    "texts, kept", [(["the same words"] * 500, 1), ([f"{i} not {i}x like {i}y" for i in range(500)], 500)]
)
def test_all_duplicates_and_none(tmp_path, texts, kept):
    assert run(write(tmp_path / "in.jsonl", *({"text": text} for text in texts)), tmp_path / "out") == 0
    assert [len(part) for part in results(tmp_path / "out")] == [kept, 500 - kept, 0]


def test_a_cluster_that_holds_everything_is_told(tmp_path, capsys):
    common = " ".join(f"word{i}" for i in range(60))
    path = write(tmp_path / "in.jsonl", *({"text": f"{common} number{i}"} for i in range(300)))
    assert run(path, tmp_path / "out") == 0
    out = capsys.readouterr().out
    assert "One cluster holds more than half of all documents" in out and "were not tried" in out
    assert len(results(tmp_path / "out")[0]) == 1


def test_windows_line_ends_and_byte_order_mark(tmp_path):
    path = tmp_path / "in.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"text": "a b c"}\r\n{"text": "A b c"}\r\n{"text": "d"}')
    assert run(path, tmp_path / "out") == 0
    kept, removed, rejected = results(tmp_path / "out")
    assert kept == ['{"text": "a b c"}', '{"text": "d"}'] and removed[0]["row"] == {"text": "A b c"} and not rejected


# What counts as the same


def texts(path, *given_texts):
    return write(path, *({"text": text} for text in given_texts))


def removed_by(tmp_path, path, *options) -> list[tuple[int, str]]:
    out = tmp_path / f"out-{len(list(tmp_path.iterdir()))}"
    assert run(path, out, *options) == 0
    return [(row["line"], row["reason"]) for row in results(out)[1]]


CHINESE = "港口的灯塔每天晚上七点钟准时点亮，守塔人会在记录本上写下当天的风向和船只数量"


def test_scripts_without_spaces_are_compared_by_characters(tmp_path, capsys):
    path = texts(tmp_path / "in.jsonl", CHINESE, CHINESE.replace("七", "八"), "船" + CHINESE[::-1], "Is the gate open?")
    assert removed_by(tmp_path, path) == [(2, "near")]
    assert "3 documents in scripts without spaces: shingles of characters" in capsys.readouterr().out
    assert removed_by(tmp_path, path, "--shingles", "words") == []
    english = texts(tmp_path / "english.jsonl", "the ferry leaves at noon", "the ferry leaves at noons")
    assert removed_by(tmp_path, english) == [] and removed_by(tmp_path, english, "--shingles", "characters") == [
        (2, "near")
    ]


def test_recall_by_characters(tmp_path):
    import random

    draw = random.Random(0)
    letters = [chr(0x4E00 + number) for number in range(800)] + [chr(0x3042 + number) for number in range(40)]
    pages = []
    for _ in range(60):
        page = draw.choices(letters, k=60)
        pages.append(page)
        for changes in (1, 2):
            copy = list(page)
            for _ in range(changes):
                copy[draw.randrange(60)] = draw.choice(letters)
            pages.append(copy)
    given_texts = ["".join(page) for page in pages]
    reading = dedup.Reading()
    exact = {pair[:2] for pair in dedup.exact_pairs([reading.shingles(text, 3) for text in given_texts], 0.8)}
    found = {pair[:2] for pair in dedup.find(given_texts, reading=reading).pairs}
    assert len(exact) > 60 and found <= exact and len(found) >= 0.95 * len(exact)


@pytest.mark.parametrize(
    "text, other",
    [
        ("هل البوابة الشمالية مفتوحة اليوم، وهل يعبرها التجار؟", "هل البوابة الشمالية مفتوحة اليوم وهل يعبرها التجار"),
        ("उत्तर का द्वार आज खुला है। व्यापारी शाम को जाते हैं।", "उत्तर का द्वार आज खुला है व्यापारी शाम को जाते हैं"),
        ("ประตูเมือง\u200bด้านเหนือ\u200bเปิด\u200bอยู่", "ประตูเมืองด้านเหนือเปิดอยู่"),  # spaces of no width
    ],
)
def test_punctuation_and_spaces_of_other_scripts(tmp_path, text, other):
    assert removed_by(tmp_path, texts(tmp_path / "in.jsonl", text, other), "--threshold", "0.95") == [(2, "near")]


def test_composed_and_decomposed_letters_are_one_text(tmp_path):
    import unicodedata

    text = "Le café près de la gare était fermé"
    path = texts(tmp_path / "in.jsonl", text, unicodedata.normalize("NFD", text))
    assert removed_by(tmp_path, path) == [(2, "exact")]


@pytest.mark.parametrize(
    "other, exact",
    [
        ("for a in b:\n    if a:\n        f(a)\n        g(a)", False),  # indentation is Python's meaning
        ("For a in b:\n    if a:\n        f(a)\n    g(a)", False),  # letter case may be what is taught
        ("for a in b:\r\n    if a:\r\n        f(a)  \r\n    g(a)\n\n", True),
    ],
)
def test_exact_copies_keep_case_and_indentation_apart(tmp_path, other, exact):
    path = texts(tmp_path / "in.jsonl", "for a in b:\n    if a:\n        f(a)\n    g(a)", other)
    assert removed_by(tmp_path, path) == [(2, "exact" if exact else "near")]


def test_what_is_ignored(tmp_path):
    rows = [f"Ticket {n} of the harbour was closed on day {n + 3}, see https://example.org/t/{n}" for n in range(3)]
    path = texts(tmp_path / "in.jsonl", *rows, rows[0].upper(), "It's “noon”, isn't it", 'It’s "noon" isn’t it.')
    assert removed_by(tmp_path, path) == [(4, "near"), (6, "near")]
    ignored = removed_by(tmp_path, path, "--ignore", "digits", "--ignore", "case", "--ignore", "punctuation")
    assert ignored == [(2, "exact"), (3, "exact"), (4, "exact"), (6, "exact")]
    assert removed_by(tmp_path, path, "--ignore", "urls", "--ignore", "digits")[:2] == [(2, "exact"), (3, "exact")]
    dots = texts(tmp_path / "dots.jsonl", "...", "!!!", "---")
    assert removed_by(tmp_path, dots, "--ignore", "punctuation") == []


def test_other_answers_to_one_prompt_stay_and_are_told(tmp_path, capsys):
    long = (
        "Is this review of the inn kind or unkind: the room was clean and the soup was warm but the bell rang all night"
    )
    user = {"role": "user", "content": long}
    path = write(
        tmp_path / "in.jsonl",
        {"prompt": long, "completion": "kind"},
        {"prompt": long, "completion": "unkind"},
        {"messages": [user, {"role": "assistant", "content": "Kind"}]},
        {"conversations": [{"from": "human", "value": long}, {"from": "gpt", "value": "kind"}]},
        {"prompt": long + " long", "completion": "kind"},
    )
    assert run(path, tmp_path / "out", "--json") == 0
    out = capsys.readouterr().out
    report = json.loads(out.splitlines()[-1])
    assert [(row["line"], row["reason"]) for row in results(tmp_path / "out")[1]] == [(4, "exact"), (5, "near")]
    assert report["conflicts"] == 1 and report["conflicts_such_as"] == [[1, 2, 3, 4]] and "decide which is right" in out


def test_a_common_system_prompt_makes_nothing_alike(tmp_path):
    system = {"role": "system", "content": " ".join(f"rule{number}" for number in range(100))}
    rows = [
        [
            system,
            {"role": "user", "content": f"Where is the {it} of the {whose}?"},
            {"role": "assistant", "content": it},
        ]
        for it, whose in (("lamp", "hall"), ("rope", "boat"), ("salt", "cook"), ("lamp", "hall"))
    ]
    assert removed_by(tmp_path, write(tmp_path / "in.jsonl", *({"messages": row} for row in rows))) == [(4, "exact")]


def test_tool_calls_and_reasoning_count(tmp_path):
    def row(**said):
        return {"messages": [{"role": "user", "content": "Is it?"}, {"role": "assistant", "content": None, **said}]}

    def call(at):
        return [{"function": {"name": "look", "arguments": {"at": at}}}]

    path = write(
        tmp_path / "in.jsonl",
        row(tool_calls=call("a")),
        row(tool_calls=call("b")),
        row(reasoning_content="no"),
        row(tool_calls=call("a")),
        row(function_call={"name": "look", "arguments": "a"}),
        row(function_call={"name": "look", "arguments": "b"}),
    )
    assert removed_by(tmp_path, path) == [(4, "exact")]


def test_a_conversation_and_its_beginning_stay(tmp_path, capsys):
    said = [" ".join(f"word{turn * 60 + place}" for place in range(60 if turn == 0 else 4)) for turn in range(4)]
    talk = [{"role": ("user", "assistant")[turn % 2], "content": text} for turn, text in enumerate(said)]
    other = [*talk[:2], talk[2] | {"content": said[2] + " now"}, talk[3]]
    path = write(tmp_path / "in.jsonl", {"messages": talk[:2]}, {"messages": talk}, {"messages": other})
    assert removed_by(tmp_path, path) == [(3, "near")]
    assert "pairs of a conversation and its beginning: 2; they stay" in capsys.readouterr().out


# Against an evaluation file


def test_what_stands_in_an_evaluation_file_goes_and_says_why(tmp_path, capsys):
    words = " ".join(f"w{number}" for number in range(40))
    train = write(
        tmp_path / "train.jsonl",
        {"prompt": "What is kept in chest 1?", "completion": "salt"},
        {"prompt": "What is kept in chest 2?", "completion": "wool"},
        {"text": words},
        {"text": words + " more"},
        {"text": "Is the gate open?"},
        {"text": "Is the gate open?"},
    )
    evaluation = write(
        tmp_path / "eval.jsonl",
        {"prompt": "What is kept in chest 1?", "completion": "bread"},
        "nonsense",
        {"text": words},
    )
    assert run(train, tmp_path / "out", "--against", str(evaluation), "--json") == 0
    out = capsys.readouterr().out
    kept, removed, rejected = results(tmp_path / "out")
    assert [json.loads(line).get("completion", "gate") for line in kept] == ["wool", "gate"] and not rejected
    told = [(row["line"], row["reason"], row.get("as"), row.get("against")) for row in removed]
    first = [(1, "evaluation", "prompt", 1), (3, "evaluation", "exact", 3), (4, "evaluation", "near", 3)]
    assert told == [*first, (6, "exact", None, None)]
    assert all(row["row"] for row in removed) and removed[2]["similarity"] > 0.9
    report = json.loads(out.splitlines()[-1])
    assert (report["removed"], report["removed_evaluation"], report["kept"]) == (4, 3, 2) and "3 more are in" in out


def test_an_evaluation_file_of_questions_alone(tmp_path, capsys):
    rows = [{"messages": [{"role": "user", "content": f"Is gate {n} open?"}, ANSWER]} for n in range(3)]
    train, evaluation = (
        write(tmp_path / "in.jsonl", *rows),
        write(tmp_path / "eval.jsonl", {"question": "Is gate 1 open?"}),
    )
    options = ["--against", str(evaluation)]
    assert run(train, tmp_path / "out", *options) == 2 and 'key "prompt" is missing' in capsys.readouterr().err
    assert run(train, tmp_path / "out", *options, "--against-text", "question") == 0
    assert [(row["line"], row["as"]) for row in results(tmp_path / "out")[1]] == [(2, "prompt")]
    assert run(train, tmp_path / "no", "--against-text", "question") == 2


ANSWER = {"role": "assistant", "content": "no"}


def test_an_evaluation_file_that_leaves_nothing_or_cannot_be_read(tmp_path, capsys):
    path = texts(tmp_path / "in.jsonl", "a b c", "d e f")
    same = texts(tmp_path / "same.jsonl", "a b c", "d e f")
    empty = write(tmp_path / "empty.jsonl")
    for against, says in (
        (path, "is the training file itself"),
        (same, "nothing would be kept"),
        (empty, "has no usable line"),
        (tmp_path / "none.jsonl", "there is no such file"),
    ):
        assert run(path, tmp_path / "out", "--against", str(against)) == 2
        error = capsys.readouterr().err
        assert says in error and error.count("\n") == 1
        assert not any((tmp_path / "out" / name).exists() for name in (*NAMES, "report.json"))


# Containers


def test_packed_files_are_read_and_others_named_with_what_converts_them(tmp_path, capsys):
    import gzip
    import subprocess as sub

    rows = [{"text": "a b c"}, {"text": "d e f"}, {"text": "a b c"}]
    lines = "".join(json.dumps(row) + "\n" for row in rows).encode()
    (tmp_path / "in.jsonl.gz").write_bytes(gzip.compress(lines))
    assert removed_by(tmp_path, tmp_path / "in.jsonl.gz") == [(3, "exact")]
    (tmp_path / "cut.jsonl.gz").write_bytes(gzip.compress(lines * 1000)[:-200])
    (tmp_path / "in.json").write_text(json.dumps(rows, indent=1))
    (tmp_path / "array.jsonl").write_text(json.dumps(rows))
    (tmp_path / "it's mine.csv").write_bytes(b"\xef\xbb\xbftext;more\r\n007;a,b\r\n")
    for name, says, expected in (
        ("cut.jsonl.gz", "cut off", None),
        ("in.json", "one JSON array", rows),
        ("array.jsonl", "one JSON array", rows),
        ("it's mine.csv", "a CSV table", [{"text": "007", "more": "a,b"}]),
    ):
        capsys.readouterr()
        assert run(tmp_path / name, tmp_path / "no") == 2
        error = capsys.readouterr().err
        assert says in error and error.count("\n") == 1
        if expected:
            call = shlex.split(error.split("`")[1])
            sub.run([sys.executable, *call[1:]], check=True, capture_output=True)
            made = pathlib.Path(call[-1])
            assert [json.loads(line) for line in made.read_text().splitlines()] == expected
            assert run(made, tmp_path / f"out {name}") == 0
