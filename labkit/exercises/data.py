"""Exercises of lab 01: from texts to near-duplicates, and splits that do not leak."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from labkit import data, dedup
from labkit.exercises.kinds import Comparison, Exercise, Probe, mistake

WORDS = "the old river town market bread price of salt pepper mill runs north day".split()

# drop_repeated


def repeated_probes(rng: random.Random) -> Iterator[Probe]:
    yield Probe(([], 1), "edges")
    yield Probe((["Answer: 3"], 1), "edges")
    yield Probe((["page", "page"], 1), "edges")  # nothing stays
    yield Probe((["page", "page"], 2), "edges")  # exactly as often as allowed
    yield Probe((["a", "b", "a", "c", "b", "a"], 2), "edges")
    yield Probe((["Page", "page", "page ", "page"], 1), "edges")  # other letters, another text
    yield Probe((["North", "north", " north"], 1), "edges")
    yield Probe((["mill", "mill 7", "mills"], 1), "edges")  # a text that is part of another is another text
    yield Probe((["Answer: 3", "Answer: 4", "Answer: 5"], 0), "edges")
    yield Probe(([], 2), "typical")
    word, *others = (f"Answer: {each}" for each in rng.sample(WORDS, 3))
    yield Probe(([word, word.upper(), f"{word} ", *others, *others], 1), "typical")
    for _ in range(5):
        texts = [f"Answer: {word}" for word in rng.sample(WORDS, 6)]
        most = rng.randint(1, 3)
        times = [most, most + 1, most + 3, 1, 1, 1]
        drawn = [text for text, count in zip(texts, times) for _ in range(count)]
        rng.shuffle(drawn)
        yield Probe((drawn, most), "typical")


ONE_KEPT = (
    "You keep one of each text. That is deduplication. Here a text that occurs more than `most` times goes with all its "
    "copies, and the others stay with all of theirs."
)
SOME_KEPT = (
    "Of a text that occurs too often you keep some copies. All of them go: count the whole list first, then decide for "
    "each place."
)
CHANGED_FIRST = (
    "You change the texts before you count them (case, spaces). Here two completions are the same only if they are equal "
    "letter by letter."
)


@mistake("one of each kept, the first", ONE_KEPT)
def repeated_first_kept(completions, most):
    stays = [place for place, text in enumerate(completions) if text not in completions[:place]]
    return stays, len(stays) / len(completions)


@mistake("one of each kept, the last", ONE_KEPT)
def repeated_last_kept(completions, most):
    stays = [place for place, text in enumerate(completions) if text not in completions[place + 1 :]]
    return stays, len(stays) / len(completions)


@mistake("the first copies kept", SOME_KEPT)
def repeated_first_copies_kept(completions, most):
    stays = [place for place, text in enumerate(completions) if completions[: place + 1].count(text) <= most]
    return stays, len(stays) / len(completions)


@mistake("the first copies kept, and one more", SOME_KEPT)
def repeated_first_copies_and_one_kept(completions, most):
    stays = [place for place, text in enumerate(completions) if completions[:place].count(text) <= most]
    return stays, len(stays) / len(completions)


@mistake("the last copies kept", SOME_KEPT)
def repeated_last_copies_kept(completions, most):
    stays = [place for place, text in enumerate(completions) if completions[place:].count(text) <= most]
    return stays, len(stays) / len(completions)


@mistake("one copy of the frequent kept", SOME_KEPT)
def repeated_one_copy_kept(completions, most):
    stays = [
        place
        for place, text in enumerate(completions)
        if completions.count(text) <= most or text not in completions[:place]
    ]
    return stays, len(stays) / len(completions)


@mistake("case left out", CHANGED_FIRST)
def repeated_without_case(completions, most):
    texts = [text.lower() for text in completions]
    stays = [place for place, text in enumerate(texts) if texts.count(text) <= most]
    return stays, len(stays) / len(completions)


@mistake("spaces left out", CHANGED_FIRST)
def repeated_without_spaces(completions, most):
    texts = [text.strip() for text in completions]
    stays = [place for place, text in enumerate(texts) if texts.count(text) <= most]
    return stays, len(stays) / len(completions)


@mistake("case and spaces left out", CHANGED_FIRST)
def repeated_normalized(completions, most):
    texts = [text.strip().lower() for text in completions]
    stays = [place for place, text in enumerate(texts) if texts.count(text) <= most]
    return stays, len(stays) / len(completions)


@mistake(
    "part of a text",
    "You also count a text where it is only part of another one: compare whole completions, with `==`.",
)
def repeated_as_part(completions, most):
    stays = [place for place, text in enumerate(completions) if sum(text in other for other in completions) <= most]
    return stays, len(stays) / len(completions)


@mistake(
    "dropped from `most` on",
    "You also drop what occurs exactly `most` times. It may occur as often as that; only above it is dropped.",
)
def repeated_boundary(completions, most):
    stays = [place for place, text in enumerate(completions) if completions.count(text) < most]
    return stays, len(stays) / len(completions)


@mistake("rate turned round", "You divide by what stays. The keep rate is what stays, divided by all that came in.")
def repeated_rate_turned_round(completions, most):
    stays = [place for place, text in enumerate(completions) if completions.count(text) <= most]
    return stays, len(completions) / len(stays)


@mistake(
    "stays over dropped", "You divide by the number that was dropped. The denominator is all completions that came in."
)
def repeated_over_dropped(completions, most):
    stays = [place for place, text in enumerate(completions) if completions.count(text) <= most]
    return stays, len(stays) / (len(completions) - len(stays))


@mistake("drop rate", "Your share is of what was dropped. A keep rate is the share that stays.")
def repeated_drop_rate(completions, most):
    stays = [place for place, text in enumerate(completions) if completions.count(text) <= most]
    return stays, 1 - len(stays) / len(completions)


@mistake(
    "distinct texts below the line",
    "You divide by the number of different texts. The denominator is all completions that came in.",
)
def repeated_distinct(completions, most):
    stays = [place for place, text in enumerate(completions) if completions.count(text) <= most]
    return stays, len(stays) / len(set(completions))


@mistake("texts for places", "You return the texts. Return their places in the list, counted from 0.")
def repeated_texts(completions, most):
    stays = [text for text in completions if completions.count(text) <= most]
    return stays, len(stays) / len(completions)


@mistake("places from 1", "Your places are counted from 1. Python counts them from 0.")
def repeated_from_one(completions, most):
    stays = [place for place, text in enumerate(completions, start=1) if completions.count(text) <= most]
    return stays, len(stays) / len(completions)


@mistake("in percent", "Your keep rate is in percent. Return a share between 0 and 1.")
def repeated_percent(completions, most):
    stays = [place for place, text in enumerate(completions) if completions.count(text) <= most]
    return stays, 100 * len(stays) / len(completions)


@mistake(
    "the repeated ones kept",
    "You keep what occurs too often and drop the rest. The comparison is the wrong way round.",
)
def repeated_kept(completions, most):
    stays = [place for place, text in enumerate(completions) if completions.count(text) > most]
    return stays, len(stays) / len(completions)


@mistake(
    "nothing has a rate",
    "Without completions you return a rate. There is no denominator then: raise a `ValueError`.",
)
def repeated_of_nothing(completions, most):
    stays = [place for place, text in enumerate(completions) if completions.count(text) <= most]
    return stays, len(stays) / max(len(completions), 1)


DROP_REPEATED = Exercise(
    id="data.drop_repeated",
    points=1,
    minutes=4,
    reference=data.drop_repeated,
    probes=repeated_probes,
    misconceptions=(
        repeated_first_kept,
        repeated_last_kept,
        repeated_first_copies_kept,
        repeated_first_copies_and_one_kept,
        repeated_last_copies_kept,
        repeated_one_copy_kept,
        repeated_without_case,
        repeated_without_spaces,
        repeated_normalized,
        repeated_as_part,
        repeated_boundary,
        repeated_rate_turned_round,
        repeated_over_dropped,
        repeated_drop_rate,
        repeated_distinct,
        repeated_texts,
        repeated_from_one,
        repeated_percent,
        repeated_kept,
        repeated_of_nothing,
    ),
    hints=(
        "Count first, then decide for each place. `dict.get(text, 0)` counts; the list keeps its order.",
        "A text stays if it occurs at most `most` times in the whole list. The rate is stays / all.",
        "stays = [i for i, text in enumerate(completions) if times[text] <= most]; return stays, len(stays) / "
        "len(completions); and a ValueError for an empty list",
    ),
)


# split_by_time


def time_probes(rng: random.Random) -> Iterator[Probe]:
    def rows(*dates):
        return [{"id": number, "date": date} for number, date in enumerate(dates)]

    yield Probe(([], "2024-06-01"), "edges")
    yield Probe((rows("2024-06-01"), "2024-06-01"), "edges")
    yield Probe((rows("2024-05-31", "2024-06-02"), "2024-06-01"), "edges")
    yield Probe((rows("2024-06-02", "2024-05-31"), "2024-06-01"), "edges")
    yield Probe((rows("2023-01-01", "2023-02-01", "2023-01-15"), "2024-01-01"), "edges")
    yield Probe((rows("2025-03-01", "2025-02-01", "2025-02-15"), "2024-01-01"), "edges")
    yield Probe((rows("2024-12-31", "2025-01-01", "2024-12-31"), "2025-01-01"), "edges")
    yield Probe((rows("2024-02-10", "2024-02-09", "2024-01-11"), "2024-02-10"), "edges")
    for _ in range(4):
        month = rng.randint(2, 11)
        day = rng.randint(2, 27)
        cutoff, eve = f"2024-{month:02d}-{day:02d}", f"2024-{month:02d}-{day - 1:02d}"
        before = [f"2024-{rng.randint(1, month - 1):02d}-{rng.randint(1, 28):02d}" for _ in range(rng.randint(1, 2))]
        after = [f"2024-{rng.randint(month + 1, 12):02d}-{rng.randint(1, 28):02d}" for _ in range(rng.randint(1, 2))]
        dates = [*before, *after, cutoff, eve]
        rng.shuffle(dates)
        yield Probe((rows(after[0], *dates, before[0]), cutoff), "typical")


@mistake(
    "boundary day in train",
    "You put the cutoff's own day into train. It belongs to test: train ends on the day before.",
)
def time_boundary_in_train(examples, cutoff):
    return [e for e in examples if e["date"] <= cutoff], [e for e in examples if e["date"] > cutoff]


@mistake(
    "boundary day on both sides",
    "The cutoff's own day is in train and in test: the test contains training examples, which is exactly the leak "
    "that a split must prevent.",
)
def time_boundary_in_both(examples, cutoff):
    return [e for e in examples if e["date"] <= cutoff], [e for e in examples if e["date"] >= cutoff]


@mistake(
    "boundary day on neither side",
    "The cutoff's own day is on neither side: those examples are lost. One of the two comparisons must include it: "
    "the one for test.",
)
def time_boundary_in_none(examples, cutoff):
    return [e for e in examples if e["date"] < cutoff], [e for e in examples if e["date"] > cutoff]


@mistake(
    "a share of the rows",
    "You cut at a share of the rows, whatever their dates. The cutoff decides, however many rows that gives.",
)
def time_share_of_rows(examples, cutoff):
    examples = sorted(examples, key=lambda e: e["date"])
    count = round(0.8 * len(examples))
    return examples[:count], examples[count:]


@mistake(
    "sides exchanged",
    "Your sides are swapped: you train on the later examples and test on the past. Train comes first.",
)
def time_sides_exchanged(examples, cutoff):
    return [e for e in examples if e["date"] >= cutoff], [e for e in examples if e["date"] < cutoff]


@mistake("sorted by date", "You sorted the examples by date. The split is right, but both sides keep the given order.")
def time_sorted(examples, cutoff):
    examples = sorted(examples, key=lambda e: e["date"])
    return [e for e in examples if e["date"] < cutoff], [e for e in examples if e["date"] >= cutoff]


@mistake(
    "cut at the first late row",
    "You cut the list at the first example that is late enough. The list may be unsorted: an older one after that "
    "place lands in test.",
)
def time_first_late_row(examples, cutoff):
    count = next((number for number, e in enumerate(examples) if e["date"] >= cutoff), len(examples))
    return list(examples[:count]), list(examples[count:])


@mistake(
    "compares months",
    "You compare months: days of the cutoff's month that lie before it land in test. Compare the whole date.",
)
def time_by_month(examples, cutoff):
    return (
        [e for e in examples if e["date"][:7] < cutoff[:7]],
        [e for e in examples if e["date"][:7] >= cutoff[:7]],
    )


SPLIT_BY_TIME = Exercise(
    id="data.split_by_time",
    points=1,
    minutes=3,
    reference=data.split_by_time,
    probes=time_probes,
    misconceptions=(
        time_boundary_in_train,
        time_boundary_in_both,
        time_boundary_in_none,
        time_share_of_rows,
        time_sides_exchanged,
        time_sorted,
        time_first_late_row,
        time_by_month,
    ),
    hints=(
        "Each example is looked at by itself: is its date before the cutoff, or not?",
        "ISO days compare correctly as text: '2024-05-31' < '2024-06-01'. The cutoff's own day is test.",
        "Two list comprehensions over examples: one with example['date'] < cutoff, one with >=.",
    ),
)


# split_by_cluster


def cluster_split_probes(rng: random.Random) -> Iterator[Probe]:
    yield Probe(([[0, 1], [2], [3, 4]], [0, 1, 2], 0.5), "edges")
    yield Probe(([], [], 0.5), "edges")
    yield Probe(([[0, 1, 2, 3]], [0], 0.5), "edges")
    yield Probe(([[0, 1], [2], [3]], [0, 1, 2], 0.5), "edges")
    yield Probe(([[0], [1], [2, 3, 4, 5]], [2, 0, 1], 0.5), "edges")
    yield Probe(([[0, 1], [2, 3]], [0, 1], 0.0), "edges")
    yield Probe(([[0, 1], [2, 3]], [1, 0], 1.0), "edges")
    yield Probe(([[0], [1, 2, 3, 4], [5, 6], [7]], [0, 1, 2, 3], 0.5), "edges")
    yield Probe(([[0], [1, 2, 3, 4, 5], [6], [7]], [0, 1, 2, 3], 0.25), "edges")
    yield Probe(([[4, 1], [0], [3, 2, 5]], [1, 2, 0], 0.5), "edges")
    yield Probe(([[4, 1, 6], [3, 0], [5, 2]], [0, 1, 2], 0.5), "edges")  # 3 of 7 rows are less than half
    for _ in range(4):
        sizes = [1, rng.randint(6, 7), 1, 2, rng.randint(1, 3)]
        ids = list(range(100, 100 + sum(sizes)))
        rng.shuffle(ids)
        clusters = [[ids.pop() for _ in range(size)] for size in sizes]
        places = rng.sample(range(5), 5)  # the clusters' places; they are taken in the order of `sizes`
        listed = [clusters[places.index(place)] for place in range(5)]
        yield Probe((listed, places, rng.choice([0.4375, 0.5])), "typical")
    yield Probe(([["a", "b"], ["c"], ["d", "e", "f"]], [2, 1, 0], 0.5), "typical")
    ids = rng.sample(range(100), 12)
    yield Probe(([ids[:1], ids[1:5], ids[5:7]], [1, 2, 0], 0.5), "typical")  # 4 of 7
    yield Probe(([ids[:1], ids[1:3], ids[3:5]], [2, 0, 1], 0.5), "typical")  # 2 of 5 are less than half
    yield Probe(([ids[:1], ids[1:7], ids[7:8], ids[8:9]], [1, 2, 3, 0], 0.5), "typical")
    yield Probe(([ids[:3], ids[3:5], ids[5:8]], [2, 0, 1], 0.75), "typical")


ROWS_CUT = (
    "You cut within a cluster: near-duplicates of training rows are in the test. A cluster goes to one side as a "
    "whole, even if train gets more than its share."
)
OF_CLUSTERS = "You take a share of the clusters. The share is one of the rows: a large cluster counts for more."
ROUNDED = (
    "You round `share` times the number of rows to a whole number: half of 5 rows is 2.5, so 2 rows are not enough. "
    "Compare with the product as it is."
)


@mistake("splits rows, rounded up", ROWS_CUT)
def cluster_split_rows(clusters, order, share):
    ids = [id for place in order for id in clusters[place]]
    count = int(np.ceil(share * len(ids)))
    return ids[:count], ids[count:]


@mistake("splits rows, rounded down", ROWS_CUT)
def cluster_split_rows_down(clusters, order, share):
    ids = [id for place in order for id in clusters[place]]
    count = int(share * len(ids))
    return ids[:count], ids[count:]


@mistake("splits rows, rounded", ROWS_CUT)
def cluster_split_rows_rounded(clusters, order, share):
    ids = [id for place in order for id in clusters[place]]
    count = round(share * len(ids))
    return ids[:count], ids[count:]


@mistake("rounds the share down", ROUNDED)
def cluster_split_share_down(clusters, order, share):
    enough = int(share * sum(map(len, clusters)))
    train, test = [], []
    for place in order:
        (train if len(train) < enough else test).extend(clusters[place])
    return train, test


@mistake("rounds the share", ROUNDED)
def cluster_split_share_rounded(clusters, order, share):
    enough = round(share * sum(map(len, clusters)))
    train, test = [], []
    for place in order:
        (train if len(train) < enough else test).extend(clusters[place])
    return train, test


@mistake(
    "one of each cluster",
    "You train on one row of each cluster and test on the others: then every test row has a near-duplicate in train, "
    "which is the worst leak there is.",
)
def cluster_split_one_of_each(clusters, order, share):
    return [clusters[place][0] for place in order], [id for place in order for id in clusters[place][1:]]


def _by_count(clusters: list[list], order: list[int], count: int) -> tuple[list, list]:
    """The first `count` clusters to train, the rest to test."""
    train, test = ([id for place in part for id in clusters[place]] for part in (order[:count], order[count:]))
    return train, test


@mistake("a share of the clusters, rounded up", OF_CLUSTERS)
def cluster_split_share_of_clusters(clusters, order, share):
    return _by_count(clusters, order, int(np.ceil(share * len(order))))


@mistake("a share of the clusters, rounded down", OF_CLUSTERS)
def cluster_split_share_of_clusters_down(clusters, order, share):
    return _by_count(clusters, order, int(share * len(order)))


@mistake("a share of the clusters, rounded", OF_CLUSTERS)
def cluster_split_share_of_clusters_rounded(clusters, order, share):
    return _by_count(clusters, order, round(share * len(order)))


@mistake(
    "the crossing cluster to test",
    "The cluster that crosses the line goes to test with you, so train holds less than its share. It goes to train, "
    "which must hold at least the share.",
)
def cluster_split_crossing_to_test(clusters, order, share):
    total = sum(map(len, clusters))
    train, test = [], []
    for place in order:
        fits = not test and len(train) + len(clusters[place]) <= share * total
        (train if fits else test).extend(clusters[place])
    return train, test


@mistake(
    "fills up with smaller clusters",
    "You leave out a cluster that would cross the line and fill train up with smaller ones later on. Take them as "
    "they come; the one that crosses goes to train.",
)
def cluster_split_filling_up(clusters, order, share):
    total = sum(map(len, clusters))
    train, test = [], []
    for place in order:
        (train if len(train) + len(clusters[place]) <= share * total else test).extend(clusters[place])
    return train, test


@mistake(
    "ignores the order",
    "You take the clusters as they are listed. Take them in the order that `order` gives: its numbers are places in "
    "`clusters`.",
)
def cluster_split_as_listed(clusters, order, share):
    return data.split_by_cluster(clusters, list(range(len(clusters))), share)


@mistake("one cluster too many", "You go on although train already holds its share: compare with <, not with <=.")
def cluster_split_one_too_many(clusters, order, share):
    total = sum(map(len, clusters))
    train, test = [], []
    for place in order:
        (train if len(train) <= share * total else test).extend(clusters[place])
    return train, test


@mistake("sides exchanged", "Your sides are swapped: (train, test) is the order, and train is filled first.")
def cluster_split_sides_exchanged(clusters, order, share):
    return data.split_by_cluster(clusters, order, share)[::-1]


@mistake(
    "fills the test first",
    "You fill the test first, with the rest of the share. Train comes first: it takes clusters until it holds at least "
    "`share` of the rows, and what is left is the test.",
)
def cluster_split_test_first(clusters, order, share):
    test, train = data.split_by_cluster(clusters, order, 1 - share)
    return train, test


@mistake(
    "reads the order the other way round",
    "You read `order` the other way round, as a rank for each cluster. It lists places: the first to be taken is "
    "`clusters[order[0]]`.",
)
def cluster_split_order_as_rank(clusters, order, share):
    return data.split_by_cluster(clusters, [order.index(place) for place in range(len(order))], share)


@mistake("sorts the ids", "You sort the ids. Both sides keep the order in which the clusters were taken.")
def cluster_split_sorted(clusters, order, share):
    train, test = data.split_by_cluster(clusters, order, share)
    return sorted(train), sorted(test)


@mistake(
    "lists them as they came",
    "The right clusters are on each side, but as `clusters` lists them. Both sides keep the order in which the clusters "
    "were taken, which is that of `order`.",
)
def cluster_split_listed(clusters, order, share):
    train, _ = data.split_by_cluster(clusters, order, share)
    one, other = ([id for each in clusters for id in each if (id in train) == side] for side in (True, False))
    return one, other


@mistake("places of clusters", "You return the places of the clusters. Return the ids that are in them.")
def cluster_split_places(clusters, order, share):
    train, _ = data.split_by_cluster(clusters, order, share)
    return [p for p in order if clusters[p][0] in train], [p for p in order if clusters[p][0] not in train]


@mistake(
    "lists of clusters",
    "You return lists of clusters. Each side is one list of ids: take `extend` (or `+=`) instead of `append`.",
)
def cluster_split_lists(clusters, order, share):
    train, test = cluster_split_places.function(clusters, order, share)
    return [list(clusters[place]) for place in train], [list(clusters[place]) for place in test]


@mistake(
    "stops after the first test cluster",
    "After the first cluster of the test you stop: the clusters that follow are on neither side.",
)
def cluster_split_stops(clusters, order, share):
    train, test = [], []
    for place in order:
        if len(train) >= share * sum(map(len, clusters)):
            test += clusters[place]
            break
        train += clusters[place]
    return train, test


SPLIT_BY_CLUSTER = Exercise(
    id="data.split_by_cluster",
    points=2,
    minutes=6,
    reference=data.split_by_cluster,
    probes=cluster_split_probes,
    misconceptions=(
        cluster_split_rows,
        cluster_split_rows_down,
        cluster_split_rows_rounded,
        cluster_split_share_down,
        cluster_split_share_rounded,
        cluster_split_one_of_each,
        cluster_split_share_of_clusters,
        cluster_split_share_of_clusters_down,
        cluster_split_share_of_clusters_rounded,
        cluster_split_crossing_to_test,
        cluster_split_filling_up,
        cluster_split_as_listed,
        cluster_split_one_too_many,
        cluster_split_sides_exchanged,
        cluster_split_test_first,
        cluster_split_order_as_rank,
        cluster_split_sorted,
        cluster_split_listed,
        cluster_split_places,
        cluster_split_lists,
        cluster_split_stops,
    ),
    hints=(
        "Near-duplicates are in one cluster. What must never happen to a cluster?",
        "Go through `order`. As long as train holds fewer than share × all rows, the whole cluster goes to train.",
        "for place in order: side = train if len(train) < share * total else test; side.extend(clusters[place])",
    ),
)


# shingles


def shingles_probes(rng: random.Random) -> Iterator[Probe]:
    yield Probe(("", 3), "edges")
    yield Probe((" \n\t ", 2), "edges")
    yield Probe(("Salt", 3), "edges")
    yield Probe(("Hello World", 3), "edges")
    yield Probe((" Two   words ", 3), "edges")
    yield Probe(("Maß und Straße", 2), "edges")
    yield Probe(("One two three", 3), "edges")
    yield Probe(("One two three", 2), "edges")
    yield Probe(("To  be\tor\nnot to be", 2), "edges")
    yield Probe(("a b c a b c a", 3), "edges")
    yield Probe(("Yes yes YES no", 1), "edges")
    for n in (2, 3, 3, 4):
        words = [rng.choice(WORDS).title() if rng.random() < 0.3 else rng.choice(WORDS) for _ in range(n + 4)]
        words[0] = words[0].capitalize()
        text = "".join(word + rng.choice([" ", " ", "\n", "  "]) for word in words[:-2])
        yield Probe((f"{text}  {words[-2]} {words[-1]}.", n), "typical")
    yield Probe((f"{rng.choice(WORDS).title()} \t{rng.choice(WORDS)}", 3), "typical")
    yield Probe((f"{rng.choice(WORDS)} große {rng.choice(WORDS)} Straßen", 3), "typical")


@mistake(
    "one short at the end",
    "The last shingle is missing: with w words there are w − n + 1 places to begin at, and `range` leaves its end out.",
)
def shingles_short_at_the_end(text, n):
    words = text.lower().split()
    if len(words) < n:
        return {" ".join(words)} if words else set()
    return {" ".join(words[i : i + n]) for i in range(len(words) - n)}


@mistake("characters", "You take runs of n characters. Here a shingle is a run of n words, joined by one space.")
def shingles_of_characters(text, n):
    text = " ".join(text.lower().split())
    return {text[i : i + n] for i in range(max(len(text) - n + 1, 1))} if text else set()


@mistake(
    "chunks side by side",
    "You cut the text into chunks. Shingles overlap, one begins at each word: with chunks, a single word added at "
    "the front would change every one of them.",
)
def shingles_in_chunks(text, n):
    words = text.lower().split()
    return {" ".join(words[i : i + n]) for i in range(0, len(words), n)}


@mistake(
    "capitals kept",
    "You keep capitals, so a text in capitals shares nothing with the same text in lower case. Lower the case first.",
)
def shingles_with_capitals(text, n):
    words = text.split()
    return {" ".join(words[i : i + n]) for i in range(max(len(words) - n + 1, 1))} if words else set()


@mistake(
    "short texts have none",
    "A text with fewer than n words gets no shingle, so it can never be a duplicate of anything. It is one shingle as "
    "a whole.",
)
def shingles_without_short_texts(text, n):
    words = text.lower().split()
    return {" ".join(words[i : i + n]) for i in range(len(words) - n + 1)}


@mistake(
    "runs over the end",
    "You begin at every word, and the last runs are shorter than n words. Stop at the last full one.",
)
def shingles_over_the_end(text, n):
    words = text.lower().split()
    return {" ".join(words[i : i + n]) for i in range(len(words))}


@mistake(
    "splits at each blank",
    "You split at single spaces: two spaces give an empty word, and a line break does not split at all. split() "
    "without an argument splits at any white space.",
)
def shingles_split_at_each_blank(text, n):
    words = text.lower().split(" ") if text else []
    return {" ".join(words[i : i + n]) for i in range(max(len(words) - n + 1, 1))} if words else set()


SHINGLES = Exercise(
    id="data.shingles",
    points=1,
    minutes=5,
    reference=dedup.shingles,
    probes=shingles_probes,
    misconceptions=(
        shingles_short_at_the_end,
        shingles_of_characters,
        shingles_in_chunks,
        shingles_with_capitals,
        shingles_without_short_texts,
        shingles_over_the_end,
        shingles_split_at_each_blank,
    ),
    hints=(
        "Lower the case, split at white space, then take n neighbouring words from each place.",
        "The runs begin at 0, 1, …, w − n for w words. Fewer than n words: one run. None: the empty set.",
        '{" ".join(words[i : i + n]) for i in range(max(len(words) - n + 1, 1))}, if there are words at all',
    ),
)


# jaccard


def jaccard_probes(rng: random.Random) -> Iterator[Probe]:
    for group, names in (("letters", list("abcdefghij")), ("shingles", _runs(rng))):
        rng_names = names if group == "letters" else rng.sample(names, len(names))
        p, q, r, s, t, u, *_ = rng_names
        yield Probe((set(), set()), group)
        yield Probe(({p}, set()), group)
        yield Probe(({p, q}, {q, p}), group)
        yield Probe(({p, q}, {r, s}), group)
        yield Probe(({p}, {p, q, r}), group)
        yield Probe(({p, q, r}, {q, r, s, t}), group)
        yield Probe(({p, q, r, s}, {s, t, u}), group)
    for _ in range(4):
        shared, only_a, only_b = rng.sample(range(1, 5), 3)
        pool = rng.sample(names, shared + only_a + only_b)
        yield Probe((set(pool[: shared + only_a]), {*pool[:shared], *pool[shared + only_a :]}), "shingles")


def _runs(rng: random.Random) -> list[str]:
    """Sixteen different runs of two words."""
    runs = [f"{first} {second}" for first in WORDS for second in WORDS if first != second]
    return rng.sample(runs, 16)


@mistake(
    "divides by the smaller set",
    "You divide by the smaller set: then a short text that is part of a long one counts as its copy (1.0). Divide by "
    "the elements in either.",
)
def jaccard_of_smaller(a, b):
    return len(a & b) / min(len(a), len(b)) if a and b else float(not a and not b)


@mistake(
    "divides by the larger set",
    "You divide by the larger set, but elements that only the smaller one has count too. Divide by the elements in either.",
)
def jaccard_of_larger(a, b):
    return len(a & b) / max(len(a), len(b)) if a or b else 1.0


@mistake(
    "counts shared elements twice",
    "You divide by the two sizes added up, which counts every shared element twice: equal sets would have 0.5. Divide "
    "by the size of the union.",
)
def jaccard_of_sum(a, b):
    return len(a & b) / (len(a) + len(b)) if a or b else 1.0


@mistake(
    "Dice's coefficient",
    "That is Dice's coefficient, 2·shared over both sizes: it is higher than Jaccard's, so a threshold of 0.8 would "
    "take out more.",
)
def jaccard_dice(a, b):
    return 2 * len(a & b) / (len(a) + len(b)) if a or b else 1.0


@mistake(
    "two empty sets are unlike",
    "Two empty sets are equal, so their similarity is 1.0; the formula alone gives 0/0.",
)
def jaccard_empty_is_nothing(a, b):
    return len(a & b) / len(a | b) if a or b else 0.0


@mistake(
    "fails at two empty sets",
    "Two empty sets have no element in either, so you divide by 0. They are equal: 1.0.",
)
def jaccard_without_empty_sets(a, b):
    return len(a & b) / len(a | b)


@mistake(
    "divides by the smaller set, and fails at an empty one",
    "You divide by the smaller set, which may be empty: that fails. Otherwise a short text that is part of a long "
    "one counts as its copy (1.0). Divide by the elements in either.",
)
def jaccard_of_smaller_without_empty_sets(a, b):
    return len(a & b) / min(len(a), len(b)) if a or b else 1.0


@mistake("distance", "That is the Jaccard distance, one minus the similarity. Equal sets should have 1.0.")
def jaccard_distance(a, b):
    return 1 - dedup.jaccard(a, b)


@mistake(
    "divides by the first set",
    "You divide by the first set: then the result depends on which comes first. Divide by the elements in either.",
)
def jaccard_of_first(a, b):
    return len(a & b) / len(a) if a else float(not b)


JACCARD = Exercise(
    id="data.jaccard",
    points=1,
    minutes=3,
    reference=dedup.jaccard,
    probes=jaccard_probes,
    misconceptions=(
        jaccard_of_smaller,
        jaccard_of_larger,
        jaccard_of_sum,
        jaccard_dice,
        jaccard_empty_is_nothing,
        jaccard_without_empty_sets,
        jaccard_of_smaller_without_empty_sets,
        jaccard_distance,
        jaccard_of_first,
    ),
    hints=(
        "Two counts: elements in both, and elements in either.",
        "a & b is the set of shared elements, a | b the set of all. What if both are empty?",
        "len(a & b) / len(a | b), and 1.0 where a | b is empty",
    ),
)


# minhash

SMALL, LARGE = 101, 2**61 - 1


def minhash_probes(rng: random.Random) -> Iterator[Probe]:
    yield Probe(([], [3], [1], SMALL), "edges")
    yield Probe(([], [3, 5, 7], [1, 2, 0], LARGE), "edges")
    yield Probe(([0], [3], [0], SMALL), "edges")
    yield Probe(([7], [50, 1], [9, 100], SMALL), "edges")
    yield Probe(([8, 3], [50, 7], [250, 333], SMALL), "edges")  # a shift above the prime
    yield Probe(([4, 4, 9], [30, 77], [5, 60], SMALL), "edges")
    yield Probe(([90, 12, 33, 5], [30, 77, 2, 99], [5, 60, 0, 1], SMALL), "edges")
    yield Probe(([2**32 - 1, 2**31, 12345], [LARGE - 1, 2**60 + 3, 10**18], [LARGE - 5, 7, 10**17], LARGE), "edges")
    yield Probe(([], [rng.randrange(2, 97)], [1], 97), "typical")
    ids = rng.sample(range(1, 1000), 3)
    yield Probe((ids, [rng.randrange(2, 97) for _ in ids], [rng.randrange(98, 500) for _ in ids], 97), "typical")
    for prime, count, highest in ((97, 4, 97), (10_007, 5, 2**32), (LARGE, 4, 2**32), (LARGE, 3, 2**61)):
        ids = rng.sample(range(1, highest), count)
        factors = [rng.randrange(2, prime) for _ in range(count + rng.choice((-1, 2)))]
        yield Probe((ids, factors, [rng.randrange(prime) for _ in factors], prime), "typical")


@mistake(
    "maximum",
    "You take the largest hash. It would estimate Jaccard just as well, but the signatures would not match those of "
    "other tools: MinHash takes the smallest.",
)
def minhash_maximum(ids, a, b, prime):
    return [max((p * x + q) % prime for x in ids) for p, q in zip(a, b)]


@mistake(
    "position of the minimum",
    "You give the position of the smallest hash. The same shingle is in another position in another text: return the "
    "hash itself.",
)
def minhash_position(ids, a, b, prime):
    hashes = [[(p * x + q) % prime for x in ids] for p, q in zip(a, b)]
    return [row.index(min(row)) for row in hashes]


@mistake("id of the minimum", "You return the id whose hash is smallest. Return the hash itself.")
def minhash_id(ids, a, b, prime):
    return [min(ids, key=lambda x: (p * x + q) % prime) for p, q in zip(a, b)]


@mistake(
    "the modulus on the shift alone",
    "In `a * x + b % prime` the modulus belongs to `b` alone, because `%` is computed before `+`. Write "
    "`(a * x + b) % prime`.",
)
def minhash_modulus_on_shift(ids, a, b, prime):
    return [min(p * x + q % prime for x in ids) for p, q in zip(a, b)]


@mistake("a times the sum", "You multiply `a` by (x + b). The hash is a·x + b: only x is multiplied.")
def minhash_times_sum(ids, a, b, prime):
    return [min(p * (x + q) % prime for x in ids) for p, q in zip(a, b)]


@mistake("a and b exchanged", "You exchange `a` and `b`: x is multiplied by `a`, and `b` is added.")
def minhash_exchanged(ids, a, b, prime):
    return [min((q * x + p) % prime for x in ids) for p, q in zip(a, b)]


@mistake(
    "every a with every b",
    "You take every a with every b. The pairs are (a[0], b[0]), (a[1], b[1]), …: `zip(a, b)` gives them.",
)
def minhash_every_with_every(ids, a, b, prime):
    return [min((p * x + q) % prime for x in ids) for p in a for q in b]


@mistake(
    "one number for all", "You take the smallest over all pairs. The signature has one number for each pair (a, b)."
)
def minhash_one_number(ids, a, b, prime):
    return min((p * x + q) % prime for p, q in zip(a, b) for x in ids)


@mistake(
    "hash of the smallest id",
    "Your result is always the hash of the smallest id: you take the smallest before the modulus. Hash all ids, with "
    "mod prime, then take the smallest hash; each pair (a, b) puts the ids into another order.",
)
def minhash_of_smallest_id(ids, a, b, prime):
    return [(p * min(ids) + q) % prime for p, q in zip(a, b)]


@mistake(
    "no modulus",
    "You forgot mod prime: without it the smallest id wins under every pair, and all places of the signature say the "
    "same thing.",
)
def minhash_without_modulus(ids, a, b, prime):
    return [min(p * x + q for x in ids) for p, q in zip(a, b)]


@mistake(
    "overflow",
    "The products do not fit into 64 bits: numpy wraps around silently, and the hashes are wrong. Python's own "
    "integers have no limit.",
)
def minhash_overflowing(ids, a, b, prime):
    if not ids:
        raise ValueError("no ids")
    x = np.array(ids, dtype=np.int64)
    return [int(((x * np.array([p]) + np.array([q])) % prime).min()) for p, q in zip(a, b)]


@mistake(
    "one number for each id",
    "You give one number for each id. The signature has one for each pair (a, b): the smallest over all ids.",
)
def minhash_for_each_id(ids, a, b, prime):
    if not ids:
        raise ValueError("no ids")
    return [min((p * x + q) % prime for p, q in zip(a, b)) for x in ids]


@mistake(
    "no ids give a signature",
    "Without ids there is no smallest hash. If you make one up, all empty texts become copies of each other; raise a "
    "ValueError.",
)
def minhash_of_nothing(ids, a, b, prime):
    return [min(((p * x + q) % prime for x in ids), default=prime) for p, q in zip(a, b)]


MINHASH = Exercise(
    id="data.minhash",
    points=2,
    minutes=6,
    reference=dedup.minhash,
    probes=minhash_probes,
    misconceptions=(
        minhash_maximum,
        minhash_position,
        minhash_id,
        minhash_modulus_on_shift,
        minhash_times_sum,
        minhash_exchanged,
        minhash_every_with_every,
        minhash_one_number,
        minhash_of_smallest_id,
        minhash_without_modulus,
        minhash_overflowing,
        minhash_for_each_id,
        minhash_of_nothing,
    ),
    hints=(
        "For one pair (a, b): hash every id, keep the smallest. Then the same for each pair.",
        "(p * x + q) % prime for x in ids; min of that; p and q come from zip(a, b). No ids: ValueError.",
        "[min((p * x + q) % prime for x in ids) for p, q in zip(a, b)]; min raises a ValueError for no ids",
    ),
)


# candidate_probability


def probability_probes(rng: random.Random) -> Iterator[Probe]:
    yield Probe((0.0, 5, 3), "edges")
    yield Probe((1.0, 5, 3), "edges")
    yield Probe((0.5, 1, 1), "edges")
    yield Probe((0.5, 1, 3), "edges")
    yield Probe((0.5, 3, 1), "edges")
    yield Probe((0.8, 9, 13), "edges")
    yield Probe((0.6, 4, 2), "edges")
    for _ in range(6):
        bands, rows = rng.sample(range(2, 8), 2)
        yield Probe((rng.randint(40, 85) / 100, bands, rows), "typical")


@mistake(
    "bands and rows exchanged",
    "You swapped bands and rows: within a band all rows must agree (a power of s), and one of the bands is enough.",
)
def probability_exchanged(s, bands, rows):
    return 1 - (1 - s**bands) ** rows


@mistake(
    "probability of missing",
    "That is the probability that no band agrees, so that the pair is missed. Subtract it from 1.",
)
def probability_of_missing(s, bands, rows):
    return (1 - s**rows) ** bands


@mistake("one band", "That is the probability for one given band. There are several, and any one of them is enough.")
def probability_of_one_band(s, bands, rows):
    return s**rows


@mistake(
    "all bands must agree",
    "You ask that all bands agree. One is enough: that is why near-duplicates are found at all.",
)
def probability_of_all_bands(s, bands, rows):
    return s ** (rows * bands)


@mistake(
    "any row is enough",
    "In yours a single agreeing row makes a candidate. All rows of a band must agree: raise s to the number of rows "
    "first.",
)
def probability_of_any_row(s, bands, rows):
    return 1 - (1 - s) ** (rows * bands)


ADDED_UP = (
    "You add the bands' probabilities up. Two bands may agree at once, so the sum is too high; use the probability that "
    "none agrees."
)


@mistake("probabilities added up", ADDED_UP)
def probability_added_up(s, bands, rows):
    return bands * s**rows


@mistake("probabilities added up, to 1 at most", ADDED_UP)
def probability_added_up_to_one(s, bands, rows):
    return min(bands * s**rows, 1.0)


@mistake(
    "rows times s",
    "You multiply s by the rows. All rows of a band must agree, so their probabilities are multiplied: `s**rows`.",
)
def probability_rows_times(s, bands, rows):
    return 1 - (1 - s * rows) ** bands


@mistake(
    "one minus that all agree",
    "You take 1 minus the probability that all bands agree. Take the probability that one band does not agree first, "
    "1 − s^rows; raised to `bands`, none does.",
)
def probability_not_all(s, bands, rows):
    return 1 - (s**rows) ** bands


CANDIDATE_PROBABILITY = Exercise(
    id="data.candidate_probability",
    points=1,
    minutes=4,
    reference=dedup.candidate_probability,
    probes=probability_probes,
    misconceptions=(
        probability_exchanged,
        probability_of_missing,
        probability_of_one_band,
        probability_of_all_bands,
        probability_of_any_row,
        probability_added_up,
        probability_added_up_to_one,
        probability_rows_times,
        probability_not_all,
    ),
    hints=(
        "One row agrees with probability s. When does a whole band agree? When does none of the bands?",
        "A band agrees with s^rows. None of them does with (1 − s^rows)^bands.",
        "1 - (1 - s**rows) ** bands",
    ),
)


# clusters


def clusters_probes(rng: random.Random) -> Iterator[Probe]:
    yield Probe((0, []), "edges")
    yield Probe((1, []), "edges")
    yield Probe((3, []), "edges")
    yield Probe((3, [(0, 1), (1, 2)]), "edges")
    yield Probe((4, [(0, 1), (1, 2), (2, 3)]), "edges")
    yield Probe((5, [(2, 3), (1, 2), (0, 1)]), "edges")
    yield Probe((4, [(0, 2), (1, 2)]), "edges")
    yield Probe((5, [(0, 1), (2, 3), (1, 3)]), "edges")
    yield Probe((3, [(0, 1), (1, 2), (0, 2), (0, 1)]), "edges")
    yield Probe((3, [(1, 1)]), "edges")
    for _ in range(5):
        n = rng.randint(7, 9)
        members = rng.sample(range(n), n)
        chain, pair = members[:4], members[4:6]  # the rest stays single
        pairs = [tuple(sorted(tie)) for tie in (*pairwise(chain), pair)]
        rng.shuffle(pairs)
        yield Probe((n, pairs), "typical")
    yield Probe((6, [(0, 1), (1, 2), (2, 3), (3, 4)]), "typical")
    yield Probe((7, [(0, 3), (1, 2), (2, 3), (4, 5)]), "typical")


@mistake(
    "direct neighbours only",
    "You take direct neighbours only. A chain counts: if 0 is paired with 1 and 1 with 2, all three are one group.",
)
def clusters_direct_only(n, pairs):
    groups, taken = [], set()
    for i in range(n):
        if i not in taken:
            near = {y if x == i else x for x, y in pairs if i in (x, y)} - taken
            groups.append(sorted({i, *near}))
            taken |= {i, *near}
    return groups


@mistake(
    "singletons lost",
    "Numbers that no pair names are missing. Each is a group of its own; without them the split would lose those rows.",
)
def clusters_without_single(n, pairs):
    return [group for group in dedup.clusters(n, pairs) if len(group) > 1]


@mistake(
    "labels once",
    "You give j the label of i, but the others that had j's label keep it: groups that meet late stay separate. When "
    "two groups meet, all members must change.",
)
def clusters_label_once(n, pairs):
    label = list(range(n))
    for i, j in pairs:
        label[j] = label[i]
    return [[i for i in range(n) if label[i] == name] for name in sorted(set(label))]


@mistake(
    "each pair a group",
    "You make each pair a group of its own, so a document can be in several. Groups that share a member are one group.",
)
def clusters_pairs_as_groups(n, pairs):
    named = {i for pair in pairs for i in pair}
    return [sorted(set(pair)) for pair in dict.fromkeys(pairs)] + [[i] for i in range(n) if i not in named]


@mistake(
    "follows pairs one way",
    "You follow a pair from its first to its second member only. Being alike has no direction: follow it both ways.",
)
def clusters_one_way(n, pairs):
    groups, taken = [], set()
    for start in range(n):
        if start in taken:
            continue
        group, waiting = [], [start]
        while waiting:
            i = waiting.pop()
            if i not in taken:
                taken.add(i)
                group.append(i)
                waiting += [y for x, y in pairs if x == i]
        groups.append(group)
    return groups


@mistake(
    "groups are never joined",
    "You put a pair into the first group that has one of the two. If both have a group already, the two groups must "
    "become one.",
)
def clusters_first_group_that_fits(n, pairs):
    groups = []
    for i, j in pairs:
        for group in groups:
            if i in group or j in group:
                group |= {i, j}
                break
        else:
            groups.append({i, j})
    named = {i for pair in pairs for i in pair}
    return [sorted(group) for group in groups] + [[i] for i in range(n) if i not in named]


@mistake(
    "a parent overwritten",
    "You keep one parent for each number and overwrite it when a second pair names it, so the earlier tie is lost. Join "
    "the roots: follow the parents of both to the end first.",
)
def clusters_overwriting(n, pairs):
    parent = list(range(n))
    for i, j in pairs:
        parent[max(i, j)] = min(i, j)
    root = [0] * n
    for i in range(n):
        root[i] = i if parent[i] == i else root[parent[i]]
    return [[i for i in range(n) if root[i] == name] for name in sorted(set(root))]


CLUSTERS = Exercise(
    id="data.clusters",
    points=2,
    minutes=8,
    reference=dedup.clusters,
    probes=clusters_probes,
    compare=Comparison(partition=True),
    misconceptions=(
        clusters_direct_only,
        clusters_without_single,
        clusters_label_once,
        clusters_pairs_as_groups,
        clusters_one_way,
        clusters_first_group_that_fits,
        clusters_overwriting,
    ),
    hints=(
        "Begin with n groups of one. What does a pair do to the groups of its two members?",
        "Give each member a label. For a pair, give everybody who has j's label the label of i.",
        "For each pair: old, new = label[j], label[i]; label = [new if x == old else x for x in label]",
    ),
)
