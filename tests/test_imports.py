"""Imports inside the package go one way, as CONTRIBUTING lists them; each room only takes from those before it."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "labkit"

ORDER = (  # each of these from those before it, and from its own line where the line is one room
    ("common",),
    ("syllabus",),
    ("live", "cluster", "progress", "lab"),
    ("data", "dedup", "tokenization", "cross_entropy", "hyperparameters", "lora", "quantization", "memory"),
    ("masking",),
    ("almanac",),
    ("models",),
    ("training",),
    ("lint", "dedup_command", "forcing", "updates", "lora_model", "architectures", "adapters", "run_card"),
    ("corpus", "split_command", "trace", "measurements"),
    ("runs",),
    ("plots", "claims", "best_of", "sft", "scoring"),
    ("demo", "scale"),
    ("pictures", "predictions", "workshop", "plan_command"),
    ("diagnosis",),
    ("exercises", "quizzes"),
    ("explorers", "grading"),
    ("score_command", "kernel"),
    ("doctor", "cli"),
    ("__init__",),
)
PLACE = {room: place for place, rooms in enumerate(ORDER) for room in rooms}
FILES = [path for path in PACKAGE.rglob("*.py") if "inside" not in path.parts]  # those run in the sandbox, alone
AS_A_SCRIPT = 'if __name__ == "__main__":'  # what stands below is not imported


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(path: Path) -> set[str]:
    """The rooms that a file imports from, at its head or in a function."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8").partition(AS_A_SCRIPT)[0])):
        if isinstance(node, ast.ImportFrom) and node.module == "labkit":
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("labkit."):
            names.add(node.module.split(".")[1])
        elif isinstance(node, ast.Import):
            names |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("labkit.")}
    return names - {room(path)}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_each_room_takes_only_from_those_before_it(path):
    assert room(path) in PLACE, "give the new room its place in ORDER, and in CONTRIBUTING"
    assert {name for name in imported(path) if PLACE[name] >= PLACE[room(path)]} == set()


def test_contributing_lists_the_same_order():
    text = (PACKAGE.parent / "CONTRIBUTING.md").read_text(encoding="utf-8")
    line = next(line for line in text.splitlines() if line.startswith("Imports go one way"))
    places = [line.find(f"`{name}`") for rooms in ORDER[:-1] for name in rooms]
    assert -1 not in places and places == sorted(places)
