# %% [markdown]
# # 08 · Capstone
#
# **The question of this lab: what is your number, and can you defend it?**
#
# You have a pool of letters as a desk has gathered them, with everything that is wrong with such a pool; a base; and an
# afternoon. You hand in two things: an *adapter*, and a *run card* that says what you did and which score you expect.
# Then questions are drawn that nobody has seen before, and the adapter answers them.
#
# A class's board ranks by score. But a score is worth something only with its interval and with a prediction that held,
# and that is what you defend.
#
# You will be able to
#
# - take a pool of raw examples to a trained adapter on your own;
# - predict a score from what you held out, with an interval that deserves the name;
# - say which of several runs is better, and by how much that is certain;
# - find out why a prediction failed.
#
# As it stands, this notebook runs from top to bottom with simple choices and 100 steps. That is the run to beat. Change
# the cells that say *yours*. There are no exercises with a checker here; the scorer is the checker.

# %%
import labkit as lk  # before torch: it sets how torch's threads wait for one another

import dataclasses
import random
from collections import Counter


from labkit.almanac import capstone, pool

# %% [markdown]
# Everything you have so far:

# %% tags=["nbval-ignore-output"]
lk.my_runs()

# %% [markdown]
# ## Before you begin

# %%
lk.quiz("capstone", when="before")

# %% [markdown]
# ## 1 · Plan: read the pool
#
# An instructor may give you another seed. With each seed comes another pool.

# %%
POOL_SEED = 0
letters, _ = capstone.gathered(POOL_SEED)  # what is left out would tell you the faults
days = sorted(letter.date for letter in letters)
print(f"{len(letters):,} letters, from {days[0]} to {days[-1]}")
for task, count in Counter(letter.task for letter in letters).most_common():
    print(f"  {task:<12}{count:>5}")

# %% [markdown]
# Read some. Ten minutes spent here are worth more than an hour of sweeping. Change `1` and read more.

# %%
for letter in random.Random(1).sample(letters, 4):
    print(f"[{letter.date}, {letter.source}, {letter.task}]")
    print("asked: ", letter.question)
    print("answer:", letter.completion, "\n")

# %%
lk.quiz("capstone", when="during", segment="plan")

# %% [markdown]
# ## 2 · Clean and split
#
# *Yours.* `keep` says which letters are worth training on. It begins with the filters of lab 01. Are they enough? Is
# there a fault that they do not see? What do you lose by each?


# %%
def keep(letter) -> bool:
    """Whether a letter is good enough to be trained on."""
    return all(stays(letter) for stays in pool.FILTERS.values())


clean = [letter for letter in letters if keep(letter)]
print(f"{len(clean):,} of {len(letters):,} letters are kept")

# %% [markdown]
# *Yours.* What is held out tells you what to expect, and only if no near-duplicate of it is trained on (lab 01). Here
# whole clusters go to one side, and of each cluster one letter stays.

# %%
HELD_OUT = 200  # with their copies; one of each cluster is then asked
clusters = lk.almanac.mixes.clusters_of(clean)
order = random.Random(POOL_SEED).sample(range(len(clusters)), len(clusters))
share = 1 - HELD_OUT / len(clean)
train_side, held_side = lk.data.split_by_cluster(clusters, order, share)
first_of = {cluster[0] for cluster in clusters}
train = [clean[place] for place in sorted(train_side) if place in first_of]
held_out = [clean[place] for place in held_side if place in first_of]
print(f"{len(train):,} letters to train on, {len(held_out)} held out")

# %% [markdown]
# ## 3 · Rows
#
# *Yours.* Where does loss lie? Look at one row before you train on a thousand, and let `check_batch` (lab 04) look at a
# batch.

# %%
model, tokenizer = lk.models.load(device="cpu")
rows = [lk.masking.render(letter, tokenizer) for letter in train]
some = rows[:16]
batch = lk.masking.collate(some, tokenizer.pad_token_id)
found = lk.masking.check_batch(
    batch, [row.prompt_length for row in some], tokenizer.eos_token_id
)
counted = sum(label != -100 for row in rows for label in row.labels)
print("this batch:", found)
print(f"{counted / sum(len(row.input_ids) for row in rows):.0%} of all tokens carry loss")

# %% [markdown]
# ## 4 · Choose and train
#
# *Yours.* A rate, a rank, a number of steps. Choose on held-out letters, never on the scorer's questions. A sweep as in
# lab 05 (`lk.training.sweep`) takes a minute or two here.

# %%
RATE, RANK, STEPS, SEED = 6e-3, 16, 100, 0
adapted = lk.models.add_lora(model, rank=RANK, alpha=32, seed=SEED)
settings = lk.training.Settings(lr=RATE, steps=STEPS, batch_size=16, seed=SEED)
to_choose, to_predict = held_out[:60], held_out[60:120]  # never the same letters for both
followed = [lk.masking.render(letter, tokenizer) for letter in to_choose]
history = lk.training.fit(
    adapted,
    rows,
    dataclasses.replace(settings, eval_every=25),
    pad=tokenizer.pad_token_id,
    validation=followed,
)

# %% tags=["nbval-ignore-output"]
lk.plots.loss_curve(history, "My run")

# %% [markdown]
# ## 5 · Predict
#
# What do the held-out letters say?

# %%
mine = lk.models.score(adapted, tokenizer, to_predict, max_new_tokens=96)
lk.measured("right on held-out letters", mine.share, 0.3, 0.95)

# %% tags=["nbval-ignore-output"]
for task, part in mine.by_task.items():
    print(f"{task:<12} {part.correct} of {part.n}")

# %% [markdown]
# Now say what the scorer will find: 120 *new* questions. The held-out share is the beginning of an answer, not all of
# it:
#
# - 60 letters leave an interval of about ±12 points, and 120 questions another ±9. Their squares add: together ±15;
# - the mix is another: 66 of the 120 are questions about the almanac, 6 of each of eleven kinds; 30 are subtraction; 24
#   are news, and most of that news is not in your pool. Weight your shares above by these numbers;
# - one seed is one draw (lab 05). Train with another `SEED`, and see how far apart they are.
#
# *Yours.* What share of the new questions will your adapter answer rightly? Write it here, with an interval. It is part
# of what you hand in, and it is rated: whether the score lies in it, and how far from its middle.

# %%
PREDICTED = {
    "score": mine.share,
    "low": max(mine.share - 0.15, 0.0),
    "high": min(mine.share + 0.15, 1.0),
}

# %% [markdown]
# ## 6 · Hand in
#
# The adapter is saved in the form that every tool reads, with the run card beside it. Both are yours to change, and to
# send.

# %% tags=["nbval-ignore-output"]
import yaml

from labkit.live import Line

folder = lk.progress.home() / "capstone"
lk.models.save_adapter(adapted, folder)
card = {
    "name": "my first run",
    "pool_seed": POOL_SEED,
    "data": {"kept": len(train), "why": "the filters of lab 01, and one of each cluster"},
    "split": {"by": "cluster", "held_out": len(held_out)},
    "mask": "completion",
    "learning_rate": RATE,
    "seeds": [SEED],
    "curves": [[round(loss, 4) for loss in history.loss]],
    "predicted": PREDICTED,
}
(folder / "card.yaml").write_text(yaml.safe_dump(card, sort_keys=False), encoding="utf-8")
print("The adapter and its card are saved.")
Line().show(f"They are in {folder}. In a terminal: labkit score {folder}")

# %% [markdown]
# ## 7 · The score
#
# This is what `labkit score` does. It reads the adapter as *data*: a folder from a stranger can hold anything, and
# PEFT's own loader lets extra tensors replace the base's weights without a word. The scorer lays the adapter over a
# fresh base in a process of its own, and asks questions that are drawn now.

# %%
from labkit.score_command import rated, remarks, rows as table_of
from labkit.common import text_table

files = lk.adapters.read_files(folder)
rating = rated(
    files,
    lk.run_card.load(folder / "card.yaml"),
    seed=random.SystemRandom().randrange(10**9),
)

# %% tags=["nbval-ignore-output"]
print(text_table(table_of(rating)))
for remark in remarks(rating):
    print(remark)

# %%
lk.measured("right on new questions", rating.score.share, 0.3, 0.95)

# %% [markdown]
# Read it from the top. *Unseen* is your number: the pool's kinds of questions, none of which is in the pool. *Seen*
# are sound letters out of the pool itself, in its own mix, as your held-out letters are. Compare it with those: where
# it is far above, the adapter knows letters by heart. *Later* asks what is true at the end of the almanac, in three
# rows: facts that the base had read, facts from the pool's months, and facts that became true after its last day. The
# third row nobody can know: an adapter that is right there was trained on what it should not have had. *Out of
# distribution* asks in other words, about the long tail, and about a kind of question that is not in the pool.
# *Forgetting* is how much the loss on text like the base's own has risen.
#
# ## 8 · Runs that cannot be defended
#
# Recorded, on eight pools, each with its own seed: the reference (as above, with 250 steps), and three runs that look
# much the same from inside. One did not clean. One took loss on the prompts, too. And one held letters out one by one,
# without looking for near-duplicates. Each was tried at three rates; all were best at 0.006.
#
# A run on the uncleaned pool sees fewer sound letters in as many steps. So there is a control: the reference with 183
# steps, in which it sees as few.

# %%
choices = ["the one that did not clean", "the one without a mask", "both", "neither"]
lk.predict(
    "capstone.weak",
    "Which is clearly worse than the reference on new questions?",
    choices=choices,
)

# %%
kinds = {
    "reference": "capstone-reference-0.006",
    "not cleaned": "capstone-dirty-0.006",
    "no mask": "capstone-unmasked-0.006",
    "duplicates left in": "capstone-leaked",
    "cleaned, 183 steps": "capstone-shorter",
}
records = {name: lk.runs.Record.load(recorded) for name, recorded in kinds.items()}
for name, record in records.items():
    pools = len(record.outcomes)
    print(f"{name:<20} {lk.runs.share(record):.1%} right, {pools} pools")

# %%
differences = {
    f"{name} − reference": lk.runs.paired_difference(record, records["reference"])
    for name, record in records.items()
    if name != "reference"
}
lk.plots.differences(differences, "On new questions, against the reference")
beside = lk.runs.paired_difference(records["not cleaned"], records["cleaned, 183 steps"])
print(f"not cleaned − cleaned, with as many sound letters: {beside.points:+.1f} points")

# %%
worse = [
    differences[f"{name} − reference"].high < 0 for name in ("not cleaned", "no mask")
]
cases = {(True, False): 0, (False, True): 1, (True, True): 2, (False, False): 3}
lk.predict("capstone.weak", outcome=choices[cases[tuple(worse)]])

# %% [markdown]
# Without cleaning, about eleven points are lost. Nearly half of that is what the control loses as well: sound letters
# that were not seen. The rest is the bad letters' own doing. Without a mask nothing was lost that shows: prompts are
# short here, and 250 steps are enough. And the run with duplicates left in is no *worse* at all. What is wrong with it
# is something else. What did its held-out letters promise?

# %%
for name, held, scored in (
    ("clusters apart", "capstone-held-out", "capstone-reference-0.006"),
    ("letters one by one", "capstone-leaked-held-out", "capstone-leaked"),
):
    promised, got = (lk.runs.Record.load(each).shares for each in (held, scored))
    seeds = sorted(promised.keys() & got.keys())
    before, after = ([shares[seed] for seed in seeds] for shares in (promised, got))
    off = lk.runs.interval([one - other for one, other in zip(before, after)]).points
    mean_before, mean_after = sum(before) / len(seeds), sum(after) / len(seeds)
    print(
        f"{name:<18} promised {mean_before:.1%}, got {mean_after:.1%}: {off:+.1f} points"
    )

# %% [markdown]
# Held out one by one, letters with near-duplicates in the training set promise eleven points too much. No loss of score
# shows; the *number* cannot be defended. With clusters apart, the letters promise ten points too *little*. A piece of
# news whose whole cluster is held out cannot be known, and among held-out letters there is more of it than among the
# scorer's questions. That is an error on the safe side, and the reason for the weights in section 5. Of three faults,
# one costs the score, one costs nothing that shows here, and one costs your word.
#
# And what did your own `keep` leave in? Now you may look: here is what was planted, in all letters and in those that
# you kept.

# %%
_, truth = capstone.gathered(POOL_SEED)
for which, some in {"all letters": letters, "kept": clean}.items():
    print(f"{which}:", dict(Counter(truth[letter.id].kind for letter in some)))

# %%
lk.quiz("capstone", when="during", segment="report")

# %% [markdown]
# ## 9 · The report: defend it
#
# Before you hand in, answer in writing, a line each:
#
# 1. Which letters did you drop, and what would have happened with them? Did you *measure* that, or believe it?
# 2. On what was each setting chosen? How many settings did you try on those letters?
# 3. How far apart are two of your seeds? Is your best setting better than the second by more than that?
# 4. Your prediction: was it in? If not, was it the sampling, or was something wrong with what you held out?
# 5. What does the adapter do worse than the base?
#
# ## What you keep

# %% tags=["nbval-ignore-output"]
score = rating.score
note = "capstone: predicted {score:.0%}, {low:.0%} to {high:.0%}".format(**PREDICTED)
lk.progress.store().add_run(
    lab="08",
    recipe="capstone",
    hash="",
    note=note,
    score=score.share,
    low=score.low,
    high=score.high,
)
lk.my_runs()

# %% [markdown]
# Four questions to end with.

# %%
lk.quiz("capstone", when="after")

# %% [markdown]
# ## The whole chapter, measured
#
# Every claim of the chapter, with its verdict and the number that it got in these labs.

# %%
from IPython.display import Markdown

Markdown(lk.claims.table())

# %% [markdown]
# What changes with a real model is in `docs/real-models.md`. And in a few days `labkit review` will have questions for
# you.
