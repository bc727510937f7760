"""The world is what the design promises, and what is true in it is true once."""

from labkit.almanac import world as almanac
from labkit.almanac.world import CUTOFF, RUDE, UNITS, YEARS, build


def test_size_and_attributes():
    world = build()
    assert len(world.towns) >= 200 and len(world.people) >= 300 and len(UNITS) >= 8
    for entity in world.towns + world.people:
        assert len(world.attributes(entity)) >= 8
        assert all(world.by_key[entity.name, attribute] for attribute in world.attributes(entity))
    assert len({e.name for e in world.entities}) == len(world.entities)


def test_fresh_facts_are_about_a_tenth_and_begin_at_the_cutoff():
    facts = build().facts
    fresh = [f for f in facts if f.fresh]
    assert 0.08 < len(fresh) / len(facts) < 0.12
    assert all((f.since >= CUTOFF) == f.fresh for f in facts)


def test_some_facts_change_and_their_periods_do_not_overlap():
    world = build()
    changing = [spans for spans in world.by_key.values() if len(spans) > 1]
    assert len(changing) > 100
    for spans in changing:
        assert all(a.until == b.since and a.value != b.value for a, b in zip(spans, spans[1:]))
        assert spans[-1].until is None


def test_one_value_a_day():
    world = build()
    for (subject, attribute), spans in world.by_key.items():
        for day in [f"{y}-07-01" for y in YEARS]:
            in_force = [f for f in spans if f.since <= day and (f.until is None or day < f.until)]
            assert len(in_force) <= 1
            assert world.fact(subject, attribute, day) == (in_force[0] if in_force else None)


def test_the_seed_decides_the_world():
    def facts(seed):
        build.cache_clear()
        return build(seed).facts

    assert facts(0) == facts(0) != facts(1)
    build.cache_clear()


def test_events_are_dated_over_the_three_years():
    world = build()
    years = {world.by_key[e.name, "date"][0].since[:4] for e in world.events}
    assert years == {"2023", "2024", "2025"}
    assert almanac.long_date("2024-03-14") == "14 March 2024"


def test_invented_names_are_clean_and_new():
    import random

    taken = {"Xaner"}
    names = almanac.invented_names(random.Random(1), 2000, ["er", "ick"], taken, middles=2)
    assert len(set(names)) == 2000 and set(names) <= taken and not any(RUDE.search(n) for n in names)
    assert not any(RUDE.search(name) for name in build().names if name not in almanac.RIVERS)
