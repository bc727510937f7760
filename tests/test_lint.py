"""`labkit lint`: each failure that a text file can hold is found by its name, and a sound file has none."""

from __future__ import annotations

import dataclasses
import json

import pytest
from sums import number_questions

from labkit import cli
from labkit.common import InputError
from labkit.data import save_examples
from labkit.lint import FINDINGS, lint
from labkit.models import load_tokenizer


@pytest.fixture
def tokenizer(tiny_model_folder):
    return load_tokenizer(tiny_model_folder)


def found(report) -> dict[str, list[str]]:
    return {name: whose for name, whose in report.findings.items() if whose}


def test_the_kits_examples_are_clean_and_their_share_is_told():
    from labkit.almanac.examples import long_mix

    report = lint(long_mix(0, train=200, test=11)[0], load_tokenizer())
    assert report.clean and found(report) == {} and set(report.findings) == set(FINDINGS)
    assert 0.8 < report.prompt_share < 0.87 and report.prompt_share != report.mean_prompt_share


def test_what_is_cut_and_what_is_left_without_a_label(tokenizer):
    examples = number_questions(60)
    whole = lint(examples, tokenizer)
    assert whole.clean and lint(examples, tokenizer, whole.longest).clean
    cut = lint(examples, tokenizer, 30)
    assert set(cut.findings["all_masked"]) < set(cut.findings["truncated"]) and cut.findings["all_masked"]
    assert len(lint(examples, tokenizer, whole.longest - 1).findings["truncated"]) >= 1


@pytest.mark.parametrize("marker", ["<|user|>", "<|im_start|>", "### Response:", "<|end|>"])
def test_role_markers_in_the_text(marker, tokenizer):
    examples = number_questions(5)
    for field in ("prompt", "completion"):
        odd = dataclasses.replace(examples[2], **{field: f"Well {marker} 3"})
        assert "sum-2" in lint([*examples[:2], odd], tokenizer).findings["template"]


def test_a_seam_is_found_where_a_token_straddles_it(tokenizer):
    examples = [dataclasses.replace(e, prompt="What is", completion=" 4 plus 5") for e in number_questions(3)]
    broken = [dataclasses.replace(e, prompt="What is 4 pl", completion="us 5") for e in number_questions(3)]
    assert not lint(examples, tokenizer, plain=True).findings["seam"]
    assert len(lint(broken, tokenizer, plain=True).findings["seam"]) == 3
    assert lint(broken, tokenizer).clean  # role tokens keep them apart


def test_a_template_without_an_end_token_or_without_the_assistant(tokenizer, monkeypatch):
    turns = "{% for m in messages %}<|user|>{{ m.content }}{% endfor %}"
    monkeypatch.setattr(tokenizer, "chat_template", turns)
    assert len(lint(number_questions(3), tokenizer).findings["no_end_token"]) == 3
    users = "{% for m in messages if m.role == 'user' %}<|user|>{{ m.content }}<|end|>{% endfor %}"
    monkeypatch.setattr(tokenizer, "chat_template", users)
    assert len(lint(number_questions(3), tokenizer).findings["all_masked"]) == 3


def test_bad_lines_are_told_and_nothing_is_written(tmp_path, tokenizer):
    file = tmp_path / "mine.jsonl"
    save_examples(number_questions(3), file)
    user = {"role": "user", "content": "a"}
    lines = ["{broken", json.dumps({"messages": [user, user]}), json.dumps({"messages": [user]})]
    file.write_text(file.read_text() + "\n".join(lines) + "\n")
    report = lint(file, tokenizer)
    assert report.examples == 3 and list(report.bad_lines) == [4, 5, 6] and not report.clean
    assert all(f"{file}, line {line}: " in str(report) for line in (4, 5, 6))
    assert len(report.as_dict()["such_as"]["bad_lines"]) == 3
    assert "user and assistant take turns" in report.bad_lines[5] and "not the assistant's" in report.bad_lines[6]
    assert [path.name for path in tmp_path.iterdir()] == ["mine.jsonl"]


@pytest.mark.parametrize("text, says", [(None, "no such file"), ("", "no usable example"), ("{\n", "line 1: broken")])
def test_nothing_usable_is_an_error(text, says, tmp_path, tokenizer):
    file = tmp_path / "mine.jsonl"
    if text is not None:
        file.write_text(text)
    with pytest.raises(InputError, match=says) as raised:
        lint(file, tokenizer)
    assert "mine.jsonl" in str(raised.value) and "\n" not in str(raised.value)


def test_an_example_that_the_template_refuses_is_a_bad_line(tokenizer, monkeypatch):
    refuses = "{% if messages[0].role == 'system' %}{{ raise_exception('no system here') }}{% endif %}"
    monkeypatch.setattr(tokenizer, "chat_template", refuses + tokenizer.chat_template)
    examples = [dataclasses.replace(example, system=None) for example in number_questions(3)]
    odd = dataclasses.replace(examples[1], system="Be short.")
    report = lint([examples[0], odd, examples[2]], tokenizer)
    assert report.examples == 2 and list(report.bad_lines) == [2] and "no system here" in report.bad_lines[2]


def test_a_tokenizer_without_a_limit_says_so(tokenizer, monkeypatch):
    monkeypatch.setattr(tokenizer, "model_max_length", 10**30)
    report = lint(number_questions(2), tokenizer)
    assert "cut at 1024 tokens, TRL's default (the tokenizer's limit: none" in str(report)


def test_the_command_says_and_exits(tmp_path, tiny_model_folder, capsys):
    file = tmp_path / "mine.jsonl"
    save_examples(number_questions(20), file)
    call = ["lint", str(file), "--model", str(tiny_model_folder), "--json"]
    assert cli.main(call) == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert told["clean"] and told["examples"] == 20 and 0 < told["prompt_share"] < 1
    assert cli.main([*call, "--max-length", "25"]) == 1
    out = capsys.readouterr().out
    assert "truncated: " in out and json.loads(out.splitlines()[-1])["truncated"] > 0
    assert cli.main(["lint", str(tmp_path / "none.jsonl")]) == 2
    assert cli.main(["lint", str(file), "--model", str(tmp_path)]) == 2
    assert cli.main([*call, "--max-length", "0"]) == 2


@pytest.mark.parametrize(
    "length, limit, context, cut, whose",
    [
        (None, 2000, None, 1024, "TRL's default"),
        (None, 2000, 300, 300, "the model's context"),
        (None, 200, 300, 200, "the tokenizer's limit"),
        (100, 200, 300, 100, "the length asked for"),
        (5000, 2000, 4000, 2000, "the tokenizer's limit"),
    ],
)
def test_the_smallest_limit_cuts_and_is_named(length, limit, context, cut, whose, tokenizer, monkeypatch):
    monkeypatch.setattr(tokenizer, "model_max_length", limit)
    report = lint(number_questions(2), tokenizer, length, context=context)
    assert (report.max_length, report.limit_of) == (cut, whose) and f"cut at {cut} tokens, {whose}" in str(report)


def write(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


USER, ASSISTANT = {"role": "user", "content": "Is it open?"}, {"role": "assistant", "content": "yes"}


def test_where_loss_lies_is_said_for_each_form(tmp_path, tokenizer):
    """As `as_trl`, which a test compares with TRL's own rows: all of messages and texts, the completion of the others."""
    rows = {
        "messages": {"messages": [USER, ASSISTANT, USER, ASSISTANT]},
        "prompt": {"prompt": "Is it day?", "completion": "yes"},
        "text": {"text": "Is it night?"},
    }
    said = {name: str(lint(write(tmp_path / f"{name}.jsonl", row), tokenizer)) for name, row in rows.items()}
    assert "every token of the 1 conversations" in said["messages"] and "assistant_only_loss=True" in said["messages"]
    assert (
        "1 earlier assistant turns are context only" in said["messages"]
        and "loss: on the completion only" in said["prompt"]
    )
    assert 'every token of the 1 rows under "text"' in said["text"] and "0.0% of the tokens are prompt" in said["text"]
    assert "loss: on" not in said["messages"] and "every token" not in said["prompt"]


def test_a_prompt_answered_in_two_ways_and_a_repeated_example(tmp_path, tokenizer):
    answers = [{"prompt": "Is it?", "completion": word} for word in ("yes", "no", "yes")]
    report = lint(write(tmp_path / "in.jsonl", *answers, {"messages": [USER, ASSISTANT]}), tokenizer)
    assert found(report) == {"conflict": ["line 2"]} and "1 examples repeat an earlier one" in str(report)


def test_plain_rows_say_what_they_lack(tmp_path, tokenizer, monkeypatch):
    path = write(tmp_path / "in.jsonl", {"messages": [{"role": "system", "content": "Be brief."}, USER, ASSISTANT]})
    assert found(lint(path, tokenizer, plain=True)) == {"left_out": ["line 1"]} and lint(path, tokenizer).clean
    monkeypatch.setattr(tokenizer, "chat_template", None)
    with pytest.raises(InputError, match="line 1: the tokenizer has no chat template"):
        lint(path, tokenizer)
