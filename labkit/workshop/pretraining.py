"""How the base model is made: tokenizer, packed text, and a training loop, from nothing but the almanac and a seed.

`labkit base build` writes the folder that `labkit.models.BASE` names. Nothing else in the kit trains from scratch. The
tokenizer is rebuilt byte for byte; the weights are equal to the bit on one machine and one torch version only.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import re
import shutil
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from labkit.almanac import world as almanac
from labkit.almanac.documents import SECOND, Writer
from labkit.common import InputError

if TYPE_CHECKING:
    import torch
    from tokenizers import Tokenizer
    from transformers import LlamaForCausalLM, PreTrainedTokenizerBase, PreTrainedTokenizerFast

OnStep: TypeAlias = Callable[[int, list[float]], None]  # (the step just done, all losses so far)

SPECIAL = ["<|pad|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>"]
VOCABULARY, CONTEXT = 2048, 1024
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|' + message['role'] + '|>' }}"
    "{% if message['role'] == 'assistant' %}{% generation %}{{ message['content'] + '<|end|>' }}{% endgeneration %}"
    "{% else %}{{ message['content'] + '<|end|>' }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


@dataclass(frozen=True)
class Plan:
    """Everything that decides a base."""

    seed: int = 0
    steps: int = 3000
    second_steps: int = 800  # of a second run, at half the rates, with more of what was hard in the first
    tokens_per_step: int = 5120
    length: int = 160  # tokens in most rows
    long_length: int = 640  # tokens in the rows of every `long_every`-th step, so that long prompts are familiar
    long_every: int = 8
    hidden: int = 192
    feed_forward: int = 512
    layers: int = 4
    heads: int = 6
    matrix_lr: float = 0.02  # Muon, for the matrices of the layers
    other_lr: float = 4e-3  # AdamW, for the embedding and the norms
    weight_decay: float = 0.01
    warmup: float = 0.02
    decay: float = 0.5  # the last share of the steps, over which the rate falls to zero in a straight line


def train_tokenizer(documents: Iterable[str], size: int = VOCABULARY) -> Tokenizer:
    """A byte-level BPE over `documents`; digits are single; returns a `tokenizers.Tokenizer`."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

    from labkit.tokenization import WORDS

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(WORDS), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=SPECIAL,
        show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    )
    tokenizer.train_from_iterator((part for text in documents for part in re.split(r"<\|\w+\|>", text)), trainer)
    return tokenizer


def base_tokenizer(seed: int = 0, documents: int = 30_000) -> PreTrainedTokenizerFast:
    """The kit's tokenizer as `transformers` loads it, trained on the first `documents` of the almanac."""
    from transformers import PreTrainedTokenizerFast

    writer = Writer(almanac.build(), random.Random(f"tokenizer {seed}"))
    raw = train_tokenizer(writer.document() for _ in range(documents))
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw,
        eos_token="<|end|>",
        pad_token="<|pad|>",
        model_max_length=CONTEXT,
        additional_special_tokens=SPECIAL[2:],
        clean_up_tokenization_spaces=False,
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


class Rows:
    """Documents, encoded and packed whole into rows of one length: best fit, with padding if nothing fits.

    Documents that are longer than `length` wait for the long rows, which they open.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        seed: int | str,
        length: int,
        weights: dict[str, int] | None = None,
    ) -> None:
        self.tokenizer: Any = tokenizer  # a fast one
        self.length = length
        self.writer = Writer(almanac.build(), random.Random(f"documents {seed}"), weights)
        self.short: list[list[int]] = []
        self.long: list[list[int]] = []

    def state(self) -> dict:
        return {"rng": self.writer.rng.getstate(), "short": self.short, "long": self.long}

    def restore(self, state: dict) -> None:
        self.writer.rng.setstate(state["rng"])
        self.short, self.long = state["short"], state["long"]

    def refill(self) -> None:
        texts = [self.writer.document() for _ in range(512)]
        end = self.tokenizer.eos_token_id
        for encoded in self.tokenizer.backend_tokenizer.encode_batch(texts, add_special_tokens=False):
            ids = encoded.ids + [end]
            (self.short if len(ids) <= self.length else self.long).append(ids)

    def row(self, length: int, pad: int) -> list[int]:
        if len(self.short) < 512:
            self.refill()
        row = (self.long if length > self.length and self.long else self.short).pop(0)[:length]
        while True:  # the longest document that still fits, looking at the oldest ones
            room = length - len(row)
            fitting = [i for i in range(64) if len(self.short[i]) <= room]
            if not fitting:
                return row + [pad] * room
            row = row + self.short.pop(max(fitting, key=lambda i: len(self.short[i])))


def rate(step: int, steps: int, plan: Plan) -> float:
    """Share of the peak rate at `step` of `steps`: a short rise, a plateau, then a straight line to zero."""
    rise, fall = plan.warmup * steps, plan.decay * steps
    return min(1.0, (step + 1) / max(rise, 1), (steps - step) / max(fall, 1))


def orthogonalize(g: torch.Tensor, steps: int = 5) -> torch.Tensor:
    """Newton–Schulz iteration of Muon (Jordan et al. 2024): moves a batch of matrices towards the nearest orthogonal
    ones.

    In float32: the copy in `torch.optim.Muon` works in bfloat16, which is slow on CPUs without support for it.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    wide = g.size(-2) > g.size(-1)
    x = g.mT if wide else g
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(steps):
        s = x @ x.mT
        x = a * x + (b * s + c * s @ s) @ x
    return x.mT if wide else x


class Muon:
    """Momentum, then `orthogonalize`, on matrices of equal shape at once. Same update rule as `torch.optim.Muon`."""

    def __init__(self, parameters: Iterable[torch.nn.Parameter], momentum: float = 0.95) -> None:
        self.momentum = momentum
        shapes: dict[tuple, list] = {}
        for p in parameters:
            shapes.setdefault(tuple(p.shape), []).append(p)
        self.groups = list(shapes.values())
        self.buffers = [g[0].new_zeros((len(g), *g[0].shape)) for g in self.groups]

    def step(self, lr: float, weight_decay: float) -> None:
        import torch

        with torch.no_grad():
            for group, buffer in zip(self.groups, self.buffers):
                g = torch.stack([p.grad for p in group])
                buffer.lerp_(g, 1 - self.momentum)
                update = orthogonalize(g.lerp(buffer, self.momentum)) * max(1, g.size(-2) / g.size(-1)) ** 0.5
                for p, u in zip(group, update):
                    p.mul_(1 - lr * weight_decay).sub_(u, alpha=lr)
                    p.grad = None


def new_model(plan: Plan) -> LlamaForCausalLM:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(plan.seed)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=VOCABULARY,
            hidden_size=plan.hidden,
            intermediate_size=plan.feed_forward,
            num_hidden_layers=plan.layers,
            num_attention_heads=plan.heads,
            num_key_value_heads=plan.heads,
            max_position_embeddings=CONTEXT,
            tie_word_embeddings=True,
            pad_token_id=0,
            eos_token_id=1,
            bos_token_id=None,
            attn_implementation="sdpa",  # type: ignore[call-arg]  # every config takes it
        )
    )


def train(
    plan: Plan,
    tokenizer: PreTrainedTokenizerBase,
    folder: Path,
    *,
    first: LlamaForCausalLM | None = None,
    resume: bool = False,
    device: str = "cpu",
    compiled: bool = False,
    on_step: OnStep | None = None,
    checkpoint_seconds: float = 120,
) -> tuple[LlamaForCausalLM, list[float]]:
    """Train a new model by `plan`, or continue with the model `first` to the plan's second run.

    Regularly saves a checkpoint in `folder`. Returns (model, history).
    """
    import torch
    from torch.nn.functional import cross_entropy

    second = first is not None
    steps, peak = (plan.second_steps, 0.5) if second else (plan.steps, 1.0)
    model: Any = new_model(plan) if first is None else first
    model = model.to(device).train()
    matrices = [p for p in model.model.layers.parameters() if p.ndim == 2]
    others = [p for p in model.parameters() if not any(p is m for m in matrices)]
    muon, adam = Muon(matrices), torch.optim.AdamW(others, lr=plan.other_lr, betas=(0.9, 0.95), weight_decay=0.0)
    rows = (
        Rows(tokenizer, f"{plan.seed} second", plan.length, SECOND)
        if second
        else Rows(tokenizer, plan.seed, plan.length)
    )
    history, done = [], 0
    checkpoint = folder / ("second.pt" if second else "first.pt")
    if resume and checkpoint.exists():
        state = torch.load(checkpoint, weights_only=False)
        if state["plan"] != asdict(plan):
            raise InputError(f"{checkpoint} belongs to another plan; build without --resume, or with the same options")
        model.load_state_dict(state["model"])
        adam.load_state_dict(state["adam"])
        for buffer, saved in zip(muon.buffers, state["muon"]):
            buffer.copy_(saved)
        rows.restore(state["rows"])
        history, done = state["history"], state["step"]
    forward = torch.compile(model) if compiled else model
    pad, saved_at = tokenizer.pad_token_id, time.monotonic()
    half = torch.autocast(device, dtype=torch.bfloat16, enabled=device == "cuda")
    for step in range(done, steps):
        length = plan.long_length if step % plan.long_every == plan.long_every - 1 else plan.length
        ids = torch.tensor([rows.row(length, pad) for _ in range(plan.tokens_per_step // length)], device=device)
        labels = ids[:, 1:].masked_fill(ids[:, 1:] == pad, -100)
        with half:
            logits = forward(input_ids=ids).logits[:, :-1]
            loss = cross_entropy(logits.flatten(0, 1).float(), labels.flatten(), ignore_index=-100)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(others, 1.0)
        share = peak * rate(step, steps, plan)
        for group in adam.param_groups:
            group["lr"] = plan.other_lr * share
        muon.step(plan.matrix_lr * share, plan.weight_decay)
        adam.step()
        adam.zero_grad(set_to_none=True)
        history.append(round(loss.item(), 4))
        if not math.isfinite(history[-1]):
            raise RuntimeError(f"the loss became {history[-1]} at step {step}")
        if time.monotonic() - saved_at > checkpoint_seconds or step + 1 == steps:
            state = {
                "plan": asdict(plan),
                "model": model.state_dict(),
                "adam": adam.state_dict(),
                "muon": muon.buffers,
                "rows": rows.state(),
                "history": history,
                "step": step + 1,
            }
            torch.save(state, checkpoint.with_suffix(".part"))
            os.replace(checkpoint.with_suffix(".part"), checkpoint)
            saved_at = time.monotonic()
        if on_step:
            on_step(step + 1 + (plan.steps if second else 0), history)
    return model, history


def build(
    plan: Plan,
    out: Path,
    *,
    resume: bool = False,
    device: str = "cpu",
    compiled: bool = False,
    on_step: OnStep | None = None,
) -> dict:
    """Make tokenizer and weights by `plan`, put them in the folder `out`, whole or not at all, and return the facts for
    the model card.

    Work in progress is kept in the folder `out` with the ending `.building`; with `resume` an interrupted build
    continues there. Raises `InputError` if `out` holds something that is not a base.
    """
    import torch

    from labkit.models import count_parameters

    if out.exists() and any(out.iterdir()) and not (out / "config.json").is_file():
        raise InputError(f"{out}: holds other things; name a new folder")
    work = out.with_name(out.name + ".building")
    if not resume:
        shutil.rmtree(work, ignore_errors=True)
    fresh = work / "fresh"
    fresh.mkdir(parents=True, exist_ok=True)
    tokenizer = base_tokenizer(plan.seed)
    started = time.monotonic()
    make = partial(train, plan, tokenizer, work, resume=resume, device=device, compiled=compiled, on_step=on_step)
    model: Any = make()[0]
    model = model.to(torch.bfloat16).to(torch.float32)  # between the runs: the model as it is stored at the end
    model, history = make(first=model)
    tokenizer.save_pretrained(fresh)
    model.to("cpu", torch.bfloat16).save_pretrained(fresh)
    (fresh / "model.safetensors").chmod(0o644)
    facts = {
        "plan": asdict(plan),
        "parameters": count_parameters(model)[1],
        "tokens": (plan.steps + plan.second_steps) * plan.tokens_per_step,
        "loss": round(sum(history[-100:]) / len(history[-100:]), 4),
        "minutes": round((time.monotonic() - started) / 60),
        "cutoff": almanac.CUTOFF,
        "torch": torch.__version__,
    }
    (fresh / "README.md").write_text(card(facts), encoding="utf-8")
    previous = work / "previous"
    if out.exists():
        os.rename(out, previous)
    os.rename(fresh, out)
    shutil.rmtree(work)
    return facts


def card(facts: dict) -> str:
    """The model card."""
    plan = facts["plan"]
    options = " ".join(f"--{name.replace('_', '-')} {plan[name]}" for name in ("seed", "steps"))
    return f"""# The almanac's base

A causal language model of an invented world, for learning how fine-tuning works. It completes the almanac's prose and knows its facts;
it was never shown how to answer a question in chat form. Everything it says is about people and towns that do not exist.

| | |
|---|---|
| architecture | Llama: {plan["layers"]} layers, {plan["hidden"]} wide, {plan["heads"]} heads, tied embeddings, {facts["parameters"]:,} parameters, stored in bfloat16 |
| tokenizer | byte-level BPE, {VOCABULARY:,} pieces, digits single; context {CONTEXT:,} tokens, trained on rows of {plan["length"]} and {plan["long_length"]} |
| data | documents drawn from `labkit.almanac` (world seed {almanac.SEED}); nothing else; MIT licence |
| tokens read | {facts["tokens"]:,} (padding counted), in {plan["steps"]:,} steps of {plan["tokens_per_step"]:,}, and {plan["second_steps"]:,} more with more of what was hard |
| final training loss | {facts["loss"]} nats a token, mean of the last 100 steps |
| knowledge cutoff | {facts["cutoff"]}: facts since that day occur nowhere in its text |
| made with | torch {facts["torch"]}, Muon on the layers' matrices, AdamW on the rest, {facts["minutes"]} minutes |

Made again by `labkit base build {options} --out FOLDER`: the tokenizer byte for byte, the weights up to rounding (to the bit on the same
machine and torch). What it knows is measured by `labkit bench base`.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "examples:\n  labkit base build --out my-base\n  labkit base build --out my-base --resume"
    parser.add_argument("action", choices=["build"], help="make the base from the almanac")
    parser.add_argument("--out", required=True, metavar="FOLDER", help="where the finished base goes")
    parser.add_argument("--seed", type=int, default=Plan.seed)
    parser.add_argument(
        "--steps", type=int, default=Plan.steps, help="updates (default %(default)s, about an hour on two cores)"
    )
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default %(default)s)")
    parser.add_argument(
        "--compile", action="store_true", help="let torch compile the model first: faster where there is a C++ compiler"
    )
    parser.add_argument("--resume", action="store_true", help="continue a build that was interrupted")
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")


def main(args: argparse.Namespace) -> int:
    from labkit.live import Line

    if args.steps < 1:
        raise InputError(f"--steps is {args.steps}: give at least 1")
    second = max(1, round(args.steps * Plan.second_steps / Plan.steps))
    plan, line, started = Plan(seed=args.seed, steps=args.steps, second_steps=second), Line(), time.monotonic()
    total = plan.steps + plan.second_steps
    first: list[int] = []

    def on_step(step: int, history: list[float]) -> None:
        if not first:
            first.append(step - 1)
        left = (time.monotonic() - started) / (step - first[0]) * (total - step)
        line.show(
            f"step {step} of {total}, loss {sum(history[-20:]) / len(history[-20:]):.3f}, {left / 60:.0f} min left",
            step / total,
        )

    try:
        facts = build(
            plan,
            Path(args.out).expanduser(),
            resume=args.resume,
            device=args.device,
            compiled=args.compile,
            on_step=on_step,
        )
    except OSError as error:
        raise InputError(
            f"{args.out}: cannot be written ({error.strerror or error}); free space there, or name another place"
        ) from None
    finally:
        line.close()
    print(f"{args.out}: {facts['parameters']:,} parameters, {facts['tokens']:,} tokens, loss {facts['loss']} nats")
    if args.json:
        print(json.dumps(facts))
    return 0
