"""What is installed here and what is missing: `labkit doctor` in a terminal, `lk.doctor()` in a notebook.

Small functions collect facts and turn them into rows with a verdict; nothing is installed or changed. torch is imported
only if there is a GPU, which it might not see.
"""

import argparse
import html
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, astuple, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from packaging.requirements import Requirement

HEAD = ("what", "found", "supported", "verdict", "needed for")
OK, MISSING, WRONG = "ok", "missing, optional", "wrong"
PYTHONS = ((3, 11), (3, 13))  # the oldest and the newest that are supported
LAB_MEMORY_GB = 3  # what a lab may take at its peak (labkit bench labs)
OPTIONAL = {  # extra: what it is for
    "lab": "make lab",
    "qlora": "quantized training, lab 07",
    "grade": "checking notebooks with nbval, make test, labkit grade",
    "anki": "labkit export quizzes --to anki",
    "cluster": "labkit runs rebuild --cluster",
    "scale": "labkit.scale: fine-tuning on several devices",
    "dev": "tests, benchmarks, building notebooks",
}


@dataclass(frozen=True)
class Check:
    """One row: what was checked, what was found, what is accepted, the verdict, and what it is needed for or what to
    do.
    """

    name: str
    found: str
    supported: str
    verdict: str  # OK, MISSING or WRONG
    purpose: str


class Report(tuple):
    """The rows of one examination. Prints as a plain table, and as an HTML table in a notebook."""

    @property
    def ok(self) -> bool:
        return all(check.verdict != WRONG for check in self)

    @property
    def conclusion(self) -> str:
        wrong = [check.name for check in self if check.verdict == WRONG]
        return f"Wrong: {', '.join(wrong)}. Fix that first." if wrong else "All that the labs need is here."

    def __repr__(self) -> str:
        rows = [HEAD, *map(astuple, self)]
        widths = [max(map(len, column)) for column in zip(*rows)]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]
        return "\n".join([*lines, "", self.conclusion])

    def _repr_html_(self) -> str:
        def row(tag: str, cells: tuple[str, ...]) -> str:
            return (
                "<tr>"
                + "".join(f'<{tag} style="text-align: left">{html.escape(cell)}</{tag}>' for cell in cells)
                + "</tr>"
            )

        body = "".join(row("td", astuple(check)) for check in self)
        return (
            f"<table><thead>{row('th', HEAD)}</thead><tbody>{body}</tbody></table><p>{html.escape(self.conclusion)}</p>"
        )


def output_of(*command: str) -> str | None:
    """What a command prints, or None if it is missing, fails, or takes longer than 5 s."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=5, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def check_python(version: tuple[int, int, int] = sys.version_info[:3]) -> Check:
    oldest, newest = PYTHONS
    supported = f"{'.'.join(map(str, oldest))} to {'.'.join(map(str, newest))}"
    verdict = OK if oldest <= version[:2] <= newest else WRONG
    return Check("Python", ".".join(map(str, version)), supported, verdict, "everything")


def check_package(requirement: "Requirement", version: str | None, extra: str | None = None) -> Check:
    """`extra`: the optional part that asks for it, None for a required one."""
    purpose = "the labs" if extra is None else OPTIONAL[extra]
    supported = ", ".join(sorted(map(str, requirement.specifier), reverse=True))
    if version is None:
        verdict = WRONG if extra is None else MISSING
    else:
        verdict = OK if requirement.specifier.contains(version, prereleases=True) else WRONG
    if verdict != OK:
        purpose += f'; pip install "{requirement.name}{requirement.specifier}"'
    return Check(requirement.name, version or "–", supported, verdict, purpose)


def version_of(package: str) -> str | None:
    from importlib import metadata  # takes half as long as the rest of `import labkit`, which does not need it

    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def check_packages() -> Iterator[Check]:
    """Every package that labkit's own metadata names, required ones first."""
    if version_of("labkit") is None:
        yield Check(
            "labkit", "not installed", "any", WRONG, "everything; `pip install -e .` in the checkout, or `make setup`"
        )
        return
    if version_of("packaging") is None:
        yield Check("packaging", "–", "any", WRONG, "this examination; pip install packaging")
        return
    from importlib.metadata import requires

    from packaging.requirements import Requirement

    declared = list(map(Requirement, requires("labkit") or ()))
    seen = {"labkit"}  # an extra can name another extra
    for extra in (None, *OPTIONAL):
        for requirement in declared:
            if requirement.name not in seen and (
                not requirement.marker or requirement.marker.evaluate({"extra": extra or ""})
            ):
                seen.add(requirement.name)
                yield check_package(requirement, version_of(requirement.name), extra)


def check_device(gpus: str | None, torch_version: str | None, sees_gpu: bool) -> Check:
    """gpus: what nvidia-smi lists, None without one; sees_gpu: whether torch can use it."""
    if gpus and not sees_gpu:
        advice = "training; this torch cannot use the GPU that is here, install torch's CUDA build"
        return Check("device", f"cpu, torch {torch_version or '–'}; {gpus}", "cuda", WRONG, advice)
    if gpus:
        return Check("device", f"cuda, {gpus}", "cpu, cuda, mps", OK, "training")
    if sys.platform == "darwin" and platform.machine() == "arm64":
        return Check("device", "mps, Apple silicon", "cpu, cuda, mps", OK, "training")
    return Check("device", "cpu, no GPU", "cpu, cuda, mps", OK, "training")


def find_device() -> Check:
    gpus = output_of("nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader")
    torch_version = version_of("torch")
    sees_gpu = False
    if gpus and torch_version:
        import torch

        sees_gpu = torch.cuda.is_available()
    return check_device("; ".join(gpus.splitlines()) if gpus else None, torch_version, sees_gpu)


def check_memory(total: int, available: int) -> Check:
    """Both in bytes."""
    verdict = OK if total >= LAB_MEMORY_GB * 1e9 else WRONG
    return Check(
        "memory",
        f"{total / 1e9:.1f} GB, {available / 1e9:.1f} free",
        f"from {LAB_MEMORY_GB} GB",
        verdict,
        "a lab at its peak",
    )


def check_machine() -> Iterator[Check]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    yield Check("processor cores", str(cores), "any", OK, "speed; every lab is designed for two")
    if version_of("psutil") is not None:
        import psutil

        memory = psutil.virtual_memory()
        yield check_memory(memory.total, memory.available)


def check_base(folder: Path = Path(__file__).parent / "almanac" / "base") -> Check:
    weights = folder / "model.safetensors"
    if not (folder / "config.json").is_file() or not weights.is_file():
        return Check(
            "base model", "–", "any", WRONG, "every lab; install labkit again, or build it: `labkit base build`"
        )
    return Check("base model", f"{weights.stat().st_size / 1e6:.1f} MB", "any", OK, "every lab")


def check_sandbox() -> Check:
    try:
        from labkit.grading import sandbox
    except ImportError as error:
        reason: str | None = f"needs {error.name}: pip install 'labkit[grade]'"
    else:
        reason = sandbox.missing()
    found = (output_of("bwrap", "--version") or "–").removeprefix("bubblewrap ")
    purpose = "running other people's notebooks in a sandbox"
    return Check("bubblewrap", found, "any", MISSING if reason else OK, f"{purpose}; {reason}" if reason else purpose)


def check_tools() -> Iterator[Check]:
    yield check_sandbox()
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
    yield Check(
        "Chromium", Path(browser).name if browser else "–", "any", OK if browser else MISSING, "make test-browser"
    )


def doctor() -> Report:
    """Examine this machine. In a notebook: `lk.doctor()` as the last line of a cell."""
    return Report([check_python(), *check_packages(), check_base(), find_device(), *check_machine(), *check_tools()])


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.epilog = "Exit status 1 if anything is wrong; a missing optional part is not.\n\nexample:\n  labkit doctor"


def main(args: argparse.Namespace) -> int:
    report = doctor()
    print(json.dumps({"ok": report.ok, "checks": [asdict(check) for check in report]}) if args.json else report)
    return 0 if report.ok else 1
