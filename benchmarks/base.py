"""What the base knows: the share of facts whose sentence it completes correctly, in every phrasing of its own prose.

Facts recorded before the cutoff should be known; fresh ones, which no pretraining text told, should be at chance. Chance is given
beside: the share that one gets by always saying the attribute's most frequent value.
"""

from __future__ import annotations

from collections import Counter

from labkit.almanac import world as almanac
from labkit.almanac.phrasing import TELL, tell
from labkit.almanac.world import CUTOFF, YEARS, Fact

FORMS = 5  # phrasings of each fact, at most


def prompts(fact: Fact, forms: int) -> list[str]:
    """The sentences that tell `fact`, each cut where the value begins."""
    years = [y for y in YEARS if fact.since <= f"{y}-12-31" and (fact.until is None or f"{y}-12-31" < fact.until)]
    year = str(max((y for y in years if f"{y}-12-31" < CUTOFF or fact.fresh), default=YEARS[0]))
    marker = "\0"
    return [
        tell(fact.attribute, fact.subject, marker, year, form).split(marker)[0].rstrip()
        for form in range(min(forms, len(TELL[fact.attribute])))
    ]


def measure(model, tokenizer, facts: list[Fact], forms: int = FORMS) -> dict[str, dict]:
    """{attribute: right, asked, chance} over the facts and their phrasings."""
    from labkit.models import generate

    asked = [
        (fact, tokenizer(text, add_special_tokens=False)["input_ids"])
        for fact in facts
        for text in prompts(fact, forms)
    ]
    answers = generate(model, tokenizer, [ids for _, ids in asked], max_new_tokens=10, batch_size=256)
    found: dict[str, dict] = {}
    for attribute in dict.fromkeys(fact.attribute for fact, _ in asked):
        rows = [(fact, answer) for (fact, _), answer in zip(asked, answers, strict=True) if fact.attribute == attribute]
        right = sum(answer.strip().startswith(fact.value) for fact, answer in rows)
        common = Counter(fact.value for fact, _ in rows).most_common(1)[0][1]
        found[attribute] = {"right": right, "asked": len(rows), "chance": common / len(rows)}
    return found


def main(args) -> dict:
    """Figures for `labkit bench base`: share and chance for known and for fresh facts, and by attribute."""
    from labkit import models

    model, tokenizer = models.load(models.BASE, "cpu")
    world = almanac.build()
    report: dict = {}
    for name, facts in (
        ("known", [f for f in world.facts if not f.fresh]),
        ("fresh", [f for f in world.facts if f.fresh]),
    ):
        by_attribute = measure(model, tokenizer, facts, FORMS)
        asked = sum(row["asked"] for row in by_attribute.values())
        report[name] = {
            "share": sum(row["right"] for row in by_attribute.values()) / asked,
            "chance": sum(row["chance"] * row["asked"] for row in by_attribute.values()) / asked,
            "facts": len(facts),
            "asked": asked,
            "by_attribute": {attribute: row["right"] / row["asked"] for attribute, row in by_attribute.items()},
        }
        print(
            f"{name}: {report[name]['share']:.1%} of {asked} sentences about {len(facts)} facts completed correctly; chance {report[name]['chance']:.1%}"
        )
        for attribute, share in report[name]["by_attribute"].items():
            print(f"  {attribute:<14}{share:7.1%}")
    rare = {e.name for e in world.entities if e.rare}
    tail = measure(model, tokenizer, [f for f in world.facts if not f.fresh and f.subject in rare], FORMS)
    report["long_tail"] = sum(row["right"] for row in tail.values()) / sum(row["asked"] for row in tail.values())
    print(f"of these, the long tail: {report['long_tail']:.1%}")
    return report
