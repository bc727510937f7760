"""What each family's template does to what a file says: dropped, stripped, trimmed, refused, doubled; lint names it."""

from __future__ import annotations

import dataclasses
import json

import pytest
from families.conventions import FAMILIES, make
from tokenizers import processors

from labkit import models
from labkit.common import InputError
from labkit.lint import lint

USER, ASSISTANT = {"role": "user", "content": "Is the gate open?"}, {"role": "assistant", "content": "yes, it is."}
SYSTEM = {"role": "system", "content": "Be brief, in one word."}


@pytest.fixture
def look(folders, tmp_path):
    """A function from a family's name and rows to the report on them."""

    def looked(name: str, *rows, folder=None):
        path = tmp_path / "in.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        model = models.conventions(folder or folders[name])
        return lint(path, model.tokenizer, ends=model.ends, context=model.context)

    return looked


def found(report) -> dict[str, int]:
    return {name: len(whose) for name, whose in report.findings.items() if whose}


def test_a_system_message_that_the_template_drops(tmp_path, look):
    deaf = (
        FAMILIES["zephyr"]
        .template.replace("{{ raise_exception('no system message here') }}", "")
        .replace("{{ '<|' + m.role", "{% if m.role != 'system' %}{{ '<|' + m.role")
        .replace("eos_token + '\n' }}", "eos_token + '\n' }}{% endif %}")
    )
    folder = make(tmp_path / "deaf", dataclasses.replace(FAMILIES["zephyr"], template=deaf))
    report = look("", {"messages": [SYSTEM, USER, ASSISTANT]}, {"messages": [USER, ASSISTANT]}, folder=folder)
    assert found(report) == {"left_out": 1} and "the system message (1)" in str(report)


def test_a_refused_role_is_a_bad_line_with_the_template_s_words(look):
    report = look("zephyr", {"messages": [SYSTEM, USER, ASSISTANT]}, {"messages": [USER, ASSISTANT]})
    assert report.examples == 1 and "no system message here" in report.bad_lines[1]


def thinking(words: str = "I look at it.") -> dict:
    return ASSISTANT | {"content": f"<think>{words}</think>yes, it is."}


@pytest.mark.parametrize(
    "name, messages, faults",
    [
        ("r1", [USER, thinking()], {"left_out": 1}),  # what is to be taught is not in the row
        ("qwen3", [USER, thinking()], {}),  # written on lines of its own, and there
        ("qwen3", [USER, ASSISTANT | {"reasoning_content": "I look."}], {}),
        ("chatml", [USER, ASSISTANT | {"reasoning_content": "I look."}], {"left_out": 1}),
    ],
)
def test_thinking_of_the_answer(name, messages, faults, look):
    report = look(name, {"messages": messages})
    assert found(report) == faults and ("the thinking (1)" in str(report)) == bool(faults)


def test_thinking_of_earlier_turns_is_gone_by_design_and_noted(look):
    report = look("qwen3", {"messages": [USER, thinking("It was shut."), USER, thinking()]})
    assert report.clean and "removes the thinking from earlier turns (1 examples)" in str(report)


CALL = {"type": "function", "function": {"name": "look", "arguments": {"at": "the gate", "where": ["é", 3]}}}
TOOL = {"role": "tool", "content": "open"}


@pytest.mark.parametrize("arguments", [CALL["function"]["arguments"], json.dumps(CALL["function"]["arguments"])])
def test_tool_calls_reach_the_row_or_are_missed(arguments, look):
    call = {"type": "function", "function": {"name": "look", "arguments": arguments}}
    row = {"messages": [USER, {"role": "assistant", "content": None, "tool_calls": [call]}, TOOL, ASSISTANT]}
    assert look("qwen3", row).clean
    said = row["messages"][1] | {"content": "Let me look."}
    deaf = look("chatml", {"messages": [USER, said]})
    assert found(deaf) == {"left_out": 1} and "a tool call (1)" in str(deaf)
    with pytest.raises(InputError, match="line 1: the chat template does not accept the conversation"):
        look("zephyr", {"messages": row["messages"][:2]})  # it joins content, and there is none


def test_flags_on_messages_that_no_trainer_here_reads_are_noted(look):
    report = look(
        "chatml", {"messages": [USER, ASSISTANT | {"weight": 0}, USER, ASSISTANT]}, {"messages": [USER, ASSISTANT]}
    )
    assert report.clean and '"weight" on messages (1 examples)' in str(report)


def test_white_space_that_is_trimmed_is_noted(look):
    rows = [{"prompt": "Say it.", "completion": " yes\n"}]
    for name in ("llama3", "gemma"):
        assert look(name, *rows).clean and "trims white space around texts (1 examples)" in str(look(name, *rows))
    assert "trims" not in str(look("chatml", *rows))


def test_texts_templated_by_hand_that_get_a_second_begin_token(look):
    begin, turn = "<|begin_of_text|>", "<|start_header_id|>user<|end_header_id|>\n\nIs it?<|eot_id|>"
    assert found(look("llama3", {"text": begin + turn}, {"text": turn})) == {"doubled": 1}


def test_a_tokenizer_that_adds_the_end_token_by_itself(folders, tmp_path):
    tokenizer = models.load_tokenizer(folders["mistral"])
    ids = [("<s>", tokenizer.bos_token_id), ("</s>", tokenizer.eos_token_id)]
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing("<s> $A </s>", special_tokens=ids)
    path = tmp_path / "in.jsonl"
    path.write_text(json.dumps({"prompt": "Is it?", "completion": " yes"}) + "\n")
    assert "doubled" in found(lint(path, tokenizer, plain=True))


def test_padding_that_is_the_end_is_noted_also_where_there_is_none(look):
    rows = [{"messages": [USER, ASSISTANT]}]
    assert look("r1", *rows).pad_is_end and look("llama3", *rows).pad_is_end and not look("gemma", *rows).pad_is_end


def test_templates_by_name_without_a_default(folders, tmp_path):
    tokenizer = models.load_tokenizer(folders["chatml"])
    tokenizer.chat_template = {"tool_use": tokenizer.chat_template, "rag": tokenizer.chat_template}
    path = tmp_path / "in.jsonl"
    path.write_text(json.dumps({"messages": [USER, ASSISTANT]}) + "\n")
    with pytest.raises(InputError, match=r"by name \(tool_use, rag\) and no default"):
        lint(path, tokenizer)
