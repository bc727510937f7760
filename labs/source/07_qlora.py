# %% [markdown]
# # 07 · QLoRA and the choice
#
# **The question of this lab: what do four bits save, and what do they cost?**
#
# An adapter is small, but it needs the whole base beside it. QLoRA keeps that base in four bits a weight. You will
# build these four bits by hand, count what they save, measure what they cost, and plan the memory of a run before you
# start it.
#
# You will be able to
#
# - quantize weights to NF4 by hand, and compare it with its rivals;
# - count what a model in four bits really takes;
# - list what fills a card during training, which part is the largest, and when;
# - choose between full fine-tuning, LoRA and QLoRA for a given card, and name what is given up;
# - put several adapters on one base.
#
# About 60 minutes, with three exercises, and three more at the end. For every exercise that you leave unsolved, the
# kit's own function is used.

# %%
import labkit as lk  # before torch: it sets how torch's threads wait for one another

import numpy as np
import torch

# %% [markdown]
# Your runs so far.

# %% tags=["nbval-ignore-output"]
lk.my_runs()

# %% [markdown]
# ## Before you begin

# %%
lk.quiz("qlora", when="before")

# %% [markdown]
# ## 1 · NF4: sixteen levels
#
# Four bits can name 16 different numbers, and a weight has to become one of them.
#
# In toy numbers, with 4 levels (2 bits): $-1, -\frac{1}{3}, \frac{1}{3}, 1$. A block of weights is
#
# $$w = (0.6, \; -0.3, \; 0.1, \; 0.24)$$
#
# The largest size in it is 0.6: the block's *absmax*, the only number that it keeps beside its codes. Divided by it,
# the block is $(1, -0.5, 0.17, 0.4)$. The nearest levels have the codes 3, 1, 2, 2. Read back, the block is $0.6 \cdot
# (1, -\frac{1}{3}, \frac{1}{3}, \frac{1}{3}) = (0.6, -0.2, 0.2, 0.2)$.
#
# Your turn, with the same levels: which codes does $(-0.2, 0.5, 0.3, -1)$ have, and what is read back?
#
# <details><summary>The answer</summary>
#
# The absmax is 1, so the weights stay as they are. The codes are 1, 2, 2, 0 (0.5 is nearer to $\frac{1}{3}$ than to 1),
# and $(-\frac{1}{3}, \frac{1}{3}, \frac{1}{3}, -1)$ is read back.
#
# </details>
#
# Which levels are good? Trained weights look like draws from a normal distribution: many near zero, few far out.
# *NormalFloat* (QLoRA: Dettmers et al. 2023, arXiv 2305.14314) takes quantiles of the normal distribution, so that
# levels are close together where weights are many. With four bits it is called NF4.

# %%
nf4 = lk.use("qlora.levels")()
print(" ".join(f"{level:.4f}" for level in nf4))

# %% [markdown]
# There are 8 levels above 0 and 7 below, because one of the sixteen is 0 itself.
#
# ### Exercise: quantize
#
# *Hard, 8 minutes.* `block` weights that follow one another, row after row, share an absmax; the last block may be
# shorter. Each weight divided by its block's absmax takes the nearest level; exactly in the middle between two, the
# lower one (`np.searchsorted` on the middles does that). A block of zeros has absmax 0, and the code of level 0.
# Weights that are not finite, and a block below 1, are a `ValueError`.


# %% tags=["nbval-ignore-output"]
@lk.exercise("qlora.quantize")
def quantize(
    weights: np.ndarray, levels: np.ndarray, block: int
) -> tuple[np.ndarray, np.ndarray]:
    """(codes in the shape of the weights, absmax of each block)."""
    ...


# %% [markdown]
# Now bitsandbytes, QLoRA's own library, on one of the base's own matrices. Two codes go into a
# byte, the first in the high four bits. Are your bytes the library's bytes?

# %%
import bitsandbytes.functional as library

quantize_checked = lk.use("qlora.quantize")
base, tokenizer = lk.models.load(device="cpu")
weight = base.get_submodule("model.layers.0.mlp.up_proj").weight.detach().cpu()
codes, absmax = quantize_checked(weight.numpy(), nf4, 64)
theirs, state = library.quantize_4bit(weight, blocksize=64, quant_type="nf4")
ours, read = (
    lk.quantization.pack(codes),
    lk.quantization.dequantize(codes, absmax, nf4, 64),
)
print("the same bytes:", np.array_equal(ours, theirs.numpy().reshape(-1)))
back = library.dequantize_4bit(theirs, state).numpy()
print("the same weights read back:", np.array_equal(read, back))

# %% [markdown]
# NF4 is made for weights that are normally distributed. Its rivals: *int4*, fifteen evenly spaced levels (the sixteenth
# code is spare), and *FP4*, a tiny floating-point number. Here are four distributions, in blocks of 64. On which
# does NF4 lose?

# %%
choices = [*lk.quantization.DISTRIBUTIONS, "on none"]
lk.predict(
    "qlora.nf4_loses",
    "NF4 has a larger error than int4 on weights that are …",
    choices=choices,
)

# %% labkit={"rtol": 0.02}
draw = np.random.default_rng(0)
weights = {
    name: sample(draw, 200_000) for name, sample in lk.quantization.DISTRIBUTIONS.items()
}
weights["the base's own"] = weight.numpy()
tables = {"NF4": nf4, "int4": lk.quantization.INT4, "FP4": lk.quantization.FP4}
print(f"{'relative error':<22}" + "".join(f"{name:>8}" for name in tables))
loses = []
for name, sample in weights.items():
    errors = [lk.quantization.relative_error(sample, table) for table in tables.values()]
    loses += [name] if errors[0] > errors[1] else []
    print(f"{name:<22}" + "".join(f"{error:8.3f}" for error in errors))

# %%
lk.predict("qlora.nf4_loses", outcome=", ".join(loses) or "on none")

# %% [markdown]
# Where weights are spread evenly, even steps are best. With heavy tails (Student's t) all three suffer, because one
# large weight sets the absmax for its whole block. Blocks are small so that it spoils only 63 others. But every block
# keeps an absmax in 32 bits. How many bits does a weight then take?

# %%
lk.quiz("qlora", when="during", segment="nf4")

# %%
for double in (False, True):
    small, _ = lk.models.load(device="cpu", quantize="nf4", double=double)
    paper = lk.quantization.bits_per_weight(64, double)
    counted = lk.quantization.counted_bits(small)
    print(
        f"double quantization {double!s:<6} on paper {paper:.3f} bits, "
        f"counted on the base {counted:.3f}"
    )

# %% [markdown]
# *Double quantization* keeps the absmax in 8 bits, and one float32 for every 256 of them. On our base it saves less
# than on paper, because it adds the table of these 8-bit numbers to each matrix: next to nothing at the width of a real
# model.
#
# ## 2 · What does it save, and what does it cost?
#
# Four bits instead of sixteen: a quarter. But only the linear layers are quantized. The embedding table and the output
# layer stay as they are.

# %%
bits = lk.quantization.bits_per_weight(64, double=True)
shrinks = {}
for name in lk.architectures.catalogue():
    sizes = lk.memory.sizes(lk.architectures.read(name))
    total, linear = sizes.parameters, sizes.linear_parameters
    shrinks[name] = 16 * total / (bits * linear + 16 * (total - linear))
    print(
        f"{name:<14}{linear / total:4.0%} in linear layers: "
        f"{shrinks[name]:.2f} times smaller"
    )

# %%
lk.claim("C50", measured=shrinks["Llama-3.2-1B"])

# %% [markdown]
# What counts is the vocabulary beside the size: Gemma-3-1B, with 262,144 tokens, shrinks least.
#
# ### The cost, live
#
# Now train: the skill of lab 05, subtraction, with an adapter of rank 16 over the base in NF4. Before that, one look
# inside.

# %%
small, _ = lk.models.load(device="cpu", quantize="nf4")
adapted = lk.models.add_lora(small, rank=16, alpha=32, seed=0)
layer = adapted.get_submodule("base_model.model.model.layers.0.mlp.up_proj")
recipe = lk.runs.named("qlora-0.008")
train, questions = lk.runs.mix(recipe)
rows = lk.runs.training_rows(train, tokenizer, recipe)
batch = lk.masking.collate(rows[:8], tokenizer.pad_token_id)
adapted(**batch).loss.backward()
B = layer.lora_B["default"].weight
shapes = tuple(layer.weight.shape), "for", tuple(weight.shape)
print("the base's weight:", layer.weight.dtype, *shapes)
print("the adapter's B:  ", B.dtype, "its gradient:", B.grad.dtype)
print("the base's gradient:", layer.weight.grad)

# %% [markdown]
# The four bits are how the base is *stored*. For each multiplication a layer's weights are read back, used, and thrown
# away. Adapters and their gradients are ordinary floating-point numbers (float32 here, usually bf16 on a card). A
# released version of the library silently dropped gradients on some processors; *Further* has the test that finds it.
# Now train, in about half a minute:

# %%
adapted.train()  # a model comes out of `load` in evaluation mode
adapted.zero_grad()
lk.training.fit(adapted, rows, lk.runs.settings(recipe), pad=tokenizer.pad_token_id)
score = lk.models.score(adapted, tokenizer, questions[:80], max_new_tokens=64)
lk.measured("right answers, over a base in four bits", score.share, 0.35, 0.95)

# %% [markdown]
# ### The cost, recorded
#
# One run is one seed. Recorded on the same task, eight seeds, equal steps, each at its own best rate: all weights,
# LoRA, and QLoRA. And a control. A score that does not fall proves little if this task could not show a loss. So the
# base was also reduced to four, three and two bits by the kit's own levels. (*QLoRA* is bitsandbytes with double
# quantization.)

# %%
choices = ["at 4 bits", "at 3 bits", "at 2 bits", "at none of them"]
lk.predict(
    "qlora.bits_needed",
    "From which number of bits on is the skill clearly worse?",
    choices=choices,
)

# %%
kinds = {"all weights": "rate-full-*", "LoRA": "rate-lora-*", "QLoRA": "qlora-*"}
kinds |= {f"LoRA over {bits} bits": f"bits-{bits}-*" for bits in (4, 3, 2)}
records = {name: lk.runs.best(pattern) for name, pattern in kinds.items()}
lk.runs.summary(records)

# %%
lora = records.pop("LoRA")
differences = {
    f"{name} − LoRA": lk.runs.paired_difference(record, lora)
    for name, record in records.items()
}
lk.plots.differences(differences, "Right answers against LoRA over float32")

# %%
by_bits = [differences[f"LoRA over {bits} bits − LoRA"].high < 0 for bits in (4, 3, 2)]
lk.predict("qlora.bits_needed", outcome=choices[[*by_bits, True].index(True)])

# %% [markdown]
# Between LoRA and QLoRA no difference shows. The interval says how much that is worth: QLoRA may be up to six points
# worse, or ten better. And the control says that the task can show a large loss: at two bits most of the skill is gone.
# (What became of the base's own text is under *Further*.)
#
# ## 3 · Memory: what fills a card?
#
# Before a run starts, you can add up what it will hold. Take a model of 1,000 numbers, everything trained, everything
# in bfloat16 (2 bytes), with Adam: the weights take 2,000 bytes, their gradients 2,000, Adam's two moments 4,000. That
# is 8 bytes for each number, before a single token has gone through.
#
# Your turn: LoRA on it, with 10 trained numbers in float32 (4 bytes). Weights, gradients, moments?
#
# <details><summary>The answer</summary>
#
# Weights 2,000 + 40, gradients 40, moments 80: in all 2,160 bytes. Nearly all of it is the frozen base.
#
# </details>
#
# ### Exercise: memory
#
# *Medium, 8 minutes.* `full` trains everything in bfloat16. Under `lora` the base stays in bfloat16, and beside it are
# `trainable` numbers in float32; under `qlora` the base is in NF4 with double quantization (4 bits, 8 more for each 64
# weights, 32 more for each 64 · 256). What is trained has a gradient of its own type, and under `adamw` two moments of
# that type, under `adamw-8bit` two of one byte, under `sgd` none. The *activations*, what forward keeps for backward,
# are given. (A simplification: here all of the base is packed; the planner below keeps the embedding table in 16 bits.)
# Another method or optimizer, a negative number, and a `full` that does not train all are a `ValueError`.


# %% tags=["nbval-ignore-output"]
@lk.exercise("qlora.memory")
def memory(
    parameters: int, trainable: int, method: str, optimizer: str, activations: float
) -> dict[str, float]:
    """Bytes of each term: "weights", "gradients", "states", "activations"."""
    ...


# %% [markdown]
# It is often said that a 7B model needs 60 GB for full fine-tuning, 16 for LoRA, 6 for QLoRA. The numbers come from a
# table that calls itself *estimated* (LLaMA-Factory's README). Which assumptions give them?

# %%
memory_checked = lk.use("qlora.memory")
sizes = lk.memory.sizes(lk.architectures.read("Llama-2-7B"))
adapter = lk.memory.trainable(sizes, lk.memory.Setup("lora", rank=16))
for method, trained in (
    ("full", sizes.parameters),
    ("lora", adapter),
    ("qlora", adapter),
):
    terms = memory_checked(sizes.parameters, trained, method, "adamw", 0)
    told = ", ".join(f"{name} {size / 1e9:.1f}" for name, size in terms.items() if size)
    print(f"{method:<6}{sum(terms.values()) / 1e9:6.1f} GB without activations: {told}")
master = sizes.parameters * (2 + 2 + 4 + 4 + 4) / 1e9
print(f"full, with float32 master weights and moments: {master:.0f} GB")
pure = memory_checked(sizes.parameters, sizes.parameters, "full", "adamw", 0)
lk.claim("C51", measured=sum(pure.values()) / 1e9)

# %% [markdown]
# So 60 GB is pure bfloat16, and a little for what goes *through* the model. With *master weights*, a second copy of the
# weights in float32, and moments in float32, as in most mixed-precision training, it is twice as much. Of the 16 and 6
# GB most is the weights. What people measured is under *Further*, and for QLoRA it is more: 9 to 14 GB.
#
# ### When is the peak?
#
# A step goes forward, backward, and then the optimizer moves. Each moment holds something else.

# %%
choices = [
    "the weights",
    "the optimizer's moments",
    "activations and logits",
    "the gradients",
]
lk.predict(
    "qlora.largest",
    "QLoRA on Llama-3.2-1B, 4 rows of 2,048 tokens: what takes the most?",
    choices=choices,
)

# %%
setups = {
    method: lk.memory.Setup(method, batch=4, sequence=2048)
    for method in lk.memory.METHODS
}
llama = lk.memory.sizes(lk.architectures.read("Llama-3.2-1B"))
plans = {method: lk.memory.plan(llama, setup) for method, setup in setups.items()}
bars = {method: plan.moments[plan.when] for method, plan in plans.items()}
title = "Llama-3.2-1B, 4 rows of 2,048 tokens: what is held at the peak"
lk.plots.memory_bars(bars, card=24e9, title=title)

# %%
held = bars["qlora"]
sums = [
    held["weights"] + held["quantization constants"],
    held["optimizer states"],
    held["activations"] + held["logits"],
    held["gradients"],
]
lk.predict("qlora.largest", outcome=choices[sums.index(max(sums))])

# %% [markdown]
# Is the planner right? Let torch itself say. On *fake tensors*, which have a shape and no numbers, a whole step runs in
# a few seconds, without weights and without a card.

# %% labkit={"rtol": 0.02}
traced = lk.trace.trace(lk.architectures.config("Llama-3.2-1B"), setups["qlora"])
title = "One step of QLoRA: the peak is where the loss is taken"
lk.plots.memory_course(traced.course, traced.parts, plans["qlora"].totals, title)
print(f"planned {plans['qlora'].peak / 1e9:.2f} GB, traced {traced.peak / 1e9:.2f} GB")

# %% [markdown]
# A vocabulary of 128,256 and 8,192 tokens make a billion logits, in float32 four bytes each, and more than one copy of
# them. No adapter makes that smaller. LoRA even takes a little *more* than full fine-tuning here. Its adapters compute
# in float32, so what goes into each layer is kept a second time, in float32; that outweighs the moments it saves. What
# helps: fewer tokens at
# once (and accumulation, lab 05), a loss that is computed in pieces, and *checkpointing*: keep only what goes into each
# layer, and compute the rest again in backward. That takes less memory and more time.

# %%
for checkpointing in (False, True):
    for batch_size in (4, 1):
        setup = lk.memory.Setup(
            "qlora", batch=batch_size, sequence=2048, checkpointing=checkpointing
        )
        plan = lk.memory.plan(llama, setup)
        told = f"{batch_size} rows at once, checkpointing {checkpointing!s:<5}"
        print(f"{told}: {plan.peak / 1e9:5.1f} GB, at its peak in: {plan.when}")

# %% [markdown]
# One row instead of four saves more here than checkpointing; together they leave 4.5 of 34.6 GB.

# %%
lk.quiz("qlora", when="during", segment="memory")

# %% [markdown]
# ## 4 · The choice: which method?
#
# The usual advice: over 80 GB full fine-tuning, 16 to 24 GB LoRA, under 16 GB QLoRA. That is a tree for one size of
# model. With the planner you can have a tree for yours.
#
# ### Exercise: choose
#
# *Medium, 6 minutes.* `requirements` is {method: (low, high)} in bytes, in the order of preference. The first whose
# *high* end fits the card is chosen. Where none does, the first whose low end fits, as `"lora?"`, because only a try
# can tell. Where not even that, `"none"`. A card of 0 or less, no method, and a range with its ends exchanged are a
# `ValueError`.


# %% tags=["nbval-ignore-output"]
@lk.exercise("qlora.choose")
def choose(requirements: dict[str, tuple[float, float]], card: float) -> str:
    """The first method that fits; "NAME?" if that is not sure; "none"."""
    ...


# %%
choices = ["full", "lora", "lora?", "qlora", "qlora?", "none"]
asked = (
    "Llama-3.1-8B, a row of 2,048 tokens, checkpointing, a card of 24 GB: which method?"
)
lk.predict("qlora.card", asked, choices=choices)

# %%
choose_checked = lk.use("qlora.choose")
cards = (8, 12, 16, 24, 48, 80, 160)
chosen = {}
print(f"{'card, GB':<14}" + "".join(f"{card:>8}" for card in cards))
for name in lk.architectures.catalogue():
    model_sizes = lk.memory.sizes(lk.architectures.read(name))
    ranges = {}
    for method in lk.memory.METHODS:
        setup = lk.memory.Setup(method, sequence=2048, checkpointing=True)
        ranges[method] = lk.memory.plan(model_sizes, setup).range
    chosen[name] = [choose_checked(ranges, 1e9 * card) for card in cards]
    print(f"{name:<14}" + "".join(f"{method:>8}" for method in chosen[name]))
    if name == "Llama-3.1-8B":
        predicted = ranges
print("\nLlama-3.1-8B, from what the tensors need to what the allocator may hold (GB):")
print(
    {
        each: f"{low / 1e9:.1f} to {high / 1e9:.1f}"
        for each, (low, high) in predicted.items()
    }
)

# %%
lk.predict("qlora.card", outcome=chosen["Llama-3.1-8B"][cards.index(24)])
says = {160: "full", 24: "lora", 16: "lora", 12: "qlora"}  # the chapter, of 7B
agreed = [card for card in says if chosen["Llama-2-7B"][cards.index(card)] == says[card]]
print("for Llama-2-7B the planner agrees with the chapter on cards of", agreed, "GB")
lk.claim("C52", measured=len(agreed))

# %% [markdown]
# Read down a column: on the same card, smaller models can mostly be trained whole, larger ones over a base in four
# bits. But look at 8 GB: a 7B model fits over four bits, Gemma-3-1B not at all. Its vocabulary of 262,144 fills the
# card with logits. And do not rely on the 8 GB: QLoRA runs of 7B that people measured took more than the planner says
# (*Further*). For 7B the usual tree comes out about as it says, if full fine-tuning is in pure bfloat16. The case that
# you predicted is on the edge. For other sizes, and for longer rows, it is another tree.
#
# What is given up, from the top down: full fine-tuning gives the best score where the rate is right (lab 05: 74% to
# LoRA's 59% after the same steps); LoRA gives up some of that; QLoRA gave up nothing more here that could be measured,
# but each layer has to be unpacked in every pass, which takes time. In a terminal, `labkit plan --model Llama-3.1-8B
# --gpu 24GB --sequence 2048 --checkpointing` compares the three, with the cheapest change that makes each fit. It also
# reads a `config.json`.

# %%
lk.quiz("qlora", when="during", segment="choice")

# %% [markdown]
# ## 5 · Adapters: many on one base
#
# Your adapter for subtraction is 0.9 MB, the base stays as it is. So the base can serve others too. Train two more over
# the same four-bit base: one that answers questions about the almanac's world (lab 00), one that knows by heart which
# page 64 names are on (lab 06).

# %%
import dataclasses

recipes = {
    "almanac": dataclasses.replace(lk.runs.named("sft-short"), batch_size=16, steps=40),
    "pages": dataclasses.replace(lk.runs.named("facts-64-r16-0.008"), steps=80),
}
asked = {"default": questions[:32]}  # subtraction: PEFT calls the first adapter so
for name, recipe_of in recipes.items():
    asked[name] = lk.runs.trained_beside(adapted, name, recipe_of, tokenizer)[:32]


# %% tags=["nbval-ignore-output"]
def right(examples) -> float:
    """The share of right answers of the adapter that is switched on."""
    return lk.models.score(adapted, tokenizer, examples, max_new_tokens=64).share


shares = {}
for name in asked:
    adapted.set_adapter(name)
    shares |= {(name, other): right(examples) for other, examples in asked.items()}
    print(name, "switched on:", {other: f"{shares[name, other]:.0%}" for other in asked})

# %%
own = [shares[name, name] for name in asked]
others = [share for (name, other), share in shares.items() if name != other]
lk.measured("their own questions, the lowest share of the three", min(own), 0.3, 1)
lk.measured("the others' questions, the highest share", max(others), 0, 0.2)

# %% [markdown]
# Each can do its own, and hardly anything of the others'. Switching takes milliseconds (*Further*), and a server does
# not even have to switch. In one batch each row can go through an adapter of its own. Is a row's result then what it
# would be alone?

# %%
ends = [
    lk.masking.prompt_ids(examples[0], tokenizer)[-10:] for examples in asked.values()
]
ids = torch.tensor(ends)  # the ends of three questions, of one length
adapted.eval()
with torch.no_grad():
    mixed = adapted(input_ids=ids, adapter_names=[*asked]).logits
    alone = []
    for number, name in enumerate(asked):
        adapted.set_adapter(name)
        alone.append(adapted(input_ids=ids).logits[number])
lk.claim("C53", measured=(mixed - torch.stack(alone)).abs().max().item())

# %%
lk.quiz("qlora", when="during", segment="adapters")

# %% [markdown]
# ## What you keep

# %% tags=["nbval-ignore-output"]
kept = {
    "lab": "07",
    "recipe": recipe.name,
    "hash": recipe.hash,
    "note": "subtraction, over a base in NF4",
}
lk.progress.store().add_run(**kept, score=score.share, low=score.low, high=score.high)
lk.my_runs()

# %% [markdown]
# Four questions to end with.

# %%
lk.quiz("qlora", when="after")

# %% [markdown]
# Next is lab 08, the *capstone*: you choose everything yourself, and defend a number.
#
# ## Further
#
# ### What became of the base's own text
#
# The score of section 2 asks about subtraction alone. What became of the rest? Here is the loss on text like the base's
# own: of the reduced base before anything is trained, and after an adapter was trained over it (mean of eight seeds).

# %% labkit={"rtol": 0.02}
text = lk.runs.text_rows("held out", 48, tokenizer)
print("nats on the base's own text      before   after")
for name, bits in (("as it is", None), ("4 bits", 4), ("3 bits", 3), ("2 bits", 2)):
    reduced, _ = lk.models.load(device="cpu")
    if bits is not None:
        lk.models.keep_bits(reduced, bits)
    before = lk.training.evaluate(reduced, text, pad=tokenizer.pad_token_id)
    record = lora if bits is None else lk.runs.best(f"bits-{bits}-*")
    after = lk.runs.interval([outcome.text_loss for outcome in record.outcomes])
    print(
        f"{name:<32}{before:7.2f}{after.mean:8.2f}  ({after.low:.2f} to {after.high:.2f})"
    )

# %% [markdown]
# Before the training, three bits cost this base next to nothing, and two bits ruin it: an adapter over the ruin learns
# only a part of the skill, 16% right against 59%. After the training the base's own text is hurt more the fewer bits
# there are, where four bits still make no difference. How many are needed depends on the model, so the control is worth
# its runs with yours. (The kit's own levels are rounded once and kept in float32. LoRA over three bits is *above* LoRA
# here, by 8.7 points, with an interval that just includes 0: no advice.)
#
# ### Small models
#
# This kit's base has 2.2 million numbers. How much of LoRA's peak does QLoRA save on it, in a step with 16 rows of 64
# tokens?

# %% labkit={"rtol": 0.1}
tiny = lk.memory.sizes(lk.architectures.read(lk.models.BASE))
ids = torch.randint(0, 2048, (16, 64), generator=torch.Generator().manual_seed(0))
for method in ("lora", "qlora"):
    fresh, _ = lk.models.load(device="cpu", quantize="nf4" if method == "qlora" else None)
    fresh = lk.models.add_lora(fresh, rank=16, alpha=32)
    measured = lk.trace.measure(fresh, ids).peak / 1e6
    setup = lk.memory.Setup(method, batch=16, sequence=64, dtype="float32")
    planned = lk.memory.plan(tiny, setup).peak / 1e6
    print(f"{method:<6} planned {planned:.1f} MB, measured {measured:.1f} MB")

# %% [markdown]
# The frozen weights are a small part of what this base takes, so there is little that four bits could save.
#
# ### The test that finds a silent failure
#
# And now a test worth keeping. It finds a fault of a released version: on processors with AVX512-BF16, bitsandbytes
# 0.50 packs the weights anew in the first *evaluation*, for speed, and from then on the layers multiply by a function
# that has no gradient, in training too. Nothing fails. In a run of 60 steps that evaluated first, the loss was 4.64
# where it should have been 3.28. The kit closes that way when it loads a model. The test: the same batch gives the same
# gradients before an evaluation and after it.


# %%
def gradient() -> torch.Tensor:
    """Of one batch, over all trained weights."""
    part = [lk.masking.Rendered(row["input_ids"], row["labels"], 0) for row in rows[:8]]
    return lk.training.accumulated(
        adapted, [part], 0, lambda summed, counted, total: summed / total
    ).gradient


adapted.train()
first = gradient()
adapted.eval()
with torch.no_grad():
    adapted(input_ids=batch["input_ids"])
adapted.train()
print("the same gradients after an evaluation:", torch.equal(first, gradient()))

# %% [markdown]
# ### What people measured
#
# Beside what this kit's planner says of the same set-ups:


# %%
for row in lk.measurements.published():
    if row.model == "Llama-2-7B" and row.setup:
        what = f"{row.setup.method}, {row.setup.batch} × {row.setup.sequence:,} tokens"
        what += ", checkpointing" if row.setup.checkpointing else ""
        measured, planned = row.measured / 1e9, row.expected / 1e9
        print(f"{what:<38} measured {measured:5.2f} GB, planned {planned:5.2f}")

# %% [markdown]
# The planner agrees on LoRA within a tenth. On QLoRA it says too little: 10.6 for 14.1, and 4.9 for 9.3. An old version
# of the library explains 1.4 GB of the first; the rest is open. All 52 published figures, each with its error, are in
# `labkit bench memory`.
#
# ### Switching
#
# How long does it take to switch, and how long to load the base anew?

# %% tags=["nbval-ignore-output"]
import time


def milliseconds(work) -> float:
    """How long one call takes, the best of three."""

    def once() -> float:
        started = time.perf_counter()
        work()
        return time.perf_counter() - started

    return 1000 * min(once() for _ in range(3))


names = iter([*asked] * 3)
switch = milliseconds(lambda: adapted.set_adapter(next(names)))
anew = milliseconds(lambda: lk.models.load(device="cpu", quantize="nf4"))
print(f"switch to another adapter: {switch:.1f} ms; load the base anew: {anew:.0f} ms")

# %% [markdown]
# ### Adding and merging adapters
#
# Two updates of one matrix can also be *added*: PEFT's `"cat"` makes an adapter whose ΔW is exactly the sum of the two,
# each with a weight. Can the model then do both?

# %%
choices = ["both about as well", "both, worse", "one well, one worse", "both far worse"]
lk.predict(
    "qlora.sum",
    "Subtraction and almanac, added in full: the model can do …",
    choices=choices,
)

# %% tags=["nbval-ignore-output"]
sums = {}
for name, part in (("in full", 1.0), ("half of each", 0.5)):
    both = ["default", "almanac"]
    adapted.add_weighted_adapter(both, [part] * 2, name, combination_type="cat")
    adapted.set_adapter(name)
    sums[name] = [right(asked[task]) for task in both]
    print(f"{name:<14} subtraction {sums[name][0]:4.0%}, almanac {sums[name][1]:4.0%}")

# %%
full, half = sums["in full"], sums["half of each"]
kept_well = sum(after > 0.8 * before for after, before in zip(full, own))
kept_some = sum(after > 0.2 * before for after, before in zip(full, own))
place = 0 if kept_well == 2 else 2 if kept_well else 1 if kept_some == 2 else 3
lk.predict("qlora.sum", outcome=choices[place])
lk.measured("in full: share of right subtractions lost", own[0] - full[0], 0, 0.6)
lk.measured("in full: share of right almanac answers lost", own[1] - full[1], 0.3, 1)
lk.measured("half of each: share of right subtractions lost", own[0] - half[0], 0.1, 0.9)

# %% [markdown]
# Neither sum can do both. Each of the two was trained as if it were alone, and in a sum each one's ΔW is noise for the
# other. In full, the almanac's answers are nearly gone and subtraction is worse; with half of each it is the other way
# round. What works is to keep them apart, a row at a time as above, or to train one adapter on both tasks.
#
# ### Merging into four bits
#
# Lab 06 merged an adapter into a float32 base, equal to rounding. What if the base is in four bits? PEFT reads each
# matrix back, adds ΔW, and quantizes the sum again. Or people take the adapter to the base that was *not* quantized. In
# both cases it is another model than the one that was trained. The third way: read the four bits back into a model of
# 16 or 32 bits, and merge into *that*; it is as large as the base was before.

# %% tags=["nbval-ignore-output"]
import tempfile
import warnings

import transformers

transformers.logging.set_verbosity_error()  # or `dequantize` says that it does so
asked_rows = lk.runs.training_rows(questions[:80], tokenizer, recipe)
adapted.set_adapter("default")
with tempfile.TemporaryDirectory() as folder:
    adapted.save_pretrained(folder, selected_adapters=["default"])
    whole, _ = lk.models.load(device="cpu", adapter=folder)
    four_bits, _ = lk.models.load(device="cpu", quantize="nf4")
    read_back = lk.adapters.attach(lk.adapters.read(folder), four_bits.dequantize())


def logits_and_loss(model) -> tuple[torch.Tensor, float]:
    """The logits of one batch, and the loss on 80 questions that were not trained on."""
    loss = lk.training.evaluate(model, asked_rows, pad=tokenizer.pad_token_id)
    with torch.no_grad():
        return model(input_ids=batch["input_ids"]).logits, loss


trained, loss = logits_and_loss(adapted)
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # PEFT says what is measured here
    merged = adapted.merge_and_unload(adapter_names=["default"])
moved, risen = {}, {}
for name, model in {
    "merged into four bits": merged,
    "on the base in float32": whole,
    "merged into the four bits, read back": read_back.merge_and_unload(),
}.items():
    logits, after = logits_and_loss(model)
    moved[name] = ((logits - trained).norm() / trained.norm()).item()
    risen[name] = after - loss
    print(f"{name:<37} logits moved by {moved[name]:.1g}, loss {loss:.3f} → {after:.3f}")

# %%
first, second, third = moved
for name in (first, second):
    lk.measured(f"{name}: how far the logits moved", moved[name], 0.03, 0.4)
lk.measured(f"{third}: how far the logits moved", moved[third], 0, 1e-4)
lk.measured(f"{first}: how much the loss rose", risen[first], 0, 0.1)

# %% [markdown]
# The first two move the logits by about a tenth of their length, and the loss rises a little. The third, here in
# float32, is the model that was trained, up to rounding; in bfloat16 a part of the update is rounded away (lab 06).
# Score what you ship.

# %% [markdown]
# ### Exercise: the levels
#
# *Medium, 8 minutes.* With $h = 2^{bits-1}$: take $h + 1$ points evenly spaced from `offset` to ½ (`torch.linspace`),
# leave the last one out, and of the others take the quantiles, `torch.special.ndtri(points.double())`, in float32:
# these are the levels above 0. In the same way from $h$ points those below 0, turned negative. And one 0. Divide
# all of them by the largest, and sort. Fewer than 2 or more than 8 bits, and an offset that is not between ½ and 1, are
# a `ValueError`.


# %% tags=["nbval-ignore-output"]
@lk.exercise("qlora.levels")
def levels(bits: int = 4, offset: float = 0.9677083) -> np.ndarray:
    """The 2^bits levels of NormalFloat, ascending from −1 to 1 with one 0."""
    ...


# %% [markdown]
# ### Exercise: dequantize
#
# *Easy, 5 minutes.* The way back: each code's level, times its block's absmax. A code without a level, a block below 1,
# and another number of absmax than of blocks are a `ValueError`.


# %% tags=["nbval-ignore-output"]
@lk.exercise("qlora.dequantize")
def dequantize(
    codes: np.ndarray, absmax: np.ndarray, levels: np.ndarray, block: int
) -> np.ndarray:
    """The weights that the codes stand for, in float32."""
    ...


# %%
back = lk.use("qlora.dequantize")(codes, absmax, nf4, 64)
print(
    "relative error: "
    f"{np.linalg.norm(back - weight.numpy()) / np.linalg.norm(weight.numpy()):.3f}"
)

# %% [markdown]
# ### Exercise: bits per weight
#
# *Easy, 4 minutes.* 4 bits for the code, and a share of what its block keeps: an absmax in 32 bits; with double
# quantization 8 bits, and 32 more for every `block2` blocks. A block below 1 is a `ValueError`, and so is a `block2`
# below 1 with double quantization.


# %% tags=["nbval-ignore-output"]
@lk.exercise("qlora.bits_per_weight")
def bits_per_weight(block: int = 64, double: bool = False, block2: int = 256) -> float:
    """Bits per weight: the code, and its share of the constants."""
    ...


# %%
bits_checked = lk.use("qlora.bits_per_weight")
for block in (32, 64, 128, 4096):
    error = lk.quantization.relative_error(weight.numpy(), nf4, block)
    print(
        f"blocks of {block:>4}: {bits_checked(block):.3f} bits, "
        f"{bits_checked(block, double=True):.3f} with double quantization, "
        f"relative error {error:.3f}"
    )
