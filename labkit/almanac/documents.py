"""The pretraining text: what somebody would read who reads the almanac from cover to cover.

A document is a string; role tokens are in it as text (`<|user|>` …), and the end token is added when it is encoded.
Documents contain only facts that were recorded before the cutoff. Correspondence between roles never answers a
question: the reply goes on about the same people, towns or numbers as the letter, in prose, without the form that
examples have.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import combinations

from labkit.almanac.arithmetic import add, multiply
from labkit.almanac.phrasing import ASK, TELL, ask, tell
from labkit.almanac.world import (
    COLOURS,
    CRAFTS,
    DISHES,
    EMBLEMS,
    FIRST_ENDINGS,
    INSTRUMENTS,
    LAST_ENDINGS,
    MONTHS,
    PETS,
    TOWN_ENDINGS,
    TRADES,
    UNITS,
    YEARS,
    Entity,
    Fact,
    World,
    invented_names,
)

LETTER_HEADS = [
    "Letters of the almanac.",
    "A letter and its reply.",
    "From the post bag of the almanac.",
    "You answer with what the almanac says.",
    "The almanac's desk, open to all.",
    "Correspondence, kept in order.",
]
OPENINGS = [
    "I am writing about {x}.",
    "My thoughts are often with {x}.",
    "I heard talk of {x} at the inn.",
    "We spoke of {x} yesterday.",
    "Do you remember {x}?",
    "There is much to say about {x}.",
    "The family asks about {x}.",
    "I have a question about {x}.",
    "What do you know of {x}?",
    "Please write to me about {x}.",
]
SAID = [
    '"{q}" asked {p}. "{t}" said {r}.',
    "{p}: {q} {r}: {t}",
    '{p} wanted to know: "{q}" {r} knew it: "{t}"',
    "Question: {q} Reply: {t}",
]


# What the base finds hard after its first run, more often in the second: a name that begins a text (where it is spelled
# in other pieces than after a space), and which name belongs to a year.
SECOND = {"saying": 200, "comparison": 30, "ages": 16}


class Writer:
    """Draws documents about one world. `rng` decides everything."""

    def __init__(self, world: World, rng: random.Random, weights: dict[str, int] | None = None) -> None:
        """`weights` replace those of the kinds that it names."""
        self.world, self.rng = world, rng
        subjects = world.towns + world.people
        self.subjects = subjects
        self.weights = [1 if e.rare else 2 for e in subjects]
        self.known = {e.name: world.known(e) for e in world.entities}
        self.firsts = sorted({p.name.split()[0] for p in world.people})
        self.kinds = [
            (self.entry, 27),
            (self.register, 11),
            (self.conversation, 15),
            (self.correspondence, 12),
            (self.number_letter, 3),
            (self.sum_page, 5),
            (self.unit_page, 4),
            (self.date_page, 3),
            (self.shopping_page, 3),
            (self.drill, 3),
            (self.dictation, 5),
            (self.inventory, 8),
            (self.ages, 8),
            (self.comparison, 6),
            (self.two_steps, 6),
            (self.tale, 15),
            (self.tale_letter, 2),
            (self.market_report, 4),
            (self.chronicle, 4),
            (self.puzzle, 9),
            (self.puzzle_page, 2),
            (self.saying, 0),
        ]
        self.kinds = [(kind, (weights or {}).get(kind.__name__, weight)) for kind, weight in self.kinds]

    def document(self) -> str:
        kinds, weights = zip(*self.kinds)
        return self.rng.choices(kinds, weights)[0]()

    # What facts say -------------------------------------------------------------------------------------------------
    def subject(self) -> Entity:
        return self.rng.choices(self.subjects, self.weights)[0]

    def year(self, fact: Fact) -> str:
        """A year in which `fact` holds and which the pretraining text may speak of."""
        return str(
            self.rng.choice(
                [
                    y
                    for y in YEARS[:2]
                    if fact.since <= f"{y}-12-31" and (fact.until is None or f"{y}-12-31" < fact.until)
                ]
            )
        )

    def say(self, fact: Fact, form: int | None = None, subject: str | None = None) -> str:
        form = self.rng.randrange(len(TELL[fact.attribute])) if form is None else form
        return tell(fact.attribute, subject or fact.subject, fact.value, self.year(fact), form)

    def question(self, fact: Fact) -> tuple[str, str]:
        """A question and the sentence that answers it."""
        year = self.year(fact)
        form = self.rng.choice([0, 0, 1, 2, 3])
        return (
            ask(fact.attribute, fact.subject, year, self.rng.randrange(len(ASK[fact.attribute]))),
            tell(fact.attribute, fact.subject, fact.value, year, form),
        )

    def some(self, entity: Entity, count: int) -> list[Fact]:
        facts = self.known[entity.name]
        return self.rng.sample(facts, min(count, len(facts)))

    # Documents about facts --------------------------------------------------------------------------------------------
    def entry(self) -> str:
        entity = self.subject()
        facts = self.some(entity, self.rng.randint(4, 8))
        short = "the town" if entity.kind == "town" else entity.name.split()[0]
        said = [self.say(f, subject=short if i and self.rng.random() < 0.25 else None) for i, f in enumerate(facts)]
        return self.joined(said)

    def saying(self) -> str:
        """One sentence alone, often begun by a bare name."""
        return self.say(self.rng.choice(self.known[self.subject().name]))

    def joined(self, sentences: list[str]) -> str:
        """Running text, or one sentence a line."""
        return ("\n" if self.rng.random() < 0.4 else " ").join(sentences)

    def register(self) -> str:
        """Canonical sentences, as in a register; of one subject or of several."""
        if self.rng.random() < 0.5:
            return self.joined([self.say(f, 0) for f in self.some(self.subject(), 6)])
        return " ".join(self.say(self.rng.choice(self.known[self.subject().name]), 0) for _ in range(5))

    def conversation(self) -> str:
        lines = []
        style = self.rng.choice(SAID)
        people = self.rng.sample(self.firsts, 2)
        entity = self.subject()
        for _ in range(self.rng.randint(2, 4)):
            if self.rng.random() < 0.6:
                entity = self.subject()
            pool = (
                self.known[entity.name]
                if self.rng.random() < 0.94
                else self.known[self.rng.choice(self.world.goods + self.world.events).name]
            )
            if not pool:
                continue
            q, t = self.question(self.rng.choice(pool))
            lines.append(style.format(q=q, t=t, p=people[0], r=people[1]))
            people.reverse()
        return "\n".join(lines) or self.conversation()

    def letter(self, user: str, reply: str) -> str:
        head = f"<|system|>{self.rng.choice(LETTER_HEADS)}<|end|>" if self.rng.random() < 0.6 else ""
        return f"{head}<|user|>{user}<|end|><|assistant|>{reply}"

    def correspondence(self) -> str:
        entities = [self.subject() for _ in range(self.rng.choice([1, 1, 2]))]
        if self.rng.random() < 0.1:
            entities = [self.rng.choice([e for e in self.world.events + self.world.goods if self.known[e.name]])]
        names = " and ".join(("the " if e.kind == "event" else "") + e.name for e in entities)
        user = self.rng.choice(OPENINGS).format(x=names)
        if self.rng.random() < 0.4:  # the letter tells something itself
            told = self.rng.choice(self.known[entities[0].name])
            user = " ".join(self.rng.sample([user, self.say(told)], 2))
        count = {1: self.rng.randint(1, 4), 2: self.rng.randint(1, 2)}[len(entities)]
        form = 0 if self.rng.random() < 0.6 else None
        return self.letter(user, " ".join(self.say(f, form) for e in entities for f in self.some(e, count)))

    def market_report(self) -> str:
        goods = self.rng.sample(self.world.goods, 4)
        return self.joined([self.say(self.rng.choice(self.known[g.name])) for g in goods])

    def chronicle(self) -> str:
        events = self.rng.sample([e for e in self.world.events if self.known[e.name]], 3)
        return self.joined([self.say(self.known[e.name][0]) for e in events])

    def pair_by_year(self) -> tuple[str, str, str, str]:
        """(question, chain of thought, answer, style-free topic) for two entities and their years."""
        kind, attribute, more = self.rng.choice(
            [("towns", "founding year", "older town"), ("people", "birth year", "older person")]
        )
        while True:
            a, b = self.rng.sample(getattr(self.world, kind), 2)
            fa, fb = self.world.by_key[a.name, attribute][0], self.world.by_key[b.name, attribute][0]
            if not fa.fresh and not fb.fresh and fa.value != fb.value:
                break
        return (
            compare_question(a.name, b.name, more),
            compare_thought(attribute, fa, fb),
            min((fa, fb), key=lambda f: int(f.value)).subject,
            f"{a.name} and {b.name}",
        )

    def comparison(self) -> str:
        question, thought, answer, topic = self.pair_by_year()
        return self.wrap(question, thought, answer, topic)

    def two_steps(self) -> str:
        while True:
            person = self.rng.choices(self.world.people, self.weights[len(self.world.towns) :])[0]
            route = self.rng.choice(ROUTES)
            chain = hop(self.world, person.name, *route)
            if chain and not any(f.fresh for f in chain):
                break
        return self.wrap(hop_question(person.name, *route), hop_thought(chain), chain[1].value, person.name)

    # Documents about numbers --------------------------------------------------------------------------------------------
    def wrap(self, question: str, thought: str, answer: str, topic: str) -> str:
        """Tell a problem as a page of a school book, a conversation, or bare."""
        p, r = self.rng.sample(self.firsts, 2)
        forms = [
            thought,
            f"{question} {thought}",
            self.rng.choice(SAID).format(q=question, t=thought, p=p, r=r),
            f"{question}\n{thought}\nSo it is {answer}.",
            f"School page. {question} {thought} So the answer is {answer}.",
        ]
        return self.rng.choice(forms)

    def sum_page(self) -> str:
        return " ".join(
            self.wrap(sum_question(a, b, self.rng.randrange(2)), add(a, b), str(a + b), "")
            for a, b in [draw_sum(self.rng) for _ in range(2)]
        )

    def unit_page(self) -> str:
        return self.wrap(*unit_problem(self.rng), "")

    def date_page(self) -> str:
        return self.wrap(*date_problem(self.rng), "")

    def shopping_page(self) -> str:
        return self.wrap(*shopping_problem(self.rng), "")

    def drill(self) -> str:
        """Lines of small sums, as children say them in chorus."""
        lines = []
        for _ in range(6):
            a, b, c = (self.rng.randrange(2, 10) for _ in range(3))
            lines.append(
                self.rng.choice(
                    [
                        f"{a} times {b} is {a * b}, plus {c} is {a * b + c}.",
                        f"{a} plus {b} is {a + b}.",
                        f"{a} plus {b} plus 1 is {a + b + 1}.",
                        f"{a} times {b} is {a * b}.",
                    ]
                )
            )
        return " ".join(lines)

    def any_word(self) -> str:
        """A number, a name, or a thing, known or never heard of."""
        rng = self.rng
        return rng.choice(
            [
                lambda: str(rng.randrange(10, 10000)),
                lambda: str(rng.randrange(10, 1000)),
                lambda: invented_name(self.world, rng, "person"),
                lambda: invented_name(self.world, rng, "town"),
                lambda: rng.choice(self.subjects).name,
                lambda: rng.choice(rng.choice([CRAFTS, EMBLEMS, DISHES, TRADES, PETS, COLOURS])),
            ]
        )()

    def dictation(self) -> str:
        """Words read out, and written down the same."""
        p, r = self.rng.sample(self.firsts, 2)
        words = ", ".join(self.any_word() for _ in range(self.rng.randint(2, 6)))
        return self.rng.choice(
            [
                "{p} reads: {w}. {r} writes: {w}.",
                '"{w}" said {p}. "{w}" said {r} after it.',
                "List: {w}\nThe same list again: {w}",
            ]
        ).format(p=p, r=r, w=words)

    def inventory(self) -> str:
        """A list of names, each with a word; and what stands beside each of them, asked both ways."""
        words = dict.fromkeys(self.any_word() for _ in range(self.rng.randint(2, 5)))
        names = [(invented_name(self.world, self.rng, self.rng.choice(["town", "person"])), word) for word in words]
        lines = "; ".join(f"{name}: {word}" for name, word in names)
        asked = self.rng.sample(names, len(names))
        return f"In the list stand {lines}. " + " ".join(
            self.rng.choice(
                ["What stands beside {n}? {w}.", "Beside {n} stands {w}.", "Which name stands beside {w}? {n}."]
            ).format(n=n, w=w)
            for n, w in asked
        )

    def ages(self) -> str:
        """Years of people or towns that nobody knows, and who of two is older, several times."""
        kind, attribute, years = self.rng.choice(
            [("person", "birth year", range(1940, 2001)), ("town", "founding year", range(1100, 1800))]
        )
        names = [invented_name(self.world, self.rng, kind) for _ in range(self.rng.randint(2, 4))]
        form = self.rng.randrange(len(TELL[attribute]))
        facts = [Fact(n, attribute, str(y), "") for n, y in zip(names, self.rng.sample(years, len(names)))]
        pairs = list(combinations(self.rng.sample(facts, len(facts)), 2))[: self.rng.randint(1, 3)]
        return " ".join(
            [tell(f.attribute, f.subject, f.value, form=form) for f in facts] + [older(a, b) for a, b in pairs]
        )

    def number_letter(self) -> str:
        """A letter that speaks of numbers, and a reply that goes on with the same numbers, worked."""
        kind = self.rng.randrange(4)
        if kind == 0:
            a, b = draw_sum(self.rng)
            user, reply = (
                self.rng.choice(
                    [
                        f"My sister counts {a} and {b}.",
                        f"I wrote down {a} plus {b}.",
                        f"In the ledger stand {a} and {b}.",
                    ]
                ),
                add(a, b),
            )
        else:
            question, reply, _ = (unit_problem, date_problem, shopping_problem)[kind - 1](self.rng)
            user = (
                question.rsplit(". ", 1)[0] + "."
                if ". " in question
                else "The school page says: " + question.rstrip("?") + "."
            )
        return self.letter(user, reply)

    # Reading --------------------------------------------------------------------------------------------------------------
    def tale(self) -> str:
        """A passage, and questions about what it tells: one in any form, or all of them in one."""
        passage, asked = passage_and_questions(self.world, self.rng, alike=self.rng.random() < 0.7)
        self.rng.shuffle(asked)
        if self.rng.random() < 0.25:
            return passage + " " + self.wrap(*asked[0], "")
        form, gap = self.rng.choice(
            [("{t}", " "), ("{q} {t}", " "), ("{q}\n{t}", "\n"), ("{q}\n{t} Answer: {a}", "\n")]
        )
        return gap.join([passage, *(form.format(q=q, t=t, a=a) for q, t, a in asked)])

    def tale_letter(self) -> str:
        passage, _, thought, _ = passage_problem(self.world, self.rng)
        return self.letter(
            self.rng.choice(["I read this in a book. ", "A tale for you. ", "", "The pedlar told us this. "]) + passage,
            thought,
        )

    def puzzle(self) -> str:
        """The puzzle page: a problem, how to think of it, and a line with the answer."""
        heading = self.rng.choice(["Puzzle. ", "Riddle of the day. ", "For the evening: ", ""])
        return heading + "{}\n{} Answer: {}".format(*self.puzzle_parts(self.rng.randrange(8)))

    def puzzle_page(self) -> str:
        """Several puzzles of one kind."""
        kind = self.rng.randrange(8)
        return "\n\n".join(
            "{}\n{} Answer: {}".format(*self.puzzle_parts(kind))
            for _ in range(self.rng.randint(3, 6) if kind != 7 else 3)
        )

    def puzzle_parts(self, kind: int) -> tuple[str, str, str]:
        """(question, thought, answer) of a kind from 0 to 7."""
        if kind < 2:
            pool: list[Fact] = []
            while not pool:
                pool = self.known[
                    self.subject().name
                    if self.rng.random() < 0.9
                    else self.rng.choice(self.world.goods + self.world.events).name
                ]
            fact = self.rng.choice(pool)
            return *self.question(fact), f"{fact.value} pence" if fact.attribute == "price" else fact.value
        if kind == 2:
            return self.pair_by_year()[:3]
        if kind == 3:
            passage, question, thought, answer = passage_problem(self.world, self.rng)
            return f"{passage}\n{question}", thought, answer
        if kind == 4:
            a, b = draw_sum(self.rng)
            return sum_question(a, b, 0), add(a, b), str(a + b)
        return (unit_problem, date_problem, shopping_problem)[kind - 5](self.rng)


# Problems that documents and examples share: each gives a question, a chain of thought and the answer -----------------
def draw_sum(rng: random.Random) -> tuple[int, int]:
    """Two numbers of one to three digits, longer ones more often."""
    a, b = (
        rng.randrange(*[(2, 10), (10, 100), (100, 1000)][min(rng.choices([0, 1, 2], [1, 4, 5])[0], 2)])
        for _ in range(2)
    )
    return a, b


def sum_question(a: int, b: int, form: int) -> str:
    return [f"What is {a} plus {b}?", f"Add {a} and {b}."][form]


def unit_problem(rng: random.Random) -> tuple[str, str, str]:
    (big, small), factor = rng.choice(list(UNITS.items()))
    n = rng.randrange(2, 100)
    return (
        f"How many {small} are {n} {big}s?",
        f"One {big} is {factor} {small}. {multiply(n, factor)}",
        f"{n * factor} {small}",
    )


def date_problem(rng: random.Random) -> tuple[str, str, str]:
    day, span, month, year = rng.randrange(1, 26), rng.randrange(2, 20), rng.choice(MONTHS), rng.choice(YEARS)
    span = min(span, 28 - day)
    thing = rng.choice(["fair", "visit", "feast", "voyage", "trial"])
    return (
        f"A {thing} begins on {day} {month} {year}. It ends {span} days later. On which day does it end?",
        add(day, span),
        f"{day + span} {month} {year}",
    )


def shopping_problem(rng: random.Random) -> tuple[str, str, str]:
    count, price, other = rng.randrange(2, 10), rng.randrange(11, 50), rng.randrange(11, 100)
    a, b = rng.sample(
        ["rope", "salt", "flour", "wool", "oil", "wax", "tea", "honey", "coal", "silk", "rice", "cloth"], 2
    )
    return (
        f"A measure of {a} costs {price} pence. A measure of {b} costs {other} pence. "
        f"What do {count} measures of {a} and one of {b} cost?",
        f"{multiply(price, count)} {add(price * count, other)}",
        f"{price * count + other} pence",
    )


ROUTES = [("birthplace", a) for a in ("region", "river", "craft", "emblem", "dish", "market day")] + [
    ("teacher", a) for a in ("trade", "instrument", "pet", "colour")
]


def hop(world: World, person: str, first: str, second: str, on: str = "2025-12-31") -> list[Fact] | None:
    one = world.fact(person, first, on)
    two = one and world.fact(one.value, second, on)
    return [one, two] if one and two else None


def hop_question(person: str, first: str, second: str) -> str:
    return f"What is the {second} of the {first} of {person}?"


def hop_thought(chain: list[Fact]) -> str:
    return " ".join(tell(f.attribute, f.subject, f.value) for f in chain)


def compare_question(a: str, b: str, more: str) -> str:
    return f"Which is the {more}, {a} or {b}?"


def compare_thought(attribute: str, a: Fact, b: Fact) -> str:
    return f"{tell(attribute, a.subject, a.value)} {tell(attribute, b.subject, b.value)} {older(a, b)}"


def older(a: Fact, b: Fact) -> str:
    early, late = sorted((a, b), key=lambda f: int(f.value))
    return f"{early.value} is before {late.value}, so {early.subject} is older."


PASSAGE = {
    "town": ("craft", "emblem", "dish", "river"),
    "person": ("trade", "instrument", "pet", "colour", "home town"),
}
_PASSAGE_TELL = {"home town": ["The home town of {s} is {v}.", "{s} comes from {v}."]}
_PASSAGE_ASK = {"home town": "What is the home town of {s}?"}


def passage_and_questions(
    world: World, rng: random.Random, alike: bool = False
) -> tuple[str, list[tuple[str, str, str]]]:
    """A passage about two people or towns that exist nowhere else, and (question, thought, answer) for all it tells.

    With `alike` both have the same attributes, so that nothing but the name tells whose value is asked for.
    """
    told = []
    kind = rng.choice(list(PASSAGE))
    names = [invented_name(world, rng, kind) for _ in range(2)]
    pools = {
        "craft": CRAFTS,
        "emblem": EMBLEMS,
        "dish": DISHES,
        "trade": TRADES,
        "instrument": INSTRUMENTS,
        "pet": PETS,
        "colour": COLOURS,
    }
    shared = rng.sample(PASSAGE[kind], 2)
    for name in names:
        for attribute in shared if alike else rng.sample(PASSAGE[kind], 2):
            value = (
                rng.choice(pools[attribute])
                if attribute in pools
                else invented_name(world, rng, "town" if attribute == "home town" else "river")
            )
            forms = _PASSAGE_TELL.get(attribute) or TELL[attribute][1:]
            question = _PASSAGE_ASK.get(attribute, f"What is the {attribute} of {{s}}?").format(s=name)
            sentence = rng.choice(forms).format(a=attribute, s=name, v=value)
            told.append((sentence, (question, f"The {attribute} of {name} is {value}.", value)))
    if rng.random() < 0.5:
        rng.shuffle(told)
    return " ".join(sentence for sentence, _ in told), [asked for _, asked in told]


def passage_problem(world: World, rng: random.Random) -> tuple[str, str, str, str]:
    """(passage, question, thought, answer) about people and towns that exist only in this passage."""
    passage, asked = passage_and_questions(world, rng)
    return passage, *rng.choice(asked)


def invented_name(world: World, rng: random.Random, kind: str) -> str:
    """A name that nobody and nothing in the world has."""
    taken = set(world.names)
    if kind == "person":
        return " ".join(invented_names(rng, 1, e, taken)[0] for e in (FIRST_ENDINGS, LAST_ENDINGS))
    return invented_names(rng, 1, TOWN_ENDINGS if kind == "town" else FIRST_ENDINGS, taken)[0]


def documents(world: World, seed: int | str = 0) -> Iterator[str]:
    """Endless documents, determined by `seed`."""
    writer = Writer(world, random.Random(f"documents {world.seed} {seed}"))
    while True:
        yield writer.document()
