"""Adapters from strangers: every strange one is refused in one line or laid over a base that stays as it is."""

from __future__ import annotations

import copy
import json
import re
import shutil
import time

import pytest
import strange_adapters
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from strange_adapters import CASES, CONFIG, WEIGHTS, config

from labkit import adapters, models
from labkit.common import InputError

pytestmark = pytest.mark.slow

SECONDS = 10


@pytest.fixture(scope="module")
def base():
    return models.load(device="cpu")


@pytest.fixture(scope="module")
def good(base, tmp_path_factory):
    folder = tmp_path_factory.mktemp("good") / "adapter"
    strange_adapters.write_good(folder, base[0])
    return folder


@pytest.fixture
def folder(good, tmp_path):
    return shutil.copytree(good, tmp_path / "adapter")


def logits(model):
    with torch.inference_mode():
        return model(input_ids=torch.arange(5, 25)[None]).logits


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_strange_adapter_is_refused_or_laid_over_an_unchanged_base(case, folder, base, tmp_path, monkeypatch):
    tripwire = tmp_path / "ran"
    monkeypatch.setenv("TRIPWIRE", str(tripwire))
    monkeypatch.chdir(tmp_path)
    case.spoil(folder)
    model = copy.deepcopy(base[0])
    before, layers, started = adapters.fingerprint(model), model.config.num_hidden_layers, time.monotonic()
    said = noted = ""
    try:
        found = adapters.read(folder)
        noted = "; ".join(found.notes)
        adapted = adapters.attach(found, model)
        assert adapters.fingerprint(adapted) == before
        assert logits(adapted).shape == (1, 20, 2048)
    except InputError as error:
        said = str(error)
    assert time.monotonic() - started < SECONDS
    assert adapters.fingerprint(model) == before and model.config.num_hidden_layers == layers
    assert not tripwire.exists() and strange_adapters.SECRET not in said + noted
    assert said.isprintable() and noted.isprintable() and len(said) < 600
    if case.refused is None:
        assert said == "" and re.search(case.noted or "", noted)
    else:
        assert re.search(case.refused, said), said


def test_all_forty_kinds_are_there():
    kinds = {int(case.name[:2]) for case in CASES}
    elsewhere = {12, 36, 37, 38}  # below, and in test_score_command.py
    assert kinds | elsewhere == set(range(1, 41)) and not kinds & elsewhere


def test_12_what_changes_after_reading_changes_nothing(folder, base):
    found = adapters.read(folder)
    expected = logits(adapters.attach(found, copy.deepcopy(base[0])))
    (folder / WEIGHTS).write_bytes(b"other")
    config(r=1, target_modules=["q_proj"])(folder)
    assert torch.equal(logits(adapters.attach(found, copy.deepcopy(base[0]))), expected)


def test_12_a_file_exchanged_for_a_link_while_it_is_opened(folder, monkeypatch):
    real = adapters.os.lstat

    def exchanged(path, **more):
        about = real(path, **more)
        if str(path).endswith(WEIGHTS):
            shutil.move(path, f"{path}.moved")
            path.symlink_to("/etc/passwd")
        return about

    monkeypatch.setattr(adapters.os, "lstat", exchanged)
    with pytest.raises(InputError, match="cannot be read"):
        adapters.read_files(folder)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda place: None, "there is no such folder"),
        (lambda place: place.mkdir(), "is empty"),
        (lambda place: place.write_text("x"), "is a file; unpack it"),
        (lambda place: shutil.make_archive(str(place), "zip", place.parent) and place.with_suffix(".zip").rename(place),
         "is a file; unpack it"),
        (lambda place: (place.mkdir(), (place / CONFIG).write_text("{}")), "has no adapter_model.safetensors"),
    ],
    ids=["missing", "empty", "a file", "a zip", "half"],
)  # fmt: skip
def test_what_is_no_adapter_is_refused_in_one_line(make, said, tmp_path):
    make(tmp_path / "given")
    with pytest.raises(InputError, match=said) as error:
        adapters.read(tmp_path / "given")
    assert str(error.value).isprintable()


def test_the_same_outputs_as_peft_gives(good, base):
    from peft import PeftModel

    expected = logits(PeftModel.from_pretrained(copy.deepcopy(base[0]), good).eval())
    ours = logits(adapters.attach(adapters.read(good), copy.deepcopy(base[0])))
    assert torch.equal(ours, expected)
    assert not torch.allclose(ours, logits(base[0]), atol=1e-2)


@pytest.mark.parametrize(
    "options",
    [
        {"use_rslora": True},
        {"target_modules": "q_proj,v_proj"},
        {"rank": 1},
        {"target_modules": "model.layers.0.mlp.up_proj,layers.1.mlp.up_proj"},
    ],
)
def test_other_plain_adapters_too(options, base, tmp_path):
    from peft import PeftModel

    model = models.add_lora(copy.deepcopy(base[0]), **{"rank": 8, "alpha": 4, **options})
    with torch.no_grad():
        for name, value in model.named_parameters():
            if "lora_B" in name:
                value.fill_(0.01)
    models.save_adapter(model, tmp_path / "adapter")
    expected = logits(PeftModel.from_pretrained(copy.deepcopy(base[0]), tmp_path / "adapter").eval())
    assert torch.equal(logits(adapters.attach(adapters.read(tmp_path / "adapter"), copy.deepcopy(base[0]))), expected)


def test_a_changed_base_is_another_fingerprint(base):
    model = copy.deepcopy(base[0])
    before = adapters.fingerprint(model)
    with torch.no_grad():
        model.model.layers[0].mlp.up_proj.weight[0, 0] += 1e-3
    assert adapters.fingerprint(model) != before


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150, deadline=None)
@given(st.data())
def test_any_config_is_read_or_refused(good, data):
    known = json.loads((good / CONFIG).read_text())
    changed = data.draw(st.dictionaries(st.sampled_from(sorted(known)) | st.text(max_size=8), values, max_size=3))
    text = json.dumps(known | changed).encode()
    spoilt = data.draw(st.sampled_from([text, text[: data.draw(st.integers(0, len(text)))], data.draw(st.binary())]))
    try:
        found = adapters.parse(adapters.Files(spoilt, (good / WEIGHTS).read_bytes()))
    except InputError as error:
        assert str(error).isprintable()
    else:
        assert 1 <= found.config.rank <= adapters.MAX_RANK and 0 < found.config.alpha <= adapters.MAX_ALPHA
        assert all(name.rpartition(".")[2] in adapters.TARGETS for name in found.config.target_modules)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100, deadline=None)
@given(st.data())
def test_any_weights_are_read_or_refused(good, data):
    config_bytes, weights = ((good / name).read_bytes() for name in (CONFIG, WEIGHTS))
    place = data.draw(st.integers(0, 6000))
    spoilt = weights[:place] + data.draw(st.binary(max_size=8)) + weights[place + data.draw(st.integers(0, 8)) :]
    try:
        found = adapters.parse(adapters.Files(config_bytes, spoilt))
    except InputError as error:
        assert str(error).isprintable()
    else:
        assert all(bool(torch.isfinite(tensor).all()) for tensor in found.tensors.values())


def test_a_good_adapter_has_the_same_score_whoever_wrote_it(tiny_model_folder, tmp_path):
    from datasets import Dataset
    from peft import LoraConfig
    from sums import number_questions
    from transformers import AutoModelForCausalLM
    from trl import SFTConfig, SFTTrainer

    _, tokenizer = models.load(tiny_model_folder, device="cpu")
    examples = number_questions(8)
    rows = [{"prompt": ex.messages(completion=False), "completion": ex.messages()[-1:]} for ex in examples]
    arguments = SFTConfig(
        output_dir=str(tmp_path / "trl"), max_steps=3, per_device_train_batch_size=4, learning_rate=3e-2, use_cpu=True,
        bf16=False, report_to="none", disable_tqdm=True, save_strategy="no", gradient_checkpointing=False,
    )  # fmt: skip
    trainer = SFTTrainer(
        AutoModelForCausalLM.from_pretrained(tiny_model_folder),
        arguments,
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
        peft_config=LoraConfig(r=4, lora_alpha=8, target_modules="all-linear"),
    )
    trainer.train()
    trainer.save_model(str(tmp_path / "trl"))
    trainer.model.save_pretrained(str(tmp_path / "peft"))
    models.save_adapter(trainer.model, tmp_path / "kit")
    scores = {}
    for name in ("trl", "peft", "kit"):
        model, _ = models.load(tiny_model_folder, device="cpu")
        scores[name] = models.score(adapters.attach(adapters.read(tmp_path / name), model), tokenizer, examples, 24)
    base = models.score(models.load(tiny_model_folder, device="cpu")[0], tokenizer, examples, 24)
    assert scores["trl"] == scores["peft"] == scores["kit"]
    assert scores["trl"].outputs != base.outputs
    expected = models.score(trainer.model.eval(), tokenizer, examples, 24)
    assert scores["trl"].outputs == expected.outputs
    assert "tokenizer.json" in "; ".join(adapters.read(tmp_path / "trl").notes)
