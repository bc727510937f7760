"""Two tasks that the base has to learn: a skill that was never in its text, and facts that are true nowhere.

On the short mix every sensible run is right after 40 steps, because the base needs only the form, so that mix cannot
separate one setting from another. `subtraction_mix` is worked subtraction; `facts_mix` is a table of page numbers drawn
at random, whose bits `bits_held` counts. Both are asked without a system prompt and without worked examples, which
keeps rows short.
"""

from __future__ import annotations

import math
import random

from labkit.almanac.arithmetic import subtract
from labkit.almanac.world import LAST_DAY, build
from labkit.data import Example

VALUES = 1000  # page numbers, 000 to 999, all equally likely: a fact is log2(1000) = 9.97 bits
FACTS = (64, 128, 256, 512)  # how many are asked to be memorized, in mixes of their own; each holds those before it


def subtraction_mix(seed: int = 0, train: int = 3200, test: int = 200) -> tuple[list[Example], list[Example]]:
    """(training examples, other questions): the smaller of two numbers from 10 to 99 taken from the larger, worked.

    No pair of numbers is drawn twice. The task says whether a column has to borrow.
    """
    pairs = [(a, b) for a in range(10, 100) for b in range(10, a)]
    drawn = random.Random(f"subtraction {seed}").sample(pairs, test + train)
    examples = [
        _example(
            f"subtraction{seed}-{number:04d}",
            "borrowing" if b % 10 > a % 10 else "no borrowing",
            f"What is {b} from {a}?",
            f"{subtract(a, b)} Answer: {a - b}",
            str(a - b),
        )
        for number, (a, b) in enumerate(drawn)
    ]
    return examples[test:], examples[:test]


def facts_mix(seed: int = 0, facts: int = 256) -> tuple[list[Example], list[Example]]:
    """(facts, the same facts as questions): what is asked is what was trained on, in the same words.

    Who is on which page is drawn at random among the towns, people and goods of the world, each named once, so there is
    nothing to generalize from. With the same seed the first facts of a larger mix are those of a smaller. Raises
    `ValueError` for more facts than there are subjects.
    """
    world, rng = build(), random.Random(f"facts {seed}")
    subjects = [entity.name for entity in world.towns + world.people + world.goods]
    if not 1 <= facts <= len(subjects):
        raise ValueError(f"{facts} facts: there are pages for 1 to {len(subjects)}")
    rng.shuffle(subjects)
    pages = [f"{rng.randrange(VALUES):03d}" for _ in range(facts)]
    examples = [
        _example(
            f"facts{seed}-{number:04d}",
            "page",
            f"What is the page of {subject}?",
            f"The page of {subject} is {page}.",
            None,
        )
        for number, (subject, page) in enumerate(zip(subjects, pages))
    ]
    return examples, examples


def bits_held(recalled: float, facts: int) -> float:
    """The bits that a model holds of `facts` page numbers if it recalls the share `recalled` of them.

    A guess is right once in `VALUES`: that share is taken off, and below it nothing is held.
    """
    if not 0 <= recalled <= 1:
        raise ValueError(f"{recalled} is not a share")
    known = max(0.0, (recalled - 1 / VALUES) / (1 - 1 / VALUES))
    return facts * known * math.log2(VALUES)


def _example(name: str, task: str, question: str, completion: str, answer: str | None) -> Example:
    return Example(
        id=name,
        date=LAST_DAY,
        source="school page" if answer else "index",
        task=task,
        system=None,
        shots=(),
        context=None,
        question=question,
        prompt=question,
        completion=completion,
        answer=answer,
    )
