"""What is installed here and what is missing: `labkit doctor` in a terminal, `lk.doctor()` in a notebook.

Small functions collect facts and turn them into rows with a verdict; nothing is installed or changed. torch is imported
only if there is a GPU, which it might not see. `labkit doctor --against` asks about another place, of which only the
list of its packages is known: would an installation of the kit replace any of them?
"""

import argparse
import html
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import asdict, astuple, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from labkit.common import InputError

if TYPE_CHECKING:
    from packaging.requirements import Requirement

HEAD = ("what", "found", "supported", "verdict", "needed for")
OK, MISSING, WRONG = "ok", "missing, optional", "wrong"
ADDED, REPLACED = "added", "replaced"  # what an installation in another place would do
LABS = ("", "qlora")  # what the labs import: what is required, and this extra
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


def check_device(gpus: str | None, torch_version: str | None, sees_gpu: bool, number_format: str = "") -> Check:
    """gpus: what nvidia-smi lists, None without one; sees_gpu: whether torch can use it; number_format: what the kit
    trains in there.
    """
    if gpus and not sees_gpu:
        advice = "training; this torch cannot use the GPU that is here, install torch's CUDA build"
        return Check("device", f"cpu, torch {torch_version or '–'}; {gpus}", "cuda", WRONG, advice)
    if gpus:
        said = f"cuda, {gpus}" + (f"; trains in {number_format}" if number_format else "")
        return Check("device", said, "cpu, cuda, mps", OK, "training")
    if sys.platform == "darwin" and platform.machine() == "arm64":
        return Check("device", "mps, Apple silicon", "cpu, cuda, mps", OK, "training")
    return Check("device", "cpu, no GPU", "cpu, cuda, mps", OK, "training")


def find_device() -> Check:
    gpus = output_of("nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader")
    torch_version = version_of("torch")
    sees_gpu, chosen = False, ""
    if gpus and torch_version:
        import torch

        sees_gpu = torch.cuda.is_available()
        if sees_gpu:
            from labkit.training import number_format  # cards before Ampere, such as a T4, only emulate bfloat16

            chosen = str(number_format("cuda")).removeprefix("torch.")
    return check_device("; ".join(gpus.splitlines()) if gpus else None, torch_version, sees_gpu, chosen)


def check_moved() -> Iterator[Check]:
    """A row for `LABKIT_DEVICE`, where it is set: it names the device of every model."""
    named = os.environ.get("LABKIT_DEVICE")
    if not named:
        return
    from labkit import models

    try:
        found, verdict, purpose = str(models.device()), OK, "every model goes there, in the labs too"
    except InputError as error:
        found, verdict, purpose = named, WRONG, f"every lab; {error}"
    yield Check("LABKIT_DEVICE", found, "auto, cpu, cuda, mps", verdict, purpose)


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
    device = [find_device(), *check_moved()]
    return Report([check_python(), *check_packages(), check_base(), *device, *check_machine(), *check_tools()])


class Arrival(Report):
    """The rows of an installation in another place."""

    @property
    def ok(self) -> bool:
        return not self.of(WRONG, REPLACED)

    @property
    def conclusion(self) -> str:
        count = len(self.of(REPLACED))
        said = [f"{count} package{'' if count == 1 else 's'} would be replaced"]
        said += [
            f"{verdict}: {', '.join(self.of(verdict))}" for verdict in (REPLACED, WRONG, ADDED) if self.of(verdict)
        ]
        return "; ".join(said) + "."

    def of(self, *verdicts: str) -> list[str]:
        """The names in rows with these verdicts, each once."""
        return list(dict.fromkeys(check.name for check in self if check.verdict in verdicts))


def read_freeze(file: Path) -> dict[str, str | None]:
    """{package: version} of what `pip freeze` wrote; None for a package from a file or an address, which has none
    there. Raises `InputError`, with file and line, for anything else.
    """
    from packaging.requirements import InvalidRequirement, Requirement
    from packaging.utils import canonicalize_name
    from packaging.version import InvalidVersion, Version

    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file}: cannot be read ({error}); name a file that `pip freeze` wrote") from None
    held: dict[str, str | None] = {}
    for number, line in enumerate(map(str.strip, lines), start=1):
        if not line or line.startswith(("#", "-")):  # -e and -f
            continue
        try:
            requirement = Requirement(line)
            exact = [each.version for each in requirement.specifier if each.operator in ("==", "===")]
            if not exact and not requirement.url:
                raise InvalidRequirement(line)
            held[canonicalize_name(requirement.name)] = str(Version(exact[0])) if exact else None
        except (InvalidRequirement, InvalidVersion):
            raise InputError(
                f"{file}, line {number}: {line[:60]!r} is not name==version; name a file that `pip freeze` wrote"
            ) from None
    if not held:
        raise InputError(f"{file}: lists no packages; name a file that `pip freeze` wrote")
    return held


def against(
    requirements: Iterable["Requirement"], held: Mapping[str, str | None], python: str, extras: Collection[str] = LABS
) -> Arrival:
    """What an installation of `requirements` would do where the packages `held` are ({name: version}) and Python is
    `python` ("3.12"), on this kind of machine: one row for each package asked for.

    What is held and fits stays, as pip leaves it. What is added asks for more in turn: that is read from the release
    installed here, so a package that is neither there nor here cannot be judged.
    """
    from importlib import metadata

    from packaging.markers import default_environment
    from packaging.requirements import Requirement
    from packaging.specifiers import SpecifierSet
    from packaging.utils import canonicalize_name

    here = {name: str(value) for name, value in default_environment().items()}
    environment = here | {"python_version": python, "python_full_version": f"{python}.0"}
    major, minor = map(int, python.split("."))
    rows = [check_python((major, minor, 0))]
    asked = [(requirement, "the labs", extras) for requirement in requirements]
    added = {"labkit"}  # an extra can name another extra
    for requirement, purpose, chosen in asked:  # grows while it is read
        if requirement.marker and not any(requirement.marker.evaluate({**environment, "extra": e}) for e in chosen):
            continue
        name, wanted = canonicalize_name(requirement.name), ", ".join(map(str, requirement.specifier)) or "any"
        if name in held:
            version = held[name]
            if version is None:
                rows.append(Check(name, "?", wanted, WRONG, f"{purpose}; the list does not say which version is there"))
            else:
                fits = requirement.specifier.contains(version, prereleases=True)
                rows.append(Check(name, version, wanted, OK if fits else REPLACED, purpose))
        elif name not in added:
            added.add(name)
            try:
                about = metadata.distribution(name)
            except metadata.PackageNotFoundError:
                advice = "what it requires is not known here; pip install it here first"
                rows.append(Check(name, "–", wanted, WRONG, f"{purpose}; {advice}"))
                continue
            pythons = about.metadata["Requires-Python"]
            if pythons and not SpecifierSet(pythons).contains(f"{python}.0"):
                rows.append(Check(name, "–", wanted, WRONG, f"{purpose}; {about.version} needs Python {pythons}"))
                continue
            rows.append(Check(name, "–", wanted, ADDED, purpose))
            inner = map(Requirement, about.requires or ())
            asked += [(each, f"required by {name} {about.version}", requirement.extras or {""}) for each in inner]
    return Arrival(rows)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    here = ".".join(map(str, sys.version_info[:2]))
    parser.add_argument(
        "--against",
        metavar="FREEZE.txt",
        type=Path,
        help="what `pip freeze` wrote in another place: would an installation of the kit replace anything there?",
    )
    parser.add_argument(
        "--python", metavar="3.X", default=here, help="with --against: its Python (default %(default)s)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.epilog = (
        "Exit status 1 if anything is wrong or would be replaced; a missing optional part is not.\n\n"
        "examples:\n  labkit doctor\n  labkit doctor --against pip-freeze.txt --python 3.13"
    )


def declared() -> list["Requirement"]:
    """What labkit's own metadata ask for, extras included. Raises `InputError` if it is not installed."""
    from importlib.metadata import PackageNotFoundError, requires

    try:
        from packaging.requirements import Requirement

        return list(map(Requirement, requires("labkit") or ()))
    except ImportError as error:  # PackageNotFoundError is one too
        name = "labkit" if isinstance(error, PackageNotFoundError) else "packaging"
        raise InputError(
            f"{name} is not installed here, so it is not known what the kit requires; pip install it"
        ) from None


def main(args: argparse.Namespace) -> int:
    if args.against:
        if not re.fullmatch(r"[0-9]+\.[0-9]+", args.python):
            raise InputError(f"--python {args.python}: give a version such as 3.13")
        requirements = declared()
        arrival = against(requirements, read_freeze(args.against), args.python)
        if args.json:
            told = {
                "ok": arrival.ok,
                "python": args.python,
                "replaced": arrival.of(REPLACED),
                "added": arrival.of(ADDED),
            }
            print(json.dumps({**told, "checks": [asdict(check) for check in arrival]}))
        else:
            print(arrival)
        return 0 if arrival.ok else 1
    report = doctor()
    print(json.dumps({"ok": report.ok, "checks": [asdict(check) for check in report]}) if args.json else report)
    return 0 if report.ok else 1
