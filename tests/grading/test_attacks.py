"""The attacks of tests/attacks/ that end quickly; `labkit bench attacks` runs all of them, each with a neighbour."""

import json

import oracle
import peers
import pytest

from labkit import cluster
from labkit.grading import sandbox
from labkit.grading.judge import work

LONG = (
    "huge",
    "flood",
    "exit",
    "stopped",
    "endless",
    "sleeping",
    "ignored",
    "printing",
    "children",
    "memory",
    "bytecode",
    "dotted",
    "forgotten",
    "headless",
    "zombies",
    "sleep_",
    "magics",
    "short_lived",
)
ONCE = (
    "hung_preamble",
    "linked_socket",
    "repeated_key",
    "shared_memory",
    "clone_namespace",
    "empty_files",
    "page_tables",
)
ONCE += (
    "first_memory",
    "shown_share",
    "hidden_change",
    "pages_in_pipes",
    "full_sockets",
    "process_name",
    "zips_in_zip",
)
ONCE += (
    "names_in_names",
    "names_in_rosters",
    "names_in_feedback",
    "surrogate_words",
    "odd_array",
)  # these got through once
QUICK = [path for path in oracle.ATTACKS if not any(word in path.stem for word in LONG)][::3]
QUICK += [path for path in oracle.ATTACKS if path.stem.partition("_")[2] in ONCE and path not in QUICK]


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    with oracle.Oracle(tmp_path_factory.mktemp("attacks")) as judge:
        jobs = [*map(judge.job, QUICK), judge.neighbour(0)]
        *lines, neighbour = cluster.map(work, jobs, workers=2)
        assert json.loads(neighbour)["points"] == 1
        return {path.stem: judge.judge(path, line) for path, line in zip(QUICK, lines)}


@pytest.mark.parametrize("name", [path.stem for path in QUICK])
def test_an_attack_holds(outcomes, name):
    assert outcomes[name].broken == []


def test_nothing_is_left_behind(outcomes):
    assert oracle.leftovers() == []


def test_there_are_at_least_130():
    assert len(oracle.ATTACKS) >= 130


@pytest.mark.skipif(sandbox.missing() is not None, reason="no sandbox here")
@pytest.mark.parametrize("name, broken", [("04_constant", []), ("99_clone_namespace", ["took disk or memory outside"])])
def test_the_oracle_sees_what_plain_nbval_lets_through(name, broken):
    (attack,) = (path for path in oracle.ATTACKS if path.stem == name)
    assert peers.graded("nbval", attack, None, "") == broken
