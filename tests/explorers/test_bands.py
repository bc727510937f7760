"""The S-curve explorer: what it says is what the formula gives, and its sliders redraw it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit import explorers
from labkit.common import InputError
from labkit.dedup import candidate_probability
from labkit.explorers import bands


@given(st.integers(1, 128), st.integers(1, 32))
def test_half_is_where_the_curve_crosses_one_half(count, rows):
    assert candidate_probability(bands.half(count, rows), count, rows) == pytest.approx(0.5, abs=1e-6)


def test_without_a_kernel_it_is_one_figure_with_its_numbers(monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda data, **_: shown.append(data))
    explorers.s_curve(9, 13)
    assert len(shown) == 2 and "0.8: 0.399" in shown[0]["text/plain"]
    assert not any("widget" in kind for data in shown for kind in data)


def test_the_sliders_redraw_picture_and_words():
    of_bands, of_rows, picture, words, _ = bands.SCurve(128, 0.8).controls().children
    before = picture.value, words.value
    of_rows.value = 13
    assert bytes(picture.value).startswith(b"\x89PNG") and picture.value != before[0]
    assert words.value != before[1] and "18 bands of 13 rows" in words.value and "more than the 128" in words.value
    of_bands.value = 9
    assert "0.8: 0.399" in words.value and "more than" not in words.value
    assert of_bands.description and of_rows.description


@pytest.mark.parametrize("wrong", [{"bands": 0}, {"rows": 33}, {"bands": 2.5}, {"rows": True}])
def test_a_value_that_no_slider_has_is_one_line(wrong):
    with pytest.raises(InputError, match="give an integer from 1 to"):
        explorers.s_curve(**wrong)
