"""Running a recipe: its mix and rows, training, scoring, and `rebuild`, which records its seeds.

The training loop and the scoring are elsewhere (`training`, `models`).
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import os
import random
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labkit import cluster
from labkit.almanac.documents import documents
from labkit.almanac.world import build
from labkit.common import InputError, write_atomically
from labkit.data import Example
from labkit.masking import IGNORED, partial_labels, plant, render, sampled_labels, segments
from labkit.runs import record as records
from labkit.runs.recipe import Recipe
from labkit.runs.recipes import matching
from labkit.runs.record import SCORED, Outcome, Record, flags, machine, recorded, versions

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from labkit.models import Model, Score
    from labkit.training import History, Settings, Trial

HELD_OUT = 48  # documents on which a run's `text_loss` is taken; none of them was in the base's text
TEXT_LENGTH = 64  # tokens taken of a document


def execute(recipe: Recipe, on_progress: Callable[[float, str], None] | None = None) -> Outcome:
    """Run a recipe now. `on_progress(share done, what is going on)` is called often."""
    return executed(recipe, on_progress)[0]


def executed(recipe: Recipe, on_progress: Callable[[float, str], None] | None = None) -> tuple[Outcome, Any, Any]:
    """(the run's outcome, the model after it, its tokenizer)."""
    from labkit import models, training

    started = time.perf_counter()
    tell = on_progress or (lambda share, text: None)
    tell(0.0, "loading the base")
    model, tokenizer = _base(recipe)
    if recipe.stop == "unknown":
        models.forget_token(model, tokenizer.eos_token_id, recipe.seed)
    task = _Task.of(recipe, tokenizer, model.config.max_position_embeddings)
    if recipe.method != "full":
        options = {"use_dora": True} if recipe.variant == "dora" else {}
        model = models.add_lora(model, recipe.rank, recipe.alpha, recipe.target_modules, recipe.seed, **options)

    def on_step(step: int, history: History) -> None:
        tell(0.8 * step / recipe.steps, f"step {step} of {recipe.steps}, loss {history.loss[-1]:.2f}")

    history = training.fit(
        model,
        task.rows,
        _settings(recipe),
        pad=tokenizer.pad_token_id,
        validation=task.validation,
        on_step=on_step,
        on_nan="record",
    )

    def answered(done: int, n: int) -> None:
        tell(0.8 + 0.2 * done / n, f"answering, {done} of {n}")

    trainable, total = models.count_parameters(model)
    outcome = _outcome(task, model, tokenizer, history, trainable, total, answered)
    return dataclasses.replace(outcome, seconds=round(time.perf_counter() - started, 1)), model, tokenizer


def execute_together(recipes: Sequence[Recipe]) -> list[Outcome]:
    """Run recipes that train adapters over the same base, in the same form, at once; equal to `execute` for each,
    except for rounding.
    """
    from labkit import models, training

    started = time.perf_counter()
    model, tokenizer = _base(recipes[0])
    tasks = [_Task.of(recipe, tokenizer, model.config.max_position_embeddings) for recipe in recipes]
    trained = training.fit_together(
        model,
        [_trial(recipe) for recipe in recipes],
        [task.rows for task in tasks],
        pad=tokenizer.pad_token_id,
        validation=[task.validation for task in tasks],
    )
    share, found = (time.perf_counter() - started) / len(recipes), []
    base = models.count_parameters(model)[1]
    for task, one in zip(tasks, trained, strict=True):
        started = time.perf_counter()
        trainable = sum(weight.numel() for weight in one.weights.values())
        with one.on(model) as adapted:
            outcome = _outcome(task, adapted, tokenizer, one.history, trainable, base + trainable)
        seconds = round(share + time.perf_counter() - started, 1)
        found.append(dataclasses.replace(outcome, seconds=seconds, at_once=len(recipes)))
    return found


def _trial(recipe: Recipe) -> Trial:
    from labkit.training import Trial

    return Trial(_settings(recipe), recipe.rank, recipe.alpha, recipe.target_modules)


def _base(recipe: Recipe) -> tuple[Any, Any]:
    """(model, tokenizer) that the recipe starts from."""
    from labkit import models

    model, tokenizer = models.load(models.BASE, quantize="nf4" if recipe.method == "qlora" else None)
    if recipe.base_bits is not None:
        models.keep_bits(model, recipe.base_bits)
    return model, tokenizer


@dataclass(frozen=True)
class _Task:
    """What a recipe trains on, follows and asks."""

    recipe: Recipe
    train: list[Example]
    questions: list[Example]
    rows: list[dict]
    validation: list[dict]

    @classmethod
    def of(cls, recipe: Recipe, tokenizer: PreTrainedTokenizerBase, context: int | None) -> _Task:
        train, test = mix(recipe)
        followed = dataclasses.replace(recipe, control=None, text_rows=0)
        if recipe.validation_mask is not None:
            followed = dataclasses.replace(followed, mask=recipe.validation_mask, prompt_weight=0, fault=None)
        return cls(
            recipe,
            train,
            test[: recipe.evaluation_n],
            training_rows(train, tokenizer, recipe, context),
            training_rows(test[: recipe.validation_n], tokenizer, followed, context),
        )


def _outcome(
    task: _Task,
    model: Model,
    tokenizer: PreTrainedTokenizerBase,
    history: History,
    trainable: int,
    total: int,
    answered: Callable[[int, int], None] | None = None,
) -> Outcome:
    """What is left of a trained model: its answers to the questions, and what it still knows of the base's text."""
    from labkit import models, training

    questions, tokens = task.questions, task.recipe.max_new_tokens
    score = models.score(model, tokenizer, questions, max_new_tokens=tokens, progress=answered)
    pairs = zip(score.outputs, questions, strict=True)
    return Outcome(
        seed=task.recipe.seed,
        score=_plain(score),
        by_task={name: _plain(part) for name, part in score.by_task.items()},
        right="".join(str(int(is_right(output, example))) for output, example in pairs),
        questions=digest(questions),
        trained_on=digest(task.train),
        history={name: [_short(value) for value in values] for name, values in history.as_dict().items()},
        trainable=trainable,
        total=total,
        train_seconds=round(history.seconds[-1], 1),
        seconds=0.0,
        machine=machine(next(model.parameters()).device.type),
        versions=versions(),
        date=datetime.now(UTC).date().isoformat(),
        probabilities=[float(f"{value:.3g}") for value in models.probabilities(model, tokenizer, questions)],
        flags=flags(),
        text_loss=_short(
            training.evaluate(model, text_rows("held out", HELD_OUT, tokenizer), pad=tokenizer.pad_token_id)
        ),
    )


def text_rows(seed: int | str, count: int, tokenizer: PreTrainedTokenizerBase) -> list[dict]:
    """The first tokens of `count` documents like those that the base was made from, with loss on every token."""
    texts = islice(documents(build(), seed), count)
    rows = [tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"][:TEXT_LENGTH] for text in texts]
    return [{"input_ids": ids, "labels": ids} for ids in rows]


def _settings(recipe: Recipe) -> Settings:
    return dataclasses.replace(settings(recipe), number_format=recipe.number_format)


def settings(recipe: Recipe) -> Settings:
    """The settings for training a recipe yourself, in the number format that suits the machine: `execute` uses the
    recipe's own.

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
    return rows + text_rows(f"mixed in {recipe.seed}", recipe.text_rows, tokenizer)


def shuffle_answers(examples: Sequence[Example], seed: int) -> list[Example]:
    """Each example with the completion of another, in a random ring, so that none keeps its own."""
    ring = list(range(len(examples)))
    random.Random(seed).shuffle(ring)
    giver = dict(zip(ring, ring[1:] + ring[:1]))
    return [
        dataclasses.replace(example, completion=examples[giver[index]].completion, answer=examples[giver[index]].answer)
        for index, example in enumerate(examples)
    ]


def digest(examples: Sequence[Example]) -> str:
    """A short digest of examples in their order: of the questions and of the expected answers."""
    told = json.dumps([[example.messages(), example.answer] for example in examples])
    return hashlib.sha256(told.encode()).hexdigest()[:16]


def is_right(output: str, example: Example) -> bool:
    """Exact match of the answer, or of the whole completion where the example names no answer."""
    from labkit.data import exact_answer

    if example.answer is None:
        return output.strip() == example.completion.strip()
    return exact_answer(output) == example.answer.strip()


def rebuild(recipe: Recipe, seeds: int, **more: Any) -> Record:
    """Record a recipe for the seeds 0 … seeds−1; as `rebuild_all`."""
    return rebuild_all([(recipe, seeds)], **more)[0]


def rebuild_all(
    wanted: Sequence[tuple[Recipe, int]],
    *,
    folder: Path | None = None,
    again: bool = False,
    cluster_address: str | None = None,
    workers: int | None = None,
    executor: Callable[[Recipe], Outcome] = execute,
    on_seed: Callable[[Outcome], None] | None = None,
) -> list[Record]:
    """Record each recipe for the seeds 0 … n−1. Seeds that are recorded under the same hash are kept, unless `again`.

    Each seed is written as it finishes, to `NAME.partial/` beside the record; a call that was interrupted goes on
    from there. Adapters that can be trained at once are (`execute_together`).
    """
    kept = [_Kept(recipe, folder or records.RECORDS, again) for recipe, _ in wanted]
    missing = [
        (place, dataclasses.replace(recipe, seed=seed))
        for place, (recipe, seeds) in enumerate(wanted)
        for seed in range(seeds)
        if seed not in kept[place].outcomes
    ]
    groups = [[index] for index in range(len(missing))]
    if executor is execute:
        groups = _at_once([recipe for _, recipe in missing], workers or os.cpu_count() or 1)
    jobs = [_Job(executor, tuple(missing[index][1] for index in group)) for group in groups]

    def keep(number: int, outcomes: list[Outcome]) -> None:
        for index, outcome in zip(groups[number], outcomes, strict=True):
            kept[missing[index][0]].add(outcome)
            if on_seed is not None:
                on_seed(outcome)

    cluster.map(_work, jobs, cluster=cluster_address, workers=workers, progress=keep)
    return [each.record() for each in kept]


def best_rates(recipes: Sequence[Recipe], folder: Path | None = None) -> list[Recipe]:
    """Of recipes that differ in nothing but the learning rate, the one whose recorded runs have the lowest held-out
    loss at the end; on the seeds that all of them have. A loss that is no number counts as the highest.
    """
    alike: dict[Recipe, list[Recipe]] = {}
    for recipe in recipes:
        alike.setdefault(dataclasses.replace(recipe, name="", lr=1.0), []).append(recipe)
    return [min(group, key=_held_out_loss(group, folder)) for group in alike.values()]


def trained_beside(adapted: Any, name: str, recipe: Recipe, tokenizer: PreTrainedTokenizerBase) -> list[Example]:
    """Train a new adapter `name` beside those of a PEFT model, in the form of its "default", by a recipe; the recipe's
    held-out questions. The new one is switched on afterwards.
    """
    from labkit import training

    training.seed_everything(recipe.seed)
    adapted.add_adapter(name, dataclasses.replace(adapted.peft_config["default"]))
    adapted.set_adapter(name)
    train, test = mix(recipe)
    training.fit(adapted, training_rows(train, tokenizer, recipe), settings(recipe), pad=tokenizer.pad_token_id)
    return test


def trained(recipe: Recipe) -> tuple[Any, list, list[Example]]:
    """(the base with all weights trained by a recipe, in the number format that suits the machine; its rows; its
    held-out questions).
    """
    from labkit import models, training

    model, tokenizer = models.load(device="cpu")
    train, test = mix(recipe)
    rows = training_rows(train, tokenizer, recipe)
    training.fit(model, rows, settings(recipe), pad=tokenizer.pad_token_id)
    return model, rows, test


def best_rate(records: Mapping[float, Record], seed: int) -> float:
    """Of recorded runs by their learning rate: the rate whose run with this seed has the lowest held-out loss at its end."""

    def loss(rate: float) -> float:
        last = records[rate].outcome(seed).history["validation_loss"][-1]
        return math.inf if last is None else last

    return min(records, key=loss)


def best(pattern: str, folder: Path | None = None) -> Record:
    """The record of the best rate among the recipes that the pattern means, which differ in nothing but the rate."""
    found = best_rates(matching(pattern), folder)
    if len(found) > 1:
        raise InputError(
            f"{pattern}: {', '.join(recipe.name for recipe in found)} differ in more than the rate; name fewer"
        )
    return Record.load(found[0].name, folder)


def _held_out_loss(group: Sequence[Recipe], folder: Path | None) -> Callable[[Recipe], float]:
    found = {recipe.name: Record.load(recipe.name, folder) for recipe in group}
    seeds = set.intersection(*(set(record.shares) for record in found.values()))

    def loss(recipe: Recipe) -> float:
        last = [found[recipe.name].outcome(seed).history["validation_loss"][-1:] for seed in sorted(seeds)]
        if not all(last):
            raise InputError(f"{recipe.name} follows no held-out loss: give it validation_n")
        return sum(math.inf if value is None else value for [value] in last)

    return loss


@dataclass(frozen=True)
class _Job:
    """What one process is given: recipes, each with its seed."""

    executor: Callable[[Recipe], Outcome]
    recipes: tuple[Recipe, ...]

    def __repr__(self) -> str:
        return "; ".join(f"{recipe.name}, seed {recipe.seed}" for recipe in self.recipes)


def _work(job: _Job) -> list[Outcome]:
    if len(job.recipes) > 1:
        return execute_together(job.recipes)
    return [job.executor(recipe) for recipe in job.recipes]


def _at_once(recipes: Sequence[Recipe], workers: int) -> list[list[int]]:
    """The recipes' indices in groups for `execute_together`, large enough to pay and enough of them for all workers."""
    from labkit import training

    groups: list[list[int]] = []
    bases: dict[tuple[str, int | None], list[int]] = {}
    for index, recipe in enumerate(recipes):
        if recipe.method == "full" or recipe.stop != "known" or recipe.variant or recipe.b_ratio != 1:
            groups.append([index])
        else:
            bases.setdefault((recipe.method, recipe.base_bits), []).append(index)
    for able in bases.values():
        trials = [_trial(recipes[index]) for index in able]
        size = min(training.AT_ONCE, max(1, math.ceil(len(able) / workers)))
        groups += [[able[place] for place in group] for group in training.groups(trials, size)]
    return groups


class _Kept:
    """The outcomes of one recipe that are there: those of its record, and those of a call that was interrupted."""

    def __init__(self, recipe: Recipe, folder: Path, again: bool) -> None:
        self.recipe, self.folder, self.hash = recipe, folder, recipe.hash
        self.partial = folder / f"{recipe.name}.partial"
        self.outcomes: dict[int, Outcome] = {}
        try:
            if again:
                shutil.rmtree(self.partial, ignore_errors=True)
            self.partial.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"{self.partial}: cannot be made ({error.strerror or error}); records can only be made in a checkout"
            ) from None
        if not again and recipe.name in recorded(folder):
            record = Record.load(recipe.name, folder)
            if record.hash == self.hash:
                self.outcomes = {outcome.seed: outcome for outcome in record.outcomes}
        for path in sorted(self.partial.glob("seed-*.json")):
            values = json.loads(path.read_text(encoding="utf-8"))
            if values["hash"] == self.hash:
                self.outcomes[values["outcome"]["seed"]] = Outcome(**values["outcome"])

    def add(self, outcome: Outcome) -> None:
        with write_atomically(self.partial / f"seed-{outcome.seed}.json") as file:
            json.dump({"hash": self.hash, "outcome": dataclasses.asdict(outcome)}, file)
        self.outcomes[outcome.seed] = outcome

    def record(self) -> Record:
        """The record, saved; the folder of what was interrupted is gone."""
        found = tuple(self.outcomes[seed] for seed in sorted(self.outcomes))
        record = Record(dataclasses.asdict(self.recipe), self.hash, found)
        record.save(self.folder)
        shutil.rmtree(self.partial)
        return record


def _plain(score: Score) -> dict:
    return {name: _short(getattr(score, name)) for name in SCORED}


def _short(value: Any) -> Any:
    """A float to six significant digits; NaN and infinity, which JSON does not know, become None."""
    if not isinstance(value, float):
        return value
    return float(f"{value:.6g}") if math.isfinite(value) else None
