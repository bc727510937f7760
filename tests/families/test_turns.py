"""Where a turn ends is one thing to rows, checks, lint, writing and scoring, whatever a family's convention."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch
from families.conventions import FAMILIES, make

from labkit import cli, models
from labkit.common import InputError
from labkit.data import Example
from labkit.lint import lint
from labkit.masking import IGNORED, Rendered, end_ids, render, to_batch, turn_end


def example(prompt: str = "Is the gate open?", completion: str = "yes, it is.", system=None, history=()) -> Example:
    return Example("one", None, None, None, system, (), None, prompt, prompt, completion, None, history)


def clean_set(family) -> list[Example]:
    turns = ({"role": "user", "content": "Is it day?"}, {"role": "assistant", "content": "no"})
    found = [example(), example("Say 12.", "12"), example(history=turns)]
    return found + [example(system="Be brief."), example(system="Be brief.", history=turns)] * family.system


def as_lines(examples: list[Example]) -> str:
    return "".join(json.dumps({"messages": each.messages()}) + "\n" for each in examples)


def test_a_clean_file_is_clean(family, tmp_path, capsys):
    family, folder = family
    file = tmp_path / "mine.jsonl"
    file.write_text(as_lines(clean_set(family)))
    assert cli.main(["lint", str(file), "--model", str(folder), "--json"]) == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert told["clean"] and told["such_as"] == {} and told["examples"] == len(clean_set(family))


def test_rows_pass_the_check_and_lose_their_end_only_when_cut(family):
    family, folder = family
    model = models.conventions(folder)
    rows = [render(each, model.tokenizer) for each in clean_set(family)]
    pad = model.tokenizer.pad_token_id or 0
    assert to_batch(rows, pad, model.ends)["labels"].shape[0] == len(rows)
    ends = [turn_end(row.input_ids, model.ends, row.prompt_length) for row in rows]
    assert all(end > row.prompt_length for row, end in zip(rows, ends, strict=True))
    silent = dataclasses.replace(rows[0], labels=[*rows[0].labels])
    silent.labels[ends[0] :] = [IGNORED] * len(silent.labels[ends[0] :])
    with pytest.raises(InputError, match="no_end_token"):
        to_batch([silent], pad, model.ends)
    cut = Rendered(rows[0].input_ids[: ends[0]], rows[0].labels[: ends[0]], rows[0].prompt_length)
    with pytest.raises(InputError, match="truncated"):
        to_batch([cut], pad, model.ends)


@pytest.fixture(scope="module", params=["gemma", "chatml"])
def loaded(request, tmp_path_factory):
    return models.load(make(tmp_path_factory.mktemp("weights"), FAMILIES[request.param], weights=True), "cpu")


def taught(model, sequence: list[int]):
    """The model, made to write the sequence after whatever it reads: its logits count the tokens since the prompt."""
    forward = model.forward

    def written(*args, input_ids, **more):
        found = forward(*args, input_ids=input_ids, **more)
        step = 0 if input_ids.shape[1] > 1 else model.step + 1
        model.step = step
        found.logits[:, -1, sequence[min(step, len(sequence) - 1)]] = 1e6
        return found

    model.forward = written
    return model


def test_writing_stops_at_every_end_token_and_scores_what_came_before(loaded, monkeypatch):
    model, tokenizer = loaded
    monkeypatch.setattr(model, "forward", model.forward)
    answer = tokenizer("yes, it is.", add_special_tokens=False)["input_ids"]
    for end in end_ids(tokenizer, model.generation_config):
        monkeypatch.undo()
        monkeypatch.setattr(model, "forward", model.forward)
        taught(model, [*answer, end, *answer])
        assert models.generate_ids(model, tokenizer, [example()], 40) == [[*answer, end]]
        score = models.score(model, tokenizer, [example()], 40)
        assert (score.share, score.stopped, score.outputs) == (1.0, 1.0, ["yes, it is."])
        prompt = models.prompt_ids(example(), tokenizer)
        ours = models.generate_ids(model, tokenizer, [prompt], 40)[0]
        peer = model.generate(torch.tensor([prompt]), attention_mask=torch.ones(1, len(prompt)), max_new_tokens=40)
        assert peer[0, len(prompt) :].tolist() == ours


def test_the_probability_of_a_completion_ends_with_its_end_token(loaded):
    model, tokenizer = loaded
    row = render(example(), tokenizer)
    end = turn_end(row.input_ids, end_ids(tokenizer, model.generation_config), row.prompt_length)
    assert end < len(row.input_ids) - 1  # a line break follows
    with torch.no_grad():
        chances = model(torch.tensor([row.input_ids])).logits[0].log_softmax(-1)
    logs = [chances[place - 1, row.input_ids[place]] for place in range(row.prompt_length, end + 1)]
    [found] = models.probabilities(model, tokenizer, [example()])
    assert found == pytest.approx(torch.stack(logs).sum().exp().item(), rel=1e-3)


# A base whose end token is another than its template's


@pytest.fixture(scope="module")
def base_folder(tmp_path_factory):
    base = dataclasses.replace(FAMILIES["chatml"], eos="<|endoftext|>", stops=())
    return make(tmp_path_factory.mktemp("base"), base, weights=True)


def test_lint_says_what_the_rows_end_with_and_what_writing_stops_at(base_folder):
    model = models.conventions(base_folder)
    report = lint(clean_set(FAMILIES["chatml"]), model.tokenizer, ends=model.ends)
    assert len(report.findings["no_end_token"]) == report.examples
    assert "'<|im_end|>'" in str(report) and "'<|endoftext|>'" in str(report) and not report.clean


def test_a_base_is_told_before_it_is_trained_and_then_stops_there(base_folder, tmp_path, capsys):
    file = tmp_path / "mine.jsonl"
    file.write_text(as_lines([example(f"Is gate {number} open?", "yes") for number in range(40)]))
    call = ["sft", "--data", str(file), "--model", str(base_folder), "--lr", "0.01", "--device", "cpu", "--json"]
    call += ["--out", str(tmp_path / "out")]
    assert cli.main([*call, "--steps", "40", "--batch-size", "8", "--rank", "8"]) == 0
    out, err = capsys.readouterr()
    assert err.count("\n") == 1 and "'<|im_end|>'" in err and "'<|endoftext|>'" in err
    assert json.loads(out.splitlines()[-1])["after"] == 1.0


def test_without_any_end_token_nothing_is_trained(tmp_path, capsys):
    bare = dataclasses.replace(FAMILIES["chatml"], eos=None, pad=None, stops=())
    folder = make(tmp_path / "model", bare, weights=True)
    file = tmp_path / "mine.jsonl"
    file.write_text(as_lines([example(f"Say {number}.", "yes") for number in range(20)]))
    capsys.readouterr()
    assert cli.main(["sft", "--data", str(file), "--model", str(folder), "--steps", "2", "--device", "cpu"]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "set eos_token" in err
    assert cli.main(["lint", str(file), "--model", str(folder)]) == 1
    assert "no_end_token: 20" in capsys.readouterr().out
