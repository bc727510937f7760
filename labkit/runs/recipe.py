"""What decides a run: the `Recipe`, its hash, and the base that it depends on. The recipes themselves are in
`recipes/`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from labkit.common import InputError
from labkit.masking import FAULTS

BASE_FILES = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja")
MASKS = ("completion", "partial", "none")
METHODS = ("lora", "qlora", "full")
CONTROLS = (None, "shuffled", "prompt")
STOPS = ("known", "unknown")
VARIANTS = (None, "dora")
FORMATS = ("float32", "bfloat16")


# Recorded before recipes named their number format, on a processor with AVX512-BF16 (tests/test_records.py shows it).
BEFORE = "bfloat16"


@dataclass(frozen=True)
class Recipe:
    """Everything that decides a run, except the base. Raises `InputError` for an unknown choice."""

    name: str
    lab: str
    mix: str = "short"  # `short_mix` or `long_mix` of the almanac's examples, or one of its mixes; drawn from the seed
    examples: int | None = None  # how many of the mix are trained on; None: all
    control: str | None = (
        None  # "shuffled": each question has another one's answer; "prompt": only prompts are trained on
    )
    mask: str = "completion"  # where loss is taken; "partial": on the shots' answers too; "none": on every token
    prompt_weight: float = 0.0  # the probability that a prompt's token carries loss too: on average, its weight
    fault: str | None = None  # what is planted in the labels: one of `masking.FAULTS`
    text_rows: int = 0  # documents like those that the base was made from, mixed in among the examples
    stop: str = "known"  # "unknown": from a copy of the base in which the end token's embedding is drawn anew
    method: str = "lora"  # or "qlora": over the base in NF4, with double quantization; or "full": all weights
    base_bits: int | None = None  # the base's linear layers hold what NormalFloat of so many bits keeps of them
    variant: str | None = None  # "dora": directions and lengths of the weights apart (arXiv 2402.09353)
    rank: int = 16
    alpha: float = 32
    target_modules: str = "all-linear"  # or layer names joined by commas
    lr: float = 3e-3
    schedule: str = "cosine"
    warmup: float = 0.05  # share of the steps
    batch_size: int = 32
    steps: int = 400
    weight_decay: float = 0.0
    beta1: float = 0.9
    beta2: float = 0.999
    clip: float | None = 1.0
    accumulation: int = 1
    b_ratio: float = 1.0  # LoRA+: B's rate over A's
    number_format: str = "float32"  # of the matrix products: never "auto", because another format is another run
    seed: int = 0
    validation_n: int = 0  # held-out examples whose loss is followed
    validation_mask: str | None = None  # where the held-out loss is taken, a mask; None: where training takes it
    eval_every: int | None = None  # steps between validations; None: once, at the end
    evaluation: str | None = None  # the mix whose held-out questions are asked; None: the same as is trained on
    evaluation_n: int | None = None  # how many are asked; None: all
    max_new_tokens: int = 192  # room for the longest chain of thought of the kit's examples

    def __post_init__(self) -> None:
        choices_of = {
            "mask": MASKS,
            "method": METHODS,
            "control": CONTROLS,
            "stop": STOPS,
            "variant": VARIANTS,
            "validation_mask": (None, *MASKS),
            "fault": (None, *FAULTS),
            "number_format": FORMATS,
        }
        for field, choices in choices_of.items():
            if getattr(self, field) not in choices:
                raise InputError(f"{field} is {getattr(self, field)!r}: choose one of {', '.join(map(str, choices))}")
        if self.text_rows < 0:
            raise InputError(f"text_rows is {self.text_rows}: give a number of documents, or 0")
        if self.base_bits is not None and not (2 <= self.base_bits <= 8 and self.method == "lora"):
            raise InputError(f"base_bits is {self.base_bits}, method {self.method}: give 2 to 8, and the method lora")
        if not 0 <= self.prompt_weight <= 1:
            raise InputError(f"prompt_weight is {self.prompt_weight}: give a weight from 0 to 1")
        for field in ("alpha", "lr", "warmup", "weight_decay", "clip", "prompt_weight", "b_ratio"):
            if getattr(self, field) is not None:
                object.__setattr__(
                    self, field, float(getattr(self, field))
                )  # 32 and 32.0 are one recipe, with one hash

    @property
    def hash(self) -> str:
        """sha256 over the fields and the base's weights and tokenizer: another hash is another run.

        Fields at their default are left out, so that a field that is added later changes no older recipe's hash. If a
        default itself changes, `stale` notices, because it compares every field.
        """
        fields = json.dumps(self._fields(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(f"{fields}\n{base_digest()}".encode()).hexdigest()

    def _fields(self) -> dict:
        """The fields that are not at their default."""
        return {
            field.name: value
            for field in dataclasses.fields(self)
            if (value := getattr(self, field.name)) != field.default
        }


def base_digest() -> str:
    """sha256 over those of the base's files that decide what it computes."""
    from labkit.models import BASE

    stats = [
        (path.name, path.stat().st_size, path.stat().st_mtime_ns)
        for path in map(BASE.joinpath, BASE_FILES)
        if path.is_file()
    ]
    if not stats:
        raise InputError(
            f"{BASE}: the base model is missing; install the kit again, or make it with `labkit base build`"
        )
    return _digest(BASE, tuple(stats))


@lru_cache(maxsize=8)
def _digest(folder: Path, stats: tuple) -> str:
    digest = hashlib.sha256()
    for name, size, _ in stats:
        digest.update(f"{name} {size}\n".encode())
        digest.update((folder / name).read_bytes())
    return digest.hexdigest()
