"""`labkit quiz`: take a lab's questions in the terminal, check the banks, print their schema."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from labkit.common import InputError, write_atomically
from labkit.quizzes import banks
from labkit.syllabus import LABS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "examples:\n  labkit quiz take masking\n  labkit quiz lint\n  labkit quiz lint quizzes/04_masking.yaml\n"
        "  labkit quiz schema --write labkit/quizzes/schema.json"
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")

    def action(name: str, help: str, example: str) -> argparse.ArgumentParser:
        return actions.add_parser(name, help=help, epilog=f"example: labkit quiz {example}")

    take = action("take", "answer a lab's questions here", "take masking --when before")
    take.add_argument("lab", metavar="LAB", help=f"one of {', '.join(LABS)}")
    take.add_argument(
        "--when", choices=("before", "during", "after"), help="only these (default: all of the lab's questions)"
    )
    exam = action("exam", "a practice exam, answered at the end", "exam --questions 10 --minutes 15")
    exam.add_argument("--questions", type=int, default=20, help="how many (default: %(default)s)")
    exam.add_argument("--minutes", type=float, help="the time for it (default: no limit)")
    exam.add_argument("--new", action="store_true", help="begin anew, if one was interrupted")
    lint = action(
        "lint", "check the banks: form, hints that give the answer away, numbers, coverage", "lint quizzes/01_data.yaml"
    )
    lint.add_argument("files", metavar="FILE.yaml", nargs="*", type=Path, help="only these (default: all that ship)")
    schema = action("schema", "print the JSON Schema of a bank, for an editor", "schema --write bank.schema.json")
    schema.add_argument("--write", metavar="FILE", type=Path, help="write it to a file instead")
    for each in (take, exam, lint, schema):
        each.add_argument("--json", action="store_true", help="end with one JSON object")


def main(args: argparse.Namespace) -> int:
    return {"take": _take, "exam": _exam, "lint": _lint, "schema": _schema}[args.action](args)


def _take(args: argparse.Namespace) -> int:
    from labkit.quizzes import terminal, today
    from labkit.quizzes.answers import put

    found = [q for q in banks.load(banks.bank_of(args.lab)) if args.when in (None, q.when)]
    print(
        f"{len(found)} question{'s' * (len(found) != 1)}. An empty line shows the answer, a ? after yours says that you guessed; Ctrl-D ends."
    )
    results = terminal.sit([put(question, today()) for question in found])
    print(f"\n{sum(results)} of {len(results)} right.")
    if args.json:
        print(json.dumps({"lab": args.lab, "asked": len(results), "right": sum(results)}))
    return 0


def _exam(args: argparse.Namespace) -> int:
    from labkit.progress import store
    from labkit.quizzes import exam

    exam.check_minutes(args.minutes)
    sitting = None if args.new else exam.unfinished_exam()
    if sitting:
        print(
            f"Going on with the exam that was interrupted; {len(sitting.given()[0])} of {len(sitting.puts)} answered."
        )
    else:
        sitting = exam.drawn(args.questions, args.minutes)
    print(f"{exam.title(sitting)}. An empty line skips a question, Ctrl-D hands in, Ctrl-C goes on another time.")
    try:
        answers = exam.in_terminal(sitting.puts, sitting.minutes, sitting=sitting)
    except KeyboardInterrupt:
        kept = "What you answered is kept; `labkit quiz exam` goes on." if store().lasting else "Interrupted."
        print(f"\n{kept}")
        return 1
    print("\n" + exam.as_text(answers))
    unseen = len(sitting.puts) - len(answers)
    if unseen:
        print(f"\n{unseen} of {len(sitting.puts)} questions were not seen; they do not count.")
    if args.json:
        objectives = {name: {"right": right, "asked": asked} for name, right, asked, _ in exam.by_objective(answers)}
        right = sum(each.right for each in answers)
        said = {
            "asked": len(answers),
            "right": right,
            "unseen": unseen,
            "objectives": objectives,
            "brier": exam.brier(answers),
        }
        print(json.dumps(said))
    return 0


def _lint(args: argparse.Namespace) -> int:
    from labkit.quizzes import form
    from labkit.quizzes.lint import LEVELS, lint, tally

    paths = args.files or banks.shipped()
    if not paths:
        raise InputError(f"{banks.folder()}: holds no banks; name a file")
    for path in paths:
        if not path.is_file():
            raise InputError(f"{path}: there is no such file; check the name")
    findings = lint(paths, whole=not args.files)
    for finding in findings:
        print(finding)
    loaded = {path.stem: banks.load(path) for path in paths if not banks.faults(path)}
    questions = [question for bank in loaded.values() for question in bank]
    count, objectives = len(questions), tally(questions)
    fresh = sum(question.when == "exam" and not question.resembles for question in questions)
    if not args.files:
        for name, own in objectives.items():
            levels = ", ".join(f"{own[level]} {level}" for level in LEVELS)
            print(f"{name}: {own['labs']} questions ({levels}), {own['cards']} cards, and {own['exam']} in the exam")
        print(f"{fresh} questions of the exam share no situation with a lab's")
    rules = [(name, rule) for name, bank in loaded.items() for rule in form.rules(bank)]
    best = max(rules, key=lambda found: found[1].gain, default=None)
    if best:
        print(f"guessing by form gains at most {100 * best[1].gain:.0f} points ({best[0]}: what {best[1].name})")
    print(f"{count} questions in {len(paths)} banks: {len(findings) or 'no'} finding{'s' * (len(findings) != 1)}")
    if args.json:
        said = {
            "questions": count,
            "banks": len(paths),
            "objectives": objectives,
            "new_situations": fresh,
            "form_gain": round(best[1].gain, 4) if best else 0.0,
            "findings": findings,
        }
        print(json.dumps(said, ensure_ascii=False))
    return 1 if findings else 0


def _schema(args: argparse.Namespace) -> int:
    from labkit.quizzes.schema import json_schema

    text = json.dumps(json_schema(), indent=None if args.json and not args.write else 1, ensure_ascii=False) + "\n"
    if args.write:
        with write_atomically(args.write) as file:
            file.write(text)
        print(f"the schema is in {args.write}")
        if args.json:
            print(json.dumps({"file": str(args.write)}))
    else:
        print(text, end="")
    return 0
