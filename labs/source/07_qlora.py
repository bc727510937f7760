# %% [markdown]
# # 07 · QLoRA and the choice
#
# **The question of this lab: what does a quarter of the memory cost?**
#
# An adapter is small, but it needs the whole base beside it. QLoRA keeps that base in four bits a weight. You will build
# these four bits by hand, count what they really save, and measure what they cost. Then you will plan the memory of a run
# before you start it, choose a method for a card, and put several adapters on one base.
#
# You will be able to
#
# - quantize weights to NF4 by hand, and say for which weights it is the wrong choice;
# - say why a model in four bits does not shrink four times;
# - list what fills a card during training, which part is the largest, and when;
# - choose between full fine-tuning, LoRA and QLoRA for a given card, and name what is given up;
# - switch, mix, add and merge adapters on one base.
#
# About 60 minutes, with four exercises. For every exercise that you leave unsolved, the kit's own function is used.

# %%
import labkit as lk  # before torch: it sets how torch's threads wait for one another

import numpy as np
import torch

# %% [markdown]
# Your runs so far. This lab adds one: the skill of labs 05 and 06, learned over a base in four bits.

# %% tags=["nbval-ignore-output"]
lk.my_runs()

# %% [markdown]
# ## Before you begin
#
# Two questions. Guessing is fine; the lab answers both.

# %%
lk.quiz("qlora", when="before")

# %% [markdown]
# ## 1 · Sixteen levels
#
# Four bits can name 16 different numbers, and a weight has to become one of them. Three things have to be decided: which 16
# numbers, what they are multiplied by, and which one a weight takes.
#
# In toy numbers, with 4 levels (2 bits): $-1, -\frac{1}{3}, \frac{1}{3}, 1$. A block of weights is
#
# $$w = (0.6, \; -0.3, \; 0.1, \; 0.24)$$
#
# The largest size in it is 0.6: that is the block's *absmax*, and the only number that the block keeps beside its codes.
# Divided by it, the block is $(1, -0.5, 0.17, 0.4)$. The nearest levels have the codes 3, 1, 2, 2. Read back, the block is
# $0.6 \cdot (1, -\frac{1}{3}, \frac{1}{3}, \frac{1}{3}) = (0.6, -0.2, 0.2, 0.2)$.
#
# Your turn, with the same levels: which codes does $(-0.2, 0.5, 0.3, -1)$ have, and what is read back?
#
# <details><summary>The answer</summary>
#
# The absmax is 1, so the weights stay as they are. The codes are 1, 2, 2, 0 (0.5 is nearer to $\frac{1}{3}$ than to 1), and
# $(-\frac{1}{3}, \frac{1}{3}, \frac{1}{3}, -1)$ is read back.
#
# </details>
#
# Which levels are good? Trained weights look like draws from a normal distribution: many near zero, few far out. *NormalFloat*
# (QLoRA: Dettmers et al. 2023, arXiv 2305.14314) puts its levels where such weights are: at quantiles of the normal
# distribution, so that each level gets about as many of them as the others.
#
# ### Exercise: the levels
#
# *Medium, 8 minutes.* With $h = 2^{bits-1}$: take $h$ points evenly spaced from `offset` down to ½, without ½ itself, and of each
# its quantile (`torch.special.ndtri`); these are the levels above 0. In the same way from $h - 1$ points those below 0,
# turned negative. And one 0. Divide all of them by the largest, and sort. Space the points with `torch.linspace` in
# float32, so that your table is the library's to the last bit.


# %% tags=["nbval-ignore-output"]
@lk.exercise("qlora.levels")
def levels(bits: int = 4, offset: float = 0.9677083) -> np.ndarray:
    """The 2^bits levels of NormalFloat, ascending from −1 to 1 with one 0."""
    ...


# %%
nf4 = lk.use("qlora.levels")()
print(" ".join(f"{level:.4f}" for level in nf4))

# %% [markdown]
# There are 8 levels above 0 and 7 below, because one of the sixteen is 0 itself. Near 0 they are close together.
#
# ### Exercise: quantize
#
# *Hard, 10 minutes.* `block` weights that follow one another, row after row, share an absmax; the last block may be shorter.
# Each weight divided by its block's absmax takes the nearest level; exactly in the middle between two, the lower one
# (`np.searchsorted` on the middles does that). A block of zeros has absmax 0, and the code of level 0. Weights that
# are not finite are a `ValueError`.


# %% tags=["nbval-ignore-output"]
@lk.exercise("qlora.quantize")
def quantize(
    weights: np.ndarray, levels: np.ndarray, block: int
) -> tuple[np.ndarray, np.ndarray]:
    """(codes in the shape of the weights, absmax of each block)."""
    ...


# %% [markdown]
# Now the library that everybody uses, on one of the base's own matrices. Two codes go into a byte, the first in the high four
# bits. Are your bytes the library's bytes?

# %%
import bitsandbytes.functional as library

quantize_checked = lk.use("qlora.quantize")
base, tokenizer = lk.models.load(device="cpu")
weight = base.get_submodule("model.layers.0.mlp.up_proj").weight.detach()
codes, absmax = quantize_checked(weight.numpy(), nf4, 64)
theirs, state = library.quantize_4bit(weight, blocksize=64, quant_type="nf4")
print(
    "the same bytes:",
    np.array_equal(lk.quantization.pack(codes), theirs.numpy().reshape(-1)),
)
print("the same absmax:", np.array_equal(absmax, state.absmax.numpy()))
read = lk.quantization.dequantize(codes, absmax, nf4, 64)
print(
    "the same weights read back:",
    np.array_equal(read, library.dequantize_4bit(theirs, state).numpy()),
)

# %% [markdown]
# NF4 is made for weights that are normally distributed. Its rivals: *int4*, sixteen even steps, and *FP4*, a tiny
# floating-point number. Here are four distributions, in blocks of 64. On which of them does NF4 lose?

# %%
choices = [*lk.quantization.DISTRIBUTIONS, "on none"]
lk.predict(
    "qlora.nf4_loses",
    "NF4 has a larger error than int4 on weights that are …",
    choices=choices,
)

# %%
draw = np.random.default_rng(0)
weights = {
    name: sample(draw, 200_000) for name, sample in lk.quantization.DISTRIBUTIONS.items()
}
weights["the base's own"] = weight.numpy()
tables = {"NF4": nf4, "int4": lk.quantization.INT4, "FP4": lk.quantization.FP4}
print(f"{'relative error':<22}" + "".join(f"{name:>8}" for name in tables))
for name, sample in weights.items():
    errors = [lk.quantization.relative_error(sample, table) for table in tables.values()]
    print(f"{name:<22}" + "".join(f"{error:8.3f}" for error in errors))

# %%
lk.predict("qlora.nf4_loses", outcome="uniform")

# %% [markdown]
# Where weights are spread evenly, even steps are best. With heavy tails (Student's t) all three suffer, because one large
# weight sets the absmax for its whole block. Blocks are small so that it spoils only 63 others. But every block keeps an
# absmax in 32 bits. What does that make a weight?

# %%
lk.quiz("qlora", when="during", segment="nf4")

# %%
for double in (False, True):
    small, _ = lk.models.load(device="cpu", quantize="nf4", double=double)
    paper = lk.quantization.bits_per_weight(64, double)
    counted = lk.quantization.counted_bits(small)
    print(
        f"double quantization {double!s:<6} on paper {paper:.3f} bits, counted on the base {counted:.3f}"
    )

# %% [markdown]
# *Double quantization* keeps the absmax in 8 bits, and one float32 for every 256 of them. On paper that saves 0.37 bits a
# weight. On our base it saves less, because each matrix also keeps a table of levels, once, and our matrices are small. At
# the width of a real model these tables vanish.
#
# ## 2 · What does it save, and what does it cost?
#
# Four bits instead of sixteen: a quarter. But only the linear layers are quantized. The embedding table and the output
# layer stay as they are.

# %%
lk.predict("qlora.shrinks", "Llama-3.2-1B in NF4 with double quantization: how many times smaller than in bf16?",
           unit="times", low=1, high=5)  # fmt: skip

# %%
bits = lk.quantization.bits_per_weight(64, double=True)
shrinks = {}
for name in lk.architectures.catalogue():
    empty = lk.architectures.on_meta(name)
    total = sum(parameter.numel() for parameter in empty.parameters())
    shapes = lk.lora.linear_shapes(empty)
    linear = sum(
        high * wide for layer, (high, wide) in shapes.items() if layer != "lm_head"
    )
    shrinks[name] = 16 * total / (bits * linear + 16 * (total - linear))
    print(f"{name:<14}{2 * total / 1e9:7.2f} GB in bf16, {linear / total:4.0%} of it in linear layers: "
          f"{shrinks[name]:.2f} times smaller")  # fmt: skip

# %%
lk.predict("qlora.shrinks", outcome=round(shrinks["Llama-3.2-1B"], 2))
lk.claim("C50", measured=shrinks["Llama-3.2-1B"])

# %% [markdown]
# The smaller the model, the larger the share of its embedding table, and the less there is to save.
#
# ### The cost, live
#
# Now train: the skill of lab 05, subtraction, with an adapter of rank 16 over the base in NF4. Before that, one look inside.

# %%
small, _ = lk.models.load(device="cpu", quantize="nf4")
adapted = lk.models.add_lora(small, rank=16, alpha=32, seed=0)
layer = adapted.get_submodule("base_model.model.model.layers.0.mlp.up_proj")
recipe = lk.runs.named("qlora-0.008")
train, questions = lk.runs.mix(recipe)
rows = lk.runs.training_rows(train, tokenizer, recipe)
batch = lk.masking.collate(rows[:8], tokenizer.pad_token_id)
adapted(**batch).loss.backward()
print(
    "the base's weight:",
    layer.weight.dtype,
    tuple(layer.weight.shape),
    "for",
    weight.shape,
)
print("the adapter's B: ", layer.lora_B["default"].weight.dtype)
print("its gradient:    ", layer.lora_B["default"].weight.grad.dtype)
print("the base's gradient:", layer.weight.grad)

# %% [markdown]
# The four bits are how the base is *stored*. For each multiplication a layer's weights are read back, used, and thrown
# away. Adapters and their gradients are ordinary floating-point numbers (float32 here, usually bf16 on a card).
#
# And now a test that you should know by heart, because it would have caught a fault that shipped. On processors with a
# certain instruction set (AVX512-BF16), bitsandbytes 0.50 packs the weights anew in the first *evaluation*, for speed. From
# then on the layers multiply by a function that has no gradient, in training too. Nothing fails. Everything before such
# a layer learns from a part of its gradient: in a run of 60 steps that evaluated first, the loss was 4.64 where it should have
# been 3.28. The kit switches that off when it loads a model. The test is: the same batch must give the same gradients
# before an evaluation and after it.


# %%
def gradients(model) -> torch.Tensor:
    """All gradients of one batch in a row."""
    model.zero_grad()
    model(**batch).loss.backward()
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


first = gradients(adapted)
adapted.eval()
with torch.no_grad():
    adapted(input_ids=batch["input_ids"])
adapted.train()
print("the same gradients after an evaluation:", torch.equal(first, gradients(adapted)))

# %%
adapted.zero_grad()
lk.training.fit(adapted, rows, lk.runs.settings(recipe), pad=tokenizer.pad_token_id)
score = lk.models.score(adapted, tokenizer, questions[:80], max_new_tokens=64)
lk.measured("right answers, over a base in four bits", score.share, 0.35, 0.95)

# %% [markdown]
# ### The cost, recorded
#
# One run is one seed. Recorded on the same task, eight seeds, equal steps, each at its own best rate: all weights, LoRA, and
# QLoRA. And a control. If QLoRA loses nothing, it may be that this task *cannot* show a loss. So the base was also reduced to
# three bits, and to two.

# %%
choices = ["at 4 bits", "at 3 bits", "at 2 bits", "at none of them"]
lk.predict(
    "qlora.bits_needed",
    "From which number of bits on is the skill clearly worse?",
    choices=choices,
)

# %%
kinds = {"all weights": "rate-full-*", "LoRA": "rate-lora-*", "QLoRA": "qlora-*",
         "LoRA over 4 bits": "bits-4-*", "over 3 bits": "bits-3-*", "over 2 bits": "bits-2-*"}  # fmt: skip
records = {name: lk.runs.best(pattern) for name, pattern in kinds.items()}
for name, record in records.items():
    share = lk.runs.interval(list(record.shares.values()))
    print(f"{name:<18} best at {record.recipe['lr']:g}: {share.mean:.1%} right "
          f"({share.low:.1%} to {share.high:.1%})")  # fmt: skip

# %%
differences = {f"{name} − LoRA": lk.runs.paired_difference(record, records["LoRA"])
               for name, record in records.items() if name != "LoRA"}  # fmt: skip
lk.plots.differences(
    differences, "Four bits cost nothing that shows here, two bits cost the skill"
)

# %%
lk.predict("qlora.bits_needed", outcome="at 2 bits")

# %% [markdown]
# Between LoRA and QLoRA no difference shows, and the control says that the task could have shown one: at two bits most of the
# skill is gone. Where the limit lies depends on the model. Look at what the quantized bases still know *before* anything is
# trained:

# %%
text = lk.runs.text_rows("held out", 48, tokenizer)
print(
    f"loss on the base's own text: {lk.training.evaluate(base, text, pad=tokenizer.pad_token_id):.3f} nats"
)
for bits in (4, 3, 2):
    reduced, _ = lk.models.load(device="cpu")
    lk.models.keep_bits(reduced, bits)
    print(
        f"with {bits} bits a weight: {lk.training.evaluate(reduced, text, pad=tokenizer.pad_token_id):.3f} nats"
    )

# %% [markdown]
# At three bits the base has clearly lost something, and the adapter that was trained over it has made up for it. That is the
# strength of QLoRA: the adapter is trained over the *damaged* base, and repairs what it needs. What the score does not
# ask about stays damaged.
#
# ## 3 · What fills a card?
