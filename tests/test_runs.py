"""Recipes, records, replays and runs: the same name is the same run, and nothing recorded is lost or passed off as
another's.
"""

import argparse
import dataclasses
import json
import math
import random

import pytest
import workers

from labkit import models, progress, runs, training
from labkit.cluster import WorkError
from labkit.common import InputError
from labkit.runs import Interval, Recipe, Record, execution, interval, paired_difference
from labkit.runs import command as runs_command
from labkit.runs import recipe as recipes
from labkit.runs import record as records
from labkit.runs.compare import share_interval

RECIPE = Recipe("try", "00", steps=2)


@pytest.fixture(autouse=True)
def own_place(tmp_path, monkeypatch, tiny_model_folder):
    monkeypatch.setattr(models, "BASE", tiny_model_folder)
    monkeypatch.setattr(records, "RECORDS", tmp_path / "records")
    monkeypatch.setitem(runs.RECIPES, "try", RECIPE)
    monkeypatch.setenv("LABKIT_HOME", str(tmp_path / "home"))


def recorded(recipe=RECIPE, seeds=2, executor=workers.outcome):
    """A record made without worker processes."""
    outcomes = tuple(executor(dataclasses.replace(recipe, seed=seed)) for seed in range(seeds))
    record = Record(dataclasses.asdict(recipe), recipe.hash, outcomes)
    records.RECORDS.mkdir(exist_ok=True)
    record.save()
    return record


# Recipes


def test_each_recipe_stands_under_its_own_name():
    assert all(name == recipe.name for name, recipe in runs.RECIPES.items())
    assert {"sft-short", "sft-lab00"} <= runs.RECIPES.keys()


CHANGED = {
    "name": "x", "lab": "09", "mix": "long", "control": "prompt", "mask": "none", "method": "full",
    "target_modules": "q_proj", "schedule": "linear", "evaluation": "long",
    "fault": "late", "stop": "unknown", "number_format": "bfloat16", "base_bits": 4, "validation_mask": "completion", "variant": "dora",
}  # fmt: skip


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(Recipe)])
def test_every_field_is_in_the_hash(field):
    value = CHANGED.get(field) or (getattr(RECIPE, field) or 0) + 1
    assert dataclasses.replace(RECIPE, **{field: value}).hash != RECIPE.hash


def test_the_hash_covers_weights_and_tokenizer(tmp_path, monkeypatch, tiny_model_folder):
    hashes = {RECIPE.hash, dataclasses.replace(RECIPE, alpha=32).hash}  # 32 and 32.0 are the same
    for name in ("model.safetensors", "tokenizer.json"):
        folder = tmp_path / name
        folder.mkdir()
        for path in tiny_model_folder.iterdir():
            content = path.read_bytes()
            (folder / path.name).write_bytes(content[:-1] + b" " if path.name == name else content)
        monkeypatch.setattr(models, "BASE", folder)
        hashes.add(RECIPE.hash)
    assert len(hashes) == 3


def test_without_a_base_it_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(models, "BASE", tmp_path)
    with pytest.raises(InputError, match="labkit base build"):
        _ = RECIPE.hash


@pytest.mark.parametrize("wrong", [{"mask": "all"}, {"method": "dora"}, {"control": "none"}])
def test_a_recipe_refuses_what_there_is_not(wrong):
    with pytest.raises(InputError, match="choose one of"):
        Recipe("x", "00", **wrong)


# Records


def test_a_record_comes_back_as_it_was_written():
    record = recorded(seeds=3)
    assert Record.load("try") == record
    assert runs.recorded() == ["try"]


def test_rebuild_goes_on_where_it_was_interrupted(monkeypatch, tmp_path):
    monkeypatch.setenv("LABKIT_TEST_FAILS", "2")
    with pytest.raises(WorkError, match="this seed fails"):
        runs.rebuild(RECIPE, 3, executor=workers.outcome, workers=1)
    partial = records.RECORDS / "try.partial"
    assert sorted(path.name for path in partial.iterdir()) == ["seed-0.json", "seed-1.json"]
    assert runs.recorded() == []
    monkeypatch.delenv("LABKIT_TEST_FAILS")
    made = []
    record = runs.rebuild(
        RECIPE, 3, executor=workers.outcome, workers=1, on_seed=lambda outcome: made.append(outcome.seed)
    )
    assert made == [2] and sorted(record.shares) == [0, 1, 2]
    assert Record.load("try") == record and not partial.exists()
    assert runs.rebuild(RECIPE, 3, executor=workers.outcome) == record  # nothing is left to do
    assert [path.name for path in records.RECORDS.iterdir()] == ["try.json"]


def test_what_another_recipe_left_is_not_taken(monkeypatch):
    recorded(dataclasses.replace(RECIPE, steps=3))
    partial = records.RECORDS / "try.partial"
    partial.mkdir()
    (partial / "seed-0.json").write_text(
        json.dumps({"hash": "other", "outcome": dataclasses.asdict(workers.outcome(RECIPE))})
    )
    made = []
    record = runs.rebuild(
        RECIPE, 2, executor=workers.outcome, workers=1, on_seed=lambda outcome: made.append(outcome.seed)
    )
    assert sorted(made) == [0, 1] and record.hash == RECIPE.hash


def test_again_makes_all_seeds_again():
    recorded(seeds=2)
    made = []
    runs.rebuild(
        RECIPE, 2, again=True, executor=workers.outcome, workers=1, on_seed=lambda outcome: made.append(outcome.seed)
    )
    assert sorted(made) == [0, 1]


def test_a_place_that_cannot_be_written_is_said_before_anything_runs(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be made"):
        runs.rebuild(RECIPE, 1, folder=tmp_path / "file", executor=workers.outcome)


def test_a_record_of_another_recipe_or_base_is_stale(monkeypatch, tmp_path):
    recorded()
    assert runs.stale("try") is None
    monkeypatch.setitem(runs.RECIPES, "try", dataclasses.replace(RECIPE, lr=1.0, steps=9))
    assert "another lr, steps" in runs.stale("try")
    monkeypatch.setitem(runs.RECIPES, "try", RECIPE)
    monkeypatch.setattr(recipes, "base_digest", lambda: "another")
    assert "another base" in runs.stale("try")
    monkeypatch.delitem(runs.RECIPES, "try")
    assert "no such recipe" in runs.stale("try")


def test_a_default_that_was_changed_is_stale():
    record = recorded()
    dataclasses.replace(record, recipe=record.recipe | {"beta2": 0.95}).save()
    assert "another beta2" in runs.stale("try")


def test_a_field_that_came_later_leaves_records_valid():
    record = recorded()
    dataclasses.replace(
        record, recipe={name: value for name, value in record.recipe.items() if name != "validation_n"}
    ).save()
    assert runs.stale("try") is None


# Comparing


def test_the_t_quantiles_are_students():
    stats = pytest.importorskip("scipy.stats")
    for degrees in (*range(1, 60), 1000):
        assert runs.t_quantile(degrees) == pytest.approx(stats.t.ppf(0.975, degrees), abs=1e-9)


def test_an_interval_by_hand():
    """Of 1, 2, 3: sd 1, standard error 1/√3, times 4.3027."""
    found = interval([1.0, 2.0, 3.0])
    assert (found.mean, found.n) == (2.0, 3)
    assert found.high - found.mean == pytest.approx(4.3027 / math.sqrt(3), abs=1e-3)
    assert found.mean - found.low == pytest.approx(found.high - found.mean)
    with pytest.raises(InputError, match="at least 2"):
        interval([1.0])


def test_the_interval_of_a_share_ends_where_shares_end():
    assert share_interval([0.0, 0.02, 0.0]).low == 0 and share_interval([0.98, 1.0, 1.0]).high == 1
    assert share_interval([0.4, 0.5, 0.6]) == interval([0.4, 0.5, 0.6])


def test_a_paired_difference_goes_seed_by_seed():
    a = recorded(dataclasses.replace(RECIPE, method="full"), seeds=6)
    b = recorded(seeds=4)
    found = paired_difference(a, b)
    assert found.values == pytest.approx((0.03,) * 4)  # the spread between seeds cancels
    assert found.low == pytest.approx(0.03) and found.high == pytest.approx(0.03)
    assert isinstance(found, Interval) and paired_difference(b, a).mean == pytest.approx(-0.03)


def test_a_paired_difference_of_some_families():
    def outcome(right):
        def make(recipe):
            by_task = {"sum": {"n": 10, "correct": right + recipe.seed}, "town": {"n": 30, "correct": 30}}
            return dataclasses.replace(workers.outcome(recipe), by_task=by_task)

        return make

    a, b = recorded(executor=outcome(8)), recorded(executor=outcome(2))
    assert paired_difference(a, b, ["sum"]).values == pytest.approx((0.6, 0.6))
    assert paired_difference(a, b, ["sum", "town"]).values == pytest.approx((0.15, 0.15))  # by questions, not by means
    for wrong in (["sun"], []):
        with pytest.raises(InputError, match="there are sum, town"):
            paired_difference(a, b, wrong)


def test_pooled_adds_up_the_seeds():
    pooled = runs.pooled(recorded(seeds=3))
    parts = [workers.outcome(dataclasses.replace(RECIPE, seed=seed)).score for seed in range(3)]
    assert pooled.n == sum(part["n"] for part in parts) and pooled.correct == sum(part["correct"] for part in parts)
    assert (pooled.low, pooled.high) == models.wilson(pooled.correct, pooled.n)
    assert pooled.by_task["sums"].n == 300


def test_a_paired_difference_needs_the_same_questions_and_two_seeds():
    with pytest.raises(InputError, match="different questions"):
        paired_difference(recorded(), recorded(executor=workers.outcome_of_others))
    with pytest.raises(InputError, match="1 recorded seeds in common"):
        paired_difference(recorded(seeds=1), recorded(seeds=3))


# Replaying and keeping


def test_a_replay_says_that_it_is_recorded_and_where_and_when():
    recorded()
    result = runs.run("try", seed=1)
    assert result.recorded and result.outcome.seed == 1
    for text in (repr(result), result._repr_html_()):
        assert "recorded 2026-11-23 on a machine" in text and "81 of 100" in text
    assert result.rows[0]["task"] == "all" and result.rows[1]["share"] == 0.81
    assert result.score.correct == 81 and math.isnan(result.score.cot) and result.score.by_task["sums"].n == 100
    assert result.history.loss[0] == 4.0 and math.isnan(result.history.loss[1])


def test_a_replay_of_what_is_not_recorded_says_what_to_do():
    with pytest.raises(InputError, match="labkit runs rebuild try"):
        runs.run("try")
    recorded()
    with pytest.raises(InputError, match="seeds 0, 1, not for 7"):
        runs.run("try", seed=7)
    with pytest.raises(InputError, match="with another recipe or base"):
        runs.run(dataclasses.replace(RECIPE, lr=1.0))
    with pytest.raises(InputError, match="no recipe 'tri'"):
        runs.run("tri")


def test_only_keep_adds_to_my_runs(capsys):
    recorded()
    result = runs.run("try")
    assert runs.my_runs() == [] and "keep" in repr(runs.my_runs())
    result.keep("a <b>note</b> & more")
    result.keep("a <b>note</b> & more")
    [row] = runs.my_runs()
    assert (row["recipe"], row["score"], row["lab"], row["hash"]) == ("try", 0.8, "00", RECIPE.hash)
    assert "a <b>note</b>" in repr(runs.my_runs())
    page = runs.my_runs()._repr_html_()
    assert "<b>" not in page and "&lt;b&gt;note&lt;/b&gt; &amp; more" in page


def test_html_escapes_what_comes_from_a_record():
    spoilt = dataclasses.replace(
        workers.outcome(RECIPE), machine="<script>alert(1)</script>", by_task={"<img>": workers.outcome(RECIPE).score}
    )
    page = runs.Run(RECIPE, spoilt, recorded=True)._repr_html_()
    assert "<script" not in page and "<img" not in page


# Running


@pytest.fixture
def small_mix(monkeypatch):
    from sums import number_questions

    examples = number_questions(30)
    monkeypatch.setattr(execution, "mix", lambda recipe: (examples[:20], examples[20:]))
    return examples


def test_a_run_is_made_in_its_recipes_number_format_and_a_live_one_in_the_machines(small_mix, monkeypatch):
    used = []
    whole = training.fit
    monkeypatch.setattr(training, "fit", lambda *a, **k: used.append(a[2].number_format) or whole(*a, **k))
    recipe = dataclasses.replace(RECIPE, number_format="bfloat16", batch_size=4, evaluation_n=2, max_new_tokens=4)
    runs.execute(recipe)
    runs.run(recipe, live=True)
    assert used == ["bfloat16", "float32"] and runs.settings(recipe).number_format == "auto"


def test_a_live_run_leaves_curves_and_a_score(small_mix, capsys):
    recipe = dataclasses.replace(
        RECIPE, batch_size=4, evaluation_n=6, validation_n=2, eval_every=1, max_new_tokens=8, rank=2
    )
    told = []
    outcome = runs.execute(recipe, lambda share, text: told.append(share))
    assert outcome.score["n"] == 6 == len(outcome.right)
    assert outcome.right.count("1") == outcome.score["correct"]
    assert outcome.history["step"] == [1, 2] and outcome.history["validation_step"] == [0, 1, 2]
    assert (outcome.trained_on, outcome.questions) == (runs.digest(small_mix[:20]), runs.digest(small_mix[20:26]))
    assert 0 < outcome.trainable < outcome.total
    assert told == sorted(told) and told[-1] == 1.0
    assert outcome.versions["torch"] and outcome.machine and outcome.date > "2026"
    json.dumps(dataclasses.asdict(outcome), allow_nan=False)


def test_runs_that_are_made_together_are_those_made_alone_and_are_recorded_so(small_mix, monkeypatch):
    recipe = dataclasses.replace(
        RECIPE, batch_size=4, evaluation_n=4, validation_n=3, max_new_tokens=4, rank=2, steps=3, text_rows=2, lr=0.01
    )
    monkeypatch.setattr(execution.cluster, "map", lambda work, jobs, progress, **_: [
        progress(index, work(job)) for index, job in enumerate(jobs)
    ])  # fmt: skip
    monkeypatch.setitem(runs.RECIPES, "full", dataclasses.replace(recipe, name="full", method="full", lr=1e-3))
    together, full = runs.rebuild_all([(recipe, 3), (runs.RECIPES["full"], 1)], workers=1)
    assert [outcome.at_once for outcome in together.outcomes] == [3, 3, 3] and full.outcomes[0].at_once == 1
    for outcome in together.outcomes:
        alone = runs.execute(dataclasses.replace(recipe, seed=outcome.seed))
        assert outcome.history["loss"] == pytest.approx(alone.history["loss"], rel=1e-4)
        assert outcome.history["validation_loss"] == pytest.approx(alone.history["validation_loss"], rel=1e-4)
        assert outcome.text_loss == pytest.approx(alone.text_loss, rel=1e-4)
        assert (outcome.trainable, outcome.total) == (alone.trainable, alone.total)
        assert (outcome.trained_on, outcome.questions) == (alone.trained_on, alone.questions)
        assert outcome.history["tokens"] == alone.history["tokens"]
    losses = {outcome.history["loss"][-1] for outcome in together.outcomes}
    assert len(losses) == 3  # each seed has its own adapter and order


def test_mixed_in_text_carries_loss_everywhere_and_is_not_the_text_that_is_held_out(tiny_model_folder, small_mix):
    tokenizer, rows, _ = labelled(small_mix[:2], tiny_model_folder, text_rows=3)
    assert len(rows) == 5 and all(row["labels"] == row["input_ids"] for row in rows[2:])
    held_out = runs.text_rows("held out", 48, tokenizer)
    assert not [row for row in rows[2:] if row in held_out]
    with pytest.raises(InputError, match="text_rows is -1"):
        dataclasses.replace(RECIPE, text_rows=-1)


def test_a_live_run_says_nothing_that_differs_between_machines(small_mix, capsys):
    recipe = dataclasses.replace(RECIPE, batch_size=2, evaluation_n=2, max_new_tokens=2, method="full", lr=1e-3)
    result = runs.run(recipe, live=True, seed=1)
    assert not result.recorded and result.recipe.seed == 1
    assert repr(result) == "try, seed 1: run now, 2 steps, 2 questions asked"
    assert result._repr_html_() == f"<p>{result!r}</p>"
    assert result.outcome.trainable == result.outcome.total
    said = capsys.readouterr()
    assert said.out == said.err == ""  # no progress bar is left
    assert runs.my_runs() == []


def labelled(examples, tiny_model_folder, **changes):
    _, tokenizer = models.load(tiny_model_folder)
    rows = runs.training_rows(examples, tokenizer, dataclasses.replace(RECIPE, **changes))
    return tokenizer, rows, [[label for label in row["labels"] if label != -100] for row in rows]


def test_the_masks_and_the_control_on_prompts(small_mix, tiny_model_folder):
    examples = small_mix[:5]
    tokenizer, rows, completion = labelled(examples, tiny_model_folder)
    for example, labels in zip(examples, completion):
        assert tokenizer.decode(labels) == example.completion + "<|end|>"
    _, whole_rows, whole = labelled(examples, tiny_model_folder, mask="none")
    assert whole == [row["input_ids"] for row in whole_rows]
    _, _, prompt = labelled(examples, tiny_model_folder, control="prompt")
    assert [first + second for first, second in zip(prompt, completion)] == [row["input_ids"] for row in rows]


def test_the_weighted_and_the_partial_mask_and_a_planted_fault(small_mix, tiny_model_folder):
    import random

    from labkit.almanac.examples import with_shots

    examples = [dataclasses.replace(e, task="sum") for e in small_mix[:6]]
    _, rows, completion = labelled(examples, tiny_model_folder)
    _, _, some = labelled(examples, tiny_model_folder, prompt_weight=0.5)
    for row, own, labels in zip(rows, completion, some):
        assert labels[-len(own) :] == own and len(own) < len(labels) < len(row["labels"])
    _, _, unended = labelled(examples, tiny_model_folder, fault="no_end_token")
    assert unended == [labels[:-1] for labels in completion]
    shot = with_shots(examples[0], examples[1:], 1, random.Random(0))
    tokenizer, _, (partial,) = labelled([shot], tiny_model_folder, mask="partial")
    assert tokenizer.decode(partial) == f"{shot.shots[0][1]}{shot.completion}<|end|>"
    for impossible in ({"base_bits": 1}, {"base_bits": 4, "method": "full"}):
        with pytest.raises(InputError, match="base_bits is"):
            dataclasses.replace(RECIPE, **impossible)
    with pytest.raises(InputError, match="prompt_weight is 2"):
        dataclasses.replace(RECIPE, prompt_weight=2)


def test_shuffled_answers_are_all_given_and_none_to_its_own_question(small_mix):
    shuffled = runs.shuffle_answers(small_mix, seed=0)
    assert [example.prompt for example in shuffled] == [example.prompt for example in small_mix]
    assert sorted(example.completion for example in shuffled) == sorted(example.completion for example in small_mix)
    assert all(
        new.completion != old.completion and new.completion.endswith(new.answer)
        for new, old in zip(shuffled, small_mix)
    )
    assert runs.shuffle_answers(small_mix, seed=0) == shuffled != runs.shuffle_answers(small_mix, seed=1)


def test_shuffling_draws_nothing_from_the_global_seed(small_mix):
    random.seed(5)
    expected = random.random()
    random.seed(5)
    runs.shuffle_answers(small_mix, seed=0)
    assert random.random() == expected


@pytest.mark.slow
def test_qlora_runs_over_the_base_in_nf4_alone_and_together(small_mix, monkeypatch, wide_model_folder):
    monkeypatch.setattr(models, "BASE", wide_model_folder)
    monkeypatch.setattr(execution.cluster, "map", lambda work, jobs, progress, **_: [
        progress(index, work(job)) for index, job in enumerate(jobs)
    ])  # fmt: skip
    lora = dataclasses.replace(
        RECIPE, batch_size=4, evaluation_n=4, validation_n=3, max_new_tokens=4, rank=2, steps=3, lr=0.01
    )
    qlora = dataclasses.replace(lora, name="qlora", method="qlora")
    two = dataclasses.replace(lora, name="two", base_bits=2)
    monkeypatch.setitem(runs.RECIPES, "two", two)
    monkeypatch.setitem(runs.RECIPES, "qlora", qlora)
    records_ = runs.rebuild_all([(lora, 2), (qlora, 2), (two, 2)], workers=1)
    plain, four, reduced = (record.outcomes for record in records_)
    assert [outcome.at_once for outcome in (*plain, *four, *reduced)] == [2] * 6  # each with its own base
    far = [abs(one.history["loss"][0] - other.history["loss"][0]) for one, other in zip(reduced, plain, strict=True)]
    assert min(far) > 2 * max(abs(a.history["loss"][0] - b.history["loss"][0]) for a, b in zip(four, plain))
    for outcome, other in zip(four, plain, strict=True):
        alone = runs.execute(dataclasses.replace(qlora, seed=outcome.seed))
        assert outcome.history["loss"] == pytest.approx(alone.history["loss"], rel=1e-4)
        assert outcome.history["validation_loss"] == pytest.approx(alone.history["validation_loss"], rel=1e-4)
        assert outcome.text_loss == pytest.approx(alone.text_loss, rel=1e-4)
        assert (outcome.trainable, outcome.total) == (alone.trainable, alone.total) == (other.trainable, other.total)
        assert 1e-5 < abs(outcome.history["loss"][0] - other.history["loss"][0]) < 0.1  # near the base, and not it
        assert outcome.versions["bitsandbytes"]
    assert runs.Record.load("qlora").recipe["method"] == "qlora"


# The commands


def command(module, *arguments):
    parser = argparse.ArgumentParser()
    module.add_arguments(parser)
    return module.main(parser.parse_args(list(arguments)))


def test_the_command_lists_and_shows(capsys):
    recorded()
    assert command(runs_command, "list", "--json") == 0
    lines = capsys.readouterr().out.splitlines()
    assert json.loads(lines[-1])["try"] == "recorded, 2 seeds, mean 80.5% right"
    assert json.loads(lines[-1])["sft-short"] == "not recorded"
    assert command(runs_command, "show", "try", "--json") == 0
    shown = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert shown["mean"] == pytest.approx(0.805) and shown["low"] < 0.805 < shown["high"]


def test_the_command_rebuilds(monkeypatch, capsys):
    monkeypatch.setattr(
        runs_command, "rebuild_all", lambda wanted, **more: [recorded(recipe, seeds) for recipe, seeds in wanted]
    )
    assert command(runs_command, "rebuild", "try", "--seeds", "3", "--json") == 0
    assert list(json.loads(capsys.readouterr().out.splitlines()[-1])["try"]["shares"]) == ["0", "1", "2"]
    for wrong in (("rebuild", "tri"), ("rebuild", "try", "--seeds", "0"), ("show", "tri")):
        with pytest.raises(InputError):
            command(runs_command, *wrong)


def test_of_several_rates_the_one_with_the_lowest_held_out_loss_is_recorded_on_all_seeds(monkeypatch, capsys):
    ends = {1e-3: 0.5, 1e-2: 0.2, 1e-1: None, 2e-3: 0.9}  # None: no number

    def made(wanted, **more):
        def executor(recipe):
            history = {"validation_loss": [3.0, ends[recipe.lr]]}
            return dataclasses.replace(workers.outcome(recipe), history=history)

        asked.append({recipe.name: seeds for recipe, seeds in wanted})
        return [recorded(recipe, seeds, executor) for recipe, seeds in wanted]

    asked = []
    monkeypatch.setattr(runs_command, "rebuild_all", made)
    for name, lr, rank in (("r1-low", 1e-3, 1), ("r1-mid", 1e-2, 1), ("r1-high", 1e-1, 1), ("r2-mid", 2e-3, 2)):
        monkeypatch.setitem(runs.RECIPES, name, dataclasses.replace(RECIPE, name=name, lr=lr, rank=rank))
    assert command(runs_command, "rebuild", "r1-*", "r2-mid", "--screen", "2", "--seeds", "5") == 0
    assert asked == [{"r1-low": 2, "r1-mid": 2, "r1-high": 2, "r2-mid": 2}, {"r1-mid": 5, "r2-mid": 5}]
    assert runs.best("r1-*").name == "r1-mid"
    with pytest.raises(InputError, match="r1-mid, r2-mid differ in more than the rate"):
        runs.best("r[12]-*")
    with pytest.raises(InputError, match="--screen is 0"):
        command(runs_command, "rebuild", "r1-*", "--screen", "0")
    recorded(runs.RECIPES["r1-low"])  # without a held-out loss
    monkeypatch.setitem(runs.RECIPES, "r1-low", dataclasses.replace(RECIPE, name="r1-low"))
    with pytest.raises(InputError, match="validation_n"):
        record = recorded(runs.RECIPES["r1-low"], executor=lambda r: dataclasses.replace(
            workers.outcome(r), history={"validation_loss": []}))  # fmt: skip
        runs.best_rates([runs.RECIPES[record.name]])


def test_the_command_replays_and_keeps(capsys):
    from labkit.runs import replay

    recorded()
    assert command(replay, "try", "--keep", "from a terminal", "--json") == 0
    out = capsys.readouterr().out
    assert "recorded 2026-11-23" in out and json.loads(out.splitlines()[-1])["correct"] == 80
    assert progress.store().runs()[0]["note"] == "from a terminal"
