"""Completions per second: `labkit.models.generate` beside transformers' batched `generate`, greedy, same prompts.

Both get the same ids, the same batch size and the same limit; both are float32. They take turns, after one warming of
each; the ratio is of the medians. The peer takes its batches sorted by length too, so what differs is the loop. Texts
are compared row by row.
"""

from __future__ import annotations

import json
import platform
import statistics
import time
from importlib.metadata import version

import torch

from labkit import models
from labkit.masking import prompt_ids

PROMPTS = 192
NEW_TOKENS = 64
BATCH_SIZE = 64
REPETITIONS = 5
ADAPTATION_STEPS = 60


def main(args) -> dict:
    """Figures for `labkit bench generate`; `ratio` is ours over the peer's, above 1 is better."""
    from labkit.almanac.examples import short_mix
    from labkit.masking import render
    from labkit.training import Settings, fit

    model, tokenizer = models.load(device="cpu")
    examples, held_out = short_mix(seed=0, train=ADAPTATION_STEPS * 32, test=PROMPTS)
    adapted = models.add_lora(model)  # a model that has learned to end its answers, as in use
    rows = [render(example, tokenizer) for example in examples]
    fit(adapted, rows, Settings(steps=ADAPTATION_STEPS), pad=tokenizer.pad_token_id)
    return compare(adapted, tokenizer, [prompt_ids(example, tokenizer) for example in held_out], REPETITIONS)


def compare(model, tokenizer, prompts: list[list[int]], repetitions: int) -> dict:
    seconds = {ours: [], peer: []}
    texts = {}
    for repetition in range(repetitions + 1):
        for side in (ours, peer):
            started = time.perf_counter()
            texts[side] = side(model, tokenizer, prompts)
            if repetition:
                seconds[side].append(time.perf_counter() - started)
    speeds = {side: len(prompts) / statistics.median(times) for side, times in seconds.items()}
    same = sum(a == b for a, b in zip(texts[ours], texts[peer], strict=True)) / len(prompts)
    figures = {
        "ratio": speeds[ours] / speeds[peer],
        "ours_completions_per_second": speeds[ours],
        "peer_completions_per_second": speeds[peer],
        "same_text": same,
        "prompts": len(prompts),
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads, Python {platform.python_version()}",
        "versions": {name: version(name) for name in ("torch", "transformers", "peft")},
    }
    print(
        f"labkit {speeds[ours]:.1f} and transformers {speeds[peer]:.1f} completions per second (medians): "
        f"{figures['ratio']:.2f} times; the same text for {same:.1%} of the prompts"
    )
    return figures


def ours(model, tokenizer, prompts: list[list[int]]) -> list[str]:
    return models.generate(model, tokenizer, prompts, NEW_TOKENS, BATCH_SIZE)


def peer(model, tokenizer, prompts: list[list[int]]) -> list[str]:
    order = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))
    texts = [""] * len(prompts)
    for start in range(0, len(order), BATCH_SIZE):
        chosen = order[start : start + BATCH_SIZE]
        batch = tokenizer.pad(
            {"input_ids": [prompts[index] for index in chosen]}, padding_side="left", return_tensors="pt"
        )
        written = model.generate(
            **batch,
            max_new_tokens=NEW_TOKENS,
            do_sample=False,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
        completions = tokenizer.batch_decode(written[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)
        for index, text in zip(chosen, completions, strict=True):
            texts[index] = text
    return texts


if __name__ == "__main__":
    print(json.dumps(main(None)))
