"""The schedule follows from the answers alone; a missed question comes back sooner; wrong clocks do no harm."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.progress import store
from labkit.quizzes import AFTER, most_due, schedule
from labkit.quizzes.answers import EASY, HARD, KNEW, MISSED

START = datetime(2026, 3, 1, 9, tzinfo=UTC)


def answer(question="masking.why", rating=KNEW, day=0.0, place="during", id=None):
    time = (START + timedelta(days=day)).isoformat(timespec="microseconds")
    row = {"id": id or f"{question}{day}", "time": time, "question": question, "place": place}
    return row | {"correct": rating > MISSED, "rating": rating, "seconds": 1.0, "details": None}


def at(day):
    return START + timedelta(days=day)


def test_what_was_missed_comes_back_before_what_was_known():
    due = [schedule.cards([answer(rating=rating)], at(1))["masking.why"].due for rating in (MISSED, HARD, KNEW, EASY)]
    assert due == sorted(due) and due[0] < due[2] < due[3]
    assert due[0] > at(0) + timedelta(hours=12)  # not again in the same sitting


def test_intervals_grow_while_it_is_known():
    days, answers = [0.0], []
    for _ in range(4):
        answers.append(answer(day=days[-1]))
        due = schedule.cards(answers, at(days[-1]))["masking.why"].due
        days.append((due - START) / timedelta(days=1))
    gaps = [later - earlier for earlier, later in zip(days, days[1:])]
    assert gaps == sorted(gaps) and gaps[-1] > 4 * gaps[0]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 4), st.integers(0, 60)), max_size=12), st.randoms())
def test_the_order_in_which_answers_arrive_does_not_matter(given, random):
    answers = [answer(f"masking.{name}", rating, day, id=str(n)) for n, (name, rating, day) in enumerate(given)]
    first = schedule.cards(answers, at(61))
    random.shuffle(answers)
    again = schedule.cards(answers, at(61))
    assert {id: card.to_json() for id, card in first.items()} == {id: card.to_json() for id, card in again.items()}


def test_an_answer_from_a_clock_that_ran_ahead_is_left_out_until_then():
    good, ahead = answer(day=0, rating=MISSED), answer(day=4000, rating=EASY)
    assert schedule.cards([good, ahead], at(1))["masking.why"].due == schedule.cards([good], at(1))["masking.why"].due
    assert schedule.misdated([good, ahead], at(1)) == 1
    assert schedule.cards([ahead], at(1)) == {}
    assert schedule.cards([ahead], at(4001))["masking.why"].due > at(4001)


def test_the_same_card_has_the_same_id_everywhere_and_no_random_draw_is_made():
    import random

    random.seed(0)
    before = random.getstate()
    cards = [schedule.cards([answer(day=day) for day in (0, 3, 9)], at(10))["masking.why"] for _ in range(2)]
    assert cards[0].to_json() == cards[1].to_json()
    assert random.getstate() == before
    assert schedule.card_id("masking.why") == schedule.card_id("masking.why") != schedule.card_id("masking.share")


def test_exam_answers_do_not_move_the_schedule():
    assert schedule.cards([answer(place="exam")], at(1)) == {}


def test_due_are_those_of_today_and_before_interleaved_and_no_more_than_asked(all_kinds):
    known = {question.id: question for question in all_kinds}
    answers = [answer(id, MISSED, day) for day, id in enumerate(known)]
    cards = schedule.cards(answers, at(5))
    assert schedule.due(cards, known, at(0)) == []
    found = schedule.due(cards, known, at(30))
    assert {question.id for question in found} == set(known)
    assert len(schedule.due(cards, known, at(30), limit=3)) == 3
    assert schedule.due(cards, {}, at(30)) == []  # a question that is no longer in a bank


@given(st.lists(st.sampled_from("abc"), max_size=12))
def test_interleaving_keeps_all_and_puts_labs_side_by_side_only_if_it_must(labs):
    class Asked:
        def __init__(self, lab, number):
            self.lab, self.number = lab, number

    questions = [Asked(lab, number) for number, lab in enumerate(labs)]
    mixed = schedule.interleaved(questions)
    assert sorted(question.number for question in mixed) == list(range(len(labs)))
    for lab in set(labs):
        own = [question.number for question in mixed if question.lab == lab]
        assert own == sorted(own)
    most = max(map(labs.count, labs), default=0)
    if most <= (len(labs) + 1) // 2:
        assert all(a.lab != b.lab for a, b in zip(mixed, mixed[1:]))


def test_the_forecast_counts_every_card_once_on_its_day():
    answers = [answer(f"masking.{n}", rating=rating) for n, rating in enumerate((MISSED, KNEW, EASY))]
    cards = schedule.cards(answers, at(0))
    counts = schedule.forecast(cards.values(), at(0))
    days = [(card.due.date() - START.date()).days for card in cards.values()]
    assert sum(counts) == 3 and all(counts[day] for day in days) and counts[0] == 0
    assert schedule.forecast(cards.values(), at(13))[0] == 3  # what is overdue is due today


def test_retention_counts_later_days_only():
    given = [(0, MISSED), (0.1, KNEW), (3, KNEW), (9, MISSED)]
    answers = [answer(day=day, rating=rating) for day, rating in given]
    assert schedule.retention(answers, at(10)) == [("2026-W10", 1, 1), ("2026-W11", 0, 1)]


def test_after_a_lab_what_is_due_is_asked_first(all_kinds):
    assert len(all_kinds) > AFTER
    last = all_kinds[-1]
    time = datetime.now(UTC) - timedelta(days=9)
    store().add_answer(last.id, place="after", correct=False, rating=1, seconds=1, time=time)
    known = all_kinds[0]
    store().add_answer(known.id, place="after", correct=True, rating=4, seconds=1)
    assert [question.id for question in most_due(all_kinds)] == [
        last.id, *(question.id for question in all_kinds[1:-1]), known.id,
    ]  # fmt: skip


@pytest.mark.parametrize("day", [0, 3650])
def test_today_is_a_day_in_utc(day):
    card = schedule.cards([answer(day=day, rating=MISSED)], at(day))["masking.why"]
    assert not schedule.is_due(card, at(day)) and schedule.is_due(card, card.due.replace(hour=0, minute=0))
