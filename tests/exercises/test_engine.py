"""Trying a learner's cell: what is accepted, and what is said of each thing that can go wrong."""

import sys
import threading
import time

import pytest
from toy_exercise import TOY, cell, mean

from labkit.exercises import limits
from labkit.exercises.engine import check, is_stub, judge
from labkit.exercises.kinds import Probe

RIGHT = 'if not values:\n    raise ValueError("none")\nreturn sum(values) / len(values)'


def test_a_right_function_passes_and_is_handed_on():
    verdict = check(TOY, cell(RIGHT))
    assert verdict.passed and verdict.text == "passed"
    assert verdict.function([1, 3]) == 2


def test_helpers_imports_and_prints_in_the_same_cell_are_fine(capsys):
    source = "from statistics import fmean\nprint('hello')\n\ndef helper(v):\n    return fmean(v)\n\n" + cell(
        "if not values:\n    raise ValueError\nprint(values)\nreturn helper(values)"
    )
    assert check(TOY, source).passed
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    "body",
    [
        "...",
        "pass",
        '"""Mean."""',
        '"""Mean."""\n...',
        "raise NotImplementedError",
        "raise NotImplementedError('soon')",
    ],
)
def test_a_stub_is_not_attempted(body):
    assert is_stub(cell(body), "start.mean")
    assert check(TOY, cell(body)).kind == "not attempted"


def test_returning_none_is_no_stub():
    assert check(TOY, cell("return None")).kind == "wrong"
    assert not is_stub("def mean(values): ...", "start.mean")


@pytest.mark.parametrize("known", TOY.misconceptions, ids=lambda known: known.name)
def test_a_misconception_is_named(known):
    verdict = judge(TOY, known.function)
    assert (verdict.kind, verdict.misconception) == ("misconception", known.name)
    assert known.message in verdict.text


def test_a_misconception_is_named_also_where_an_edge_is_right():
    verdict = check(TOY, cell("if not values:\n    raise ValueError\nreturn sum(values)"))
    assert verdict.misconception == "sum"


def test_a_misconception_is_named_also_where_all_the_errors_are_raised():
    from dataclasses import replace

    probes = [Probe(([],), "a"), *(Probe(([n] * n,), "a") for n in (1, 1, 1, 2, 4)), *[Probe(([],), "a")] * 4]
    errors = replace(TOY, probes=lambda rng: probes)
    right = "if not values:\n    raise ValueError\nreturn "
    assert check(errors, cell(right + "sum(values)")).misconception == "sum"


def test_the_smallest_failing_probe_is_shown():
    verdict = check(TOY, cell("if not values:\n    raise ValueError\nreturn sum(values) / len(values) + 1"))
    assert verdict.kind == "wrong"
    assert verdict.text == "wrong for mean([1.0]): yours 2.0, expected 1.0"


def test_an_error_names_the_line_and_keeps_the_traceback():
    verdict = check(TOY, cell("if not values:\n    raise ValueError\ntotal = 0\nreturn total + values"))
    assert verdict.kind == "raised"
    assert verdict.text.startswith("raised TypeError in your line 6: ")
    assert "return total + values" in verdict.details and "engine.py" not in verdict.details


def test_an_error_that_is_not_the_one_asked_for():
    verdict = check(TOY, cell("if not values:\n    raise KeyError('x')\nreturn sum(values) / len(values)"))
    assert verdict.text == "wrong for mean([]): it raises KeyError, but a ValueError is right"


def test_a_name_from_another_cell_is_not_defined():
    verdict = check(TOY, cell("return average(values)"))
    assert verdict.text.startswith("`average` is not defined in this cell in your line 3; ")


def test_a_name_at_the_top_of_the_cell_is_not_defined():
    assert "`np2` is not defined in this cell" in check(TOY, "x = np2.zeros(3)\n" + cell(RIGHT)).text


def test_the_preamble_is_there_and_lk_has_only_the_decorator():
    source = cell("if not values:\n    raise ValueError\nreturn math.fsum(values) / np.size(values)")
    assert check(TOY, source).passed
    assert check(TOY, cell("if not values:\n    raise ValueError\nreturn statistics.mean(values)")).passed
    assert "lk.use" in check(TOY, "other = lk.use('start.mean')\n" + cell(RIGHT)).text


def test_what_a_function_imports_is_loaded_before_its_clock_starts(tmp_path, monkeypatch):
    (tmp_path / "loaded_late.py").write_text("import signal\nrunning = signal.getitimer(signal.ITIMER_REAL)[0]\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert check(TOY, cell("import loaded_late\n" + RIGHT)).passed
    assert sys.modules.pop("loaded_late").running == 0
    assert "No module named 'absent'" in check(TOY, cell("import absent\n" + RIGHT)).text


def test_a_word_that_no_call_returns_is_told_as_such():
    from dataclasses import replace

    def side(number):
        return "left" if number < 0 else "right"

    probes = [Probe((n,), "a") for n in (-2, 3)]
    exercise = replace(TOY, id="start.side", reference=side, probes=lambda rng: probes, misconceptions=())
    head = '@lk.exercise("start.side")\ndef side(number):\n    return '
    said = "wrong for side(3): yours 'Right', expected 'right'; 'Right' is none of the words that it may return"
    assert check(exercise, head + '"left" if number < 0 else "Right"').text == said
    assert check(exercise, head + '"left"').text == "wrong for side(3): yours 'left', expected 'right'"


def test_magics_are_refused_in_words():
    source = "get_ipython().run_line_magic('time', '')\n" + cell(RIGHT)
    assert check(TOY, source).text == "a line with % or ! cannot be in an exercise's cell, it is your line 1"


def test_broken_syntax_names_the_line():
    verdict = check(TOY, cell("return ("))
    assert "SyntaxError in your line 3" in verdict.text
    assert "return (" in verdict.details and "engine.py" not in verdict.details


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
    assert (sys.stdout, sys.stderr) == before and not limits._output


def test_a_number_of_thousands_of_digits_is_an_answer_like_others():
    assert "thousands of digits" in check(TOY, cell("return 10**5000")).text
    assert check(TOY, cell("return {10**5000}")).kind == "wrong"


def test_what_is_no_function_is_said():
    assert "not a function" in check(TOY, '@lk.exercise("start.mean")\nclass mean:\n    pass\n').text
    assert "not a function" in check(TOY, 'lk.exercise("start.mean")(5)').text


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


def test_a_loop_inside_c_code_is_ended():
    started = time.monotonic()
    verdict = check(TOY, "import itertools\n" + cell("return sum(itertools.count())"), seconds=0.3)
    assert verdict.kind == "slow"
    assert time.monotonic() - started < 10


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux keeps the limit on memory")
def test_a_list_without_end_is_ended(monkeypatch):
    monkeypatch.setattr(limits, "MAX_MEMORY", 2**28)
    for source in (cell("return list(itertools.count())"), "numbers = list(itertools.count())\n" + cell(RIGHT)):
        verdict = check(TOY, "import itertools\n" + source)
        assert verdict.kind == "memory" and verdict.text.startswith("takes more than 0 GB of memory")


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a copy may crash for reasons of its own")
def test_what_crashes_python_takes_only_the_copy_along():
    verdict = check(TOY, cell("import ctypes\nctypes.string_at(0)"))
    assert verdict.text == "crashes Python itself; is there an endless recursion?"


def test_no_copy_is_left_behind(monkeypatch):
    import os

    check(TOY, cell(RIGHT))
    check(TOY, cell("while True:\n    pass"), seconds=0.2)
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_without_copies_the_limits_that_can_be_kept_are_kept(monkeypatch):
    monkeypatch.delattr(limits.os, "fork")
    assert check(TOY, cell(RIGHT)).passed
    assert check(TOY, cell("while True:\n    pass"), seconds=0.3).kind == "slow"


def test_threads_of_torch_do_not_hold_up_a_copy():
    import torch

    torch.set_num_threads(2)
    try:
        (torch.rand(2000, 200) @ torch.rand(200, 2000)).sum()
        body = (
            "import torch\nif not values:\n    raise ValueError\n(torch.ones(900, 900) @ torch.ones(900, 900)).sum()\n"
        )
        started = time.monotonic()
        assert check(TOY, cell(body + "return torch.tensor(values, dtype=torch.float64).mean()")).passed
        assert time.monotonic() - started < 4  # the copy came to its end
    finally:
        torch.set_num_threads(1)


def test_what_is_remembered_from_call_to_call_is_told():
    right = "if not values:\n    raise ValueError\nfound.extend(values)\nreturn sum(found) / len(found)"
    for source in (cell(right, "def mean(values, found=[]):"), "found = []\n" + cell(right)):
        verdict = check(TOY, source)
        assert verdict.kind == "remembers"
        assert verdict.text.startswith(
            "remembers something from call to call: mean([0.0, -4.0]) gives -2.0 at first and -1.0 later; "
        )


def test_what_is_wrong_each_time_alike_is_not_remembered():
    assert check(TOY, cell("return (x for x in values)")).text == (
        "wrong for mean([1.0]): it returns a generator; return a number (1.0)"
    )
    assert check(TOY, cell("return float('nan')")).kind == "wrong"


def test_a_call_is_shown_as_it_can_be_tried_again():
    from dataclasses import replace

    def size(words):
        return len(words)

    probes = [Probe(({(1, 2): 5},), "a"), Probe(({(1, 2): 5, (3,): 1},), "a")]
    exercise = replace(TOY, id="start.size", reference=size, probes=lambda rng: probes, misconceptions=())
    source = '@lk.exercise("start.size")\ndef size(words):\n    return 0\n'
    assert check(exercise, source).text == "wrong for size({(1, 2): 5}): yours 0, expected 1"


def test_a_cache_over_lists_is_told_in_words():
    source = "from functools import cache\n" + cell(RIGHT).replace(")\ndef", ")\n@cache\ndef", 1)
    assert check(TOY, source).text == "`@cache` cannot handle lists and dicts (for mean([1.0])); remove it"


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
    monkeypatch.delattr(limits.signal, "SIGALRM")
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
    source = "class Yes:\n    def __eq__(self, other):\n        return True\n    __hash__ = None\n\n" + cell(
        "return Yes()"
    )
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
