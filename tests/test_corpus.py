"""datatrove's pipeline with the kit's shingles finds the kit's clusters, where no pair is near the step of the bands."""

import json
import random

import pytest

from labkit import corpus, dedup
from labkit.common import InputError

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


def test_its_clusters_are_ours(texts, tmp_path):
    found = corpus.deduplicate(shards(texts, tmp_path / "in", 2), tmp_path / "out")
    assert found == sorted(dedup.find(texts, threshold=0.7).clusters) and len(found) > 20
    files = (tmp_path / "out" / "kept").iterdir()
    lines = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    kept = {line["text"] for line in lines}
    assert len(lines) == len(texts) - sum(len(cluster) - 1 for cluster in found)
    assert all(sum(texts[member] in kept for member in cluster) == 1 for cluster in found)


def test_words_are_compared_as_our_shingles_are(tmp_path):
    """Case and white space make no difference; a full stop and a number do."""
    page = [f"word{number}" for number in range(40)]
    same = [" ".join(page), "  ".join(page).upper()]
    other = [" ".join(f"{word}." for word in page), " ".join(f"{word}9" for word in page)]
    assert corpus.deduplicate(shards(same + other, tmp_path / "in", 1), tmp_path / "out") == [[0, 1]]


def test_what_cannot_be_used_is_said(tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "note.txt").write_text("x")
    with pytest.raises(InputError, match="holds no"):
        corpus.deduplicate(tmp_path / "full", tmp_path / "out")
    with pytest.raises(InputError, match="is not empty"):
        corpus.deduplicate(shards(["a b c"], tmp_path / "in", 1), tmp_path / "full")
