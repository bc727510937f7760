"""The labkit of the grading sandbox: the decorator, and how a probe's answers get out. Nothing else."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any, NoReturn

from labkit.exercises import engine
from labkit.exercises.kinds import Outcome
from labkit.exercises.limits import TooMuchPrinted

ANSWER = "application/vnd.labkit.answer+json"
MAX_BYTES = 2_000_000  # of the answers of one probe cell

_defined: dict[str, Callable] = {}  # what is under the decorator, by exercise
_failed: BaseException | None = None  # the exception that ended a cell since the exercise began, if one did


class NothingDefined(Exception):
    pass


def exercise(id: str) -> Callable:
    """Note the function for the probes after its cell."""

    def note(function: Any) -> Any:
        _defined[id] = function
        return function

    return note


def answer(id: str, calls: list[tuple]) -> None:
    """Call the function of an exercise on each tuple of arguments, and emit the results as plain data.

    The text of an error goes along as metadata, so that nbval does not compare it.
    """
    function = _defined.get(id)
    if function is None:
        missing = engine.raised(_failed or NothingDefined(f"nothing in this cell is under @lk.exercise({id!r})"))
        said: dict[str, Any] = {"failed": _written(missing, None)}
        words: list[Any] = [_words(missing)]
    else:
        outcomes = [_tried(function, args) for args in calls]
        said, words = {"answers": [_written(*each) for each in outcomes]}, [_words(outcome) for outcome, *_ in outcomes]
    if len(json.dumps([said, words])) > MAX_BYTES:
        said, words = {"failed": {"error": "TooMuch"}}, [["the answers are too long", None]]
    _display({ANSWER: said}, {ANSWER: words})


def _tried(function: Callable, args: tuple) -> tuple[Outcome, str | None, tuple]:
    try:
        return engine.attempt(function, args)
    except TooMuchPrinted as error:
        return engine.raised(error), None, args


def _written(outcome: Outcome, fault: str | None, given: tuple = ()) -> dict[str, Any]:
    """Plain data. Whether the call changed its arguments, the grader sees by their fingerprint."""
    if outcome.error is None:
        found = {"value": outcome.value, "args": engine.fingerprint(given)}
        return found | ({"fault": fault} if fault == "shared" else {})
    return {"error": outcome.error}


def _words(outcome: Outcome) -> Any:
    return outcome.error and [outcome.message, outcome.line]


def get_ipython() -> Any:
    """IPython itself, for cells that use what a shell or a magic gave (`files = !ls`); it works on the caller's names."""
    from IPython.core.interactiveshell import InteractiveShell
    from traitlets.config import Config

    names = sys._getframe(1).f_globals
    shell = InteractiveShell.instance(config=Config({"HistoryManager": {"enabled": False}}), user_ns=names)
    shell.user_ns = names
    return shell


def notebooks_own() -> dict[str, Callable]:
    """What is in the builtins of a notebook's kernel, in addition to Python's."""
    return {"get_ipython": get_ipython, "display": lambda *args, **kwargs: None, "help": lambda *args: None}


def _display(bundle: dict[str, Any], metadata: dict[str, Any] | None = None) -> None:
    """Replaced by the kernel; under IPython it is IPython's."""
    from IPython.display import display

    display(bundle, raw=True, metadata=metadata)


def __getattr__(name: str) -> NoReturn:
    engine.no_attribute(name)
