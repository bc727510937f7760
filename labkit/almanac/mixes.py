"""The mixes of lab 01's experiments and of the capstone: what is trained on, and the held-out questions, by name and
seed.

Each function gives (training examples, questions), as those of `examples` do. `dirty` and `clean` are the candidate
pool as gathered and as cleaned; `answers` leaves out the chains of thought; the four `posts` split the same posts four
ways. The capstone's have the scorer's questions, or letters held out of the pool, from which a score is predicted.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from functools import lru_cache, partial

from labkit import dedup
from labkit.almanac import capstone, pool
from labkit.almanac.examples import Asker, example, long_mix, short_mix
from labkit.almanac.tasks import FACTS, facts_mix, subtraction_mix
from labkit.almanac.world import CUTOFF, LAST_DAY, build
from labkit.data import Example

TURN = "2025-09-01"  # the day at which the posts are cut: about the middle of them
KINDS = ("fresh", "changed", "unchanged")


def dirty_mix(seed: int = 0) -> tuple[list[Example], list[Example]]:
    """The pool as gathered, without the questions of the test."""
    return _pool_mix(seed, clean=False)


def clean_mix(seed: int = 0) -> tuple[list[Example], list[Example]]:
    """The same pool, cleaned; the same questions."""
    return _pool_mix(seed, clean=True)


def _pool_mix(seed: int, clean: bool) -> tuple[list[Example], list[Example]]:
    questions = short_mix(seed, train=11)[1]
    asked = {ex.prompt for ex in questions}
    candidates = [ex for ex in pool.candidates(seed=seed)[0] if ex.prompt not in asked]
    return pool.cleaned(candidates) if clean else candidates, questions


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
    "dirty": dirty_mix,
    "clean": clean_mix,
    "answers": answers_mix,
    "posts_random": posts_random_mix,
    "posts_cluster": posts_cluster_mix,
    "posts_time": posts_time_mix,
    "posts_time_cluster": posts_time_cluster_mix,
    "subtraction": subtraction_mix,
    "capstone": _scored,
    "capstone_dirty": partial(_scored, clean=False),
    "capstone_leaked": partial(_scored, apart=False),
    "capstone_held_out": prepared,
    "capstone_leaked_held_out": partial(prepared, apart=False),
    **{f"facts-{facts}": partial(facts_mix, facts=facts) for facts in FACTS},
}
