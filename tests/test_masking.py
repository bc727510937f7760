"""Masking: the completion and its end token carry loss and nothing else does, as in TRL."""

from __future__ import annotations

import pytest
from conftest import number_questions
from hypothesis import given
from hypothesis import strategies as st

from labkit.data import InputError
from labkit.masking import IGNORED, collate, completion_labels, prompt_ids, render

ids = st.lists(st.integers(0, 300), max_size=20)
row = st.lists(st.tuples(st.integers(0, 5), st.integers(-100, 5)), min_size=1, max_size=20).map(
    lambda pairs: {"input_ids": [i for i, _ in pairs], "labels": [label for _, label in pairs]}
)


@pytest.fixture(scope="module")
def tokenizer(tiny_model_folder):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(tiny_model_folder)


def test_completion_labels_by_hand():
    assert completion_labels([5, 6, 7], [8, 9]) == [-100, -100, -100, 8, 9]


@given(ids, ids)
def test_labels_are_ignored_or_the_token_itself(prompt, completion):
    labels = completion_labels(prompt, completion)
    assert labels == [IGNORED] * len(prompt) + completion


def test_the_counted_tokens_are_the_completion_and_its_end_token(tokenizer):
    for example in number_questions(50):
        rendered = render(example, tokenizer)
        counted = [label for label in rendered.labels if label != IGNORED]
        assert tokenizer.decode(counted) == example.completion + "<|end|>"
        assert rendered.labels[rendered.prompt_length :] == rendered.input_ids[rendered.prompt_length :] == counted
        assert set(rendered.labels[: rendered.prompt_length]) == {IGNORED}
        assert tokenizer.decode(rendered.input_ids[: rendered.prompt_length]).endswith("<|assistant|>")


def test_the_prompt_of_training_is_the_prompt_of_generation(tokenizer):
    for example in number_questions(20):
        rendered = render(example, tokenizer)
        assert prompt_ids(example, tokenizer) == rendered.input_ids[: rendered.prompt_length]


def test_messages_render_like_the_example(tokenizer):
    for example in number_questions(10):
        assert render(example.messages(), tokenizer) == render(example, tokenizer)


def test_rows_equal_those_of_trl(tokenizer, tiny_model_folder, tmp_path):
    from datasets import Dataset
    from transformers import AutoModelForCausalLM
    from trl import SFTConfig, SFTTrainer

    examples = number_questions(300)
    conversations = Dataset.from_list(
        [{"prompt": e.messages(completion=False), "completion": e.messages()[-1:]} for e in examples]
    )
    settings = SFTConfig(
        output_dir=str(tmp_path), completion_only_loss=True, max_length=None, bf16=False, use_cpu=True, report_to="none"
    )
    model = AutoModelForCausalLM.from_pretrained(tiny_model_folder)
    trainer = SFTTrainer(model, settings, train_dataset=conversations, processing_class=tokenizer)
    theirs = [trainer.train_dataset[index] for index in range(len(examples))]
    ours = [render(example, tokenizer) for example in examples]
    assert [list(row["input_ids"]) for row in theirs] == [row.input_ids for row in ours]

    batch, peer = collate(ours[:32], tokenizer.pad_token_id), trainer.data_collator(theirs[:32])
    for key in ("input_ids", "attention_mask", "labels"):
        assert batch[key].equal(peer[key].to(batch[key].dtype)), key
    for mine, other in zip(ours, theirs, strict=True):
        peer = trainer.data_collator([other])
        assert peer["labels"][0].tolist() == mine.labels


def test_a_long_row_loses_the_start_of_its_prompt_never_its_completion(tokenizer):
    example = number_questions(1)[0]
    whole = render(example, tokenizer)
    cut = render(example, tokenizer, max_length=len(whole.input_ids) - 3)
    assert cut.truncated and not whole.truncated
    assert cut.input_ids == whole.input_ids[3:] and cut.labels == whole.labels[3:]
    assert cut.prompt_length == whole.prompt_length - 3
    assert render(example, tokenizer, max_length=len(whole.input_ids)) == whole


def test_a_completion_longer_than_the_context_names_the_example(tokenizer):
    example = number_questions(1)[0]
    whole = render(example, tokenizer)
    completion = len(whole.input_ids) - whole.prompt_length
    assert render(example, tokenizer, max_length=completion + 1).prompt_length == 1
    with pytest.raises(InputError, match=f'"sum-0".*{completion} tokens'):
        render(example, tokenizer, max_length=completion)


def test_what_cannot_be_rendered_says_why(tokenizer, monkeypatch):
    example = number_questions(1)[0]
    with pytest.raises(InputError, match="does not end with the assistant"):
        render(example.messages(completion=False), tokenizer)
    for template, says in {
        "{{ messages | length }}": "rewrites the prompt",
        "{% for message in messages if message.role == 'user' %}{{ message.content }}{% endfor %}": "writes nothing",
        None: "no chat template",
    }.items():
        monkeypatch.setattr(tokenizer, "chat_template", template)
        with pytest.raises(InputError, match=says):
            render(example, tokenizer)


@given(st.lists(row, min_size=1, max_size=5), st.integers(0, 5))
def test_collate_pads_on_the_right_by_position(rows, pad):
    batch = collate(rows, pad)
    longest = max(len(row["input_ids"]) for row in rows)
    for index, row in enumerate(rows):
        size = len(row["input_ids"])
        assert batch["input_ids"][index].tolist() == row["input_ids"] + [pad] * (longest - size)
        assert batch["labels"][index].tolist() == row["labels"] + [IGNORED] * (longest - size)
        assert batch["attention_mask"][index].tolist() == [1] * size + [0] * (longest - size)
    assert {str(tensor.dtype) for tensor in batch.values()} == {"torch.int64"}


def test_an_empty_batch_is_an_error():
    with pytest.raises(ValueError, match="no rows"):
        collate([], 0)
