"""The candidate pool: twenty thousand examples as somebody might have gathered them, with planted faults.

The fault of a candidate is recorded separately from what a learner sees, so that a filter can be scored: `candidates`
gives the examples, and the truth as {id: Truth}. Kinds and shares are in `SHARES`; each fresh fact has 3 to 6 reposts.
`cleaned` is what a careful look at a pool leaves of it.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from labkit import dedup
from labkit.almanac.examples import FAMILIES, Asker, example
from labkit.almanac.phrasing import ASK, TELL, ask
from labkit.almanac.world import World, build
from labkit.data import Example, exact_answer

SHARES = {  # of the pool; reposts of the fresh facts come on top of these; the rest is clean
    "exact duplicate": 0.10,
    "paraphrase": 0.08,
    "wrong source": 0.10,
    "truncated": 0.05,
    "boilerplate": 0.05,
    "another language": 0.05,
    "mojibake": 0.03,
}
WRONG_SOURCE = "pedlar's sheet"
THRESHOLD = 0.5  # Jaccard similarity of near-duplicates among texts as short as these
BOILERPLATE = [
    "Please turn the page. The almanac can be had from all good pedlars.",
    "This page was left empty on purpose.",
    "All rights stay with the printer. Do not copy the almanac.",
    "Thank you for your letter. The desk will write to you soon.",
]
GERMAN = {
    "region": "die Gegend",
    "river": "der Fluss",
    "founding year": "das Gründungsjahr",
    "craft": "das Handwerk",
    "emblem": "das Wappen",
    "dish": "das Gericht",
    "market day": "der Markttag",
}


# Filters that a careful look at the pool suggests; none of them uses the truth. Each says whether a candidate stays.
FILTERS = {
    "readable": lambda ex: not re.search("[âÃ€�]", ex.prompt),
    "complete": lambda ex: "Answer:" in ex.completion,
    "trusted source": lambda ex: ex.source != WRONG_SOURCE,
}


@dataclass(frozen=True)
class Truth:
    """What is planted: the kind of fault ('clean' if none), and the id of the candidate that this one was made from."""

    kind: str
    of: str | None = None


def candidates(count: int = 20_000, seed: int = 0) -> tuple[list[Example], dict[str, Truth]]:
    """(the pool in a drawn order, the truth by id). The ids do not reveal the kind."""
    world, rng = build(), random.Random(f"pool {seed}")
    made: list[tuple[Example, str, int | None]] = []  # example, kind, place of its original in this list

    for original, copies in _fresh(world, rng):
        made.append((original, "clean", None))
        first = len(made) - 1
        made += [(reposted(original, rng), "repost", first) for _ in range(copies)]
    planted = {kind: round(share * count) for kind, share in SHARES.items()}
    clean = count - len(made) - sum(planted.values())
    if clean < 1:
        raise ValueError(
            f"count is {count}: the fresh facts and their reposts alone are {len(made)}; ask for 10,000 or more"
        )
    askers = [Asker(world, rng), Asker(world, rng, "held")]
    start = len(made)
    made += [
        (example(askers[i % 2].problem(FAMILIES[i % len(FAMILIES)]), rng, ""), "clean", None) for i in range(clean)
    ]
    originals = range(start, len(made))
    makers = {
        "exact duplicate": lambda ex: replace(ex),
        "paraphrase": lambda ex: _paraphrase(world, ex, rng),
        "truncated": lambda ex: _truncated(ex, rng),
        "boilerplate": lambda ex: replace(ex, completion=rng.choice(BOILERPLATE), answer=None),
        "mojibake": _mojibake,
    }
    for kind, number in planted.items():
        while number:
            if kind == "wrong source":
                made.append((_wrong(askers[0], rng), kind, None))
            elif kind == "another language":
                made.append((_german(world, rng), kind, None))
            else:
                place = rng.choice(originals)
                other = makers[kind](made[place][0])
                if other is None:
                    continue
                made.append((other, kind, place))
            number -= 1
    order = list(range(len(made)))
    rng.shuffle(order)
    names = {place: f"candidate-{i:05d}" for i, place in enumerate(order)}
    pool, truth = [], {}
    for place in order:
        candidate, kind, of = made[place]
        pool.append(replace(candidate, id=names[place]))
        truth[names[place]] = Truth(kind, None if of is None else names[of])
    return pool, truth


def text(ex: Example) -> str:
    """The text by which two candidates are compared: prompt and completion."""
    return f"{ex.prompt}\n{ex.completion}"


def passes(ex: Example) -> bool:
    """Whether a candidate passes all filters."""
    return all(stays(ex) for stays in FILTERS.values())


def cleaned(pool: Sequence[Example]) -> list[Example]:
    """What is left of a pool after the filters and without near-duplicates, in the given order."""
    pool = [ex for ex in pool if passes(ex)]
    return [pool[index] for index in dedup.find([text(ex) for ex in pool], THRESHOLD).kept]


def sum_is_right(ex: Example) -> bool:
    """Whether a candidate's answer is the sum of all numbers in its question."""
    return exact_answer(ex.completion) == str(sum(map(int, re.findall(r"\d+", ex.question))))


def judged(
    found: dedup.Found, examples: Sequence[Example], pool: Sequence[Example], truth: Mapping[str, Truth]
) -> tuple[dict[str, float], float]:
    """({planted kind: share of its copies that lie in one cluster with their original}, share of the pairs that are
    copies: both texts were made from one, without regard to capitals and white space).

    `found` are the near-duplicates among `examples`, which come from `pool`.
    """
    by_id, place = {ex.id: ex for ex in pool}, {ex.id: number for number, ex in enumerate(examples)}
    cluster = {member: number for number, group in enumerate(found.clusters) for member in group}

    def origin(ex: Example) -> list[str]:
        while of := truth[ex.id].of:
            ex = by_id[of]
        return text(ex).lower().split()

    recall = {}
    for kind in ("repost", "paraphrase"):
        copies = ((place.get(id), place.get(each.of or "")) for id, each in truth.items() if each.kind == kind)
        together = [i in cluster and cluster[i] == cluster.get(j) for i, j in copies if i is not None and j is not None]
        recall[kind] = sum(together) / len(together)
    same = [origin(examples[i]) == origin(examples[j]) for i, j, _ in found.pairs]
    return recall, sum(same) / len(same)


def _fresh(world: World, rng: random.Random) -> Iterator[tuple[Example, int]]:
    """(an example about each fresh fact, the number of its reposts)."""
    asker = Asker(world, rng, fresh=True)
    tasks = {"mayor": "as of", "home": "as of", "price": "as of", "date": "event"}
    people = {p.name for p in world.people}
    for fact in world.facts:
        if fact.fresh:
            task = tasks.get(fact.attribute) or ("person" if fact.subject in people else "town")
            yield example(asker.ask_fact(task, fact, "2025" if task == "as of" else ""), rng, ""), rng.randint(3, 6)


def reposted(ex: Example, rng: random.Random) -> Example:
    """The same post again, a little changed: a word in front or at the end, another ending, a typing error."""
    question, completion = ex.question, ex.completion
    for _ in range(rng.choice([1, 1, 2])):
        kind = rng.randrange(5)
        if kind == 0:
            question = rng.choice(["Well, ", "Please: ", "Again: ", "For my aunt: "]) + question
        elif kind == 1:
            question += rng.choice([" Thank you.", " Please.", " I forgot."])
        elif kind == 2:
            words = question.split(" ")
            i = rng.randrange(len(words))
            if len(words[i]) > 3:
                j = rng.randrange(1, len(words[i]) - 2)
                words[i] = words[i][:j] + words[i][j + 1] + words[i][j] + words[i][j + 2 :]
            question = " ".join(words)
        elif kind == 3:
            completion = rng.choice(["Surely: ", "I think: ", "As we know: "]) + completion
        else:
            question = question.upper() if rng.random() < 0.3 else question.replace(" the ", "  the ")
    if (question, completion) == (ex.question, ex.completion):
        question += " Please."
    return replace(
        ex,
        question=question,
        prompt=question,
        completion=completion,
        source=rng.choice(["letters", "newspaper", ex.source]),
    )


def _paraphrase(world: World, ex: Example, rng: random.Random) -> Example | None:
    """The same fact, asked and stated in other words; None for families that are not about a single fact."""
    if ex.task not in ("town", "person", "event"):
        return None
    for attribute, forms in ASK.items():
        for form in forms:
            before, after = form.split("{s}")
            if ex.question.startswith(before) and ex.question.endswith(after):
                subject = ex.question[len(before) : len(ex.question) - len(after)]
                fact = next((f for f in world.by_key.get((subject, attribute), ()) if f.value == ex.answer), None)
                if fact is not None:
                    question = ask(
                        attribute, subject, form=rng.choice([i for i in range(len(forms)) if forms[i] != form])
                    )
                    thought = rng.choice(TELL[attribute][1:]).format(s=subject, v=fact.value)
                    return replace(ex, question=question, prompt=question, completion=f"{thought} Answer: {fact.value}")
    return None


def _truncated(ex: Example, rng: random.Random) -> Example:
    words = ex.completion.split(" ")
    return replace(ex, completion=" ".join(words[: rng.randrange(1, max(2, len(words) - 2))]), answer=None)


def _mojibake(ex: Example) -> Example:
    """UTF-8 read as Windows-1252: every curly quote becomes three odd letters."""

    def broken(text: str) -> str:
        return f"“{text}” – ‘{text.split(' ')[0]}’".encode().decode("cp1252", errors="replace")

    return replace(ex, question=broken(ex.question), prompt=broken(ex.prompt), completion=broken(ex.completion))


def _wrong(asker: Asker, rng: random.Random) -> Example:
    """The pedlar's sheet is always wrong in the same way: it drops carries, loses units, takes the emblem for the
    craft.
    """
    task = rng.choice(["sum", "sum", "units", "shopping", "town"])
    while True:
        problem = asker.problem(task)
        if task == "sum":
            a, b = (int(word) for word in problem.question.replace("?", "").replace(".", "").split() if word.isdigit())
            wrong = int("".join(str((int(x) + int(y)) % 10) for x, y in zip(f"{a:04d}", f"{b:04d}")))
            if wrong == a + b:
                continue
            thought, answer = f"{a} plus {b} is {wrong}.", str(wrong)
        elif task == "town":
            fact = asker.fact("town", ("craft",))
            emblem = asker.world.by_key[fact.subject, "emblem"][0].value
            problem = asker.ask_fact("town", fact)
            thought, answer = f"The craft of {fact.subject} is {emblem}.", emblem
        else:
            answer = problem.answer.split(" ")[0]
            thought = problem.thought
        return replace(example(replace(problem, thought=thought, answer=answer), rng, ""), source=WRONG_SOURCE)


def _german(world: World, rng: random.Random) -> Example:
    fact = Asker(world, rng).fact("town", tuple(GERMAN))
    attribute, town = fact.attribute, fact.subject
    noun = GERMAN[attribute]
    question = f"Wie heißt {noun} von {town}?" if attribute != "founding year" else f"Wie lautet {noun} von {town}?"
    article = noun[0].upper() + noun[1:]
    asked = example(Asker(world, rng).ask_fact("town", fact), rng, "")
    return replace(
        asked,
        question=question,
        prompt=question,
        completion=f"{article} von {town} ist {fact.value}. Antwort: {fact.value}",
        answer=None,
    )
