"""The capstone's pool, and the questions that its score is taken on.

The pool of a seed is what a desk might have gathered up to a day, `TURN`: letters out of the candidates of `pool`, with
all their faults; news, each with its reposts; and school pages of worked subtraction, a tenth of them from the pedlar's
sheet, which never borrows. What a scorer asks is drawn from another seed, in parts that are told apart: *unseen* and
*seen* in the pool, *later* than it, and *out of distribution*.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from functools import lru_cache

from labkit.almanac import pool
from labkit.almanac.examples import (
    FAMILIES,
    OUT_OF_DISTRIBUTION,
    SYSTEM,
    Asker,
    example,
    out_of_distribution,
    short_mix,
)
from labkit.almanac.tasks import subtraction_mix
from labkit.almanac.world import CUTOFF, FIRST_DAY, Fact, build
from labkit.data import Example

TURN = "2025-09-01"  # the pool's last day is the one before it
LETTERS, NEWS, PAGES = 1_200, 80, 550  # candidates with their copies; facts with their reposts; pages of subtraction
PEDLARS = 0.1  # share of the pages that are wrong
ASKED = {"family": 6, "pages": 30, "news": 24}  # unseen questions: of each family, and so on; as in the pool
SUBTRACTION = "subtraction"
TASKS = (*FAMILIES, SUBTRACTION, "news")  # what an unseen question is about
LATER = ("told before", "told in the pool", "told later")


@dataclass(frozen=True)
class Questions:
    """What is asked, by part. Only `unseen` is the score that a card predicts."""

    unseen: list[Example]  # the pool's kinds of questions, none of which is in it
    seen: list[Example]  # sound ones out of the pool
    later: list[Example]  # what is true on the pool's last day or became so after it; the task says which of `LATER`
    out_of_distribution: list[Example]  # in phrasing, about the long tail, and of a family that the pool does not have

    def parts(self) -> dict[str, list[Example]]:
        return {name.replace("_", " "): found for name, found in vars(self).items()}


@lru_cache(maxsize=2)
def gathered(seed: int = 0) -> tuple[list[Example], dict[str, pool.Truth]]:
    """(the pool as gathered, in a drawn order; what is planted in it, by id)."""
    rng = random.Random(f"capstone {seed}")
    groups: dict[str, list[tuple[Example, pool.Truth]]] = {}
    made, truth = pool.candidates(10_000, seed=seed)
    for ex in made:
        if str(ex.date) < TURN:
            groups.setdefault(truth[ex.id].of or ex.id, []).append((ex, truth[ex.id]))
    news = [group for group in groups.values() if any(fault.kind == "repost" for _, fault in group)]
    others = [group for group in groups.values() if group not in news]
    found = [pair for group in rng.sample(news, NEWS) for pair in group]
    found += [pair for group in rng.sample(others, LETTERS) for pair in group][:LETTERS]
    days = (date.fromisoformat(TURN) - date.fromisoformat(FIRST_DAY)).days
    for page in subtraction_mix(seed, train=PAGES, test=1)[0]:
        day = (date.fromisoformat(FIRST_DAY) + timedelta(days=rng.randrange(days))).isoformat()
        page = replace(page, task=SUBTRACTION, system=SYSTEM, date=day)
        wrong = rng.random() < PEDLARS
        found.append((_unborrowed(page) if wrong else page, pool.Truth("wrong source" if wrong else "clean")))
    rng.shuffle(found)
    names = {ex.id: f"letter-{place:05d}" for place, (ex, _) in enumerate(found)}
    letters = [replace(ex, id=names[ex.id]) for ex, _ in found]
    return letters, {names[ex.id]: replace(fault, of=names.get(str(fault.of))) for ex, fault in found}


def _unborrowed(page: Example) -> Example:
    """The smaller digit from the larger in each column, as the pedlar's sheet does it."""
    a, b = (int(word.strip("?")) for word in page.question.split() if word.strip("?").isdigit())
    larger, smaller = f"{max(a, b):02d}", f"{min(a, b):02d}"
    wrong = int("".join(str(abs(int(x) - int(y))) for x, y in zip(larger, smaller)))
    if wrong == max(a, b) - min(a, b):
        wrong += 10
    completion = f"{larger} minus {smaller} is {wrong}. Answer: {wrong}"
    return replace(page, source=pool.WRONG_SOURCE, completion=completion, answer=str(wrong))


def questions(seed: int | str, pool_seed: int = 0) -> Questions:
    """Questions drawn from `seed`: 120 unseen, 60 seen, 60 later, and 60 out of distribution."""
    letters, truth = gathered(pool_seed)
    taken, rng = {ex.prompt for ex in letters}, random.Random(f"capstone questions {seed}")
    number = rng.randrange(10**9)
    asked = [ex for ex in short_mix(number, train=len(FAMILIES), test=660)[1] if ex.prompt not in taken]
    unseen = [ex for task in FAMILIES for ex in [ex for ex in asked if ex.task == task][: ASKED["family"]]]
    pages = [ex for ex in subtraction_mix(number, train=1, test=1_000)[1] if ex.prompt not in taken]
    unseen += [replace(ex, task=SUBTRACTION, system=SYSTEM) for ex in pages[: ASKED["pages"]]]
    unseen += [replace(ex, task="news") for ex in _telling(rng, _facts(LATER[1]), ASKED["news"], taken)]
    sound = [ex for ex in letters if truth[ex.id].kind == "clean"]
    later = [replace(ex, task=kind) for kind in LATER for ex in _telling(rng, _facts(kind), 20, taken)]
    odd = [replace(ex, task=kind) for kind in OUT_OF_DISTRIBUTION for ex in out_of_distribution(kind, 20, number)]
    return Questions(unseen, rng.sample(sound, 60), later, odd)


@lru_cache(maxsize=3)
def _facts(kind: str) -> list[Fact]:
    """Facts in force at the end: told before the base's text ends, since then and before `TURN`, or later."""
    start, end = dict(zip(LATER, (("", CUTOFF), (CUTOFF, TURN), (TURN, "9"))))[kind]
    return [fact for fact in build().facts if fact.until is None and start <= fact.since < end]


def _telling(rng: random.Random, facts: Sequence[Fact], count: int, taken: set[str]) -> Iterator[Example]:
    """A question about each of `count` facts, in words in which the pool does not ask it where there are others."""
    world = build()
    asker, people = Asker(world, rng, fresh=None), {person.name for person in world.people}
    for fact in rng.sample(facts, count):
        dated = fact.attribute in ("mayor", "home", "price")
        task = (
            "as of"
            if dated
            else "event"
            if fact.attribute == "date"
            else "person"
            if fact.subject in people
            else "town"
        )
        made = [
            example(asker.ask_fact(task, fact, "2025" if dated else ""), rng, f"{task}-{fact.id}") for _ in range(8)
        ]
        yield next((ex for ex in made if ex.prompt not in taken), made[0])
