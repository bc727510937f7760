"""What an installation promises: a light import, ranges that fit Colab and our versions, the labs in the wheel."""

import json
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from labkit.doctor import OK, against, read_freeze

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
REQUIRED = list(map(Requirement, PROJECT["dependencies"]))


def pinned(file: Path) -> dict[str, str]:
    """{package: version} of the lines "package==version"."""
    lines = [line for line in file.read_text().splitlines() if line and not line.startswith("#")]
    return {canonicalize_name(name): version for name, version in (line.split("==") for line in lines)}


CONSTRAINTS = pinned(ROOT / "constraints.txt")


def in_new_process(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True).stdout


def test_importing_labkit_takes_no_heavy_package_with_it():
    loaded = json.loads(in_new_process("import sys, json, labkit; print(json.dumps(list(sys.modules)))"))
    assert "labkit" in loaded
    assert not {"torch", "transformers", "matplotlib", "ipywidgets", "IPython", "numpy"} & set(loaded)


def test_every_name_that_the_package_lists_is_there():
    import labkit

    for name in dir(labkit):
        assert getattr(labkit, name) is not None
    assert callable(labkit.device) and callable(labkit.run)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        labkit.nonsense


def test_doctor_stays_the_function_when_its_module_is_imported():
    assert (
        in_new_process(
            "import labkit.doctor; from labkit.doctor import Check; import labkit as lk; print(callable(lk.doctor))"
        )
        == "True\n"
    )


@pytest.mark.parametrize("python", ["3.12", "3.13"])
@pytest.mark.parametrize("name", ["colab.txt", "colab.gpu.txt"])
def test_an_installation_in_colab_replaces_nothing(name, python):
    """Of what pyproject.toml asks for now, with what grading needs; `labkit doctor --against` reads what is installed."""
    held = read_freeze(Path(__file__).parent / "data" / name)
    asked = [Requirement(line) for extra in ("qlora", "grade") for line in EXTRAS[extra]]
    arrival = against([*REQUIRED, *asked], held, python)
    assert arrival.ok, arrival.conclusion
    assert {"torch", "nbformat", "numpy"} <= set(arrival.of(OK))


@pytest.mark.parametrize("extra", [None, *EXTRAS])
def test_the_exact_versions_lie_in_the_ranges(extra):
    for requirement in REQUIRED if extra is None else map(Requirement, EXTRAS[extra]):
        if requirement.name == "labkit":  # an extra that holds others
            assert requirement.extras <= set(EXTRAS)
        else:
            assert requirement.specifier.contains(CONSTRAINTS[canonicalize_name(requirement.name)]), requirement


def test_the_exact_versions_fit_the_cpu_and_the_cuda_build():
    assert CONSTRAINTS["torch"] == "2.13.0"  # a local suffix such as +cpu would shut the other build out
    assert all("+" not in version for version in CONSTRAINTS.values())


def test_all_holds_every_extra():
    [everything] = map(Requirement, EXTRAS["all"])
    assert everything.extras == set(EXTRAS) - {"all"}


def test_conda_installs_what_pyproject_asks_for():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    python, pip, packages = environment["dependencies"]
    assert SpecifierSet(PROJECT["requires-python"]).contains(python.removeprefix("python=") + ".0") and pip == "pip"
    assert packages == {"pip": ["-c constraints.txt", "-e .[all]"]}  # so all else is pyproject.toml's own


def test_versions_agree():
    import labkit

    assert labkit.__version__ == PROJECT["version"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> list[str]:
    """The names of the files in a wheel built from this checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    [file] = folder.glob("*.whl")
    return zipfile.ZipFile(file).namelist()


def shipped(folder: str, pattern: str) -> set[str]:
    """What git tracks, or would, of a folder."""
    command = [
        "git",
        "-c",
        "safe.directory=*",
        "ls-files",
        "--cached",
        "--others",
        "--exclude-standard",
        f"{folder}/{pattern}",
    ]
    return set(subprocess.run(command, cwd=ROOT, capture_output=True, check=True, text=True).stdout.split())


def test_the_wheel_holds_the_package_with_its_weights_and_records(wheel):
    package = shipped("labkit", "*")
    assert "labkit/cli.py" in package
    assert package <= set(wheel)


@pytest.mark.parametrize("folder, pattern", [("labs", "*.ipynb"), ("quizzes", "*.yaml")])
def test_the_wheel_holds_the_labs_and_the_quizzes(wheel, folder, pattern):
    files = {name for name in shipped(folder, pattern) if not name.startswith("labs/colab/")}  # copies
    assert files == {
        name.removeprefix("labkit/_share/") for name in wheel if name.startswith(f"labkit/_share/{folder}/")
    }


def test_the_wheel_holds_nothing_else(wheel):
    own, kernels = (
        f"labkit-{PROJECT['version']}",
        ".data/data/share/jupyter/kernels/labkit-",
    )  # two of them, for grading
    assert all(name.startswith(("labkit/", f"{own}.dist-info/", f"{own}{kernels}")) for name in wheel)
