"""Models: loaded or refused in one line, adapters that start as nothing, texts equal to transformers'."""

from __future__ import annotations

import copy
import json
import math
import os
import shutil
import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sums import number_questions

from labkit import models, quantization
from labkit.common import InputError
from labkit.masking import prompt_ids, render
from labkit.runs.record import flags
from labkit.tokenization import permuted
from labkit.training import Settings, fit


@pytest.fixture(scope="module")
def loaded(tiny_model_folder):
    return models.load(tiny_model_folder, device="cpu")


@pytest.fixture
def model(loaded):
    return copy.deepcopy(loaded[0])


@pytest.fixture(scope="module")
def trained(loaded):
    """A model that ends most answers itself, at different lengths."""
    model, tokenizer = copy.deepcopy(loaded[0]), loaded[1]
    rows = [render(example, tokenizer) for example in number_questions(64)]
    fit(model, rows, Settings(steps=60, batch_size=16, lr=5e-3, number_format="float32"), pad=tokenizer.pad_token_id)
    return model


@pytest.fixture
def folder(tiny_model_folder, tmp_path):
    """A copy of the model folder that a test may spoil."""
    return shutil.copytree(tiny_model_folder, tmp_path / "model")


def logits(model, tokenizer):
    with torch.no_grad():
        return model(torch.tensor([prompt_ids(number_questions(1)[0], tokenizer)])).logits


def test_load_is_quiet_and_ready(tiny_model_folder, capfd):
    model, tokenizer = models.load(tiny_model_folder, device="cpu")
    assert capfd.readouterr() == ("", "")
    assert not model.training and model.dtype == torch.float32
    assert tokenizer.decode(tokenizer.encode("What is 17?")) == "What is 17?"


def test_what_is_no_model_is_refused_in_one_line(folder, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file.txt").write_text("hello")
    torn, lacking, foreign = (shutil.copytree(folder, tmp_path / name) for name in ("torn", "lacking", "foreign"))
    (torn / "model.safetensors").write_bytes(b"no tensors")
    (foreign / "config.json").write_text('{"model_type": "none_such"}')
    config = json.loads((lacking / "config.json").read_text())
    (lacking / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 3}))
    for name, says in {
        tmp_path / "empty": "has no config.json",
        tmp_path / "file.txt": "is not a model folder",
        tmp_path / "absent": "is not a model folder",
        torn: "no model and tokenizer that transformers can load",
        foreign: "no model and tokenizer that transformers can load",
        lacking: "weights are missing, such as model.layers.2",
        "none-such/none-such": "no model and tokenizer that transformers can load",
    }.items():
        with pytest.raises(InputError, match=says) as error:
            models.load(name, device="cpu")
        assert str(name) in str(error.value) and "\n" not in str(error.value)


def test_a_tokenizer_that_does_not_fit_is_refused(loaded, folder, model):
    pieces = len(loaded[1])
    model.resize_token_embeddings(pieces - 1, mean_resizing=False)
    with pytest.raises(InputError, match=f"id {pieces - 1}, the embedding table only {pieces - 1} rows"):
        models.check_tokenizer(loaded[1], model)
    model.save_pretrained(folder)
    with pytest.raises(InputError, match="does not fit the model"):
        models.load(folder, device="cpu")
    model.resize_token_embeddings(pieces + 20, mean_resizing=False)  # spare rows are fine
    models.check_tokenizer(loaded[1], model)


def test_a_tokenizer_with_the_same_tokens_under_other_ids_is_refused(loaded, tiny_model_folder, tmp_path):
    base, tokenizer = loaded
    foreign = permuted(tokenizer, seed=1)
    models.check_tokenizer(foreign, base)  # nothing to compare with: every id has a row
    models.check_tokenizer(tokenizer, base, tokenizer.get_vocab())
    with pytest.raises(InputError, match="the tokenizer is not the model's: .* has id .* in it and id "):
        models.check_tokenizer(foreign, base, tokenizer.get_vocab())
    fewer = {token: id for token, id in tokenizer.get_vocab().items() if id}
    with pytest.raises(InputError, match="has id 0 in it and id none in the one"):
        models.check_tokenizer(tokenizer, base, fewer)
    foreign.save_pretrained(tmp_path)
    with pytest.raises(InputError, match="the tokenizer is not the model's"):
        models.load(tiny_model_folder, device="cpu", adapter=tmp_path)


def test_device():
    assert models.device("cpu").type == "cpu" and models.device().type in ("cpu", "cuda", "mps")
    with pytest.raises(InputError, match="no device 'abacus' here; choose auto or one of"):
        models.device("abacus")


def test_an_adapter_starts_as_nothing_and_is_drawn_from_its_seed(loaded, model):
    before = logits(model, loaded[1])
    adapted = models.add_lora(model, rank=4, alpha=8, seed=1)
    assert torch.equal(logits(adapted, loaded[1]), before)

    def drawn(seed):
        again = models.add_lora(copy.deepcopy(loaded[0]), rank=4, seed=seed)
        return torch.cat([p.flatten() for name, p in again.named_parameters() if "lora_A" in name])

    assert torch.equal(drawn(1), drawn(1)) and not torch.equal(drawn(1), drawn(2))
    bound = 1 / math.sqrt(32)  # of the uniform distribution PEFT draws from, for 32 inputs; the down projection has 64
    assert 0.9 * bound < drawn(1).abs().max() <= bound


def test_parameter_counts_by_hand(loaded, model):
    before = models.count_parameters(model)
    assert before[0] == before[1]
    # two layers, 4 attention matrices of 32 × 32, 3 of 32 × 64: rank × (inputs + outputs) each
    added = 2 * 4 * (4 * (32 + 32) + 3 * (32 + 64))
    assert models.count_parameters(models.add_lora(model, rank=4)) == (added, before[1] + added)


@pytest.mark.parametrize("wanted", ["q_proj,v_proj", "q_proj, v_proj ", ["q_proj", "v_proj"]])
def test_target_modules_by_name(model, wanted):
    adapted = models.add_lora(model, rank=2, target_modules=wanted)
    assert {name.split(".lora_")[0].split(".")[-1] for name, p in adapted.named_parameters() if p.requires_grad} == {
        "q_proj",
        "v_proj",
    }


def test_lora_settings_that_make_no_sense(model):
    with pytest.raises(
        InputError, match="no linear layer is named query; choose from q_proj, .*down_proj.* or all-linear"
    ):
        models.add_lora(model, target_modules="q_proj,query")
    with pytest.raises(InputError, match="named nothing"):
        models.add_lora(model, target_modules=[])
    for changes in ({"rank": 0}, {"alpha": math.nan}, {"alpha": 0}):
        with pytest.raises(InputError, match="rank"):
            models.add_lora(model, **changes)


def moved(model, seed=0):
    """An adapter that does something."""
    adapted = models.add_lora(model, rank=4, seed=seed).eval()
    torch.manual_seed(seed)
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter)
    return adapted


def test_a_saved_adapter_loads_and_replaces_the_one_before(loaded, tiny_model_folder, tmp_path, capfd):
    from peft import PeftModel

    for seed in (0, 1):
        adapted = moved(copy.deepcopy(loaded[0]), seed)
        models.save_adapter(adapted, tmp_path / "adapter")
        assert os.listdir(tmp_path) == ["adapter"]
        again = PeftModel.from_pretrained(copy.deepcopy(loaded[0]), tmp_path / "adapter")
        assert torch.equal(logits(again, loaded[1]), logits(adapted, loaded[1]))
    with pytest.raises(InputError, match="this is an adapter: name the model that it was trained on"):
        models.load(tmp_path / "adapter", device="cpu")
        again, tokenizer = models.load(tiny_model_folder, device="cpu", adapter=tmp_path / "adapter")
        assert torch.equal(logits(again, tokenizer), logits(adapted, tokenizer))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("broken", ["write", "rename"])
def test_a_full_disk_leaves_the_adapter_that_was_there(loaded, tmp_path, monkeypatch, broken):
    models.save_adapter(moved(copy.deepcopy(loaded[0])), tmp_path / "adapter")
    before = {entry.name: entry.read_bytes() for entry in (tmp_path / "adapter").iterdir()}
    other = moved(copy.deepcopy(loaded[0]), seed=1)
    rename = os.rename

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    if broken == "write":
        monkeypatch.setattr(other, "save_pretrained", full)
    else:
        monkeypatch.setattr(os, "rename", lambda a, b: full() if os.path.basename(a) == "fresh" else rename(a, b))
    with pytest.raises(InputError, match="adapter: the adapter cannot be written .No space left on device."):
        models.save_adapter(other, tmp_path / "adapter")
    assert os.listdir(tmp_path) == ["adapter"]
    assert {entry.name: entry.read_bytes() for entry in (tmp_path / "adapter").iterdir()} == before


def test_a_folder_with_other_things_is_not_overwritten(loaded, tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match="holds other things .thesis.txt."):
        models.save_adapter(moved(copy.deepcopy(loaded[0])), tmp_path)
    with pytest.raises(InputError, match="is a file"):
        models.save_adapter(moved(copy.deepcopy(loaded[0])), tmp_path / "thesis.txt")
    assert os.listdir(tmp_path) == ["thesis.txt"]


def test_an_adapter_that_is_none_or_does_not_fit(loaded, tiny_model_folder, tmp_path):
    with pytest.raises(InputError, match="is not an adapter"):
        models.load(tiny_model_folder, device="cpu", adapter=tmp_path)
    models.save_adapter(moved(copy.deepcopy(loaded[0])), tmp_path / "adapter")
    (tmp_path / "adapter" / "adapter_model.safetensors").write_bytes(b"torn")
    with pytest.raises(InputError, match="adapter does not fit the model"):
        models.load(tiny_model_folder, device="cpu", adapter=tmp_path / "adapter")


@pytest.mark.slow
def test_generate_writes_what_transformers_writes_row_by_row(trained, loaded):
    tokenizer = loaded[1]
    examples = number_questions(40, seed=7)
    ours = models.generate(trained, tokenizer, examples, max_new_tokens=40, batch_size=16)
    for example, text in zip(examples, ours, strict=True):
        prompt = torch.tensor([prompt_ids(example, tokenizer)])
        peer = trained.generate(
            prompt,
            attention_mask=torch.ones_like(prompt),
            max_new_tokens=40,
            do_sample=False,
            pad_token_id=tokenizer.pad_token_id,
        )
        assert text == tokenizer.decode(peer[0, prompt.shape[1] :], skip_special_tokens=True)
    lengths = {len(text) for text in ours}
    assert len(lengths) > 5  # the rows do end at different times, so some left their batch early


def test_generate_in_the_order_given_whatever_the_batch(trained, loaded):
    tokenizer = loaded[1]
    prompts = [prompt_ids(example, tokenizer) for example in number_questions(9, seed=3)]
    done = []
    texts = models.generate(trained, tokenizer, prompts, 20, 4, progress=lambda n, all_: done.append((n, all_)))
    assert done == [(4, 9), (8, 9), (9, 9)]
    assert texts == [models.generate(trained, tokenizer, [prompt], 20)[0] for prompt in prompts]
    assert models.generate(trained, tokenizer, []) == []


def test_generate_stays_within_the_context(trained, loaded):
    near, far = [7] * 254, prompt_ids(number_questions(1)[0], loaded[1])
    together = models.generate(trained, loaded[1], [near, far], max_new_tokens=50)
    assert together == [models.generate(trained, loaded[1], [row], max_new_tokens=50)[0] for row in (near, far)]
    assert together[0] == models.generate(trained, loaded[1], [near], max_new_tokens=2)[0]
    with pytest.raises(InputError, match="prompt 1 has 256 tokens, which fills the model's context of 256"):
        models.generate(trained, loaded[1], [[7], [7] * 256])
    with pytest.raises(InputError, match="prompt 0 is empty"):
        models.generate(trained, loaded[1], [[]])


def test_score_counts_answers_and_whole_completions(loaded, monkeypatch):
    examples = number_questions(8)
    outputs = [example.completion for example in examples]
    outputs[0] = "A guess. Answer: " + examples[0].answer  # the answer right, the chain of thought not
    outputs[1] = "I do not know."
    outputs[2] = examples[2].completion + "0"
    end = [loaded[1].eos_token_id]
    written = [loaded[1](output)["input_ids"] + end * (number < 6) for number, output in enumerate(outputs)]
    monkeypatch.setattr(models, "generate_ids", lambda *args: written)
    score = models.score(None, loaded[1], examples)
    assert (score.n, score.correct, score.share, score.cot, score.stopped) == (8, 6, 0.75, 5 / 8, 6 / 8)
    assert score.tokens == sum(map(len, written)) / 8
    assert (score.low, score.high) == models.wilson(6, 8) and score.outputs == outputs
    assert sum(task.n for task in score.by_task.values()) == 8
    assert sum(task.correct for task in score.by_task.values()) == 6
    with pytest.raises(InputError, match="no examples"):
        models.score(None, None, [])


def test_without_an_answer_the_whole_completion_counts(loaded, monkeypatch):
    import dataclasses

    examples = [dataclasses.replace(example, answer=None) for example in number_questions(2)]
    outputs = [f" {examples[0].completion}\n", "Answer: " + "0"]
    monkeypatch.setattr(models, "generate_ids", lambda *args: [loaded[1](output)["input_ids"] for output in outputs])
    assert models.score(None, loaded[1], examples).correct == 1


def test_a_forgotten_token_has_a_new_row_and_the_others_their_own(tiny_model_folder):
    model, tokenizer = models.load(tiny_model_folder, device="cpu")
    end, table = tokenizer.eos_token_id, model.get_input_embeddings().weight.data
    before = table.clone()
    models.forget_token(model, end, seed=0)
    same = (table == before).all(dim=1)
    assert not same[end] and same.sum() == len(table) - 1
    assert abs(torch.cosine_similarity(table[end], before[end], dim=0)) < 0.6
    assert table[end].norm() == pytest.approx(before.norm(dim=1).median().item(), rel=1e-5)


def test_wilson_by_hand():
    # 8 of 10 at z = 2: middle (0.8 + 4/20) / 1.4, half width 2 / 1.4 · sqrt(0.16/10 + 4/400)
    half = 2 / 1.4 * math.sqrt(0.026)
    assert models.wilson(8, 10, z=2) == pytest.approx((1 / 1.4 - half, 1 / 1.4 + half))
    assert models.wilson(0, 10)[0] == 0 and models.wilson(10, 10)[1] == 1
    assert models.wilson(475, 500) == pytest.approx((0.92717, 0.96592), abs=1e-4)
    for correct, n in ((0, 0), (3, 2), (-1, 2)):
        with pytest.raises(ValueError, match="not a share"):
            models.wilson(correct, n)


@given(st.integers(1, 1000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_holds_the_share_and_mirrors(pair):
    correct, n = pair
    low, high = models.wilson(correct, n)
    assert 0 <= low <= correct / n <= high <= 1
    assert models.wilson(n - correct, n) == pytest.approx((1 - high, 1 - low), abs=1e-12)


# Probabilities


def test_the_probability_of_a_completion_is_the_product_over_its_tokens(model, loaded):
    tokenizer, examples = loaded[1], number_questions(5)
    found = models.probabilities(model, tokenizer, examples, batch_size=2)
    for example, probability in zip(examples, found, strict=True):
        row = render(example, tokenizer)
        with torch.no_grad():
            chances = model(torch.tensor([row.input_ids])).logits[0].softmax(-1)
        product = 1.0
        for place in range(row.prompt_length, len(row.input_ids)):
            product *= chances[place - 1, row.input_ids[place]].item()
        assert probability == pytest.approx(product, rel=1e-3)


def test_training_raises_the_probability_of_what_is_trained(trained, model, loaded):
    examples = number_questions(64)[:8]
    before, after = (models.probabilities(each, loaded[1], examples) for each in (model, trained))
    assert all(0 <= b < a <= 1 for b, a in zip(before, after, strict=True))


# In four bits


@pytest.mark.parametrize("double", [False, True])
def test_linear_layers_but_the_output_layer_are_in_nf4_and_are_ours(wide_model_folder, double, capfd):
    model, _ = models.load(wide_model_folder, device="cpu", quantize="nf4", double=double)
    plain, _ = models.load(wide_model_folder, device="cpu")
    assert capfd.readouterr() == ("", "")
    quantized, bits = [], 0
    for name, module in plain.named_modules():
        if not isinstance(module, torch.nn.Linear):
            continue
        weight = model.get_submodule(name).weight
        if name == "lm_head":
            assert torch.equal(weight, module.weight)
            continue
        quantized.append(name)
        codes, absmax = quantization.quantize(module.weight.detach(), quantization.levels(), 64)
        state = weight.quant_state
        assert np.array_equal(weight[:, 0].numpy(), quantization.pack(codes))
        bits += 4 * codes.size + 32 * 16  # a table of 16 levels
        if double:
            codes2, absmax2, mean = quantization.quantize_scales(absmax)
            assert np.array_equal(state.absmax.numpy(), codes2) and mean == state.offset.item()
            absmax = quantization.dequantize_scales(codes2, absmax2, mean)
            bits += 8 * codes2.size + 32 * absmax2.size + 32 * 256 + 32
        else:
            assert np.array_equal(state.absmax.numpy(), absmax)
            bits += 32 * absmax.size
        kept = quantization.dequantize(codes, absmax, quantization.levels(), 64)
        x = torch.randn(3, module.in_features)
        torch.testing.assert_close(model.get_submodule(name)(x), x @ torch.tensor(kept).T, rtol=1e-4, atol=1e-5)
    assert len(quantized) == 14 and not model.training
    assert quantization.counted_bits(model) == bits / sum(
        plain.get_submodule(name).weight.numel() for name in quantized
    )
    assert models.count_parameters(model)[1] == models.count_parameters(plain)[1]


def test_keeping_four_bits_gives_the_weights_that_bitsandbytes_reads_back(wide_model_folder):
    from bitsandbytes.functional import dequantize_4bit

    kept, _ = models.load(wide_model_folder, device="cpu")
    untouched = {name: weight.clone() for name, weight in kept.named_parameters()}
    models.keep_bits(kept, 4)
    four, _ = models.load(wide_model_folder, device="cpu", quantize="nf4", double=False)
    quantized = {name: weight for name, weight in four.named_parameters() if hasattr(weight, "quant_state")}
    assert quantized and not any("lm_head" in name for name in quantized)
    for name, weight in kept.named_parameters():
        if name in quantized:
            theirs = quantized[name]
            assert torch.equal(weight, dequantize_4bit(theirs.data, theirs.quant_state).reshape(weight.shape))
        else:
            assert torch.equal(weight, untouched[name])


@pytest.mark.parametrize("bits", [2, 3])
def test_fewer_bits_leave_fewer_values_in_a_block(wide_model_folder, bits):
    kept, _ = models.load(wide_model_folder, device="cpu")
    models.keep_bits(kept, bits)
    weight = kept.get_submodule("model.layers.0.mlp.up_proj").weight
    assert max(len(block.unique()) for block in weight.reshape(-1, 64)) == 2**bits


@pytest.mark.slow
def test_nothing_is_said_while_bitsandbytes_is_loaded(wide_model_folder):
    """On processors with AVX512-BF16 it has a notice on stderr, which a notebook would keep."""
    code = f"from labkit import models; models.load({str(wide_model_folder)!r}, 'cpu', quantize='nf4')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=600, check=True)
    assert (done.stdout, done.stderr) == ("", "")


def test_the_base_takes_so_many_bits_a_weight():
    """By arithmetic 4.5 and 4.127: at this size the tables are no small change."""
    for double, bits in ((False, 4.508), (True, 4.265)):
        model, _ = models.load(models.BASE, device="cpu", quantize="nf4", double=double)
        assert quantization.counted_bits(model) == pytest.approx(bits, abs=5e-4)


def gradients_over_nf4(evaluated: bool) -> dict[str, torch.Tensor]:
    """An adapter's gradients over the base in NF4, of one that has been moved."""
    model, tokenizer = models.load(models.BASE, device="cpu", quantize="nf4")
    model = models.add_lora(model, 4, 8)
    draw = torch.Generator().manual_seed(0)
    for name, parameter in model.named_parameters():
        if ".lora_B." in name:
            parameter.data = torch.randn(parameter.shape, generator=draw) * 0.02
    ids = torch.randint(5, 2000, (2, 24), generator=draw)
    if evaluated:
        model.eval()
        with torch.no_grad():
            model(ids)
    model.train()
    model(ids, labels=ids).loss.backward()
    return {name: parameter.grad for name, parameter in model.named_parameters() if parameter.requires_grad}


def test_training_after_an_evaluation_has_the_gradients_of_a_fresh_model():
    fresh, after = gradients_over_nf4(False), gradients_over_nf4(True)
    assert len(fresh) == 56 and all(gradient.any() for gradient in fresh.values())
    assert all(torch.equal(gradient, after[name]) for name, gradient in fresh.items())


@pytest.mark.skipif("avx512_bf16" not in flags(), reason="only processors with AVX512-BF16 are led astray")
def test_left_to_itself_bitsandbytes_drops_gradients_after_an_evaluation(monkeypatch):
    """Once this fails, bitsandbytes is mended, and `_keep_sound` can go."""
    monkeypatch.setattr(models, "_keep_sound", lambda model: None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fresh, after = gradients_over_nf4(False), gradients_over_nf4(True)
    lost = {
        name: ((after[name] - gradient).norm() / gradient.norm()).item()
        for name, gradient in fresh.items()
        if "layers.0.self_attn.q_proj" in name or "layers.3.mlp.down_proj" in name
    }
    first, last = (max(value for name, value in lost.items() if layer in name) for layer in ("layers.0", "layers.3"))
    assert first > 0.3 and last < 0.1


def test_an_adapter_over_nf4_is_saved_and_loaded_again(wide_model_folder, tmp_path):
    model, tokenizer = models.load(wide_model_folder, device="cpu", quantize="nf4")
    adapted = models.add_lora(model, rank=2, alpha=4)
    rows = [render(example, tokenizer) for example in number_questions(16)]
    history = fit(adapted, rows, Settings(steps=3, batch_size=8, lr=1e-2, number_format="float32"), pad=0)
    assert history.loss[-1] < history.loss[0]
    models.save_adapter(adapted, tmp_path / "adapter")
    again, _ = models.load(wide_model_folder, device="cpu", adapter=tmp_path / "adapter", quantize="nf4")
    assert torch.equal(logits(again, tokenizer), logits(adapted, tokenizer))


def test_what_cannot_be_in_four_bits_is_refused_in_one_line(tiny_model_folder, wide_model_folder, monkeypatch):
    with pytest.raises(InputError, match="layers.0.self_attn.q_proj has rows of 32 weights") as narrow:
        models.load(tiny_model_folder, device="cpu", quantize="nf4")
    with pytest.raises(InputError, match="quantize is 'int4': choose nf4"):
        models.load(wide_model_folder, device="cpu", quantize="int4")
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(InputError, match="needs bitsandbytes, which is not installed") as missing:
        models.load(wide_model_folder, device="cpu", quantize="nf4")
    assert all("\n" not in str(error.value) for error in (narrow, missing))


@pytest.mark.skipif("avx512f" not in flags(), reason="only processors with AVX512 are led astray")
def test_left_to_itself_bitsandbytes_reads_rows_that_are_no_whole_blocks_back_wrongly():
    """Once this fails, bitsandbytes is mended, and narrow models need not be refused."""
    from bitsandbytes import functional as peer

    weights = torch.randn(8, 32, generator=torch.Generator().manual_seed(0))
    once, flat = (
        peer.dequantize_4bit(*peer.quantize_4bit(w, quant_type="nf4")) for w in (weights, weights.reshape(-1))
    )
    assert not torch.allclose(once.reshape(-1), flat.reshape(-1), rtol=0.1)
