"""How many bytes a training step takes at its peak: terms, moments of the step, and what would make it fit a card.

A formula over plain numbers, without torch: `Sizes` of an architecture, a `Setup`, and for each moment of the step the
bytes of each term. The peak is the moment with the most. What torch allocates is counted as a trace of the operations
shows it (`trace`); a card holds more than that, so `plan` gives a range. First the two functions that a learner writes,
each standing alone. The command is `plan_command`; bits of a weight in NF4 are `quantization.bits_per_weight`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

METHODS = ("full", "lora", "qlora")
OPTIMIZERS = ("adamw", "adamw-fused", "adamw-8bit")
MOMENTS = ("end of forward", "backward: loss", "backward: last layer", "backward: first layer", "optimizer step")
TERMS = (
    "weights",
    "quantization constants",
    "optimizer states",
    "gradients",
    "activations",
    "logits",
    "working copies",
)
GB, GIB = 10**9, 2**30
BYTES = {"bfloat16": 2, "float16": 2, "float32": 4}

# What a card holds besides the tensors: an allowance, not a measurement. The driver's context with its kernels takes
# some hundred megabytes; the allocator's reserve is what it keeps in pieces that fit no request.
CONTEXT = 500_000_000
RESERVE = 0.15


def memory(parameters: int, trainable: int, method: str, optimizer: str, activations: float) -> dict[str, float]:
    """Bytes of each term, {"weights", "gradients", "states", "activations"}, of training a model of `parameters`.

    `full`: all is trained in bfloat16, so `trainable` is `parameters`. `lora`: the base stays in bfloat16, beside it an
    adapter of `trainable` numbers in float32. `qlora`: the same, the base in NF4 with double quantization: 4 bits, 8
    for each 64 weights, 32 for each 64 · 256. What is trained has a gradient of its own type, and under `adamw` two
    states of its own type; under `adamw-8bit` two of one byte, under `sgd` none. Activations are given. Raises
    ValueError for another method or optimizer, a negative number, and a `full` that does not train all.
    """
    if method not in ("full", "lora", "qlora") or optimizer not in ("adamw", "adamw-8bit", "sgd"):
        raise ValueError(f"{method} with {optimizer}: choose full, lora or qlora, with adamw, adamw-8bit or sgd")
    if min(parameters, trainable, activations) < 0 or (method == "full" and trainable != parameters):
        raise ValueError(f"{trainable} of {parameters} trained: give numbers from 0, and for full the same twice")
    size = 2 if method == "full" else 4  # bytes of what is trained
    base = {"full": 2, "lora": 2, "qlora": (4 + 8 / 64 + 32 / (64 * 256)) / 8}[method]
    state = {"adamw": 2 * size, "adamw-8bit": 2, "sgd": 0}[optimizer]
    return {
        "weights": base * parameters + (0 if method == "full" else size * trainable),
        "gradients": size * trainable,
        "states": state * trainable,
        "activations": activations,
    }


def choose(requirements: dict[str, tuple[float, float]], card: float) -> str:
    """The first method that fits a card of `card` bytes; each has a range, {name: (low, high)}, in order of preference.

    It fits if the high end does. Where none does, the first whose low end fits, as "NAME?", because only a try can tell;
    where not even that, "none". Raises ValueError for a card of 0 or less, no method, and a range with low above high.
    """
    if card <= 0 or not requirements or any(low > high for low, high in requirements.values()):
        raise ValueError(f"a card of {card} bytes: give one above 0, and at least one range from low to high")
    for name, (_, high) in requirements.items():
        if high <= card:
            return name
    for name, (low, _) in requirements.items():
        if low <= card:
            return f"{name}?"
    return "none"


# Given: the planner.


@dataclass(frozen=True)
class Family:
    """What architectures of one kind have in common, as transformers (5) computes them."""

    norm: str = "rms"  # rms; gemma: scaled in float32; layer: with mean and bias
    norms: int = 2  # in a layer, over its width
    head_norms: bool = False  # of queries and keys
    gated: bool = True  # three matrices in the MLP, otherwise two
    biases: str = ""  # "": none; qkv; all
    layer: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    tied: bool = False  # unless the config says otherwise
    window_layers: float = 1.0  # share of layers with a sliding window, if the config has one


FAMILIES = {  # by transformers' `model_type`
    "llama": Family(),
    "mistral": Family(),
    "qwen2": Family(biases="qkv"),
    "qwen3": Family(head_norms=True),
    "gemma3_text": Family("gemma", 4, head_norms=True, tied=True, window_layers=5 / 6),
    "phi": Family("layer", 1, gated=False, biases="all", layer=("q_proj", "k_proj", "v_proj", "dense", "fc1", "fc2")),
}


@dataclass(frozen=True)
class Sizes:
    """The sizes of an architecture; `parameters` counts a shared table once."""

    family: Family
    layers: int
    width: int
    mlp: int  # the width inside the MLP
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    context: int
    tied: bool
    window: int | None = None  # of the sliding window, in tokens
    squash: int = 1  # tensors that the activation function keeps; `gelu_new`, written as a formula, keeps four

    @property
    def linear(self) -> dict[str, tuple[int, int]]:
        """{name: (out, in)} of a layer's matrices."""
        q, kv = self.heads * self.head_dim, self.kv_heads * self.head_dim
        shapes = [(q, self.width), (kv, self.width), (kv, self.width), (self.width, q)]
        shapes += [(self.mlp, self.width)] * (2 if self.family.gated else 1) + [(self.width, self.mlp)]
        return dict(zip(self.family.layer, shapes, strict=True))

    @property
    def linear_parameters(self) -> int:
        """Those of all layers' matrices, which QLoRA keeps in four bits."""
        return self.layers * sum(out * into for out, into in self.linear.values())

    @property
    def parameters(self) -> int:
        outs = [out for out, _ in self.linear.values()]
        biases = {"": 0, "qkv": sum(outs[:3]), "all": sum(outs)}[self.family.biases]
        each = self.width * (2 if self.family.norm == "layer" else 1)
        norms = self.layers * (self.family.norms * each + (2 * self.head_dim if self.family.head_norms else 0)) + each
        tables = self.vocabulary * self.width * (1 if self.tied else 2)
        head_bias = self.vocabulary if self.family.biases == "all" else 0
        return self.linear_parameters + self.layers * biases + norms + tables + head_bias


def sizes(config: Mapping[str, Any]) -> Sizes:
    """The sizes that a config.json states. Raises ValueError, which says what is missing, or which kinds are known."""
    kind = config.get("model_type")
    if kind not in FAMILIES:
        raise ValueError(f"the architecture {kind!r} is not known to the planner; it knows {', '.join(FAMILIES)}")
    family = FAMILIES[kind]

    def size(key: str, default: int | None = None) -> int:
        found = config.get(key)
        found = default if found is None else found
        if isinstance(found, bool) or not isinstance(found, int) or found < 1:
            raise ValueError(f"the config has {key} {found!r}; it must be an integer of at least 1")
        return found

    heads, width = size("num_attention_heads"), size("hidden_size")
    window = config.get("sliding_window")
    if not isinstance(window, int) or (kind == "qwen2" and not config.get("use_sliding_window")):
        window = None
    tied = config.get("tie_word_embeddings")
    return Sizes(
        family,
        size("num_hidden_layers"),
        width,
        size("intermediate_size"),
        heads,
        size("num_key_value_heads", heads),
        size("head_dim", max(width // heads, 1)),
        size("vocab_size"),
        size("max_position_embeddings", 2**31),
        family.tied if tied is None else bool(tied),
        window if kind in ("mistral", "qwen2", "gemma3_text") else None,
        4 if config.get("hidden_act", "gelu_new" if kind == "phi" else "silu") == "gelu_new" else 1,
    )


@dataclass(frozen=True)
class Setup:
    """What is trained, and how. Rows all have `sequence` tokens; `batch` of them are computed at once.

    PEFT keeps an adapter in float32 beside a base in bfloat16, and so does the default here; under `full`, weights,
    gradients and states are all in `dtype`. QLoRA is NF4 with double quantization unless `double` is False.
    """

    method: str = "full"
    batch: int = 1
    sequence: int = 1024
    checkpointing: bool = False
    optimizer: str = "adamw"
    dtype: str = "bfloat16"
    adapter_dtype: str = "float32"
    rank: int = 16
    targets: tuple[str, ...] = ("all-linear",)
    double: bool = True
    loss_pieces: int = 1  # with more, as some trainers do, logits are in float32 one piece after the other

    def __post_init__(self) -> None:
        for name, value, known in (
            ("method", self.method, METHODS),
            ("optimizer", self.optimizer, OPTIMIZERS),
            ("dtype", self.dtype, BYTES),
            ("adapter_dtype", self.adapter_dtype, BYTES),
        ):
            if value not in known:
                raise ValueError(f"{name} is {value!r}; choose one of {', '.join(known)}")
        if min(self.batch, self.sequence, self.rank, self.loss_pieces) < 1:
            raise ValueError(f"batch {self.batch}, sequence {self.sequence}, rank {self.rank}: each is at least 1")

    @property
    def tokens(self) -> int:
        return self.batch * self.sequence


def targeted(model: Sizes, setup: Setup) -> list[str]:
    """The names of a layer's matrices that get an adapter; none under `full`. Raises ValueError for an unknown name."""
    if setup.method == "full":
        return []
    if setup.targets == ("all-linear",):
        return list(model.linear)
    if not setup.targets:
        raise ValueError(f"no layer is targeted; name some of {', '.join(model.linear)}")
    if unknown := [name for name in setup.targets if name not in model.linear]:
        raise ValueError(f"no layer is named {unknown[0]!r}; there are {', '.join(model.linear)}")
    return list(setup.targets)


def trainable(model: Sizes, setup: Setup) -> int:
    """How many numbers are trained: all, or r·(in + out) for each adapted matrix."""
    if setup.method == "full":
        return model.parameters
    return model.layers * sum(setup.rank * sum(model.linear[name]) for name in targeted(model, setup))


def layer_activations(model: Sizes, setup: Setup) -> dict[str, int]:
    """Bytes that backward needs of one layer, by part, for all tokens of a micro-batch; without checkpointing.

    Counted from what autograd saves: the input of what is trained, the inputs of what is multiplied or squashed. Each
    norm keeps its input in float32. An adapter in another type than the base keeps a copy of its input for itself.
    """
    size, own = BYTES[setup.dtype], BYTES[setup.adapter_dtype]
    full, family = setup.method == "full", model.family
    adapted = targeted(model, setup)
    names = list(model.linear)
    queries, keys = model.heads * model.head_dim, model.kv_heads * model.head_dim

    def inputs(group: list[str], width: int, there: bool = False) -> int:
        """What is kept so that these matrices, or their adapters, get a gradient; `there`: their input is kept anyway."""
        chosen = [name for name in group if name in adapted]
        shared = 0 if there else size * width
        if full:
            return shared
        inner = len(chosen) * own * setup.rank
        return inner + (len(chosen) * own * width if own != size else shared if chosen else 0)

    def norm(width: int) -> int:
        if family.norm == "layer":
            return size * width
        scaled = (4 if family.norm == "gemma" else size) * width
        return 4 * width + (scaled if full else 0)

    attention, mlp = names[:3], names[4:-1]
    copies = family.norm == "layer"  # phi's queries lie so that what comes out of attention is copied
    # With a window, rows that reach it need a mask, and then keys and values are repeated for each head.
    repeated = model.window is not None and setup.sequence >= model.window and 1 < model.kv_heads < model.heads
    kept = queries if repeated else keys
    into = (
        inputs(attention + mlp, model.width)
        if family.norms == 1
        else inputs(attention, model.width) + inputs(mlp, model.width)
    )
    parts = {
        "norms": family.norms * norm(model.width) + (norm(queries) + norm(keys) if family.head_norms else 0),
        "inputs of matrices": into + inputs(names[3:4], queries, there=not copies) + inputs(names[-1:], model.mlp),
        "attention": size * (2 * queries + 2 * kept) + 4 * model.heads,
        "MLP": (model.squash + (2 if family.gated else 0)) * size * model.mlp,
    }
    return {name: each * setup.tokens for name, each in parts.items()}


def moments(model: Sizes, setup: Setup) -> dict[str, dict[str, float]]:
    """{moment: {term: bytes}} of one step, from the second on: the optimizer's states are there all the time."""
    size, own = BYTES[setup.dtype], BYTES[setup.adapter_dtype]
    full, tokens = setup.method == "full", setup.tokens
    count = trainable(model, setup)
    kind = size if full else own  # bytes of what is trained
    weights, constants = float(size * model.parameters), 0.0
    if setup.method == "qlora":
        weights -= (size - 0.5) * model.linear_parameters
        blocks = model.linear_parameters / 64
        constants = blocks * (1 + 4 / 256) if setup.double else 4 * blocks
    weights += 0 if full else own * count
    states = count * (2 * (1 + 4 / 256) if setup.optimizer == "adamw-8bit" else 2 * kind)
    gradients = float(kind * count)

    layer = sum(layer_activations(model, setup).values())
    last_norm = tokens * model.width * (4 + (2 * size if full else 0))
    kept = size * tokens * model.width if setup.checkpointing else layer  # of each layer, until its backward
    mask = size * setup.batch * setup.sequence**2 if model.window and setup.sequence >= model.window else 0
    saved = model.layers * kept + mask
    again = layer if setup.checkpointing else 0  # computed once more, one layer at a time
    table = size * model.vocabulary * model.width

    # In a layer's backward: gradients inside the MLP, those of the hidden states, and the matrix that is unpacked.
    working = tokens * ((2 if model.family.gated else 1) * size * model.mlp + 12 * model.width)
    if setup.method == "qlora":
        working += size * max(out * into for out, into in model.linear.values())
    logits = tokens * model.vocabulary
    # Logits in the model's type, in float32, and their logarithms; then two gradients of these. In pieces, these three
    # are those of one piece, beside all logits and their gradients in the model's type.
    forward, loss = 8 if size == 4 else 8 + size, 12.0
    if setup.loss_pieces > 1:
        forward, loss = size, 2 * size + loss / setup.loss_pieces
    always = {"weights": weights, "quantization constants": constants, "optimizer states": states}
    at: dict[str, dict[str, float]] = {
        "end of forward": {"activations": saved + last_norm, "logits": logits * forward},
        "backward: loss": {"activations": saved + last_norm, "logits": logits * loss},
        "backward: last layer": {
            "gradients": table if full else 0,
            "activations": saved + again,
            "working copies": working,
        },
        # A table that input and output share gets two gradients, and their sum.
        "backward: first layer": {
            "gradients": gradients,
            "activations": kept + again + mask,
            "working copies": max(working, 2 * table) if full and model.tied else working,
        },
        "optimizer step": {
            "gradients": gradients,
            "working copies": kind * count if setup.optimizer == "adamw" else 0,  # `foreach` takes all roots at once
        },
    }
    return {name: {term: float({**always, **at[name]}.get(term, 0)) for term in TERMS} for name in MOMENTS}


@dataclass(frozen=True)
class Plan:
    """What a set-up takes: each moment's terms, and the range in which a card's use lies."""

    setup: Setup
    moments: dict[str, dict[str, float]]

    @property
    def totals(self) -> dict[str, float]:
        return {name: sum(terms.values()) for name, terms in self.moments.items()}

    @property
    def when(self) -> str:
        """The moment of the peak."""
        return max(self.totals, key=self.totals.__getitem__)

    @property
    def peak(self) -> float:
        """Bytes of all tensors at that moment."""
        return self.totals[self.when]

    @property
    def range(self) -> tuple[float, float]:
        """Bytes on a card: the tensors with its context; and with the allocator's reserve as well."""
        return self.peak + CONTEXT, self.peak * (1 + RESERVE) + CONTEXT

    def verdict(self, card: float) -> str:
        low, high = self.range
        return "fits" if high <= card else "may fit" if low <= card else "does not fit"


def plan(model: Sizes, setup: Setup) -> Plan:
    """Raises ValueError for a sequence beyond the model's context, and for targets that it does not have."""
    if setup.sequence > model.context:
        raise ValueError(f"a sequence of {setup.sequence} is beyond the model's context of {model.context}; shorten it")
    return Plan(setup, moments(model, setup))


# What would make it fit, the cheapest first: some cost time alone, the last ones what can be learned.
CHANGES = ("micro batch", "checkpointing", "8-bit optimizer", "sequence", "LoRA", "QLoRA")
SHORTEST = 256  # tokens: no shorter rows are proposed


def cheapest_change(
    model: Sizes, setup: Setup, card: float, keep_method: bool = False
) -> tuple[tuple[str, ...], Plan] | None:
    """(changes in words, the plan with them) that make the set-up fit: as few costly ones as possible; None if none do.

    In the order of `CHANGES` each is added until it fits; then whatever was not needed is taken back, the costliest
    first, and batch and sequence are as large as they can be. Without any need, the changes are ().
    """

    def fits(names: tuple[str, ...], limits: tuple[int, int] = (1, SHORTEST)) -> Plan | None:
        found = plan(model, _changed(setup, names, *limits))
        return found if found.verdict(card) == "fits" else None

    allowed = CHANGES[:4] if keep_method else CHANGES
    enough = next((allowed[:count] for count in range(len(allowed) + 1) if fits(allowed[:count])), None)
    if enough is None:
        return None
    for name in reversed(enough[:-1]):
        if fits(without := tuple(each for each in enough if each != name)):
            enough = without
    found = next(
        found
        for batch, sequence in _limits(setup, "micro batch" in enough, "sequence" in enough)
        if (found := fits(enough, (batch, sequence)))
    )
    return tuple(_in_words(setup, found.setup)), found


def _changed(setup: Setup, names: tuple[str, ...], batch: int, sequence: int) -> Setup:
    changes: dict[str, Any] = {}
    if "micro batch" in names:
        changes["batch"] = min(setup.batch, batch)
    if "checkpointing" in names:
        changes["checkpointing"] = True
    if "8-bit optimizer" in names:
        changes["optimizer"] = "adamw-8bit"
    if "sequence" in names:
        changes["sequence"] = min(setup.sequence, sequence)
    if "QLoRA" in names:
        changes["method"] = "qlora"
    elif "LoRA" in names and setup.method == "full":
        changes["method"] = "lora"
    return dataclasses.replace(setup, **changes)


def _limits(setup: Setup, batches: bool, sequences: bool) -> Iterator[tuple[int, int]]:
    """(batch, sequence), the longest rows first, and for each the largest batch first."""
    halves = lambda largest, least: [largest >> i for i in range(largest.bit_length()) if largest >> i >= least]
    for sequence in [*halves(setup.sequence, SHORTEST + 1), SHORTEST] if sequences else [setup.sequence]:
        for batch in halves(setup.batch, 1) if batches else [setup.batch]:
            yield batch, sequence


def _in_words(before: Setup, after: Setup) -> Iterator[str]:
    if after.batch < before.batch:
        parts = -(-before.batch // after.batch)
        yield f"a micro batch of {after.batch}, accumulated {parts} times"
    if after.checkpointing and not before.checkpointing:
        yield "checkpointing"
    if after.optimizer != before.optimizer:
        yield "an 8-bit optimizer"
    if after.sequence < before.sequence:
        yield f"rows of {after.sequence} tokens"
    if after.method != before.method:
        yield {"lora": "LoRA", "qlora": "QLoRA"}[after.method]


def card_bytes(text: str) -> int:
    """A size such as 16GB (10⁹ bytes), 16GiB (2³⁰ bytes) or 24G in bytes. G alone is GiB: so cards are sold.

    Raises ValueError for anything else, and for 0.
    """
    import re

    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(GB|GiB|G)\s*", text, re.IGNORECASE)
    if not found or float(found[1]) == 0:
        raise ValueError(f"a card of {text!r}; give a size above 0, such as 16GB, 24GiB or 80G")
    return round(float(found[1]) * (GB if found[2].upper() == "GB" else GIB))
