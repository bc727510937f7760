"""`labkit corpus`: datatrove with the kit's shingles finds the kit's clusters, where no pair is near the step of the
bands; and whatever stands in the files, each line is in exactly one of kept, removed and rejected."""

import bz2
import gzip
import json
import lzma
import random
import subprocess
import sys

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_dedup_command import good, junk

from labkit import corpus, dedup
from labkit.cli import main
from labkit.common import InputError

pytestmark = pytest.mark.slow

pytest.importorskip("datatrove")


@pytest.fixture(scope="module")
def texts():
    """Forty pages of sixty words, with up to three copies each in which a word is another: J about 0.9, or about 0."""
    draw = random.Random(0)
    words = [f"word{number}" for number in range(3000)]
    found = []
    for _ in range(40):
        page = draw.choices(words, k=60)
        found.append(page)
        for _ in range(draw.randint(0, 3)):
            copy = list(page)
            copy[draw.randrange(60)] = "Changed"
            found.append(copy)
    draw.shuffle(found)
    return [" ".join(page) for page in found]


def shards(texts, folder, count):
    folder.mkdir()
    size = -(-len(texts) // count)
    for number in range(count):
        rows = [json.dumps({"text": text}) for text in texts[number * size : (number + 1) * size]]
        (folder / f"{number}.jsonl").write_text("\n".join(rows) + "\n")
    return folder


def numbered(clusters, files) -> list[list[int]]:
    """The clusters, their members numbered over all files."""
    starts, at = {}, 0
    for file, count in files:
        starts[file], at = at, at + count
    return sorted(sorted(starts[file] + line - 1 for file, line in cluster) for cluster in clusters)


def rows(folder) -> list[str]:
    return [line for path in sorted(folder.rglob("*.jsonl")) for line in path.read_text().splitlines()]


def test_its_clusters_are_ours(texts, tmp_path):
    found, report = corpus.deduplicate(shards(texts, tmp_path / "in", 2), tmp_path / "out")
    half = -(-len(texts) // 2)
    clusters = numbered(found, [("0.jsonl", half), ("1.jsonl", len(texts) - half)])
    assert clusters == sorted(dedup.find(texts, threshold=0.7).clusters) and len(clusters) > 20
    kept = [json.loads(line)["text"] for line in rows(tmp_path / "out" / "kept")]
    assert len(kept) == report["kept"] == len(texts) - sum(len(cluster) - 1 for cluster in clusters)
    assert all(sum(texts[member] in set(kept) for member in cluster) == 1 for cluster in clusters)
    told = [json.loads(line) for line in (tmp_path / "out" / "clusters.jsonl").read_text().splitlines()]
    removed = [json.loads(line) for line in rows(tmp_path / "out" / "removed")]
    assert sorted(row["cluster"] for row in removed) == sorted(
        number for number, row in enumerate(told) for _ in row["removed"]
    )


def test_words_are_compared_as_our_shingles_are(tmp_path):
    """Case and white space make no difference; a full stop and a number do."""
    page = [f"word{number}" for number in range(40)]
    same = [" ".join(page), "  ".join(page).upper()]
    other = [" ".join(f"{word}." for word in page), " ".join(f"{word}9" for word in page)]
    found, _ = corpus.deduplicate(shards(same + other, tmp_path / "in", 1), tmp_path / "out")
    assert numbered(found, [("0.jsonl", 4)]) == [[0, 1]]


PACKED = {"": lambda data: data, ".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}
messages = [{"role": "user", "content": "a b c d"}, {"role": "assistant", "content": None, "tool_calls": []}]
usable = st.sampled_from(
    [
        b'{"messages": %s}' % json.dumps(messages[:1]).encode(),
        b'{"prompt": "a b", "completion": "c d"}',
        b'{"id": 7, "text": "a b c d", "metadata": {"k": 1}}',
        b'  {"text": "one"}  ',
    ]
)
files = st.lists(
    st.tuples(
        st.lists(junk | usable | good.map(lambda text: json.dumps({"text": text}).encode()), max_size=8),
        st.sampled_from([b"\n", b"\r\n"]),
        st.booleans(),
        st.sampled_from(list(PACKED)),
    ),
    min_size=1,
    max_size=3,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=10, deadline=None)
@given(files)
def test_every_line_of_every_file_is_in_exactly_one_place(tmp_path_factory, given_files):
    folder = tmp_path_factory.mktemp("folder")
    (folder / "in" / "deeper").mkdir(parents=True)
    lines = []
    for number, (file_lines, end, ended, packed) in enumerate(given_files):
        data = end.join(file_lines) + (end if ended and file_lines else b"")
        lines += data.split(b"\n")[: None if data and not data.endswith(b"\n") else -1]
        name = f"deeper/{number}.jsonl" if number == 1 else f"{number}.jsonl"
        (folder / "in" / (name + packed)).write_bytes(PACKED[packed](data))
    try:
        _, report = corpus.deduplicate(folder / "in", folder / "out", bands=2, rows=2)
    except InputError as error:
        assert "no usable line" in str(error) and not (folder / "out").exists()
        return
    kept, removed, rejected = (rows(folder / "out" / side) for side in corpus.SIDES)
    assert report["lines"] == len(lines) == len(kept) + len(removed) + len(rejected)
    assert (report["kept"], report["removed"], report["rejected"]) == (len(kept), len(removed), len(rejected))
    gone = [line.partition('"row": ')[2][:-1] for line in removed]
    why = [json.loads(line) for line in rejected]
    back = [line.encode() for line in kept + gone]
    assert sorted(back) == sorted(line.strip() for line in lines if line.strip() in set(back))
    assert len(back) + sum(row["problem"] != "" for row in why) == len(lines)


def test_what_cannot_be_used_is_said(tmp_path, capsys):
    def said(folder, out="out", *options) -> str:
        assert main(["corpus", str(folder), "--out", str(tmp_path / out), *options]) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        return error

    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "note.txt").write_text("x")
    assert "holds no" in said(tmp_path / "full") and "is not a folder" in said(tmp_path / "none")
    shards(["a b c"], tmp_path / "in", 1)
    assert "is not empty" in said(tmp_path / "in", "full")
    assert 'the key "body" is missing' in said(tmp_path / "in", "out", "--text", "body")
    (tmp_path / "in" / "0.jsonl.gz").write_bytes(gzip.compress(b'{"text": "a"}\n'))
    assert "0.jsonl and 0.jsonl.gz would both become 0.jsonl" in said(tmp_path / "in")
    (tmp_path / "in" / "0.jsonl.gz").rename(tmp_path / "in" / "1.jsonl.gz")
    whole = gzip.compress(b'{"text": "a b c d"}\n' * 1000)
    (tmp_path / "in" / "1.jsonl.gz").write_bytes(whole[: len(whole) // 2])
    assert "1.jsonl.gz: the compressed file is cut off or broken" in said(tmp_path / "in")
    assert not (tmp_path / "out").exists() and [p.name for p in (tmp_path / "full").iterdir()] == ["note.txt"]


def test_the_command_and_the_module(tmp_path, capsys):
    folder = shards(["a b c d"] * 3, tmp_path / "in", 1)
    assert main(["corpus", str(folder), "--out", str(tmp_path / "out"), "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out.splitlines()[-1])["removed"] == 2 and err == ""
    (folder / "more.parquet").write_bytes(b"PAR1")
    command = [sys.executable, "-m", "labkit.corpus", str(folder), "--out", str(tmp_path / "again")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1 and "more.parquet" in done.stdout and done.stderr == ""
    assert rows(tmp_path / "again" / "kept") == rows(tmp_path / "out" / "kept")
