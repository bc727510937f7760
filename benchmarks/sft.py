"""Training examples per second: `labkit.training.fit` beside TRL's `SFTTrainer`, on the same work.

The same model with the same LoRA adapter, the same batches in the same order, learning rates, AdamW, float32; no
gradient checkpointing in either. They take turns, after one short warming of each; the ratio is of the medians. Each
repetition has a seed of its own, the same for both; the final validation losses are computed by one function.
Warmup is off, because the two count its steps differently: TRL's first step has rate 0, that of `fit` has not.

On a CUDA device (`--device cuda`) the kit's base would measure nothing but launches of kernels: there it is a model in
the shape of SmolLM2-135M with random weights, in the format that suits the card.
"""

from __future__ import annotations

import copy
import json
import platform
import statistics
import tempfile
import time
import warnings
from dataclasses import replace
from importlib.metadata import version

import torch

from labkit import models
from labkit.masking import render
from labkit.training import Settings, batches, evaluate, fit

STEPS = 40
REPETITIONS = 5
HELD_OUT = 200
SETTINGS = Settings(steps=STEPS, batch_size=32, lr=3e-3, warmup=0.0, number_format="float32")
PACKAGES = ("torch", "transformers", "peft", "trl")


RATIO_ON_CUDA = 1.2


def main(args) -> dict:
    """Figures for `labkit bench sft`; `ratio` is ours over TRL's, above 1 is better."""
    from labkit.almanac.examples import short_mix

    device = models.device(args.device if args else "cpu")
    model, tokenizer = models.load(device=str(device))
    examples, held_out = short_mix(seed=0, train=STEPS * SETTINGS.batch_size, test=HELD_OUT)
    if device.type != "cuda":
        return compare(model, tokenizer, examples, held_out, SETTINGS, REPETITIONS)
    settings = replace(SETTINGS, number_format="auto")
    figures = compare(shape_135m(len(tokenizer), device), tokenizer, examples, held_out, settings, REPETITIONS)
    return figures | {"card": torch.cuda.get_device_name(), "ok": figures["ratio"] >= RATIO_ON_CUDA}


def shape_135m(vocabulary: int, device) -> torch.nn.Module:
    """A Llama in the shape of SmolLM2-135M with random weights; of its 49,152 tokens only the first are used."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=max(49_152, vocabulary),
        hidden_size=576,
        intermediate_size=1_536,
        num_hidden_layers=30,
        num_attention_heads=9,
        num_key_value_heads=3,
        tie_word_embeddings=True,
    )
    return LlamaForCausalLM(config).to(device).eval()


def compare(model, tokenizer, examples, held_out, settings: Settings, repetitions: int) -> dict:
    validation = [render(example, tokenizer) for example in held_out]
    seconds = {ours: [], peer: []}
    losses = {ours: [], peer: []}
    for repetition in range(repetitions + 1):
        seed = max(repetition - 1, 0)
        chosen = replace(settings, seed=seed) if repetition else replace(settings, steps=2)
        for side in (ours, peer):
            adapted = models.add_lora(copy.deepcopy(model), rank=16, alpha=32, seed=seed)
            took = side(adapted, tokenizer, examples, chosen)
            if repetition:
                seconds[side].append(took)
                losses[side].append(evaluate(adapted, validation, pad=tokenizer.pad_token_id))
    tokens = sum(len(render(example, tokenizer).input_ids) for example in examples) / len(examples)  # in an example
    speeds = {side: settings.steps * settings.batch_size / statistics.median(times) for side, times in seconds.items()}
    figures = {
        "ratio": speeds[ours] / speeds[peer],
        "ours_examples_per_second": speeds[ours],
        "peer_examples_per_second": speeds[peer],
        "ours_tokens_per_second": tokens * speeds[ours],
        "peer_tokens_per_second": tokens * speeds[peer],
        "ours_validation_loss": statistics.mean(losses[ours]),
        "peer_validation_loss": statistics.mean(losses[peer]),
        "ours_validation_losses": losses[ours],
        "peer_validation_losses": losses[peer],
        "ours_seconds": seconds[ours],
        "peer_seconds": seconds[peer],
        "steps": settings.steps,
        "batch_size": settings.batch_size,
        "device": str(next(model.parameters()).device),
        "number_format": str(settings.dtype(next(model.parameters()).device)).removeprefix("torch."),
        **machine(),
    }
    print(
        f"labkit {speeds[ours]:.1f} and TRL {speeds[peer]:.1f} examples per second (medians of {repetitions}): "
        f"{figures['ratio']:.2f} times; validation loss {figures['ours_validation_loss']:.4f} and "
        f"{figures['peer_validation_loss']:.4f} (means over the seeds)"
    )
    return figures


def ours(model, tokenizer, examples, settings: Settings) -> float:
    """Seconds that `fit` takes."""
    rows = [render(example, tokenizer) for example in examples]
    started = time.perf_counter()
    fit(model, rows, settings, pad=tokenizer.pad_token_id)  # reads each step's loss, so nothing is left to wait for
    return time.perf_counter() - started


def peer(model, tokenizer, examples, settings: Settings) -> float:
    """Seconds that `SFTTrainer.train` takes; tokenizing, in its constructor, is left out as it is for `fit`."""
    from datasets import Dataset, disable_progress_bars
    from transformers import PrinterCallback
    from transformers.utils import logging as notices
    from trl import SFTConfig, SFTTrainer

    device = next(model.parameters()).device
    disable_progress_bars()
    notices.set_verbosity_error()
    order = sum(batches(len(examples), settings.batch_size, settings.steps, settings.seed), [])
    rows = Dataset.from_list(
        [
            {"prompt": examples[row].messages(completion=False), "completion": examples[row].messages()[-1:]}
            for row in order
        ]
    )
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        config = SFTConfig(
            output_dir=folder,
            max_steps=settings.steps,
            per_device_train_batch_size=settings.batch_size,
            learning_rate=settings.lr,
            lr_scheduler_type=settings.schedule,
            warmup_steps=settings.warmup,  # below 1 it means a share
            train_sampling_strategy="sequential",  # the rows lie in the order in which `fit` takes them
            weight_decay=settings.weight_decay,
            adam_beta1=settings.beta1,
            adam_beta2=settings.beta2,
            max_grad_norm=settings.clip,
            seed=settings.seed,
            completion_only_loss=True,
            max_length=None,
            gradient_checkpointing=False,
            bf16=settings.dtype(device) == torch.bfloat16,
            use_cpu=device.type == "cpu",
            dataloader_pin_memory=False,
            logging_strategy="no",
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
        )
        trainer = SFTTrainer(model, config, train_dataset=rows, processing_class=tokenizer)
        trainer.remove_callback(PrinterCallback)
        started = time.perf_counter()
        trainer.train()
        return time.perf_counter() - started


def machine() -> dict:
    return {
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads, Python {platform.python_version()}",
        "versions": {name: version(name) for name in PACKAGES},
    }


if __name__ == "__main__":
    print(json.dumps(main(None)))
