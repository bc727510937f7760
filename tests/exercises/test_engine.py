"""Trying a learner's cell: what is accepted, and what is said of each thing that can go wrong."""

import sys
import threading
import time

import pytest

from labkit.exercises import engine
from labkit.exercises.engine import check, is_stub, judge
from toy_exercise import TOY, cell, mean

RIGHT = 'if not values:\n    raise ValueError("none")\nreturn sum(values) / len(values)'


def test_a_right_function_passes_and_is_handed_on():
    verdict = check(TOY, cell(RIGHT))
    assert verdict.passed and verdict.text == "passed"
    assert verdict.function([1, 3]) == 2


def test_helpers_imports_and_prints_in_the_same_cell_are_fine(capsys):
    source = "from statistics import fmean\nprint('hello')\n\ndef helper(v):\n    return fmean(v)\n\n" + cell(
        'if not values:\n    raise ValueError\nprint(values)\nreturn helper(values)'
    )
    assert check(TOY, source).passed
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("body", ["...", "pass", '"""Mean."""', '"""Mean."""\n...', "raise NotImplementedError", "raise NotImplementedError('soon')"])
def test_a_stub_is_not_attempted(body):
    assert is_stub(cell(body), "toy.mean")
    assert check(TOY, cell(body)).kind == "not attempted"


def test_returning_none_is_no_stub():
    assert check(TOY, cell("return None")).kind == "wrong"
    assert not is_stub("def mean(values): ...", "toy.mean")


@pytest.mark.parametrize("known", TOY.misconceptions, ids=lambda known: known.name)
def test_a_misconception_is_named(known):
    verdict = judge(TOY, known.function)
    assert (verdict.kind, verdict.misconception) == ("misconception", known.name)
    assert known.message in verdict.text


def test_a_misconception_is_named_also_where_an_edge_is_right():
    verdict = check(TOY, cell("if not values:\n    raise ValueError\nreturn sum(values)"))
    assert verdict.misconception == "sum"


def test_the_smallest_failing_probe_is_shown():
    verdict = check(TOY, cell("if not values:\n    raise ValueError\nreturn sum(values) / len(values) + 1"))
    assert verdict.kind == "wrong"
    assert verdict.text == "wrong for mean([1.0]): yours 2.0, expected 1.0"


def test_an_error_names_the_line_and_keeps_the_traceback():
    verdict = check(TOY, cell("if not values:\n    raise ValueError\ntotal = 0\nreturn total + values"))
    assert verdict.kind == "raised"
    assert verdict.text.startswith("raised TypeError in your line 6: ")
    assert "return total + values" in verdict.details


def test_an_error_that_is_not_the_one_asked_for():
    verdict = check(TOY, cell("if not values:\n    raise KeyError('x')\nreturn sum(values) / len(values)"))
    assert verdict.text == "wrong for mean([]): it raises KeyError, where a ValueError is right"


def test_a_name_from_another_cell_is_not_defined():
    verdict = check(TOY, cell("return average(values)"))
    assert verdict.text.startswith("`average` is not defined in this cell in your line 3; ")


def test_a_name_at_the_top_of_the_cell_is_not_defined():
    assert "`np2` is not defined in this cell" in check(TOY, "x = np2.zeros(3)\n" + cell(RIGHT)).text


def test_the_preamble_is_there_and_lk_has_only_the_decorator():
    source = cell("if not values:\n    raise ValueError\nreturn math.fsum(values) / np.size(values)")
    assert check(TOY, source).passed
    assert "lk.use" in check(TOY, "other = lk.use('toy.mean')\n" + cell(RIGHT)).text


def test_magics_are_refused_in_words():
    source = "get_ipython().run_line_magic('time', '')\n" + cell(RIGHT)
    assert check(TOY, source).text == "a line with % or ! cannot be in an exercise's cell, it is your line 1"


def test_broken_syntax_names_the_line():
    assert "SyntaxError in your line 3" in check(TOY, cell("return (")).text


@pytest.mark.parametrize(
    "head",
    [
        "import labkit as lk\n",
        "from labkit import exercise\n",
        "from dataclasses import dataclass\n\n@dataclass\nclass Pair:\n    a: int\n\n",
        "from functools import reduce\nfrom typing import *\n",
    ],
)
def test_natural_heads_of_a_cell_are_fine(head, monkeypatch):
    monkeypatch.setattr("labkit.exercises.catalogue", lambda: {TOY.id: TOY})
    assert check(TOY, head + cell(RIGHT)).passed


def test_the_streams_are_back_after_a_limit():
    before = sys.stdout, sys.stderr
    body = "items = []\nitems.append(items)\nitems.append(items)\nreturn items"
    assert not check(TOY, cell(body), seconds=0.5).passed
    assert (sys.stdout, sys.stderr) == before and not engine._output


def test_a_number_of_thousands_of_digits_is_an_answer_like_others():
    assert "thousands of digits" in check(TOY, cell("return 10**5000")).text
    assert check(TOY, cell("return {10**5000}")).kind == "wrong"


def test_what_is_no_function_is_said():
    assert "no function" in check(TOY, 'lk.exercise("toy.mean")(5)').text


def test_changing_an_argument_is_its_own_line():
    verdict = check(TOY, cell(RIGHT.replace("return", "values.sort()\nreturn")))
    assert verdict.kind == "changed" and "changes its argument" in verdict.text


@pytest.mark.parametrize(
    "body",
    [
        "while True:\n    pass",
        "while True:\n    try:\n        sum(values)\n    except:\n        pass",
        "import time\nwhile True:\n    try:\n        time.sleep(1)\n    except Exception:\n        continue",
    ],
)
def test_a_loop_without_end_is_ended(body):
    started = time.monotonic()
    verdict = check(TOY, cell(body), seconds=0.3)
    assert verdict.text == "took longer than 0.3 s; is there a loop that never ends?"
    assert time.monotonic() - started < 5


def test_a_loop_at_the_top_of_the_cell_is_ended():
    assert check(TOY, "while True:\n    pass\n" + cell(RIGHT), seconds=0.3).kind == "slow"


def test_no_alarm_is_left_behind():
    check(TOY, cell(RIGHT), seconds=0.2)
    time.sleep(0.3)


def test_in_another_thread_there_is_no_limit_on_time_and_no_error():
    verdicts = []
    thread = threading.Thread(target=lambda: verdicts.append(check(TOY, cell(RIGHT))))
    thread.start()
    thread.join()
    assert verdicts[0].passed


def test_without_an_alarm_the_main_thread_is_interrupted(monkeypatch):
    monkeypatch.delattr(engine.signal, "SIGALRM")
    assert check(TOY, cell("while True:\n    pass"), seconds=0.3).kind == "slow"
    assert check(TOY, cell(RIGHT), seconds=5).passed


def test_a_flood_is_stopped(capsys):
    verdict = check(TOY, cell("while True:\n    print('x' * 1000)"))
    assert verdict.kind == "flood" and "100,000" in verdict.text
    assert capsys.readouterr().out == ""


def test_leaving_the_process_is_an_error_like_others():
    assert "raised SystemExit" in check(TOY, cell("import sys\nsys.exit(0)")).text
    assert "raised RecursionError" in check(TOY, cell("return mean(values)")).text


def test_a_hostile_value_is_not_asked_for_its_opinion():
    source = "class Yes:\n    def __eq__(self, other):\n        return True\n    __hash__ = None\n\n" + cell("return Yes()")
    assert check(TOY, source).kind == "wrong"
    source = "class Yes(float):\n    def __eq__(self, other):\n        return True\n\n" + cell("return Yes(1)")
    assert check(TOY, source).kind == "wrong"


def test_an_exception_that_cannot_be_printed():
    source = "class Bad(Exception):\n    def __str__(self):\n        raise RuntimeError\n\n" + cell("raise Bad()")
    assert "raised Bad" in check(TOY, source).text


def test_the_reference_is_not_changed_by_what_learners_do():
    check(TOY, cell("values.clear()\nreturn 0"))
    assert judge(TOY, mean).passed


def test_checking_leaves_modules_and_streams_as_they_were():
    before = sys.stdout, sys.stderr
    check(TOY, cell("while True:\n    print('x' * 1000)"))
    assert (sys.stdout, sys.stderr) == before
