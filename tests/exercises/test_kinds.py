"""When two results are the same, and how their difference is told."""

import json
import math
from collections import Counter, defaultdict, deque, namedtuple

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from labkit.exercises.kinds import Comparison, Outcome, difference, literal, plain, same, shown


def equal(a, b, **options):
    return same(Outcome(plain(a)), Outcome(plain(b)), Comparison(**options))


def told(a, b, **options):
    return difference(Outcome(plain(a)), Outcome(plain(b)), Comparison(**options))


@pytest.mark.parametrize(
    "a, b",
    [
        ((1, 2), [1, 2]),
        (np.float32(0.5), 0.5),
        (torch.tensor(3), 3),
        (np.bool_(True), True),
        ({1, 2}, frozenset([2, 1])),
        (float("nan"), float("nan")),
        (float("inf"), np.inf),
        ([[1, 2], [3, 4]], np.array([[1, 2], [3, 4]])),
        (torch.tensor([1.0, 2.0], dtype=torch.bfloat16), np.array([1, 2])),
        (0.1 + 0.2, 0.3),
        ({"a": [1.0]}, {"a": (1,)}),
        ({(1, 2): 3}, {(1, 2): 3}),
        (Counter("aab"), {"a": 2, "b": 1}),
        (namedtuple("Point", "x y")(1, 2), [1, 2]),
        (deque([1, 2], maxlen=2), [1, 2]),
        (np.array([2**70, 1], dtype=object), [2**70, 1]),
        ({np.str_("a")}, {"a"}),
        (3.0, 3),
        (defaultdict(int, {"a": 2}), {"a": 2}),
        (10**400, 10**400),
        ([], ()),
    ],
)
def test_the_same(a, b):
    assert equal(a, b)


@pytest.mark.parametrize(
    "a, b",
    [
        ([1, 2], [2, 1]),
        ([1, 2], {1, 2}),
        (None, 0),
        (None, []),
        ("1", 1),
        (float("nan"), 1.0),
        (float("inf"), float("-inf")),
        (0.30001, 0.3),
        (np.zeros((2, 3)), np.zeros((3, 2))),
        ([1, 2, 3], np.array([[1, 2, 3]])),
        ({1, 2}, {1, 2, 3}),
        ({"a": 1}, {"b": 1}),
        (10**400, 10**400 + 1),
        (float(2**61), 2**61 - 1),
        (object(), object()),
        ([[1], [2]], [[1, 2]]),
    ],
)
def test_not_the_same(a, b):
    assert not equal(a, b)
    assert told(a, b)


def test_groups_count_up_to_their_order_and_the_order_within():
    assert equal([[3], [2, 1]], [[1, 2], [3]], partition=True)
    assert equal([{2, 1}, {3}], [[1, 2], [3]], partition=True)
    assert not equal([[1], [2], [3]], [[1, 2], [3]], partition=True)
    assert not equal([[1, 2], [3], [3]], [[1, 2], [3]], partition=True)


def test_a_type_is_compared_where_it_is_asked_for():
    a = torch.tensor([1, 2])
    assert equal(a, a, dtype="int64")
    assert told(a.double(), a, dtype="int64") == "yours is a tensor of float64, expected a tensor of int64"
    assert "`torch.tensor([])` make float32" in told(a.float(), a, dtype="int64")
    assert told(a.numpy(), a, dtype="int64") == "yours is a numpy array of int64, expected a tensor of int64"
    assert told(a, a.numpy(), dtype="int64") == "yours is a tensor of int64, expected a numpy array of int64"
    assert equal(a.numpy(), a) and equal(a.float(), [1, 2])
    assert "expected a tensor of int64" in told([1, 2], a, dtype="int64")
    assert "int64" in told((a, a.bool()), (a, a), dtype="int64")
    assert "int64" in told({"ids": a.int()}, {"ids": a}, dtype="int64")


def test_a_gradient_is_asked_for_with_the_type_where_the_references_result_has_one():
    a = torch.ones(2, requires_grad=True)
    assert equal(a * 1, a * 1, dtype="float32") and equal(a, a.detach(), dtype="float32")
    assert "something detaches it" in told(a.detach(), a * 1, dtype="float32")
    assert equal(a.detach(), a * 1)  # without a type, only the numbers count


def test_an_error_that_is_returned_is_told_to_be_raised():
    said = difference(Outcome(plain(ValueError("no"))), Outcome(error="ValueError"), Comparison())
    assert said == "it returns a ValueError, which has to be raised: `raise ValueError(…)`"


def test_differences_are_told_in_words():
    assert told(np.zeros((4, 7)), np.zeros((4, 8))) == "shape (4, 7), expected (4, 8)"
    assert told(3, 4) == "yours 3, expected 4"
    assert told(np.array([3]), [4]) == "yours [3], expected [4]"
    assert told(True, [True, None]) == "yours is a truth value (True), expected a list ([True, None])"
    assert told([1], {1}) == "yours is a list ([1]), expected a set ({1})"
    assert told(None, 1.5) == "yours is None, expected a number (1.5)"
    assert told(1.00000011, 1.0, rtol=1e-9) == "yours 1.00000011, expected 1.0"
    error = Outcome(error="ValueError", message="no")
    assert difference(Outcome(value=3), error, Comparison()) == "yours 3, expected a ValueError"
    assert same(error, Outcome(error="ValueError", message="other"), Comparison())


def test_of_long_lists_the_first_place_that_differs_is_told():
    right = list(range(100, 130))
    assert told([*right[:20], 7, *right[21:]], right) == "at place 20, counted from 0: yours 7, expected 120"
    assert told(right[:-1], right).startswith("yours has 29 items ([100, 101, ")
    assert told((right, 0.5), (right[::-1], 0.5)).startswith("at place 0, counted from 0: at place 0, ")


def test_of_dicts_only_the_entries_that_differ_are_told():
    right = {"weights": 6.0, "gradients": 2.0, "states": 4.0, (1, 2): [3]}
    assert told(right | {"gradients": 3}, right) == "under 'gradients': yours 3, expected 2.0"
    assert told(right | {(1, 2): None}, right) == "under (1, 2): yours is None, expected a list ([3])"
    assert told({"states": 4, "total": 12, (1, 2): [3]}, right) == (
        "'gradients' is missing; 'weights' is missing; 'total' is one entry too many"
    )
    assert told({}, right).endswith("; and 1 more")


def test_a_lazy_result_is_told_with_what_to_give():
    assert told((x for x in [1]), [1]) == "it returns a generator; return a list ([1])"
    assert told(map(int, "1"), [1]) == "it returns a map; return a list ([1])"
    assert told({1: 2}.keys(), {1}) == "it returns a dict_keys; return a set ({1})"


def test_keys_and_items_of_sets_are_shown_as_the_tuples_that_they_were():
    assert shown(plain({(1, 2): 5, (7,): [1]})) == "{(1, 2): 5, (7,): [1]}"
    assert shown(plain({(1, (2, 3))})) == "{(1, (2, 3))}"


def test_what_is_too_large_or_strange_is_named_and_never_equal():
    endless = []
    endless.append(endless)
    assert not equal(endless, endless)
    assert not equal(list(range(1_100_000)), list(range(1_100_000)))
    assert plain(len) == {"other": "a builtin_function_or_method"}


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=12,
)


@given(values)
def test_plain_data_is_json_and_equal_to_itself(value):
    data = plain(value)
    assert json.loads(json.dumps(data, allow_nan=False)) == data
    assert same(Outcome(data), Outcome(data), Comparison())
    assert isinstance(shown(data), str) and len(shown(data)) <= 70


@given(st.floats(allow_nan=False, allow_infinity=False, min_value=-1e100, max_value=1e100))
def test_a_number_a_little_off_is_another(value):
    assert not equal(value + max(abs(value), 1) * 1e-5, value)
    assert equal(value, math.nextafter(value, math.inf))


keys = st.recursive(st.integers() | st.text(max_size=3), lambda inner: st.tuples(inner, inner), max_leaves=3)
arguments = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from([torch.zeros(2, 0), torch.tensor([[1], [2]]), torch.tensor(1.5), torch.tensor([True])])
    | st.sampled_from([torch.tensor([0.1], requires_grad=True), torch.zeros(0, 2, requires_grad=True)])
    | st.sampled_from([torch.tensor([0.1]), torch.tensor([0.1], dtype=torch.float64), torch.tensor([math.nan])])
    | st.sampled_from([np.zeros((0, 3)), np.array([1, 2]), np.array(0.5), np.array([1, math.inf], dtype="float32")]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(keys, inner, max_size=3)
        | st.sets(keys, max_size=3)
        | st.frozensets(keys, max_size=3)
    ),
    max_leaves=8,
)


def exactly(value):
    """A value with all its types and the order of its dicts, NaN equal to itself."""
    if isinstance(value, dict):
        return "dict", [(exactly(key), exactly(item)) for key, item in value.items()]
    if isinstance(value, (list, tuple)):
        return type(value).__name__, [exactly(item) for item in value]
    if isinstance(value, (set, frozenset)):
        return type(value).__name__, sorted(repr(exactly(item)) for item in value)
    if isinstance(value, (torch.Tensor, np.ndarray)):
        grad = getattr(value, "requires_grad", False)
        return type(value).__name__, str(value.dtype), grad, tuple(value.shape), repr(value.tolist())
    return type(value).__name__, repr(value)


@given(arguments)
def test_an_argument_written_as_python_gives_it_again(value):
    again = eval(literal(value), {"np": np, "torch": torch})
    assert exactly(again) == exactly(value)


def test_numbers_in_float32_are_written_with_no_more_digits_than_they_have():
    assert literal(torch.tensor([[-0.16, 1e-7]])) == "torch.tensor([[-0.16, 1e-07]])"
    assert literal(torch.tensor([0.1]).bfloat16()).startswith("torch.tensor([0.1")


@given(st.lists(st.floats(width=32), min_size=1))
def test_a_tensor_written_as_python_has_the_same_bits(values):
    for value in (torch.tensor(values), torch.tensor(values).bfloat16(), np.array(values, dtype="float32")):
        assert exactly(eval(literal(value), {"np": np, "torch": torch})) == exactly(value)


def test_what_no_probe_holds_cannot_be_written():
    with pytest.raises(TypeError, match="a probe cannot hold a value of type generator"):
        literal([x for x in [(y for y in [])]])
