"""The labkit of the grading sandbox: the decorator, and how a probe's answers get out. Nothing else is here."""

from __future__ import annotations

import json

from labkit.exercises import engine

ANSWER = "application/vnd.labkit.answer+json"
MAX_BYTES = 2_000_000  # of the answers of one probe cell

_defined = {}  # what stands under the decorator, by exercise
_failed = None  # the exception that ended the last cell, if one did


def exercise(id):
    """Note the function for the probes behind its cell."""

    def note(function):
        _defined[id] = function
        return function

    return note


def answer(id, calls):
    """Call the function of an exercise on each tuple of arguments, and emit what it gave, as plain data."""
    function = _defined.get(id)
    if function is None:
        missing = _failed or NameError(f"nothing in this cell stands under @lk.exercise({id!r})")
        said = {"failed": _written(engine._raised(missing), None)}
    else:
        said = {"answers": [_written(*_tried(function, args)) for args in calls]}
    if len(json.dumps(said)) > MAX_BYTES:
        said = {"failed": {"error": "TooMuch", "message": "the answers are too long"}}
    _display({ANSWER: said})


def _tried(function, args):
    try:
        return engine._call(function, args)
    except engine.TooMuchPrinted as error:
        return engine._raised(error), None


def _written(outcome, fault):
    if outcome.error is None:
        return {"value": outcome.value, "fault": fault}
    return {"error": outcome.error, "message": outcome.message, "line": outcome.line}


def _display(bundle):
    """Replaced by the kernel; under IPython it is IPython's."""
    from IPython.display import display

    display(bundle, raw=True)


def __getattr__(name):
    engine._no_attribute(name)
