"""What learners of labs 01 to 04 wrote, right and wrong: each wrong cell is told what is wrong with it, right ones pass."""

from __future__ import annotations

import re

import pytest

from labkit.exercises import find
from labkit.exercises.engine import isolated, judge

SLIPS = [  # the exercise, the body of its function, and a part of the verdict
    ("data.minhash(ids, a, b, prime)", "return [min(p * x + q % prime for x in ids) for p, q in zip(a, b)]",
     "the modulus belongs to `b` alone"),
    ("data.minhash(ids, a, b, prime)", "return [min(p * x + q for x in ids) % prime for p, q in zip(a, b)]",
     "you take the smallest before the modulus"),
    ("data.minhash(ids, a, b, prime)", "return [min((p * x + q) % prime for x in ids) for p in a for q in b]",
     "every a with every b"),
    ("data.drop_repeated(texts, most)", "stays = [i for i, t in enumerate(texts) if t not in texts[i + 1 :]]\n"
     "return stays, len(stays) / len(texts)", "That is deduplication"),
    ("data.drop_repeated(texts, most)", "texts = [t.lower() for t in texts]\n"
     "stays = [i for i, t in enumerate(texts) if texts.count(t) <= most]\nreturn stays, len(stays) / len(texts)",
     "You change the texts before you count them"),
    ("data.drop_repeated(texts, most)", "stays = [i for i, t in enumerate(texts) if texts.count(t) <= most]\n"
     "return stays, len(texts) / len(stays)", "You divide by what stays"),
    ("data.drop_repeated(texts, most)", "stays = [i for i, t in enumerate(texts) if texts.count(t) <= most]\n"
     "return stays, 1 - len(stays) / max(len(texts), 1)", "Your share is of what was dropped"),
    ("data.drop_repeated(texts, most)", "stays = [i for i, t in enumerate(texts) if sum(t in o for o in texts) <= most]\n"
     "return stays, len(stays) / len(texts)", "only part of another one"),
    ("data.drop_repeated(texts, most)", "for t in [t for t in texts if texts.count(t) > most]:\n    texts.remove(t)\n"
     "return texts, 1.0", "changes its argument"),
    ("data.drop_repeated(texts, most)", "print([i for i, t in enumerate(texts) if texts.count(t) <= most])",
     "does every branch end with `return`? What is printed is not returned"),
    ("data.split_by_cluster(clusters, order, share)", "ids = [id for i in order for id in clusters[i]]\n"
     "return ids[: int(share * len(ids))], ids[int(share * len(ids)) :]", "You cut within a cluster"),
    ("data.split_by_cluster(clusters, order, share)", "enough, train, test = int(share * sum(map(len, clusters))), [], []\n"
     "for i in order:\n    (train if len(train) < enough else test).extend(clusters[i])\nreturn train, test",
     "You round `share` times the number of rows"),
    ("data.split_by_cluster(clusters, order, share)", "all, train, test = sum(map(len, clusters)), [], []\n"
     "for i in order:\n    (train if len(train) < share * all else test).extend(clusters[i])\nreturn test, train",
     "Your sides are swapped"),
    ("data.candidate_probability(s, bands, rows)", "return 1 - (1 - s ^ rows) ^ bands", "a power is written `**`"),
    ("tokenization.encode(ids, merges)", "ids = list(ids)\nwhile known := [p for p in zip(ids, ids[1:]) if p in merges]:\n"
     "    i = list(zip(ids, ids[1:])).index(min(known))\n    ids[i : i + 2] = [merges[min(known)]]\nreturn ids",
     "the pair whose ids are the smallest"),
    ("tokenization.encode(ids, merges)", "for pair, new in merges.items():\n    ids = merge(ids, pair, new)\nreturn ids",
     "`merge` is not defined in this cell in your line 4; the cell is tried by itself, without names of other cells"),
    ("tokenization.merge(ids, pair, new)", "out, i = [], 0\nwhile i < len(ids):\n    found = ids[i : i + 2] == pair\n"
     "    out.append(new if found else ids[i])\n    i += 2 if found else 1\nreturn out", "A list never equals a tuple"),
    ("tokenization.pad_batch(rows, pad, side)", "if side not in ('left', 'right'): raise ValueError\n"
     "rows = [torch.tensor(row) for row in rows]\nmasks = [torch.ones_like(row) for row in rows]\n"
     "put = torch.nn.utils.rnn.pad_sequence\nreturn (put(rows, True, pad, side), put(masks, True, 0, side))",
     "An empty row without a type becomes float32"),
    ("tokenization.pad_batch(rows, pad, side)", "return torch.zeros(len(rows), 2), torch.zeros(len(rows), 2)",
     "`torch.tensor([])` make float32"),
    ("masking.completion_labels(prompt, completion)", "return [-100] * (len(prompt) - 1) + completion + [-100]",
     "You shifted the labels by one"),
    ("masking.completion_labels(prompt, completion)", "return [-100] * len(prompt) + completion[:-1] + [-100]",
     "The last token is masked"),
    ("masking.completion_labels(prompt, completion)", "return [-100 if i in prompt else i for i in prompt + completion]",
     "Go by the position"),
    ("cross_entropy.token_loss(p)", "return -math.log(p)", "The formula is right, but two cases"),
    ("cross_entropy.token_loss(p)", "if p > 1: raise ValueError\nreturn math.inf if p <= 0 else -math.log(p)",
     "For p below 0 you give infinity"),
    ("cross_entropy.sequence_loss(z, y)", "keep = y > 0\nz, y = z[:-1][keep[1:]], y[1:][keep[1:]]\n"
     "if not len(y): raise ValueError\nreturn (np.logaddexp.reduce(z, axis=1) - z[range(len(y)), y]).mean()",
     "You leave out label 0 too"),
]  # fmt: skip

RIGHT = [
    ("data.drop_repeated(texts, most)", "if not texts: raise ValueError\n"
     "_, back, counts = np.unique(texts, return_inverse=True, return_counts=True)\n"
     "stays = np.flatnonzero(counts[back] <= most)\nreturn stays, len(stays) / len(texts)"),
    ("data.minhash(ids, a, b, prime)", "x = np.array(ids, dtype=object)\n"
     "return [min((p * x + q) % prime) for p, q in zip(a, b)]"),
    ("masking.completion_labels(prompt, completion)", "return np.array([*[-100 for _ in prompt], *completion])"),
    ("cross_entropy.sequence_loss(z, y)", "if (y[1:] == -100).all(): raise ValueError\n"
     "return torch.nn.functional.cross_entropy(torch.tensor(z[:-1]), torch.tensor(y[1:])).item()"),
    ("cross_entropy.accumulate(sums, counts)", "if not any(counts): raise ValueError\nreturn np.sum(sums) / np.sum(counts)"),
]  # fmt: skip


def verdict(call: str, body: str, seed: int = 0):
    id, arguments = re.fullmatch(r"([\w.]+)(\(.*\))", call).groups()
    lines = body.replace("\n", "\n    ")
    source = f'@lk.exercise("{id}")\ndef {id.split(".")[1]}{arguments}:\n    {lines}\n'
    return judge(find(id), isolated(find(id), source), seed)


@pytest.mark.parametrize("call, body, says", SLIPS, ids=lambda text: text[:40])
def test_a_slip_is_told_what_it_is(call, body, says):
    for seed in range(2):
        found = verdict(call, body, seed)
        assert not found.passed and says in found.text, found.text


@pytest.mark.parametrize("call, body", RIGHT, ids=lambda text: text[:40])
def test_a_right_solution_passes_however_it_is_written(call, body):
    for seed in range(2):
        assert verdict(call, body, seed).text == "passed"
