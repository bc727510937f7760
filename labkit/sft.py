"""`labkit sft`: supervised fine-tuning of any model on any examples, on one device: all weights, LoRA or QLoRA.

Rows come from `masking`, the loop is `training.fit`. A part of the examples is held out by cluster, so that no copy is
on both sides. With `--out` there are checkpoints, and `--resume` goes on after a kill: on one CPU it ends with the same
weights to the bit. For more than one device there is `labkit.scale`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import random
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from labkit import dedup
from labkit.common import InputError, peak_rss_mb, shortened
from labkit.data import Example, checked_lines, load_examples, message_texts, split, split_by_cluster

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase

    from labkit.live import Line
    from labkit.models import Model, Score
    from labkit.training import History, Settings
    from labkit.training.saved import SavedRun

METHODS = ("full", "lora", "qlora")
NOT_ASKED = ("out", "resume", "json", "questions")  # what may differ when a run is resumed


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "Loss is taken on the last answer of each example. Writes to FOLDER: the adapter, or the model with its tokenizer;\n"
        "trainer_state.json, the log, for labkit diagnose; sft.json, what was asked and the report; and while it runs\n"
        "checkpoint.pt. Killed, the same command with --resume goes on.\n\n"
        "examples:\n  labkit sft --model ./my-model --data mine.jsonl --method lora --out my-adapter\n"
        "  labkit sft --model ./my-model --data train.jsonl --validation test.jsonl --method full --out my-model-2"
    )
    add_run_arguments(parser)
    add = parser.add_argument
    add("--accumulation", type=int, default=1, help="parts a batch is computed in: less memory (default %(default)s)")
    add("--eval-every", type=int, metavar="STEPS", help="between validations (default: a tenth of the steps)")
    add("--save-every", type=int, metavar="STEPS", help="between checkpoints (default: a twentieth of the steps)")
    add("--patience", type=int, metavar="N", help="stop after N validations without a lower loss, and keep the best")
    add("--questions", type=int, default=20, help="held-out questions to ask before and after (default %(default)s)")
    add("--number-format", default="auto", help="of the products: float32, bfloat16 or auto (default %(default)s)")
    add("--device", default="auto", help="auto, cpu, cuda or mps (default %(default)s)")
    add("--resume", action="store_true", help="go on with the unfinished run in FOLDER")
    add("--json", action="store_true", help="print one JSON object as the last line")


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """What a run on one device and on several have in common."""
    add = parser.add_argument
    add("--model", default=None, metavar="NAME_OR_FOLDER", help="what is trained (default: the kit's base)")
    add("--data", required=True, metavar="FILE", help="examples: a file, or a data set of the hub")
    add("--skip-bad", action="store_true", help="leave out lines that cannot be used; FILE.rejected.jsonl keeps them")
    add(
        "--validation",
        default="0.1",
        metavar="SHARE|FILE",
        help="what is held out: a share of the examples, by cluster, or a file (default %(default)s)",
    )
    add("--method", choices=METHODS, default="lora", help="what is trained of the model (default %(default)s)")
    add("--out", default=None, metavar="FOLDER", help="where adapter or weights, log and checkpoints go")
    add("--steps", type=int, help="updates (default: what --epochs makes)")
    add("--epochs", type=float, default=3, help="passes over the examples (default %(default)s)")
    add("--batch-size", type=int, default=8, help="examples in an update (default %(default)s)")
    add("--lr", type=float, help="highest learning rate (default: by the method and the model's width)")
    add("--warmup", type=float, default=0.05, help="share of the steps in which it rises (default %(default)s)")
    add("--weight-decay", type=float, default=0.0, help="of AdamW (default %(default)s)")
    add("--rank", type=int, default=16, help="r of the adapter (default %(default)s)")
    add("--alpha", type=float, default=32, help="its output is multiplied by alpha / r (default %(default)s)")
    add("--target-modules", default="all-linear", metavar="NAMES", help="layers with an adapter (default %(default)s)")
    add("--max-length", type=int, metavar="TOKENS", help="of a row, at most (default: the model's context)")
    add("--gradient-checkpointing", action="store_true", help="compute activations twice: slower, far less memory")
    add("--seed", type=int, default=0, help="decides what is held out, adapter and order (default %(default)s)")


def main(args: argparse.Namespace) -> int:
    report = train(args)
    print(told(report))
    if args.json:
        print(json.dumps(report))
    return 0


def train(args: argparse.Namespace) -> dict:
    """Train, and return what `--json` prints. Raises `InputError`, before anything slow where that is possible."""
    from labkit.live import Line
    from labkit.training.saved import SavedRun

    settings_of(args, rows=1, width=1)  # checks them
    for name in ("save_every", "patience"):
        value = getattr(args, name)
        if value is not None and value < 1:
            raise InputError(f"{name} is {value}: give an integer of at least 1")
    if args.questions < 0:
        raise InputError(f"--questions is {args.questions}: give 0 for none, or how many to ask")
    if args.resume and args.out is None:
        raise InputError("--resume needs --out FOLDER, that of the run to go on with")
    place = None if args.out is None else SavedRun(args.out, asked(args), args.resume)
    if place is not None and place.report is not None:
        print(f"labkit: {args.out}: this run is finished", file=sys.stderr)
        return place.report
    line = Line()
    with _said_in_one_line(place, line):
        line.show("loading the model and the examples")
        return _Run(args, place, line).report()


class _Run:
    """One call's way from the model to what it has learned."""

    def __init__(self, args: argparse.Namespace, place: SavedRun | None, line: Line) -> None:
        from labkit import models
        from labkit.training.saved import Moved

        self.args, self.place, self.line = args, place, line
        name = args.model or models.BASE
        base, self.tokenizer = models.load(name, args.device, quantize="nf4" if args.method == "qlora" else None)
        self.prepared = prepare(args, base, self.tokenizer)
        self.settings = settings_of(args, len(self.prepared.rows), width_of(base))
        self.model = trainable(args, base)
        self.device = next(self.model.parameters()).device
        self.number_format = str(self.settings.dtype(self.device)).removeprefix("torch.")
        self.moved = Moved(self.model)
        self.looks: dict[int, dict[str, float]] = {}  # how far the weights were from the start, at each validation
        self.best: dict | None = None  # the weights at the lowest validation loss, with --patience
        self.before: dict | None = None

    def report(self) -> dict:
        state = self.begun()
        asking = self.prepared.held_out[: self.args.questions]
        if state is None:
            before = self.ask(asking, "before")
            self.before = None if before is None else {"share": before.share, "outputs": before.outputs[:3]}
        else:
            self.before, self.best, self.looks = state["before"], state["best"], state["looks"]
        history = self.fit(state)
        kept = self.put_back_best(history)
        after = self.ask(asking, "after")
        report = self.told(history, kept, asking, after)
        if self.place is not None:
            self.keep(self.place, history, report)
        return report

    def begun(self) -> dict | None:
        """Say what is going to happen; the checkpoint to go on from, if there is one."""
        for note in self.prepared.notes:
            self.say(note)
        state, self.digest = None, digest(self.prepared, self.model)
        if self.place is None:
            self.say("nothing is kept: --out FOLDER keeps the weights, the log, and checkpoints to go on from")
        else:
            self.place.begin()
            state = self.place.checkpoint()
            if state is not None and state["digest"] != self.digest:
                raise InputError(f"{self.args.out}: the model or the examples have changed since; name a new folder")
            if self.args.resume:
                at = (
                    f"after step {len(state['fit']['history']['step'])}"
                    if state
                    else "from the start: no checkpoint yet"
                )
                self.say(f"{self.args.out}: goes on {at}")
        self.line.close()
        print(
            f"{self.args.method}: {len(self.prepared.rows):,} examples, {len(self.prepared.held_out):,} held out; "
            f"{self.settings.steps:,} steps of {self.settings.batch_size}, learning rate {self.settings.lr:.2g}; "
            f"{self.number_format} on {self.device.type}",
            flush=True,
        )
        return state

    def say(self, text: str) -> None:
        self.line.close()
        print(f"labkit: {text}", file=sys.stderr, flush=True)

    def ask(self, asking: Sequence[Example], when: str) -> Score | None:
        """Exact match, with room for the longest answer that is held out."""
        from labkit import models

        if not asking:
            return None
        longest = max(sum(label >= 0 for label in row["labels"]) for row in self.prepared.validation)
        return models.score(
            self.model,
            self.tokenizer,
            asking,
            max_new_tokens=longest + 8,
            progress=lambda done, n: self.line.show(f"{when}: {done} of {n} questions", done / n),
        )

    def fit(self, state: dict | None) -> History:
        from labkit.training import History, fit
        from labkit.training.saved import best_place

        settings, patience, place = self.settings, self.args.patience, self.place
        steps = settings.steps
        every = self.args.save_every or max(steps // 20, 1)

        def on_step(step: int, history: History) -> bool:
            left = history.seconds[-1] / step * (steps - step)
            self.line.show(f"step {step} of {steps}, loss {history.loss[-1]:.3f}, {left:.0f} s left", step / steps)
            if not history.validation_step or history.validation_step[-1] != step:
                return False
            self.looks[step] = self.moved.look()
            if not patience:
                return False
            waited = len(history.validation_loss) - 1 - (best_place(history) or 0)
            if waited == 0:
                self.best = _copied(self.model)
            return waited >= patience

        def on_state(step: int, take: Callable[[], dict]) -> None:
            if place is not None and (step % every == 0 or step == steps):
                taken = take()
                more = {"digest": self.digest, "before": self.before, "best": self.best, "looks": self.looks}
                place.save({"fit": taken, **more}, self.log(History.from_dict(taken["history"])))

        if patience and self.best is None:
            self.best = _copied(self.model)
        if state is None:
            self.looks[0] = self.moved.look()
        return fit(
            self.model,
            self.prepared.rows,
            settings,
            pad=self.tokenizer.pad_token_id,
            validation=self.prepared.validation,
            on_step=on_step,
            state=state and state["fit"],
            on_state=on_state,
        )

    def put_back_best(self, history: History) -> int:
        """With --patience, the weights of the lowest validation loss; the step whose weights these are."""
        import torch

        from labkit.training.saved import best_place

        place = best_place(history)
        if self.best is None or place is None:
            return len(history.step)
        with torch.no_grad():
            for name, value in _trained(self.model):
                value.copy_(self.best[name])
        return history.validation_step[place]

    def log(self, history: History) -> dict:
        """`trainer_state.json`, with what `labkit diagnose` needs beside the losses to tell one cause from another."""
        from labkit.training.saved import trainer_state

        words = cast(Any, self.model).get_input_embeddings().weight.shape[0]
        once = {"ln_vocabulary": math.log(words)}
        if history.validation_loss:  # the first is that of the untrained model, on labels made here
            once["base_loss"] = history.validation_loss[0]
        per_epoch = epoch_steps(len(self.prepared.rows), self.settings.batch_size)
        return trainer_state(history, self.settings.steps, per_epoch, self.looks, once)

    def keep(self, place: SavedRun, history: History, report: dict) -> None:
        from labkit import models

        as_it_was = models.load_tokenizer(self.args.model or models.BASE)  # without the padding chosen here
        models.save_into(self.model, place.folder, as_it_was if self.args.method == "full" else None)
        place.write_log(self.log(history))
        place.finish(report)

    def told(self, history: History, kept: int, asking: Sequence[Example], after: Score | None) -> dict:
        """What `--json` prints."""
        from labkit import models

        outputs = zip(asking, self.before["outputs"], after.outputs) if self.before and after else ()
        trainable, total = models.count_parameters(self.model)
        seconds = history.seconds[-1]
        return {
            "method": self.args.method,
            "model": str(self.args.model or models.BASE),
            "out": self.args.out,
            "examples": len(self.prepared.rows),
            "held_out": len(self.prepared.held_out),
            "number_format": self.number_format,
            "device": self.device.type,
            "lr": self.settings.lr,
            "steps": self.settings.steps,
            "steps_done": len(history.step),
            "kept_step": kept,
            "loss": history.loss[-1],
            "validation_step": history.validation_step,
            "validation_loss": history.validation_loss,
            "n": len(asking),
            "before": self.before and self.before["share"],
            "after": after and after.share,
            "low": after and after.low,
            "high": after and after.high,
            "such_as": [[example.question, was, now] for example, was, now in outputs],
            "trainable": trainable,
            "total": total,
            "train_seconds": round(seconds, 1),
            "tokens_per_second": round(sum(history.tokens) / max(seconds, 1e-9)),
            "peak_rss_mb": peak_rss_mb(),
        }


def told(report: dict) -> str:
    """The report for people."""
    lines = []
    for question, before, after in report["such_as"]:
        lines += [
            f"  asked   {shortened(question)}",
            f"  before  {shortened(before)}",
            f"  after   {shortened(after)}",
            "",
        ]
    if report["n"]:
        lines.append(
            f"  right answers, exact match: before {report['before']:.1%}, after {report['after']:.1%} of {report['n']} "
            f"(95% interval {report['low']:.1%} to {report['high']:.1%})"
        )
    losses = report["validation_loss"]
    if losses:
        lowest = min(range(len(losses)), key=losses.__getitem__)
        lines.append(
            f"  held-out loss {losses[0]:.3f} nats before, {losses[-1]:.3f} at the end; lowest {losses[lowest]:.3f} at step "
            f"{report['validation_step'][lowest]}"
        )
        if report["steps_done"] < report["steps"] or report["kept_step"] < report["steps_done"]:
            lines.append(
                f"  stopped at step {report['steps_done']}; the weights are those of step {report['kept_step']}"
            )
        elif losses[lowest] < 0.98 * losses[-1]:
            lines.append("  it was lower before the end: --patience 3 would stop there and keep those weights")
    lines.append(
        f"  {report['trainable']:,} of {report['total']:,} parameters trained ({report['trainable'] / report['total']:.1%}) in "
        f"{report['train_seconds']:.0f} s, {report['tokens_per_second']:,} tokens a second, at most "
        f"{report['peak_rss_mb']:.0f} MB of memory"
    )
    if out := report["out"]:
        how = (
            f"AutoModelForCausalLM.from_pretrained({out!r})"
            if report["method"] == "full"
            else f"PeftModel.from_pretrained(model, {out!r})"
        )
        lines.append(f"  {out}: {how} loads it; labkit diagnose {Path(out) / 'trainer_state.json'} reads the log")
    return "\n".join(lines)


# What decides a run


def asked(args: argparse.Namespace) -> dict:
    """The options that a resumed run must have in common with the one that was begun; names of files in full."""

    def in_full(value: object) -> object:
        place = Path(value).expanduser() if isinstance(value, str) else None
        return str(place.resolve()) if place is not None and place.exists() else value

    paths = {name: in_full(getattr(args, name)) for name in ("model", "data", "validation")}
    return {name: value for name, value in vars(args).items() if name not in NOT_ASKED} | paths


def settings_of(args: argparse.Namespace, rows: int, width: int) -> Settings:
    """The loop's settings for so many rows and a model of that width. Raises `InputError`."""
    from labkit.training import Settings

    if not (math.isfinite(args.epochs) and args.epochs > 0):
        raise InputError(f"--epochs is {args.epochs}: give a number above 0")
    if args.batch_size < 1:
        raise InputError(f"batch_size is {args.batch_size}: give an integer of at least 1")
    steps = max(round(args.epochs * epoch_steps(rows, args.batch_size)), 1) if args.steps is None else args.steps
    return Settings(
        steps=steps,
        batch_size=args.batch_size,
        lr=fitted_rate(width) * (1 if args.method == "full" else 10) if args.lr is None else args.lr,
        warmup=args.warmup,
        weight_decay=args.weight_decay,
        accumulation=args.accumulation,
        seed=args.seed,
        eval_every=max(steps // 10, 1) if args.eval_every is None else args.eval_every,
        number_format=args.number_format,
    )


def fitted_rate(width: int) -> float:
    """The best learning rate of all weights of a Llama model of that width, by Tinker's published fit
    (`tinker_cookbook/hyperparam_utils.py`), made on widths from 2,048 on; LoRA's is ten times that.
    """
    return 5e-5 * (2000 / width) ** 0.781


def width_of(model: Model) -> int:
    """The length of a token's vector."""
    return int(cast(Any, model).get_input_embeddings().weight.shape[1])


def epoch_steps(rows: int, batch_size: int) -> int:
    """Updates in one pass over the rows."""
    return math.ceil(rows / batch_size)


def trainable(args: argparse.Namespace, model: Model) -> Model:
    """The model with what the method trains: all weights, or a LoRA adapter."""
    from labkit import models

    if args.gradient_checkpointing:
        models.recompute_activations(model)
    if args.method == "full":
        return model
    return models.add_lora(model, args.rank, args.alpha, args.target_modules, args.seed)


def digest(prepared: Prepared, model: Model) -> str:
    """Of the rows, and of the beginning of each weight: a checkpoint fits no other."""
    found = hashlib.sha256(json.dumps([prepared.rows, prepared.validation]).encode())
    for name, value in model.named_parameters():
        found.update(name.encode() + value.detach().flatten()[:256].float().cpu().numpy().tobytes())
    return found.hexdigest()


def _trained(model: Model) -> Iterator[tuple[str, torch.Tensor]]:
    return ((name, value) for name, value in model.named_parameters() if value.requires_grad)


def _copied(model: Model) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in _trained(model)}


@contextmanager
def _said_in_one_line(place: SavedRun | None, line: Line) -> Iterator[None]:
    """What ends a run from outside: an interruption, too little memory."""
    from labkit.training.saved import CHECKPOINT

    try:
        yield
    except KeyboardInterrupt:
        line.close()
        if place is not None and (place.folder / CHECKPOINT).is_file():
            print(f"labkit: {place.folder}: --resume goes on from its last checkpoint", file=sys.stderr)
        raise
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and type(error).__name__ != "OutOfMemoryError":  # torch's, for a GPU
            raise
        raise InputError("out of memory; --gradient-checkpointing, more --accumulation, or --method qlora") from None
    finally:
        line.close()


# From files to rows


@dataclass(frozen=True)
class Prepared:
    """What is trained on, and what is held out: examples, and the rows made of them."""

    held_out: list[Example]
    rows: list[dict]
    validation: list[dict]
    notes: list[str]  # to be said before training


def prepare(args: argparse.Namespace, model: Model, tokenizer: PreTrainedTokenizerBase) -> Prepared:
    """Read and render `--data` and `--validation`, and let the model stop where the rows end.

    Raises `InputError`, which names file and line.
    """
    from labkit import models
    from labkit.masking import render

    own = load_examples(args.data, skip_bad=args.skip_bad)
    train, held_out, where, notes = _sides(own, args)
    context = models.context_length(model.config)
    limits = [limit for limit in (context, args.max_length) if limit is not None]
    length = min(limits, default=None)
    if args.max_length is not None and args.max_length < 2:
        raise InputError(f"--max-length is {args.max_length}: give at least 2 tokens")
    asking = held_out[: getattr(args, "questions", 0)]

    def rows_of(examples: list[Example]) -> list[dict]:
        made = [render(example, tokenizer, length) for example in examples]
        cut.extend(row.truncated for row in made)
        ends.extend(made)
        return [{"input_ids": row.input_ids, "labels": row.labels} for row in made]

    cut: list[bool] = []
    ends: list = []
    try:
        rows, validation = rows_of(train), rows_of(held_out)
        check_prompts(asking, tokenizer, context)
    except InputError as error:
        places = [(args.data, own)] if where is None else [(args.data, train), (where, held_out)]
        raise placed(error, places, asking, tokenizer, length, context) from None
    notes.append(models.stop_where_rows_end(model, tokenizer, ends))
    if any(cut):
        notes.append(
            f"{sum(cut):,} of {len(cut):,} examples are over {length} tokens: the start of their prompts is cut"
        )
    return Prepared(held_out, rows, validation, list(filter(None, notes)))


def _sides(own: list[Example], args: argparse.Namespace) -> tuple[list[Example], list[Example], str | None, list]:
    """(to train on, held out, the file that the latter come from or None, messages)."""
    try:
        share = float(args.validation)
    except ValueError:
        held_out = load_examples(args.validation, skip_bad=args.skip_bad)
        trained = set(map(_said, own))
        copies = sum(_said(example) in trained for example in held_out)
        if copies == len(held_out):
            raise InputError(
                f"{args.validation}: all of it is in {args.data} too, so it measures nothing; give other examples"
            ) from None
        note = f"{args.validation}: {copies:,} of its {len(held_out):,} examples are in {args.data} too"
        return own, held_out, args.validation, [f"{note}; see labkit dedup --against"] if copies else []
    if share == 0:
        return own, [], None, []
    if not 0 < share < 1:
        raise InputError(f"--validation is {args.validation}: give a share from 0 up to 1, or a file")
    if len(own) < 2:
        raise InputError(f"{args.data}: 1 example cannot be split; give at least 2, better a few hundred")
    train, held_out, copies_said = held_out_part(own, args.seed, share)
    return train, held_out, None, [copies_said]


def _said(example: Example) -> str:
    return "\n".join(chain.from_iterable(map(message_texts, example.messages())))


def held_out_part(own: list[Example], seed: int, share: float = 0.1) -> tuple[list[Example], list[Example], str | None]:
    """(those to train on, a share to hold out, a message or None): near-duplicates stay on one side.

    Without near-duplicates it is `data.split`.
    """
    clusters = dedup.find(list(map(_said, own)), reading=dedup.Reading()).clusters
    if not clusters:
        return *split(own, share, seed), None
    tied = {index for cluster in clusters for index in cluster}
    groups = [*clusters, *([index] for index in range(len(own)) if index not in tied)]
    copies = (
        f"{len(tied):,} of {len(own):,} examples are copies or near-duplicates of others ({len(clusters):,} clusters)"
    )
    if len(groups) == 1:
        return *split(
            own, share, seed
        ), f"{copies}, all in one cluster, so the held-out part leaks into training; see labkit dedup"
    order = random.Random(seed).sample(range(len(groups)), len(groups))
    order.sort(key=lambda place: len(groups[place]) > 0.5 * len(own))  # a cluster of most examples is not a test
    held = set(split_by_cluster(groups, order, share)[0])
    if len(held) == len(own):
        held -= set(groups[order[-1]])
    train = [example for index, example in enumerate(own) if index not in held]
    return (
        train,
        [own[index] for index in sorted(held)],
        f"{copies}; the held-out part is drawn by cluster, so none leaks",
    )


def check_prompts(asked: Sequence[Example], tokenizer: PreTrainedTokenizerBase, context: int | None) -> None:
    """Raise `InputError` for a prompt that fills the model's context: training may cut its start, but a question must
    be whole.
    """
    from labkit.masking import prompt_ids

    for example in asked:
        length = len(prompt_ids(example, tokenizer))
        if context is not None and length >= context:
            raise InputError(
                f'example "{example.id}": the prompt has {length} tokens, which leaves no room for an answer in '
                f"{context}; shorten the prompt, or remove the example"
            )


def placed(
    error: InputError,
    files: Sequence[tuple[str, Sequence[Example]]],
    asking: Sequence[Example],
    tokenizer: PreTrainedTokenizerBase,
    length: int | None,
    context: int | None,
) -> InputError:
    """The error with its file, and with the line of the first example that raises it."""
    from labkit.masking import render

    asked = set(map(id, asking))
    for where, examples in files:
        for number, example in enumerate(examples):
            try:
                render(example, tokenizer, length)
                check_prompts([example] if id(example) in asked else [], tokenizer, context)
            except InputError as found:
                is_file = Path(where).expanduser().is_file()
                usable = (line for line, row in checked_lines(where) if isinstance(row, Example)) if is_file else ()
                line = next(islice(usable, number, None), number + 1)
                return InputError(f"{where}, line {line}: {found}")
    return InputError(f"{files[0][0]}: {error}")
