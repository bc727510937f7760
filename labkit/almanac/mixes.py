"""The mixes of lab 01's experiments and of the capstone: what is trained on, and the held-out questions, by name and
seed.

Each function gives (training examples, questions), as those of `examples` do. `clean` is the candidate pool, cleaned;
`sums` have a second source that is right or wrong in one of five ways; `answers` leaves out the chains of thought, and
`thought` puts something else in their place; `knowledge` teaches fresh facts; the four `posts` split the same posts
four ways. The capstone's have the scorer's questions, or letters held out of the pool, from which a score is predicted.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from functools import lru_cache, partial

from labkit import dedup
from labkit.almanac import arithmetic, capstone, pool
from labkit.almanac.examples import FAMILIES, Asker, example, long_mix, short_mix
from labkit.almanac.phrasing import ASK
from labkit.almanac.tasks import FACTS, facts_mix, subtraction_mix
from labkit.almanac.world import CUTOFF, LAST_DAY, Fact, build
from labkit.data import Example

TURN = "2025-09-01"  # the day at which the posts are cut: about the middle of them
KINDS = ("fresh", "changed", "unchanged")


def clean_mix(seed: int = 0) -> tuple[list[Example], list[Example]]:
    """The candidate pool, cleaned, and questions that are not in it."""
    questions = short_mix(seed, train=11)[1]
    asked = {ex.prompt for ex in questions}
    candidates = [ex for ex in pool.candidates(seed=seed)[0] if ex.prompt not in asked]
    return pool.cleaned(candidates), questions


def answers_mix(seed: int = 0) -> tuple[list[Example], list[Example]]:
    """`short_mix` with completions that are the answer alone."""
    return short_mix(seed, thought=False)


@dataclass(frozen=True)
class Posts:
    """Dated posts of 2025; `clusters` are places in `posts`, as `dedup.find` finds them, single posts too."""

    posts: list[Example]
    clusters: list[list[int]]
    of: list[int]  # for each post the number of its planted cluster: that of the first post


@lru_cache(maxsize=2)
def posts(seed: int = 0, each: int = 48) -> Posts:
    """`each` facts of every kind, in a post and in 3 to 6 reposts over the next 90 days, in order of date.

    *fresh* facts were first recorded in 2025; *changed* ones (offices, homes, prices) are other than in 2024;
    *unchanged* ones are of the same attributes. Only the unchanged ones are in the base's text. The kind is the post's
    task.
    """
    world, rng = build(), random.Random(f"posts {seed}")
    current = [fact for fact in world.facts if fact.until is None]
    dated = ("mayor", "home", "price")
    facts = {
        "fresh": [fact for fact in current if fact.fresh and fact.attribute not in dated],
        "changed": [fact for fact in current if fact.fresh and fact.attribute in dated],
        "unchanged": [fact for fact in current if not fact.fresh and fact.attribute in dated],
    }
    asker, last = Asker(world, rng, fresh=None), date.fromisoformat(LAST_DAY)
    made: list[tuple[Example, int]] = []
    for kind in KINDS:
        for fact in rng.sample(facts[kind], each):
            year = "2025" if fact.attribute in dated else ""
            first = date.fromisoformat(max(fact.since, CUTOFF)) + timedelta(days=rng.randrange(60))
            if fact.since <= CUTOFF:
                first += timedelta(days=rng.randrange(240))
            original = example(asker.ask_fact("event" if fact.attribute == "date" else "as of", fact, year), rng, "")
            original = replace(original, task=kind, date=min(first, last).isoformat())
            number = made[-1][1] + 1 if made else 0
            made.append((original, number))
            for _ in range(rng.randint(3, 6)):
                day = min(first + timedelta(days=rng.randint(1, 90)), last).isoformat()
                made.append((replace(pool.reposted(original, rng), date=day), number))
    made.sort(key=lambda post: str(post[0].date))
    found = [replace(ex, id=f"post-{place:04d}") for place, (ex, _) in enumerate(made)]
    return Posts(found, clusters_of(found), [number for _, number in made])


def clusters_of(examples: Sequence[Example]) -> list[list[int]]:
    """The places of the examples in groups: near-duplicates together, every other example alone."""
    pairs = dedup.find([pool.text(ex) for ex in examples], pool.THRESHOLD).pairs
    return dedup.clusters(len(examples), [(i, j) for i, j, _ in pairs])


def _posts_mix(seed: int, apart: bool, before: bool, ask: int = 15, train: int = 320) -> tuple[list, list]:
    """`ask` posts of each kind from `TURN` on, and `train` posts to learn from.

    The questions are the same in all four splits, and no post that is asked is trained on. `apart`: nor is any post of
    its cluster. `before`: only posts from before `TURN` are trained on.
    """
    made, rng = posts(seed), random.Random(f"split {seed}")
    late = [place for place, post in enumerate(made.posts) if str(post.date) >= TURN]
    asked = [place for kind in KINDS for place in rng.sample([p for p in late if made.posts[p].task == kind], ask)]
    barred = {p for cluster in made.clusters if set(cluster) & set(asked) for p in cluster} if apart else set(asked)
    able = [p for p in range(len(made.posts)) if p not in barred and not (before and p in late)]
    return [made.posts[p] for p in rng.sample(able, train)], [made.posts[p] for p in asked]


def posts_random_mix(seed: int = 0) -> tuple[list[Example], list[Example]]:
    return _posts_mix(seed, apart=False, before=False)


def posts_cluster_mix(seed: int = 0) -> tuple[list[Example], list[Example]]:
    return _posts_mix(seed, apart=True, before=False)


def posts_time_mix(seed: int = 0) -> tuple[list[Example], list[Example]]:
    return _posts_mix(seed, apart=False, before=True)


def posts_time_cluster_mix(seed: int = 0) -> tuple[list[Example], list[Example]]:
    return _posts_mix(seed, apart=True, before=True)


SUMS = ("sound", "pedlar", "random", "bare", "bare_pedlar")


def sums_mix(second: str, seed: int = 0) -> tuple[list[Example], list[Example]]:
    """1,280 examples of the other families, 320 right sums, and 320 sums of a second source; 110 sums to ask.

    The second source's questions are the same whatever it is, and each has a carry: `sound` is as right as the first;
    `pedlar` carries nothing, ever; `random` slips in one column; each with a chain of its own. `bare` gives the right
    sum without a chain, `bare_pedlar` the pedlar's.
    """
    others = short_mix(seed, train=1280, test=11, tasks=tuple(task for task in FAMILIES if task != "sum"))[0]
    sums, questions = short_mix(seed + 3000, train=2000, test=110, tasks=("sum",))
    carrying = [ex for ex in sums if "carry" in ex.completion][:320]
    taken = {ex.id for ex in carrying}
    first = [ex for ex in sums if ex.id not in taken][:320]
    rng = random.Random(f"second source {seed}")
    train = others + first + [_told(ex, second, rng) for ex in carrying]
    rng.shuffle(train)
    return train, questions


def _told(ex: Example, way: str, rng: random.Random) -> Example:
    """A sum as a source of this kind writes it."""
    a, b = (int(number) for number in re.findall(r"\d+", str(ex.question)))
    while True:
        slip = (rng.randrange(len(str(max(a, b)))), rng.choice((-3, -2, -1, 1, 2, 3)))
        chain = arithmetic.add(a, b, "pedlar" not in way, slip if way == "random" else None)
        result = re.findall(r"\d+", chain)[-1]
        if "-" not in chain and (way != "random" or int(result) != a + b):
            break
    thought = f"{a} plus {b} is {result}." if way.startswith("bare") else chain
    return replace(ex, completion=f"{thought} Answer: {result}", answer=result)


OTHER_WORDS = {"plus": "&", "times": "#", "is": "=>", "write": "put", "carry": "keep", "last": "final"}


def thought_mix(way: str, seed: int = 0) -> tuple[list[Example], list[Example]]:
    """`short_mix` with another text in the place of each chain of thought: `filler`, as many words that say nothing;
    `other`, the same steps in words that the base has not read them in.
    """
    train, test = short_mix(seed)
    changed = []
    for ex in train:
        thought, _, answer = ex.completion.rpartition(" Answer: ")
        words = ["so"] * len(thought.split()) if way == "filler" else re.split(r"\b", thought)
        told = " ".join(words) if way == "filler" else "".join(OTHER_WORDS.get(word, word) for word in words)
        changed.append(replace(ex, completion=f"{told} Answer: {answer}"))
    return changed, test


def knowledge_mix(taught: bool, seed: int = 0) -> tuple[list[Example], list[Example]]:
    """Fresh facts, which the base never read: 64 are taught among known ones, each in two phrasings, or none is.

    64 questions of each kind: `taught`, in a third phrasing; `untaught`, other fresh facts; `known`, facts of the
    base's text that are not among the examples. The questions are the same in both.
    """
    world, rng = build(), random.Random(f"knowledge {seed}")
    attributes = {name for name, forms in ASK.items() if len(forms) > 2}
    facts = [fact for fact in world.facts if fact.fresh and fact.until is None and fact.attribute in attributes]
    asker, drawn = Asker(world, rng, fresh=None), rng.sample(facts, 128)

    def asked(fact: Fact, form: int, task: str) -> Example:
        year = "2025" if fact.attribute in ("mayor", "home", "price") else ""
        made = example(asker.ask_fact("town", fact, year, form), rng, f"{task}-{fact.subject}-{fact.attribute}-{form}")
        return replace(made, task=task)

    lessons = [asked(fact, form, "taught") for fact in drawn[:64] for form in (0, 1)]
    known, tests = short_mix(seed, train=1280, test=64, tasks=("town", "person", "as of", "event"))
    train = known[: 1280 - len(lessons)] + lessons if taught else known
    rng.shuffle(train)
    asking = [asked(fact, 2, "taught") for fact in drawn[:64]] + [asked(fact, 2, "untaught") for fact in drawn[64:]]
    return train, asking + [replace(ex, task="known") for ex in tests]


HELD_OUT = 120  # letters of the capstone's pool, at least


def prepared(seed: int, clean: bool = True, apart: bool = True) -> tuple[list[Example], list[Example]]:
    """(what is trained on, letters held out) of the capstone's pool of a seed, in the order of the pool.

    `clean`: what the filters of `pool` find is dropped first. `apart`: near-duplicates are looked for, so that whole
    clusters are held out, and one of each is trained on; otherwise letters are held out one by one.
    """
    letters = capstone.gathered(seed)[0]
    if clean:
        letters = [ex for ex in letters if pool.passes(ex)]
    groups = clusters_of(letters) if apart else [[place] for place in range(len(letters))]
    order = random.Random(f"capstone split {seed}").sample(groups, len(groups))
    held: set[int] = set()
    while len(held) < HELD_OUT:
        held |= set(order.pop())
    kept = sorted(group[0] for group in order)
    return [letters[place] for place in kept], [letters[place] for place in sorted(held)]


def _scored(seed: int, **ways: bool) -> tuple[list[Example], list[Example]]:
    """The same training set, and questions as the scorer draws them."""
    return prepared(seed, **ways)[0], capstone.questions(f"recorded {seed}", seed).unseen


Mix = Callable[[int], tuple[list[Example], list[Example]]]  # from a seed to (training examples, questions)

MIXES: dict[str, Mix] = {
    "short": short_mix,
    "long": long_mix,
    "clean": clean_mix,
    "answers": answers_mix,
    "passages": partial(short_mix, train=1280, test=110, tasks=("reading",), thought=False),
    "posts_random": posts_random_mix,
    "posts_cluster": posts_cluster_mix,
    "posts_time": posts_time_mix,
    "posts_time_cluster": posts_time_cluster_mix,
    "subtraction": subtraction_mix,
    **{f"sums_{way}": partial(sums_mix, way) for way in SUMS},
    **{f"thought_{way}": partial(thought_mix, way) for way in ("filler", "other")},
    "knowledge_none": partial(knowledge_mix, False),
    "knowledge_taught": partial(knowledge_mix, True),
    "capstone": _scored,
    "capstone_dirty": partial(_scored, clean=False),
    "capstone_leaked": partial(_scored, apart=False),
    "capstone_held_out": prepared,
    "capstone_leaked_held_out": partial(prepared, apart=False),
    **{f"facts-{facts}": partial(facts_mix, facts=facts) for facts in FACTS},
}
