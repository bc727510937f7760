"""Diagrams: each says in words what it draws."""

import pytest

from labkit import pictures, plots
from labkit.common import InputError


@pytest.fixture
def said(monkeypatch):
    """The text alternatives of what is shown."""
    texts = []
    monkeypatch.setattr(plots, "show", lambda figure, alt: texts.append(alt))
    return texts


def test_bands_name_those_that_agree(said):
    pictures.bands([2, 0, 4, 1, 7, 3], [2, 0, 3, 0, 7, 5], rows=2)
    assert "band 1: 2, 0 and 2, 0, one bucket; band 2: 4, 1 and 3, 0, two buckets; band 3" in said[0]
    pictures.bands([2, 0], [2, 1], rows=2)
    assert said[1].startswith("No band agrees")
    with pytest.raises(InputError, match="bands of 4"):
        pictures.bands([1, 2, 3], [1, 2, 3], rows=4)


def test_a_cut_divides_clusters_with_days_on_both_sides(said):
    pictures.cut_in_time([[1, 4], [30, 34], [33, 35]], cut=34)
    assert "divides 2 of 3 clusters" in said[0]  # the day of the cut itself is on the later side
    assert "cluster 1, days 1, 4: on one side; cluster 2, days 30, 34: on both sides" in said[0]


def test_a_shift_pairs_each_place_with_the_next_label(said):
    pictures.shift(["a", "b", "c"], counted=[False, False, True])
    assert "logits 0 predict 'b', which is not counted; logits 1 predict 'c'; logits 2 predict nothing" in said[0]


def test_vectors_tell_the_share_along_the_sum(said):
    pictures.vectors(3.0, 4.0, cosine=0.0)
    assert "the sum 5; 90° between the two parts. Along the sum, the prompt's part is 36% of it" in said[0]


def test_passes_and_merges(said):
    pictures.passes(5)
    assert "writing takes 5" in said[0]
    pictures.merge_tree(list("hubtub"), merges=["ub", "tub", "hu"])
    assert said[1].startswith("hubtub becomes h + ub + tub.") and "merge 2 joins 't' and 'ub'" in said[1]
