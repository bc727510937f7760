"""Dated questions with their answers, in task families, and the mixes that runs are made of.

An example is asked in one turn: `[worked examples] [context] question`; the completion is a chain of thought that
repeats the almanac's canonical sentences, then `Answer: …`. Towns and people fall into three parts, fixed for the
world: *seen* (training questions may name them), *held out* (no training question names them; half of a test's
questions do), and *rare* (the long tail, only in the out-of-distribution set). Mixes contain no fresh facts;
`fresh_examples` contains only fresh facts.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date, timedelta
from functools import lru_cache

from labkit.almanac.arithmetic import add
from labkit.almanac.documents import (
    ROUTES,
    compare_question,
    compare_thought,
    date_problem,
    draw_sum,
    hop,
    hop_question,
    hop_thought,
    passage_problem,
    shopping_problem,
    sum_question,
    unit_problem,
)
from labkit.almanac.phrasing import ASK, ask, tell
from labkit.almanac.world import CUTOFF, FIRST_DAY, LAST_DAY, YEARS, Entity, Fact, World, build
from labkit.data import Example

SYSTEM = "You answer with what the almanac says."
FAMILIES = ("town", "person", "as of", "event", "two steps", "compare", "reading", "sum", "shopping", "units", "dates")
UNSEEN_FAMILY = "difference"
OUT_OF_DISTRIBUTION = ("phrasing", "long tail", "family")
SOURCES = {
    "town": "gazetteer",
    "person": "parish book",
    "as of": "town rolls",
    "event": "chronicle",
    "two steps": "gazetteer",
    "compare": "gazetteer",
    "reading": "reading book",
    "sum": "school page",
    "shopping": "school page",
    "units": "school page",
    "dates": "school page",
    UNSEEN_FAMILY: "school page",
}


@dataclass(frozen=True)
class Problem:
    """A question of a family with its chain of thought and answer; `since`: the first day it is on record."""

    task: str
    question: str
    thought: str
    answer: str
    context: str | None = None
    since: str = FIRST_DAY


def part_of(world: World, entity: Entity) -> str:
    """'seen', 'held' or 'rare'. One in ten towns and people is rare, a quarter of the others is held out."""
    if entity.rare:
        return "rare"
    order = {"town": world.towns, "person": world.people}.get(entity.kind)
    return "held" if order and order.index(entity) % 4 == 1 else "seen"


@lru_cache(maxsize=8)
def parts(world_seed: int = 0) -> dict[tuple[str, str], list[Entity]]:
    """(kind, part) -> entities. An event is in the part of its town."""
    world = build(world_seed)
    towns = {t.name: part_of(world, t) for t in world.towns}
    found: dict[tuple[str, str], list[Entity]] = {}
    for e in world.entities:
        part = towns[e.name.rpartition(" of ")[2]] if e.kind == "event" else part_of(world, e)
        found.setdefault((e.kind, part), []).append(e)
    return found


class Asker:
    """Draws problems of any family. `fresh`: True for facts since the cutoff, False for older ones, None for all."""

    def __init__(
        self,
        world: World,
        rng: random.Random,
        part: str = "seen",
        fresh: bool | None = False,
        unseen_phrasing: bool = False,
    ) -> None:
        self.world, self.rng, self.part, self.fresh, self.unseen = world, rng, part, fresh, unseen_phrasing

    def problem(self, task: str) -> Problem:
        return getattr(self, task.replace(" ", "_"))()

    def entity(self, kind: str, part: str | None = None) -> Entity:
        return self.rng.choice(parts(self.world.seed)[kind, part or self.part])

    def fact(self, kind: str, attributes: tuple[str, ...] | None = None) -> Fact:
        while True:
            entity = self.entity(kind, "seen" if kind == "good" else None)
            names = list(attributes or self.world.attributes(entity))
            fact = self.rng.choice(self.world.by_key[entity.name, self.rng.choice(names)])
            if self.fresh is None or fact.fresh == self.fresh:
                return fact

    def ask_fact(self, task: str, fact: Fact, year: str = "", form: int | None = None) -> Problem:
        """`form`: which of the attribute's phrasings; None: drawn."""
        answer = f"{fact.value} pence" if fact.attribute == "price" else fact.value
        if form is None:
            form = self.rng.randrange(len(ASK[fact.attribute]))
        return Problem(
            task,
            ask(fact.attribute, fact.subject, year, form, self.unseen),
            tell(fact.attribute, fact.subject, fact.value, year),
            answer,
            since=max(fact.since, f"{year or YEARS[0]}-01-01"),
        )

    def town(self) -> Problem:
        return self.ask_fact(
            "town", self.fact("town", ("region", "river", "founding year", "craft", "emblem", "dish", "market day"))
        )

    def person(self) -> Problem:
        return self.ask_fact(
            "person",
            self.fact("person", ("birthplace", "birth year", "trade", "instrument", "pet", "colour", "teacher")),
        )

    def as_of(self) -> Problem:
        kind, attribute = self.rng.choice([("town", "mayor"), ("person", "home"), ("good", "price")])
        while True:
            fact = self.fact(kind, (attribute,))
            years = [
                y for y in YEARS if fact.since <= f"{y}-12-31" and (fact.until is None or f"{y}-12-31" < fact.until)
            ]
            if self.fresh is False:  # that something was still true after the cutoff is fresh knowledge too
                years = [y for y in years if f"{y}-12-31" < CUTOFF]
            if years:
                return self.ask_fact("as of", fact, str(self.rng.choice(years)))

    def event(self) -> Problem:
        return self.ask_fact("event", self.fact("event"))

    def two_steps(self) -> Problem:
        while True:
            person, route = self.entity("person").name, self.rng.choice(ROUTES)
            chain = hop(self.world, person, *route)
            if chain and (self.fresh is None or any(f.fresh for f in chain) == self.fresh):
                return Problem(
                    "two steps",
                    hop_question(person, *route),
                    hop_thought(chain),
                    chain[1].value,
                    since=max(f.since for f in chain),
                )

    def compare(self) -> Problem:
        kind, attribute, more = self.rng.choice(
            [("town", "founding year", "older town"), ("person", "birth year", "older person")]
        )
        while True:
            a, b = self.fact(kind, (attribute,)), self.fact(kind, (attribute,))
            if a.value != b.value:
                older = min((a, b), key=lambda f: int(f.value))
                return Problem(
                    "compare",
                    compare_question(a.subject, b.subject, more),
                    compare_thought(attribute, a, b),
                    older.subject,
                    since=max(a.since, b.since),
                )

    def reading(self) -> Problem:
        passage, question, thought, answer = passage_problem(self.world, self.rng)
        return Problem("reading", question, thought, answer, context=passage)

    def sum(self) -> Problem:
        a, b = draw_sum(self.rng)
        return Problem("sum", sum_question(a, b, self.rng.randrange(2)), add(a, b), str(a + b))

    def shopping(self) -> Problem:
        return Problem("shopping", *shopping_problem(self.rng))

    def units(self) -> Problem:
        return Problem("units", *unit_problem(self.rng))

    def dates(self) -> Problem:
        return Problem("dates", *date_problem(self.rng))

    def difference(self) -> Problem:
        """The family that no document and no training example shows: subtraction."""
        a, b = sorted(self.rng.sample(range(1100, 2001), 2))
        return Problem(
            UNSEEN_FAMILY, f"How many years lie between {a} and {b}?", f"{b} minus {a} is {b - a}.", f"{b - a} years"
        )


def shown(question: str, completion: str) -> str:
    return f"{question}\n{completion}"


def example(
    problem: Problem, rng: random.Random, name: str, shots: tuple[tuple[str, str], ...] = (), thought: bool = True
) -> Example:
    """`problem` as an `Example`, dated on a day when its answer was on record. `thought=False`: the answer alone."""
    first = date.fromisoformat(problem.since)
    day = first + timedelta(days=rng.randrange((date.fromisoformat(LAST_DAY) - first).days + 1))
    last = f"{problem.context}\n{problem.question}" if problem.context else problem.question
    completion = (f"{problem.thought} " if thought else "") + f"Answer: {problem.answer}"
    return Example(
        id=name,
        date=day.isoformat(),
        source=SOURCES[problem.task],
        task=problem.task,
        system=SYSTEM,
        shots=shots,
        context=problem.context,
        question=problem.question,
        prompt="\n\n".join([shown(q, c) for q, c in shots] + [last]),
        completion=completion,
        answer=problem.answer,
    )


def with_shots(ex: Example, pool: list[Example], count: int, rng: random.Random) -> Example:
    """`ex` with `count` worked examples of its family from `pool` in its prompt."""
    chosen = rng.sample([p for p in pool if p.task == ex.task and p.prompt != ex.prompt], count)
    shots = tuple((f"{p.context}\n{p.question}" if p.context else p.question, p.completion) for p in chosen)
    last = f"{ex.context}\n{ex.question}" if ex.context else ex.question
    return replace(ex, shots=shots, prompt="\n\n".join([shown(q, c) for q, c in shots] + [last]))


def _drawn(
    askers: list[Asker], rng: random.Random, label: str, tasks: tuple[str, ...], thought: bool
) -> Iterator[Example]:
    """Endless examples, no prompt twice, the families and the askers taking turns."""
    seen: set[str] = set()
    misses, i = 0, 0
    while True:
        ex = example(
            askers[i // len(tasks) % len(askers)].problem(tasks[i % len(tasks)]),
            rng,
            f"{label}-{i:05d}",
            thought=thought,
        )
        if ex.prompt in seen and (misses := misses + 1) < 10:
            continue
        misses, i = 0, i + 1
        if ex.prompt not in seen:
            seen.add(ex.prompt)
            yield ex


def short_mix(
    seed: int = 0, train: int = 8000, test: int = 500, thought: bool = True, tasks: tuple[str, ...] = FAMILIES
) -> tuple[list[Example], list[Example]]:
    """(training examples, held-out questions) without worked examples in the prompt.

    Half of the test's questions name a held-out town or person where the family names any. No prompt of the test is in
    training.
    """
    world, rng = build(), random.Random(f"short mix {seed}")
    askers = [Asker(world, rng, "seen"), Asker(world, rng, "held")]
    tests = [ex for ex, _ in zip(_drawn(askers, rng, f"test{seed}", tasks, thought), range(test))]
    taken = {ex.prompt for ex in tests}
    trains: list[Example] = []
    for ex in _drawn(askers[:1], rng, f"train{seed}", tasks, thought):
        if ex.prompt not in taken:
            trains.append(ex)
        if len(trains) == train:
            break
    rng.shuffle(trains)
    return trains, tests


def long_mix(seed: int = 0, train: int = 4000, test: int = 500) -> tuple[list[Example], list[Example]]:
    """The same with one to five worked examples in each prompt: prompts are about four fifths of the tokens."""
    trains, tests = short_mix(seed, train, test)
    rng = random.Random(f"long mix {seed}")
    pool = short_mix(seed + 1000, 1100, 11)[0]
    taken = {ex.prompt for ex in tests}
    pool = [p for p in pool if p.prompt not in taken]
    trains, tests = (
        [with_shots(ex, pool, rng.randint(*(1, 3) if ex.task == "shopping" else (1, 5)), rng) for ex in mix]
        for mix in (trains, tests)
    )
    return trains, tests


def few_shot(examples: list[Example], seed: int = 0, count: int = 4) -> list[Example]:
    """The same questions with `count` worked examples of their own family in the prompt."""
    rng, pool = random.Random(f"few shot {seed}"), short_mix(seed + 2000, 1100, 11)[0]
    return [with_shots(ex, pool, count, rng) for ex in examples]


def out_of_distribution(kind: str, count: int = 200, seed: int = 0) -> list[Example]:
    """Questions of one of the kinds `OUT_OF_DISTRIBUTION`: unseen phrasing, the long tail, an unseen family."""
    world, rng = build(), random.Random(f"out of distribution {kind} {seed}")
    asker, tasks = {
        "phrasing": (Asker(world, rng, unseen_phrasing=True), ("town", "person", "as of", "event")),
        "long tail": (Asker(world, rng, "rare"), ("town", "person", "two steps", "compare")),
        "family": (Asker(world, rng), (UNSEEN_FAMILY,)),
    }[kind]
    return [ex for ex, _ in zip(_drawn([asker], rng, kind.replace(" ", "-"), tasks, True), range(count))]


def fresh_examples(count: int = 200, seed: int = 0) -> list[Example]:
    """Questions about facts that became true, or were first recorded, after the pretraining cutoff."""
    world, rng = build(), random.Random(f"fresh {seed}")
    asker = Asker(world, rng, fresh=True)
    return [
        ex for ex, _ in zip(_drawn([asker], rng, "fresh", ("town", "person", "as of", "event"), True), range(count))
    ]


def unknown_examples(count: int = 50, seed: int = 0) -> list[Example]:
    """Questions about towns that do not exist: a fine-tuned model's answers are invented. `answer` is empty."""
    from labkit.almanac.documents import invented_name

    world, rng = build(), random.Random(f"unknown {seed}")
    asked = []
    for i in range(count):
        attribute = rng.choice(("region", "river", "founding year", "craft", "emblem", "dish", "market day"))
        asked.append(
            example(Problem("town", ask(attribute, invented_name(world, rng, "town")), "", ""), rng, f"unknown-{i:03d}")
        )
    return asked
