"""Kernels for Jupyter that run in this Python: `labkit kernel install`.

`plain` is this environment as it is, with its GPU if there is one; `sandbox` runs a whole lab under bubblewrap (the
kernels that grade learners' work are in `grading`). A notebook server of another environment, a hub's for example, then
offers them, and so does anything that takes a kernel's name, such as nbval.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from labkit.common import InputError

NAMES = {"plain": "labkit", "sandbox": "labkit-sandbox"}
SANDBOX = Path(__file__).parent / "grading" / "kernels" / "labkit-sandbox" / "kernel.json"


def spec(kind: str) -> dict[str, Any]:
    """What `kernel.json` holds for `plain` or `sandbox`, with this Python by its full path."""
    if kind == "sandbox":
        given = json.loads(SANDBOX.read_text(encoding="utf-8"))
        return given | {"argv": [sys.executable, *given["argv"][1:]]}
    return {
        "argv": [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
        "display_name": "labkit (Python {}.{})".format(*sys.version_info),
        "language": "python",
        "metadata": {"debugger": True},
        "env": {"GOMP_SPINCOUNT": "10000"},  # as in labkit/__init__.py, for a notebook that loads torch first
    }


def install(kind: str, prefix: str | None = None) -> Path:
    """Install a kernel for this user, or below `prefix`; returns its folder. Raises `InputError` where it could not run."""
    needs = {"plain": ("jupyter_client", "ipykernel"), "sandbox": ("jupyter_client",)}[kind]
    for package in needs:
        if find_spec(package) is None:
            raise InputError(f"a kernel needs {package}, which is not installed; `pip install {package}`")
    if kind == "sandbox":
        from labkit.grading import sandbox

        if reason := sandbox.missing():
            raise InputError(reason)
    from jupyter_client.kernelspec import KernelSpecManager

    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "kernel.json").write_text(json.dumps(spec(kind), indent=1) + "\n", encoding="utf-8")
        try:
            place = KernelSpecManager().install_kernel_spec(folder, NAMES[kind], user=prefix is None, prefix=prefix)
        except OSError as error:
            raise InputError(
                f"{error.filename or prefix}: cannot be written ({error.strerror or error}); name another --prefix"
            ) from None
    return Path(place)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=("install",), help="let Jupyter offer kernels that run in this Python")
    parser.add_argument("kinds", metavar="KIND", nargs="*", default=["plain"], help="plain, sandbox (default: plain)")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--prefix", metavar="FOLDER", help="for all who use the Jupyter there, such as /usr/local")
    where.add_argument(
        "--sys-prefix", dest="prefix", action="store_const", const=sys.prefix, help="only into this environment"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    parser.epilog = (
        "Without --prefix it is for yourself. Every lab, in it, against its stored outputs:\n"
        "  pytest --nbval labs --nbval-kernel-name labkit\n\n"
        "examples:\n  labkit kernel install\n  labkit kernel install plain sandbox --prefix /usr/local"
    )


def main(args: argparse.Namespace) -> int:
    for kind in args.kinds:
        if kind not in NAMES:
            raise InputError(f"there is no kernel {kind!r}; choose {' or '.join(NAMES)}")
    places = {NAMES[kind]: str(install(kind, args.prefix)) for kind in args.kinds}
    for name, place in places.items():
        print(f"{name}: {place}")
    if args.json:
        print(json.dumps(places))
    return 0
