"""The invented world: towns, people, goods, events and units, and everything that is true of them, by date.

A world is a pure function of its seed. What is true is kept as dated facts; how it is stated is in `phrasing.py` and
`documents.py`, how it is asked in `examples.py`. The almanac was closed on `CUTOFF`: a fact that became true or was
first recorded later is *fresh*, and never occurs in the text the base model was pretrained on.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from functools import cached_property, lru_cache

SEED = 0
FIRST_DAY, CUTOFF, LAST_DAY = "2023-01-01", "2025-01-01", "2025-12-31"  # facts since CUTOFF are fresh
YEARS = (2023, 2024, 2025)

REGIONS = (
    "Ambermarch Coldwater Dunmere Eastfold Fenland Greyholm Highmoor Longdale Northwick Redcliff Stonemark Westreach"
).split()
RIVERS = (
    "Aldra Birle Cress Dorn Elwy Fenn Garr Hesk Isla Jory Kell Lorn Mease Nadder Orrin Penk Quill Rusk Sable Teme "
    "Ulver Vasse Wend Yarrow"
).split()
CRAFTS = (
    "glass rope lace pottery candles clocks baskets barrels saddles bells paper tiles knives ribbons cider cheese "
    "boats carpets soap hats gloves nets lanterns buttons"
).split()
EMBLEMS = (
    "heron badger lion falcon stag salmon raven boar swan wolf bear crane hare beetle dragon tower ship crown lily "
    "rose star sword key wheel"
).split()
DISHES = (
    "barley soup,plum cake,pea stew,fish pie,nut bread,leek tart,goose pie,millet porridge,cherry pudding,bean soup,"
    "pear cake,duck stew,rye bread,mushroom pie,carrot soup,honey cake,trout stew,pumpkin tart,lentil soup,"
    "ginger bread,turnip stew,rabbit pie,cabbage soup,quince tart"
).split(",")
WEEKDAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
MONTHS = "January February March April May June July August September October November December".split()
TRADES = (
    "baker weaver miller carpenter potter tailor smith fisher printer doctor judge painter shepherd mason brewer clerk "
    "gardener cooper saddler barber nurse notary hunter ferryman"
).split()
INSTRUMENTS = (
    "fiddle flute harp lute drum horn viola trumpet cello bagpipe whistle guitar piano mandolin bassoon zither".split()
)
PETS = (
    "cat dog parrot goat tortoise pony rabbit magpie ferret canary donkey lizard hedgehog goose hen pigeon mouse toad "
    "finch lamb"
).split()
COLOURS = "red blue green yellow white black brown grey purple silver gold pink".split()
GOODS = "salt rope flour wool oil wax tea ink tar honey coal silk hemp rice pepper nails chalk cloth sugar cork".split()
HAPPENINGS = "flood,fire,regatta,storm,council,wedding,eclipse,horse race,book fair,strike".split(",")
UNITS = {
    ("rod", "ells"): 6,
    ("league", "furlongs"): 8,
    ("cask", "jugs"): 9,
    ("crown", "pence"): 5,
    ("sack", "pecks"): 4,
    ("turn", "hours"): 3,
    ("bale", "bolts"): 7,
    ("quire", "sheets"): 2,
}  # one of the first is so many of the second

TOWN_ATTRIBUTES = ("region", "river", "founding year", "craft", "emblem", "dish", "market day", "mayor")
PERSON_ATTRIBUTES = ("birthplace", "birth year", "trade", "instrument", "pet", "colour", "teacher", "home")
CHANGING = {"mayor": 0.30, "home": 0.25, "price": 0.60}  # attribute -> share that changes at each New Year
LATE = 0.07  # share of the unchanging facts that were first recorded after the cutoff


@dataclass(frozen=True)
class Fact:
    """`attribute` of `subject` is `value` from the day `since` to the day before `until` (None: still true)."""

    subject: str
    attribute: str
    value: str
    since: str
    until: str | None = None

    @property
    def id(self) -> str:
        return f"{self.subject}|{self.attribute}|{self.since}"

    @property
    def fresh(self) -> bool:
        return self.since >= CUTOFF


@dataclass(frozen=True)
class Entity:
    """Somebody or something that facts are about. `rare`: the long tail, mentioned half as often as others."""

    name: str
    kind: str  # town, person, good or event
    rare: bool = False


@dataclass
class World:
    """All entities, and all facts in order of subject, attribute and date."""

    seed: int
    towns: list[Entity]
    people: list[Entity]
    goods: list[Entity]
    events: list[Entity]
    facts: list[Fact]
    by_key: dict[tuple[str, str], list[Fact]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for fact in self.facts:
            self.by_key.setdefault((fact.subject, fact.attribute), []).append(fact)

    @cached_property
    def names(self) -> frozenset[str]:
        """Every name of a town, of a person (also its parts) and of a river: an invented name must not be one of them."""
        return (
            frozenset(RIVERS)
            | {t.name for t in self.towns}
            | {part for p in self.people for part in (p.name, *p.name.split())}
        )

    @property
    def entities(self) -> list[Entity]:
        return self.towns + self.people + self.goods + self.events

    def fact(self, subject: str, attribute: str, on: str) -> Fact | None:
        """The fact in force on the ISO day `on`, or None if nothing is recorded by then."""
        for fact in self.by_key.get((subject, attribute), ()):
            if fact.since <= on and (fact.until is None or on < fact.until):
                return fact
        return None

    def attributes(self, entity: Entity) -> tuple[str, ...]:
        return {"town": TOWN_ATTRIBUTES, "person": PERSON_ATTRIBUTES, "good": ("price",), "event": ("date",)}[
            entity.kind
        ]

    def known(self, entity: Entity) -> list[Fact]:
        """The facts about `entity` that the pretraining text may tell."""
        return [f for a in self.attributes(entity) for f in self.by_key[entity.name, a] if not f.fresh]


def long_date(day: str) -> str:
    """'2024-03-14' -> '14 March 2024'."""
    d = date.fromisoformat(day)
    return f"{d.day} {MONTHS[d.month - 1]} {d.year}"


RUDE = re.compile(
    "fu[ckgqx]|cun|di[ck]+|[ck]o[ck]|tit|shi|pi[sz]|rap|ni[gk]|cum|ass|anu|naz|jud|hom|sex|"
    "por[nr]|slu|whor|fag|gay|ki[kc]|spi[ck]|"
    "bast|bit[cs]|bich|poo|pus|wan[kc]|twa|va[gj]|pen[in]|tur[dk]|dam|suck|sod|neg|gyp|goy|ara|vul|fec|"
    "bo[nm]er|mor[ok]n|mon[gk]|rett?ar|spa[sz]|kak|cac|nud|"
    "br[ae]st|but[th]|ba[ln]l|urin|fart|hel+$|dev|kill|mur|hit|gas",
    re.I,
)  # no invented name contains one of these


def invented_names(rng: random.Random, count: int, endings: list[str], taken: set[str], middles: int = 1) -> list[str]:
    """`count` new pronounceable names, none in `taken` (to which they are added)."""
    onsets = "B Br C D Dr F G Gr H J K L M N P Pr R S St T Tr V W Z".split()
    vowels, codas = "a e i o u".split(), "l n r s m th ck nd rr v b d".split()
    names: list[str] = []
    while len(names) < count:
        name = (
            rng.choice(onsets)
            + "".join(rng.choice(vowels) + rng.choice(codas) for _ in range(middles))
            + rng.choice(endings)
        )
        if name not in taken and not RUDE.search(name):
            taken.add(name)
            names.append(name)
    return names


TOWN_ENDINGS = ["wick", "ford", "mere", "holm", "ton", "by", "stead", "port", "dale", "bury"]
FIRST_ENDINGS, LAST_ENDINGS = ["a", "o", "i", "en", "is"], ["er", "ow", "ell", "ick", "ane", "ott"]


def _timeline(rng: random.Random, subject: str, attribute: str, options: list[str]) -> list[Fact]:
    """A changing fact over `YEARS`: offices, homes and prices change on New Year's Day."""
    facts = [Fact(subject, attribute, rng.choice(options), f"{YEARS[0]}-01-01")]
    for year in YEARS[1:]:
        if rng.random() < CHANGING[attribute]:
            day, others = f"{year}-01-01", [option for option in options if option != facts[-1].value]
            facts[-1] = replace(facts[-1], until=day)
            facts.append(Fact(subject, attribute, rng.choice(others), day))
    return facts


@lru_cache(maxsize=4)
def build(seed: int = SEED) -> World:
    """The world of `seed`: 204 towns, 306 people, 20 goods, 160 events."""
    rng = random.Random(f"world {seed}")
    taken: set[str] = set(REGIONS) | set(RIVERS)
    town_names = invented_names(rng, 204, TOWN_ENDINGS, taken)
    firsts = invented_names(rng, 51, FIRST_ENDINGS, taken)
    lasts = invented_names(rng, 60, LAST_ENDINGS, taken)
    people_names = rng.sample([f"{a} {b}" for a in firsts for b in lasts], 306)
    towns = [Entity(n, "town", rare=i % 10 == 9) for i, n in enumerate(town_names)]
    people = [Entity(n, "person", rare=i % 10 == 9) for i, n in enumerate(people_names)]
    goods = [Entity(n, "good") for n in GOODS]
    pairs = rng.sample([(h, t) for h in HAPPENINGS for t in town_names], 160)
    events = [Entity(f"{h} of {t}", "event") for h, t in pairs]

    facts: list[Fact] = []

    def settled(subject: str, attribute: str, options: list[str]) -> None:
        late = rng.random() < LATE
        since = (date.fromisoformat(CUTOFF) + timedelta(days=rng.randrange(300))).isoformat() if late else FIRST_DAY
        facts.append(Fact(subject, attribute, rng.choice(options), since))

    for town in towns:
        for attribute, options in (
            ("region", REGIONS),
            ("river", RIVERS),
            ("founding year", [str(y) for y in range(1100, 1800)]),
            ("craft", CRAFTS),
            ("emblem", EMBLEMS),
            ("dish", DISHES),
            ("market day", WEEKDAYS),
        ):
            settled(town.name, attribute, options)
        facts += _timeline(rng, town.name, "mayor", people_names)
    for person in people:
        for attribute, options in (
            ("birthplace", town_names),
            ("birth year", [str(y) for y in range(1940, 2001)]),
            ("trade", TRADES),
            ("instrument", INSTRUMENTS),
            ("pet", PETS),
            ("colour", COLOURS),
            ("teacher", [n for n in people_names if n != person.name]),
        ):
            settled(person.name, attribute, options)
        facts += _timeline(rng, person.name, "home", town_names)
    for good in goods:
        facts += _timeline(rng, good.name, "price", [str(p) for p in range(11, 50)])
    for event in events:
        day = (date.fromisoformat(FIRST_DAY) + timedelta(days=rng.randrange(3 * 365))).isoformat()
        facts.append(Fact(event.name, "date", long_date(day), day))
    return World(seed, towns, people, goods, events, facts)
