"""A small exercise for the tests of the engine: the mean of a list, an error if it is empty."""

import statistics

from labkit.exercises.kinds import Exercise, Probe, mistake


def mean(values: list[float]) -> float:
    if not values:
        raise ValueError("no values")
    return sum(values) / len(values)


def probes(rng):
    yield Probe(([],), "edges")
    yield Probe(([1.0],), "edges")
    yield Probe(([0.0, -4.0],), "edges")
    yield Probe(([0.0, 0.0, 9.0],), "edges")
    for _ in range(5):
        yield Probe(([float(rng.randrange(100)) for _ in range(rng.randrange(2, 6))],), "typical")


@mistake("one less", "You divide by one less than there are.")
def sample_mean(values):
    return sum(values) / (len(values) - 1)


@mistake("median", "This is the median: half lie below it.")
def median(values):
    return statistics.median(values)


@mistake("sum", "You forgot to divide.")
def total(values):
    return sum(values)


TOY = Exercise(
    id="start.mean",
    points=1,
    minutes=1,
    reference=mean,
    probes=probes,
    misconceptions=(sample_mean, median, total),
    hints=("Add them up.", "Divide by how many there are.", "sum(values) / len(values)"),
)


def cell(body: str, head: str = "def mean(values):") -> str:
    lines = "\n".join("    " + line for line in body.splitlines())
    return f'@lk.exercise("start.mean")\n{head}\n{lines}\n'
