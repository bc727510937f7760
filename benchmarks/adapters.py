"""Strange adapters (`tests/strange_adapters.py`): what this kit makes of each, beside what PEFT alone does.

Each case runs in a child with 10 s and 2 GB, once through `labkit.adapters` and once through
`PeftModel.from_pretrained`, over a fresh base, and has to answer a prompt. It *held* if it was refused, or answered with
the base's weights and config as they were, nothing of the folder run, in time and memory; for ours the refusal is also
one line that says what the case expects. `total` and `held` are ours, `peft_held` is PEFT's.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import re
import shutil
import sys
import tempfile
import time
from pathlib import Path

import torch

from labkit import adapters, models
from labkit.common import InputError, printable

SECONDS, MEMORY = 10, 2_000_000_000
BASES: list = []  # the base, loaded once; a child has a copy of its own


def main(args: argparse.Namespace) -> dict:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
    import peft  # noqa: F401  # loaded once, so that no child's time is spent on it
    import strange_adapters

    torch.set_num_threads(1)
    BASES[:] = [models.load(device="cpu")[0]]
    held, theirs, table = 0, 0, {}
    with tempfile.TemporaryDirectory() as place:
        for number, case in enumerate(strange_adapters.CASES):
            folder = Path(place) / str(number) / "adapter"
            good(folder)
            case.spoil(folder)
            ours, said, seconds = tried(_ours, folder, case)
            beside, peft_said, _ = tried(_peft, folder, case)
            held, theirs = held + (ours == "held"), theirs + (beside == "held")
            table[case.name] = {
                "labkit": ours,
                "said": said,
                "seconds": seconds,
                "peft": beside,
                "peft_said": peft_said,
            }
            print(f"{ours:<22} {seconds:>4.1f} s  {case.name}: {said[:90]} | PEFT: {beside}: {peft_said[:70]}")
            shutil.rmtree(folder.parent, ignore_errors=True)
    total = len(table)
    print(f"{held} of {total} held; with PeftModel.from_pretrained alone {theirs}")
    return {"total": total, "held": held, "peft_held": theirs, "ok": held == total, "cases": table}


def good(folder: Path) -> None:
    """The adapter that each case spoils a copy of."""
    source = folder.parents[1] / "good"
    if not source.exists():
        import strange_adapters

        strange_adapters.write_good(source, BASES[0])
    shutil.copytree(source, folder)


def tried(how, folder: Path, case) -> tuple[str, str, float]:
    """(held, or what did not; what was said; seconds) of a case in a child."""
    receive, send = multiprocessing.Pipe(duplex=False)
    child = multiprocessing.get_context("fork").Process(target=_child, args=(how, folder, case, send))
    started = time.monotonic()
    child.start()
    send.close()
    outcome, said = "ended without a word", ""
    if not receive.poll(SECONDS):
        outcome = f"longer than {SECONDS} s"
    else:
        try:
            outcome, said = receive.recv()
        except EOFError:
            pass
    seconds = time.monotonic() - started
    child.kill()
    child.join()
    return outcome, printable(said), round(seconds, 2)


def _child(how, folder: Path, case, send) -> None:
    import resource

    for stream in (1, 2):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
    tripwire = folder.parent / "ran"
    os.environ["TRIPWIRE"] = str(tripwire)
    os.chdir(folder.parent)
    grown = int(Path("/proc/self/statm").read_text().split()[5]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_DATA, (grown + MEMORY, grown + MEMORY))
    model = BASES[0]
    before, config = adapters.fingerprint(model), model.config.to_json_string()
    outcome, said = how(folder, model, case)
    if tripwire.exists():
        outcome = "something was run"
    elif outcome == "held" and (adapters.fingerprint(model) != before or model.config.to_json_string() != config):
        outcome = "the base has changed"
    send.send((outcome, said))


def _answers(model) -> tuple[str, str]:
    with torch.inference_mode():
        logits = model(input_ids=torch.arange(5, 25)[None]).logits
    return ("held" if bool(torch.isfinite(logits).all()) else "logits are no numbers"), "answers"


def _ours(folder: Path, model, case) -> tuple[str, str]:
    try:
        found = adapters.read(folder)
        said = "; ".join(found.notes)
        adapted = adapters.attach(found, model)
    except InputError as error:
        expected = case.refused is not None and re.search(case.refused, str(error)) and str(error).isprintable()
        return "held" if expected else "refused for another reason", str(error).replace(f"{folder}", "…")
    if case.refused is not None:
        return "was not refused", said
    return _answers(adapted)[0], said or "scored"


def _peft(folder: Path, model, case) -> tuple[str, str]:
    import warnings

    from peft import PeftModel

    warnings.simplefilter("ignore")
    try:
        adapted = PeftModel.from_pretrained(model, folder).eval()
        return _answers(adapted)
    except MemoryError:
        return "out of memory", ""
    except Exception as error:
        said = f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}"
        return ("out of memory" if "memory" in said else "held"), said[:200]


if __name__ == "__main__":
    print(json.dumps({key: value for key, value in main(argparse.Namespace()).items() if key != "cases"}))
