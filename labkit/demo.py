"""`labkit demo`: what the base answers before, a LoRA adapter trained with a live loss, and what it answers after.

Anyone's own examples are the business of `labkit sft`, to which `--data` leads.
"""

from __future__ import annotations

import argparse
import dataclasses
import html
import json
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from labkit.common import InputError, peak_rss_mb, shortened, write_atomically
from labkit.data import Example

if TYPE_CHECKING:
    from labkit.models import Score
    from labkit.runs import Recipe
    from labkit.training import History


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "examples:\n  labkit demo\n  labkit demo --steps 100 --rank 4 --out my-adapter\n\n"
        "For your own examples: labkit sft --data mine.jsonl"
    )
    add = parser.add_argument
    add("--steps", type=int, default=100, help="updates of the adapter (default %(default)s)")
    add("--batch-size", type=int, default=32, help="examples in each (default %(default)s)")
    add("--lr", type=float, default=3e-3, help="highest learning rate (default %(default)s)")
    add("--rank", type=int, default=16, help="rank r of the adapter (default %(default)s)")
    add(
        "--alpha",
        type=float,
        default=32,
        help="scale: the adapter's output is multiplied by alpha / r (default %(default)s)",
    )
    add(
        "--target-modules",
        default="all-linear",
        metavar="NAMES",
        help="layers that get an adapter, such as q_proj,v_proj (default %(default)s)",
    )
    add("--seed", type=int, default=0, help="decides examples, adapter and order (default %(default)s)")
    add("--device", default="auto", help="auto, cpu, cuda or mps (default %(default)s)")
    add(
        "--mix",
        choices=("short", "long"),
        default="short",
        help="examples without, or with, long prompts (default %(default)s)",
    )
    add(
        "--control",
        choices=("shuffled", "prompt"),
        help="train on shuffled answers, or on the prompts only: the model should learn nothing",
    )
    add("--model", default=None, metavar="NAME_OR_FOLDER", help="a model instead of the kit's base")
    add(
        "--data",
        default=None,
        metavar="FILE.jsonl",
        help="as labkit sft, which has more options for examples of your own",
    )
    add("--questions", type=int, default=200, help="held-out questions to ask, at most (default %(default)s)")
    add("--out", default=None, metavar="FOLDER", help="keep the adapter here, for PeftModel.from_pretrained")
    add("--picture", default=None, metavar="FILE.svg", help="also draw the answers before and after")
    add("--json", action="store_true", help="print one JSON object as the last line")


def main(args: argparse.Namespace) -> int:
    from labkit import models, runs, training

    if args.data is not None:
        return on_own_data(args)
    from labkit.almanac import examples as almanac
    from labkit.live import Line

    recipe = recipe_of(args)
    settings = runs.settings(recipe)  # checks them, before anything slow
    if args.questions < 1:
        raise InputError(f"--questions is {args.questions}: ask at least 1")
    if args.out is not None:
        models.check_adapter_folder(args.out)
    if args.picture is not None:
        check_picture(args.picture)
    line = Line()
    try:
        line.show("loading the model and the examples")
        train, test = runs.mix(recipe)
        test = test[: args.questions]
        model, tokenizer = models.load(models.BASE if args.model is None else args.model, args.device)
        context = models.context_length(model.config)
        rows = runs.training_rows(train, tokenizer, recipe, context)
        held_out = runs.training_rows(test, tokenizer, dataclasses.replace(recipe, control=None), context)

        def ask(questions: list[Example], when: str) -> Score:
            return models.score(
                adapted,
                tokenizer,
                questions,
                max_new_tokens=recipe.max_new_tokens,
                progress=lambda done, n: line.show(f"{when}: {done} of {n} questions", done / n),
            )

        adapted = models.add_lora(model, args.rank, args.alpha, args.target_modules, args.seed)
        with adapted.disable_adapter():
            before = ask(test, "before")
            few_shot = ask(almanac.few_shot(test, args.seed), "before, with four worked examples in the prompt")

        def on_step(step: int, history: History) -> None:
            left = history.seconds[-1] / step * (args.steps - step)
            line.show(f"step {step} of {args.steps}, loss {history.loss[-1]:.3f}, {left:.0f} s left", step / args.steps)

        history = training.fit(
            adapted, rows, settings, pad=tokenizer.pad_token_id, validation=held_out, on_step=on_step
        )
        after = ask(test, "after")
    finally:
        line.close()
    if args.out is not None:
        models.save_adapter(adapted, args.out)
    if args.picture is not None:
        with write_atomically(args.picture) as file:
            file.write(picture(test, before, few_shot, after, args.steps))
    report = report_of(args, before, few_shot, after, history, *models.count_parameters(adapted))
    print(told(test, before, few_shot, after, report, context, args))
    if args.json:
        print(json.dumps(report))
    return 0


def on_own_data(args: argparse.Namespace) -> int:
    """The same options as a run of `labkit sft`."""
    from labkit import sft

    if args.control is not None or args.picture is not None:
        raise InputError("--control and --picture belong to the kit's own examples; leave them out with --data")
    parser = argparse.ArgumentParser()
    sft.add_arguments(parser)
    chosen = parser.parse_args(["--data", args.data])
    for name in vars(args).keys() & vars(chosen).keys():
        setattr(chosen, name, getattr(args, name))
    status = sft.main(chosen)
    print("labkit: for your own examples there is `labkit sft`, which does this and more", file=sys.stderr)
    return status


def recipe_of(args: argparse.Namespace) -> Recipe:
    from labkit.runs import Recipe

    names = ("mix", "control", "rank", "alpha", "target_modules", "lr", "batch_size", "steps", "seed")
    return Recipe("demo", "00", **{name: getattr(args, name) for name in names})


def report_of(
    args: argparse.Namespace,
    before: Score,
    few_shot: Score | None,
    after: Score,
    history: History,
    trainable: int,
    total: int,
) -> dict:
    """What `--json` prints."""
    seconds = history.seconds[-1]
    return {
        "before": before.share,
        "after": after.share,
        "fewshot": few_shot and few_shot.share,
        "n": after.n,
        "low": after.low,
        "high": after.high,
        "after_cot": after.cot,
        "after_by_task": {task: part.share for task, part in after.by_task.items()},
        "seed": args.seed,
        "steps": args.steps,
        "trainable": trainable,
        "total": total,
        "train_seconds": round(seconds, 1),
        "tokens_per_second": round(sum(history.tokens) / seconds),
        "validation_loss": history.validation_loss[-1],
        "peak_rss_mb": peak_rss_mb(),
    }


def told(
    test: list[Example],
    before: Score,
    few_shot: Score | None,
    after: Score,
    report: dict,
    context: int | None,
    args: argparse.Namespace,
) -> str:
    """The whole story as text: three questions with both answers, the table by task, and what it cost."""
    lines = []
    for index in three_of(test):
        question = test[index].question.strip()
        lines += [
            f"  asked   {shortened(question)}",
            f"  before  {shortened(before.outputs[index])}",
            f"  after   {shortened(after.outputs[index])}",
            "",
        ]
    lines.append(f"  {'task':<14}{'before':>8}{'after':>9}   95% interval")
    for task, part in (after.by_task | {"all": after}).items():
        earlier = before if task == "all" else before.by_task[task]
        lines.append(
            f"  {task:<14}{earlier.share:>8.1%}{part.share:>9.1%}   {part.low:.1%} to {part.high:.1%}   ({part.correct} of {part.n})"
        )
    if few_shot:
        lines.append(
            f"  before, with four worked examples in the prompt: {few_shot.share:.1%} (context {context} tokens)"
        )
    lines.append(f"  chain of thought and answer both right: {report['after_cot']:.1%}")
    lines.append(
        f"  {report['trainable']:,} of {report['total']:,} parameters trained ({report['trainable'] / report['total']:.1%}), "
        f"{report['steps']} steps in {report['train_seconds']:.0f} s, {report['tokens_per_second']:,} tokens a second, "
        f"held-out loss {report['validation_loss']:.3f} nats, at most {report['peak_rss_mb']:.0f} MB of memory"
    )
    if args.out is not None:
        lines.append(f"  The adapter is in {Path(args.out)}: PeftModel.from_pretrained(model, {str(args.out)!r})")
    return "\n".join(lines)


def three_of(test: Sequence[Example]) -> list[int]:
    """The places of three questions to show, each of another task where there are so many."""
    first_of_task = {example.task: index for index, example in reversed(list(enumerate(test)))}
    return list(first_of_task.values())[-3:]


def check_picture(path: str) -> None:
    """Raise `InputError` for a name that is not an SVG's, or a folder that is missing: before the run, not after it."""
    place = Path(path).expanduser()
    if place.suffix.lower() != ".svg":
        raise InputError(f"{place}: is not the name of an SVG file; end it in .svg")
    if not place.parent.is_dir():
        raise InputError(f"{place}: there is no folder {place.parent}; name another place")


def picture(test: Sequence[Example], before: Score, few_shot: Score | None, after: Score, steps: int) -> str:
    """An SVG with the scores as bars, and three questions with the answers, verbatim but shortened.

    The background is white, so that it reads the same on a light and a dark page; its title is the text alternative.
    """
    asked = {"before": before, "before, with four worked examples": few_shot, f"after {steps} steps of LoRA": after}
    scores = {name: score for name, score in asked.items() if score is not None}
    said = "; ".join(f"{name}: {score.share:.1%}" for name, score in scores.items())
    title = (
        f"Right answers to {after.n} held-out questions. {said}. Below are three of the questions with both answers."
    )
    shapes, y = [], 8

    def write(text: str, kind: str, x: int = 20) -> None:
        shapes.append(f'<text class="{kind}" x="{x}" y="{y}">{html.escape(text)}</text>')

    y += 24
    write(f"Right answers to {after.n} held-out questions", "head")
    for name, score in scores.items():
        y += 26
        write(name, "text")
        shapes.append(f'<rect class="full" x="230" y="{y - 13}" width="480" height="16"/>')
        shapes.append(f'<rect class="{name[:5]}" x="230" y="{y - 13}" width="{480 * score.share:.0f}" height="16"/>')
        write(f"{score.share:.1%}", "text", 722)
    for index in three_of(test):
        y += 40
        for line in textwrap.wrap(shortened(test[index].question, 200), 96):
            write(line, "head")
            y += 22
        for name, score in (("before", before), ("after", after)):
            write(name, "text")
            for line in textwrap.wrap(shortened(score.outputs[index], 250), 86):
                write(line, "said", 80)
                y += 18
            y += 4
        y -= 22
    y += 22
    return f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 800 {y}" width="800" height="{y}" role="img">
<title>{html.escape(title)}</title>
<style>
.head {{ font: bold 14px sans-serif; fill: #1f2328; }} .text {{ font: 13px sans-serif; fill: #57606a; }}
.said {{ font: 12.5px monospace; fill: #1f2328; }} .full {{ fill: #eaeef2; }} .befor {{ fill: #8c959f; }} .after {{ fill: #0969da; }}
</style>
<rect x="0.5" y="0.5" width="799" height="{y - 1}" rx="8" fill="#ffffff" stroke="#d0d7de"/>
{chr(10).join(shapes)}
</svg>
"""
