# %% [markdown]
# # 04 · Masking and teacher forcing
#
# **The question of this lab: what does a bad mask cost?**
#
# The loss asks for the next token at every position. The *mask* says at which positions you mean it. Get it wrong and
# nothing breaks: the loss falls, the curve looks fine, and the model is ruined. Many fine-tuning runs are
# lost here without anybody noticing.
#
# You will be able to
#
# - turn a conversation into ids and labels, and say for every token whether it carries loss;
# - distinguish the prompt's share of the tokens from its share of the gradient;
# - mask a few-shot row by hand, which no library flag does;
# - catch five silent failures with one check, and say what each costs;
# - say why training reads all positions at once and writing cannot, and what this difference does to a model.
#
# About 45 minutes, with four exercises. For every exercise you leave unsolved, the kit's own function is used. Each
# exercise's cell is tried by itself: write the helpers that you need in the same cell.

# %%
import labkit as lk  # before torch: it sets how torch's threads wait for one another

import torch

# %% [markdown]
# Your runs so far. This lab adds one, trained through your own mask.

# %% tags=["nbval-ignore-output"]
lk.my_runs()

# %% [markdown]
# ## Before you begin
#
# Two questions. Guessing is fine; the lab answers both.

# %%
lk.quiz("masking", when="before")

# %% [markdown]
# ## 1 · A conversation becomes a row
#
# The model does not know roles, only a row of tokens. A *chat template* writes the conversation as one text, with a
# token for each role and an end token after each turn. Each id has a *label*: the id itself where loss is taken, −100
# where it is not. Say the prompt is tokens 5 6 7 and the completion 8 9 1, where 1 is the end token:
#
# | | | | | | | |
# |---|---|---|---|---|---|---|
# | `input_ids` | 5 | 6 | 7 | 8 | 9 | 1 |
# | `labels` | −100 | −100 | −100 | 8 | 9 | 1 |
#
# A label is at the *same position as its token*. Token 8 is predicted from the position before it, but that is the
# library's job: it shifts the labels itself. And the end token carries loss, or the model never learns to stop.
#
# Your turn. Prompt 4 2, completion 7 1. What are the labels? And what would a model learn from −100 7 1 −100?
#
# <details><summary>The answer</summary>
#
# −100 −100 7 1. The other row was shifted by hand; the library shifts once more, so each position learns the token
# after the next one.
#
# </details>
#
# ### Exercise: labels of a completion
#
# *Easy, 4 minutes.* You get two lists of ids. Return one list, as long as both together: −100 for every token of
# the prompt, then the completion's ids. For 5 6 7 and 8 9 you should see −100, −100, −100, 8, 9.


# %% tags=["nbval-ignore-output"]
@lk.exercise("masking.completion_labels")
def completion_labels(prompt_ids: list[int], completion_ids: list[int]) -> list[int]:
    """Labels for prompt and completion: −100 where no loss is taken, else the id; not shifted."""
    ...


# %% [markdown]
# Now a real one. Below is a conversation of the kit, with the base's loss on each token in nats, −ln p, and under it
# the label. Find three things: where the labels begin, what the last label is, and where the loss is highest.

# %% labkit={"rtol": 0.02, "atol": 0.011}
completion_labels_checked = lk.use("masking.completion_labels")
model, tokenizer = lk.models.load(device="cpu")
example = next(
    e for e in lk.almanac.examples.short_mix(seed=0, train=40)[0] if e.task == "town"
)
prompt = lk.masking.prompt_ids(example, tokenizer)
ids = prompt + tokenizer(example.completion)["input_ids"] + [tokenizer.eos_token_id]
labels = completion_labels_checked(prompt, ids[len(prompt) :])
with torch.no_grad():
    logits = model(input_ids=torch.tensor([ids])).logits[0, :-1]
losses = (
    torch.nn.functional.cross_entropy(logits, torch.tensor(ids[1:]), reduction="none")
    .clamp(min=0)
    .tolist()
)
notes = ["−100" if label == -100 else f"label {label}" for label in labels]
lk.plots.tokens(
    [tokenizer.decode([id]) for id in ids],
    [None, *losses],
    "What each token costs the base",
    notes,
)

# %% [markdown]
# Two kinds of tokens have high loss. In the prompt, those that cannot be known in advance: which question, which town.
# In the completion, ` Answer`: the base knows the fact, but it does not know that the answer is due now. You want to
# teach the second kind, not the first. The mask says so.
#
# `lk.masking.render` does the same for any conversation and any template. With `max_length` it shortens the *start of
# the prompt*, never the completion.

# %%
row = lk.masking.render(example, tokenizer)
print("the same row:", row.input_ids == ids and row.labels == labels)

# %%
lk.quiz("masking", when="during", segment="labels")

# %% [markdown]
# ## 2 · Who gets the gradient?
#
# From here on we use the kit's *long mix*: the same questions, with one to five worked examples before each. Prompts
# in the wild look like that: instructions, documents, examples, and a short answer. How much of a batch is prompt?

# %%
lk.predict(
    "masking.share",
    "What share of the long mix's tokens is prompt?",
    unit="%",
    low=0,
    high=100,
)

# %%
recipe = lk.runs.named("mask-masked-0.003")
train, test = lk.runs.mix(recipe)
rows = [lk.masking.render(example, tokenizer) for example in train]
lengths = [len(row.input_ids) for row in rows]
share = lk.masking.prompt_share([row.labels for row in rows], lengths)
by_row = [row.prompt_length / len(row.input_ids) for row in rows]
print(
    f"{len(rows)} rows: {share:.1%} of the tokens are prompt (a row's share: {min(by_row):.0%} to {max(by_row):.0%})"
)

# %%
lk.predict("masking.share", outcome=round(100 * share, 1))

# %%
lk.claim("C22", measured=share)

# %% [markdown]
# So without a mask five of every six counted tokens are prompt. Does the prompt get five sixths of the *update*?
# Tokens do not pull with equal force. Split one batch's gradient $g$ into the part that comes from the prompt and the
# part that comes from the completion, $g = g_p + g_c$. "Share" can then be measured in three ways: by *projection*, the
# part of $g_p$ that lies along $g$, as a share of $g$, $\langle g_p, g \rangle / \langle g, g \rangle$, where the two shares add to one; by
# the *norms* of the two parts; by the sums of their absolute values (*L1*). Guess the first.

# %%
lk.predict(
    "masking.gradient",
    "What share of the gradient is the prompt's, by projection, without a mask?",
    unit="%",
    low=0,
    high=100,
)

# %%
batch = lk.masking.collate(rows[:16], tokenizer.pad_token_id)
real, completion = batch["attention_mask"].bool(), batch["labels"] != -100


def gradient(where: torch.Tensor) -> torch.Tensor:
    """The gradient of the loss summed over the tokens in `where`, over all weights."""
    labels = batch["input_ids"].where(where, -100)[:, 1:]
    logits = model(
        input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]
    ).logits[:, :-1]
    loss = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), labels.flatten(), reduction="sum"
    )
    return torch.cat(
        [part.flatten() for part in torch.autograd.grad(loss, list(model.parameters()))]
    )


g_prompt, g_completion = gradient(real & ~completion), gradient(completion)
g = g_prompt + g_completion
pull = (g_prompt @ g / (g @ g)).item()
lk.measured("the prompt's share by projection", pull, 0.82, 0.96)
norms, sums = (
    [part.norm(p=power).item() for part in (g_prompt, g_completion)] for power in (2, 1)
)
lk.measured("by norm", norms[0] / sum(norms), 0.66, 0.86)
lk.measured("by the sum of absolute values", sums[0] / sum(sums), 0.6, 0.82)
cosine = (g_prompt @ g_completion / (g_prompt.norm() * g_completion.norm())).item()
lk.measured("cosine of the angle between the two parts", cosine, -0.1, 0.2)

# %%
lk.predict("masking.gradient", outcome=round(100 * pull))

# %% [markdown]
# One measure puts it above its share of the tokens (83%), the two others below. So "80% of the update" is a share of
# tokens and no share of the update. All three agree that most of it is the prompt's, and it is nearly at a right angle to what
# you want. (This is the raw gradient; Adam divides it by its size, so the step is different again.) As training goes on it gets worse: once the
# answers are right, the completion barely pulls, and what is left is the noise of which question comes next.

# %%
lk.claim("C23", measured=pull)

# %% [markdown]
# ### Is it worth anything?
#
# Three ways, recorded on the long mix, 20 steps of 16: loss on the completion only, on everything, and a weight of a
# tenth on the prompt (each prompt token carries loss with a chance of a tenth, which is the same on average, and works
# with every trainer). Each is tried at four rates on two seeds, and then at its own best rate on eight seeds. First,
# what do you expect?

# %%
ways = ["masked", "a tenth", "unmasked", "no difference beyond chance"]
lk.predict("masking.best", "Which answers the most questions correctly?", choices=ways)

# %%
names = {"masked": "masked", "a tenth": "tenth", "unmasked": "unmasked"}
rates = (0.001, 0.003, 0.01, 0.03)
tried = {
    way: {rate: lk.runs.Record.load(f"mask-{name}-{rate:g}") for rate in rates}
    for way, name in names.items()
}
best = {}
for way, records in tried.items():
    two = {
        rate: (record.shares[0] + record.shares[1]) / 2
        for rate, record in records.items()
    }
    best[way] = records[max(two, key=two.get)]
    said = "  ".join(f"{rate:g}: {mean:5.1%}" for rate, mean in two.items())
    print(f"{way:<9} {said}  best: {max(two, key=two.get):g}")

# %%
lk.plots.scores(
    {way: lk.runs.pooled(record) for way, record in best.items()},
    "Masked is best, at each one's own rate",
)

# %%
differences = {
    f"masked − {way}": lk.runs.paired_difference(best["masked"], best[way])
    for way in ("a tenth", "unmasked")
}
lk.plots.differences(
    differences, "What the mask brings, seed by seed on the same questions"
)

# %%
clear = all(difference.low > 0 for difference in differences.values())
lk.predict("masking.best", outcome="masked" if clear else ways[-1])

# %%
lk.claim("C24", measured=differences["masked − unmasked"].mean)

# %% [markdown]
# Why so much? Look at which models stopped. In the long mix a worked example's answer is followed by an empty line and
# the next question. A model that trains on its prompts learns exactly that: after an answer, go on. It gets the answer
# right, and then asks itself something else.

# %%
for way, record in best.items():
    stopped = sum(outcome.score["stopped"] for outcome in record.outcomes) / len(
        record.outcomes
    )
    print(f"{way:<9} stopped after its answer: {stopped:.1%}")

# %% [markdown]
# So this is a finding about data whose prompts look like answers, and there the effect is large. On other data the
# mask may gain little; with few examples and short answers, loss on the prompt was found to *help* (*Instruction
# Tuning With Loss Over Instructions*, NeurIPS 2024). *Further* below has that case. The rule: mask, unless you have
# measured.
#
# What about your data? `labkit lint` reports the prompt's share, and more, for any file. Name yours here, or do it in a
# terminal: `labkit lint FILE.jsonl --model NAME_OR_FOLDER`.

# %% tags=["nbval-ignore-output"]
mine = None  # such as "my-data.jsonl"
if mine is not None:
    print(lk.lint.lint(mine, tokenizer))

# %%
lk.quiz("masking", when="during", segment="share")

# %% [markdown]
# ## 3 · A mask in parts
#
# Is everything in a prompt worthless? The worked examples contain perfectly good answers. Training on them too gives
# three times as many tokens to learn from, from the same rows. Only the questions are not wanted. That is a *partial
# mask*:
#
# | system | shot question | shot answer | question | answer |
# |---|---|---|---|---|
# | 3 4 | 5 6 | 7 8 | 9 | 8 1 |
# | −100 −100 | −100 −100 | 7 8 | −100 | 8 1 |
#
# No library has a flag for it, because no library knows where your shots are. You build the labels and pass them in.
# The question before the answer has a role of its own, so that it can stay masked.
#
# ### Exercise: partial labels
#
# *Easy, 5 minutes.* You get segments, a list of (role, ids) in the order of the row, and a set of roles to train on.
# Return the labels of the whole row, one flat list.


# %% tags=["nbval-ignore-output"]
@lk.exercise("masking.partial_labels")
def partial_labels(
    segments: list[tuple[str, list[int]]], train_on: set[str]
) -> list[int]:
    """The ids of the segments whose role is in `train_on`, −100 for the tokens of all others."""
    ...


# %% [markdown]
# On a row of the long mix. `lk.masking.segments` finds the parts; look at where a shot's answer ends. It has no end
# token, only an empty line, and that line belongs to the next question.

# %%
partial_labels_checked = lk.use("masking.partial_labels")
shots = min(
    (example for example in train if len(example.shots) == 1),
    key=lambda example: len(example.prompt),
)
segments = lk.masking.segments(shots, tokenizer)
for role, ids in segments:
    counted = sum(
        label != -100
        for label in partial_labels_checked([(role, ids)], {"shot answer", "answer"})
    )
    print(
        f"{role:<14}{counted:>3} of {len(ids):>3} carry loss  {tokenizer.decode(ids)!r}"
    )

# %%
answers_only = partly = 0
for example in train:
    segments = lk.masking.segments(example, tokenizer)
    answers_only += sum(
        label != -100 for label in partial_labels_checked(segments, {"answer"})
    )
    partly += sum(
        label != -100
        for label in partial_labels_checked(segments, {"shot answer", "answer"})
    )
print(f"{partly / answers_only:.2f} times as many tokens carry loss")
lk.claim("C25", measured=partly / answers_only)

# %% [markdown]
# Does it help here? Recorded, at the rate that was best for the mask, on the same questions:

# %%
partial = lk.runs.Record.load("mask-partial")
sound = lk.runs.Record.load("mask-masked-0.003")
lk.plots.differences(
    {"partial − completion only": lk.runs.paired_difference(partial, sound)},
    "Training on the shots' answers too",
)

# %% [markdown]
# A little, and always in the same direction: there is more to learn from in the same rows. It could have gone wrong. If
# the empty line after a shot had counted as part of its answer, the model would have learned to go on, as the unmasked
# one did.

# %%
lk.quiz("masking", when="during", segment="partial")

# %% [markdown]
# ## 4 · Five silent failures
#
# First the batch. Rows become one table; ids are filled up with `pad`, the attention mask with 0, the labels with
# −100. Take a row of three tokens in a batch five wide, where pad is 0:
#
# | | | | | | |
# |---|---|---|---|---|---|
# | `input_ids` | 4 | 7 | 1 | 0 | 0 |
# | `attention_mask` | 1 | 1 | 1 | 0 | 0 |
# | `labels` | −100 | 7 | 1 | −100 | −100 |
#
# ### Exercise: collate
#
# *Medium, 6 minutes.* Rows are dicts with the lists `input_ids` and `labels`. Return a dict of three tensors of type
# `torch.int64`, padded on the right. Go by *position*: a real token may have the same id as `pad`, and it counts.
# Raise a `ValueError` if there are no rows.


# %% tags=["nbval-ignore-output"]
@lk.exercise("masking.collate")
def collate(rows: list[dict], pad: int) -> dict[str, torch.Tensor]:
    """`input_ids`, `attention_mask` and `labels`: int64, rows × longest, padded on the right."""
    ...


# %%
collate_checked = lk.use("masking.collate")
plain_rows = [{"input_ids": row.input_ids, "labels": row.labels} for row in rows]
peer = lk.masking.collate(rows[:8], tokenizer.pad_token_id)
made = collate_checked(plain_rows[:8], tokenizer.pad_token_id)
print({name: tuple(table.shape) for name, table in made.items()})
print("as the kit's:", all(made[name].equal(peer[name]) for name in peer))

# %% [markdown]
# Now break it, in ways that happen to people. `lk.masking.plant` puts a fault into a sound row. Each line shows the
# labels; find what is wrong in each before you read the table.

# %%
example = next(
    e for e in lk.almanac.examples.short_mix(seed=0, train=40)[0] if e.task == "town"
)
row = lk.masking.render(example, tokenizer)
for fault in lk.masking.FAULTS:
    ids, labels = lk.masking.plant(fault, row, tokenizer)
    said = [
        "·" if label == -100 else tokenizer.decode([label]).strip()
        for label in labels[row.prompt_length - 1 :]
    ]
    print(
        f"{fault:<15}{len(ids):>3} tokens, labels from the last of the prompt on: {' '.join(said)}"
    )

# %% [markdown]
# (This row is shorter than 48 tokens, so `truncated` leaves it whole. Half of the others are longer.)
#
# | failure | how it comes about |
# |---|---|
# | `all_masked` | the mask looks for a marker that the template never writes |
# | `template` | it finds another data set's marker, here `Answer:`, and hides everything before it |
# | `truncated` | rows are cut on the right to save memory; prompts come first, so completions go |
# | `prompt_trained` | nobody masked anything: what most trainers do with plain text |
# | `late` | the mask is one token too long |
# | `shifted`, `shifted_early` | all labels are one place too late; or they were shifted by hand, and the library shifts again |
# | `no_end_token` | pad and end share an id, and padding was masked by value |
#
# One question before the numbers.

# %%
faults = ["template", "truncated", "late", "shifted", "no_end_token"]
lk.predict(
    "masking.failures", "One of these costs nothing at all here. Which?", choices=faults
)

# %% [markdown]
# The first failure, `all_masked`, shows in a single step. Whether it is loud or silent depends on the code:

# %%
hidden = torch.full_like(peer["labels"], -100)[:, 1:].flatten()
with torch.no_grad():
    logits = (
        model(input_ids=peer["input_ids"], attention_mask=peer["attention_mask"])
        .logits[:, :-1]
        .flatten(0, 1)
    )
mean = torch.nn.functional.cross_entropy(logits, hidden)
guarded = torch.nn.functional.cross_entropy(logits, hidden, reduction="sum") / max(
    (hidden != -100).sum(), 1
)
print("mean over the counted tokens:        ", mean.item())
print("sum, divided by at least one token:  ", guarded.item())

# %% [markdown]
# The second looks like the best loss you have ever seen. No weight moves, so it costs everything: the model answers as
# the base does, which in lab 00 was 0%.
#
# Five of the others are recorded runs on the short mix, 40 steps of 16, four seeds each. For the end
# token both runs start from a copy of the base that does not know its end token: its embedding was drawn at random, as
# for a token that you add to a vocabulary.

# %%
runs = {
    "sound": "sound",
    "template": "template",
    "truncated": "truncated",
    "late": "late",
    "shifted": "shifted",
}
runs |= {"end unknown, trained": "end", "no_end_token": "no-end"}
records = {name: lk.runs.Record.load(f"mask-{file}") for name, file in runs.items()}
print(f"{'':<22}{'right':>7}{'stopped':>9}{'tokens':>8}   loss: first step, last five")
for name, record in records.items():
    outcomes = record.outcomes
    mean = {
        key: sum(o.score[key] for o in outcomes) / len(outcomes)
        for key in ("share", "stopped", "tokens")
    }
    first = sum(o.history["loss"][0] for o in outcomes) / len(outcomes)
    last = sum(sum(o.history["loss"][-5:]) / 5 for o in outcomes) / len(outcomes)
    print(
        f"{name:<22}{mean['share']:>7.1%}{mean['stopped']:>9.1%}{mean['tokens']:>8.1f}   {first:.2f}, {last:.3f}"
    )

# %%
chosen = ("sound", "template", "truncated", "no_end_token")
curves = {
    name: lk.training.History.from_dict(records[name].outcome(0).history)
    for name in chosen
}
lk.plots.loss_curve(
    curves, "Four curves that all look fine; one of the runs is", y_top=1.0
)

# %%
cost = {
    name: lk.runs.paired_difference(records[name], records["sound"])
    for name in faults
    if name != "no_end_token"
}
cost["no_end_token"] = lk.runs.paired_difference(
    records["no_end_token"], records["end unknown, trained"]
)
lk.plots.differences(cost, "What each failure costs, against the same run without it")

# %%
cheapest = max(cost, key=lambda name: cost[name].mean)
lk.predict("masking.failures", outcome=cheapest)

# %% [markdown]
# Read the last column again: a low loss does not mean that a run is healthy. `template` has an easy task left, to copy
# what is already in front of it. `shifted` is asked for the token it has just read, and learns that: it starts far
# above ln V = 7.6 nats, a sign that you know from lab 00, and then falls. `late` costs nothing *here*, because the
# base would begin that sentence in the same way; do not count on it. And `no_end_token` writes its answer and cannot
# stop.
#
# ### Exercise: check a batch
#
# *Harder, 12 minutes.* One check, before the first step, catches them all. A batch holds the three tensors from above;
# `prompt_lengths` says how many real tokens of each row are prompt. Answer with the first of these, in this order,
# that *some row* has:
#
# | | what is true of the row |
# |---|---|
# | `"truncated"` | its last real token is not `end_id` |
# | `"all_masked"` | no token of it carries loss |
# | `"shifted"` | its labels are not the ids at their places, but each is the id *before* its place |
# | `"shifted_early"` | the same, but each is the id *after* its place |
# | `"prompt_trained"` | every token of its prompt carries loss |
# | `"template"` | the first two tokens of its completion carry none |
# | `"late"` | the first token of its completion carries none |
# | `"no_end_token"` | its last real token carries none |
# | `"ok"` | none of these, in any row |
#
# Real tokens are where `attention_mask` is 1. Remember that `end_id` may also be the padding, and that prompts contain
# end tokens too.


# %% tags=["nbval-ignore-output"]
@lk.exercise("masking.check_batch")
def check_batch(
    batch: dict[str, torch.Tensor], prompt_lengths: list[int], end_id: int
) -> str:
    """The first fault, in the order of the table, that some row of the batch has; else "ok"."""
    ...


# %%
check_batch_checked = lk.use("masking.check_batch")
end = tokenizer.eos_token_id
longer = [
    lk.masking.render(example, tokenizer)
    for example in lk.almanac.examples.short_mix(seed=1, train=32)[0]
]
for fault in (None, *lk.masking.FAULTS):
    planted = [
        lk.masking.plant(fault, row, tokenizer) if fault else (row.input_ids, row.labels)
        for row in longer
    ]
    made = collate_checked(
        [{"input_ids": ids, "labels": labels} for ids, labels in planted],
        tokenizer.pad_token_id,
    )
    print(
        f"{fault or 'sound':<15}→ {check_batch_checked(made, [row.prompt_length for row in longer], end)}"
    )

# %% [markdown]
# Each fault is named, and sound rows pass. `lk.masking.to_batch` has this check built in and refuses such a batch:

# %%
ids, labels = lk.masking.plant("no_end_token", row, tokenizer)
broken = lk.masking.Rendered(ids, labels, row.prompt_length, name=row.name)
try:
    lk.masking.to_batch([row, broken], tokenizer.pad_token_id, end)
except lk.data.InputError as error:
    print(error)

# %%
lk.quiz("masking", when="during", segment="failures")

# %% [markdown]
# ## 5 · Teacher forcing
#
# Your turn to train: your labels, your batch, your check, on the long mix. It is the recorded run above, at seed 0.

# %%
labels_of = [
    completion_labels_checked(
        r.input_ids[: r.prompt_length], r.input_ids[r.prompt_length :]
    )
    for r in rows
]
own_rows = [
    {"input_ids": row.input_ids, "labels": labels} for row, labels in zip(rows, labels_of)
]
checked = check_batch_checked(
    collate_checked(own_rows, tokenizer.pad_token_id),
    [row.prompt_length for row in rows],
    end,
)
print("the whole set, as one batch:", checked)

# %%
tuned = lk.models.add_lora(lk.models.load(device="cpu")[0], rank=16, alpha=32, seed=0)
history = lk.training.fit(
    tuned, own_rows, lk.runs.settings(recipe), pad=tokenizer.pad_token_id
)
score = lk.models.score(tuned, tokenizer, test[:110])
lk.measured("right answers", score.share, 0.85, 1)

# %% [markdown]
# In training the model never wrote a word. At every position it was given the *true* beginning, and asked for one
# token. That is *teacher forcing*. Because all beginnings are known in advance, all positions are computed in one
# pass; the causal mask of the attention keeps each from seeing what comes after it. Is that really the same as going
# token by token?

# %%
from itertools import islice

text = "\n".join(islice(lk.almanac.documents.documents(lk.almanac.world.build()), 5))
long_ids = torch.tensor([tokenizer(text, verbose=False)["input_ids"][:256]])
few = long_ids[:, :128]
with torch.no_grad():
    one_pass = model(input_ids=few).logits[0]
    loop = torch.stack(
        [model(input_ids=few[:, : n + 1]).logits[0, -1] for n in range(few.shape[1])]
    )
difference = (one_pass - loop).abs().max().item()
print(
    "positions with the same most likely token:",
    (one_pass.argmax(-1) == loop.argmax(-1)).sum().item(),
    "of 128",
)
lk.measured("largest difference of a logit", difference, 0, 0.001)

# %%
lk.claim("C26", measured=difference)

# %% [markdown]
# The same numbers, but not at the same cost. Writing has to go token by token, because each waits for the one before;
# with a *cache* of keys and values it at least does not have to read the beginning again. Learning needs a backward pass
# too, and whoever writes many answers writes them side by side. So compare like with like: to *learn* from some rows,
# forward and backward, and to *write* as many tokens with a cache, at three batch sizes and up to three lengths.

# %%
asked = (
    "One row of 256 tokens: how many times as long as learning from it takes writing it?"
)
lk.predict("masking.ratio", asked, unit="times", low=1, high=5000)

# %% tags=["nbval-ignore-output"]
import time


def learn(ids: torch.Tensor) -> None:
    """Forward and backward."""
    model(input_ids=ids, labels=ids).loss.backward()
    model.zero_grad()


@torch.no_grad()
def write(ids: torch.Tensor) -> None:
    """The same tokens one after the other, with a cache."""
    cache = None
    for n in range(ids.shape[1]):
        step = model(input_ids=ids[:, n : n + 1], past_key_values=cache, use_cache=True)
        cache = step.past_key_values


def seconds(work, ids: torch.Tensor) -> float:
    started = time.perf_counter()
    work(ids)
    return time.perf_counter() - started


ratios = {}
for size, lengths in ((1, (16, 64, 256)), (16, (16, 64)), (64, (16, 64))):
    for length in lengths:
        part = long_ids[:, :length].expand(size, length)
        once = min(seconds(learn, part) for _ in range(3))
        ratios[size, length] = seconds(write, part) / once
        print(f"{size:>3} rows of {length:>3} tokens: learning {1000 * once:6.0f} ms, "
              f"writing {ratios[size, length]:5.1f} times that")  # fmt: skip

# %% tags=["nbval-ignore-output"]
lk.predict("masking.ratio", outcome=round(ratios[1, 256]))

# %%
longer, wider = ratios[1, 256] / ratios[1, 16], ratios[64, 64] / ratios[1, 64]
lk.measured("the ratio at 256 tokens over that at 16, one row", longer, 0.8, 60)
lk.measured("the ratio with 64 rows over that with one, 64 tokens", wider, 0.01, 1)
lk.claim("C27", measured=ratios[1, 256])

# %% [markdown]
# One pass keeps the processor busy where the loop mostly waits, so one long answer takes some ten to twenty times as long. With
# the batch the ratio shrinks, because then the loop is busy too: 64 answers side by side take about as long to write as to
# learn from. "Orders of magnitude" is too much here. (A GPU needs a larger batch until the loop is busy; not measured here.)
#
# ### Eating its own words
#
# The cost of teacher forcing comes later. When it writes, the model goes on from *its own* words, and it was never
# shown what to do after a wrong one. Ask it in phrasings that it never saw, and compare, position by position: the true
# beginning given, or its own. Some answers are wrong from the start, because the question was misread. So look also at
# those whose first four tokens are right: do they go astray later?

# %%
asked = "First four tokens right, then left to itself: how many are right at the twelfth?"
lk.predict("masking.free", asked, unit="%", low=0, high=100)

# %%
asked = lk.almanac.examples.out_of_distribution("phrasing", 100)
far = [lk.masking.render(example, tokenizer) for example in asked]
own = lk.models.generate_ids(
    tuned,
    tokenizer,
    [row.input_ids[: row.prompt_length] for row in far],
    max_new_tokens=48,
)
truth = [row.input_ids[row.prompt_length :] for row in far]
batch = lk.masking.collate(far, tokenizer.pad_token_id)
with torch.no_grad():
    likely = (
        tuned(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])
        .logits.argmax(-1)
        .tolist()
    )
given = [likely[i][row.prompt_length - 1 :] for i, row in enumerate(far)]
steady = [i for i in range(100) if own[i][:4] == truth[i][:4]]
wrong = [i for i in range(100) if own[i] != truth[i]]
print(
    f"{len(wrong)} of 100 differ from the truth somewhere; "
    f"{len(set(wrong) - set(steady))} of these within the first four tokens"
)


def right_at(place: int, tokens: list[list[int]], rows) -> float:
    """The share of rows whose token at this place is the true one, among those that have one there."""
    there = [i for i in rows if place < len(truth[i])]
    hits = [tokens[i][place : place + 1] == truth[i][place : place + 1] for i in there]
    return sum(hits) / max(len(there), 1)


shares = {
    "given the true beginning": [right_at(n, given, range(100)) for n in range(16)],
    "its own words": [right_at(n, own, range(100)) for n in range(16)],
    "its own words, the first four right": [right_at(n, own, steady) for n in range(16)],
}
forced, free, kept_on = shares.values()
lk.measured("given the truth, tokens 9 to 16", sum(forced[8:]) / 8, 0.9, 1)
lk.measured("left to itself, tokens 9 to 16", sum(free[8:]) / 8, 0.35, 0.85)
lk.measured("the same, first four right", sum(kept_on[8:]) / 8, 0.7, 1)

# %% tags=["nbval-ignore-output"]
lk.predict("masking.free", outcome=round(100 * kept_on[11]))

# %% tags=["nbval-ignore-output"]
title = "Who begins right mostly goes on right"
figure, axes = lk.plots.figure(title, "token of the completion", "right (%)")
for number, (name, row) in enumerate(shares.items()):
    style = lk.plots.DASHES[number] + lk.plots.MARKERS[number]
    axes.plot(range(1, 17), [100 * share for share in row], style,
              color=lk.plots.COLOURS[number], label=name)  # fmt: skip
axes.set_ylim(0, 101)
axes.legend(frameon=False)
told = "; ".join(f"{name} {', '.join(f'{100 * s:.0f}' for s in row)}"
                 for name, row in shares.items())  # fmt: skip
lk.plots.show(
    figure,
    f"{title}. Right tokens in percent, at tokens 1 to 16 of the completion: {told}.",
)

# %% [markdown]
# Nearly all that differ from the truth do so within four tokens. So they did not pile up errors: either the question, in words
# that the model had never seen, was misread at once, or the answer is worded in another way. Who begins right mostly goes on
# right. So short answers say little about errors that accumulate.
#
# Now plant a mistake. Take held-out sums and other calculations, and write the true working for the model up to some
# digit. Make that digit one too high. Then let the model go on. Does it notice?

# %%
from random import Random

draw = Random(0)
prompts, spoilt, asked = [], [], []
for example in lk.almanac.examples.short_mix(seed=3, train=11, test=165)[1]:
    if example.task in ("sum", "units", "dates", "shopping"):
        row = lk.masking.render(example, tokenizer)
        written = row.input_ids[row.prompt_length :]
        working = len(
            tokenizer(example.completion.rpartition(" Answer:")[0])["input_ids"]
        )
        digits = [
            n
            for n in range(working)
            if tokenizer.decode([written[n]]).strip() in [*"012345678"]
        ]
        place = draw.choice(digits)
        text = tokenizer.decode([written[place]])
        wrong = tokenizer(text.replace(text.strip(), str(int(text) + 1)))["input_ids"]
        prompts.append(row.input_ids[: row.prompt_length + place])
        spoilt.append(prompts[-1] + wrong)
        asked.append(example)


def right(starts: list[list[int]]) -> float:
    """The share of right answers, if the model goes on from these beginnings."""
    outputs = lk.models.generate(tuned, tokenizer, starts, max_new_tokens=110)
    return sum(
        lk.data.exact_answer(text) == example.answer
        for text, example in zip(outputs, asked)
    ) / len(asked)


print(len(asked), "calculations")
lk.measured("right, going on from the true digit", right(prompts), 0.8, 1)
lk.measured("right, going on from the wrong one", right(spoilt), 0.05, 0.6)

# %% tags=["nbval-ignore-output"]
for prompt, example in list(zip(spoilt, asked))[:3]:
    start = len(lk.masking.prompt_ids(example, tokenizer))
    print(
        tokenizer.decode(prompt[start:]),
        "▸",
        lk.models.generate(tuned, tokenizer, [prompt], 110)[0],
    )
    print("   the truth:", example.completion, "\n")

# %% [markdown]
# It goes on neatly from the wrong digit, to a wrong answer that follows from it. In its training nothing was ever
# wrong, so it could not learn to correct anything. (That gap between training and writing is called *exposure bias*;
# Ranzato et al. 2016, arXiv 1511.06732.) Where it is still right, the digit was written again later, or did not matter.

# %%
lk.quiz("masking", when="during", segment="teacher_forcing")

# %% [markdown]
# ## What you keep
#
# The row of this lab: a run through your own mask.

# %% tags=["nbval-ignore-output"]
kept = {
    "lab": "04",
    "recipe": recipe.name,
    "hash": recipe.hash,
    "note": "20 steps, long prompts, my own mask",
}
lk.progress.store().add_run(**kept, score=score.share, low=score.low, high=score.high)
lk.my_runs()

# %% [markdown]
# Four questions to end with.

# %%
lk.quiz("masking", when="after")

# %% [markdown]
# Next is lab 05, *hyperparameters*: which rate, and what does my curve say?
#
# ## Further
#
# ### The switch that does nothing
#
# TRL's `SFTTrainer` has `completion_only_loss` for records with a prompt and a completion, and `assistant_only_loss`
# for messages. `lk.masking.as_trl` makes the rows that TRL 1.16 would (a test compares them on a thousand examples of
# each form). Here is the same conversation in four forms; count the tokens that carry loss.

# %%
talk = train[0].messages()
text = tokenizer.apply_chat_template(talk, tokenize=False)
forms = {
    "prompt and completion": lk.masking.as_trl(
        {"prompt": talk[:-1], "completion": talk[-1:]}, tokenizer
    ),
    "messages": lk.masking.as_trl({"messages": talk}, tokenizer),
    "messages, assistant_only_loss": lk.masking.as_trl(
        {"messages": talk}, tokenizer, assistant_only=True
    ),
    "text": lk.masking.as_trl({"text": text}, tokenizer),
}
for name, made in forms.items():
    counted = sum(label != -100 for label in made.labels)
    print(f"{name:<30} {counted:>3} of {len(made.labels)} tokens carry loss")

# %% [markdown]
# `completion_only_loss=True` changes neither of the two that carry loss everywhere, and TRL says nothing. Truncation
# is just as silent: rows are cut on the right to `max_length`, 1,024 by default, and a row that has no label left is
# dropped without a message.

# %%
unmasked = forms["messages"]
prompt_counted = sum(label != -100 for label in unmasked.labels[: rows[0].prompt_length])
lk.claim("C21", measured=prompt_counted / rows[0].prompt_length)

# %% [markdown]
# ### Where prompt loss may help
#
# Long prompts, short answers, few examples: there it was found to help. Here are 32 examples, seen ten times, both at
# the rate 0.003; recorded on four seeds.

# %%
few = {way: lk.runs.Record.load(f"mask-{way}-few") for way in ("masked", "unmasked")}
for way, record in few.items():
    print(
        f"{way:<9} {lk.runs.pooled(record).share:.1%} right on seeds {', '.join(map(str, record.shares))}"
    )
lk.plots.differences(
    {"masked − unmasked": lk.runs.paired_difference(few["masked"], few["unmasked"])},
    "The mask, with 32 examples",
)

# %% [markdown]
# Not here: these prompts teach the model to go on after an answer, however few they are. This is a finding about this
# data, at one rate. Measure your own.

# %% [markdown]
# ### Exercise: the prompt's share
#
# *Easy, with two traps, 5 minutes.* Labels come padded; `lengths` says how many of each row are real. Return the share
# of real tokens that carry no loss, over the whole batch. If there is no real token at all, raise a `ValueError`.


# %% tags=["nbval-ignore-output"]
@lk.exercise("masking.prompt_share")
def prompt_share(batch_labels: list[list[int]], lengths: list[int]) -> float:
    """The share of the batch's real tokens that carry no loss; padding counts on neither side."""
    ...


# %%
share_checked = lk.use("masking.prompt_share")
batch = lk.masking.collate(rows[:32], tokenizer.pad_token_id)
print(
    f"{share_checked(batch['labels'].tolist(), batch['attention_mask'].sum(1).tolist()):.1%} of the first batch"
)
