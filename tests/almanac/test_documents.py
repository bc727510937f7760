"""The pretraining text tells what is true, nothing fresh, and never an answer in chat form."""

import hashlib
import itertools
import re

import pytest

from labkit.almanac.documents import documents
from labkit.almanac.phrasing import ASK, ASK_UNSEEN, TELL
from labkit.almanac.world import build

SAMPLE = 12_000


@pytest.fixture(scope="module")
def text() -> list[str]:
    return list(itertools.islice(documents(build()), SAMPLE))


def told(text: list[str], attribute: str) -> set[tuple[str, str]]:
    """(subject, value) pairs that canonical sentences of an attribute tell."""
    pattern = re.compile(rf"The {attribute} of (?:the )?([A-Z]?[\w ]+?)(?: in \d{{4}})? is ([\w ]+?)(?: pence)?\.")
    return {match for document in text for match in pattern.findall(document)}


@pytest.mark.parametrize("attribute", sorted(TELL))
def test_facts_are_told_as_they_are_and_fresh_ones_not_at_all(text, attribute):
    world = build()
    true = {(f.subject, f.value) for f in world.facts if f.attribute == attribute and not f.fresh}
    fresh = {(f.subject, f.value) for f in world.facts if f.attribute == attribute and f.fresh} - true
    subjects = {subject for subject, _ in true | fresh}
    pairs = {pair for pair in told(text, attribute) if pair[0] in subjects}
    assert len(pairs) > 10
    assert pairs <= true, sorted(pairs - true)[:3]
    assert not pairs & fresh


def test_a_reply_never_has_the_form_of_an_answer(text):
    replies = [document.split("<|assistant|>")[1] for document in text if "<|assistant|>" in document]
    assert len(replies) > 500 and not any("Answer" in reply for reply in replies)


def test_a_reply_is_about_what_the_letter_names(text):
    about = 0
    letters = [document for document in text if "<|assistant|>" in document]
    for letter in letters:
        user, reply = letter.split("<|user|>")[1].split("<|end|><|assistant|>")
        shared = set(re.findall(r"[A-Z]\w+|\d+|[a-z]{3,}", user)) & set(re.findall(r"[A-Z]\w+|\d+|[a-z]{3,}", reply))
        about += bool(shared)
    assert about == len(letters)


def test_unseen_phrasings_stay_unseen(text):
    whole = "\n".join(text)
    for attribute, form in ASK_UNSEEN.items():
        longest = max(re.split(r"\{[sy]\}", form), key=len)
        assert longest not in whole, attribute
        assert form not in ASK[attribute]


def test_every_token_of_the_form_has_lived_in_prose(text):
    whole = "\n".join(text)
    for piece in ("Answer: ", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>"):
        assert whole.count(piece) > 100


def test_documents_are_decided_by_their_seed():
    def first(seed):
        return list(itertools.islice(documents(build(), seed), 50))

    assert first(0) == first(0) != first(1)


def test_the_documents_are_those_that_the_base_has_read(text):
    """The base is frozen, so its text is: a change here makes the shipped base one that `labkit base build` does not."""
    read = "\0".join(text[:2000])
    assert hashlib.sha256(read.encode()).hexdigest().startswith("3aca5a480c3a3220")
