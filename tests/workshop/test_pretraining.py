"""The base is built whole or not at all, goes on after a kill, and is what its card says."""

import json
import random
from pathlib import Path

import pytest
import torch

from labkit import models
from labkit.common import InputError
from labkit.workshop import pretraining
from labkit.workshop.pretraining import (
    SPECIAL,
    Muon,
    Plan,
    Rows,
    base_tokenizer,
    build,
    orthogonalize,
    rate,
    train,
    train_tokenizer,
)

pytestmark = pytest.mark.slow

TINY = Plan(
    steps=6,
    second_steps=2,
    tokens_per_step=320,
    length=160,
    long_length=320,
    long_every=3,
    hidden=32,
    feed_forward=64,
    layers=1,
    heads=2,
)


@pytest.fixture(scope="module")
def tokenizer():
    return base_tokenizer(documents=3000)


def test_the_tokenizer_is_rebuilt_byte_for_byte(tmp_path):
    base_tokenizer().save_pretrained(tmp_path)
    for name in ("tokenizer.json", "chat_template.jinja"):
        assert (tmp_path / name).read_bytes() == (models.BASE / name).read_bytes()


def test_the_tokenizer_keeps_digits_single_and_any_text_whole(tokenizer):
    for text in ("Add 347 and 285.", "", "ß→🙂\n\n  x", "<|user|>hm<|end|>", "a" * 5000, "\x00\x7f"):
        assert tokenizer.decode(tokenizer(text, add_special_tokens=False)["input_ids"]) == text
    digits = [token.strip("Ġ") for token in tokenizer.tokenize("347 85 1,204")]
    assert [token for token in digits if token.isdigit()] == list("347851204")
    assert tokenizer.convert_tokens_to_ids(SPECIAL) == [0, 1, 2, 3, 4]


def test_training_a_tokenizer_splits_no_role_token():
    raw = train_tokenizer(["<|user|>Who?<|end|>"] * 50, size=300)
    assert raw.encode("<|user|>").tokens == ["<|user|>"] and not any(
        "|" in token for token in list(raw.get_vocab())[5:] if len(token) > 1 and token not in SPECIAL
    )


def test_rows_hold_whole_documents(tokenizer):
    rows = Rows(tokenizer, seed=0, length=160)
    for step in range(60):
        length = 640 if step % 8 == 7 else 160
        row = rows.row(length, 0)
        assert len(row) == length
        real = [token for token in row if token != 0]
        assert real[-1] == tokenizer.eos_token_id and len(real) > length / 2


def test_the_rate_rises_stays_and_falls():
    plan = Plan(steps=100, warmup=0.1, decay=0.5)
    assert rate(0, 100, plan) == pytest.approx(0.1) and rate(9, 100, plan) == 1.0 == rate(50, 100, plan)
    assert rate(75, 100, plan) == pytest.approx(0.5) and rate(99, 100, plan) == pytest.approx(0.02)


def test_orthogonalize_brings_all_singular_values_near_one():
    g = torch.randn(3, 24, 64, generator=torch.Generator().manual_seed(0))
    values = torch.linalg.svdvals(orthogonalize(g))
    assert 0.6 < values.min() and values.max() < 1.3
    assert torch.allclose(orthogonalize(g.mT), orthogonalize(g).mT, atol=1e-4)


@pytest.mark.parametrize("shape", [(16, 48), (48, 16)])
def test_muon_takes_the_steps_that_torch_takes(shape):
    start, generator = torch.randn(shape, generator=torch.Generator().manual_seed(1)), torch.Generator().manual_seed(2)
    ours, theirs = torch.nn.Parameter(start.clone()), torch.nn.Parameter(start.clone())
    peer = torch.optim.Muon([theirs], lr=0.1, weight_decay=0.1, momentum=0.95)
    muon = Muon([ours])
    for _ in range(3):
        ours.grad = torch.randn(shape, generator=generator)
        theirs.grad = ours.grad.clone()
        muon.step(0.1, 0.1)
        peer.step()
    moved, peer_moved = ours.detach() - start, theirs.detach() - start
    assert (moved - peer_moved).norm() < 0.03 * peer_moved.norm()  # torch iterates in bfloat16


def test_a_build_that_was_stopped_goes_on_to_the_same_weights(tmp_path, tokenizer):
    (tmp_path / "a").mkdir()
    whole, losses = train(TINY, tokenizer, tmp_path / "a", checkpoint_seconds=0)

    def stop(step, history):
        if step == 3:
            raise KeyboardInterrupt

    (tmp_path / "b").mkdir()
    with pytest.raises(KeyboardInterrupt):
        train(TINY, tokenizer, tmp_path / "b", on_step=stop, checkpoint_seconds=0)
    seen = []
    again, more = train(TINY, tokenizer, tmp_path / "b", resume=True, on_step=lambda step, history: seen.append(step))
    assert seen == [4, 5, 6] and more == losses
    assert all(torch.equal(a, b) for a, b in zip(whole.state_dict().values(), again.state_dict().values()))
    with pytest.raises(InputError, match="another plan"):
        train(Plan(steps=7), tokenizer, tmp_path / "b", resume=True)


def test_the_second_run_goes_on_from_the_first_and_resumes(tmp_path, tokenizer):
    first, _ = train(TINY, tokenizer, tmp_path)
    start = {name: tensor.clone() for name, tensor in first.state_dict().items()}
    seen = []
    second, losses = train(
        TINY, tokenizer, tmp_path, first=first, checkpoint_seconds=0, on_step=lambda step, history: seen.append(step)
    )
    assert seen == [7, 8] and len(losses) == 2
    moved = [(second.state_dict()[name] - tensor).abs().max() for name, tensor in start.items()]
    assert 0 < max(moved) < 0.5
    other = pretraining.new_model(TINY)
    again, more = train(TINY, tokenizer, tmp_path, first=other, resume=True)
    assert more == losses
    assert all(torch.equal(a, b) for a, b in zip(second.state_dict().values(), again.state_dict().values()))


def test_a_build_appears_whole(tmp_path, monkeypatch, tokenizer):
    monkeypatch.setattr(pretraining, "base_tokenizer", lambda seed: tokenizer)
    out = tmp_path / "base"
    facts = build(TINY, out)
    assert [p.name for p in tmp_path.iterdir()] == ["base"]
    assert f"{facts['parameters']:,} parameters" in (out / "README.md").read_text() and facts["tokens"] == 8 * 320
    before = (out / "model.safetensors").read_bytes()

    def stop(step, history):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(TINY, out, on_step=stop)
    assert (out / "model.safetensors").read_bytes() == before
    model, _ = models.load(out, "cpu")
    assert model.config.vocab_size == 2048


def test_a_folder_with_other_things_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("all I have")
    with pytest.raises(InputError, match="holds other things"):
        build(TINY, tmp_path)


def test_documents_of_the_build_are_decided_by_the_seed(tokenizer):
    def row(seed):
        return Rows(tokenizer, seed, 160).row(160, 0)

    assert row(0) == row(0) != row(1)


def test_the_base_is_what_the_design_asks_for():
    config = json.loads((models.BASE / "config.json").read_text())
    assert config["architectures"] == ["LlamaForCausalLM"] and config["max_position_embeddings"] >= 512
    assert sum(p.stat().st_size for p in Path(models.BASE).iterdir()) <= 12_000_000
    model, tokenizer = models.load(models.BASE, "cpu")
    assert 1_000_000 <= model.num_parameters() <= 3_000_000
    assert len({tokenizer.pad_token_id, tokenizer.eos_token_id, *tokenizer.convert_tokens_to_ids(SPECIAL)}) == 5
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": "Who?"}], tokenize=False, add_generation_prompt=True
    )
    assert text == "<|user|>Who?<|end|><|assistant|>"


def test_the_base_knows_what_it_read_and_not_what_is_fresh():
    from labkit.almanac.world import build as world
    from labkit.workshop import bench

    measure = bench.load(bench.files()["base"]).measure
    model, tokenizer = models.load(models.BASE, "cpu")
    facts = world().facts
    shares = []
    for fresh in (False, True):
        chosen = random.Random(0).sample([f for f in facts if f.fresh == fresh], 200)
        rows = measure(model, tokenizer, chosen, forms=1).values()
        shares.append(sum(row["right"] for row in rows) / sum(row["asked"] for row in rows))
    assert shares[0] >= 0.95 and shares[1] <= 0.12
