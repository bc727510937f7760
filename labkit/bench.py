"""`labkit bench NAME`: the benchmarks of a checkout, which stand in `benchmarks/`, one module each with `main(args) -> dict`.

A benchmark prints its table itself and returns its figures. It has failed if these say `"ok": False` anywhere.
"""

import argparse
import importlib.util
import json
from types import ModuleType

from labkit.data import InputError
from labkit.lab import checkout

FILES = {  # name: file in benchmarks/, in the order of `labkit bench all`
    "import": "import_time",  # `import` is no name for a module
    "base": "base",
    "generate": "generate",
    "sft": "sft",
    "labs": "labs",
}


def load(name: str) -> ModuleType:
    root = checkout()
    if root is None:
        raise InputError("the benchmarks are not part of the installed package; run this in a checkout of the repository")
    path = root / "benchmarks" / f"{FILES[name]}.py"
    spec = importlib.util.spec_from_file_location(f"benchmarks.{FILES[name]}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def passed(figures: dict) -> bool:
    return figures.get("ok", True) and all(passed(value) for value in figures.values() if isinstance(value, dict))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", choices=[*FILES, "all"], help="which benchmark")
    parser.add_argument("--json", action="store_true", help="end with one JSON object")
    parser.epilog = "Exit status 1 if a benchmark finds something wrong.\n\nexamples:\n  labkit bench import\n  labkit bench labs --json"


def main(args: argparse.Namespace) -> int:
    if args.name == "all":
        figures = {name: load(name).main(args) for name in FILES}
    else:
        figures = load(args.name).main(args)
    if args.json:
        print(json.dumps(figures))
    return 0 if passed(figures) else 1
