"""`labkit bench` finds a benchmark by name, hands its figures on, and says whether it failed; some are run here."""

import json
import subprocess
import sys
import time

import nbformat
import psutil
import pytest

from labkit import lab
from labkit.cli import main
from labkit.exercises import engine
from labkit.exercises.kinds import same
from labkit.workshop import bench

pytestmark = pytest.mark.slow


@pytest.fixture
def benchmarks(tmp_path, monkeypatch):
    """A checkout with three benchmarks."""
    monkeypatch.setattr(bench, "checkout", lambda: tmp_path)
    (tmp_path / "benchmarks").mkdir()
    for name, figures in {
        "sft": {"ratio": 1.6},
        "import_time": {"seconds": 0.1, "ok": True},
        "labs": {"01": {"ok": False}},
    }.items():
        (tmp_path / "benchmarks" / f"{name}.py").write_text(
            f"def main(args):\n    print('a table')\n    return {figures!r}\n"
        )


@pytest.mark.parametrize(
    "name, figures, status",
    [
        ("sft", {"ratio": 1.6}, 0),
        ("import", {"seconds": 0.1, "ok": True}, 0),
        ("labs", {"01": {"ok": False}}, 1),
        ("all", {"import": {"seconds": 0.1, "ok": True}, "labs": {"01": {"ok": False}}, "sft": {"ratio": 1.6}}, 1),
    ],
)
def test_the_last_line_is_the_figures(benchmarks, capsys, name, figures, status):
    assert main(["bench", name, "--json"]) == status
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == figures


def test_help_names_every_benchmark(benchmarks, monkeypatch, capsys):
    for checkout, named in ((bench.checkout(), "import, labs, sft; or all"), (None, "need a checkout")):
        monkeypatch.setattr(bench, "checkout", lambda: checkout)
        with pytest.raises(SystemExit):
            main(["bench", "--help"])
        assert named in " ".join(capsys.readouterr().out.split())


def test_without_json_only_the_table(benchmarks, capsys):
    assert main(["bench", "sft"]) == 0
    assert capsys.readouterr().out == "a table\n"


def test_an_unknown_name_and_an_installed_package_say_what_to_do(benchmarks, monkeypatch, capsys):
    assert main(["bench", "speed"]) == 2
    assert "there are import, labs, sft, or all" in capsys.readouterr().err
    monkeypatch.setattr(bench, "checkout", lambda: None)
    assert main(["bench", "sft"]) == 2
    assert "in a checkout" in capsys.readouterr().err


def test_import_is_measured_and_light(capsys):
    assert main(["bench", "import", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert 0 < figures["seconds"] < figures["process_seconds"]
    assert figures["loaded"] == []


def test_import_finds_a_heavy_package(monkeypatch):
    module = bench.load(bench.files()["import"])
    monkeypatch.setattr(
        module, "MEASURE", module.MEASURE.replace("import labkit", "import sys; sys.modules['torch'] = sys")
    )
    figures = module.main(None)
    assert figures["loaded"] == ["torch"] and not bench.passed(figures)


def notebook(path, *cells):
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells]), path)
    return path


def test_labs_are_run_and_a_failing_cell_is_a_failure(tmp_path, monkeypatch, capsys):
    good = notebook(
        tmp_path / "00_good.ipynb",
        "import os, time; assert not os.path.exists(os.environ['LABKIT_HOME'])",
        "block = bytearray(b'x') * 200_000_000; time.sleep(0.5)",
    )
    bad = notebook(tmp_path / "01_bad.ipynb", "1 / 0")
    monkeypatch.setattr(lab, "shipped_labs", lambda: [good, bad])
    assert main(["bench", "labs", "--json"]) == 1
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert set(figures) == {"00_good", "01_bad"}
    assert set(figures["00_good"]) == {"seconds", "peak_rss_mb"}
    assert 0.5 <= figures["00_good"]["seconds"] < 60
    assert 200 < figures["00_good"]["peak_rss_mb"] < 600
    assert "ZeroDivisionError" in figures["01_bad"]["error"]


def test_memory_counts_the_children():
    labs = bench.load(bench.files()["labs"])
    code = (
        "import subprocess, sys; subprocess.run([sys.executable, '-c', "
        "'import time; block = bytearray(b\"x\") * 200_000_000; print(1, flush=True); time.sleep(60)'])"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        tree = psutil.Process(process.pid)
        process.stdout.readline()
        child = tree.children()[0]
        assert tree.memory_info().rss < 100e6 < labs.tree_memory(tree)
        child.kill()
        process.wait()


def test_memory_of_a_process_that_ended_is_what_was_seen():
    labs = bench.load(bench.files()["labs"])
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        memory = labs.PeakMemory(process.pid)
        memory.start()
        time.sleep(0.3)
        process.communicate(b"\n")
    assert memory.stop() > 1e6


@pytest.fixture(scope="module")
def grade():
    return bench.load(bench.files()["grade"])


def test_the_learners_to_grade_are_distinct_and_of_a_seed(grade):
    learners = grade.drawn("01", 50)
    assert learners == grade.drawn("01", 50) != grade.drawn("01", 50, seed=1)
    assert len({tuple(cells.values()) for cells in learners}) == 50


@pytest.mark.parametrize("lab", ["01", "03"])
def test_the_peers_asserts_earn_what_our_probes_earn(grade, lab):
    for exercise in grade.lab_exercises(lab):
        first, own, *probes = grade.notebook({exercise.id: grade.reference_cell(exercise)})["cells"]
        groups = grade.grouped(exercise, grade.SEED)
        assert sum(cell["metadata"]["nbgrader"]["points"] for cell in probes) == pytest.approx(exercise.points)
        for function in [exercise.reference, *(known.function for known in exercise.misconceptions)]:
            outcomes = [engine.call(function, probe.args)[0] for probe in exercise.draw(grade.SEED)]
            expected = engine.expected_outcomes(exercise, grade.SEED)
            right = [same(outcome, other, exercise.compare) for outcome, other in zip(outcomes, expected)]
            earned = []
            for cell in probes:
                namespace = {}
                exec(first["source"], namespace)
                namespace[exercise.name] = function
                try:
                    exec(cell["source"], namespace)
                    earned.append(True)
                except Exception:
                    earned.append(False)
            assert earned == [all(right[i] for i in members) for members in groups.values()], function.__name__


def test_a_grading_is_measured(grade, tmp_path):
    used, rows = grade.graded(grade.hand_in(tmp_path, "01", grade.drawn("01", 2)), tmp_path / "grades", 1, watch=True)
    assert len(rows) == 2 and all(row["outcome"] == "graded" for row in rows)
    assert 0 < sum(row["sandbox_cpu_seconds"] for row in rows) < used["cpu"]
    assert 50 < used["peak_mb"] < grade.MEMORY_MB
