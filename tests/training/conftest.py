"""What the tests of training share: the tiny model, a copy of it to train, and rows."""

import copy

import pytest
from sums import number_questions

from labkit import models
from labkit.masking import render


@pytest.fixture(scope="module")
def loaded(tiny_model_folder):
    return models.load(tiny_model_folder, device="cpu")


@pytest.fixture(scope="module")
def rows(loaded):
    return [render(example, loaded[1]) for example in number_questions(64)]


@pytest.fixture
def model(loaded):
    return copy.deepcopy(loaded[0])
