"""Reading the banks: YAML files of questions, which ship with the kit. Every fault is one line with file and line.

A bank is read as plain data: no tags, no anchors or aliases, no key twice, a limit on size and depth.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from pydantic import TypeAdapter, ValidationError

from labkit.common import InputError
from labkit.lab import PACKAGE, checkout
from labkit.quizzes.schema import KINDS, Question
from labkit.syllabus import LABS

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

MAX_BYTES = 1_000_000  # the largest bank has about fifty thousand
MAX_DEPTH = 12
UNIONS = ("WordBlank", "NumberBlank", "values", "range")  # pydantic names these among the places of a fault
EXAM = "practice_exam"
QUESTION: TypeAdapter[Question] = TypeAdapter(Question)
TAGS = {f"tag:yaml.org,2002:{name}" for name in ("str", "int", "float", "bool", "null", "seq", "map")}
SafeLoader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the one in C is ten times as fast


class Located(InputError):
    """A fault of a bank, with its file and line."""


def folder() -> Path:
    """The folder of the banks that ship with the kit."""
    return (checkout() or PACKAGE / "_share") / "quizzes"


def shipped() -> list[Path]:
    """The banks that ship with the kit: one for each lab, in order, then the practice exam."""
    return sorted(folder().glob("*.yaml"))


def bank_of(lab: str) -> Path:
    """The bank of a lab, named as in `lk.quiz("masking")`. Raises `InputError` for an unknown one."""
    if lab not in LABS:
        near = difflib.get_close_matches(str(lab), LABS, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(LABS)}"
        raise InputError(f"there is no quiz {lab!r}; {hint}")
    return folder() / f"{LABS[lab].file}.yaml"


def load(path: Path) -> tuple[Question, ...]:
    """The questions of a bank. Raises `Located` for the first fault."""
    try:
        status = path.stat()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error}); check the name") from None
    questions, faults = _read(path, status.st_mtime_ns, status.st_size)
    if faults:
        raise Located(faults[0])
    return questions


def faults(path: Path) -> list[str]:
    """All faults of a bank, a line each, in the order of the file."""
    try:
        status = path.stat()
    except OSError as error:
        return [f"{path}: cannot be read ({error.strerror or error}); check the name"]
    return list(_read(path, status.st_mtime_ns, status.st_size)[1])


def everything() -> dict[str, Question]:
    """All questions that ship, by id, in the order of the labs."""
    return {question.id: question for path in shipped() for question in load(path)}


def lines(path: Path) -> dict[str, int]:
    """{id: the line its question begins in}, of a bank without faults."""
    root: Any = yaml.compose(path.read_text(encoding="utf-8"), Loader=SafeLoader)
    return {
        value.value: item.start_mark.line + 1
        for item in root.value for key, value in item.value if key.value == "id"
    }  # fmt: skip


@lru_cache(maxsize=32)
def _read(path: Path, _time: int, size: int) -> tuple[tuple[Question, ...], tuple[str, ...]]:
    """(questions, faults) of a file as it is at this time."""
    if size > MAX_BYTES:
        return (), (f"{path}: {size / 1e6:.1f} MB; a bank has at most {MAX_BYTES / 1e6:.0f}",)
    try:
        text = path.read_bytes().decode("utf-8-sig")
        _refuse_aliases(text)
        root = yaml.compose(text, Loader=SafeLoader)
    except UnicodeDecodeError as error:
        return (), (f"{path}: byte {error.start + 1} is not valid UTF-8; save the file as UTF-8",)
    except yaml.YAMLError as error:
        return (), (_where(path, error),)
    if not isinstance(root, yaml.SequenceNode):
        return (), (f"{path}:1: a bank is a list of questions, each with `- id: …`",)
    questions, found = [], []
    seen: dict[str, int] = {}
    for item in root.value:
        line = item.start_mark.line + 1
        try:
            data = _plain(item)
        except yaml.MarkedYAMLError as error:
            found.append(_where(path, error))
            continue
        try:
            question = QUESTION.validate_python(data)
        except ValidationError as error:
            found += [
                f"{path}:{at}: {said}"
                for at, said in sorted((_line(item, fault["loc"]), _said(data, fault)) for fault in error.errors())
            ]
            continue
        if question.id in seen:
            found.append(f"{path}:{line}: the id {question.id!r} is already used in line {seen[question.id]}")
        seen.setdefault(question.id, line)
        questions.append(question)
    return tuple(questions), tuple(found)


def _refuse_aliases(text: str) -> None:
    """Raise for anchors and aliases (a few lines of them can expand to gigabytes), tags, and too deep a nesting."""
    depth = 0
    events: Iterable[Any] = yaml.parse(text, Loader=SafeLoader)
    for event in events:
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            problem = "an anchor or alias; write the text out"
        elif getattr(event, "tag", None):
            problem = f"the tag {event.tag!r}; a bank is plain data"
        else:
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth <= MAX_DEPTH:
                continue
            problem = f"nested more than {MAX_DEPTH} deep"
        raise yaml.MarkedYAMLError(problem=problem, problem_mark=event.start_mark)


def _plain(node: yaml.Node) -> Any:
    """The data of a node. Raises for a key that occurs twice, of which YAML itself would take the last."""
    constructor = yaml.constructor.SafeConstructor()
    if node.tag not in TAGS:  # a date, for example: keep it as it was written
        node.tag = "tag:yaml.org,2002:str"
    if isinstance(node, yaml.MappingNode):
        data = {}
        for key_node, value in node.value:
            key = _plain(key_node) if isinstance(key_node, yaml.ScalarNode) else None
            if not isinstance(key, str) or key in data:
                problem = (
                    f"the key {key!r} occurs twice"
                    if isinstance(key, str)
                    else f"the key {key!r} is not text; put it in quotes"
                )
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=key_node.start_mark)
            data[key] = _plain(value)
        return data
    if isinstance(node, yaml.SequenceNode):
        return [_plain(item) for item in node.value]
    return constructor.construct_object(node)


def _where(path: Path, error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or str(error).splitlines()[0]
    return f"{path}:{mark.line + 1 if mark else 1}: {problem}"


def _line(node: yaml.Node, place: Iterable[str | int]) -> int:
    """The line of the deepest node on the path that pydantic names; something missing has its parent's line."""
    line = node.start_mark.line + 1
    for step in place:
        children = dict(enumerate(node.value)) if isinstance(node, yaml.SequenceNode) else {}
        if isinstance(node, yaml.MappingNode):
            children = {key.value: value for key, value in node.value}
        if step in children:  # pydantic also names kinds of questions and types, which are not places
            node = children[step]
            line = node.start_mark.line + 1
    return line


def _said(data: Any, fault: ErrorDetails) -> str:
    """One fault in words: the question's id, the key, what is wrong."""
    id = data.get("id") if isinstance(data, dict) else None
    place = [str(step) for step in fault["loc"] if step not in KINDS and step not in UNIONS]
    message = fault["msg"].removeprefix("Value error, ")
    if fault["type"] == "missing":
        message = "is missing"
    elif fault["type"] == "extra_forbidden":
        message = "is not a key of this kind of question"
    elif fault["type"].startswith("union_tag"):
        place, message = ["kind"], f"must be one of {', '.join(KINDS)}"
    return ": ".join(filter(None, [str(id or "a question without id"), " ".join(place), message]))
