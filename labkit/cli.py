"""The command `labkit`: one table of commands, each in its topic's module, which is imported only when the command is
called.

A command's module has `add_arguments(parser)` and `main(args)`, which returns the exit status: 0 done; 1 done, and
something was wrong; 2 nothing usable was given. A user's mistake is raised as `InputError` and reported in one line.
"""

import argparse
import difflib
import os
import sys
from importlib import import_module
from typing import NoReturn

import labkit
from labkit.common import InputError, say

COMMANDS = {  # name: (module, what it does)
    "demo": ("labkit.demo", "fine-tune the base and show what it answers before and after"),
    "diagnose": (
        "labkit.diagnosis.command",
        "say what a training log shows, which causes fit, and which test would decide",
    ),
    "doctor": ("labkit.doctor", "say what is installed here, and what is missing"),
    "lab": ("labkit.lab", "copy the labs to my-labs/ and open them in JupyterLab"),
    "kernel": ("labkit.kernel", "let Jupyter offer a kernel that runs in this Python, plain or in a sandbox"),
    "run": ("labkit.runs.replay", "replay a recorded run, or run its recipe now"),
    "exercise": ("labkit.exercises", "list the exercises, or check that each known mistake is recognized"),
    "quiz": ("labkit.quizzes.command", "take a lab's questions, or check the banks"),
    "review": ("labkit.quizzes.review", "ask the questions that are due today"),
    "export": ("labkit.quizzes.export", "write the questions for Anki, Moodle, Canvas, a spreadsheet or a printer"),
    "grade": ("labkit.grading.command", "grade a folder of submissions in a sandbox"),
    "check-lab": (
        "labkit.grading.check_lab",
        "run a notebook in the sandbox, and compare its outputs with the stored ones",
    ),
    "progress": ("labkit.progress", "export or import what you did in the labs"),
    "runs": ("labkit.runs.command", "list the recorded runs, or make them again"),
    "claims": ("labkit.claims", "print the ledger of claims, or write it into docs/ledger.md"),
    "dedup": ("labkit.dedup_command", "remove near-duplicates from a file, and say what was removed and why"),
    "split": ("labkit.split_command", "split a file into training and test, and count what leaks between them"),
    "sft": ("labkit.sft", "fine-tune a model on your own examples: all weights, LoRA or QLoRA"),
    "corpus": ("labkit.corpus", "dedup for a folder of files, by datatrove, here or on a Ray cluster"),
    "plan": ("labkit.plan_command", "say what fits a card in training, and what would make it fit"),
    "score": ("labkit.score_command", "rate an adapter on questions that are drawn now, or a class's adapters"),
    "lint": ("labkit.lint", "say what in a file of examples would be masked, cut or never taught"),
    "almanac": ("labkit.almanac.command", "print documents and examples of the invented world"),
    "base": ("labkit.workshop.pretraining", "build the base model from the almanac"),
    "bench": ("labkit.workshop.bench", "measure speed and memory beside the peer libraries"),
    "notebooks": ("labkit.workshop.notebooks", "build the notebooks from their sources"),
}


def usage() -> str:
    rows = "\n".join(f"  {name:<11}{summary}" for name, (_, summary) in COMMANDS.items())
    return (
        f"usage: labkit COMMAND [options]\n\n{rows}\n\n"
        "`labkit COMMAND --help` explains one of them. Begin with `labkit doctor`, then `labkit lab`."
    )


class Parser(argparse.ArgumentParser):
    """Says in one line what is wrong with the arguments, like every other user error."""

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message}; `{self.prog} --help` lists the options")


def find(command: str) -> tuple[str, str]:
    """The command's module and summary; InputError, with the nearest name, for an unknown one."""
    if command not in COMMANDS:
        near = difflib.get_close_matches(command, COMMANDS, n=1)
        hint = f"did you mean `labkit {near[0]}`?" if near else "`labkit --help` lists them"
        raise InputError(f"there is no command {command!r}; {hint}")
    return COMMANDS[command]


def call(command: str, arguments: list[str]) -> int:
    """Run one command and return its exit status; `--help` ends in SystemExit."""
    if command in ("-h", "--help"):
        print(usage())
        return 0
    if command == "--version":
        print(f"labkit {labkit.__version__}")
        return 0
    module_name, summary = find(command)
    module = import_module(module_name)
    parser = Parser(
        prog=f"labkit {command}",
        description=summary[0].upper() + summary[1:] + ".",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    module.add_arguments(parser)
    return module.main(parser.parse_args(arguments))


def main(arguments: list[str] | None = None) -> int:
    command, *rest = (sys.argv[1:] if arguments is None else arguments) or ["--help"]
    try:
        status = call(command, rest)
        sys.stdout.flush()
        return status
    except InputError as error:
        say(f"labkit: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("labkit: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # `labkit … | head`: the reader has stopped, so the rest is discarded
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


if __name__ == "__main__":
    sys.exit(main())
