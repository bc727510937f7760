"""Rating an adapter on the capstone's questions: what it writes, and what that is worth beside what was predicted.

The work is in two halves that need not run in one process. `write` lays the adapter over a fresh base and lets it
answer; it gets the questions without their answers. `rate` compares, and never sees the adapter. Run as a module this
file is the first half for another process: a request on stdin, lines of JSON on stdout (`score_command` starts it).
"""

from __future__ import annotations

import dataclasses
import io
import json
import math
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

from labkit import adapters, cluster
from labkit.almanac.capstone import Questions
from labkit.common import InputError
from labkit.data import Example

if TYPE_CHECKING:
    from labkit.run_card import Predicted

MAX_NEW_TOKENS = 112  # the longest right answers have about 95
AT_ONCE = 60  # questions answered together; between two such groups the clock is looked at
MEMORY_MB = 2_000  # of a process that answers
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Written:
    """What an adapter wrote. `outputs` are in the order of the prompts; what was not begun in time is empty."""

    outputs: list[str]
    begun: int  # how many prompts were given to the model before the time was up
    stopped: float  # share of those at which it wrote the end token
    text_loss: float  # with the adapter, on text like the base's own that the base has not read: nats a token
    base_text_loss: float  # the same without it
    notes: list[str]


def write(
    files: adapters.Files,
    prompts: Sequence[Example],
    seed: int | str,
    seconds: float = 120,
    progress: Progress | None = None,
) -> Written:
    """Read the adapter, lay it over a fresh base, and let it answer each prompt, greedily, on the CPU.

    At most `MAX_NEW_TOKENS` are written for each; after `seconds` no further group of prompts is begun. `seed` draws the
    text on which forgetting is measured. Raises `InputError` for an adapter that cannot be used.
    """
    from labkit import models, runs, training

    adapter = adapters.parse(files)
    model, tokenizer = models.load(device="cpu")
    before = adapters.fingerprint(model)
    texts = runs.text_rows(f"score {seed}", runs.execution.HELD_OUT, tokenizer)
    base_loss = training.evaluate(model, texts, pad=tokenizer.pad_token_id)
    adapted = adapters.attach(adapter, model)
    loss = training.evaluate(adapted, texts, pad=tokenizer.pad_token_id)

    outputs, ended, begun, started = [""] * len(prompts), 0.0, 0, time.monotonic()
    order = sorted(range(len(prompts)), key=lambda place: len(prompts[place].prompt))
    for start in range(0, len(order), AT_ONCE):
        if time.monotonic() - started > seconds:
            break
        group = order[start : start + AT_ONCE]
        found = models.score(adapted, tokenizer, [prompts[place] for place in group], MAX_NEW_TOKENS, AT_ONCE)
        for place, output in zip(group, found.outputs, strict=True):
            outputs[place] = output
        begun, ended = begun + len(group), ended + found.stopped * len(group)
        if progress is not None:
            progress(begun, len(prompts))
    if adapters.fingerprint(adapted) != before:
        raise RuntimeError("answering changed the base")
    return Written(outputs, begun, ended / begun if begun else math.nan, loss, base_loss, list(adapter.notes))


def prompts_of(questions: Questions) -> list[Example]:
    """All questions without their answers, part by part."""
    return [
        dataclasses.replace(ex, id="", completion="", answer=None) for part in questions.parts().values() for ex in part
    ]


@dataclass(frozen=True)
class Share:
    """So many of `n` right, with the 95% Wilson interval; for a part, each task of it too."""

    n: int
    correct: int
    share: float
    low: float
    high: float
    by_task: dict[str, Share] = dataclasses.field(default_factory=dict)


@dataclass(frozen=True)
class Rating:
    """What an adapter is worth. The score is `parts["unseen"]`; the others stand beside it."""

    parts: dict[str, Share]
    stopped: float
    forgetting: float  # how much the loss on the base's own kind of text rose: nats a token
    text_loss: float
    base_text_loss: float
    predicted: dict[str, float] | None  # score, low, high of the card
    holds: bool | None  # whether the score is within the predicted interval
    off: float | None  # predicted − score: above 0 means that too much was promised
    problems: list[str]
    notes: list[str]

    @property
    def score(self) -> Share:
        return self.parts["unseen"]


def rate(questions: Questions, written: Written, predicted: Predicted | None = None) -> Rating:
    """Compare what was written with the right answers, and the score with what was predicted."""
    from labkit import runs

    parts, start = {}, 0
    for name, asked in questions.parts().items():
        outputs = written.outputs[start : start + len(asked)]
        start += len(asked)
        right = [runs.is_right(output, ex) for output, ex in zip(outputs, asked, strict=True)]
        tasks = {
            task: _share([one for one, ex in zip(right, asked) if ex.task == task])
            for task in dict.fromkeys(str(ex.task) for ex in asked)
        }
        parts[name] = dataclasses.replace(_share(right), by_task=tasks)
    problems = []
    if late := len(written.outputs) - written.begun:
        problems.append(f"{late} of {len(written.outputs)} questions were not begun in time and count as wrong")
    if not math.isfinite(written.text_loss):
        problems.append("its loss is no number: the weights are too large for float32")
    share = parts["unseen"].share
    return Rating(
        parts=parts,
        stopped=written.stopped,
        forgetting=written.text_loss - written.base_text_loss,
        text_loss=written.text_loss,
        base_text_loss=written.base_text_loss,
        predicted=None if predicted is None else predicted.model_dump(),
        holds=None if predicted is None else predicted.low <= share <= predicted.high,
        off=None if predicted is None else predicted.score - share,
        problems=problems,
        notes=written.notes,
    )


def _share(right: Sequence[bool]) -> Share:
    from labkit.models import wilson

    low, high = wilson(sum(right), len(right))
    return Share(len(right), sum(right), sum(right) / len(right), low, high)


# Between two processes


def request(files: adapters.Files, prompts: Sequence[Example], seed: int | str, seconds: float) -> bytes:
    """What the process that answers reads on stdin: a line of JSON, then the bytes of the two files."""
    head = {
        "prompts": [dataclasses.asdict(ex) for ex in prompts],
        "seed": seed,
        "seconds": seconds,
        "notes": files.notes,
        "sizes": [len(files.config), len(files.weights)],
    }
    return json.dumps(head).encode() + b"\n" + files.config + files.weights


def serve(asked: BinaryIO, answered: BinaryIO) -> None:
    """Answer one request; the last line says what was written, or why nothing was."""

    def say(**values: Any) -> None:
        answered.write(json.dumps(values).encode() + b"\n")
        answered.flush()

    head = json.loads(asked.readline())
    config, weights = (asked.read(size) for size in head["sizes"])
    files = adapters.Files(config, weights, tuple(head["notes"]))
    prompts = [Example(**values) for values in head["prompts"]]
    try:
        found = write(files, prompts, head["seed"], head["seconds"], lambda done, n: say(done=done, n=n))
    except InputError as error:
        say(refused=str(error))
    else:
        say(written=dataclasses.asdict(found))


def _main() -> None:
    try:
        import resource
    except ImportError:  # Windows
        pass
    else:
        limit = MEMORY_MB * 1_000_000
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.environ.pop("LABKIT_DEVICE", None)  # scores are made on the CPU, and the limit has no room for a GPU's driver
    os.environ.update(cluster.ONE_THREAD)  # before torch is loaded: the same order of sums everywhere
    asked = io.BytesIO(sys.stdin.buffer.read())
    answered = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is not an answer
    serve(asked, answered)


if __name__ == "__main__":
    _main()
