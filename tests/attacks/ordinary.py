"""A command run by a user who is not root, in a mount namespace where no closed folder, such as root's home, hides what it
needs. `python tests/attacks/ordinary.py benchmarks/attacks.py 104 108` is the attacks as an ordinary user.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from labkit.grading import sandbox

USER = 12_345


def environment() -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "HOME": "/tmp",
        "PYTHONPATH": f"{sandbox.PACKAGE.parent}:{Path(__file__).parent}",
    }


def command(wanted: list[str], folder: Path) -> list[str]:
    """`wanted` as that user; `folder` is an empty one to keep mounts in. Only root can run it."""
    first, hide, back = ["mount --make-rprivate /"], {}, []
    needed = {Path(sys.base_prefix).resolve(), Path(sys.prefix).resolve(), sandbox.PACKAGE.parent}
    for number, place in enumerate(sorted(needed)):
        closed = [each for each in reversed(place.parents) if not each.stat().st_mode & 0o001]
        if closed:
            kept = folder / str(number)
            kept.mkdir()
            first.append(f"mount --bind {place} {kept}")
            hide[closed[0]] = f"mount -t tmpfs -o mode=755 tmpfs {closed[0]}"
            back += [f"mkdir -p -m 755 {place}", f"mount --bind {kept} {place}"]
    steps = [*first, *hide.values(), *back]
    steps.append(f'exec setpriv --reuid={USER} --regid={USER} --clear-groups "$@"')
    return ["unshare", "--mount", "sh", "-euc", "\n".join(steps), "sh", *wanted]


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as mounts:
        asked = command([sys.executable, *sys.argv[1:]], Path(mounts))
        sys.exit(subprocess.run(asked, env=environment()).returncode)
