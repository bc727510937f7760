"""`labkit score`: new questions each time, told apart; the prediction beside the score; a class's board that resumes."""

from __future__ import annotations

import csv
import io
import json
import math
import shutil

import pytest
import yaml
from strange_adapters import WEIGHTS, config

from labkit import adapters, run_card, score_command, scoring
from labkit.almanac import capstone
from labkit.cli import main
from labkit.scoring import Written

pytestmark = pytest.mark.slow

EVIL = ("=HYPERLINK(1)", "\x1b[31mred", "<script>alert(1)</script>", "a\nb,c", "@SUM(1)", "\u202eevil")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A sound adapter that was never trained: it answers as the base does."""
    from labkit import models

    place = tmp_path_factory.mktemp("score") / "adapter"
    models.save_adapter(models.add_lora(models.load(device="cpu")[0], rank=2, alpha=4), place)
    return place


def written(outputs, **more) -> Written:
    values = {"begun": len(outputs), "stopped": 1.0, "text_loss": 1.0, "base_text_loss": 0.8, "notes": []}
    return Written(outputs=outputs, **values | more)


def right(questions, chosen=lambda ex: True) -> list[str]:
    return [ex.completion if chosen(ex) else "" for part in questions.parts().values() for ex in part]


@pytest.fixture
def answering(monkeypatch):
    """The child replaced by what the test says was written; counts how often it was asked."""
    asked = []

    def answers(chosen):
        def fake(request, seconds):
            head = json.loads(io.BytesIO(request).readline())
            asked.append(head)
            questions = capstone.questions(head["seed"], 0)
            return written(right(questions, chosen))

        monkeypatch.setattr(score_command, "_written", fake)
        monkeypatch.setattr(score_command, "no_sandbox", lambda: None)
        return asked

    return answers


def card(**changes) -> str:
    return yaml.safe_dump(yaml.safe_load(run_card.TEMPLATE.read_text()) | changes)


# Questions


def test_no_question_is_in_the_pool_but_those_of_the_part_that_says_so():
    letters, truth = capstone.gathered(3)
    prompts = {ex.prompt for ex in letters}
    assert max(str(ex.date) for ex in letters) < capstone.TURN and len({ex.id for ex in letters}) == len(letters)
    found = capstone.questions(7, 3)
    assert not any(ex.prompt in prompts for ex in found.unseen) and all(ex.prompt in prompts for ex in found.seen)
    assert all(truth[ex.id].kind == "clean" for ex in found.seen)
    assert {ex.task for ex in found.unseen} == set(capstone.TASKS) and len(found.unseen) == 120
    assert {ex.task for ex in found.later} == set(capstone.LATER)
    assert all(ex.answer and ex.answer in ex.completion for part in found.parts().values() for ex in part)


def test_other_seeds_ask_other_questions_and_the_same_seed_the_same():
    one, again, other = (capstone.questions(seed, 0) for seed in (1, 1, 2))
    assert one == again
    shared = {ex.prompt for ex in one.unseen} & {ex.prompt for ex in other.unseen}
    assert len(shared) < 30  # there are few events, and few pairs to compare


def test_the_process_that_answers_is_not_given_the_answers(folder):
    asked = capstone.questions(5, 0)
    head = io.BytesIO(scoring.request(adapters.read_files(folder), scoring.prompts_of(asked), 5, 1)).readline()
    prompts = json.loads(head)["prompts"]
    assert len(prompts) == sum(map(len, asked.parts().values()))
    assert {(ex["completion"], ex["answer"], ex["id"]) for ex in prompts} == {("", None, "")}


# The rating


def test_37_what_was_memorized_is_told_apart():
    asked = capstone.questions(5, 0)
    pool = {ex.prompt for ex in capstone.gathered(0)[0]}
    found = scoring.rate(asked, written(right(asked, lambda ex: ex.prompt in pool)))
    assert found.parts["seen"].share == 1 and found.score.share == 0 and found.parts["out of distribution"].share == 0
    whole = scoring.rate(asked, written(right(asked)))
    assert all(part.share == 1 for part in whole.parts.values()) and whole.forgetting == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("predicted", "holds", "off"),
    [((0.5, 0.4, 0.6), True, 0.0), ((0.9, 0.8, 1.0), False, 0.4), ((0, 0, 1), True, -0.5)],
)
def test_38_the_prediction_is_compared_with_the_score(predicted, holds, off):
    asked = capstone.questions(5, 0)
    half = {ex.id + ex.prompt for ex in asked.unseen[::2]}
    values = dict(zip(("score", "low", "high"), map(float, predicted)))
    found = scoring.rate(
        asked, written(right(asked, lambda ex: ex.id + ex.prompt in half)), run_card.Predicted(**values)
    )
    assert (found.score.share, found.holds, found.off) == (0.5, holds, pytest.approx(off))


def test_what_was_not_answered_in_time_counts_as_wrong_and_is_said():
    asked = capstone.questions(5, 0)
    outputs = right(asked)
    found = scoring.rate(asked, written(outputs[:60] + [""] * (len(outputs) - 60), begun=60))
    assert found.score.correct == 60 and "not begun in time" in found.problems[0]
    assert "no number" in scoring.rate(asked, written(outputs, text_loss=math.nan)).problems[0]


def test_34_the_clock_stops_an_adapter_that_writes_without_end(folder):
    prompts = scoring.prompts_of(capstone.questions(5, 0))[:90]
    found = scoring.write(adapters.read_files(folder), prompts, 5, seconds=0)
    assert found.begun in (0, scoring.AT_ONCE) and len(found.outputs) == 90
    assert found.text_loss == pytest.approx(found.base_text_loss) and "every B is 0" in found.notes[0]


# The command


def test_36_each_call_draws_its_own_questions(folder, answering, capsys):
    asked = answering(lambda ex: True)
    assert main(["score", str(folder)]) == main(["score", str(folder)]) == 0
    assert asked[0]["seed"] != asked[1]["seed"]
    assert main(["score", str(folder), "--seed", "4", "--json"]) == 0
    report = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (report["score"], report["seed"], report["holds"]) == (1.0, 4, None)


def test_the_child_answers_in_a_process_of_its_own(folder, capsys, tmp_path):
    shutil.copytree(folder, tmp_path / "a")
    config(modules_to_save=["embed_tokens"])(tmp_path / "a")
    assert main(["score", str(tmp_path / "a"), "--seed", "4"]) == 2
    assert "sets modules_to_save" in capsys.readouterr().err


def test_a_child_that_ends_says_so_in_one_line(folder, monkeypatch, capsys):
    monkeypatch.setattr(score_command, "_confined", lambda command, stack: (["sh", "-c", "echo oh no >&2; exit 3"], {}))
    assert main(["score", str(folder), "--seed", "4"]) == 2
    assert "has ended (status 3: oh no)" in capsys.readouterr().err


def test_a_child_that_hangs_is_ended(folder, monkeypatch, capsys):
    monkeypatch.setattr(score_command, "START", 0)
    monkeypatch.setattr(score_command, "_confined", lambda command, stack: (["sleep", "60"], {}))
    assert main(["score", str(folder), "--seed", "4", "--seconds", "0.2"]) == 2
    assert "no answer within" in capsys.readouterr().err


def test_35_what_a_card_says_is_escaped(folder, answering, tmp_path, capsys):
    answering(lambda ex: True)
    for number, evil in enumerate(EVIL):
        (tmp_path / "card.yaml").write_text(card(name=evil, data={"kept": 1, "why": evil}), encoding="utf-8")
        out = tmp_path / str(number)
        assert main(["score", str(folder), "--card", str(tmp_path / "card.yaml"), "--out", str(out)]) == 0
        page = (out / "report.html").read_text(encoding="utf-8")
        assert "<script" not in page and "\x1b" not in page and "\x1b" not in capsys.readouterr().out
        assert json.loads((out / "score.json").read_text())["card"]["name"] == evil


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name: [", "is not YAML"),
        (card(seeds=[0, 1, 2]), "claims 3 seeds and holds 1 curves"),
    ],
)
def test_a_card_that_cannot_be_used_ends_it_before_anything_is_asked(folder, answering, tmp_path, capsys, text, said):
    asked = answering(lambda ex: True)
    (tmp_path / "card.yaml").write_text(text)
    assert main(["score", str(folder), "--card", str(tmp_path / "card.yaml")]) == 2
    out, err = capsys.readouterr()
    assert said in err and err.count("\n") == 1 and not out and not asked


def test_bad_arguments_are_one_line(folder, tmp_path, capsys):
    (tmp_path / "file.zip").write_bytes(b"PK")
    (tmp_path / "empty").mkdir()
    for words in (
        [],
        [str(tmp_path / "none")],
        [str(tmp_path / "file.zip")],
        [str(tmp_path / "empty")],
        [str(folder), "--seconds", "0"],
        [str(folder), "--card", str(tmp_path / "none.yaml")],
        [str(folder), "--out", str(tmp_path / "file.zip")],
        [str(tmp_path), "--leaderboard", str(tmp_path / "file.zip")],
        [str(folder), "--leaderboard", "x.csv"],
        [str(tmp_path), "--leaderboard", "x.csv", "--card", "y"],
    ):
        assert main(["score", *words]) == 2, words
        lines = [line for line in capsys.readouterr().err.splitlines() if "no sandbox here" not in line]
        assert len(lines) == 1, words


# A class


def rows(path) -> dict[str, dict]:
    with open(path, newline="", encoding="utf-8") as file:
        return {row["name"]: row for row in csv.DictReader(file)}


def test_a_class_becomes_a_board_that_resumes(folder, answering, tmp_path, capsys):
    members, board = tmp_path / "class", tmp_path / "class.csv"
    for name in ("ada", "=cmd()", "b\x1b[31m", "broken"):
        shutil.copytree(folder, members / name)
    (members / "broken" / WEIGHTS).write_bytes(b"")
    (members / "ada" / "card.yaml").write_text(card(name="=1+1"))
    (members / "link").symlink_to(members / "ada")
    asked = answering(lambda ex: ex.task == "town")
    refuse = {"broken"}

    real = score_command.rated

    def rated(files, *more):
        if not files.weights:
            adapters.parse(files)
        return real(files, *more)

    score_command.rated, kept = rated, real
    try:
        assert main(["score", str(members), "--leaderboard", str(board), "--json"]) == 1
        first = rows(board)
        assert len(first) == 5 and len(asked) == 3 and len({row["seed"] for row in first.values()}) == 1
        assert {name for name, row in first.items() if not row["score"]} == refuse | {"link"}
        for row in first.values():
            for text in row.values():
                assert text.isprintable() and (
                    text[:1] not in "=+@-" or text[1:].replace(".", "").isdigit() or not text
                )
        assert first["ada"]["card"] == "'=1+1" and first["ada"]["holds"] == "no" and "'=cmd()" in first
        again = board.read_bytes()
        assert main(["score", str(members), "--leaderboard", str(board)]) == 1
        assert len(asked) == 3 and board.read_bytes() == again
        config(lora_alpha=8)(members / "ada")
        assert main(["score", str(members), "--leaderboard", str(board)]) == 1
        assert len(asked) == 4 and rows(board)["ada"]["files"] != first["ada"]["files"]
        assert rows(board)["ada"]["seed"] == first["ada"]["seed"]
    finally:
        score_command.rated = kept


def test_an_interrupted_board_keeps_what_was_rated(folder, answering, tmp_path, monkeypatch):
    members, board = tmp_path / "class", tmp_path / "class.csv"
    for name in ("a", "b", "c"):
        shutil.copytree(folder, members / name)
    asked = answering(lambda ex: True)
    real = score_command._written

    def interrupted(request, seconds):
        if len(asked) == 2:
            raise KeyboardInterrupt
        return real(request, seconds)

    monkeypatch.setattr(score_command, "_written", interrupted)
    assert main(["score", str(members), "--leaderboard", str(board)]) == 130
    assert set(rows(board)) == {"a", "b"}
    monkeypatch.setattr(score_command, "_written", real)
    assert main(["score", str(members), "--leaderboard", str(board)]) == 0
    assert set(rows(board)) == {"a", "b", "c"} and len(asked) == 3
    assert [row["place"] for row in rows(board).values()] == ["1", "1", "1"]
