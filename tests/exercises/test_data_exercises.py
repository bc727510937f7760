"""Lab 01's exercises: other right solutions than the reference pass, and what people write first is told apart."""

from __future__ import annotations

import pytest

from labkit.exercises import find
from labkit.exercises.engine import judge
from labkit.exercises.kinds import Comparison


def split_by_time(examples, cutoff):
    train, test = [], []
    for example in examples:
        (test if example["date"] >= cutoff else train).append(dict(example))
    return [train, test]


def split_by_cluster(clusters, order, share):
    rows, train, rest = sum(map(len, clusters)), [], list(order)
    while rest and len(train) < share * rows:
        train = train + clusters[rest.pop(0)]
    return train, [id for place in rest for id in clusters[place]]


def shingles(text, n):
    words, found = text.lower().split(), set()
    if words and len(words) < n:
        found.add(" ".join(words))
    for i in range(len(words) - n + 1):
        found.add(" ".join(words[i : i + n]))
    return frozenset(found)


def jaccard(a, b):
    return 1 if a == b else len(a.intersection(b)) / len(a.union(b))


def minhash(ids, a, b, prime):
    signature = []
    for i in range(len(a)):
        smallest = None
        for x in ids:
            value = (a[i] * x + b[i]) % prime
            if smallest is None or value < smallest:
                smallest = value
        if smallest is None:
            raise ValueError("no ids")
        signature.append(smallest)
    return tuple(signature)


def candidate_probability(s, bands, rows):
    missed = 1.0
    for _ in range(bands):
        missed *= 1 - s**rows
    return 1 - missed


def clusters(n, pairs):
    label = list(range(n))
    for i, j in pairs:
        old, new = label[j], label[i]
        label = [new if x == old else x for x in label]
    return [{i for i in range(n) if label[i] == name} for name in sorted(set(label), reverse=True)]


RIGHT = [split_by_time, split_by_cluster, shingles, jaccard, minhash, candidate_probability, clusters]


@pytest.mark.parametrize("function", RIGHT, ids=lambda function: function.__name__)
def test_another_right_solution_passes(function):
    for seed in range(5):
        assert judge(find(f"data.{function.__name__}"), function, seed).text == "passed"


def test_a_group_may_come_as_a_set_and_in_any_order():
    assert find("data.clusters").compare == Comparison(partition=True)


@pytest.mark.parametrize(
    "name, function, says",
    [
        ("jaccard", lambda a, b: len(a & b) / len(a | b), "misconception: Two empty sets have no element in either"),
        ("shingles", lambda text, n: sorted(shingles(text, n)), "yours is a list"),
        ("shingles", lambda text, n: {tuple(text.lower().split()[:n])}, "wrong for shingles("),
        (
            "minhash",
            lambda ids, a, b, prime: [min((p * x + q) % prime for x in [0, *ids]) for p, q in zip(a, b)],
            "wrong",
        ),
        ("split_by_time", lambda examples, cutoff: (examples, []), "returns its argument itself"),
        (
            "split_by_cluster",
            lambda clusters, order, share: (clusters.pop() if clusters else [], []),
            "changes its argument",
        ),
    ],
)
def test_what_people_write_first_is_answered(name, function, says):
    verdict = judge(find(f"data.{name}"), function)
    assert not verdict.passed and says in verdict.text
    assert "\n" not in verdict.text
