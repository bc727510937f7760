"""The clinic: real runs of the base, each with one planted fault, and the log that each leaves.

A `Setup` is a sound run (what is learned, which weights are trained, how long, how often a line is logged); a `Case` is
one fault with its cause; `plan` puts them together, `run` trains and gives the log. The loop is `training.fit`, of
which a fault changes one part through `training.Hooks`. `signs` reads what a log shows, `causes` its causes.
"""

from __future__ import annotations

import copy
import dataclasses
import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, cast

import torch

from labkit import models, training
from labkit.almanac.documents import Writer
from labkit.almanac.examples import short_mix
from labkit.almanac.world import build
from labkit.common import InputError
from labkit.data import Example
from labkit.masking import IGNORED, collate, render

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

HELD_OUT = 24  # rows whose loss is followed


# What is learned: small skills and facts whose answers are a few tokens, so that a run takes seconds


def _digits(rng: random.Random) -> tuple[str, str, str]:
    digits = "".join(rng.choice("0123456789") for _ in range(rng.randint(3, 6)))
    asked, answer = rng.choice(
        [
            ("in reverse order", digits[::-1]),
            ("in rising order", "".join(sorted(digits))),
            ("each one higher", "".join(str((int(digit) + 1) % 10) for digit in digits)),
            ("each twice", "".join(2 * digit for digit in digits)),
        ]
    )
    return asked, f"{digits}, {asked}?", answer


_WORDS = [
    "bread",
    "river",
    "tower",
    "mayor",
    "market",
    "copper",
    "bridge",
    "winter",
    "harbour",
    "garden",
    "silver",
    "candle",
    "orchard",
    "village",
    "stone",
]


def _words(rng: random.Random) -> tuple[str, str, str]:
    word = rng.choice(_WORDS) + rng.choice(("", "s", "er", "y")) if rng.random() < 0.8 else rng.choice(_WORDS)[1:]
    asked, letters = rng.choice(
        [
            ("backwards", word[::-1]),
            ("letter by letter", word),
            ("without vowels", [letter for letter in word if letter not in "aeiou"]),
            ("with every letter doubled", [2 * letter for letter in word]),
        ]
    )
    return asked, f"{word}, {asked}?", " ".join(letters)


def _sums(rng: random.Random) -> tuple[str, str, str]:
    a, b = rng.randrange(10, 999), rng.randrange(10, 99)
    sign, answer = rng.choice([("plus", a + b), ("minus", max(a, b) - min(a, b)), ("times ten plus", 10 * a + b)])
    a, b = (max(a, b), min(a, b)) if sign == "minus" else (a, b)
    return sign, f"What is {a} {sign} {b}?", str(answer)


def _codes(rng: random.Random) -> tuple[str, str, str]:
    """Made-up facts: only memory gives the answer."""
    place = "".join(rng.choice("bdfgklmnprstv") + rng.choice("aeiou") for _ in range(3)).capitalize()
    return "code", f"The code of {place}?", "".join(rng.choice("0123456789") for _ in range(4))


_MONTHS = (
    "January February March April May June July August September October November December"
).split()  # fmt: skip
_DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()


def _dates(rng: random.Random) -> tuple[str, str, str]:
    kind, names = rng.choice([("days", _DAYS), ("months", _MONTHS)])
    start, count, way = rng.randrange(len(names)), rng.randint(2, 9), rng.choice(("after", "before"))
    named = names[(start + (count if way == "after" else -count)) % len(names)]
    asked = rng.choice(("", ", written backwards", ", in capitals"))
    answer = {"": named, ", in capitals": named.upper()}.get(asked, named.lower()[::-1])
    return f"{way}{asked}", f"{count} {kind} {way} {names[start]}{asked}?", answer


def _letters(rng: random.Random) -> tuple[str, str, str]:
    alphabet = "abcdefghijklmnopqrstuvwxyz"
    start, count, step = rng.randrange(14), rng.randint(3, 6), rng.choice((1, 2))
    row = alphabet[start : start + step * count : step]
    asked, letters = rng.choice(
        [
            (f"{count} letters from {row[0]} on, every {'' if step == 1 else 'second '}one", row),
            (f"the letters of {''.join(rng.sample(row, count))} in order", row),
            (f"{row} in capitals", row.upper()),
            (f"{row} from the end", row[::-1]),
        ]
    )
    return asked.split()[-1], f"{asked[0].upper()}{asked[1:]}?", " ".join(letters)


SKILLS: dict[str, Callable[[random.Random], tuple[str, str, str]]] = {
    "digits": _digits,
    "words": _words,
    "sums": _sums,
    "codes": _codes,
    "dates": _dates,
    "letters": _letters,
}


def examples(mix: str, count: int, seed: int) -> list[Example]:
    """`count` examples of a skill above, or of an almanac mix with short answers. Same seed, same examples."""
    if mix == "answers":
        from labkit.almanac.mixes import answers_mix

        chosen = answers_mix(seed)[0][:count]
        return [dataclasses.replace(one, completion=f"{one.completion}.") for one in chosen]
    if mix not in SKILLS:
        raise InputError(f"there is no mix {mix!r}; choose one of {', '.join(SKILLS)}, answers")
    rng = random.Random(f"{mix} {seed}")
    drawn = [SKILLS[mix](rng) for _ in range(count)]
    return [
        Example(f"{mix}-{place}", None, "clinic", task, None, (), None, prompt, prompt, f"Answer: {answer}.", answer)
        for place, (task, prompt, answer) in enumerate(drawn)
    ]


def rows_of(chosen: Sequence[Example], tokenizer: PreTrainedTokenizerBase) -> list[dict]:
    """Rows in which only the answer counts: `Answer:` is given, as if the assistant had been made to begin so."""
    given = len(tokenizer("Answer:", add_special_tokens=False)["input_ids"])
    rows = []
    for one in chosen:
        row = render(one, tokenizer)
        hidden = row.prompt_length + given
        rows.append(_row(row.input_ids, [IGNORED] * hidden + row.input_ids[hidden:], one.task))
    return rows


def _row(ids: list[int], labels: list[int], task: str | None = None) -> dict:
    """A row that keeps its right labels, whatever a fault puts into `labels`."""
    return {"input_ids": ids, "labels": labels, "right": labels, "task": task}


def as_they_should_be(rows: Sequence[dict]) -> list[dict]:
    return [row | {"labels": row["right"]} for row in rows]


def counted(row: dict) -> int:
    """Tokens of a row that carry loss."""
    return sum(label != IGNORED for label in row["labels"][1:])


# The sound run, and the fault


@dataclass(frozen=True)
class Setup:
    """A sound run of seconds. `trained`: "lora", "all", or "last N" (layers, all their weights)."""

    name: str
    mix: str = "digits"
    base: str = ""  # a model folder; empty: the kit's own base
    trained: str = "lora"
    rank: int = 16
    lr: float = 3e-3
    steps: int = 56
    batch_size: int = 12
    schedule: str = "cosine"
    log_every: int = 1  # steps; a line holds the mean loss since the last
    eval_every: int = 8
    examples: int | None = None  # None: each row is seen once


@dataclass
class Plan:
    """A run before it is run: what a fault may change. `order` holds for each step the indices of its rows."""

    setup: Setup
    seed: int
    tokenizer: Any
    model: Any
    rows: list[dict]
    validation: list[dict]
    settings: dict[str, Any]
    order: list[list[int]] = field(default_factory=list)
    hooks: dict[str, Any] = field(default_factory=dict)
    on_step: list[Callable[[int], None]] = field(default_factory=list)
    hide_nan: bool = True  # as transformers' `logging_nan_inf_filter` does

    @property
    def rng(self) -> random.Random:
        return random.Random(f"fault {self.seed}")

    def reorder(self, rows: int | None = None) -> None:
        """Draw the batches again, after the number of rows or steps or the batch size was changed."""
        self.rows = self.rows[:rows]
        self.order = training.batches(len(self.rows), self.settings["batch_size"], self.settings["steps"], self.seed)


@dataclass(frozen=True)
class Case:
    """One fault. `plant(plan, strength)` plants it; `strengths` are what it can be called with, mild to strong."""

    name: str
    cause: str  # its name in `causes`
    symptom: str  # the chapter's claim it belongs to, C32 to C37, or ""
    text: str  # what was done, shown once the learner has guessed
    plant: Callable[[Plan, Any], None]
    strengths: tuple = (None,)
    trained: str | None = None  # if the fault needs it: which weights are trained, whatever the set-up says


@lru_cache(maxsize=2)
def _base(folder: str) -> tuple[models.Model, PreTrainedTokenizerBase]:
    return models.load(folder or models.BASE, device="cpu")


def base_of(made: Plan) -> models.Model:
    """The base itself, unchanged by any run."""
    return _base(made.setup.base)[0]


def plan(setup: Setup, case: Case, strength: Any = None, seed: int = 0) -> Plan:
    """The sound run of `setup` with the fault of `case`."""
    if case.trained is not None and case.trained != setup.trained:
        setup = dataclasses.replace(setup, trained=case.trained, lr=setup.lr * (3 if case.trained == "lora" else 1 / 3))
    model, tokenizer = _base(setup.base)
    model = copy.deepcopy(model)
    count = setup.examples or setup.steps * setup.batch_size
    rows = rows_of(examples(setup.mix, count + HELD_OUT, seed), tokenizer)
    settings = {"steps": setup.steps, "batch_size": setup.batch_size, "lr": setup.lr, "schedule": setup.schedule}
    settings |= {"seed": seed, "number_format": "float32"}
    made = Plan(setup, seed, tokenizer, model, rows[HELD_OUT:], rows[:HELD_OUT], settings, hooks={"parts": 1})
    made.reorder()
    made.model = trainable(model, setup, seed)
    case.plant(made, case.strengths[0] if strength is None else strength)
    return made


def trainable(
    model: models.Model, setup: Setup, seed: int, target_modules: str | Sequence[str] = "all-linear"
) -> models.Model:
    """The model with the weights of the set-up made trainable, all others frozen."""
    if setup.trained == "lora":
        return models.add_lora(model, setup.rank, 2 * setup.rank, target_modules, seed)
    model.requires_grad_(setup.trained == "all")
    if setup.trained.startswith("last "):
        layers = cast(torch.nn.ModuleList, model.get_submodule("model.layers"))
        for layer in layers[-int(setup.trained.removeprefix("last ")) :]:
            layer.requires_grad_(True)
    return model


def run(made: Plan, on_progress: Callable[[int, int], None] | None = None) -> dict[str, list]:
    """Train, and give the log: a dict of lists.

    A line each `log_every` steps: `step, loss, lr, grad_norm, unmasked_tokens, epoch`; each `eval_every`:
    `validation_step, validation_loss, entropy` (nats, of the predictions on the held-out rows), `distance` (root mean
    square change of a trained weight), `share_changed`. One value each: `base_loss` (of the base on the held-out
    rows, right labels), `ln_vocabulary`.
    """
    setup, model, pad = made.setup, made.model, made.tokenizer.pad_token_id
    started = [(p, p.detach().float().clone()) for p in model.parameters() if p.requires_grad]
    log: dict[str, list] = {"validation_step": [], "validation_loss": [], "entropy": []}
    log |= {"distance": [], "share_changed": []}
    log["base_loss"] = [looked_at(base_of(made), as_they_should_be(made.validation), pad)[0]]
    log["ln_vocabulary"] = [math.log(model.get_input_embeddings().weight.shape[0])]

    def look(step: int) -> None:
        loss, entropy = looked_at(model, made.validation, pad)
        moved = [(parameter.detach().float() - start) for parameter, start in started]
        size = sum(change.numel() for change in moved)
        log["validation_step"].append(step)
        log["validation_loss"].append(loss)
        log["entropy"].append(entropy)
        log["distance"].append(math.sqrt(sum(change.square().sum().item() for change in moved) / size))
        log["share_changed"].append(sum((change != 0).sum().item() for change in moved) / size)

    def on_step(step: int, history: training.History) -> None:
        for do in made.on_step:
            do(step)
        if step % setup.eval_every == 0 or step == made.settings["steps"]:
            look(step)
            model.train()
        if on_progress is not None:
            on_progress(step, made.settings["steps"])

    look(0)
    rows = [{key: row[key] for key in ("input_ids", "labels")} for row in made.rows]
    chosen = training.Settings(**made.settings)
    history = training.fit(model, rows, chosen, pad=pad, on_step=on_step, on_nan="record", hooks=hooks_of(made))
    return _logged(history, [len(batch) for batch in made.order], len(rows), setup.log_every, made.hide_nan) | log


def hooks_of(made: Plan) -> training.Hooks:
    """What the plan puts into the training loop: its order, and what a fault put there."""
    sound = training.Hooks(batches=lambda *_: made.order, unlabelled=True)
    return dataclasses.replace(sound, **made.hooks)


@torch.no_grad()
def looked_at(model: torch.nn.Module, rows: Sequence[dict], pad: int) -> tuple[float, float]:
    """(loss, entropy of the predictions) on rows, means over counted tokens in nats; zeros where none counts."""
    model.eval()
    batch = collate([{key: row[key] for key in ("input_ids", "labels")} for row in rows], pad)
    targets = batch["labels"][:, 1:]
    counted = targets != IGNORED
    if not counted.any():
        return 0.0, 0.0
    output = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])
    scores = output.logits[:, :-1][counted].float().log_softmax(-1)
    loss = torch.nn.functional.nll_loss(scores, targets[counted]).item()
    return loss, -(scores.exp() * scores).sum(-1).mean().item()


def _logged(history: training.History, sizes: list[int], rows: int, every: int, hide_nan: bool) -> dict[str, list]:
    """The history as a trainer logs it: a mean loss for `every` steps, rate and gradient norm of the last of them.

    With `hide_nan` a loss that is NaN or infinite is replaced, as in transformers, by the mean of those since the last
    line, which is 0 if there are none.
    """
    log: dict[str, list] = {name: [] for name in ("step", "loss", "lr", "grad_norm", "unmasked_tokens", "epoch")}
    for start in range(0, len(history.step) - every + 1, every):
        losses: list[float] = []
        for loss in history.loss[start : start + every]:
            finite = math.isfinite(loss) or not hide_nan
            losses.append(loss if finite else sum(losses) / (len(losses) + 1))
        last = start + every - 1
        log["step"].append(history.step[last])
        log["loss"].append(sum(losses) / every)
        log["lr"].append(history.lr[last])
        log["grad_norm"].append(history.grad_norm[last])
        log["unmasked_tokens"].append(sum(history.unmasked_tokens[start : last + 1]) / every)
        log["epoch"].append(sum(sizes[: last + 1]) / rows)
    return log


# The faults


def _nothing(made: Plan, factor: float) -> None:
    made.settings["lr"] *= factor


def _rate(made: Plan, factor: float) -> None:
    made.settings["lr"] *= factor


def _rate_at_the_end(made: Plan, factor: float) -> None:
    made.settings |= {"lr": made.settings["lr"] * factor, "schedule": "cosine"}


def _small_batch(made: Plan, rows: int) -> None:
    made.settings |= {"batch_size": rows, "schedule": "constant"}
    made.reorder()


def _few_rows(made: Plan, rows: int) -> None:
    made.reorder(rows)


def _staircase(made: Plan, facts: int) -> None:
    """Made-up facts, all seen once an epoch."""
    made.rows = rows_of(examples("codes", facts, made.seed), made.tokenizer)
    made.validation = rows_of(examples("codes", HELD_OUT, made.seed + 1000), made.tokenizer)
    made.settings |= {"lr": made.settings["lr"] * 2, "schedule": "constant"}
    made.reorder()


def _little_capacity(made: Plan, module: str) -> None:
    """Rank 1 on one kind of layer; without an adapter, the norms of one. At a rate that suits so few weights."""
    made.settings["lr"] *= 3 if made.setup.trained == "lora" else 10
    if made.setup.trained == "lora":
        base = _copy_of_base(made)
        made.model = trainable(base, dataclasses.replace(made.setup, rank=1), made.seed, module)
    else:
        for name, parameter in made.model.named_parameters():
            parameter.requires_grad_("norm" in name and "layers.0." in name)


def _copy_of_base(made: Plan) -> models.Model:
    return copy.deepcopy(base_of(made))


def _all_masked(made: Plan, _: None) -> None:
    for row in made.rows + made.validation:
        row["labels"] = [IGNORED] * len(row["labels"])
    made.hooks["mean_loss"] = lambda summed, counted, part: summed / max(counted, 1)


def _half(made: Plan, hide: bool) -> None:
    """An adapter in float16: there the square of a small gradient is 0, and AdamW divides by its epsilon alone."""
    made.model = trainable(_copy_of_base(made), dataclasses.replace(made.setup, rank=4), made.seed, "v_proj,o_proj")
    for parameter in made.model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.half()
    made.hide_nan = hide


def _broken_example(made: Plan, share: float) -> None:
    """A row without a counted token, and a loss that is the mean of the rows' means: 0 divided by 0."""
    step = max(1, round(share * made.settings["steps"]))
    row = made.rows[made.order[step][0]]
    row["labels"] = [IGNORED] * len(row["labels"])

    def mean_of_means(summed: torch.Tensor, counted: int, part: Mapping[str, torch.Tensor]) -> torch.Tensor:
        empty = (part["labels"][:, 1:] != IGNORED).sum(1).eq(0).any()
        return summed / counted * (float("nan") if empty else 1.0)

    made.hooks["mean_loss"] = mean_of_means


def _wild_rows(made: Plan, factor: float) -> None:
    """The end token and the assistant's role are given fresh rows in the embedding table, `factor` times too long."""
    table = made.model.get_input_embeddings().weight
    ids = [made.tokenizer.eos_token_id, made.tokenizer.convert_tokens_to_ids("<|assistant|>")]
    draw = torch.Generator().manual_seed(made.seed)
    with torch.no_grad():
        length = table.norm(dim=1).median()
        for token in ids:
            fresh = torch.randn(table.shape[1], generator=draw)
            table[token] = factor * length * fresh / fresh.norm()


def _undivided(made: Plan, count: int) -> None:
    made.hooks["mean_loss"] = lambda summed, counted, part: count * summed / counted


def _shifted(made: Plan, _: None) -> None:
    for row in made.rows + made.validation:
        row["labels"] = [*row["labels"][1:], IGNORED]


def _spent(made: Plan, times: int) -> None:
    """The schedule is stepped `times` as often as the optimizer: after 1/times of the run the rate is 0."""

    def stepped(step: int, steps: int, lr: float, warmup: float, kind: str) -> float:
        at = step * times
        return training.schedule(at, steps, lr, warmup, "cosine" if kind == "constant" else kind) if at < steps else 0.0

    made.hooks["schedule"] = stepped


def _bfloat16(made: Plan, factor: float) -> None:
    """The weights are stored in bfloat16 and no copy in float32 is kept: updates below half a unit are rounded away.

    The products are computed in float32, which is fast on most CPUs; the loss of precision is in the storage.
    """
    made.settings["lr"] *= factor
    weights = [parameter for parameter in made.model.parameters() if parameter.requires_grad]

    def store(_: int) -> None:
        with torch.no_grad():
            for weight in weights:
                weight.copy_(weight.bfloat16())

    store(0)
    made.on_step.append(store)


def _lost_adapter(made: Plan, share: float) -> None:
    """The run is stopped and resumed, but the trained weights are not loaded: they are those of the start."""
    at = round(share * made.settings["steps"])
    started = [
        (parameter, parameter.detach().clone()) for parameter in made.model.parameters() if parameter.requires_grad
    ]

    def forget(step: int) -> None:
        if step == at:
            with torch.no_grad():
                for parameter, start in started:
                    parameter.copy_(start)

    made.on_step.append(forget)


def _other_weights(made: Plan, _: None) -> None:
    made.hooks["optimized"] = lambda parameters: [torch.nn.Parameter(p.detach().clone()) for p in parameters]


def _corrupted(made: Plan, setting: tuple[int, float]) -> None:
    """A stretch of the file is damaged (its answers are noise), and the file is read in the same order each epoch."""
    epochs, share = setting
    per_epoch = max(4, made.settings["steps"] // epochs)
    size = made.settings["batch_size"]
    order = [list(range(start, start + size)) for start in range(0, per_epoch * size, size)]
    made.rows = made.rows[: per_epoch * size]
    made.order = (order * (epochs + 1))[: made.settings["steps"]]
    rng = made.rng
    bad = order[round(per_epoch * rng.uniform(0.45, 0.7))]
    known = sorted({token for row in made.rows for token in row["input_ids"]})
    for index in bad[: math.ceil(share * size)]:
        row = made.rows[index]
        noise = [
            token if label == IGNORED else rng.choice(known) for token, label in zip(row["input_ids"], row["labels"])
        ]
        labels = [IGNORED if label == IGNORED else token for token, label in zip(noise, row["labels"])]
        made.rows[index] = row | {"input_ids": noise, "labels": labels}


def _beta2(made: Plan, setting: tuple[float, float]) -> None:
    beta2, factor = setting
    made.settings |= {"beta2": beta2, "lr": made.settings["lr"] * factor, "clip": None}


def _grouped_by_length(made: Plan, batches: int) -> None:
    """Rows are gathered by `batches` batches at a time and sorted by length in them, longest first."""
    size = made.settings["batch_size"]
    drawn = [index for batch in made.order for index in batch]
    order: list[list[int]] = []
    for start in range(0, len(drawn), size * batches):
        gathered = sorted(drawn[start : start + size * batches], key=lambda i: -len(made.rows[i]["input_ids"]))
        order += [gathered[place : place + size] for place in range(0, len(gathered), size)]
    made.order = order[: made.settings["steps"]]


def _in_blocks(made: Plan, epochs: int) -> None:
    """The file is sorted by task and read from top to bottom, `epochs` times."""
    rows = made.rows[: len(made.rows) // epochs]
    made.rows = sorted(rows, key=lambda row: row["task"])
    size = made.settings["batch_size"]
    order = [list(range(s, min(s + size, len(made.rows)))) for s in range(0, len(made.rows), size)]
    made.order = (order * (epochs + 1))[: made.settings["steps"]]


def _other_validation(made: Plan, kind: str) -> None:
    """The held-out rows are of a different kind from the training rows: what the base knew, which it forgets."""
    if kind == "prose":
        writer = Writer(build(), made.rng)
        texts = [made.tokenizer(writer.document(), add_special_tokens=False)["input_ids"][:48] for _ in range(HELD_OUT)]
        made.validation = [_row(ids, ids) for ids in texts]
    else:
        chosen = [render(one, made.tokenizer) for one in short_mix(made.seed, train=HELD_OUT)[0]]
        made.validation = [_row(one.input_ids, one.labels) for one in chosen]


CASES = {
    case.name: case
    for case in (
        Case("sound", "sound", "", "nothing: a sound run", _nothing, (0.7, 1.0, 1.3, 0.85)),
        Case("rate-too-high", "rate too high", "C37", "the rate is many times too high", _rate, (8, 12, 25, 50)),
        Case(
            "rate-too-low", "rate too low", "C33", "the rate is far too low", _rate, (1 / 20, 1 / 40, 1 / 100, 1 / 200)
        ),
        Case("batch-too-small", "batch too small", "C37", "one row a step", _small_batch, (2, 1, 1, 1)),
        Case("overfitting", "overfitting", "C34", "few rows, many epochs", _few_rows, (64, 48, 32, 24)),
        Case("staircase", "overfitting", "C34", "made-up facts, seen once an epoch", _staircase, (96, 80, 64, 48)),
        Case(
            "underfitting",
            "too little capacity",
            "C35",
            "rank 1, one module",
            _little_capacity,
            ("k_proj", "q_proj", "q_proj", "k_proj"),
        ),
        Case("all-masked", "nothing counted", "C33", "no token carries loss", _all_masked),
        Case("overflow", "overflow", "C32", "an adapter in float16", _half, (True, False), trained="lora"),
        Case(
            "broken-example",
            "broken example",
            "C32",
            "one row has no counted token",
            _broken_example,
            (0.3, 0.4, 0.6, 0.7),
        ),
        Case(
            "new-rows",
            "new embedding rows",
            "C32",
            "new rows of the embedding, not initialized",
            _wild_rows,
            (12, 20, 40, 80),
        ),
        Case(
            "undivided",
            "accumulation undivided",
            "C35",
            "the sum over micro-batches is not divided",
            _undivided,
            (2, 4, 8, 16),
        ),
        Case("shifted-twice", "labels shifted twice", "C35", "labels shifted before the library shifts", _shifted),
        Case(
            "schedule-spent", "schedule spent early", "C35", "the schedule is stepped too often", _spent, (3, 4, 8, 12)
        ),
        Case(
            "pure-bfloat16",
            "pure bfloat16",
            "C33",
            "weights in bfloat16, small updates",
            _bfloat16,
            (0.25, 0.15, 0.1, 0.05),
            trained="all",
        ),
        Case(
            "resumed",
            "resumed without the weights",
            "C36",
            "the adapter was not restored",
            _lost_adapter,
            (0.3, 0.5, 0.6, 0.7),
        ),
        Case(
            "other-weights",
            "optimizer holds other weights",
            "C33",
            "made before the model was reloaded",
            _other_weights,
        ),
        Case(
            "corrupted",
            "corrupted batch",
            "C36",
            "a stretch of the file is damaged",
            _corrupted,
            ((1, 0.5), (2, 1.0), (3, 0.75), (4, 0.5)),
        ),
        Case(
            "beta2",
            "beta2",
            "C36",
            "the second moment forgets too fast",
            _beta2,
            ((0.6, 1), (0.5, 1), (0.3, 1), (0.1, 1)),
        ),
        Case("grouped", "grouped by length", "C37", "rows grouped by length", _grouped_by_length, (6, 8, 10, 12)),
        Case("blocks", "not shuffled", "C37", "the file is in blocks and not shuffled", _in_blocks, (1, 1, 2, 2)),
        Case(
            "other-validation",
            "validation of another kind",
            "C34",
            "held-out rows are of another kind",
            _other_validation,
            ("short", "prose", "short", "prose"),
        ),
        Case(
            "rate-hidden",
            "rate too high",
            "C37",
            "the rate is too high, and the cosine's end hides it",
            _rate_at_the_end,
            (7, 8, 10, 12),
            trained="lora",
        ),
    )
}
