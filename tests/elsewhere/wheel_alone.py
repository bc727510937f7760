"""An environment where labkit is nothing but its wheel, beside Colab's versions of everything else.

`python tests/elsewhere/wheel_alone.py FOLDER` makes it: the wheel is built and installed with pip, which may take only
the versions that Colab lists (`tests/data/colab.txt`), and for what Colab does not hold those of `constraints.txt`. Not
Colab's are torch, whose build for Linux is too large to fetch for a test (it is the one that runs this, as hard links),
setuptools, which that torch asks for, and Python itself. FOLDER/labs gets the labs out of the wheel. Nothing in FOLDER
leads back to the checkout.
"""

import os
import shutil
import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
NOT_COLABS = {"torch", "setuptools"}
CUDA = ("nvidia", "cuda", "triton")
TESTED_WITH = ["hypothesis", "pytest-xdist"]  # beside what [grade] brings
WHEEL_MB = 15  # at most


def pinned(file: Path) -> dict[str, str]:
    """{package: version} of the lines "package==version"."""
    lines = [line.split("==") for line in file.read_text().splitlines() if line and not line.startswith("#")]
    return {canonicalize_name(name): version for name, version in lines}


def versions() -> dict[str, str]:
    """What is to be installed, and no other version."""
    both = pinned(ROOT / "constraints.txt") | pinned(ROOT / "tests" / "data" / "colab.txt")
    return {name: version for name, version in both.items() if name not in NOT_COLABS}


def build_wheel(folder: Path) -> Path:
    """Build the wheel from the checkout, and return it."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    [wheel] = folder.glob("labkit-*.whl")
    return wheel


def take_over(package: str, site: Path) -> None:
    """Put an installed package into another environment, as hard links where the disk allows it."""
    about = distribution(package)
    for top in {file.parts[0] for file in about.files or () if file.parts[0] != ".."}:
        source = Path(str(about.locate_file(top)))
        if source.is_dir():
            ignore = shutil.ignore_patterns("__pycache__")
            shutil.copytree(source, site / top, copy_function=link, ignore=ignore, dirs_exist_ok=True)
        elif source.is_file():
            link(source, site / top)
    for further in map(Requirement, about.requires or ()):  # of a build for CUDA: its libraries
        if further.name.startswith(CUDA) and (not further.marker or further.marker.evaluate({"extra": ""})):
            take_over(further.name, site)


def link(source: str | Path, target: str | Path) -> None:
    if Path(target).exists():  # in a folder that several packages share
        return
    try:
        os.link(source, target)
    except OSError:  # another disk
        shutil.copy2(source, target)


def make(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    python = folder / "bin" / "python"
    site = folder / "lib" / "python{}.{}".format(*sys.version_info) / "site-packages"
    take_over("torch", site)
    wheel = build_wheel(folder)
    size = wheel.stat().st_size / 1e6
    print(f"{wheel.name}: {size:.1f} MB")
    if size > WHEEL_MB:
        sys.exit(f"{wheel.name}: more than {WHEEL_MB} MB; see what has grown with `python -m zipfile -l {wheel}`")
    (folder / "versions.txt").write_text("".join(f"{name}=={version}\n" for name, version in versions().items()))
    pip = [sys.executable, "-m", "pip", "--python", str(python), "--no-input", "--disable-pip-version-check"]
    asked = [f"{wheel}[qlora,grade]", *TESTED_WITH]
    subprocess.run([*pip, "install", "-qq", "--constraint", str(folder / "versions.txt"), *asked], check=True)
    labs = folder / "labs"
    shutil.copytree(site / "labkit" / "_share" / "labs", labs)
    shutil.copy(ROOT / "labs" / "conftest.py", labs)


if __name__ == "__main__":
    make(Path(sys.argv[1]).resolve())
