"""Masking: the completion and its end token carry loss and nothing else does, as in TRL."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sums import number_questions

from labkit.almanac import examples
from labkit.common import InputError
from labkit.masking import (
    FAULTS,
    IGNORED,
    Rendered,
    as_trl,
    check_batch,
    collate,
    completion_labels,
    partial_labels,
    plant,
    prompt_ids,
    prompt_share,
    render,
    sampled_labels,
    segments,
    to_batch,
)

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


def records(form: str) -> list[dict]:
    """A thousand records in one of TRL's forms; the strings of some are cut in mid-word, so that tokens straddle."""
    draw, made = random.Random(form), []
    for example in number_questions(1000, seed=5):
        messages = example.messages()
        if form == "prompt and completion":
            whole = f"{example.prompt} {example.completion}"
            seam = len(example.prompt) + draw.choice([0, 1, draw.randint(-8, 8)])
            made.append({"prompt": whole[:seam], "completion": whole[seam:]})
        elif form.startswith("conversational"):
            turns = messages[:-1]
            if form.endswith("only"):  # then an earlier answer in the prompt must carry no loss
                turns[-1:-1] = [{"role": "user", "content": "Ready?"}, {"role": "assistant", "content": "Yes."}]
            made.append({"prompt": turns, "completion": messages[-1:]})
        elif form == "text":
            made.append({"text": f"{example.prompt} {example.completion}"})
        else:  # messages, some with an earlier turn
            earlier = [{"role": "user", "content": "Ready?"}, {"role": "assistant", "content": "Yes."}]
            place = len(messages) - 2
            made.append({"messages": messages[:place] + earlier * draw.randint(0, 1) + messages[place:]})
    return made


FORMS = (
    "prompt and completion", "conversational", "conversational, assistant only", "messages",
    "messages, assistant only", "text",
)  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("max_length", [None, 22])
@pytest.mark.parametrize("form", FORMS)
def test_rows_equal_those_of_trl(form, max_length, tokenizer, tiny_model_folder, tmp_path):
    from datasets import Dataset
    from transformers import AutoModelForCausalLM
    from trl import SFTConfig, SFTTrainer

    assistant_only = form.endswith("only")
    if max_length and form == "conversational, assistant only":
        max_length += 14  # for its earlier turn
    settings = SFTConfig(
        output_dir=str(tmp_path), max_length=max_length, assistant_only_loss=assistant_only, bf16=False, use_cpu=True,
        report_to="none", disable_tqdm=True, eos_token="<|end|>",
    )  # fmt: skip
    model = AutoModelForCausalLM.from_pretrained(tiny_model_folder)
    data = records(form)
    trainer = SFTTrainer(model, settings, train_dataset=Dataset.from_list(data), processing_class=tokenizer)
    theirs = trainer.train_dataset
    ours = [as_trl(record, tokenizer, max_length, assistant_only) for record in data]
    ours = [row for row in ours if set(row.labels) != {IGNORED}]  # TRL drops these
    assert [list(ids) for ids in theirs["input_ids"]] == [row.input_ids for row in ours]
    assert [list(labels) for labels in theirs["labels"]] == [row.labels for row in ours]
    batch, peer = collate(ours[:32], tokenizer.pad_token_id), trainer.data_collator([theirs[i] for i in range(32)])
    assert all(batch[key].equal(peer[key].to(batch[key].dtype)) for key in batch)
    if max_length:
        assert any(row.truncated for row in ours) and (len(ours) < 1000) == (form not in ("messages", "text"))
    elif form == "prompt and completion":
        seams = [len(tokenizer(record["prompt"])["input_ids"]) - row.prompt_length for record, row in zip(data, ours)]
        assert sum(seam > 0 for seam in seams) > 50


def test_render_makes_the_rows_of_trl_where_nothing_is_cut(tokenizer):
    for example, record in zip(number_questions(1000, seed=5), records("conversational")):
        assert render(example, tokenizer) == as_trl(record, tokenizer)


def test_completion_only_loss_changes_nothing_about_messages_and_text(tokenizer, tiny_model_folder, tmp_path):
    from datasets import Dataset
    from transformers import AutoModelForCausalLM
    from trl import SFTConfig, SFTTrainer

    settings = SFTConfig(
        output_dir=str(tmp_path), completion_only_loss=True, bf16=False, use_cpu=True, report_to="none",
        disable_tqdm=True,
    )  # fmt: skip
    model = AutoModelForCausalLM.from_pretrained(tiny_model_folder)
    for form in ("messages", "text"):
        data = Dataset.from_list(records(form)[:20])
        rows = SFTTrainer(model, settings, train_dataset=data, processing_class=tokenizer).train_dataset
        assert all(list(row["labels"]) == list(row["input_ids"]) for row in rows)


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
    with pytest.raises(InputError, match="the last message is not the assistant"):
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


segment = st.tuples(st.sampled_from(["system", "question", "answer"]), st.lists(st.integers(0, 99), max_size=5))


@given(st.lists(segment, max_size=6), st.sets(st.sampled_from(["system", "question", "answer"])))
def test_partial_labels_keep_place_and_role(parts, train_on):
    labels, whole = partial_labels(parts, train_on), [(role, id) for role, ids in parts for id in ids]
    assert labels == [id if role in train_on else IGNORED for role, id in whole]


def test_the_segments_of_a_few_shot_row(base_tokenizer):
    for example in examples.long_mix(0, train=60, test=11)[0]:
        parts = segments(example, base_tokenizer)
        shots = ["shot question", "shot answer"] * len(example.shots)
        assert [role for role, _ in parts] == ["system", *shots, "question", "answer"]
        row = render(example, base_tokenizer)
        assert [id for _, ids in parts for id in ids] == row.input_ids
        assert partial_labels(parts, {"answer"}) == row.labels
        answers = [base_tokenizer.decode(ids) for role, ids in parts if role == "shot answer"]
        assert answers == [answer for _, answer in example.shots]


def test_prompt_share_by_hand():
    # 2 of 4 and 1 of 3 real tokens: 3 of 7, however much padding there is
    assert prompt_share([[-100, -100, 5, 1], [-100, 7, 8, -100]], [4, 3]) == 3 / 7
    with pytest.raises(ValueError, match="no real token"):
        prompt_share([[-100]], [0])


def test_sampled_labels_weight_the_prompt_on_average():
    draw = random.Random(0)
    kept = [sampled_labels([7] * 50, [8, 1], 0.1, draw) for _ in range(200)]
    assert all(labels[50:] == [8, 1] and set(labels[:50]) <= {7, IGNORED} for labels in kept)
    assert sum(labels.count(7) for labels in kept) / (200 * 50) == pytest.approx(0.1, abs=0.01)
    assert sampled_labels([7, 7], [1], 0.0, draw) == [-100, -100, 1] and sampled_labels([7], [1], 1.0, draw) == [7, 1]


# The failures


@pytest.fixture(scope="module")
def base_tokenizer():
    from labkit.models import load_tokenizer

    return load_tokenizer()


@pytest.fixture(scope="module")
def sound(base_tokenizer):
    rows = [render(example, base_tokenizer) for mix in ("short", "long") for example in mix_of(mix)]
    return [row for row in rows if len(row.input_ids) > 60]


def mix_of(name: str):
    return getattr(examples, f"{name}_mix")(0, train=400, test=11)[0]


def broken(fault: str, row: Rendered, tokenizer) -> Rendered:
    return Rendered(*plant(fault, row, tokenizer), row.prompt_length, name=row.name)


@pytest.mark.parametrize("pad", ["pad", "end"])
@pytest.mark.parametrize("fault", FAULTS)
def test_each_failure_is_caught_by_its_name_in_any_row(fault, pad, sound, base_tokenizer):
    end = base_tokenizer.eos_token_id
    pad_id = base_tokenizer.pad_token_id if pad == "pad" else end
    for place in (0, 3, 7):
        for start in range(0, 80, 8):
            rows = sound[start : start + 8]
            rows[place] = broken(fault, rows[place], base_tokenizer)
            found = check_batch(collate(rows, pad_id), [row.prompt_length for row in rows], end)
            assert found == fault
            with pytest.raises(InputError, match=f"{rows[place].name}.*{found}"):
                to_batch(rows, pad_id, end)
            assert to_batch(rows, pad_id, end, allow={found})["labels"].shape[0] == 8


@pytest.mark.parametrize("mix", ["short", "long"])
def test_no_false_alarm_on_the_kits_examples(mix, base_tokenizer):
    rows = [render(example, base_tokenizer) for example in mix_of(mix)]
    end = base_tokenizer.eos_token_id
    for pad in (base_tokenizer.pad_token_id, end):
        assert check_batch(collate(rows, pad), [row.prompt_length for row in rows], end) == "ok"
    assert to_batch(rows[:32], pad, end)["labels"].equal(collate(rows[:32], pad)["labels"])


def test_a_batch_without_a_counted_token_names_its_examples_whatever_is_allowed(sound, base_tokenizer):
    rows = [broken("all_masked", row, base_tokenizer) for row in sound[:5]]
    with pytest.raises(InputError, match=f"{rows[0].name}, .* and 2 more: no token of the batch carries loss"):
        to_batch(rows, 0, base_tokenizer.eos_token_id, allow=FAULTS)


def test_planting_leaves_the_row_alone_and_knows_its_faults(sound, base_tokenizer):
    row = sound[0]
    ids, labels = list(row.input_ids), list(row.labels)
    for fault in FAULTS:
        assert plant(fault, row, base_tokenizer) != (ids, labels)
    assert (row.input_ids, row.labels) == (ids, labels)
    with pytest.raises(InputError, match="no fault 'blue'"):
        plant("blue", row, base_tokenizer)


def test_what_is_no_conversation_is_said_in_a_line(tokenizer):
    user, assistant = {"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}
    for messages, says in {
        (): "the last message is not the assistant's",
        "u": "the last message is not the assistant's",
        "uua": 'message 2 has role "user" where "assistant" is due',
        "aua": 'message 1 has role "assistant"',
        "suaa": 'message 4 has role "assistant" where "user" is due',
    }.items():
        turns = [{"u": user, "a": assistant, "s": {"role": "system", "content": "c"}}[one] for one in messages]
        with pytest.raises(InputError, match=says):
            render(turns, tokenizer)


def test_a_template_without_an_assistant_part_is_said(tokenizer, monkeypatch):
    monkeypatch.setattr(tokenizer, "chat_template", "{% for m in messages %}{{ m.content }}{% endfor %}")
    with pytest.raises(InputError, match="marks no assistant part"):
        as_trl(records("messages")[0], tokenizer, assistant_only=True)


@pytest.mark.parametrize(
    "record, says",
    [
        ({}, 'no "text"'),
        ({"prompt": "a"}, 'no "completion"'),
        ({"text": "a"}, "plain text has no assistant"),
        ({"prompt": "a", "completion": "b"}, "plain text has no assistant"),
    ],
)
def test_a_record_that_trl_would_not_take_is_said_in_a_line(record, says, tokenizer):
    with pytest.raises(InputError, match=says):
        as_trl(record, tokenizer, assistant_only=True)


@pytest.mark.parametrize("template", ["{{ raise_exception('no system here') }}", "{% for m in %}", "{{ m.content }}"])
def test_a_template_that_fails_is_said_in_a_line(template, tokenizer, monkeypatch):
    monkeypatch.setattr(tokenizer, "chat_template", template)
    with pytest.raises(InputError, match="template does not accept the conversation") as raised:
        render(number_questions(1)[0], tokenizer)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("row", [Rendered([], [], 0), Rendered([3, 4, 1], [4, 1], 1)])
def test_a_row_without_tokens_or_with_too_few_labels_is_named(row):
    with pytest.raises(InputError, match="row 0: .* labels"):
        to_batch([row], 0, 1)


def test_a_message_without_text_is_named(tokenizer):
    with pytest.raises(InputError, match='message 2: "content" is null'):
        render([{"role": "user", "content": "a"}, {"role": "assistant", "content": None}], tokenizer)
