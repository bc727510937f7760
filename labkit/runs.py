"""Recipes, the runs that were recorded of them, and runs made now.

A `Recipe` names all that decides a run. Its record ships with the kit: for each seed the curves, the score, which
questions were right, the machine and the date. `run` replays a record or runs the recipe now, `my_runs` is the
learner's own table, `labkit runs rebuild` makes records again. The training loop and the scoring are elsewhere
(`training`, `models`).
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import html
import json
import math
import os
import platform
import random
import shutil
import sys
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from statistics import NormalDist, mean, stdev
from typing import TYPE_CHECKING, Any

from labkit import cluster, progress
from labkit.common import InputError, write_atomically
from labkit.data import Example
from labkit.live import Line
from labkit.masking import FAULTS, IGNORED, partial_labels, plant, render, sampled_labels, segments

if TYPE_CHECKING:
    from labkit.models import Score
    from labkit.training import History, Settings

RECORDS = Path(__file__).parent / "records"
BASE_FILES = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja")
MASKS = ("completion", "partial", "none")
METHODS = ("lora", "full")
CONTROLS = (None, "shuffled", "prompt")
STOPS = ("known", "unknown")


@dataclass(frozen=True)
class Recipe:
    """All that decides a run, the base aside. Raises `InputError` for what there is not."""

    name: str
    lab: str
    mix: str = "short"  # `short_mix` or `long_mix` of the almanac's examples, or one of its mixes; drawn from the seed
    examples: int | None = None  # how many of the mix are trained on; None: all
    control: str | None = None  # "shuffled": each question has another's answer; "prompt": only prompts are trained on
    mask: str = "completion"  # where loss is taken; "partial": on the shots' answers too; "none": on every token
    prompt_weight: float = 0.0  # the chance with which a prompt's token carries loss too: on average, its weight
    fault: str | None = None  # what is planted in the labels: one of `masking.FAULTS`
    stop: str = "known"  # "unknown": from a copy of the base in which the end token's embedding is drawn anew
    method: str = "lora"  # or "full": all weights
    rank: int = 16
    alpha: float = 32
    target_modules: str = "all-linear"  # or layer names joined by commas
    lr: float = 3e-3
    schedule: str = "cosine"
    warmup: float = 0.05  # share of the steps
    batch_size: int = 32
    steps: int = 400
    weight_decay: float = 0.0
    beta1: float = 0.9
    beta2: float = 0.999
    clip: float | None = 1.0
    accumulation: int = 1
    seed: int = 0
    validation_n: int = 0  # held-out examples whose loss is followed
    eval_every: int | None = None  # steps between validations; None: once, at the end
    evaluation: str | None = None  # the mix whose held-out questions are asked; None: the same as is trained on
    evaluation_n: int | None = None  # how many are asked; None: all
    max_new_tokens: int = 192  # room for the longest chain of thought of the kit's examples

    def __post_init__(self) -> None:
        choices_of = {"mask": MASKS, "method": METHODS, "control": CONTROLS, "stop": STOPS, "fault": (None, *FAULTS)}
        for field, choices in choices_of.items():
            if getattr(self, field) not in choices:
                raise InputError(f"{field} is {getattr(self, field)!r}: choose one of {', '.join(map(str, choices))}")
        if not 0 <= self.prompt_weight <= 1:
            raise InputError(f"prompt_weight is {self.prompt_weight}: give a weight from 0 to 1")
        for field in ("alpha", "lr", "warmup", "weight_decay", "clip", "prompt_weight"):
            if getattr(self, field) is not None:
                object.__setattr__(
                    self, field, float(getattr(self, field))
                )  # 32 and 32.0 are one recipe, with one hash

    @property
    def hash(self) -> str:
        """sha256 over the fields and the base's weights and tokenizer: another hash is another run.

        Fields at their default are left out, so that a field that is added later changes no older recipe's hash. That
        a default itself was changed is seen by `stale`, which compares every field.
        """
        fields = json.dumps(self._fields(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(f"{fields}\n{base_digest()}".encode()).hexdigest()

    def _fields(self) -> dict:
        """The fields that are not at their default."""
        return {
            field.name: value
            for field in dataclasses.fields(self)
            if (value := getattr(self, field.name)) != field.default
        }


def _lab04_recipes() -> Iterator[Recipe]:
    """Masked, unmasked and partly weighted on the long mix, each at three rates; the planted failures on the short."""
    long = {"mix": "long", "examples": 320, "steps": 20, "batch_size": 16, "evaluation_n": 110, "max_new_tokens": 128}
    prompts: dict[str, dict] = {"masked": {}, "tenth": {"prompt_weight": 0.1}, "unmasked": {"mask": "none"}}
    for name, fields in prompts.items():
        for lr in (1e-3, 3e-3, 1e-2, 3e-2):
            yield Recipe(f"mask-{name}-{lr:g}", "04", lr=lr, **fields, **long)
        yield Recipe(f"mask-{name}-few", "04", **fields, **long | {"examples": 32})
    yield Recipe("mask-partial", "04", mask="partial", **long)
    short = {"examples": 640, "steps": 40, "batch_size": 16, "evaluation_n": 110, "max_new_tokens": 128}
    yield Recipe("mask-sound", "04", **short)
    for fault in ("template", "truncated", "late", "shifted"):
        yield Recipe(f"mask-{fault}", "04", fault=fault, **short)
    yield Recipe("mask-end", "04", stop="unknown", **short)
    yield Recipe("mask-no-end", "04", stop="unknown", fault="no_end_token", **short)


RECIPES = {
    recipe.name: recipe
    for recipe in (
        #      name              lab
        Recipe("sft-short", "00", steps=400, evaluation_n=500),
        Recipe("sft-short-shuffled", "00", steps=400, evaluation_n=500, control="shuffled"),
        Recipe("sft-short-prompt", "00", steps=400, evaluation_n=500, control="prompt"),
        Recipe("sft-lab00", "00", steps=80, evaluation_n=110),
        Recipe("data-clean", "01", mix="clean", steps=60, batch_size=16, evaluation_n=66),
        Recipe("data-clean-small", "01", mix="clean", examples=120, steps=60, batch_size=16, evaluation_n=66),
        Recipe("data-dirty", "01", mix="dirty", steps=60, batch_size=16, evaluation_n=66),
        Recipe("data-dirty-small", "01", mix="dirty", examples=120, steps=60, batch_size=16, evaluation_n=66),
        Recipe("data-answers", "01", mix="answers", evaluation="short", steps=80, evaluation_n=110),
        Recipe("data-posts-random", "01", mix="posts_random", steps=100, batch_size=16),
        Recipe("data-posts-cluster", "01", mix="posts_cluster", steps=100, batch_size=16),
        Recipe("data-posts-time", "01", mix="posts_time", steps=100, batch_size=16),
        Recipe("data-posts-time-cluster", "01", mix="posts_time_cluster", steps=100, batch_size=16),
        *_lab04_recipes(),
    )
}


def base_digest() -> str:
    """sha256 over the base's files that decide what it computes."""
    from labkit.models import BASE

    stats = [
        (path.name, path.stat().st_size, path.stat().st_mtime_ns)
        for path in map(BASE.joinpath, BASE_FILES)
        if path.is_file()
    ]
    if not stats:
        raise InputError(
            f"{BASE}: the base model is not there; install the kit again, or make it with `labkit base build`"
        )
    return _digest(BASE, tuple(stats))


@lru_cache(maxsize=8)
def _digest(folder: Path, stats: tuple) -> str:
    digest = hashlib.sha256()
    for name, size, _ in stats:
        digest.update(f"{name} {size}\n".encode())
        digest.update((folder / name).read_bytes())
    return digest.hexdigest()


# What a run leaves


SCORED = ("n", "correct", "share", "low", "high", "cot", "stopped", "tokens")  # what a record keeps of a `Score`


@dataclass(frozen=True)
class Outcome:
    """One seed's run, as plain data: what `Score` and `History` hold, which questions were right, and where and when
    it ran.
    """

    seed: int
    score: dict  # the fields in `SCORED`; older records lack the last two
    by_task: dict[str, dict]  # task: the same
    right: str  # a 1 or 0 for each question, in order
    questions: str  # digest of the questions: equal digests, same questions
    trained_on: str  # the same for the training examples, before mask and control
    history: dict[str, list]
    trainable: int
    total: int
    train_seconds: float
    seconds: float
    machine: str
    versions: dict[str, str]
    date: str
    probabilities: list[float] | None = None  # of each question's right completion, in order; None in older records


@dataclass(frozen=True)
class Record:
    """A recipe's recorded runs, one outcome for each seed. `hash` is the recipe's at the time."""

    recipe: dict
    hash: str
    outcomes: tuple[Outcome, ...]

    @property
    def name(self) -> str:
        return self.recipe["name"]

    @property
    def shares(self) -> dict[int, float]:
        """The share of right answers, by seed."""
        return {outcome.seed: outcome.score["share"] for outcome in self.outcomes}

    def outcome(self, seed: int) -> Outcome:
        for outcome in self.outcomes:
            if outcome.seed == seed:
                return outcome
        seeds = ", ".join(map(str, sorted(self.shares)))
        raise InputError(
            f"{self.name} is recorded for the seeds {seeds}, not for {seed}; choose one of them, or run it with "
            f"live=True"
        )

    def save(self, folder: Path | None = None) -> Path:
        path = (folder or RECORDS) / f"{self.name}.json"
        with write_atomically(path) as file:  # one line for each seed, so that a difference in git can be read
            file.write(f'{{"recipe": {json.dumps(self.recipe)},\n"hash": "{self.hash}",\n"outcomes": [\n')
            file.write(
                ",\n".join(json.dumps(dataclasses.asdict(outcome), separators=(",", ":")) for outcome in self.outcomes)
            )
            file.write("\n]}\n")
        return path

    @classmethod
    def load(cls, name: str, folder: Path | None = None) -> Record:
        path = (folder or RECORDS) / f"{name}.json"
        if not path.is_file():
            raise InputError(
                f"{name} is not recorded; run it with live=True, or record it with `labkit runs rebuild {name}`"
            )
        values = json.loads(path.read_text(encoding="utf-8"))
        return cls(values["recipe"], values["hash"], tuple(Outcome(**outcome) for outcome in values["outcomes"]))


def recorded(folder: Path | None = None) -> list[str]:
    """The names of all records."""
    return sorted(path.stem for path in (folder or RECORDS).glob("*.json") if path.stem != "claims")


def stale(name: str, folder: Path | None = None) -> str | None:
    """Why a record is no longer what its recipe would give, or None."""
    record = Record.load(name, folder)
    if name not in RECIPES or record.name != name:
        return f"{name}: there is a record but no such recipe; delete the record, or add the recipe"
    now = dataclasses.asdict(RECIPES[name])
    then = {field.name: field.default for field in dataclasses.fields(Recipe)} | record.recipe
    changed = sorted(field for field in then.keys() | now.keys() if then.get(field) != now.get(field))
    if changed:
        return f"{name}: recorded with another {', '.join(changed)}; `labkit runs rebuild {name}`"
    if RECIPES[name].hash != record.hash:
        return f"{name}: recorded with another base; `labkit runs rebuild {name}`"
    return None


# Running


def execute(recipe: Recipe, on_progress: Callable[[float, str], None] | None = None) -> Outcome:
    """Run a recipe now. `on_progress(share done, what is going on)` is called often."""
    return _executed(recipe, on_progress)[0]


def _executed(recipe: Recipe, on_progress: Callable[[float, str], None] | None = None) -> tuple[Outcome, Any, Any]:
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
        settings(recipe),
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
    )
    return outcome, model, tokenizer


def settings(recipe: Recipe) -> Settings:
    """How a recipe is trained. Raises `InputError` for values that make no sense."""
    from labkit.training import Settings

    return Settings(
        **{
            field.name: getattr(recipe, field.name)
            for field in dataclasses.fields(Settings)
            if hasattr(recipe, field.name)
        }
    )


def mix(recipe: Recipe) -> tuple[list[Example], list[Example]]:
    """(examples to train on, held-out examples to ask) of a recipe."""
    from labkit.almanac import examples, mixes

    def both(name: str) -> tuple[list[Example], list[Example]]:
        for module in (examples, mixes):
            if hasattr(module, f"{name}_mix"):
                return getattr(module, f"{name}_mix")(recipe.seed)
        raise InputError(f"there is no mix {name!r}; choose short or long, or one of `labkit.almanac.mixes`")

    train, test = both(recipe.mix)
    if recipe.evaluation is not None:
        test = both(recipe.evaluation)[1]
    return train[: recipe.examples], test


def training_rows(examples: Sequence[Example], tokenizer, recipe: Recipe, max_length: int | None = None) -> list[dict]:
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
    folder = folder or RECORDS
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


def machine(device: str = "cpu") -> str:
    """This machine in words: cores and processor, and the GPU if `device` is one."""
    processor = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            processor = next(
                (line.partition(":")[2].strip() for line in file if line.startswith("model name")), processor
            )
    except OSError:
        pass
    text = f"{os.cpu_count()} cores, {processor}, {platform.system()}"
    if device == "cuda":
        import torch

        text = f"{torch.cuda.get_device_name()}; {text}"
    return text if device in ("cpu", "cuda") else f"{device}; {text}"


def versions() -> dict[str, str]:
    """The versions of what a run's numbers depend on."""
    found = {"python": platform.python_version()}
    for package in ("labkit", "torch", "transformers", "peft", "tokenizers", "numpy"):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def _plain(score: Score) -> dict:
    return {name: _short(getattr(score, name)) for name in SCORED}


def _short(value: Any) -> Any:
    """A float to six significant digits; NaN and infinity, which JSON does not know, become None."""
    if not isinstance(value, float):
        return value
    return float(f"{value:.6g}") if math.isfinite(value) else None


# Comparing


@dataclass(frozen=True)
class Interval:
    """A mean over seeds and its 95% interval (t distribution), with the values it is the mean of."""

    mean: float
    low: float
    high: float
    values: tuple[float, ...]

    @property
    def n(self) -> int:
        return len(self.values)


def interval(values: Sequence[float]) -> Interval:
    """The mean of at least two independent values, and its 95% interval."""
    if len(values) < 2:
        raise InputError(f"{len(values)} seed gives no interval: record at least 2")
    middle = mean(values)
    half = t_quantile(len(values) - 1) * stdev(values) / math.sqrt(len(values))
    return Interval(middle, middle - half, middle + half, tuple(values))


def paired_difference(a: Record, b: Record, tasks: Collection[str] | None = None) -> Interval:
    """How much higher the share of right answers is in `a` than in `b`: seed by seed, on the same questions.

    `tasks`: only the questions of these families. Raises `InputError` if the two have fewer than two seeds in common,
    or were asked different questions.
    """
    seeds = sorted(a.shares.keys() & b.shares.keys())
    for seed in seeds:
        if a.outcome(seed).questions != b.outcome(seed).questions:
            raise InputError(
                f"{a.name} and {b.name} were asked different questions at seed {seed}; give both the same evaluation"
            )
    if len(seeds) < 2:
        raise InputError(f"{a.name} and {b.name} have {len(seeds)} recorded seeds in common; at least 2 are needed")
    return interval([_share_of(a.outcome(seed), tasks) - _share_of(b.outcome(seed), tasks) for seed in seeds])


def _share_of(outcome: Outcome, tasks: Collection[str] | None) -> float:
    if tasks is None:
        return outcome.score["share"]
    missing = sorted(set(tasks) - outcome.by_task.keys())
    if missing or not tasks:
        raise InputError(f"no question of {', '.join(missing) or 'nothing'}; there are {', '.join(outcome.by_task)}")
    parts = [outcome.by_task[task] for task in tasks]
    return sum(part["correct"] for part in parts) / sum(part["n"] for part in parts)


def pooled(record: Record) -> Score:
    """The score over all recorded seeds taken together, and for each family, with Wilson intervals.

    The seeds' questions count as independent. What a seed changes as a whole is not in the interval: to compare two
    recipes take `paired_difference`.
    """
    from labkit.models import Score, wilson

    def summed(parts: Sequence[dict], **more) -> Score:
        n, correct = (sum(part[key] for part in parts) for key in ("n", "correct"))
        return Score(n, correct, correct / n, *wilson(correct, n), **more)

    tasks = sorted({task for outcome in record.outcomes for task in outcome.by_task})
    by_task = {
        task: summed([outcome.by_task[task] for outcome in record.outcomes if task in outcome.by_task])
        for task in tasks
    }
    return summed([outcome.score for outcome in record.outcomes], by_task=by_task)


# Student's t, 97.5%: for 1, 2, 3 … degrees of freedom.
T_QUANTILES = (
    12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622, 2.2281, 2.2010, 2.1788, 2.1604, 2.1448,
    2.1314, 2.1199, 2.1098, 2.1009, 2.0930, 2.0860, 2.0796, 2.0739, 2.0687, 2.0639, 2.0595, 2.0555, 2.0518, 2.0484,
    2.0452,
)  # fmt: skip


def t_quantile(degrees: int) -> float:
    """The 97.5% quantile of Student's t; beyond the table from the normal one, to three decimals (Cornish and Fisher
    1938).
    """
    if degrees <= len(T_QUANTILES):
        return T_QUANTILES[degrees - 1]
    z = NormalDist().inv_cdf(0.975)
    return z + (z**3 + z) / (4 * degrees) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * degrees**2)


# In a notebook


@dataclass(frozen=True)
class Run:
    """One run of a recipe, replayed from its record or made now.

    Printed, a replayed run tells its score, which is the same everywhere; one made now tells only what it was,
    because its numbers differ from machine to machine: they are in `score`, `rows` and `history`.
    """

    recipe: Recipe
    outcome: Outcome
    recorded: bool
    model: Any = None  # as it is after a run made now, to ask it more; None for a replay
    tokenizer: Any = None

    @property
    def score(self) -> Score:
        from labkit.models import Score

        def score(values: dict, **more) -> Score:
            return Score(**{name: math.nan if value is None else value for name, value in values.items()}, **more)

        return score(self.outcome.score, by_task={task: score(values) for task, values in self.outcome.by_task.items()})

    @property
    def history(self) -> History:
        from labkit.training import History

        return History.from_dict(self.outcome.history)

    @property
    def rows(self) -> list[dict]:
        """The score by task, all tasks first: task, n, correct, share, low, high, cot."""
        return [
            {"task": "all", **self.outcome.score},
            *({"task": task, **row} for task, row in self.outcome.by_task.items()),
        ]

    def keep(self, note: str = "") -> None:
        """Add this run to the learner's table, *my runs*. Keeping the same run twice keeps it once."""
        score = self.outcome.score
        progress.store().add_run(
            lab=self.recipe.lab,
            recipe=self.recipe.name,
            hash=self.recipe.hash,
            score=score["share"],
            low=score["low"],
            high=score["high"],
            note=note,
        )
        print(f"Kept in my runs: {self.recipe.name}{', ' if note else ''}{note}")

    def __repr__(self) -> str:
        name = f"{self.recipe.name}, seed {self.recipe.seed}"
        if not self.recorded:
            return f"{name}: run now, {self.recipe.steps} steps, {self.outcome.score['n']} questions asked"
        return f"{name}: {_share(self.outcome.score)}\nrecorded {self.outcome.date} on {self.outcome.machine}"

    def _repr_html_(self) -> str:
        first, _, rest = repr(self).partition("\n")
        caption = f"<p>{html.escape(first)}{f'<br><em>{html.escape(rest)}</em>' if rest else ''}</p>"
        return caption + (self.table() if self.recorded else "")

    def table(self) -> str:
        """The score by task as an HTML table."""
        return _html_table(
            ("task", "right", "share", "95% interval"),
            [
                (
                    row["task"],
                    f"{row['correct']} of {row['n']}",
                    f"{row['share']:.1%}",
                    f"{row['low']:.1%} to {row['high']:.1%}",
                )
                for row in self.rows
            ],
        )


def run(recipe: str | Recipe, live: bool = False, seed: int = 0) -> Run:
    """Replay a recipe's recorded run, or run it now with `live=True`. Nothing is added to *my runs*: that is
    `run.keep(note)`.
    """
    if isinstance(recipe, str):
        recipe = named(recipe)
    chosen = dataclasses.replace(recipe, seed=seed)
    if not live:
        record = Record.load(recipe.name)
        if record.hash != recipe.hash:
            raise InputError(
                f"{recipe.name} is recorded, but not as this recipe with this base says; run it with live=True"
            )
        return Run(chosen, record.outcome(seed), recorded=True)
    line = Line()
    try:
        outcome, model, tokenizer = _executed(chosen, lambda share, text: line.show(f"{recipe.name}: {text}", share))
        result = Run(chosen, outcome, recorded=False, model=model, tokenizer=tokenizer)
    except BaseException:
        line.close()
        raise
    line.show(f"{recipe.name}, seed {seed}: {_share(result.outcome.score)}, in {result.outcome.seconds:.0f} s")
    line.show_html(f"<p>{html.escape(recipe.name)}, seed {seed}, {result.outcome.seconds:.0f} s</p>{result.table()}")
    return result


def named(name: str) -> Recipe:
    if name not in RECIPES:
        raise InputError(f"there is no recipe {name!r}; there are {', '.join(RECIPES)}")
    return RECIPES[name]


class MyRuns(list):
    """The learner's own table: the rows of *my runs*, oldest first."""

    HEAD = ("lab", "recipe", "share", "95% interval", "note")

    def cells(self) -> list[tuple[str, ...]]:
        return [
            (row["lab"], row["recipe"], f"{row['score']:.1%}", f"{row['low']:.1%} to {row['high']:.1%}", row["note"])
            for row in self
        ]

    def __repr__(self) -> str:
        if not self:
            return 'No runs are kept yet. run.keep("a note") keeps one.'
        rows = [self.HEAD, *self.cells()]
        widths = [max(map(len, column)) for column in zip(*rows)]
        return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows)

    def _repr_html_(self) -> str:
        return _html_table(self.HEAD, self.cells()) if self else f"<p>{html.escape(repr(self))}</p>"


def my_runs() -> MyRuns:
    """What the learner has kept: one row for each run."""
    return MyRuns(progress.store().runs())


def _share(score: dict) -> str:
    span = f"{score['low']:.1%} to {score['high']:.1%}"
    return f"{score['correct']} of {score['n']} right, {score['share']:.1%} (95% interval {span})"


def _html_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    def line(tag: str, cells: Sequence[str]) -> str:
        return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells) + "</tr>"

    return f"<table><thead>{line('th', head)}</thead><tbody>{''.join(line('td', row) for row in rows)}</tbody></table>"


# The command


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "examples:\n  labkit runs list\n  labkit runs show sft-short\n  labkit runs rebuild sft-short --seeds 8"
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="list | show | rebuild")
    listing = actions.add_parser("list", help="the recipes, and which are recorded")
    show = actions.add_parser("show", help="one record: its seeds, scores, machine and date")
    show.add_argument("name", metavar="NAME")
    again = actions.add_parser(
        "rebuild", help="record a recipe, or all that there are; goes on where it was interrupted"
    )
    again.add_argument("name", metavar="NAME", nargs="?")
    again.add_argument("--seeds", type=int, default=8, help="record the seeds 0 … SEEDS−1 (8)")
    again.add_argument("--again", action="store_true", help="also what is recorded already")
    again.add_argument("--workers", type=int, help="how many runs at once (one for each core)")
    again.add_argument("--cluster", metavar="ADDRESS", help="run on this Ray cluster: auto, or HOST:PORT")
    for action in (listing, show, again):
        action.add_argument("--json", action="store_true", help="print one JSON object as the last line")


def main(args: argparse.Namespace) -> int:
    if args.action == "list":
        return _list(args)
    if args.action == "show":
        named(args.name)
        record = Record.load(args.name)
        _print_record(record)
        if args.json:
            print(json.dumps(_summary(record)))
        return 0
    return _rebuild(args)


def _list(args: argparse.Namespace) -> int:
    rows = {}
    for name in sorted({*RECIPES, *recorded()}):
        state = "not recorded"
        if name in recorded():
            record = Record.load(name)
            state = (
                stale(name) or f"recorded, {len(record.outcomes)} seeds, mean {mean(record.shares.values()):.1%} right"
            )
        rows[name] = state.removeprefix(f"{name}: ")
        print(f"{name:<24} {rows[name]}")
    if args.json:
        print(json.dumps(rows))
    return 0


def _rebuild(args: argparse.Namespace) -> int:
    if args.seeds < 1:
        raise InputError(f"--seeds is {args.seeds}: at least 1 is needed")
    chosen = [named(args.name)] if args.name else list(RECIPES.values())
    summaries = {}
    for recipe in chosen:
        print(f"{recipe.name}: {args.seeds} seeds, {recipe.steps} steps each", file=sys.stderr)
        record = rebuild(
            recipe,
            args.seeds,
            again=args.again,
            cluster_address=args.cluster,
            workers=args.workers,
            on_seed=lambda outcome: print(
                f"  seed {outcome.seed}: {_share(outcome.score)}, {outcome.seconds:.0f} s", file=sys.stderr
            ),
        )
        _print_record(record)
        summaries[recipe.name] = _summary(record)
    if args.json:
        print(json.dumps(summaries))
    return 0


def _summary(record: Record) -> dict:
    summary: dict = {"shares": record.shares, "mean": mean(record.shares.values()), "hash": record.hash}
    if len(record.outcomes) > 1:
        over_seeds = interval(list(record.shares.values()))
        summary |= {"low": over_seeds.low, "high": over_seeds.high}
    return summary


def _print_record(record: Record) -> None:
    summary = _summary(record)
    over_seeds = f", 95% interval over seeds {summary['low']:.1%} to {summary['high']:.1%}" if "low" in summary else ""
    print(f"{record.name}: mean {summary['mean']:.1%} right{over_seeds}")
    for outcome in record.outcomes:
        print(
            f"  seed {outcome.seed}: {_share(outcome.score)}; {outcome.seconds:.0f} s, {outcome.date}, "
            f"{outcome.machine}"
        )
