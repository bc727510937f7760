"""Best of n: several answers are sampled, the best by one reward is picked, and the pick is graded by another.

It is the cheapest form of learning from a reward, and shows what that does to a test set (Gao, Schulman and Hilton
2022, "Scaling laws for reward model overoptimization", arXiv 2210.10760). The record of the chapter's experiment is
made by `python -m labkit.best_of`; the model that is sampled from comes from a run of a recipe.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from math import comb
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING, Any

from labkit import cluster, runs
from labkit.common import InputError, write_atomically
from labkit.data import Example
from labkit.runs import record as records

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from labkit.models import Model

POLICY = "data-clean"  # the recipe whose model answers
QUESTIONS, SAMPLES, SEEDS = 44, 16, 16
COUNTS = (1, 2, 4, 8, 16)


def thoroughness(text: str, example: Example) -> float:
    """Reward A, as one might write it: an answer in the right form is worth as many points as it has words.

    Real reward models also reward length (Singhal et al. 2023, arXiv 2310.03716).
    """
    return float(len(text.split())) if "Answer:" in text else 0.0


def exactness(text: str, example: Example) -> float:
    """Reward B: 1 if the answer is right, else 0."""
    return float(runs.is_right(text, example))


def expected_best(by: Sequence[float], graded: Sequence[float], count: int) -> float:
    """The expected grade of the sample that is best by `by`, among `count` drawn from these without replacement.

    Ties go to the later one. Every subset is equally likely, so the i-th in order (from 0) is the best of comb(i, count
    − 1) of the comb(all, count) subsets.
    """
    if not 1 <= count <= len(by):
        raise InputError(f"the best of {count} cannot be taken from {len(by)} samples")
    order = sorted(range(len(by)), key=by.__getitem__)
    ways = comb(len(by), count)
    return sum(comb(place, count - 1) / ways * graded[index] for place, index in enumerate(order))


def sample(
    model: Model,
    tokenizer: PreTrainedTokenizerBase,
    examples: Sequence[Example],
    count: int,
    seed: int,
    max_new_tokens: int = 128,
) -> list[list[str]]:
    """`count` answers to each example, drawn at temperature 1 from all tokens; on the CPU, wherever the model is, so
    that a seed means the same everywhere.
    """
    import torch
    from transformers import LogitsProcessorList

    from labkit.masking import prompt_ids
    from labkit.tokenization import pad_batch

    place = next(model.parameters()).device
    order = sorted(range(len(examples)), key=lambda index: len(examples[index].prompt))
    texts: list[list[str]] = [[] for _ in examples]
    draw = torch.Generator().manual_seed(seed)

    def only_the_drawn(_: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        drawn = torch.multinomial(logits.float().cpu().softmax(-1), 1, generator=draw)
        return torch.full_like(logits, -torch.inf).scatter_(1, drawn.to(logits.device), 0.0)

    model.eval()
    writer: Any = model  # `generate` is not in PreTrainedModel itself
    for start in range(0, len(order), 8):
        chosen = order[start : start + 8]
        ids, mask = pad_batch(
            [prompt_ids(examples[index], tokenizer) for index in chosen], tokenizer.pad_token_id, "left"
        )
        with torch.inference_mode():
            written = writer.generate(
                input_ids=ids.repeat_interleave(count, 0).to(place),
                attention_mask=mask.repeat_interleave(count, 0).to(place),
                do_sample=False,
                logits_processor=LogitsProcessorList([only_the_drawn]),
                max_new_tokens=max_new_tokens,
                pad_token_id=tokenizer.pad_token_id,
            )
        answers = tokenizer.batch_decode(written[:, ids.shape[1] :], skip_special_tokens=True)
        for line, index in enumerate(chosen):
            texts[index] = answers[line * count : (line + 1) * count]
    return texts


@dataclass(frozen=True)
class Curve:
    """One seed: what the best of n by reward A scores by A and by B, for each n of `counts`."""

    seed: int
    counts: tuple[int, ...]
    by_a: tuple[float, ...]
    by_b: tuple[float, ...]


def curve(
    texts: Sequence[Sequence[str]],
    examples: Sequence[Example],
    seed: int,
    a: Callable[[str, Example], float] = thoroughness,
    b: Callable[[str, Example], float] = exactness,
    counts: Sequence[int] = COUNTS,
) -> Curve:
    """The means over the questions of `expected_best` by `a`, graded by `a` and by `b`."""
    rewards = [[a(text, example) for text in answers] for answers, example in zip(texts, examples, strict=True)]
    grades = [[b(text, example) for text in answers] for answers, example in zip(texts, examples, strict=True)]

    def graded(rows: Sequence[Sequence[float]], count: int) -> float:
        return round(mean(expected_best(by, row, count) for by, row in zip(rewards, rows, strict=True)), 4)

    by_a, by_b = (tuple(graded(rows, count) for count in counts) for rows in (rewards, grades))
    return Curve(seed, tuple(counts), by_a, by_b)


def measure(seed: int) -> Curve:
    """Train the policy with that seed, sample, pick, grade."""
    result = runs.run(replace(runs.named(POLICY), evaluation_n=1), live=True, seed=seed)
    questions = runs.mix(result.recipe)[1][:QUESTIONS]
    return curve(sample(result.model, result.tokenizer, questions, SAMPLES, seed), questions, seed)


def place() -> Path:
    """The record's file, beside those of the recipes."""
    return records.RECORDS / "best_of" / f"{POLICY}.json"


def recorded() -> list[Curve]:
    """The recorded curves, one for each seed. Raises `InputError` if there are none, or the set-up has changed."""
    again = "`python -m labkit.best_of` records it"
    if not place().is_file():
        raise InputError(f"best of n is not recorded; {again}")
    values = json.loads(place().read_text(encoding="utf-8"))
    if any(values[name] != value for name, value in _setup().items()):
        raise InputError(f"{POLICY} or the questions have changed since best of n was recorded; {again}")
    return [
        Curve(row["seed"], tuple(row["counts"]), tuple(row["by_a"]), tuple(row["by_b"])) for row in values["curves"]
    ]


def _setup() -> dict[str, Any]:
    """What a record was made with; rows of another set-up are not mixed with it."""
    rewards = [thoroughness.__name__, exactness.__name__]
    return {"hash": runs.named(POLICY).hash, "rewards": rewards, "questions": QUESTIONS, "samples": SAMPLES}


def _record(curves: Sequence[Curve]) -> None:
    place().parent.mkdir(exist_ok=True)
    told = _setup() | {
        "machine": runs.machine(),
        "versions": runs.versions(),
        "date": datetime.now(UTC).date().isoformat(),
        "curves": [asdict(each) for each in sorted(curves, key=lambda each: each.seed)],
    }
    with write_atomically(place()) as file:
        file.write(json.dumps(told, indent=1) + "\n")


def main() -> None:
    from labkit import best_of  # by its name: workers cannot import `__main__`

    parser = argparse.ArgumentParser(
        prog="python -m labkit.best_of",
        description="Record best of n for the chapter's two rewards; goes on where it was interrupted.",
        epilog="example: python -m labkit.best_of --seeds 8",
    )
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--workers", type=int, help="how many runs at once (one for each core)")
    args = parser.parse_args()
    try:
        found = best_of.recorded()
    except InputError:
        found = []
    missing = sorted(set(range(args.seeds)) - {each.seed for each in found})

    def keep(_: int, each: Curve) -> None:
        found.append(each)
        best_of._record(found)

    cluster.map(best_of.measure, missing, workers=args.workers, progress=keep)
    for number, count in enumerate(COUNTS):
        by_a, by_b = (mean(getattr(each, name)[number] for each in found) for name in ("by_a", "by_b"))
        print(f"best of {count:>2}: reward A {by_a:.2f}, reward B {by_b:.3f}")


if __name__ == "__main__":
    main()
