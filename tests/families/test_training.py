"""Models in the shapes of real families are loaded, rendered for, trained and saved; and PEFT and transformers alone
load what was saved, with equal outputs.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from families.conventions import FAMILIES, SHAPES, make

from labkit import cli, models
from labkit.data import Example, load_examples
from labkit.masking import end_ids, render, turn_end


@pytest.fixture(scope="module", params=SHAPES)
def folder(request, tmp_path_factory) -> Path:
    """A model in each shape in turn, whose weights are saved as the family's are."""
    conventions, shape = SHAPES[request.param]
    place = make(tmp_path_factory.mktemp(request.param), FAMILIES[conventions], weights=True, shape=shape)
    assert (request.param == "Mistral-7B") == (len(list(place.glob("*.safetensors"))) > 1)
    return place


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("data") / "mine.jsonl"
    rows = [
        {"prompt": f"Is gate {number} open?", "completion": "no" if number % 3 else "yes, it is."}
        for number in range(20)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def logits(model, ids: list[int]) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(input_ids=torch.tensor([ids])).logits


@pytest.mark.parametrize("method", ["lora", "full"])
def test_what_was_trained_is_loaded_without_the_kit(method, folder, data, tmp_path, monkeypatch, capsys):
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    trained, save = [], models.save_into
    monkeypatch.setattr(models, "save_into", lambda model, *args: (trained.append(model), save(model, *args)))
    out = tmp_path / "out"
    call = ["sft", "--model", str(folder), "--data", str(data), "--method", method, "--out", str(out), "--json"]
    assert cli.main([*call, "--steps", "6", "--lr", "0.005", "--device", "cpu", "--questions", "0", "--rank", "4"]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    report = json.loads(printed.out.splitlines()[-1])
    assert report["validation_loss"][-1] < report["validation_loss"][0]

    if method == "full":
        again = AutoModelForCausalLM.from_pretrained(out)
    else:
        base = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        again = PeftModel.from_pretrained(base, out)
    tokenizer = AutoTokenizer.from_pretrained(out if method == "full" else folder)
    example = load_examples(data)[0]
    text = tokenizer.apply_chat_template(example.messages(), tokenize=False)
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert ids == render(example, tokenizer).input_ids and len(ids) > 8  # longer than a window
    torch.testing.assert_close(logits(again, ids), logits(trained[0], ids), rtol=1e-5, atol=1e-5)
    before, own = models.load(folder, "cpu")
    assert not torch.allclose(logits(before, ids), logits(again, ids), atol=1e-3)
    ours = models.load(out, "cpu")[0] if method == "full" else models.load(folder, "cpu", adapter=out)[0]
    torch.testing.assert_close(logits(ours, ids), logits(again, ids), rtol=1e-5, atol=1e-5)
    if method == "full":  # the tokenizer is as it was, and not with the padding that training chose
        assert AutoTokenizer.from_pretrained(out).pad_token == AutoTokenizer.from_pretrained(folder).pad_token
        untied = before.get_output_embeddings().weight is not before.get_input_embeddings().weight
        assert (again.get_output_embeddings().weight is not again.get_input_embeddings().weight) == untied


def test_rows_end_where_the_model_stops_and_fit_its_context(folder, data):
    model, tokenizer = models.load(folder, "cpu")
    row = render(load_examples(data)[0], tokenizer)
    end = turn_end(row.input_ids, end_ids(tokenizer, model.generation_config), row.prompt_length)
    assert end is not None and row.labels[end] == row.input_ids[end]
    unlimited = model.config.model_type in ("bloom", "mamba")
    assert models.context_length(model.config) == (None if unlimited else 256)
    assert tokenizer.pad_token_id is not None


def test_writing_is_that_of_transformers(folder, data):
    model, tokenizer = models.load(folder, "cpu")
    asked: list[Example] = load_examples(data)[:3]
    ours = models.generate_ids(model, tokenizer, asked, max_new_tokens=12)
    ends = list(end_ids(tokenizer, model.generation_config))
    for example, written in zip(asked, ours, strict=True):
        ids = tokenizer.apply_chat_template(example.messages(False), add_generation_prompt=True, return_dict=True)[
            "input_ids"
        ]
        theirs = model.generate(
            torch.tensor([ids]),
            max_new_tokens=12,
            do_sample=False,
            eos_token_id=ends,
            pad_token_id=tokenizer.pad_token_id,
        )
        assert theirs[0, len(ids) :].tolist() == written
