"""Examples that many tests share: small sums, asked and answered. (Not in `conftest.py`, of which every folder may have one.)"""

from __future__ import annotations

import random


def number_questions(count: int, seed: int = 0):
    """Examples about small sums, of varied length, some with a system line; all different."""
    from labkit.data import Example

    draw = random.Random(seed)
    examples = []
    for number in range(count):
        terms = [draw.randrange(100) for _ in range(draw.randint(2, 6))]
        question = "What is " + " plus ".join(map(str, terms)) + "?"
        completion = " + ".join(map(str, terms)) + f" = {sum(terms)}. Answer: {sum(terms)}"
        system = "You add numbers." if number % 3 == 0 else None
        task = "short" if len(terms) < 4 else "long"
        examples.append(
            Example(
                f"sum-{number}", None, None, task, system, (), None, question, question, completion, str(sum(terms))
            )
        )
    return examples
