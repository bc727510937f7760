# %% [markdown]
# # 03 · Cross-entropy
#
# **The question of this lab: what does the loss want from my model?**
#
# One number is all that training looks at. It falls, and the model gets better. But which tokens does it push, and how
# hard? If you can say that, you read a loss curve differently, and you notice when a mean is taken over the wrong
# things.
#
# You will be able to
#
# - compute the loss of a token from its probability, and its gradient from the logits, by hand;
# - say which tokens of a real text carry the gradient, before fine-tuning and after;
# - compute the loss of a sequence: shifted, masked, and averaged over what counts;
# - accumulate a batch in parts without changing its gradient.
#
# About 60 minutes, with four exercises. For every exercise you leave unsolved, the kit's own function is used. Each
# exercise's cell is tried by itself.

# %%
import labkit as lk  # before torch: it sets how torch's threads wait for one another

import math

import numpy as np
import torch

# %% [markdown]
# Your runs so far.

# %% tags=["nbval-ignore-output"]
lk.my_runs()

# %% [markdown]
# ## Two guesses before you begin

# %%
lk.quiz("cross_entropy", when="before")

# %% [markdown]
# ## 1 · Surprise
#
# A model gives each token of its vocabulary a probability. Then the real next token, the *right* one, is shown. Only
# its probability $p$ counts: the loss is the *surprise*, $-\ln p$, measured in *nats* (the unit that goes with the
# natural logarithm).
#
# ### Exercise: the loss of a token
#
# *Easy, 3 minutes.* Return $-\ln p$ as a number; infinity (`math.inf`) for p = 0. Raise a `ValueError` if p is below 0
# or above 1. (`math`, `np` and `torch` are there; names from other cells are not.)
#
# You should see 0.105 for p = 0.9.


# %% tags=["nbval-ignore-output"]
@lk.exercise("cross_entropy.token_loss")
def token_loss(p: float) -> float:
    """−ln p in nats; infinite for p = 0; a ValueError if p is not a probability."""
    ...


# %% [markdown]
# Four values to remember:

# %%
token_loss_checked = lk.use("cross_entropy.token_loss")
for p in (0.9, 0.5, 0.1, 0.01):
    print(f"p = {p:<5} loss {token_loss_checked(p):.2f} nats")

# %%
lk.claim("C14", measured=token_loss_checked(0.01))

# %% [markdown]
# One often reads that unlikely tokens are penalized *exponentially*. Draw it, and let p fall by a factor of ten each
# time. What shape would "exponentially" have?

# %%
tenths = [10.0**-power for power in range(7)]
losses = [token_loss_checked(p) for p in tenths]
title = "The loss as the right token becomes less likely"
x = "one in how many: 1/p of the right token"
lk.plots.lines(
    [1 / p for p in tenths], {"−ln p": losses}, title, x, "loss (nats)", x_log=10
)

# %%
lk.claim("C15", measured=token_loss_checked(1e-6) / token_loss_checked(1e-3))

# %% [markdown]
# A straight line: each factor of ten costs the same 2.30 nats, and a million times less likely is only six steps worse.
# The loss grows with the *logarithm* of 1/p. And it has no upper bound, because the line goes on.
#
# Now the other way. Which saves more: to raise a token from 0.1 to 0.5, or from 0.5 to 0.9? The distance is the same.

# %%
first = token_loss_checked(0.1) - token_loss_checked(0.5)
second = token_loss_checked(0.5) - token_loss_checked(0.9)
print(f"0.1 to 0.5 saves {first:.2f} nats, 0.5 to 0.9 saves {second:.2f}")
lk.claim("C16", measured=first)

# %% [markdown]
# What counts is the ratio: five times as likely saves ln 5. So the loss is highest where a token comes that the model
# thought nearly impossible.

# %%
lk.quiz("cross_entropy", when="during", segment="surprise")

# %% [markdown]
# ## 2 · From logits
#
# A model does not give probabilities. It gives *logits*, one number $z_i$ for each token $i$ of the vocabulary, of
# any size and sign. Softmax turns them into probabilities, $p_i = e^{z_i} / \sum_j e^{z_j}$, and so the loss of the
# right token $y$ is
#
# $$-\ln p_y = \ln \sum_j e^{z_j} - z_y .$$
#
# The first term is called *log-sum-exp*. A vocabulary of three tokens, with the logits 2, 1 and 0; the right token is
# the first:

# %%
logits = np.array([2.0, 1.0, 0.0])
powers = np.exp(logits)
print("exp      ", powers.round(3), "sum", powers.sum().round(3))
print("softmax  ", (powers / powers.sum()).round(3))
print("loss of the first:", (np.log(powers.sum()) - logits[0]).round(3), "nats")

# %% [markdown]
# Written like this, it breaks as soon as logits are large. Add 1,000 to all of them: softmax is the same, because the
# factor $e^{1000}$ is in the numerator and in the denominator. What will the computer say?

# %%
with np.errstate(all="ignore"):
    naive = np.log(np.exp(logits + 1000).sum()) - (logits + 1000)[0]
print("naive: ", naive)
print("stable:", -lk.cross_entropy.log_softmax(logits + 1000)[0].round(3))

# %% [markdown]
# $e^{710}$ is more than a float can hold (in float32 $e^{89}$ is already too much). The cure uses the same fact:
# subtract the largest logit from all of them first. Then no exponent is above 0, and the sum is at least 1.

# %%
lk.quiz("cross_entropy", when="during", segment="logits")

# %% [markdown]
# ## 3 · The gradient
#
# Training does not use the loss itself. It uses its *gradient*: how the loss changes with each logit. Here it is, one
# of the simplest in all of deep learning:
#
# $$\frac{\partial L}{\partial z_i} = p_i - 1[i = y]$$
#
# $1[i = y]$ is 1 if token $i$ is the right token $y$, and 0 if it is not. So the gradient is: predicted minus target.
# (The derivative of log-sum-exp by $z_i$ is softmax, $p_i$; that of $z_y$ is $1[i = y]$.)
#
# **Worked example.** Logits 2, 1, 0 gave p = 0.665, 0.245, 0.090. The first token is right: the gradient is 0.665 − 1
# = −0.335 on its logit, 0.245 on the second, 0.090 on the third. A step *against* the gradient raises the first logit
# and lowers each of the others in proportion to its probability. The three sum to 0.
#
# **With two blanks.** The right token has p = 0.8. Its loss is ▁ nats, and the gradient on its logit is ▁.
#
# <details><summary>The answer</summary>
#
# −ln 0.8 = 0.22 nats, and 0.8 − 1 = −0.2.
#
# </details>
#
# **Alone.** The right token has p = 0.5. What are its loss and its gradient? And which does a step move more, this
# token or the one at 0.8?
#
# <details><summary>The answer</summary>
#
# 0.69 nats and −0.5. The token at 0.5 moves more: its gradient is two and a half times as large.
#
# </details>
#
# Now do as many as you like. Each problem has new numbers; a wrong answer is explained.

# %%
lk.explorers.drill()

# %% [markdown]
# ### Exercise: the gradient on the logits
#
# *Medium, 6 minutes.* You get the logits of one position, an array of the vocabulary's size, and the id of the right
# token. Return the gradient, an array of the same shape as the logits. It must be right for logits of 10,000 too.
# Raise a `ValueError` for a target that is not an id of the vocabulary, and remember that Python counts negative
# indices from the end.
#
# You should see −0.335, 0.245, 0.090.


# %% tags=["nbval-ignore-output"]
@lk.exercise("cross_entropy.logit_gradient")
def logit_gradient(logits: np.ndarray, target: int) -> np.ndarray:
    """Softmax minus one-hot, (vocabulary,); a ValueError for a target outside it."""
    ...


# %% [markdown]
# Three ways to the same gradient: by the formula; by *finite differences*, which move one logit a little and look at
# the loss; and by autograd, which trains every model.

# %%
gradient_checked = lk.use("cross_entropy.logit_gradient")
by_formula = gradient_checked(logits, 0)
step = 1e-6
moved = [
    lk.cross_entropy.log_softmax(logits + step * one_hot)[0] for one_hot in np.eye(3)
]
by_difference = -(np.array(moved) - lk.cross_entropy.log_softmax(logits)[0]) / step
leaf = torch.tensor(logits, requires_grad=True)
torch.nn.functional.cross_entropy(leaf[None], torch.tensor([0])).backward()
for name, found in (
    ("formula", by_formula),
    ("differences", by_difference),
    ("autograd", leaf.grad.numpy()),
):
    print(f"{name:<12}", *(f"{value:.3f}" for value in found))

# %%
lk.claim("C17", measured=abs(by_formula - leaf.grad.numpy()).max())

# %% [markdown]
# All in one picture. The loss goes up without limit; the gradient never gets larger than 1. However wrong the model
# was, one token can pull on its logit only so hard. And the better the model knows a token, the less it is pushed: the
# update scales itself.

# %%
places = np.linspace(0.01, 1, 100)
title = "The loss has no bound, the gradient on the right logit never passes 1"
drawn = {
    "loss, −ln p": [token_loss_checked(p) for p in places],
    "size of the gradient on its logit, 1 − p": 1 - places,
}
x = "probability p of the right token"
lk.plots.lines(places, drawn, title, x, "nats; no unit")

# %%
pulls = {}
for p in (0.95, 0.8, 0.1):
    pulls[p] = gradient_checked(np.log([p, 1 - p]), 0)[0]  # ln p is a logit too
    print(f"p = {p:<4} gradient on the right logit {pulls[p]:.2f}")
lk.claim("C18", measured=token_loss_checked(0.8))
lk.claim("C20", measured=pulls[0.1] / pulls[0.95])

# %%
lk.quiz("cross_entropy", when="during", segment="gradient")

# %% [markdown]
# ## 4 · Who carries the gradient?
#
# Now a real text: a question from the almanac, with the answer that you want, read by the base before any fine-tuning.
# Under each token you see its loss, given everything that comes before it. Guess first: which tokens of the answer
# surprise it most?

# %%
model, tokenizer = lk.models.load(device="cpu")
train, test = lk.almanac.examples.short_mix(seed=0, train=640)
rows = [lk.masking.render(example, tokenizer) for example in test[:110]]


def show_answer(model, row, title):
    """The tokens of a row's answer, each with its loss."""
    losses = lk.cross_entropy.token_losses(model, row.input_ids)
    pieces = [tokenizer.decode([id]) for id in row.input_ids]
    lk.plots.tokens(
        pieces[row.prompt_length :], losses[row.prompt_length :], title, top=5
    )


print(test[0].prompt)

# %% labkit={"rtol": 0.05, "atol": 0.05}
show_answer(model, rows[0], "What each token of the answer costs the base")

# %% [markdown]
# The base is surprised at the form, not at the fact. Most of the loss is on one token, the word *Answer*; the rest is
# on how to begin, and on ending the text here. (The loss of *Answer* is far above ln V = 7.6, the loss of a model that
# knows nothing: the base is *sure* that something else comes.)
#
# Now count over 110 answers. Each token's gradient has the size $2(1-p)$: $1-p$ on the right logit, and the same amount
# again on all the others together. (That is its L1 norm, the sum of the absolute entries.) Put the tokens into groups
# by their p. How much of the tokens, of the loss and of the gradient is in each group: for the base, after ten steps of
# fine-tuning, and after forty? Lock in your guess for ten steps.

# %%
groups = [
    "those with p below 0.5: few, and wrong",
    "those with p from 0.5 to 0.9: few, and not sure",
    "those with p above 0.9: nearly all there are",
]
asked = "After ten steps, which tokens bring most of the gradient?"
lk.predict("cross_entropy.carriers", asked, choices=groups)

# %%
edges = [0, 0.1, 0.5, 0.9, 1]
names = ["below 0.1", "0.1–0.5", "0.5–0.9", "above 0.9"]


def shares(losses):
    """For each bin of p: its share of the tokens, of the loss, of the gradient."""
    table = np.array(lk.cross_entropy.by_probability(losses, edges))
    return table / table.sum(axis=0)


before = lk.cross_entropy.counted_losses(model, rows)
shares_before = shares(before)
lk.measured("loss of the base, nats a token", np.mean(before), 0.40, 0.52)
lk.measured("before, p below 0.1: share of the tokens", shares_before[0, 0], 0.02, 0.05)
lk.measured("before, p below 0.1: share of the loss", shares_before[0, 1], 0.80, 0.95)
lk.measured("before, p below 0.1: share of the gradient", shares_before[0, 2], 0.45, 0.65)

# %% [markdown]
# Three or four tokens in a hundred bring most of the loss, and about half of the gradient: before fine-tuning the
# worst dominate. Now fine-tune: ten steps, and then, from the base again, forty. It takes about half a minute.

# %%
examples = [lk.masking.render(example, tokenizer) for example in train]
after = {}
for steps in (10, 40):
    tuned = lk.models.add_lora(lk.models.load(device="cpu")[0], rank=16, alpha=32, seed=0)
    settings = lk.training.Settings(steps=steps, batch_size=16, lr=3e-3)
    lk.training.fit(tuned, examples, settings, pad=tokenizer.pad_token_id)
    after[steps] = shares(lk.cross_entropy.counted_losses(tuned, rows))
score = lk.models.score(tuned, tokenizer, test[:55])
lk.measured("right answers after 40 steps", score.share, 0.7, 1)
tokens, _, gradients = after[10].T
bins = [sum(gradients[:2]), gradients[2], gradients[3]]
lk.measured("10 steps, p below 0.5: share of the tokens", sum(tokens[:2]), 0, 0.02)
lk.measured("10 steps, p below 0.5: share of the gradient", bins[0], 0.02, 0.4)
lk.measured("10 steps, p from 0.5 to 0.9: share of the tokens", tokens[2], 0.005, 0.05)
lk.measured("10 steps, p from 0.5 to 0.9: share of the gradient", bins[1], 0.3, 0.75)
lk.measured("10 steps, p above 0.9: share of the tokens", tokens[3], 0.93, 1)
lk.measured("10 steps, p above 0.9: share of the gradient", bins[2], 0.15, 0.35)

# %% tags=["nbval-ignore-output"]
lk.predict("cross_entropy.carriers", outcome=groups[bins.index(max(bins))])

# %% labkit={"rtol": 0.1, "atol": 0.3}
show_answer(tuned, rows[0], "After forty steps nothing surprises much")

# %% tags=["nbval-ignore-output"]
title = "Who carries the gradient moves from the worst tokens to the easy ones"
states = {"before": shares_before, "10 steps": after[10], "40 steps": after[40]}
shown = {name: dict(zip(names, 100 * found[:, 2])) for name, found in states.items()}
y = "share of the whole gradient (%)"
lk.plots.bars(shown, title, "probability p of the token", y)

# %%
lk.claim("C19", measured=bins[2])

# %% [markdown]
# *The worst tokens dominate* is right for single tokens: none pulls harder than one at p near 0. The sum depends on how
# many there are of each kind, and that changes within a few steps. Before, the worst bring most. After ten steps hardly
# any wrong ones are left: about half comes from two tokens in a hundred, those that the model is not sure of, and most
# of the rest from the many easy ones. After forty, nearly all tokens are easy, and together their small pulls are most
# of the gradient.
#
# (Two limits. Norms on the logits do not simply add up in the weights, where tokens may pull against each other. And
# Adam divides by the gradient's own size, so the *step* does not shrink as the gradient does. The schedule takes care
# of that, in lab 05.)
#
# ## 5 · A sequence
#
# A row of tokens adds three things. **Shift**: the logits at place t predict the token at t + 1, so the last
# logits predict nothing, and the first token is predicted by nothing. **−100**: labels with that value are not
# counted. **Mean**: over the counted tokens, and nothing else. Three tokens in a vocabulary of three:
#
# | place | token | label | logits there | predict | |
# |---|---|---|---|---|---|
# | 0 | 0 | −100 | 2 0 0 | label 1, at place 1 | counted |
# | 1 | 1 | 1 | 0 1 0 | label 2, at place 2 | counted |
# | 2 | 2 | 2 | 0 0 3 | nothing | – |
#
# A longer row in a picture, with a prompt of three tokens:

# %%
row = ["The", "emblem", "is", "a", "hare", "<|end|>"]
lk.pictures.shift(row, counted=[False, False, False, True, True, True])

# %% [markdown]
# Back to the table. The loss: the first logits give token 1 $\ln(e^2 + 2) - 0 = 2.24$ nats, the second give token 2
# $\ln(e + 2) - 0 = 1.55$. The mean of the two is 1.90. Logits 0 0 3 would fit label 2 well, but they are at its own
# position, where the token has already been read.
#
# Your turn: the same logits, and the labels −100, −100, 2. What is the loss?
#
# <details><summary>The answer</summary>
#
# One token is counted: 1.55 nats. Divided by one, not by two or three.
#
# </details>
#
# ### Exercise: the loss of a sequence
#
# *Medium, 8 minutes.* You get `logits`, an array of shape (length, vocabulary), and `labels`, (length,), unshifted, as
# every library wants them. Return one number: shift, leave out −100, take the mean over what is counted. It must be
# right for logits of 10,000 (`np.logaddexp.reduce(row)` is log-sum-exp without overflow). Raise a `ValueError` if no
# token is counted.
#
# You should see 1.90 for the table above.


# %% tags=["nbval-ignore-output"]
@lk.exercise("cross_entropy.sequence_loss")
def sequence_loss(logits: np.ndarray, labels: np.ndarray) -> float:
    """The mean loss over the counted tokens, in nats; a ValueError if there is none."""
    ...


# %% [markdown]
# Against the library, on the first answer: your function on the logits of the base, and the loss that the model
# itself reports.

# %%
sequence_loss_checked = lk.use("cross_entropy.sequence_loss")
toy = np.array([[2.0, 0, 0], [0, 1, 0], [0, 0, 3]])
print("the table:", f"{sequence_loss_checked(toy, np.array([-100, 1, 2])):.2f}")

# %%
ids, labels = torch.tensor([rows[0].input_ids]), torch.tensor([rows[0].labels])
with torch.no_grad():
    out = model(input_ids=ids, labels=labels)
ours = sequence_loss_checked(out.logits[0].cpu().numpy(), labels[0].numpy())
print("as transformers:", math.isclose(ours, out.loss.item(), rel_tol=1e-4))

# %% [markdown]
# If no token is counted, 0 is divided by 0: there is no error, and the loss is NaN (*Further* shows what follows).

# %%
lk.quiz("cross_entropy", when="during", segment="sequence")

# %% [markdown]
# ## 6 · A batch in parts
#
# A batch that is too large for the memory is computed in parts, and the gradients are added up: *accumulation*. Two
# parts:
#
# | part | counted tokens | summed loss | mean |
# |---|---|---|---|
# | 1 | 2 | 4.0 | 2.0 |
# | 2 | 18 | 9.0 | 0.5 |
#
# Many loops take each part's mean, and then the mean of those: 1.25. Is that the loss of the batch? It has 20 tokens
# with a summed loss of 13: 0.65. In the mean of means each token of the short part weighs nine times as much as one
# of the long part.
#
# ### Exercise: accumulate
#
# *Easy, 4 minutes.* You get the summed loss and the number of counted tokens of each part. Return the mean loss of the
# batch. A part may have no counted token. Raise a `ValueError` if no part has any.


# %% tags=["nbval-ignore-output"]
@lk.exercise("cross_entropy.accumulate")
def accumulate(sums: list[float], counts: list[int]) -> float:
    """The mean loss over all counted tokens; a ValueError if there is none."""
    ...


# %% [markdown]
# Now on the model: a batch of 32 answers in four parts, once as the rows were drawn, once sorted by length, which takes
# less memory. The gradient over all 2.1 million weights is compared with that of the whole batch at once.

# %%
batch = [lk.masking.render(example, tokenizer) for example in train[:32]]
accumulate_checked = lk.use("cross_entropy.accumulate")
ways = {
    "mean of means": lambda loss, count, total: loss / count / 4,
    "divided by all": lambda loss, count, total: loss / total,
}


def gradient(parts, way):
    """The gradient summed over the parts; each part's summed loss and counted tokens."""
    return lk.training.accumulated(model, parts, tokenizer.pad_token_id, ways[way])


whole = gradient([batch], "divided by all")
loss = whole.sums[0] / whole.counts[0]
by_length = sorted(batch, key=lambda row: len(row.input_ids))
off = {}
for name, order in {"as drawn": batch, "by length": by_length}.items():
    parts = [order[start : start + 8] for start in range(0, 32, 8)]
    for way in ways:
        found = gradient(parts, way)
        off[name, way] = found.off(whole)
    same = math.isclose(accumulate_checked(found.sums, found.counts), loss, rel_tol=1e-4)
    print(f"{name}, tokens {found.counts}: the loss of the whole batch: {same}")

# %%
for name, low, high in (("as drawn", 0.05, 0.3), ("by length", 0.25, 0.6)):
    told = f"{name}, mean of means: gradient off by"
    lk.measured(told, off[name, "mean of means"], low, high)
    told = f"{name}, divided by all tokens: gradient off by"
    lk.measured(told, off[name, "divided by all"], 0, 1e-4)

# %% [markdown]
# Divided by *all* counted tokens of the batch, the parts give the gradient of the whole, up to rounding. The mean of
# means gives another gradient. To divide by all tokens, count the whole batch before its first part is computed, or sum
# the gradients and divide them once, at the end. Widely used trainers got this wrong
# until October 2024 (Hugging Face, *Fixing Gradient Accumulation*, huggingface.co/blog/gradient_accumulation); the
# kit's own `lk.training.fit` divides by all.

# %%
lk.quiz("cross_entropy", when="during", segment="accumulation")

# %% [markdown]
# ## What you keep
#
# The row of this lab: forty steps of sixteen, a quarter of what your first run saw.

# %% tags=["nbval-ignore-output"]
row = {
    "lab": "03",
    "recipe": "40 steps of 16",
    "hash": "",
    "note": "most of the loss was one word, `Answer`",
}
lk.progress.store().add_run(**row, score=score.share, low=score.low, high=score.high)
lk.my_runs()

# %% [markdown]
# ## Four questions to end with

# %%
lk.quiz("cross_entropy", when="after")

# %% [markdown]
# Next is lab 04, *masking and teacher forcing*: which tokens should count at all, and what does a bad mask cost?

# %% [markdown]
# ## Further
#
# ### Exercise: a stable log-softmax
#
# *Medium, 5 minutes.* Return ln softmax along the last axis, for an array of any number of axes. It must be right for
# logits of ±10,000.


# %% tags=["nbval-ignore-output"]
@lk.exercise("cross_entropy.log_softmax")
def log_softmax(logits: np.ndarray) -> np.ndarray:
    """ln softmax along the last axis, in the shape of the logits."""
    ...


# %% [markdown]
# ### If no token is counted
#
# 0 is divided by 0. There is no error, and the loss is NaN. Then torch's own function gives a gradient of 0, so only
# the step is lost. A mean written by hand gives a gradient of NaN, and after one such step every weight is NaN:

# %%
logits = torch.zeros(1, 5, 3, requires_grad=True)
loss = torch.nn.functional.cross_entropy(logits, torch.full((1, 3), -100))
loss.backward()
print(f"torch: {loss.item()}, its gradient {logits.grad.abs().sum().item()}")

losses, counted = torch.ones(3, requires_grad=True), torch.zeros(3)
((losses * counted).sum() / counted.sum()).backward()
print(f"by hand: a gradient of {losses.grad[0].item()}")
try:
    sequence_loss_checked(toy, np.array([1, -100, -100]))
except ValueError:
    print("yours: a ValueError")

# %% [markdown]
# ### Bits and perplexity
#
# The same loss in other units. *Bits* take the logarithm to base 2. *Perplexity*, $e^L$, says among how many equally
# likely tokens a choice would be as surprising. The mean of the losses is taken first: it is not the mean of the
# tokens' own perplexities.

# %%
for name, loss in (
    ("one of two", math.log(2)),
    ("knows nothing, V = 2048", math.log(2048)),
    ("0.46 nats", 0.46),
):
    bits, perplexity = lk.cross_entropy.bits(loss), lk.cross_entropy.perplexity(loss)
    print(f"{name:<24}{loss:>6.2f} nats {bits:>6.2f} bits, perplexity {perplexity:.2f}")

# %% [markdown]
# Tokenizers cut differently, so losses per token of two models cannot be compared. Divide by the bytes of the text
# instead.
#
# ### Label smoothing and weights
#
# Two other answers to *who carries the gradient?* **Label smoothing** spreads the share ε of the target equally over
# all tokens (Szegedy et al. 2016, arXiv 1512.00567): the gradient is 0 at about p = 1 − ε, and above that it pushes
# *back*. A **weight** of $(1-p)^2$ on each token, held fixed, makes the easy ones count even less, in the spirit of
# the focal loss (Lin et al. 2017, arXiv 1708.02002). The gradient on the right logit, in a vocabulary of 2,048:


# %%
def logits_for(p, vocabulary=2048):
    """Logits that give the first token the probability p, and the others equal shares."""
    return np.log(np.array([p, *[(1 - p) / (vocabulary - 1)] * (vocabulary - 1)]))


for p in (0.1, 0.5, 0.9, 0.99):
    plain = gradient_checked(logits_for(p), 0)[0]
    smooth = lk.cross_entropy.smoothed_gradient(logits_for(p), 0, 0.1)[0]
    weighted = (1 - p) ** 2 * plain
    print(f"p = {p:<5} plain {plain:+.3f}   smoothed with ε = 0.1 {smooth:+.3f}", end="")
    print(f"   weighted {weighted:+.4f}")

# %% [markdown]
# With smoothing, a token at 0.99 is pushed down again: the model is asked not to be sure. That suits a classifier that
# should express its doubt; for an answer that must be exact, it is not what you want.
