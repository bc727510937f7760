"""What the tests of the quizzes share: a bank with a question of each kind, and a store of their own."""

from pathlib import Path

import pytest

from labkit.quizzes import banks
from labkit.quizzes.answers import put

ALL_KINDS = Path(__file__).parent / "all_kinds.yaml"


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("LABKIT_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def questions():
    """{kind: its question}."""
    return {question.kind: question for question in banks.load(ALL_KINDS)}


@pytest.fixture
def puts(questions):
    """{kind: its question as it is printed}."""
    return {kind: put(question) for kind, question in questions.items()}


@pytest.fixture
def all_kinds(monkeypatch):
    """The kit with this bank alone."""
    monkeypatch.setattr(banks, "shipped", lambda: [ALL_KINDS])
    return banks.load(ALL_KINDS)
