"""Examples: the three forms read, everything kept, and every fault answered with file, line and key."""

from __future__ import annotations

import json
import os
import time
from datetime import date

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sums import number_questions

from labkit.common import InputError
from labkit.data import (
    Example,
    exact_answer,
    load_examples,
    save_examples,
    split,
    split_by_cluster,
    split_by_time,
    write_lines,
)

text = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(str.strip)
maybe = st.none() | text
shots = st.lists(st.tuples(text, text), max_size=2).map(tuple)
history = st.lists(st.tuples(text, text), max_size=2).map(
    lambda turns: tuple(
        {"role": role, "content": content}
        for turn in turns
        for role, content in zip(("user", "assistant"), turn, strict=True)
    )
)
examples = st.builds(Example, text, maybe, maybe, maybe, maybe, shots, maybe, text, text, text, maybe, history)


def write(path, *lines):
    path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
    return path


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50, deadline=None)
@given(st.lists(examples, min_size=1, max_size=4))
def test_what_is_saved_is_loaded(tmp_path, given_examples):
    save_examples(given_examples, tmp_path / "rows.jsonl")
    assert load_examples(tmp_path / "rows.jsonl") == given_examples


@given(examples)
def test_messages_are_the_whole_example(example):
    messages = example.messages()
    assert messages[-1] == {"role": "assistant", "content": example.completion}
    assert messages[:-1] == example.messages(completion=False)
    assert messages[-2] == {"role": "user", "content": example.prompt}
    assert (messages[0]["role"] == "system") == bool(example.system)
    assert len(messages) == 2 + len(example.history) + bool(example.system)


def test_three_forms_of_the_same_example(tmp_path):
    user, assistant = {"role": "user", "content": "Where?"}, {"role": "assistant", "content": "Here."}
    path = write(
        tmp_path / "forms.jsonl",
        {"prompt": "Where?", "completion": "Here."},
        {"prompt": [user], "completion": [assistant]},
        {"messages": [user, assistant]},
    )
    read = load_examples(path)
    assert [example.messages() for example in read] == [[user, assistant]] * 3
    assert [example.id for example in read] == ["forms.jsonl:1", "forms.jsonl:2", "forms.jsonl:3"]
    assert [example.answer for example in read] == [None] * 3


def test_other_forms_of_the_same_example(tmp_path):
    user, assistant = {"role": "user", "content": "Where?\n\nHere or there?"}, {"role": "assistant", "content": "Here."}
    parts = [{"type": "text", "text": "Where?"}, "", {"text": "Here or there?"}]
    path = write(
        tmp_path / "forms.jsonl",
        {"conversations": [{"from": "human", "value": user["content"]}, {"from": "gpt", "value": "Here."}]},
        {"conversations": [user, assistant], "messages": None},
        {"instruction": "Where?", "input": "Here or there?", "output": "Here."},
        {"instruction": user["content"], "input": "", "output": "Here."},
        {"messages": [{"role": "user", "content": parts}, assistant | {"tool_calls": None}]},
    )
    assert [example.messages() for example in load_examples(path)] == [[user, assistant]] * 5


def test_tool_calls_and_reasoning_are_kept(tmp_path):
    call = {"id": "c", "type": "function", "function": {"name": "look", "arguments": {"at": "gate"}}}
    messages = [
        {"role": "user", "content": "Is it open?"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c", "content": "open"},
        {"role": "assistant", "content": "yes", "reasoning_content": "I looked."},
    ]
    rows = [
        {"messages": messages, "tools": [{"name": "look"}]},
        {"messages": messages[:2], "tools": '[{"name": "look"}]'},
    ]
    told, called = read = load_examples(write(tmp_path / "tools.jsonl", *rows))
    assert told.messages() == messages and told.messages(completion=False) == messages[:-1]
    assert (told.prompt, told.completion, called.completion) == ("Is it open?", "yes", "")
    assert called.messages() == messages[:2] and told.tools == called.tools == ({"name": "look"},)
    save_examples(read, tmp_path / "again.jsonl")
    again = load_examples(tmp_path / "again.jsonl")
    assert again == read


ROWS = [{"prompt": "Is it é?", "completion": 'yes, "it" is'}, {"prompt": "007", "completion": "None"}]


@pytest.mark.parametrize("form", ["array", "pretty", "gz", "bz2", "xz", "csv", "tsv", "parquet", "bom"])
def test_containers(form, tmp_path):
    import bz2
    import csv
    import gzip
    import lzma

    lines = "".join(json.dumps(row) + "\n" for row in ROWS)
    path = tmp_path / f"mine.{form if form in ('csv', 'tsv') else 'jsonl'}"
    if form in ("csv", "tsv"):
        with open(path, "w", newline="") as file:
            table = csv.DictWriter(file, ROWS[0], delimiter="," if form == "csv" else "\t")
            table.writeheader()
            table.writerows(ROWS)
    elif form == "parquet":
        import pyarrow
        import pyarrow.parquet

        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS), path)
    elif form in ("gz", "bz2", "xz"):
        path.write_bytes({"gz": gzip, "bz2": bz2, "xz": lzma}[form].compress(lines.encode()))
    elif form == "bom":
        path.write_text("\n" + json.dumps(ROWS), encoding="utf-8-sig")
    else:
        path.write_text(json.dumps(ROWS, indent=1 if form == "pretty" else None))
    assert [{"prompt": each.prompt, "completion": each.completion} for each in load_examples(path)] == ROWS


def test_json_lines_of_a_table_or_an_array_are_whole_or_not_there(tmp_path):
    import pyarrow
    import pyarrow.parquet

    rows = [{"prompt": "a", "completion": None, "calls": [{"n": 2**70, "of": "\ud800"}]}, {"prompt": "é\u2028"}]
    (tmp_path / "a.json").write_text(json.dumps(rows))
    table = [{"date": "2024-06-30", "turns": [{"role": "user"}, {"role": None}]}] * 3
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(table), tmp_path / "a.parquet")
    for name, expected in (("a.json", rows), ("a.parquet", table)):
        assert write_lines(tmp_path / name, tmp_path / f"{name}l") == len(expected)
        made = (tmp_path / f"{name}l").read_bytes().decode().split("\n")
        assert [json.loads(line) for line in made if line] == expected
    (tmp_path / "ragged.csv").write_text("prompt,completion\na,b\nc\n")
    (tmp_path / "empty.csv").write_text("prompt,completion\n")
    there = sorted(tmp_path.iterdir())
    for name, target, says in (
        ("ragged.csv", "b", "line 3: has more or fewer values"),
        ("empty.csv", "b", "holds no rows"),
        ("missing.csv", "b", "no such file"),
        ("a.json", "a.parquet", "is there already"),
    ):
        with pytest.raises(InputError, match=says):
            write_lines(tmp_path / name, tmp_path / target)
    assert sorted(tmp_path.iterdir()) == there


def test_a_table_of_conversations(tmp_path):
    import pyarrow
    import pyarrow.parquet

    talk = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    called = [talk[0], {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "f"}}]}]
    table = pyarrow.Table.from_pylist([{"messages": talk}, {"messages": called}])
    pyarrow.parquet.write_table(table, tmp_path / "talk.parquet")
    assert [each.messages() for each in load_examples(tmp_path / "talk.parquet")] == [talk, called]


def test_broken_containers_are_one_line(tmp_path, monkeypatch):
    import gzip

    whole = gzip.compress(b'{"prompt": "a", "completion": "b"}\n' * 1000)
    (tmp_path / "cut.jsonl.gz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "cut.parquet").write_bytes(b"PAR1" + b"x" * 50)
    (tmp_path / "ragged.csv").write_text("prompt,completion\na,b\nc,d,e,f\n")
    (tmp_path / "short.csv").write_text("prompt,completion\na,b\nc\n")
    (tmp_path / "latin.csv").write_bytes(b"prompt,completion\na,caf\xe9\n")
    (tmp_path / "twice.csv").write_text("prompt;prompt;completion\na;b;c\n")
    (tmp_path / "twice.json").write_text('[{"prompt": "a", "prompt": "b", "completion": "c"}]')
    (tmp_path / "wide.jsonl").write_text('{"prompt": "a", "completion": "b"}\n', encoding="utf-16-le")
    (tmp_path / "wide.csv").write_text("prompt,completion\na,b\n", encoding="utf-16")
    (tmp_path / "cut.json").write_text('[{"prompt": "a", "completion": "b"},\n {"prompt"')
    (tmp_path / "wide.json").write_text(json.dumps({"data": [{"prompt": "a", "completion": "b"}]}, indent=1))
    (tmp_path / "a.jsonl.zst").write_bytes(b"\x28\xb5\x2f\xfd" + bytes(9))
    (tmp_path / "a.xlsx").write_bytes(b"PK\x03\x04" + bytes(9))
    (tmp_path / "a.arrow").write_bytes(b"\xff\xff\xff\xff" + bytes(9))
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / "dataset_info.json").write_text("{}")
    for name, says in (
        ("cut.jsonl.gz", "the compressed file is cut off"),
        ("cut.parquet", "cannot be read as parquet"),
        ("ragged.csv", "line 3: has more or fewer values"),
        ("short.csv", "line 3: has more or fewer values"),
        ("latin.csv", "not valid UTF-8"),
        ("twice.csv", 'the header has "prompt" twice'),
        ("twice.json", 'a row has "prompt" twice'),
        ("wide.jsonl", "UTF-16; save the file as UTF-8"),
        ("wide.csv", "UTF-16; save the file as UTF-8"),
        ("cut.json", "line 1: broken JSON"),
        ("wide.json", "objects over several lines.*jq -c"),
        ("a.jsonl.zst", "zstd -d"),
        ("a.xlsx", "save the sheet as CSV"),
        ("a.arrow", "Dataset.from_file"),
        ("saved", "load_from_disk"),
    ):
        with pytest.raises(InputError, match=says) as error:
            load_examples(tmp_path / name)
        assert str(error.value).startswith(str(tmp_path / name)) and "\n" not in str(error.value)
    monkeypatch.setattr("labkit.data.MAX_FILE_BYTES", 10_000)
    (tmp_path / "bomb.jsonl.gz").write_bytes(whole)
    with pytest.raises(InputError, match="unpacked it is over the limit"):
        load_examples(tmp_path / "bomb.jsonl.gz")


def test_a_system_and_a_developer_message_are_both_kept(tmp_path):
    messages = [{"role": role, "content": role} for role in ("system", "developer", "user", "assistant")]
    (example,) = load_examples(write(tmp_path / "talk.jsonl", {"messages": messages}))
    assert example.messages() == messages and (example.prompt, example.completion) == ("user", "assistant")
    with pytest.raises(InputError, match='message 2 has role "system"'):
        load_examples(write(tmp_path / "two.jsonl", {"messages": [messages[0], *messages[:1], *messages[2:]]}))


def test_earlier_turns_are_kept(tmp_path):
    messages = [{"role": "system", "content": "Be brief."}]
    messages += [{"role": role, "content": f"{role} {turn}"} for turn in range(3) for role in ("user", "assistant")]
    (example,) = load_examples(write(tmp_path / "talk.jsonl", {"messages": messages}))
    assert (example.system, example.prompt, example.completion) == ("Be brief.", "user 2", "assistant 2")
    assert example.messages() == messages


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('{"prompt": "a", "completion"', "broken JSON at column"),
        ("[1, 2]", "type list, not an object"),
        ("[" * 100_000, "broken JSON"),
        ('{"prompt": "a", "prompt": "b", "completion": "c"}', 'has "prompt" twice'),
        ({"prompt": "a"}, 'key "completion" is missing'),
        ({"completion": "a"}, 'key "prompt" is missing'),
        ({"text": "a"}, 'key "prompt" is missing'),
        ({"prompt": "a", "completion": " \n"}, '"completion" is empty'),
        ({"prompt": "", "completion": "a"}, '"prompt" is empty'),
        ({"prompt": "a", "completion": 3}, '"completion" is of type int'),
        ({"prompt": "a", "completion": None}, '"completion" is null'),
        ({"prompt": "a", "completion": "\ud800"}, "surrogate"),
        ({"prompt": "a", "completion": [{"role": "assistant", "content": "b"}]}, '"prompt" is of type str, not a list'),
        ({"prompt": "a", "completion": "b", "shots": [["q"]]}, '"shots" is a list'),
        ({"prompt": "a", "completion": "b", "date": 2024}, '"date" is of type int'),
        ({"messages": "hello"}, '"messages" is of type str'),
        ({"messages": []}, "not the assistant's"),
        ({"messages": [{"role": "user"}]}, '"messages", message 1'),
        (
            {"messages": [{"role": "user", "content": [{"type": "image"}]}]},
            '"messages", message 1: "content" holds a part',
        ),
        ({"messages": [{"role": "user", "content": 3}]}, '"messages", message 1: "content" is of type int'),
        (
            {"messages": [{"role": "assistant", "content": None}]},
            '"messages", message 1: "content" is null',
        ),
        ({"conversations": [{"from": "human"}]}, '"conversations", message 1: "content" is null'),
        (
            {"instruction": "a", "input": "", "response": "b"},
            'key "output" is missing (there are: instruction, input, r',
        ),
        ({"prompt": "a", "chosen": "b", "rejected": "c"}, 'rename "chosen" to "completion"'),
        ({"messages": [{"role": "assistant", "content": "a", "function_call": {"name": "f"}}]}, '"tool_calls": [{'),
        ({"prompt": "a", "completion": "b", "tools": "x"}, '"tools" is a list'),
        ({"messages": [{"role": "user", "content": "a"}]}, "not the assistant's"),
        ({"messages": [{"role": "assistant", "content": "a"}]}, 'message 1 has role "assistant" where "user"'),
        (
            {
                "messages": [
                    {"role": "system", "content": "s"},
                    {"role": "user", "content": "a"},
                    {"role": "tool", "content": "b"},
                ]
            },
            'message 3 has role "tool" where "assistant"',
        ),
        (
            {"messages": [{"role": "user", "content": "a"}, {"role": "system", "content": "s"}]},
            'message 2 has role "system"',
        ),
    ],
)
def test_a_bad_line_is_named(tmp_path, line, says):
    path = write(tmp_path / "bad.jsonl", {"prompt": "a", "completion": "b"}, "", line)
    with pytest.raises(InputError) as error:
        load_examples(path)
    message = str(error.value)
    assert message.startswith(f"{path}, line 3: ") and says in message
    assert "\n" not in message and len(message) < 500

    good = load_examples(path, skip_bad=True)
    assert [example.prompt for example in good] == ["a"]
    (rejected,) = map(json.loads, open(f"{path}.rejected.jsonl", encoding="utf-8"))
    assert rejected["line"] == 3 and says in rejected["problem"]


def test_skipping_says_how_many_and_keeps_the_lines(tmp_path, capsys):
    path = tmp_path / "mixed.jsonl"
    path.write_bytes(b'{"prompt": "a", "completion": "b"}\n{"prompt": "caf\xe9"}\nnonsense\n')
    assert len(load_examples(path, skip_bad=True)) == 1
    assert f"2 bad lines skipped, kept in {path}.rejected.jsonl" in capsys.readouterr().err
    kept = [json.loads(line) for line in open(f"{path}.rejected.jsonl", encoding="utf-8")]
    assert [row["text"].strip() for row in kept] == ['{"prompt": "caf\\xe9"}', "nonsense"]


def test_files_that_cannot_be_read(tmp_path):
    (tmp_path / "empty.jsonl").touch()
    (tmp_path / "latin.jsonl").write_bytes(b'{"prompt": "caf\xe9", "completion": "b"}\n')
    for name, says in {
        "none.jsonl": "there is no such file",
        ".": "is a folder",
        "empty.jsonl": "is empty",
        "latin.jsonl": "line 1: byte 16 is not valid UTF-8",
    }.items():
        with pytest.raises(InputError, match=says) as error:
            load_examples(str(tmp_path / name))
        assert str(error.value).startswith(str(tmp_path))
    with pytest.raises(InputError, match="no usable line"):
        load_examples(write(tmp_path / "all_bad.jsonl", "nonsense"), skip_bad=True)


def test_a_large_file_is_refused_at_once_or_streamed(tmp_path):
    path = write(tmp_path / "large.jsonl", *({"prompt": "a", "completion": str(number)} for number in range(5)))
    with open(path, "r+b") as file:
        file.truncate(1_000_000_000)  # a hole: a gigabyte of zero bytes that takes no room
    started = time.perf_counter()
    with pytest.raises(InputError, match="1000 MB is over the limit of 200 MB"):
        load_examples(path)
    assert [example.completion for example in load_examples(path, limit=3)] == ["0", "1", "2"]
    with pytest.raises(InputError, match="line 6: longer than 10 MB"):
        load_examples(path, limit=6)
    assert time.perf_counter() - started < 1


def test_byte_order_mark_and_windows_line_ends(tmp_path):
    path = tmp_path / "windows.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"prompt": "a", "completion": "b"}\r\n{"prompt": "c", "completion": "d"}\r\n')
    assert [example.completion for example in load_examples(path)] == ["b", "d"]


@pytest.mark.parametrize("broken", ["fsync", "replace"])
def test_a_failed_write_leaves_what_was_there(tmp_path, monkeypatch, broken):
    path = tmp_path / "rows.jsonl"
    before = number_questions(2)
    save_examples(before, path)

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, broken, full)
    with pytest.raises(InputError, match="rows.jsonl: cannot be written .No space left"):
        save_examples(number_questions(5), path)
    assert load_examples(path) == before
    assert os.listdir(tmp_path) == ["rows.jsonl"]


def test_data_sets_of_the_hub(monkeypatch):
    import datasets

    rows = [{"prompt": "a", "completion": str(number)} for number in range(4)]
    monkeypatch.setattr(datasets, "get_dataset_split_names", lambda name: ["test", "train"])
    monkeypatch.setattr(datasets, "load_dataset", lambda name, split, streaming: rows if split == "train" else [])
    assert [example.completion for example in load_examples("owner/name", limit=2)] == ["0", "1"]
    rows[1] = {"prompt": "a"}
    with pytest.raises(InputError, match='owner/name, line 2: the key "completion"'):
        load_examples("owner/name")

    def unreachable(name):
        raise ConnectionError("no route\nto the hub")

    monkeypatch.setattr(datasets, "get_dataset_split_names", unreachable)
    with pytest.raises(InputError, match="owner/name: neither a file here nor a data set .* .no route."):
        load_examples("owner/name")


@given(st.integers(2, 60), st.floats(0.01, 0.99), st.integers(0, 2**32))
def test_split_is_a_partition_that_the_seed_decides(n, share, seed):
    rows = number_questions(n)
    kept, held = split(rows, share, seed)
    assert sorted(kept + held, key=rows.index) == rows and kept and held
    assert abs(len(held) - share * n) <= 1
    assert split(rows, share, seed) == (kept, held)


def test_split_differs_by_seed_and_refuses_nonsense():
    rows = number_questions(50)
    assert split(rows, 0.5, 0) != split(rows, 0.5, 1)
    for share in (0, 1, float("nan")):
        with pytest.raises(InputError, match="share"):
            split(rows, share, 0)
    with pytest.raises(InputError, match="at least 2"):
        split(rows[:1], 0.5, 0)


def test_exact_answer():
    assert exact_answer("2 + 2 = 4. Answer: 4") == "4"
    assert exact_answer("Answer: 3, no. Answer:  Fenwick Vale \n") == "Fenwick Vale"
    assert exact_answer("The answer is 4") == exact_answer("Answer:") == ""


days = st.dates(min_value=date(2020, 1, 1), max_value=date(2020, 12, 31)).map(date.isoformat)


@settings(deadline=None)
@given(st.lists(days, max_size=20), days)
def test_a_split_by_time_loses_nothing_and_mixes_nothing(given_days, cutoff):
    rows = [{"id": number, "date": day} for number, day in enumerate(given_days)]
    train, test = split_by_time(rows, cutoff)
    assert all(row["date"] < cutoff for row in train) and all(row["date"] >= cutoff for row in test)
    assert sorted(train + test, key=lambda row: row["id"]) == rows
    assert train == [row for row in rows if row in train] and test == [row for row in rows if row in test]


def test_a_cutoff_outside_the_data_leaves_a_side_empty():
    rows = [{"date": "2024-01-31"}, {"date": "2024-02-01"}]
    assert split_by_time(rows, "2025-01-01") == (rows, []) and split_by_time(rows, "2023-01-01") == ([], rows)
    assert split_by_time(rows, "2024-02-01") == (rows[:1], rows[1:])


@pytest.mark.parametrize(
    "day", [None, "", "2024-1-31", "31.01.2024", "20240131", "2024-02-30", "2024-01-31T10:00", 2024]
)
def test_a_date_that_is_missing_or_written_otherwise_is_named(day):
    with pytest.raises(ValueError, match="example 1 has the date") as error:
        split_by_time([{"date": "2024-01-31"}, {"date": day}], "2024-02-01")
    assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match="example 0 has the date None"):
        split_by_time([{}], "2024-02-01")
    with pytest.raises(ValueError, match="the cutoff has the date"):
        split_by_time([], day)


@settings(deadline=None)
@given(st.lists(st.integers(1, 6), max_size=8), st.sampled_from([0, 0.25, 0.5, 0.75, 1]), st.randoms())
def test_a_split_by_cluster_keeps_clusters_whole(sizes, share, draw):
    ids = iter(range(sum(sizes)))
    clusters = [[next(ids) for _ in range(size)] for size in sizes]
    order = draw.sample(range(len(sizes)), len(sizes))
    train, test = split_by_cluster(clusters, order, share)
    assert train + test == [id for place in order for id in clusters[place]]
    assert all(set(cluster) <= set(train) or set(cluster) <= set(test) for cluster in clusters)
    assert len(train) >= share * sum(sizes)
    last = next((cluster for cluster in clusters if train and train[-1] in cluster), [])
    assert not train or len(train) - len(last) < share * sum(sizes)


def test_a_cluster_that_holds_everything_leaves_test_empty():
    assert split_by_cluster([[1, 2, 3]], [0], 0.5) == ([1, 2, 3], [])
    for order in ([], [1], [0, 0]):
        with pytest.raises(ValueError, match="name each of the 1 clusters once"):
            split_by_cluster([[1, 2, 3]], order, 0.5)
