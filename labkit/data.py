"""Examples: what one is, and how they come from files and go to files.

Here live the `Example`, the readers of the three forms people have (this kit's, TRL's prompt and completion, chat
messages), writing, and the splits: by chance, by time, by cluster. Tokens are elsewhere (`masking`).
"""

from __future__ import annotations

import bz2
import contextlib
import dataclasses
import gzip
import json
import lzma
import os
import random
import sys
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from labkit.common import InputError, as_json, write_atomically

MAX_FILE_BYTES = (
    200_000_000  # a larger file is refused by its size, unless the caller limits how many examples are read
)
MAX_LINE_BYTES = 10_000_000  # one example is a few thousand bytes; a longer line is a file of another kind
FORMS = 'each line is {"prompt": …, "completion": …} or {"messages": […]}'


@dataclass(frozen=True)
class Example:
    """One question and the answer a model should learn to write.

    `prompt` is the user's whole text (worked examples, context, question); `completion` is what the assistant writes,
    without the end token. `answer` is what is compared for exact match; where it is None the whole completion is.
    `history` holds earlier turns of a conversation, as messages.
    """

    id: str
    date: str | None
    source: str | None
    task: str | None
    system: str | None
    shots: tuple[tuple[str, str], ...]
    context: str | None
    question: str
    prompt: str
    completion: str
    answer: str | None
    history: tuple[dict, ...] = ()

    def messages(self, completion: bool = True) -> list[dict]:
        """The example as a chat: system (if any), earlier turns, user, and the completion unless told not to."""
        messages = [{"role": "system", "content": self.system}] if self.system else []
        messages += [dict(message) for message in self.history]
        messages.append({"role": "user", "content": self.prompt})
        if completion:
            messages.append({"role": "assistant", "content": self.completion})
        return messages


def exact_answer(text: str) -> str:
    """What follows the last `Answer:`, stripped; the empty string if there is none."""
    _, marker, answer = text.rpartition("Answer:")
    return answer.strip() if marker else ""


def load_examples(path_or_name: str | Path, skip_bad: bool = False, limit: int | None = None) -> list[Example]:
    """Read examples from a file of JSON lines, or from a data set of the hub.

    A line is one of this kit's examples, TRL's `{"prompt", "completion"}` (strings, or lists of messages), or
    `{"messages": […]}`, whose last assistant turn is the completion. Only the first `limit` examples are read, if
    given. With `skip_bad` the bad lines go to `FILE.rejected.jsonl`, each with its number and what is wrong with it,
    and a line on stderr says how many. Raises `InputError`, which names file, line and key.
    """
    if limit is not None and limit < 1:
        raise InputError(f"limit is {limit}: say how many examples to read, at least 1")
    path = Path(path_or_name).expanduser()
    if os.path.exists(path) or isinstance(path_or_name, Path) or _looks_like_a_file(str(path_or_name)):
        where, rows, rejected_path = str(path_or_name), _file_rows(path, limit), Path(f"{path}.rejected.jsonl")
    else:
        where = str(path_or_name)
        rows, rejected_path = _hub_rows(where, limit), Path(where.replace("/", "--") + ".rejected.jsonl")

    examples, rejected = [], []
    for line, text in rows:
        try:
            examples.append(_example(_row(text), default_id=f"{Path(where).name}:{line}"))
        except InputError as error:
            if not skip_bad:
                raise InputError(f"{where}, line {line}: {error}") from None
            shown = text.decode("utf-8", "backslashreplace") if isinstance(text, bytes) else as_json(text)
            rejected.append({"line": line, "problem": str(error), "text": shown})
        if len(examples) == limit:
            break
    if rejected:
        with write_atomically(rejected_path) as file:
            file.writelines(as_json(row) + "\n" for row in rejected)
        print(f"{where}: {len(rejected)} bad lines skipped, kept in {rejected_path}", file=sys.stderr)
    if not examples:
        raise InputError(
            f"{where}: no usable line in it; {FORMS}" if rejected else f"{where}: the file is empty; {FORMS}"
        )
    return examples


def checked_lines(path: str | Path, limit: int | None = None) -> Iterator[tuple[int, Example | InputError]]:
    """(line number from 1, its example or what is wrong with it) for each line of a file that is not blank."""
    for line, text in _file_rows(Path(path).expanduser(), limit):
        try:
            yield line, _example(_row(text), default_id=f"line {line}")
        except InputError as error:
            yield line, error


def save_examples(examples: Iterable[Example], path: str | Path) -> None:
    """Write JSON lines; the file appears whole or not at all, and what was there before survives a failure."""
    with write_atomically(path) as file:
        file.writelines(as_json(dataclasses.asdict(example)) + "\n" for example in examples)


def split(examples: Sequence[Example], share: float, seed: int) -> tuple[list[Example], list[Example]]:
    """Hold out `share` of the examples, drawn from `seed`: (kept, held out), both in the given order, neither empty."""
    if not 0 < share < 1:
        raise InputError(f"the share to hold out is {share}: it must lie between 0 and 1")
    if len(examples) < 2:
        raise InputError(f"{len(examples)} example cannot be split: at least 2 are needed")
    count = min(max(round(share * len(examples)), 1), len(examples) - 1)
    held = set(random.Random(seed).sample(range(len(examples)), count))
    kept = [example for index, example in enumerate(examples) if index not in held]
    return kept, [examples[index] for index in sorted(held)]


def split_by_time(examples: list[dict], cutoff: str) -> tuple[list[dict], list[dict]]:
    """(the examples from before the cutoff, those of its day and later), both in the given order.

    `examples` are dicts with a "date"; dates are ISO days such as "2024-06-30", which sort as text. A cutoff before or
    after all of them leaves a side empty. Raises ValueError for a date that is missing or written otherwise. Reposts
    lie on both sides of any day: cluster first, and cut by a cluster's first day.
    """
    from datetime import date

    days = {"the cutoff": cutoff} | {f"example {number}": row.get("date") for number, row in enumerate(examples)}
    for name, day in days.items():
        try:
            is_day = date.fromisoformat(day).isoformat() == day
        except (TypeError, ValueError):
            is_day = False
        if not is_day:
            raise ValueError(f"{name} has the date {day!r}; write the day as 2024-06-30, or leave the example out")
    train = [example for example in examples if example["date"] < cutoff]
    test = [example for example in examples if example["date"] >= cutoff]
    return train, test


def split_by_cluster(clusters: list[list], order: list[int], share: float) -> tuple[list, list]:
    """(train, test): ids, of which no cluster has some on both sides.

    The clusters are taken in the given order (their places in `clusters`) until train holds at least `share` of the
    ids: the cluster that crosses the line is the last one there. A cluster that holds everything leaves test empty.
    Raises ValueError unless `order` names each cluster once.
    """
    if sorted(order) != list(range(len(clusters))):
        raise ValueError(f"the order must name each of the {len(clusters)} clusters once, by its place")
    total = sum(len(cluster) for cluster in clusters)
    train, test = [], []
    for place in order:
        side = train if len(train) < share * total else test
        side.extend(clusters[place])
    return train, test


def _looks_like_a_file(name: str) -> bool:
    """Whether a name that is not there was meant as a file; hub names are `name` or `owner/name`."""
    return name.startswith((".", "/", "~")) or "\\" in name or name.count("/") > 1 or bool(Path(name).suffix)


def _file_rows(path: Path, limit: int | None) -> Iterator[tuple[int, bytes]]:
    """(line number from 1, its bytes) for the lines of a file that are not blank; memory holds one line at a time."""
    try:
        if path.is_dir():
            raise InputError(f"{path}: is a folder; name a file of JSON lines in it")
        size = path.stat().st_size
        if size > MAX_FILE_BYTES and limit is None:
            raise InputError(
                f"{path}: {size / 1e6:.0f} MB is over the limit of {MAX_FILE_BYTES / 1e6:.0f} MB; "
                "give a smaller file, or say how many examples to read"
            )
        with opened(path) as file:
            number, held = 0, 0
            while line := file.readline(MAX_LINE_BYTES + 1):
                number, held = number + 1, held + len(line)
                if held > MAX_FILE_BYTES and limit is None:  # a few bytes can unpack to any number of them
                    raise InputError(
                        f"{path}: unpacked it is over the limit of {MAX_FILE_BYTES / 1e6:.0f} MB; give a smaller file"
                    )
                if len(line) > MAX_LINE_BYTES:
                    longest = f"{MAX_LINE_BYTES / 1e6:.0f} MB"
                    raise InputError(f"{path}, line {number}: longer than {longest}, so no file of JSON lines; {FORMS}")
                if number == 1:
                    line = line.removeprefix(b"\xef\xbb\xbf")  # the mark some editors put before UTF-8
                if line.strip():
                    yield number, line
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file; check the name and the folder") from None
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror or error}); check what it is and who may read it"
        ) from None


PACKED = ((b"\x1f\x8b", gzip.open), (b"BZh", bz2.open), (b"\xfd7zXZ\x00", lzma.open))


@contextlib.contextmanager
def opened(path: str | Path) -> Iterator[BinaryIO]:
    """A file's bytes to read, unpacked if it is a gzip, bzip2 or xz file: its first bytes tell, whatever its name.

    Raises `InputError`, within too, for a packed file that is cut off or broken.
    """
    with open(path, "rb") as file:
        first = file.read(6)
        unpack = next((unpack for mark, unpack in PACKED if first.startswith(mark)), None)
        file.seek(0)
        if unpack is None:
            yield file
            return
        try:
            with unpack(file) as unpacked:
                yield unpacked
        except (EOFError, gzip.BadGzipFile, zlib.error, lzma.LZMAError) as error:
            raise InputError(f"{path}: the packed file is cut off or broken ({error}); fetch it again") from None
        except OSError as error:
            if error.errno is None:  # bz2 says so of its data
                raise InputError(f"{path}: the packed file is broken ({error}); fetch it again") from None
            raise


def _hub_rows(name: str, limit: int | None) -> Iterator[tuple[int, dict]]:
    """(row number from 1, row) of a hub data set: its `train` split, or the first one if it has none."""
    try:
        import datasets
        import huggingface_hub.utils.logging as hub_logging
    except ImportError:
        raise InputError(f"{name}: no such file, and data sets of the hub need `pip install datasets`") from None
    hub_logging.set_verbosity_error()  # offline it would print every one of its retries
    try:
        splits = datasets.get_dataset_split_names(name)
        chosen = "train" if "train" in splits else splits[0]
        rows = datasets.load_dataset(name, split=chosen, streaming=limit is not None)
        yield from enumerate(rows, start=1)
    except InputError:
        raise
    except Exception as error:  # the hub client raises many kinds: not found, offline, gated, a script
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(f"{name}: neither a file here nor a data set the hub would give ({reason})") from None


def _row(line: bytes | dict) -> dict:
    return line if isinstance(line, dict) else json_object(line, FORMS)


def json_object(text: bytes, hint: str) -> dict:
    """The object that a line of JSON holds. Raises `InputError` with what is wrong and `hint`, without saying where."""
    try:
        row = json.loads(text.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise InputError(f"byte {error.start + 1} is no UTF-8; save the file as UTF-8") from None
    except json.JSONDecodeError as error:
        raise InputError(f"broken JSON at column {error.colno} ({error.msg}); {hint}") from None
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, or brackets nested without end
        raise InputError(f"broken JSON ({error}); {hint}") from None
    if not isinstance(row, dict):
        raise InputError(f"holds a value of type {type(row).__name__}, not an object; {hint}")
    return row


def _example(row: dict, default_id: str) -> Example:
    """The example in a parsed row, in whichever form it is."""
    if "messages" in row:
        turns = _messages(row, "messages")
    else:
        for key in ("prompt", "completion"):
            if key not in row:
                raise InputError(f'the key "{key}" is missing; {FORMS}')
        if isinstance(row["prompt"], list) or isinstance(row["completion"], list):
            turns = _messages(row, "prompt") + _messages(row, "completion")
        else:
            system = _text(row, "system", optional=True)
            turns = [{"role": "system", "content": system}] if system else []
            turns += _messages(row, "history") if row.get("history") else []
            turns.append({"role": "user", "content": _text(row, "prompt")})
            turns.append({"role": "assistant", "content": _text(row, "completion")})
    system, history, prompt, completion = _turns(turns)
    return Example(
        id=str(row["id"]) if row.get("id") is not None else default_id,
        date=_text(row, "date", optional=True),
        source=_text(row, "source", optional=True),
        task=_text(row, "task", optional=True),
        system=system,
        shots=_shots(row),
        context=_text(row, "context", optional=True),
        question=_text(row, "question", optional=True) or prompt,
        prompt=prompt,
        completion=completion,
        answer=_text(row, "answer", optional=True),
        history=history,
    )


def _text(row: dict, key: str, optional: bool = False) -> str | None:
    value = row.get(key)
    if value is None and optional:
        return None
    if not isinstance(value, str):
        raise InputError(f'"{key}" is of type {type(value).__name__}, not text; put it in quotes')
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise InputError(f'"{key}" holds half of a surrogate pair; write the whole character') from None
    if not value.strip() and not optional:
        raise InputError(f'"{key}" is empty; write it, or take the line out')
    return value


def _messages(row: dict, key: str) -> list[dict]:
    value = row[key]
    if not isinstance(value, list):
        kind = type(value).__name__
        raise InputError(f'"{key}" is of type {kind}, not a list of messages; give {{"role": …, "content": …}} objects')
    turns = []
    for number, message in enumerate(value, start=1):
        if not isinstance(message, dict) or "role" not in message or "content" not in message:
            raise InputError(f'"{key}", message {number}: a message is {{"role": …, "content": …}}')
        try:
            turns.append({"role": _text(message, "role"), "content": _text(message, "content")})
        except InputError as error:
            raise InputError(f'"{key}", message {number}: {error}') from None
    return turns


def _turns(turns: list[dict]) -> tuple[str | None, tuple[dict, ...], str, str]:
    """(system, earlier turns, last prompt, completion) of a chat, whose roles must make sense."""
    system = turns[0]["content"] if turns and turns[0]["role"] == "system" else None
    talk = turns if system is None else turns[1:]
    for number, message in enumerate(talk):
        expected = ("user", "assistant")[number % 2]
        if message["role"] != expected:
            place = number + 1 + (system is not None)
            raise InputError(
                f'message {place} has role "{message["role"]}" where "{expected}" is due; '
                "after an optional system message, user and assistant take turns"
            )
    if len(talk) < 2 or len(talk) % 2:
        raise InputError("the last message is not the assistant's; end with the completion to learn")
    *history, prompt, completion = talk
    return system, tuple(history), prompt["content"], completion["content"]


def _shots(row: dict) -> tuple[tuple[str, str], ...]:
    shots = row.get("shots") or []
    if not isinstance(shots, list) or not all(
        isinstance(shot, list) and len(shot) == 2 and all(isinstance(part, str) for part in shot) for shot in shots
    ):
        raise InputError('"shots" is a list of [question, completion] pairs; write it so, or leave it out')
    return tuple((question, completion) for question, completion in shots)
