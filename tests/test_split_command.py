"""`labkit split`: each line in one file, clusters and days whole, the leak counted, nothing half-written."""

from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_dedup_command import good, junk, write

from labkit import dedup, split_command
from labkit.cli import main

SIDES = split_command.OUTPUTS


def run(path, out, *options) -> int:
    return main(["split", str(path), "--out", str(out), *options])


def sides(out) -> list[list[dict]]:
    return [[json.loads(line) for line in (out / name).read_text().splitlines()] for name in SIDES]


dated = st.tuples(good, st.sampled_from(["2024-01-01", "2024-02-01", "2024-03-01", None, "May"])).map(
    lambda pair: json.dumps({"text": pair[0], "date": pair[1]}).encode()
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30, deadline=None)
@given(st.lists(junk | dated, max_size=15), st.sampled_from(split_command.BY), st.sampled_from([0.1, 0.5]))
def test_every_line_is_in_exactly_one_file(tmp_path_factory, given_lines, by, share):
    folder = tmp_path_factory.mktemp("lines")
    status = run(write(folder / "in.jsonl", *given_lines), folder / "out", "--by", by, "--test", str(share))
    if status == 2:
        assert not (folder / "out").exists()
        return
    train, test, rejected = sides(folder / "out")
    report = json.loads((folder / "out" / "report.json").read_text())
    assert (report["train"], report["test"], report["rejected"]) == (len(train), len(test), len(rejected))
    assert train and test and len(test) >= round(share * (len(train) + len(test)))
    bad = [row["line"] for row in rejected]
    lines = [json.loads(line) for number, line in enumerate(given_lines, start=1) if number not in bad]
    assert sorted(map(str, lines)) == sorted(map(str, train + test)) and len(lines) + len(bad) == len(given_lines)
    if by == "time":
        assert max(row["date"] for row in train) < min(row["date"] for row in test)
    texts = [row["text"] for row in train + test]
    clusters = dedup.find(texts, reading=dedup.Reading()).clusters
    crossing = {j for cluster in clusters if min(cluster) < len(train) for j in cluster if j >= len(train)}
    assert report["leak"] == len(crossing) and (by != "cluster" or not crossing)
    assert status == bool(rejected or crossing)


def test_by_cluster_nothing_leaks_where_by_random_most_does(tmp_path, capsys):
    rows = [
        {"prompt": f"What is kept in the old chest number {n % 10}?", "completion": f"word{n % 10}"} for n in range(40)
    ]
    path = write(tmp_path / "in.jsonl", *rows)
    assert run(path, tmp_path / "cluster", "--json") == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["leak_share"] == 0
    assert run(path, tmp_path / "random", "--by", "random", "--json") == 1
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["leak_share"] == 1
    assert run(path, tmp_path / "again", "--by", "random") == 1 and sides(tmp_path / "again") == sides(
        tmp_path / "random"
    )
    assert run(path, tmp_path / "other", "--by", "random", "--seed", "1") == 1
    assert sides(tmp_path / "other") != sides(tmp_path / "random")


@pytest.mark.parametrize(
    "rows, options, says",
    [
        (["a b c", "a b c"], ["--by", "cluster"], "nothing is left for training"),
        (["a b c"], ["--by", "random"], "nothing is left for training"),
        (["a b c", "d"], ["--by", "time", "--cutoff", "2030-01-01"], "nothing is left for test"),
        (["a b c", "d"], ["--by", "time", "--cutoff", "2020-01-01"], "nothing is left for training"),
        (["a b c", "d"], ["--by", "time", "--cutoff", "May"], "the cutoff has the date 'May'"),
        (["a b c", "d"], ["--cutoff", "2024-01-01"], "belongs to --by time"),
        (["a b c", "d"], ["--test", "1.5"], "must be between 0 and 1"),
        ([], [], "the file is empty"),
    ],
)
def test_a_side_that_would_be_empty_and_other_wrong_input(tmp_path, capsys, rows, options, says):
    path = write(tmp_path / "in.jsonl", *({"text": text, "date": "2024-05-05"} for text in rows))
    assert run(path, tmp_path / "out", *options) == 2
    error = capsys.readouterr().err
    assert says in error and error.count("\n") == 1 and not (tmp_path / "out").exists()


def test_what_is_there_is_not_written_over(tmp_path, capsys):
    path = write(tmp_path / "in.jsonl", {"text": "a"}, {"text": "b"})
    assert run(path, tmp_path / "out") == 0
    before = sides(tmp_path / "out")
    assert run(path, tmp_path / "out", "--seed", "5") == 2 and "already" in capsys.readouterr().err
    assert sides(tmp_path / "out") == before
    assert run(tmp_path / "none.jsonl", tmp_path / "no") == 2 and "no such file" in capsys.readouterr().err
