"""One `map` over many processes: this machine's by default, a Ray cluster's by address.

A local worker is a fresh Python process that uses one thread, so a result does not depend on how many run beside it. It
gets its work through a pipe, and imports the function's module, never the caller's `__main__`: so a notebook, the
command line and a script without a main guard can all call this. Ray is imported only when a cluster is named.
"""

from __future__ import annotations

import logging
import os
import pickle
import queue
import struct
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from typing import IO, Any

from labkit.common import InputError

ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"), "1"
)
ONE_THREAD["TOKENIZERS_PARALLELISM"] = "false"


class WorkError(RuntimeError):
    """The function failed on one item. The message names the item, `index` is its place; `details` holds the worker's
    traceback.
    """

    def __init__(self, message: str, details: str = "", index: int = 0):
        super().__init__(message)
        self.details, self.index = details, index


def map(
    function: Callable[[Any], Any],
    items: Iterable[Any],
    *,
    cluster: str | None = None,
    workers: int | None = None,
    progress: Callable[[int, Any], None] | None = None,
) -> list[Any]:
    """`[function(item) for item in items]`, each in a process of its own; results in the items' order.

    `cluster` is None for this machine, or what `ray.init(address=…)` takes ("auto", "HOST:PORT", "ray://HOST:PORT").
    `workers` is how many run at once (one for each core; on a cluster, as many as it has room for). `progress(index,
    result)` is called here, as each item finishes. The function and its items must be importable and picklable. The
    first failure ends the others and is raised as `WorkError`, which names the item.
    """
    items = list(items)
    if workers is not None and workers < 1:
        raise InputError(f"workers is {workers}: at least 1 is needed")
    if getattr(function, "__module__", None) in (None, "__main__") or "<" in getattr(function, "__qualname__", "<"):
        raise InputError(
            f"{function!r} must be a named function of a module, because each worker imports it from there"
        )
    if not items:
        return []
    results: list[Any] = [None] * len(items)
    finished = _local(function, items, workers) if cluster is None else _ray(function, items, workers, cluster)
    for index, result in finished:
        results[index] = result
        if progress is not None:
            progress(index, result)
    return results


def _local(function: Callable, items: list, workers: int | None) -> Iterator[tuple[int, Any]]:
    count = min(workers or os.cpu_count() or 1, len(items))
    started = [_Worker() for _ in range(count)]
    idle: queue.SimpleQueue[_Worker] = queue.SimpleQueue()
    for worker in started:
        idle.put(worker)

    def work(index: int) -> tuple[int, Any]:
        worker = idle.get()
        try:
            return index, worker.do(function, index, items[index])
        finally:
            idle.put(worker)

    pool = ThreadPoolExecutor(count)
    try:
        for done in as_completed([pool.submit(work, index) for index in range(len(items))]):
            yield done.result()
    finally:  # also after a failure or Ctrl-C: do not wait for what the other workers are doing
        pool.shutdown(wait=False, cancel_futures=True)
        for worker in started:
            worker.stop()
        pool.shutdown()


class _Worker:
    """A Python process that does one item after the other. Requests and replies are pickles, each preceded by its
    length.
    """

    def __init__(self) -> None:
        path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
        self._process = subprocess.Popen(
            [sys.executable, "-c", "from labkit.cluster import _serve; _serve()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | ONE_THREAD | {"PYTHONPATH": path},
            start_new_session=os.name != "nt",  # Ctrl-C reaches the caller only, who stops the workers
        )
        assert self._process.stdin and self._process.stdout  # both are pipes
        self._requests, self._replies = self._process.stdin, self._process.stdout

    def do(self, function: Callable, index: int, item: Any) -> Any:
        try:
            _send(self._requests, (function, item))
            outcome = _receive(self._replies)
        except (OSError, EOFError):
            outcome = False, "its process died; was there memory enough for it?", ""
        except (AttributeError, TypeError, pickle.PickleError) as error:
            outcome = False, f"it cannot be pickled ({type(error).__name__}: {error})", ""
        return _unwrap(outcome, index, item)

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._requests, self._replies):
            try:
                pipe.close()
            except OSError:  # what was still to be written no longer has a reader
                pass


def _serve() -> None:
    """A worker's loop, until its caller closes the pipe or is gone."""
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what the function prints must not mix with the replies
    try:
        while True:
            request = _receive(sys.stdin.buffer, raw=True)
            try:
                _send(replies, _attempt(*pickle.loads(request)))
            except (AttributeError, ImportError, TypeError, pickle.PickleError) as error:
                _send(
                    replies,
                    (False, f"it cannot be handed over ({type(error).__name__}: {error})", traceback.format_exc()),
                )
    except (EOFError, OSError, KeyboardInterrupt):
        pass


def _attempt(function: Callable, item: Any) -> tuple:
    """(True, result), or (False, what went wrong, traceback), as text, because an exception may not survive pickling."""
    try:
        return True, function(item)
    except Exception as error:
        return False, f"{type(error).__name__}: {error}", traceback.format_exc()


def _unwrap(outcome: tuple, index: int, item: Any) -> Any:
    """The result, or `WorkError` with the item's name."""
    if outcome[0]:
        return outcome[1]
    text = repr(item)
    shown = text if len(text) <= 80 else text[:77] + "..."
    raise WorkError(f"item {index} ({shown}): {outcome[1]}", details=outcome[2], index=index)


def _send(pipe: IO[bytes], value: Any) -> None:
    data = pickle.dumps(value)
    pipe.write(struct.pack("<Q", len(data)) + data)
    pipe.flush()


def _receive(pipe: IO[bytes], raw: bool = False) -> Any:
    head = pipe.read(8)
    if len(head) < 8:
        raise EOFError
    size = struct.unpack("<Q", head)[0]
    data = pipe.read(size)
    if len(data) < size:
        raise EOFError
    return data if raw else pickle.loads(data)


def _ray(function: Callable, items: list, workers: int | None, cluster: str) -> Iterator[tuple[int, Any]]:
    with _connection(cluster) as ray:
        attempt = ray.remote(num_cpus=1, max_retries=0, runtime_env={"env_vars": ONE_THREAD})(_attempt)
        waiting = iter(range(len(items)))
        running: dict[Any, int] = {}
        limit = workers or len(items)
        try:
            while True:
                while len(running) < limit and (index := next(waiting, None)) is not None:
                    running[attempt.remote(function, items[index])] = index
                if not running:
                    return
                [reference], _ = ray.wait(list(running))
                index = running.pop(reference)
                try:
                    outcome = ray.get(reference)
                except ray.exceptions.RayError as error:
                    outcome = False, str(error).strip().splitlines()[0], str(error)
                yield index, _unwrap(outcome, index, items[index])
        finally:
            for reference in running:
                ray.cancel(reference, force=True)


@contextmanager
def _connection(cluster: str) -> Iterator[Any]:
    """Ray, connected; a connection that the caller already has is used and left open."""
    try:
        import ray
    except ImportError:
        raise InputError("running on a cluster needs Ray; `pip install 'labkit[cluster]'`") from None
    mine = not ray.is_initialized()
    if mine:
        try:
            ray.init(address=cluster, log_to_driver=False, logging_level=logging.ERROR)
        except Exception as error:  # Ray raises many kinds, a plain Exception among them
            first_line = str(error).strip().splitlines()[0]
            raise InputError(
                f"no Ray cluster answers at {cluster!r} ({first_line}); start one with `ray start --head`"
            ) from None
    try:
        yield ray
    finally:
        if mine:
            ray.shutdown()
