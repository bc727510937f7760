"""Trying a learner's cell: in a namespace of the preamble and that cell alone, within limits, on the probes of a seed.

`check` takes the source of a cell, `judge` a function that is there already; both give a `Verdict` of one line. The
limits are for mistakes, not for malice: what strangers hand in is graded in a sandbox.

A loop inside C code, such as `list(itertools.count())`, cannot be interrupted within its own process. So `check` lets a
copy of the process (`os.fork`) try the cell first, under limits that the system keeps: only a copy is lost. Windows has
no such copies; there a loop of this kind has to be ended by restarting the kernel.
"""

from __future__ import annotations

import ast
import contextlib
import copy
import io
import linecache
import math
import os
import signal
import sys
import threading
import time
import traceback
import types
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import count
from typing import Any

from labkit.exercises.kinds import Exercise, Misconception, Outcome, Probe, difference, literal, plain, same, shown

SECONDS = 5.0  # for a cell and all its probes
MAX_PRINTED = 100_000  # characters
MAX_MEMORY = 2 * 2**30  # bytes that a cell may take in a copy of the process
_cells = count(1)
_trying: list[dict[str, Any]] = []  # what the cells that are being tried put under the decorator, innermost last


@dataclass(frozen=True)
class Verdict:
    """What is to be said about a learner's function: its kind, and one line. `function` is there if it passed."""

    kind: str  # passed, not attempted, misconception, wrong, raised, changed, shared, remembers, slow, flood, memory …
    text: str
    misconception: str | None = None
    function: Callable | None = None
    details: str = ""  # the traceback, where there is one

    @property
    def passed(self) -> bool:
        return self.kind == "passed"


class TooSlow(BaseException):
    """The limit on time has passed. No `Exception`, so that a learner's `except Exception` does not keep it."""


class TooMuchPrinted(BaseException):
    """The limit on output has been reached."""


def check(exercise: Exercise, source: str, seed: int = 0, seconds: float = SECONDS) -> Verdict:
    """Run the cell `source` by itself and judge the function it defines under `@lk.exercise(exercise.id)`."""
    if is_stub(source, exercise.id):
        return Verdict("not attempted", "not attempted")
    if (verdict := _tried_by_a_copy(exercise, source, seed, seconds)) is not None:
        return verdict
    try:
        with limits(seconds):
            function = isolated(exercise, source)
    except (TooSlow, TooMuchPrinted) as error:
        return _limit_verdict(error, seconds)
    except Exception as error:  # whatever the cell raises
        outcome = _raised(error)
        return Verdict("raised", _in_words(outcome), details=outcome.details)
    return judge(exercise, function, seed, seconds, afresh=lambda: isolated(exercise, source))


def judge(
    exercise: Exercise,
    function: Any,
    seed: int = 0,
    seconds: float = SECONDS,
    afresh: Callable[[], Callable] | None = None,
) -> Verdict:
    """Call `function` on the probes of `seed` and say what came of it.

    `afresh` makes the function anew; with it, one that remembers something from call to call is found out.
    """
    if not callable(function) or isinstance(function, type):
        return no_function(exercise)
    probes, outcomes, faults = exercise.draw(seed), [], []
    try:
        with limits(seconds):
            for probe in probes:
                outcome, fault = _call(function, probe.args)
                outcomes.append(outcome)
                faults.append(fault)
            if afresh and (verdict := _remembers(exercise, probes, outcomes, seed, afresh)):
                return verdict
    except (TooSlow, TooMuchPrinted) as error:
        return _limit_verdict(error, seconds)
    return decide(exercise, outcomes, faults, seed, function)


def decide(
    exercise: Exercise, outcomes: list[Outcome], faults: list[str | None], seed: int, function: Callable | None = None
) -> Verdict:
    """What is to be said of a function that did this on the probes of `seed`, here or in the grader's sandbox."""
    probes, expected = exercise.draw(seed), _expected(exercise, seed)
    if all(outcome.error == "NotImplementedError" for outcome in outcomes):
        return Verdict("not attempted", "not attempted")

    wrong = [i for i, outcome in enumerate(outcomes) if not same(outcome, expected[i], exercise.compare)]
    if wrong and (known := _misconception(exercise, outcomes, wrong, seed)):
        return Verdict("misconception", f"misconception: {known.message}", misconception=known.name)
    for kind, said in (
        ("changed", "changes its argument; build a new object and leave what came in as it is"),
        ("shared", "hands its argument itself back, so that changing one changes the other; return a new object"),
    ):
        if kind in faults:
            probe = probes[faults.index(kind)]
            return Verdict(kind, f"{said} (for {_called(exercise, probe.args)})")
    if wrong:
        valued = [i for i in wrong if not expected[i].error] or wrong  # a wrong kind of error comes last
        first = min(valued, key=lambda i: len(_called(exercise, probes[i].args, 10_000)))
        outcome, call = outcomes[first], _called(exercise, probes[first].args)
        if outcome.message.startswith("unhashable type") and hasattr(function, "cache_info"):
            return Verdict("raised", f"`@cache` cannot keep lists and dicts apart (for {call}); take it away")
        if outcome.error and not expected[first].error:
            return Verdict("raised", f"{_in_words(outcome)} (for {call})", details=outcome.details)
        return Verdict("wrong", f"wrong for {call}: {difference(outcome, expected[first], exercise.compare)}")
    return Verdict("passed", "passed", function=function)


def no_function(exercise: Exercise) -> Verdict:
    """What is said where something else than a function stands under the decorator."""
    return Verdict("wrong", f"{exercise.name} is no function; write `def {exercise.name}(…):` under the decorator")


def is_stub(source: str, id: str) -> bool:
    """Whether the function under `@lk.exercise(id)` has no body yet: a docstring, `...`, `pass`, an error."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and any(
            isinstance(call, ast.Call) and [getattr(arg, "value", None) for arg in call.args] == [id]
            for call in node.decorator_list
        ):
            return all(_says_nothing(statement) for statement in node.body)
    return False


def _says_nothing(statement: ast.stmt) -> bool:
    if isinstance(statement, ast.Raise) and statement.exc is not None:
        raised = statement.exc.func if isinstance(statement.exc, ast.Call) else statement.exc
        return isinstance(raised, ast.Name) and raised.id == "NotImplementedError"
    return isinstance(statement, ast.Pass) or (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and (statement.value.value is ... or isinstance(statement.value.value, str))
    )


def isolated(exercise: Exercise, source: str) -> Any:
    """What the cell puts under the exercise's decorator, in a namespace of the preamble and this cell alone."""
    found: dict[str, Any] = {}
    namespace = preamble(exercise.torch, found)
    name = f"<cell {next(_cells)}>"
    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
    _trying.append(found)
    try:
        exec(compile(source, name, "exec", dont_inherit=True), namespace)
    finally:
        _trying.pop()
    if exercise.id not in found:
        raise NameError(f"nothing in this cell stands under @lk.exercise({exercise.id!r})")
    return found[exercise.id]


def preamble(torch: bool, found: dict[str, Any]) -> dict[str, Any]:
    """The fixed preamble of an exercise's cell. Its `lk` has the decorator and nothing else, and notes in `found`."""
    import numpy

    def exercise(id: str) -> Callable:
        def note(function: Any) -> Any:
            found[id] = function
            return function

        return note

    lk = types.ModuleType("labkit")
    lk.exercise = exercise
    lk.__getattr__ = lambda name: _no_attribute(name)
    namespace = {"__name__": "__exercise__", "math": math, "np": numpy, "lk": lk}
    if torch:
        import torch as library

        namespace["torch"] = library
    return namespace


def tried_now() -> dict[str, Any] | None:
    """Where a cell that is being tried notes its functions, if one is: such a cell may import `labkit` itself."""
    return _trying[-1] if _trying else None


def _no_attribute(name: str):
    raise AttributeError(f"an exercise's cell is tried by itself and may use `lk.exercise` only, not `lk.{name}`")


@lru_cache(maxsize=64)
def _expected(exercise: Exercise, seed: int) -> list[Outcome]:
    return [_call(exercise.reference, probe.args)[0] for probe in exercise.draw(seed)]


@lru_cache(maxsize=512)
def _mistaken(exercise: Exercise, index: int, seed: int) -> list[Outcome]:
    function = exercise.misconceptions[index].function
    return [_call(function, probe.args)[0] for probe in exercise.draw(seed)]


def _misconception(exercise: Exercise, outcomes: list[Outcome], wrong: list[int], seed: int) -> Misconception | None:
    """The misconception whose results these are; else one that explains all that is wrong, and half of it shows."""
    expected = _expected(exercise, seed)
    best = None
    for index, known in enumerate(exercise.misconceptions):
        its = _mistaken(exercise, index, seed)
        if all(same(a, b, exercise.compare) for a, b in zip(outcomes, its)):
            return known
        shows = [i for i, outcome in enumerate(its) if not same(outcome, expected[i], exercise.compare)]
        explains = all(same(outcomes[i], its[i], exercise.compare) for i in wrong)
        if best is None and explains and len(wrong) >= 2 and 2 * len(wrong) >= len(shows):
            best = known
    return best


def _call(function: Callable, args: tuple) -> tuple[Outcome, str | None]:
    """What the call does, and its fault towards the arguments: "changed", "shared" or None."""
    given = copy.deepcopy(args)
    try:
        with _silence():
            result = function(*given)
            outcome = Outcome(value=plain(result))
    except Exception as error:  # whatever the function raises is its outcome
        return _raised(error), None
    except SystemExit as error:
        return _raised(error), None
    if plain(given) != plain(args):
        return outcome, "changed"
    return outcome, "shared" if _shares(result, given) else None


def _shares(result: Any, args: tuple) -> bool:
    """Whether a result, or a part of the tuple or dict that it is, is an argument or shares its memory."""
    parts = [result, *(result if type(result) is tuple else result.values() if type(result) is dict else ())]
    return any(_one(part, arg) for part in parts for arg in args)


def _one(a: Any, b: Any) -> bool:
    if a is b:
        return isinstance(a, (list, dict, set, bytearray)) or hasattr(a, "shape")
    if hasattr(a, "untyped_storage") and hasattr(b, "untyped_storage"):
        return a.numel() > 0 and a.untyped_storage().data_ptr() == b.untyped_storage().data_ptr()
    if hasattr(a, "__array_interface__") and hasattr(b, "__array_interface__"):
        import numpy as np

        return bool(np.may_share_memory(a, b))
    return False


def _raised(error: BaseException) -> Outcome:
    """An exception as an outcome; the line is the last one within the learner's cell."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename.startswith("<cell ")]
    line = frames[-1].lineno if frames else None
    if isinstance(error, SyntaxError) and error.filename and error.filename.startswith("<cell "):
        line = error.lineno
    try:
        message = str(error)
    except Exception:  # a learner's exception may fail at that too
        message = ""
    message = " ".join(message.split())[:200]
    kept = traceback.TracebackException.from_exception(error, limit=-10)
    own = [i for i, frame in enumerate(kept.stack) if frame.filename.startswith("<cell ")]
    del kept.stack[: own[0] if own else None]  # the engine's frames say nothing to a learner
    try:
        details = "".join(kept.format())[-4000:]
    except Exception:
        details = ""
    kind = "ValueError" if isinstance(error, ValueError) else type(error).__name__
    return Outcome(error=kind, message=message, line=line, details=details)


def _in_words(outcome: Outcome) -> str:
    where = f" in your line {outcome.line}" if outcome.line else ""
    if outcome.error == "NameError" and outcome.message.startswith("name '"):
        name = outcome.message.split("'")[1]
        if name == "get_ipython":
            return f"a line with % or ! cannot be in an exercise's cell{where.replace(' in', ', it is')}"
        return f"`{name}` is not defined in this cell{where}; the cell is tried by itself, without names of other cells"
    return f"raised {outcome.error}{where}: {outcome.message}".rstrip(": ")


def _called(exercise: Exercise, args: tuple, width: int = 160) -> str:
    """The call as Python, so that it can be tried again; long arguments are cut."""
    each = max(30, width // max(len(args), 1))
    texts = [literal(arg) for arg in args]
    return f"{exercise.name}({', '.join(text if len(text) <= each else text[: each - 2] + ' …' for text in texts)})"


def _remembers(
    exercise: Exercise, probes: list[Probe], outcomes: list[Outcome], seed: int, afresh: Callable[[], Callable]
) -> Verdict | None:
    """What is said if the first wrong call comes out otherwise where no call went before it."""
    pairs = enumerate(zip(outcomes, _expected(exercise, seed)))
    first = next((i for i, (yours, right) in pairs if not same(yours, right, exercise.compare)), None)
    if first is None:
        return None
    late, early = outcomes[first], _call(afresh(), probes[first].args)[0]
    if (late.error, late.value) == (early.error, early.value):
        return None
    call = _called(exercise, probes[first].args)
    results = [each.error or shown(each.value) for each in (early, late)]
    return Verdict(
        "remembers",
        f"remembers something from call to call: {call} gives {results[0]} at first and {results[1]} later; look for a "
        "default argument that it changes (`found=[]`), a name outside the function, a random draw",
    )


_SLOW, _MEMORY = 3, 4  # how the copy ends


def _tried_by_a_copy(exercise: Exercise, source: str, seed: int, seconds: float) -> Verdict | None:
    """What a copy of this process came to, where it did not get through the cell and the calls; else None."""
    if not hasattr(os, "fork"):
        return None
    probes = exercise.draw(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # newer Pythons warn of locks that other threads hold; the copy ends anyway
        pid = os.fork()
    if pid == 0:
        code = 0
        try:
            code = _as_a_copy(exercise, source, probes, seconds)
        finally:
            os._exit(code)
    ended, status, used = 0, 0, None
    try:
        late = time.monotonic() + 4 * seconds + 2  # a copy that shares its processor gets less of it
        while not ended and time.monotonic() < late:
            time.sleep(0.001)
            ended, status, used = os.wait4(pid, os.WNOHANG)
    finally:
        if not ended:
            os.kill(pid, signal.SIGKILL)
            _, status, used = os.wait4(pid, 0)
    code = os.waitstatus_to_exitcode(status)  # −N for the signal N
    if code in (_SLOW, -signal.SIGXCPU) or (not ended and used.ru_utime > seconds / 5):
        return _limit_verdict(TooSlow(), seconds)
    if code == _MEMORY or (ended and code == -signal.SIGKILL):
        return Verdict("memory", f"takes more than {MAX_MEMORY >> 30} GB of memory; is there a loop that never ends?")
    if code == -signal.SIGSEGV and sys.platform == "linux":
        return Verdict("crash", "crashes Python itself; is there a recursion without end?")
    return None  # it got through; or it hung on something that is there only in copies, which this process will not do


def _as_a_copy(exercise: Exercise, source: str, probes: list[Probe], seconds: float) -> int:
    import faulthandler
    import resource

    faulthandler.disable()  # a crash is told in the verdict
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (1, 2):
        os.dup2(nowhere, stream)
    signal.set_wakeup_fd(-1)  # the event loop's, which belongs to the original
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)  # its threads were not copied
    processor = math.ceil(seconds) + 1
    wanted = [(resource.RLIMIT_CPU, processor), (resource.RLIMIT_CORE, 0)]
    with contextlib.suppress(OSError):  # where there is /proc, the memory that is taken already is known
        with open("/proc/self/statm") as file:
            wanted.append((resource.RLIMIT_AS, int(file.read().split()[0]) * resource.getpagesize() + MAX_MEMORY))
    for what, limit in wanted:
        with contextlib.suppress(OSError, ValueError):  # a lower limit may be in force
            resource.setrlimit(what, (limit, resource.getrlimit(what)[1]))
    try:
        with limits(seconds):
            function = isolated(exercise, source)
            for probe in probes:
                if _call(function, probe.args)[0].error == "MemoryError":
                    return _MEMORY
    except TooSlow:
        return _SLOW if time.process_time() > seconds / 5 else 0  # one that only waited is tried by the original
    except MemoryError:
        return _MEMORY
    except BaseException:  # the original will say what it is
        return 0
    return 0


def _limit_verdict(error: BaseException, seconds: float) -> Verdict:
    if isinstance(error, TooSlow):
        return Verdict("slow", f"took longer than {seconds:g} s; is there a loop that never ends?")
    return Verdict("flood", f"prints more than {MAX_PRINTED:,} characters; take the print out of the loop")


class _Counting(io.TextIOBase):
    """Takes what is printed and keeps nothing of it but the count."""

    def __init__(self) -> None:
        self.printed = 0

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        self.printed += len(text)
        if self.printed > MAX_PRINTED:
            raise TooMuchPrinted
        return len(text)


_output: list[_Counting] = []  # the one in force within `limits`, so that all calls of a check count together


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    counting = _output[-1] if _output else _Counting()
    with contextlib.redirect_stdout(counting), contextlib.redirect_stderr(counting):
        yield


@contextlib.contextmanager
def limits(seconds: float) -> Iterator[None]:
    """Within it, output is counted and not shown, and `TooSlow` is raised once `seconds` have passed.

    Where there is SIGALRM it is raised again and again, so that a bare `except` in a loop cannot keep it for ever;
    elsewhere (Windows) the main thread is interrupted. Outside the main thread there is no limit on time.
    """
    if threading.current_thread() is not threading.main_thread():
        with _counted():
            yield
        return
    if hasattr(signal, "SIGALRM"):
        with _counted(), _alarm(seconds):
            yield
    else:
        with _counted(), _interrupt(seconds):
            yield


@contextlib.contextmanager
def _counted() -> Iterator[None]:
    streams, depth = (sys.stdout, sys.stderr), len(_output)
    _output.append(_Counting())
    try:
        with _silence():
            yield
    finally:  # also where the alarm rang while a stream was being put back
        del _output[depth:]
        sys.stdout, sys.stderr = streams


@contextlib.contextmanager
def _alarm(seconds: float) -> Iterator[None]:
    over = rung = False

    def ring(_, frame) -> None:
        nonlocal rung
        if not over and (not rung or _in_a_cell(frame)):  # again only where a learner's `except` may have kept it
            rung = True
            raise TooSlow

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds, 0.02)
    try:
        yield
    finally:
        over = True
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _in_a_cell(frame) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith("<cell "):
            return True
        frame = frame.f_back
    return False


@contextlib.contextmanager
def _interrupt(seconds: float) -> Iterator[None]:
    import _thread

    late = threading.Event()

    def ring() -> None:
        late.set()
        _thread.interrupt_main()

    timer = threading.Timer(seconds, ring)
    timer.daemon = True
    timer.start()
    try:
        yield
    except KeyboardInterrupt:
        if late.is_set():
            raise TooSlow from None
        raise
    finally:
        timer.cancel()
