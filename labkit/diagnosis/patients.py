"""The patients of lab 05's clinic: recorded runs, each with one fault, the six tests on it, and one run that is cured.

The table is patients.yaml; all that decides a run stands there. `python -m labkit.diagnosis.patients [NUMBER …]` makes the
records that are missing or out of date, in `labkit/records/clinic/`, a file each; it goes on where it was interrupted.
Faults are planted in `clinic`, the tests are in `checks`, what a learner may change is in `knobs`; how a patient is
shown is the explorer's business.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labkit.common import InputError, write_atomically
from labkit.diagnosis.knobs import KNOBS, Knob
from labkit.diagnosis.record import history, short

if TYPE_CHECKING:
    from labkit.diagnosis.clinic import Plan

TABLE = Path(__file__).parent / "patients.yaml"
FOLDER = Path(__file__).parents[1] / "records" / "clinic"
STEPS = 96  # of a run, unless the patient's set-up says otherwise: about ten seconds on two cores


@dataclass(frozen=True)
class Patient:
    """One patient; patients.yaml says what each field is. `setup` holds what differs from `clinic.Setup` (LoRA on the
    digits skill, a line each step).
    """

    number: int
    fault: str  # a name in `clinic.CASES`
    knobs: tuple[str, ...]  # names in `knobs.KNOBS`
    measure: str  # in `measures.MEASURES`
    planted: str
    why: str
    tells: dict[str, str]  # by a name in `checks.TESTS`, or "none"; the first is the best
    neighbours: dict[str, str]  # by a name in `causes.CAUSES`
    strength: Any = None
    seed: int = 0
    setup: dict[str, Any] = field(default_factory=dict)
    learns: str = 'puzzles on digits ("83014, in reverse order?")'

    def plan(self, knob: Knob | None = None) -> Plan:
        """The run with its fault in it and, if one is given, a knob turned."""
        from labkit.diagnosis import clinic

        setup = clinic.Setup("clinic", **{"steps": STEPS} | self.setup)
        seed = self.seed + (knob.seed if knob else 0)
        made = clinic.plan(setup, clinic.CASES[self.fault], self.strength, seed)
        if knob is not None:
            knob.turn(made, self.fault)
        return made


@cache
def _table() -> dict:
    import yaml

    return yaml.safe_load(TABLE.read_text(encoding="utf-8"))


@cache
def patients() -> dict[int, Patient]:
    """All patients, by number."""
    found = {}
    for number, row in _table()["patients"].items():
        strength = row.get("strength")
        row = {"seed": number} | row | {"knobs": tuple(row["knobs"])}
        row["strength"] = tuple(strength) if isinstance(strength, list) else strength
        found[number] = Patient(number, **row)
    return found


def patient(number: int) -> Patient:
    """The patient of that number. Raises `InputError` if there is none."""
    there = patients()
    if isinstance(number, bool) or not isinstance(number, int) or number not in there:
        raise InputError(f"there is no patient {number!r}: give a whole number from 1 to {len(there)}")
    return there[number]


def causes_by_claim() -> dict[str, list[str]]:
    """{id of a claim about a symptom, C32 to C37: the different causes that patients with this symptom have}."""
    from labkit.diagnosis.clinic import CASES

    found: dict[str, list[str]] = {}
    for who in patients().values():
        case = CASES[who.fault]
        if case.symptom and case.cause not in found.setdefault(case.symptom, []):
            found[case.symptom].append(case.cause)
    return {claim: sorted(found[claim]) for claim in sorted(found)}


def shows(cause: str) -> str:
    """What a cause shows in a run's curves and tests: completes "it would have shown"."""
    return _table()["causes"][cause]


def digest(made: Plan) -> str:
    """sha256 over the fields of a plan: what is learned, from which weights, in which order, and how.

    Of code that was put into the loop only the places count, of weights their shapes, formats and sizes.
    """
    rows = [[row["input_ids"], row["labels"]] for row in [*made.rows, *made.validation]]
    weights = [
        (name, str(weight.dtype), list(weight.shape), f"{weight.detach().double().abs().sum():.3g}")
        for name, weight in made.model.named_parameters()
    ]
    fields = [
        dataclasses.asdict(made.setup),
        made.settings,
        rows,
        len(made.validation),
        made.order,
        weights,
        sorted(made.hooks),
        len(made.on_step),
        made.hide_nan,
    ]
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()


def recorded(number: int, folder: Path | None = None) -> dict | None:
    """A patient's record, or None: `patient, hash, fault, cause, strength, seed, knob, log, rerun, tests`, and where
    it was made. The logs are as `clinic.run` gives them, with the rows and the tokens (`samples`, `tokens`) that had
    been seen at each line.
    """
    path = (folder or FOLDER) / f"{number:02d}.json"
    if not path.is_file():
        return None
    record = json.loads(path.read_text(encoding="utf-8"))
    return record | {name: history({"log": record[name]}) for name in ("log", "rerun")}


def run(made: Plan, on_progress: Callable[[int, int], None] | None = None) -> dict[str, list]:
    """`clinic.run`, and beside each line how many rows and tokens had been seen (padding left out)."""
    from labkit.diagnosis import clinic

    log = clinic.run(made, on_progress)
    samples, tokens = 0, 0
    log |= {"samples": [], "tokens": []}
    for batch in made.order:
        samples += len(batch)
        tokens += sum(len(made.rows[index]["input_ids"]) for index in batch)
        log["samples"].append(samples)
        log["tokens"].append(tokens)
    return log


def record(who: Patient, folder: Path | None = None) -> Path:
    """Run a patient, the tests and the cure, and write its record."""
    from labkit.diagnosis import checks, clinic
    from labkit.runs import machine, versions

    log = run(who.plan())
    tests = checks.all_of(who.plan, log)
    rerun = run(who.plan(KNOBS[who.knobs[0]]))
    made = {
        "patient": who.number,
        "hash": digest(who.plan()),
        "fault": who.fault,
        "cause": clinic.CASES[who.fault].cause,
        "strength": who.strength,
        "seed": who.seed,
        "knob": who.knobs[0],
        "tests": {
            name: {"line": result.line, "values": {key: short(value) for key, value in result.values.items()}}
            for name, result in tests.items()
        },
        "log": {column: [short(value) for value in values] for column, values in log.items()},
        "rerun": {column: [short(value) for value in values] for column, values in rerun.items()},
        "machine": machine(),
        "versions": versions(),
        "date": datetime.now(UTC).date().isoformat(),
    }
    folder = folder or FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{who.number:02d}.json"
    with write_atomically(path) as file:
        json.dump(made, file, ensure_ascii=False, separators=(",", ":"))
        file.write("\n")
    return path


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m labkit.diagnosis.patients", description="Record what is missing or out of date of the patients."
    )
    parser.add_argument("number", nargs="*", type=int, metavar="NUMBER", help="only these; otherwise all")
    parser.add_argument("--again", action="store_true", help="also what is recorded and has not changed")
    args = parser.parse_args(arguments)
    try:
        chosen = [patient(number) for number in args.number] or patients().values()
    except InputError as error:
        parser.error(str(error))
    import torch

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    for who in chosen:
        before = recorded(who.number)
        if before and before["hash"] == digest(who.plan()) and before["knob"] == who.knobs[0] and not args.again:
            continue
        started = time.perf_counter()
        path = record(who)
        told = f"{time.perf_counter() - started:.0f} s, {path.stat().st_size / 1000:.0f} kB"
        print(f"patient {who.number}: {told}", file=sys.stderr, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
