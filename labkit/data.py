"""Examples: what one is, and how they come from files and go to files.

Here are the `Example`, the readers of the forms that people use (this kit's, TRL's prompt and completion, chat
messages, ShareGPT's, Alpaca's) in the files they have (JSON lines, compressed or not, a JSON array, CSV, parquet),
writing, and the splits: at random, by time, by cluster. Tokens are elsewhere (`masking`).
`python -m labkit.data FILE OUT.jsonl` makes JSON lines of a table or an array.
"""

from __future__ import annotations

import bz2
import contextlib
import csv
import dataclasses
import gzip
import io
import json
import lzma
import os
import random
import re
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

from labkit.common import InputError, as_json, write_atomically

MAX_FILE_BYTES = (
    200_000_000  # a larger file is refused by its size, unless the caller limits how many examples are read
)
MAX_LINE_BYTES = 10_000_000  # one example is a few thousand bytes; a longer line is a file of another kind
FORMS = 'each line is {"prompt": …, "completion": …} or {"messages": […]}'
PAIRS = 'these are pairs for preference training; rename "chosen" to "completion" to train on it alone'


@dataclass(frozen=True)
class Example:
    """One question and the answer a model should learn to write.

    `prompt` is the user's whole text (worked examples, context, question); `completion` is what the assistant writes,
    without the end token. `answer` is compared for exact match; if it is None, the whole completion is. `history` holds
    earlier turns of a conversation, as messages. A conversation with more than texts of user and assistant (tool calls,
    reasoning, other roles) is kept unchanged in `conversation`, up to its last message; `prompt` and `completion` are
    then the texts of the last user message and of the last message, which may be empty. `tools` are the functions that
    a template may describe.
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
    conversation: tuple[dict, ...] = ()
    tools: tuple[dict, ...] = ()

    def messages(self, completion: bool = True) -> list[dict]:
        """The example as a chat: system (if any), earlier turns, user, and (unless `completion` is false) the
        completion.
        """
        if self.conversation:
            *before, last = map(dict, self.conversation)
            if self.completion:
                last["content"] = self.completion
            return [*before, last] if completion else before
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
    """Read examples from a file of JSON lines, or from a data set on the hub.

    A line is one of this kit's examples, TRL's `{"prompt", "completion"}` (strings, or lists of messages),
    `{"messages": […]}`, whose last assistant turn is the completion, ShareGPT's `{"conversations": […]}`, or Alpaca's
    `{"instruction", "input", "output"}`, whose prompt is instruction and input with an empty line between them. With
    `limit`, only the first `limit` examples are read. With `skip_bad` the bad lines go to `FILE.rejected.jsonl`, each
    with its number and what is wrong with it, and a line on stderr says how many. Raises `InputError`, which names
    file, line and key.
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
            examples.append(example_of(_row(text), default_id=f"{Path(where).name}:{line}"))
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
            f"{where}: has no usable line; {FORMS}" if rejected else f"{where}: the file is empty; {FORMS}"
        )
    return examples


def checked_lines(path: str | Path, limit: int | None = None) -> Iterator[tuple[int, Example | InputError]]:
    """(line number from 1, its example or what is wrong with it) for each line of a file that is not blank."""
    for line, row in checked_rows(path, limit):
        try:
            yield line, row if isinstance(row, InputError) else example_of(row, f"line {line}")
        except InputError as error:
            yield line, error


def checked_rows(path: str | Path, limit: int | None = None) -> Iterator[tuple[int, dict | InputError]]:
    """The same with each line's row as it is in the file, in any form."""
    for line, text in _file_rows(Path(path).expanduser(), limit):
        try:
            yield line, _row(text)
        except InputError as error:
            yield line, error


def save_examples(examples: Iterable[Example], path: str | Path) -> None:
    """Write JSON lines; the file appears whole or not at all, and a failure leaves the old file as it was."""
    with write_atomically(path) as file:
        file.writelines(as_json(dataclasses.asdict(example)) + "\n" for example in examples)


def write_lines(path: str | Path, target: str | Path) -> int:
    """Write the rows of a CSV file, a parquet file or a JSON array as JSON lines, and return how many there are.

    What a CSV file holds stays text: 007 is not 7. Raises `InputError` for the first row that cannot be read, without
    rows, or if `target` is there already; then nothing is written.
    """
    path, target = Path(path).expanduser(), Path(target).expanduser()
    if target.exists():
        raise InputError(f"{target}: is there already; name another file")
    count = 0
    with write_atomically(target) as file:
        for line, row in checked_rows(path, sys.maxsize if path.is_file() and table_form(path) else None):
            if isinstance(row, InputError):
                raise InputError(f"{path}, line {line}: {row}")
            file.write(as_json(row) + "\n")
            count += 1
        if not count:
            raise InputError(f"{path}: holds no rows")
    return count


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
    after all of them leaves one side empty. Raises ValueError for a date that is missing or in another form. Reposts
    lie on both sides of any day: cluster first, and cut by a cluster's first day.
    """
    from datetime import date

    days = [("the cutoff", cutoff), *((f"example {number}", row.get("date")) for number, row in enumerate(examples))]
    for name, day in days:
        try:
            is_day = day is not None and date.fromisoformat(day).isoformat() == day
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
    ids: the cluster that crosses the line is the last one there. A cluster that contains everything leaves test empty.
    Raises ValueError unless `order` names each cluster once.
    """
    if sorted(order) != list(range(len(clusters))):
        raise ValueError(f"the order must name each of the {len(clusters)} clusters once, by its place")
    total = sum(len(cluster) for cluster in clusters)
    train: list = []
    test: list = []
    for place in order:
        side = train if len(train) < share * total else test
        side.extend(clusters[place])
    return train, test


def drop_repeated(completions: list[str], most: int) -> tuple[list[int], float]:
    """(places of the completions that stay, keep rate): what occurs more than `most` times is dropped, all of it.

    The keep rate is the share of all completions that stay. Raises ValueError if there are none.
    """
    if not completions:
        raise ValueError("without completions there is no keep rate")
    times: dict[str, int] = {}
    for completion in completions:
        times[completion] = times.get(completion, 0) + 1
    stays = [place for place, completion in enumerate(completions) if times[completion] <= most]
    return stays, len(stays) / len(completions)


def _looks_like_a_file(name: str) -> bool:
    """Whether a missing name was meant as a file; hub names are `name` or `owner/name`."""
    return name.startswith((".", "/", "~")) or "\\" in name or name.count("/") > 1 or bool(Path(name).suffix)


def _file_rows(path: Path, limit: int | None) -> Iterator[tuple[int, bytes | dict]]:
    """(number from 1, bytes) for the lines of a file that are not blank, read one at a time; for a table or a JSON
    array (number from 1, row).
    """
    try:
        if (path / "dataset_info.json").is_file():
            call = f"datasets.load_from_disk('{path}').to_json('{path}.jsonl')"
            raise InputError(
                f'{path}: is a folder that save_to_disk wrote; make JSON lines of it with `python -c "import datasets; {call}"`'
            )
        if path.is_dir():
            raise InputError(f"{path}: is a folder; name a file of JSON lines in it")
        size = path.stat().st_size
        if size > MAX_FILE_BYTES and limit is None:
            raise InputError(
                f"{path}: {size / 1e6:.0f} MB is over the limit of {MAX_FILE_BYTES / 1e6:.0f} MB; "
                "give a smaller file, or say how many examples to read"
            )
        if (form := table_form(path)) is not None:
            yield from _table_rows(path, form)
            return
        if size <= MAX_FILE_BYTES and (rows := _array(path)) is not None:
            yield from enumerate(rows, start=1)
            return
        with opened(path) as file:
            check_objects(path, file.read(1000))
            file.seek(0)
            number, held = 0, 0
            while line := file.readline(MAX_LINE_BYTES + 1):
                number, held = number + 1, held + len(line)
                if held > MAX_FILE_BYTES and limit is None:  # a few bytes can unpack to any number of bytes
                    raise InputError(
                        f"{path}: unpacked it is over the limit of {MAX_FILE_BYTES / 1e6:.0f} MB; give a smaller file"
                    )
                if len(line) > MAX_LINE_BYTES:
                    longest = f"{MAX_LINE_BYTES / 1e6:.0f} MB"
                    raise InputError(f"{path}, line {number}: longer than {longest}, so not JSON lines; {FORMS}")
                if number == 1:
                    line = line.removeprefix(b"\xef\xbb\xbf")  # the byte order mark that some editors write
                if line.strip():
                    yield number, line
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file; check the name and the folder") from None
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror or error}); check what it is and who may read it"
        ) from None


RAGGED = "more or fewer values than the header"  # a key that marks such a row of a CSV file
UTF_16 = "is text in UTF-16; save the file as UTF-8"
ARROW = "is an Arrow file; `datasets.Dataset.from_file(FILE).to_json(…)` in Python makes JSON lines of it"
OTHER = (  # what a file begins with that nothing here reads: what it is, and what to do
    (b"\x28\xb5\x2f\xfd", "is compressed with zstd; unpack it with `zstd -d`"),
    (b"PK\x03\x04", "is a zip archive or a spreadsheet (.xlsx); unpack it, or save the sheet as CSV"),
    (b"ARROW1", ARROW),
    (b"\xff\xff\xff\xff", ARROW),
    *((mark, UTF_16) for mark in (b"\xff\xfe", b"\xfe\xff", b"{\0", b"\0{")),
)
PACKED = ((b"\x1f\x8b", gzip.open), (b"BZh", bz2.open), (b"\xfd7zXZ\x00", lzma.open))


@contextlib.contextmanager
def opened(path: str | Path) -> Iterator[BinaryIO]:
    """A file's bytes to read, unpacked if its first bytes say that it is gzip, bzip2 or xz, whatever its name.

    Raises `InputError` for `OTHER`, and, also while it is read, for a compressed file that is cut off or broken.
    """
    with open(path, "rb") as file:
        first = file.read(6)
        if problem := next((problem for mark, problem in OTHER if first.startswith(mark)), None):
            raise InputError(f"{path}: {problem}")
        unpack = next((unpack for mark, unpack in PACKED if first.startswith(mark)), None)
        file.seek(0)
        if unpack is None:
            yield file
            return
        try:
            with unpack(file) as unpacked:
                yield cast(BinaryIO, unpacked)
        except (EOFError, gzip.BadGzipFile, zlib.error, lzma.LZMAError) as error:
            raise InputError(f"{path}: the compressed file is cut off or broken ({error}); fetch it again") from None
        except OSError as error:
            if error.errno is None:  # bz2's error for broken data
                raise InputError(f"{path}: the compressed file is broken ({error}); fetch it again") from None
            raise


def table_form(path: str | Path) -> str | None:
    """ "csv" or "parquet" for a file that is such a table, by its name or its first bytes; else None."""
    with open(path, "rb") as file:
        if file.read(4) == b"PAR1":
            return "parquet"
    name = Path(path).name.lower()
    return "csv" if name.removesuffix(".gz").endswith((".csv", ".tsv")) else None


def _table_rows(path: Path, form: str) -> Iterator[tuple[int, dict]]:
    """(number, row) of a CSV file, where values are texts and numbers are line numbers, or of a parquet file."""
    if form == "csv":
        csv.field_size_limit(MAX_LINE_BYTES)
        with opened(path) as file, io.TextIOWrapper(file, encoding="utf-8-sig", newline="") as text:
            try:
                header = text.readline()
                text.seek(0)
                reader = csv.DictReader(text, delimiter=max(",;\t", key=header.count), restkey=RAGGED)
                _once([(name, None) for name in reader.fieldnames or ()])
                for row in reader:
                    yield reader.line_num, row | ({RAGGED: True} if None in row.values() else {})
            except InputError as error:
                raise InputError(f"{path}: the header {error}") from None
            except csv.Error as error:
                raise InputError(f"{path}, line {reader.line_num}: {error}; correct the line") from None
            except UnicodeDecodeError:
                raise InputError(f"{path}: is not valid UTF-8; save the file as UTF-8") from None
        return
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise InputError(f"{path}: a parquet file needs `pip install pyarrow`, or write it as JSON lines") from None
    try:
        rows = (row for batch in pyarrow.parquet.ParquetFile(path).iter_batches(1000) for row in batch.to_pylist())
        yield from enumerate(rows, start=1)
    except pyarrow.ArrowException as error:
        raise InputError(f"{path}: cannot be read as parquet ({str(error).splitlines()[0]}); fetch it again") from None


def check_objects(path: Path, first: bytes) -> None:
    """Raise `InputError` if a file that begins so holds objects over several lines."""
    if re.match(rb'\s*\{\s*\n\s*"[^"\n]*"\s*:', first.removeprefix(b"\xef\xbb\xbf")):
        raise InputError(
            f"{path}: holds objects over several lines, and one line is one object here; `jq -c . {path}` writes them so "
            "(rows under a key: `jq -c '.KEY[]'`)"
        )


def _array(path: Path) -> list | None:
    """The rows of a file that is one JSON array; None for any other file."""
    with opened(path) as file:
        if not file.read(64).removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"["):
            return None
        file.seek(0)
        data = file.read(MAX_FILE_BYTES + 1)
    try:
        whole = data.decode("utf-8-sig") if len(data) <= MAX_FILE_BYTES else "null"
        rows = json.loads(whole, object_pairs_hook=_once)
    except InputError as error:
        raise InputError(f"{path}: a row {error}") from None
    except (ValueError, RecursionError):
        return None  # its lines are then reported one by one
    return rows if rows and all(isinstance(row, dict) for row in rows) else None


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
        raise InputError(f"{name}: neither a file here nor a data set that the hub provides ({reason})") from None


def _row(line: bytes | dict) -> dict:
    if isinstance(line, dict) and RAGGED in line:
        raise InputError(f"has {RAGGED}; put a value that holds commas or line breaks in quotes")
    return line if isinstance(line, dict) else json_object(line, FORMS, _once)


def _once(pairs: list[tuple[str, Any]]) -> dict:
    """An object of JSON whose keys are all different; of two values under one key a parser drops the first."""
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(key for number, (key, _) in enumerate(pairs) if key in dict(pairs[:number]))
        raise InputError(f'has "{twice[:40]}" twice; keep one of them')
    return found


def json_object(text: bytes, hint: str, made: Callable[[list[tuple[str, Any]]], dict] | None = None) -> dict:
    """The object that a line of JSON holds, each made from its pairs by `made`.

    Raises `InputError` with what is wrong and `hint`, but not where.
    """
    try:
        row = json.loads(text.decode("utf-8"), object_pairs_hook=made)
    except InputError:
        raise
    except UnicodeDecodeError as error:
        raise InputError(f"byte {error.start + 1} is not valid UTF-8; save the file as UTF-8") from None
    except json.JSONDecodeError as error:
        raise InputError(f"broken JSON at column {error.colno} ({error.msg}); {hint}") from None
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, or endlessly nested brackets
        raise InputError(f"broken JSON ({error}); {hint}") from None
    if not isinstance(row, dict):
        raise InputError(f"holds a value of type {type(row).__name__}, not an object; {hint}")
    return row


def form_of(row: dict) -> str:
    """Which form a row has: "messages", "conversations", "prompt", "instruction" or "text"; "prompt" if it has none of
    them.
    """
    keys = ("messages", "conversations", "prompt", "completion", "instruction", "text")
    there = [key for key in keys if row.get(key) is not None] or [key for key in keys if key in row] or ["prompt"]
    return "prompt" if there[0] == "completion" else there[0]


def example_of(row: dict, default_id: str) -> Example:
    """The example in a parsed row, in whichever form it is. Raises `InputError` with what is wrong with it."""
    form = form_of(row)
    if row.get("conversation"):  # as `save_examples` writes conversations with more than texts
        turns = _messages(row, "conversation")
    elif form in ("messages", "conversations"):
        turns = _messages(row, form)
    elif form == "instruction":
        asked = [_text(row, "instruction"), _text(row, "input", optional=True)]
        turns = [{"role": "user", "content": "\n\n".join(part for part in asked if part and part.strip())}]
        turns.append({"role": "assistant", "content": _text(row, "output")})
        system = _text(row, "system", optional=True)
        turns[:0] = [{"role": "system", "content": system}] if system else []
    else:
        for key in ("prompt", "completion"):
            if key not in row:
                raise missing_key(row, key, PAIRS if {"chosen", "rejected"} <= row.keys() else FORMS)
        if isinstance(row["prompt"], list) or isinstance(row["completion"], list):
            turns = _messages(row, "prompt") + _messages(row, "completion")
        else:
            system = _text(row, "system", optional=True)
            turns = [{"role": "system", "content": system}] if system else []
            turns += _messages(row, "history") if row.get("history") else []
            turns.append({"role": "user", "content": _text(row, "prompt")})
            turns.append({"role": "assistant", "content": _text(row, "completion")})
    check_roles(turns)
    system, history, prompt, completion, conversation = _turns(turns)
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
        conversation=conversation,
        tools=_tools(row),
    )


def missing_key(row: dict, key: str, hint: str) -> InputError:
    """An error that names the keys there are."""
    has = ", ".join(map(str, list(row)[:8])) or "none"
    return InputError(f'the key "{key}" is missing (there are: {has}); {hint}')


def _text(row: dict, key: str, optional: bool = False) -> str | None:
    value = row.get(key)
    if value is None and optional:
        return None
    if key not in row:
        raise missing_key(row, key, "write it, or rename the key that holds it")
    if value is None:
        raise InputError(f'"{key}" is null; write the text, or take the line out')
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
        try:
            turns.append(plain_message(message))
        except InputError as error:
            raise InputError(f'"{key}", message {number}: {error}') from None
    return turns


ROLES = {"human": "user", "gpt": "assistant", "function_call": "assistant", "observation": "tool"}  # ShareGPT's names


def plain_message(message: object) -> dict:
    """A message with a role and a text as content, whatever else it holds: tool calls, reasoning, a name.

    ShareGPT's `from` and `value` become `role` and `content`, parts of text are joined by line breaks, and keys without
    a value are dropped, because a table gives every column to every message. Content may be None beside tool calls or
    reasoning. Raises `InputError` with what is wrong.
    """
    if isinstance(message, dict) and "role" not in message and "from" in message:
        message = {"role": ROLES.get(message["from"], message["from"]), "content": message.get("value"), **message}
        message = {key: value for key, value in message.items() if key not in ("from", "value")}
    if not isinstance(message, dict) or "role" not in message:
        raise InputError('a message is {"role": …, "content": …}')
    plain = {key: value for key, value in message.items() if key in ("role", "content") or value not in (None, [])}
    if "function_call" in plain:  # chat templates leave it out
        raise InputError(
            'holds "function_call", which templates do not read; write "tool_calls": [{"type": "function", "function": …}]'
        )
    if isinstance(plain.get("content"), list):
        plain["content"] = "\n".join(map(_part, plain["content"]))
    other = plain.get("tool_calls") or plain.get("reasoning_content") or plain.get("reasoning") or plain.get("thinking")
    if not plain.get("content") and (other or plain["role"] == "tool"):
        return {"role": _text(plain, "role"), "content": plain.get("content"), **plain}
    if "content" not in plain:
        raise InputError('a message is {"role": …, "content": …}')
    return {**plain, "role": _text(plain, "role"), "content": _text(plain, "content")}


def _part(part: object) -> str:
    """The text of a part of a message's content."""
    if isinstance(part, str):
        return part
    kind = part.get("type", "text") if isinstance(part, dict) else type(part).__name__
    if kind == "text" and isinstance(part, dict) and isinstance(part.get("text"), str):
        return part["text"]
    raise InputError(f'"content" holds a part of type {kind}; only text is trained on here, so take the line out')


def message_texts(message: dict) -> list[str]:
    """Everything that a message says, piece by piece: its content, its reasoning, its tool calls as JSON.

    The message may be in any form that `plain_message` takes; null content gives nothing. Raises `InputError`.
    """
    content = message.get("content", message.get("value"))
    if content is not None and not isinstance(content, (str, list)):
        raise InputError(f"holds content of type {type(content).__name__}, not text")
    said = list(map(_part, content)) if isinstance(content, list) else [content or ""]
    said += [
        message[key] for key in ("reasoning_content", "reasoning", "thinking") if isinstance(message.get(key), str)
    ]
    calls = [*(message.get("tool_calls") or []), *([call] if (call := message.get("function_call")) else [])]
    said += [json.dumps(call, ensure_ascii=False, sort_keys=True) for call in calls]
    return [text for text in said if text]


DUE = {"user": ("assistant",), "assistant": ("user", "tool"), "tool": ("assistant", "tool")}  # who may follow whom


def check_roles(messages: Sequence[dict]) -> None:
    """Raise `InputError` unless the roles make a conversation that ends with the assistant."""
    roles = [message.get("role") for message in messages[:2]]  # a template may have a place for both
    first = 2 if roles == ["system", "developer"] else int(roles[:1] in (["system"], ["developer"]))
    before = ""
    for number, message in enumerate(messages[first:], start=1 + first):
        due = DUE.get(before, ("user",))
        if message.get("role") not in due:
            raise InputError(
                f'message {number} has role "{message.get("role")}" where "{due[0]}" is due; after an optional system '
                "message, user and assistant take turns, and tools answer the assistant"
            )
        before = message["role"]
    if before != "assistant":
        raise InputError("the last message is not the assistant's; end with the completion to learn")


def _turns(turns: list[dict]) -> tuple[str | None, tuple[dict, ...], str, str, tuple[dict, ...]]:
    """(system, earlier turns, last prompt, completion, the whole chat if it has more than texts) of a chat."""
    system = turns[0]["content"] if turns[0]["role"] in ("system", "developer") else None
    prompt = next(message for message in reversed(turns) if message["role"] == "user")["content"]
    completion = turns[-1]["content"] or ""
    if any(len(turn) > 2 or turn["role"] not in ("system", "user", "assistant") for turn in turns):
        return system, (), prompt, completion, tuple(turns)
    return system, tuple(turns[system is not None : -2]), prompt, completion, ()


def _tools(row: dict) -> tuple[dict, ...]:
    """The functions that a row describes, given as a list or as the JSON of one."""
    tools = row.get("tools") or ()
    try:
        tools = json.loads(tools) if isinstance(tools, str) else tools
    except ValueError:
        tools = None
    if not isinstance(tools, (list, tuple)) or not all(isinstance(tool, dict) for tool in tools):
        raise InputError('"tools" is a list of JSON schemas; write it so, or leave it out')
    return tuple(tools)


def _shots(row: dict) -> tuple[tuple[str, str], ...]:
    shots = row.get("shots") or []
    if not isinstance(shots, list) or not all(
        isinstance(shot, list) and len(shot) == 2 and all(isinstance(part, str) for part in shot) for shot in shots
    ):
        raise InputError('"shots" is a list of [question, completion] pairs; write it so, or leave it out')
    return tuple((question, completion) for question, completion in shots)


if __name__ == "__main__":
    from labkit.common import say

    try:
        if len(sys.argv) != 3:
            raise InputError("give two names: `python -m labkit.data FILE OUT.jsonl`")
        print(f"{write_lines(*sys.argv[1:]):,} rows written")
    except InputError as error:
        say(f"labkit: {error}", file=sys.stderr)
        sys.exit(2)
