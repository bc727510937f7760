# %% [markdown]
# # 04 · Masking and teacher forcing
#
# **The question of this lab: what does a bad mask cost?**
#
# The loss asks for the next token at every position. The *mask* says at which positions you mean it. If it is wrong,
# nothing breaks: the loss falls and the curve looks fine.
#
# You will be able to
#
# - turn a conversation into ids and labels;
# - distinguish the prompt's share of the tokens from its share of the gradient;
# - mask a few-shot row by hand;
# - catch eight failures, most of them silent, with one check;
# - say why training computes all positions at once and writing cannot, and what this difference does to a model.
#
# About 60 minutes, with three exercises. For every exercise you leave unsolved, the kit's own function is used.

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
# Guessing is fine.

# %%
lk.quiz("masking", when="before")

# %% [markdown]
# ## 1 · A conversation becomes a row
#
# The model does not know roles, only a row of tokens. A *chat template* writes the conversation as one text, with a
# token for each role and an end token after each turn. Each id has a *label*: the id itself where loss is taken, −100
# where it is not. Here the prompt is tokens 5 6 7 and the completion 8 9 1, where 1 is the end token:
#
# | | | | | | | |
# |---|---|---|---|---|---|---|
# | `input_ids` | 5 | 6 | 7 | 8 | 9 | 1 |
# | `labels` | −100 | −100 | −100 | 8 | 9 | 1 |
#
# A label is at the *same position as its token*. Token 8 is predicted from the position before it, but the library
# takes care of that: it shifts the labels itself. And the end token carries loss, or the model never learns to stop.
#
# Your turn. Prompt 4 2, completion 7 1. What are the labels? And what would a model learn from −100 7 1 −100?
#
# <details><summary>The answer</summary>
#
# −100 −100 7 1. The other row was shifted by hand. The library shifts once more, so each position learns the token
# after the next.
#
# </details>
#
# ### Exercise: labels of a completion
#
# *Easy, 4 minutes.* You get two lists of ids. Return one list, as long as both together: −100 for every token of the
# prompt, then the completion's ids. For 5 6 7 and 8 9 you should see −100, −100, −100, 8, 9. (Each exercise's cell is
# tried by itself: write helpers in the same cell.)


# %% tags=["nbval-ignore-output"]
@lk.exercise("masking.completion_labels")
def completion_labels(prompt_ids: list[int], completion_ids: list[int]) -> list[int]:
    """Labels for prompt and completion: −100 where no loss is taken, else the id."""
    ...


# %% [markdown]
# Now a real one: under each token the base's loss, −ln p in nats, and the label. Where do the labels begin, what is the
# last one, and where is the loss highest?

# %% labkit={"rtol": 0.02, "atol": 0.011}
completion_labels_checked = lk.use("masking.completion_labels")
model, tokenizer = lk.models.load(device="cpu")
some, _ = lk.almanac.examples.short_mix(seed=0, train=40)
example = next(example for example in some if example.task == "town")
prompt = lk.masking.prompt_ids(example, tokenizer)
ids = prompt + tokenizer(example.completion)["input_ids"] + [tokenizer.eos_token_id]
labels = completion_labels_checked(prompt, ids[len(prompt) :])
losses = lk.cross_entropy.token_losses(model, ids)
notes = ["−100" if label == -100 else f"label {label}" for label in labels]
pieces = [tokenizer.decode([id]) for id in ids]
lk.plots.tokens(pieces, losses, "What each token costs the base", notes)

# %% [markdown]
# Two kinds of tokens have high loss. In the prompt, those that nobody can know in advance: which question, which town.
# In the completion, ` Answer`: the base knows the fact, but not that the answer is due now. You want to teach only the
# second kind, and the mask says so. (`lk.masking.render` does this for any conversation and any template.)

# %%
lk.quiz("masking", when="during", segment="labels")

# %% [markdown]
# ## 2 · Who gets the gradient?
#
# From here on we use the kit's *long mix*: the same questions, with one to five worked examples before each. Real
# prompts look like that: instructions, documents, examples, and a short answer. How much of a batch is prompt?

# %%
asked = "What share of the long mix's tokens is prompt?"
lk.predict("masking.share", asked, unit="%", low=0, high=100)

# %%
recipe = lk.runs.named("mask-masked-0.003")
train, test = lk.runs.mix(recipe)
rows = [lk.masking.render(example, tokenizer) for example in train]
lengths = [len(row.input_ids) for row in rows]
share = lk.masking.prompt_share([row.labels for row in rows], lengths)
print(f"{len(rows)} rows: {share:.1%} of the tokens are prompt")

# %%
lk.predict("masking.share", outcome=round(100 * share, 1))
lk.claim("C22", measured=share)

# %% [markdown]
# So without a mask five of every six counted tokens are prompt. Does the prompt get five sixths of the *update*? Tokens
# do not pull with equal force. Split one batch's gradient into the prompt's part and the completion's part,
# $g = g_p + g_c$. Then "share" can mean three things. By *projection*: how much of $g$ is the part of $g_p$ along it,
# $\langle g_p, g \rangle / \langle g, g \rangle$; the two shares add up to one. By the *norms* of the two parts. Or by
# the sums of their absolute values (*L1*). Guess the first.

# %%
asked = "What share of the gradient is the prompt's, by projection, without a mask?"
lk.predict("masking.gradient", asked, unit="%", low=0, high=100)

# %%
batch = lk.masking.collate(rows[:16], tokenizer.pad_token_id)
parts = lk.updates.parts(model, batch)
lk.measured("the prompt's share by projection", parts.projection, 0.82, 0.96)
lk.measured("by norm", parts.norms[0] / sum(parts.norms), 0.66, 0.86)
lk.measured("by the sum of absolute values", parts.sums[0] / sum(parts.sums), 0.6, 0.82)
lk.measured("cosine of the angle between the two parts", parts.cosine, -0.1, 0.2)

# %% tags=["nbval-ignore-output"]
lk.pictures.vectors(*parts.norms, parts.cosine)

# %%
lk.predict("masking.gradient", outcome=round(100 * parts.projection))
lk.claim("C23", measured=parts.projection)

# %% [markdown]
# One measure is above the prompt's share of the tokens (83%), the two others are below. So "80% of the update" is a
# share of the tokens, not of the update. By all three most of the gradient is the prompt's, and that part is nearly at
# a right angle to what you want. (This is the raw gradient. Adam divides it by its size, so the step is different
# again.)
#
# ### Is the mask worth anything?
#
# First on data where nothing but the mask differs: questions about a short passage. Nine tenths of a row are prompt,
# the answer is bare, and no prompt holds an answer that could teach a bad habit. Three ways were recorded: loss on the
# completion only (*masked*); on everything (*unmasked*); and with *a tenth* of the weight on the prompt (each prompt
# token carries loss with a chance of a tenth, which works with every trainer). Each takes 20, 40, 80 or 160 steps of 8,
# every row once, at the best of three rates, 0.0015, 0.0045 and 0.0135 (by the loss on held-out answers), with 8 seeds.
# Is the mask faster, or better in the end?

# %%
bets = [
    "better at every length",
    "faster: ahead early, level at 160 steps",
    "slower: behind early",
    "no difference is established at any length",
]
lk.predict("masking.best", "Masked beside unmasked is …", choices=bets)

# %%
ways = {"masked": "masked", "a tenth": "tenth", "unmasked": "unmasked"}
budgets = (20, 40, 80, 160)
best = {
    (way, steps): lk.runs.best(f"budget-{name}-{steps}-*")
    for way, name in ways.items()
    for steps in budgets
}
lk.runs.summary(
    {f"{way}, {steps} steps": record for (way, steps), record in best.items()}
)
shares = {way: [lk.runs.share(best[way, steps]) for steps in budgets] for way in ways}
title = "What the mask brings, by the length of the run"
lk.plots.courses(budgets, shares, title, "steps", "right answers", x_log=True)

# %%
gain = {
    (way, steps): lk.runs.paired_difference(best["masked", steps], best[way, steps])
    for way in ("a tenth", "unmasked")
    for steps in budgets
}
for (way, steps), difference in gain.items():
    print(f"masked − {way}, {steps:>3} steps: {difference.points:+.1f} points")
ahead = [gain["unmasked", steps].low > 0 for steps in budgets]
verdict = bets[0] if all(ahead) else bets[1] if any(ahead) and not ahead[-1] else bets[3]
lk.predict("masking.best", outcome=verdict)
lk.claim("C24", measured=gain["unmasked", 160].mean)

# %% [markdown]
# All eight intervals include 0, and some are wide: on these prompts no difference is established. Look at the column
# *rate*. Where the best rate is the highest that was tried, 0.0135, a higher one might be better still. At 20 steps
# that is so for all three ways, and which would gain is open. At 40 steps it is so for *unmasked* alone, so there the
# comparison can only favour the mask. (*Further* shows what happens with one rate for both.)
#
# ### Where prompts look like answers
#
# Now the long mix, in 20 and in 40 steps of 16, each example seen once, each way at its own best of three rates, 8
# seeds. What else differs here?

# %%
long = {
    (way, steps): lk.runs.best(f"longer-{name}-{steps}-*")
    for steps in (20, 40)
    for way, name in ways.items()
}
told = {f"{way}, {steps} steps": record for (way, steps), record in long.items()}
lk.runs.summary(told, stopped=True)
for way, steps in [key for key in long if key[0] != "masked"]:
    gap = lk.runs.paired_difference(long["masked", steps], long[way, steps])
    print(f"masked − {way}, {steps} steps: {gap.points:+.1f} points")

# %% [markdown]
# After 20 steps the mask is far ahead; after 40 the lead is a third of that, and its interval includes 0. (Unmasked
# was best at the highest rate tried, so the comparison can only favour the mask.) Look at the last column. In the long
# mix a worked example's answer is followed by an empty line and the next question. A model that trains on its prompts
# learns that too: after an answer, go on. It answers, and then asks itself something else. In the short run that is up
# to 28 of the 44 points. The rest is learning more slowly, and both fade. So it matters less how long your prompts are
# than what is *in* them. Mask what your model must not write.
#
# For your own data, `labkit lint FILE.jsonl --model NAME_OR_FOLDER` in a terminal reports the prompt's share, and more.

# %%
lk.quiz("masking", when="during", segment="share")

# %% [markdown]
# ## 3 · A mask in parts
#
# Is everything in a prompt worthless? The worked examples contain perfectly good answers. Only the questions are not
# wanted. That is a *partial mask*:
#
# | system | shot question | shot answer | question | answer |
# |---|---|---|---|---|
# | 3 4 | 5 6 | 7 8 | 9 | 8 1 |
# | −100 −100 | −100 −100 | 7 8 | −100 | 8 1 |
#
# If your shots are *turns* of the conversation, libraries can do it: TRL's `assistant_only_loss` trains the shots'
# answers too, Axolotl has `message_field_training` and `segments`. For shots inside *one* prompt TRL has no flag: you
# build the labels and pass them in (an exercise under *Further*).
#
# In the long mix a shot's answer has no end token. After it comes an empty line, which belongs to the next question.
# Count what a partial mask adds:

# %%
partial_labels_checked = lk.use("masking.partial_labels")
parts = [lk.masking.segments(example, tokenizer) for example in train]
answers, both = (
    sum(label != -100 for row in parts for label in partial_labels_checked(row, roles))
    for roles in ({"answer"}, {"shot answer", "answer"})
)
print(f"{both / answers:.2f} times as many tokens carry loss")
lk.claim("C25", measured=both / answers)

# %% [markdown]
# Does it help? Recorded, at the rate that was best for the mask, on the same questions:

# %%
partial = lk.runs.Record.load("mask-partial")
masked = lk.runs.Record.load("mask-masked-0.003")
helped = lk.runs.paired_difference(partial, masked)
print(f"partial − completion only: {helped.points:+.1f} points")

# %% [markdown]
# A little: the same rows hold more to learn from. If the empty line after a shot had counted as part of its answer, the
# model could have learned to go on, as the unmasked one did.

# %%
lk.quiz("masking", when="during", segment="partial")

# %% [markdown]
# ## 4 · Silent failures
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
    """`input_ids`, `attention_mask` and `labels`: int64, rows × longest."""
    ...


# %% [markdown]
# Now break it, in ways that happen to people. `lk.masking.plant` puts a fault into a sound row. Below is one row, nine
# times, in a drawn order: each line shows the labels from the last token of the prompt to the end (· is −100). One is
# sound. Which, and what is wrong with each of the others? Decide before you open the table.

# %%
from random import Random

sound_rows = [lk.masking.render(example, tokenizer) for example in some]
row = next(row for row in sound_rows if 48 < len(row.input_ids) < 56)
for letter, fault in zip("ABCDEFGHI", Random(4).sample([None, *lk.masking.FAULTS], 9)):
    shown = lk.masking.plant(fault, row, tokenizer)[1][row.prompt_length - 1 :]
    said = ["·" if id == -100 else tokenizer.decode([id]).strip() for id in shown]
    print(letter, " ".join(said))

# %% [markdown]
# <details><summary>The table</summary>
#
# | row | failure | how it comes about |
# |---|---|---|
# | A | `template` | the mask ends at another data set's marker, here `Answer:`, and hides everything before it |
# | B | `truncated` | rows are cut on the right, here at 48 tokens, so the end of the completion is lost |
# | C | none | the sound row |
# | D | `late` | the mask is one token too long |
# | E | `no_end_token` | pad and end share an id, and padding was masked by value |
# | F | `shifted_early` | the labels were shifted by hand, and the library shifts again: the common one |
# | G | `shifted` | all labels are one place too late |
# | H | `prompt_trained` | nobody masked anything: what most trainers do with plain text |
# | I | `all_masked` | the mask looks for a marker that the template never writes |
#
# </details>
#
# Only `all_masked` is loud: no token is counted, and the loss is NaN, or exactly 0 where the code divides by at least
# one. Nothing is learned. Each of the others was recorded on the short mix, 40 steps of 16, beside the same run without
# the fault.

# %%
faults = [fault for fault in lk.masking.FAULTS if fault != "all_masked"]
asked = "How many of these seven cost nothing that the seeds can show here?"
lk.predict("masking.failures", asked, unit="of 7", low=0, high=7)

# %%
cost = {}
for fault in faults:
    later = fault in ("prompt_trained", "shifted_early", "no_end_token")
    group = "fault" if later else "mask"  # recorded in float32; in bfloat16
    record = lk.runs.Record.load(f"{group}-{fault}".replace("_", "-"))
    cost[fault] = lk.runs.paired_difference(record, lk.runs.Record.load(f"{group}-sound"))
    first, *_, last = record.outcomes[0].history["loss"]
    told = f"loss (seed 0) {first:5.2f} → {last:.3f}, right"
    print(f"{fault:<15} {told} {cost[fault].points:+.1f} points")
lk.plots.differences(cost, "What each failure costs, against the same run without it")

# %%
free = [fault for fault, difference in cost.items() if difference.high >= 0]
print("cost nothing that shows:", ", ".join(free))
lk.predict("masking.failures", outcome=len(free))

# %% [markdown]
# Read the losses again: a low loss does not mean that a run is healthy. `template` has an easy task left, to copy what
# it has just read. `no_end_token` ends as low as any, writes its answer, and cannot stop. The two shifts start far
# above ln V = 7.6: one is asked for the token that it has just read, the other for the one after the next. For
# `prompt_trained` and `late` no cost is established *here*: these prompts hold nothing that the model should not write,
# and the base begins such sentences in the same way. Do not count on it.
#
# ### Exercise: check a batch
#
# *Harder, 12 minutes.* One check, before the first step, catches them all. A batch holds the three tensors from above;
# `prompt_lengths` says how many real tokens of each row are prompt. Return the first of these, in this order, that is
# true of *some* row:
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
# Real tokens are where `attention_mask` is 1. `end_id` may also be the padding, and prompts contain end tokens too.


# %% tags=["nbval-ignore-output"]
@lk.exercise("masking.check_batch")
def check_batch(
    batch: dict[str, torch.Tensor], prompt_lengths: list[int], end_id: int
) -> str:
    """The first fault, in the table's order, that some row has; else "ok"."""
    ...


# %%
collate_checked = lk.use("masking.collate")
check_batch_checked = lk.use("masking.check_batch")
end = tokenizer.eos_token_id
prompts = [row.prompt_length for row in sound_rows]
for fault in (None, *lk.masking.FAULTS):
    planted = [lk.masking.plant(fault, row, tokenizer) for row in sound_rows]
    table = [{"input_ids": ids, "labels": labels} for ids, labels in planted]
    made = collate_checked(table, tokenizer.pad_token_id)
    print(f"{fault or 'sound':<15}→ {check_batch_checked(made, prompts, end)}")

# %% [markdown]
# Each fault is named, and sound rows pass. `lk.masking.to_batch` has this check built in and refuses such a batch.

# %%
lk.quiz("masking", when="during", segment="failures")

# %% [markdown]
# ## 5 · Teacher forcing
#
# Your turn to train, in about half a minute: your labels, your batch, your check, on the long mix. It is the masked run
# of section 2, at seed 0.

# %%
own_rows = [
    {"input_ids": ids, "labels": completion_labels_checked(ids[:start], ids[start:])}
    for ids, start in ((row.input_ids, row.prompt_length) for row in rows)
]
whole = collate_checked(own_rows, tokenizer.pad_token_id)
prompts = [row.prompt_length for row in rows]
print("the whole set, as one batch:", check_batch_checked(whole, prompts, end))

# %%
tuned = lk.models.add_lora(lk.models.load(device="cpu")[0], rank=16, alpha=32, seed=0)
settings = lk.runs.settings(recipe)
lk.training.fit(tuned, own_rows, settings, pad=tokenizer.pad_token_id)
score = lk.models.score(tuned, tokenizer, test[:110])
lk.measured("right answers", score.share, 0.85, 1)

# %% [markdown]
# In training the model never wrote a word. At every position it was given the *true* beginning, and asked for the next
# token. That is *teacher forcing*. All beginnings are known in advance, so all positions are computed in one pass; the
# causal mask of the attention keeps each from seeing what comes after it.

# %%
lk.pictures.passes(6)

# %%
pages = lk.runs.text_rows(0, 5, tokenizer)
long_ids = torch.tensor([sum((page["input_ids"] for page in pages), [])[:256]])
with torch.no_grad():
    one_pass = model(input_ids=long_ids[:, :128]).logits[0]
loop = lk.forcing.one_by_one(model, long_ids[:, :128])
difference = (one_pass - loop).abs().max().item()
lk.measured("one pass beside 128: largest difference of a logit", difference, 0, 0.001)
lk.claim("C26", measured=difference)

# %% [markdown]
# The same numbers, but not at the same cost: *Further* times both.
#
# ### Eating its own words
#
# When it writes, the model goes on from *its own* words. Plant a mistake: give it the true working of held-out
# calculations up to some digit, and make that digit one too high. Then let the model go on. Does it notice?

# %%
kinds = ("sum", "units", "dates", "shopping")
_, held_out = lk.almanac.examples.short_mix(seed=3, train=11, test=165)
calculations = [example for example in held_out if example.task in kinds]
planted = lk.forcing.plant(calculations, tokenizer)
for name, low, high in (("true", 0.8, 1), ("wrong", 0.05, 0.6)):
    starts = [each.before if name == "true" else each.wrong for each in planted]
    outputs = lk.models.generate(tuned, tokenizer, starts, max_new_tokens=110)
    pairs = zip(outputs, planted)
    right = [lk.data.exact_answer(text) == each.example.answer for text, each in pairs]
    share = sum(right) / len(right)
    lk.measured(f"right, going on from the {name} digit", share, low, high)

# %% tags=["nbval-ignore-output"]
for each, text in list(zip(planted, outputs))[:3]:
    start = len(lk.masking.prompt_ids(each.example, tokenizer))
    print(tokenizer.decode(each.wrong[start:]), "▸", text)
    print("   the truth:", each.example.completion, "\n")

# %% [markdown]
# Mostly it goes on neatly from the wrong digit, to a wrong answer that follows from it. In its training nothing was
# ever wrong, so it could not learn to correct anything. (This gap between training and writing is called *exposure
# bias*; Ranzato et al. 2016, arXiv 1511.06732.) Where it is still right, the digit was written again later, or did not
# matter.

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
# ### The end token, where the base does not know it
#
# `no_end_token` above was planted in a base that knows its end token. What if the base does not know it, like a token
# that you add to a vocabulary? Here its embedding was drawn at random. Recorded with and without the end token's loss,
# four seeds each.

# %%
unknown = {"with its loss": "mask-end", "without": "mask-no-end"}
records = {name: lk.runs.Record.load(file) for name, file in unknown.items()}
lk.runs.summary(records, stopped=True)

# %% [markdown]
# ### One rate for both
#
# With loss on everything, the answers are a small share of the mean, so the best rate is higher. If both ways get the
# rate that is best for the mask, a test of the mask is a test of the rate:

# %%
for name in ("masked", "unmasked"):
    score = lk.runs.Record.load(f"budget-{name}-40-0.0045").outcome(0).score
    print(f"{name:<9} 40 steps at 0.0045, seed 0: {score['share']:.0%} right")

# %% [markdown]
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
# `completion_only_loss=True` changes neither of the two forms that carry loss everywhere, and TRL says nothing.
# Truncation is just as silent: rows are cut on the right to `max_length`, 1,024 by default, and a row that has no label
# left is dropped without a message.

# %%
unmasked = forms["messages"]
prompt_counted = sum(label != -100 for label in unmasked.labels[: rows[0].prompt_length])
lk.claim("C21", measured=prompt_counted / rows[0].prompt_length)

# %% [markdown]
# ### Learning and writing, timed
#
# Compare two things: to *learn* from some rows, forward and backward, and to *write* as many tokens, one after the
# other. Writing has a *cache* of keys and values, so that the beginning is not read again for each token.

# %%
asked = "Writing one row of 256 tokens takes how many times as long as learning from it?"
lk.predict("masking.ratio", asked, unit="times", low=1, high=5000)

# %% tags=["nbval-ignore-output"]
ratios = {}
for size, length in ((1, 16), (1, 64), (1, 256), (16, 64), (64, 64)):
    part = long_ids[:, :length].expand(size, length)
    once = lk.forcing.seconds(lk.forcing.learn, model, part, times=3)
    ratios[size, length] = lk.forcing.seconds(lk.forcing.write, model, part) / once
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
# One pass keeps the processor busy, and the loop mostly waits: to write one long answer takes some ten to twenty times
# as long as to learn from it. With a larger batch the ratio shrinks: 64 answers side by side take about as long.
# "Orders of magnitude" is too much here. (A GPU needs a larger batch until the loop is busy; that is not measured
# here.)
#
# ### Do errors pile up?
#
# Ask your model in phrasings that it never saw. At each position, give it the true beginning, or let it go on from its
# own. Look also at the answers whose first four tokens are right: do they go wrong later?

# %%
asked = "First four tokens right, then left to itself: how many are right at the twelfth?"
lk.predict("masking.free", asked, unit="%", low=0, high=100)

# %%
asked = lk.almanac.examples.out_of_distribution("phrasing", 100)
followed = lk.forcing.follow(tuned, tokenizer, asked, most=48)
steady = followed.begun(4)
wrong = [i for i in range(100) if followed.own[i] != followed.truth[i]]
early = len(set(wrong) - set(steady))
print(f"{len(wrong)} of 100 differ from the truth somewhere; {early} within four tokens")
shares = {
    "given the true beginning": followed.right("given", 16),
    "its own words": followed.right("own", 16),
    "its own words, the first four right": followed.right("own", 16, steady),
}
for name, row in shares.items():
    low = {"given the true beginning": 0.9, "its own words": 0.35}.get(name, 0.7)
    lk.measured(f"{name}: right, tokens 9 to 16", sum(row[8:]) / 8, low, 1)

# %% tags=["nbval-ignore-output"]
lk.predict("masking.free", outcome=round(100 * followed.right("own", 16, steady)[11]))
title = "Who begins right mostly goes on right"
lk.plots.lines(range(1, 17), shares, title, "token of the completion", "share right")

# %% [markdown]
# Nearly all that differ from the truth do so within four tokens. So errors did not pile up: either the model misread
# the question, which was in words it had never seen, or it words the answer in another way. Short answers say little
# about errors that accumulate.
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
    """The ids of segments whose role is in `train_on`, −100 for all other tokens."""
    ...


# %% [markdown]
# On a row of the long mix; `lk.masking.segments` finds the parts:

# %%
with_one = [example for example in train if len(example.shots) == 1]
shortest = min(with_one, key=lambda example: len(example.prompt))
segments = lk.masking.segments(shortest, tokenizer)
for role, ids in segments:
    print(f"{role:<14}{tokenizer.decode(ids)!r}")
labels = partial_labels_checked(segments, {"shot answer", "answer"})
print("loss on:", tokenizer.decode([label for label in labels if label != -100]))

# %% [markdown]
# ### Where prompt loss may help
#
# With long prompts, short answers and few examples, loss on the prompt was found to help (*Instruction Tuning With Loss
# Over Instructions*, NeurIPS 2024). Here is that case: 64 of the passages, seen five times, each way at its own best of
# three rates, 8 seeds.

# %%
few = {way: lk.runs.best(f"few-{name}-*") for way, name in ways.items()}
lk.runs.summary(few)
for way in ("a tenth", "unmasked"):
    helped = lk.runs.paired_difference(few[way], few["masked"])
    print(f"{way} − masked: {helped.points:+.1f} points")

# %% [markdown]
# Not here. For a tenth of the weight no difference is established. Loss on everything costs many points; its interval
# is wide, and its best rate is the highest that was tried, so a higher one might cost less. This is a finding about one
# small base and 64 passages. Measure your own, each way at its own rate.

# %% [markdown]
# ### Exercise: the prompt's share
#
# *Easy, with two traps, 5 minutes.* Labels come padded; `lengths` says how many of each row are real. Return the share
# of real tokens that carry no loss, over the whole batch. If there is no real token at all, raise a `ValueError`.


# %% tags=["nbval-ignore-output"]
@lk.exercise("masking.prompt_share")
def prompt_share(batch_labels: list[list[int]], lengths: list[int]) -> float:
    """The share of the batch's real tokens that carry no loss; padding does not count."""
    ...


# %%
share_checked = lk.use("masking.prompt_share")
batch = lk.masking.collate(rows[:32], tokenizer.pad_token_id)
lengths = batch["attention_mask"].sum(1).tolist()
print(f"{share_checked(batch['labels'].tolist(), lengths):.1%} of the first batch")
