"""One map: results in order from processes of one thread each; a failure names its item; callers need no main guard."""

import os
import subprocess
import sys
import time
import types
from pathlib import Path

import pytest
import workers

from labkit import cluster
from labkit.cluster import WorkError
from labkit.common import InputError


def test_results_come_in_order_from_other_processes_of_one_thread(capfd):
    finished = []
    results = cluster.map(
        workers.square, [3, 1, 2, 5], workers=2, progress=lambda index, result: finished.append((index, result[0]))
    )
    assert [square for square, _, _ in results] == [9, 1, 4, 25]
    assert sorted(finished) == [(0, 9), (1, 1), (2, 4), (3, 25)]
    assert os.getpid() not in {process for _, process, _ in results}
    assert {threads for _, _, threads in results} == {"1"}
    assert "noise" not in capfd.readouterr().out


def test_nothing_to_do():
    assert cluster.map(workers.square, []) == []


@pytest.mark.parametrize(
    "number, reason", [(13, "ValueError: not thirteen"), (14, "process died"), (15, "cannot be handed over")]
)
def test_a_failure_names_its_item_and_ends_the_others(number, reason):
    started = time.monotonic()
    with pytest.raises(WorkError, match=reason) as caught:
        cluster.map(workers.square, [2, number, 16], workers=3)
    assert str(caught.value).startswith(f"item 1 ({number}): ")
    assert time.monotonic() - started < 45  # item 2 sleeps for a minute
    if number == 13:
        assert "in square" in caught.value.details


def test_an_item_that_cannot_be_handed_over():
    with pytest.raises(WorkError, match="item 0 .*pickled"):
        cluster.map(workers.square, [lambda: None])


@pytest.mark.parametrize(
    "function", [lambda item: item, types.FunctionType(compile("0", "f", "eval"), {"__name__": "__main__"}, "f")]
)
def test_functions_that_workers_could_not_import_are_refused(function):
    with pytest.raises(InputError, match="function of a module"):
        cluster.map(function, [1])


def test_workers_below_one_are_refused():
    with pytest.raises(InputError, match="workers is 0"):
        cluster.map(workers.square, [1], workers=0)


def test_a_script_from_standard_input_needs_no_main_guard():
    """As in a notebook, there is no file that a worker could import as its main module."""
    code = "import workers; from labkit import cluster; print([r[0] for r in cluster.map(workers.square, [2, 3])])"
    path = os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parent.parent)])
    done = subprocess.run(
        [sys.executable, "-"], input=code, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": path}
    )
    assert done.stdout == "[4, 9]\n"


class FakeRay(types.ModuleType):
    """Enough of Ray to follow what is asked of it: tasks run when they are waited for, the last submitted first."""

    def __init__(self, connected: bool):
        super().__init__("ray")
        self.connected, self.calls, self.options, self.most_waiting = connected, [], {}, 0
        self.exceptions = types.SimpleNamespace(RayError=RuntimeError)

    def is_initialized(self):
        return self.connected

    def init(self, address, **more):
        if address == "nowhere":
            raise ConnectionError("nobody there\nmore lines")
        self.calls.append(("init", address))

    def shutdown(self):
        self.calls.append(("shutdown",))

    def remote(self, **options):
        self.options = options
        return lambda function: types.SimpleNamespace(remote=lambda *arguments: (function, arguments))

    def wait(self, references):
        self.most_waiting = max(self.most_waiting, len(references))
        return [references[-1]], references[:-1]

    def get(self, reference):
        function, arguments = reference
        if arguments[1] == 14:
            raise self.exceptions.RayError("the worker died\nmore lines")
        return function(*arguments)

    def cancel(self, reference, force):
        self.calls.append(("cancel", reference[1][1]))


@pytest.fixture
def ray(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    fake = FakeRay(connected=False)
    monkeypatch.setitem(sys.modules, "ray", fake)
    return fake


def test_a_cluster_gives_the_same_results_in_order(ray):
    assert [result[0] for result in cluster.map(workers.square, [3, 1, 2], cluster="head:6379", workers=2)] == [9, 1, 4]
    assert ray.calls == [("init", "head:6379"), ("shutdown",)]
    assert ray.most_waiting == 2
    assert ray.options["num_cpus"] == 1 and ray.options["runtime_env"]["env_vars"]["OMP_NUM_THREADS"] == "1"


@pytest.mark.parametrize("number, reason", [(13, "not thirteen"), (14, "the worker died$")])
def test_a_failure_on_a_cluster_names_its_item_and_cancels_the_others(ray, number, reason):
    with pytest.raises(WorkError, match=rf"^item 1 \({number}\): .*{reason}"):
        cluster.map(workers.square, [2, number], cluster="auto")
    assert ray.calls == [("init", "auto"), ("cancel", 2), ("shutdown",)]


def test_a_connection_that_is_there_is_left_open(ray):
    ray.connected = True
    cluster.map(workers.square, [1], cluster="auto")
    assert ray.calls == []


def test_no_cluster_is_said_in_one_line(ray):
    with pytest.raises(InputError, match="nobody there") as caught:
        cluster.map(workers.square, [1], cluster="nowhere")
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(
    "RAY_ADDRESS" not in os.environ, reason="needs a Ray cluster: ray start --head, then RAY_ADDRESS=auto"
)
def test_a_real_cluster():
    results = cluster.map(workers.square, [3, 1, 2], cluster=os.environ["RAY_ADDRESS"])
    assert [square for square, _, _ in results] == [9, 1, 4]
