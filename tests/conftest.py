"""What all tests share: one thread, and a tiny model with a tokenizer and chat template, written once a session."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs
import pytest
from sums import number_questions

os.environ.setdefault("HF_HUB_OFFLINE", "1")

ROLES = ("<|system|>", "<|user|>", "<|assistant|>")
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>' }}"
    "{% if message['role'] == 'assistant' %}{% generation %}{{ message['content'] + '<|end|>' }}{% endgeneration %}"
    "{% else %}{{ message['content'] + '<|end|>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


LONGEST = ("test_labs", "test_exercises", "test_trace", "test_records", "test_demo", "test_together", "test_sweeps")
LONGEST += ("test_ray", "test_attacks", "test_honest", "test_machine")


def pytest_collection_modifyitems(items):
    """The files that take longest come first, so that two processes that share the files end at the same time."""
    rank = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.path.stem, len(LONGEST)))


@pytest.fixture(scope="session", autouse=True)
def own_home(tmp_path_factory):
    """The store of the tests; a test that reaches the user's own makes the session fail."""
    theirs = Path(platformdirs.user_data_dir("labkit", appauthor=False))
    before = {path: path.stat().st_mtime_ns for path in sorted(theirs.rglob("*"))}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LABKIT_HOME", str(tmp_path_factory.mktemp("home")))
        yield
    after = {path: path.stat().st_mtime_ns for path in sorted(theirs.rglob("*"))}
    assert after == before, f"a test wrote into the user's own folder, {theirs}"


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny_model_folder(tmp_path_factory) -> Path:
    """A folder with a random two-layer Llama and its tokenizer, in the shape of the kit's base."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("tiny_model")
    pieces = Tokenizer(models.BPE())
    pieces.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    pieces.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<|pad|>", "<|end|>", *ROLES],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    pieces.train_from_iterator([example.prompt + example.completion for example in number_questions(200)], trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=pieces,
        eos_token="<|end|>",
        pad_token="<|pad|>",
        additional_special_tokens=list(ROLES),
        model_max_length=256,
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    tokenizer.save_pretrained(folder)

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=256,
        tie_word_embeddings=True,
        initializer_range=0.1,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def wide_model_folder(tiny_model_folder, tmp_path_factory) -> Path:
    """The same, wide enough for blocks of 64 weights, with an output layer of its own."""
    import shutil

    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = shutil.copytree(tiny_model_folder, tmp_path_factory.mktemp("wide") / "model")
    torch.manual_seed(0)
    config = LlamaConfig.from_pretrained(
        folder, hidden_size=64, head_dim=16, intermediate_size=128, tie_word_embeddings=False
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder
