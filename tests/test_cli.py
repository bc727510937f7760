"""The command `labkit`: the table of commands, help, and how it ends."""

import argparse
import os
import subprocess
import sys
import time
from importlib import import_module
from types import SimpleNamespace

import pytest

from labkit import cli
from labkit.common import InputError


@pytest.fixture
def command(monkeypatch):
    """Put a command named "try" in the table that does what the test says."""

    def add(main):
        module = SimpleNamespace(
            add_arguments=lambda parser: parser.add_argument("--steps", type=int, default=1), main=main
        )
        monkeypatch.setitem(cli.COMMANDS, "try", ("labkit.try", "try it out"))
        monkeypatch.setattr(cli, "import_module", lambda name: module if name == "labkit.try" else import_module(name))

    return add


def raise_(error):
    raise error


def test_arguments_reach_the_command_and_its_status_comes_back(command):
    command(lambda args: args.steps)
    assert cli.main(["try"]) == 1
    assert cli.main(["try", "--steps", "0"]) == 0


def test_what_a_user_did_wrong_is_one_line_and_status_2(command, capsys):
    command(lambda args: raise_(InputError('data.jsonl, line 3: no "prompt"; add it')))
    assert cli.main(["try"]) == 2
    assert capsys.readouterr() == ("", 'labkit: data.jsonl, line 3: no "prompt"; add it\n')


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["try", "--steps", "many"], "--steps"),
        (["try", "--step"], "--step"),
        (["try", "--none-such"], "--none-such"),
        (["runs"], "list | show | rebuild"),
        (["runs", "show"], "NAME"),
    ],
)
def test_arguments_that_do_not_fit_are_one_line_and_status_2(command, capsys, arguments, named):
    command(lambda args: 0)
    assert cli.main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1
    assert err.startswith("labkit: ") and named in err and f"`labkit {arguments[0]}" in err and "--help`" in err


def test_an_interruption_is_one_line_and_status_130(command, capsys):
    command(lambda args: raise_(KeyboardInterrupt()))
    assert cli.main(["try"]) == 130
    assert capsys.readouterr() == ("", "labkit: interrupted\n")


def test_a_fault_of_ours_is_not_hidden(command):
    command(lambda args: raise_(RuntimeError("ours")))
    with pytest.raises(RuntimeError):
        cli.main(["try"])


def test_an_unknown_command_names_the_nearest(capsys):
    assert cli.main(["docter"]) == 2
    assert "did you mean `labkit doctor`?" in capsys.readouterr().err
    assert cli.main(["xyzzy"]) == 2
    assert "`labkit --help`" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"]])
def test_help_lists_every_command(arguments, capsys):
    assert cli.main(arguments) == 0
    out = capsys.readouterr().out
    assert all(f"\n  {name} " in out for name in cli.COMMANDS)


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_explains_itself_with_an_example(name, capsys):
    with pytest.raises(SystemExit) as end:
        cli.main([name, "--help"])
    assert end.value.code == 0
    out = capsys.readouterr().out
    body = out[out.index("\n\n") :]  # after the usage line
    assert f"labkit {name}" in body, "the help shows no example"


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_is_a_module_with_both_functions(name):
    module = import_module(cli.COMMANDS[name][0])
    module.add_arguments(argparse.ArgumentParser())
    assert callable(module.main)


def test_help_is_quick_and_loads_no_command():
    code = (
        "import sys; from labkit import cli; cli.main([]); print({'torch', 'numpy', 'labkit.lab'} & set(sys.modules))"
    )
    start = time.perf_counter()
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True).stdout
    assert out.endswith("set()\n")
    assert time.perf_counter() - start < 5  # importing torch alone takes about 3 s


def test_a_reader_that_stops_reading_is_no_fault():
    code = "import sys; from labkit import cli; cli.usage = lambda: 'x\\n' * 10**6; sys.exit(cli.main([]))"
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([sys.executable, "-c", code], stdout=write, stderr=subprocess.PIPE, text=True)
    os.close(write)
    assert (done.returncode, done.stderr) == (0, "")
