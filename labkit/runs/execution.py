"""Running a recipe: its mix and rows, training, scoring, and `rebuild`, which records its seeds.

The training loop and the scoring are elsewhere (`training`, `models`).
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import random
import shutil
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labkit import cluster
from labkit.common import InputError, write_atomically
from labkit.data import Example
from labkit.masking import IGNORED, partial_labels, plant, render, sampled_labels, segments
from labkit.runs import record as records
from labkit.runs.recipe import Recipe
from labkit.runs.record import SCORED, Outcome, Record, flags, machine, recorded, versions

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from labkit.models import Score
    from labkit.training import History, Settings


def execute(recipe: Recipe, on_progress: Callable[[float, str], None] | None = None) -> Outcome:
    """Run a recipe now. `on_progress(share done, what is going on)` is called often."""
    return executed(recipe, on_progress)[0]


def executed(recipe: Recipe, on_progress: Callable[[float, str], None] | None = None) -> tuple[Outcome, Any, Any]:
    """(what the run leaves, the model as it then is, its tokenizer)."""
    from labkit import models, training

    started = time.perf_counter()
    tell = on_progress or (lambda share, text: None)
    tell(0.0, "loading the base")
    train, test = mix(recipe)
    model, tokenizer = models.load(models.BASE)
    if recipe.stop == "unknown":
        models.forget_token(model, tokenizer.eos_token_id, recipe.seed)
    context = model.config.max_position_embeddings
    rows = training_rows(train, tokenizer, recipe, context)
    validation = training_rows(
        test[: recipe.validation_n], tokenizer, dataclasses.replace(recipe, control=None), context
    )
    if recipe.method == "lora":
        model = models.add_lora(model, recipe.rank, recipe.alpha, recipe.target_modules, recipe.seed)
    trainable, total = models.count_parameters(model)

    def on_step(step: int, history: History) -> None:
        tell(0.8 * step / recipe.steps, f"step {step} of {recipe.steps}, loss {history.loss[-1]:.2f}")

    history = training.fit(
        model,
        rows,
        dataclasses.replace(settings(recipe), number_format=recipe.number_format),
        pad=tokenizer.pad_token_id,
        validation=validation,
        on_step=on_step,
        on_nan="record",
    )
    questions = test[: recipe.evaluation_n]
    score = models.score(
        model,
        tokenizer,
        questions,
        max_new_tokens=recipe.max_new_tokens,
        progress=lambda done, n: tell(0.8 + 0.2 * done / n, f"answering, {done} of {n}"),
    )
    right = "".join(
        str(int(is_right(output, example))) for output, example in zip(score.outputs, questions, strict=True)
    )
    outcome = Outcome(
        seed=recipe.seed,
        score=_plain(score),
        by_task={task: _plain(part) for task, part in score.by_task.items()},
        right=right,
        questions=digest(questions),
        trained_on=digest(train),
        history={name: [_short(value) for value in values] for name, values in history.as_dict().items()},
        trainable=trainable,
        total=total,
        train_seconds=round(history.seconds[-1], 1),
        seconds=round(time.perf_counter() - started, 1),
        machine=machine(next(model.parameters()).device.type),
        versions=versions(),
        date=datetime.now(UTC).date().isoformat(),
        probabilities=[float(f"{value:.3g}") for value in models.probabilities(model, tokenizer, questions)],
        flags=flags(),
    )
    return outcome, model, tokenizer


def settings(recipe: Recipe) -> Settings:
    """How a recipe is trained by hand, in the number format that suits the machine: `execute` takes the recipe's own.

    Raises `InputError` for values that make no sense.
    """
    from labkit.training import Settings

    shared = {field.name for field in dataclasses.fields(Settings)} & vars(recipe).keys()
    return Settings(**{name: getattr(recipe, name) for name in shared - {"number_format"}})


def mix(recipe: Recipe) -> tuple[list[Example], list[Example]]:
    """(examples to train on, held-out examples to ask) of a recipe."""
    from labkit.almanac.mixes import MIXES

    for name in {recipe.mix, recipe.evaluation or recipe.mix} - MIXES.keys():
        raise InputError(f"there is no mix {name!r}; there are {', '.join(MIXES)}")
    train, test = MIXES[recipe.mix](recipe.seed)
    if recipe.evaluation is not None:
        test = MIXES[recipe.evaluation](recipe.seed)[1]
    return train[: recipe.examples], test


def training_rows(
    examples: Sequence[Example],
    tokenizer: PreTrainedTokenizerBase,
    recipe: Recipe,
    max_length: int | None = None,
) -> list[dict]:
    """What a recipe trains on: examples as ids and labels, under its mask and its control."""
    if recipe.control == "shuffled":
        examples = shuffle_answers(examples, recipe.seed)
    draw = random.Random(f"prompt weight {recipe.seed}")
    rows = []
    for example in examples:
        row = render(example, tokenizer, max_length)
        ids, labels, start = row.input_ids, row.labels, row.prompt_length
        if recipe.control == "prompt":
            labels = ids[:start] + [IGNORED] * (len(ids) - start)
        elif recipe.mask == "none":
            labels = ids
        elif recipe.mask == "partial":
            labels = partial_labels(segments(example, tokenizer), {"shot answer", "answer"})
        elif recipe.prompt_weight:
            labels = sampled_labels(ids[:start], ids[start:], recipe.prompt_weight, draw)
        elif recipe.fault:
            ids, labels = plant(recipe.fault, row, tokenizer)
            if all(label == IGNORED for label in labels):  # teaches nothing, and `fit` refuses it
                continue
        rows.append({"input_ids": ids, "labels": labels})
    return rows


def shuffle_answers(examples: Sequence[Example], seed: int) -> list[Example]:
    """Each example with the completion of another: a random ring, in which nobody gets its own back."""
    ring = list(range(len(examples)))
    random.Random(seed).shuffle(ring)
    giver = dict(zip(ring, ring[1:] + ring[:1]))
    return [
        dataclasses.replace(example, completion=examples[giver[index]].completion, answer=examples[giver[index]].answer)
        for index, example in enumerate(examples)
    ]


def digest(examples: Sequence[Example]) -> str:
    """A short digest of examples in their order: of what is asked, and of what should be answered."""
    told = json.dumps([[example.messages(), example.answer] for example in examples])
    return hashlib.sha256(told.encode()).hexdigest()[:16]


def is_right(output: str, example: Example) -> bool:
    """Exact match of the answer, or of the whole completion where the example names no answer."""
    from labkit.data import exact_answer

    if example.answer is None:
        return output.strip() == example.completion.strip()
    return exact_answer(output) == example.answer.strip()


def rebuild(
    recipe: Recipe,
    seeds: int,
    *,
    folder: Path | None = None,
    again: bool = False,
    cluster_address: str | None = None,
    workers: int | None = None,
    executor: Callable[[Recipe], Outcome] = execute,
    on_seed: Callable[[Outcome], None] | None = None,
) -> Record:
    """Record a recipe for the seeds 0 … seeds−1. Seeds that are recorded under the same hash are kept, unless `again`.

    Each seed is written as it finishes, to `NAME.partial/` beside the record; a call that was interrupted goes on
    from there.
    """
    folder = folder or records.RECORDS
    partial = folder / f"{recipe.name}.partial"
    fingerprint = recipe.hash
    try:
        if again:
            shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"{partial}: cannot be made ({error.strerror or error}); records can only be made in a checkout"
        ) from None
    outcomes: dict[int, Outcome] = {}
    if (
        not again
        and recipe.name in recorded(folder)
        and (record := Record.load(recipe.name, folder)).hash == fingerprint
    ):
        outcomes = {outcome.seed: outcome for outcome in record.outcomes}
    for path in sorted(partial.glob("seed-*.json")):
        values = json.loads(path.read_text(encoding="utf-8"))
        if values["hash"] == fingerprint:
            outcomes[values["outcome"]["seed"]] = Outcome(**values["outcome"])

    def keep(_: int, outcome: Outcome) -> None:
        with write_atomically(partial / f"seed-{outcome.seed}.json") as file:
            json.dump({"hash": fingerprint, "outcome": dataclasses.asdict(outcome)}, file)
        outcomes[outcome.seed] = outcome
        if on_seed is not None:
            on_seed(outcome)

    missing = [dataclasses.replace(recipe, seed=seed) for seed in range(seeds) if seed not in outcomes]
    cluster.map(executor, missing, cluster=cluster_address, workers=workers, progress=keep)
    record = Record(dataclasses.asdict(recipe), fingerprint, tuple(outcomes[seed] for seed in sorted(outcomes)))
    record.save(folder)
    shutil.rmtree(partial)
    return record


def _plain(score: Score) -> dict:
    return {name: _short(getattr(score, name)) for name in SCORED}


def _short(value: Any) -> Any:
    """A float to six significant digits; NaN and infinity, which JSON does not know, become None."""
    if not isinstance(value, float):
        return value
    return float(f"{value:.6g}") if math.isfinite(value) else None
