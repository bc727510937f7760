"""`labkit bench NAME`: the benchmarks of a checkout, in `benchmarks/`, each a module with `main(args) -> dict`.

A benchmark prints its table itself and returns its figures. It has failed if these contain `"ok": False` anywhere.
"""

import argparse
import importlib.util
import json
from pathlib import Path
from types import ModuleType

from labkit.common import InputError
from labkit.lab import checkout


def files() -> dict[str, Path]:
    """{name: file}. `import` is not a valid name for a module, so that benchmark's file is `import_time.py`."""
    root = checkout()
    if root is None:
        raise InputError(
            "the benchmarks are not part of the installed package; run this in a checkout of the repository"
        )
    return {path.stem.removesuffix("_time"): path for path in sorted((root / "benchmarks").glob("[a-z]*.py"))}


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"benchmarks.{path.stem}", path)
    assert spec and spec.loader  # of a file that ends in .py there are both
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def passed(figures: dict) -> bool:
    return figures.get("ok", True) and all(passed(value) for value in figures.values() if isinstance(value, dict))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    names = ", ".join(files() if checkout() else ["there are none here, they need a checkout"])
    parser.add_argument("name", metavar="NAME", help=f"which benchmark: {names}; or all")
    parser.add_argument("--json", action="store_true", help="end with one JSON object")
    parser.add_argument("--device", default="cpu", help="sft, sweep: cpu, cuda or mps (default %(default)s)")
    parser.add_argument("--reading", action="store_true", help="labs: a learner's minutes, estimated; nothing is run")
    parser.epilog = (
        "Exit status 1 if a benchmark finds something wrong.\n\n"
        "examples:\n  labkit bench import\n  labkit bench labs --json\n  labkit bench labs --reading\n"
        "  labkit bench sft --device cuda"
    )


def main(args: argparse.Namespace) -> int:
    available = files()
    if args.name != "all" and args.name not in available:
        raise InputError(f"there is no benchmark {args.name!r}; there are {', '.join(available)}, or all")
    if args.name == "all":
        figures = {name: load(path).main(args) for name, path in available.items()}
    else:
        figures = load(available[args.name]).main(args)
    if args.json:
        print(json.dumps(figures))
    return 0 if passed(figures) else 1
