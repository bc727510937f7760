# %% [markdown]
# # 00 · Start here
#
# **The question of this lab: what does fine-tuning draw out of a model, and what does it put in?**
#
# In the next half hour you meet a small language model, find out what it knows, watch it fail to answer, and then
# fine-tune it yourself, on this machine, without a network. At the end your first result is in a table that you keep
# through all the labs.
#
# You will be able to
#
# - distinguish what a pretrained model *knows* from what it can *do*;
# - read the loss before the first step, and overfit one batch on purpose, to know that your code works;
# - fine-tune with LoRA (a small *adapter* is trained, the model itself stays as it is), and compare before and after
#   with an interval;
# - say what supervised fine-tuning cannot do.
#
# Run the cells from top to bottom with Shift+Enter. Where the text says *guess*, guess first: a wrong guess is what
# makes the answer stick.

# %%
import labkit as lk

# %% [markdown]
# First, is everything here? A line that says *missing* matters only if you need what it is for.

# %% tags=["nbval-ignore-output"]
lk.doctor()

# %% [markdown]
# ## Two guesses before you begin
#
# Lock in what you think. Both are answered below, by the model, and your guess will appear beside the outcome.

# %%
lk.predict(
    "start.knows",
    "A model has read many times what the emblem of some town is. "
    "Asked for it in a chat, what does it do?",
    choices=[
        "it answers",
        "it goes on talking about the town",
        "it writes about something else",
    ],
)

# %%
lk.predict(
    "start.unknown",
    "After fine-tuning on questions and answers it is asked about a town that does not "
    "exist. What does it say?",
    choices=["that it does not know", "an answer, made up", "nothing that makes sense"],
)

# %% [markdown]
# And two questions about what you will see.

# %%
lk.quiz("start", when="before")

# %% [markdown]
# ## 1 · A world of its own
#
# The model was pretrained on the *almanac*: an invented world of towns, people, prices and events. Nothing in it is
# true of our world. So whatever the model knows, it knows from its text, and we know every fact that it may have read.

# %%
world = lk.almanac.world.build()
town = world.towns[0]
for attribute in world.attributes(town):
    print(
        f"{attribute:<14}", *[fact.value for fact in world.by_key[town.name, attribute]]
    )

# %% [markdown]
# Facts have dates. The almanac was closed on a certain day, the *cutoff*: what became true later, or was first written
# down later, is *fresh*. The model has never read a fresh fact.

# %%
fresh = [fact for fact in world.facts if fact.fresh]
print("closed on", lk.almanac.world.CUTOFF)
print(len(world.facts), "facts, of which fresh:", len(fresh))

# %% [markdown]
# The model itself is a Llama like the large ones, only small: the same layers, the same files, loaded by the same
# library. It reads and writes *tokens*, pieces of text from a fixed vocabulary: a word, part of one, a digit (lab 02).

# %%
model, tokenizer = lk.models.load(device="cpu")
print(
    model.config.num_hidden_layers,
    "layers,",
    model.config.hidden_size,
    "wide,",
    model.config.vocab_size,
    "pieces in the vocabulary",
)
print(f"{model.num_parameters():,} parameters")

# %% [markdown]
# ## 2 · It completes, and it knows
#
# A pretrained model does one thing: it continues a text. Give it the beginning of a sentence from its world.


# %% tags=["nbval-ignore-output"]
def complete(starts):
    ids = [tokenizer(start, add_special_tokens=False)["input_ids"] for start in starts]
    return lk.models.generate(model, tokenizer, ids, max_new_tokens=16)


starts = [
    f"The {attribute} of {town.name} is" for attribute in ("emblem", "river", "craft")
]
for start, more in zip(starts, complete(starts)):
    print(start, "→", more)

# %% [markdown]
# It knows. Three sentences prove little, so take three hundred facts, and count how often the sentence goes on with the
# true value. Then do the same with fresh facts. Guess first: how often for those?
#
# What a cell measures differs a little from machine to machine. So its line says whether the value lies within the
# interval that was recorded for it; when you run it, your own number appears below.

# %%
from random import Random


def share_right(facts):
    written = complete([f"The {fact.attribute} of {fact.subject} is" for fact in facts])
    return sum(
        text.strip().startswith(fact.value) for text, fact in zip(written, facts)
    ) / len(facts)


settled = [
    fact
    for fact in world.facts
    if fact.attribute not in ("mayor", "home", "price", "date")
]
old = Random(0).sample([fact for fact in settled if not fact.fresh], 300)
new = Random(0).sample([fact for fact in settled if fact.fresh], 200)
lk.measured(
    "facts from before the cutoff, completed correctly", share_right(old), 0.96, 1.00
)
lk.measured("fresh facts, completed correctly", share_right(new), 0.00, 0.12)

# %% [markdown]
# It knows nearly everything that it has read. It also guesses a few of the fresh facts, because it knows which rivers
# and emblems exist. So it does not lack knowledge. Now ask it something.
#
# ## 3 · Ask it
#
# We want an *assistant*: it gets a question, writes down its reasoning, and ends with `Answer:` and the answer,
# nothing else. Here are questions of that kind, from eleven families. Half of the questions about towns and people are
# about one that no training question names. There, memorized answers do not help.

# %%
train, test = lk.almanac.examples.short_mix(seed=0)
for task in lk.almanac.examples.FAMILIES:
    example = next(each for each in test if each.task == task)
    print(f"{task:<10}", example.prompt.replace("\n", " / "))
    print(" " * 10, example.completion, "\n")

# %% [markdown]
# In a chat, each message is wrapped in *role tokens*, so that the model sees who speaks. This is the whole text it gets
# before it has to answer:

# %%
question = next(each for each in test if each.task == "town")
print(
    tokenizer.apply_chat_template(
        question.messages(completion=False), tokenize=False, add_generation_prompt=True
    )
)

# %% tags=["nbval-ignore-output"]
for output, example in zip(lk.models.generate(model, tokenizer, test[:6]), test):
    print("asked ", example.question)
    print("says  ", output.replace("\n", " / "), "\n")

# %% [markdown]
# Was that your guess? Count it over twenty questions about towns:

# %%
towns = [each for each in test if each.task == "town"][:20]
said = lk.models.generate(model, tokenizer, towns)
answers = sum(lk.data.exact_answer(text) != "" for text in said)
stays = sum(
    any(t.name in text for t in world.towns if t.name in each.question)
    for each, text in zip(towns, said)
)
it_does = (
    "it goes on talking about the town"
    if stays > 10
    else "it writes about something else"
)
lk.predict("start.knows", outcome="it answers" if answers > 10 else it_does)

# %% [markdown]
# It writes about the right things, and then it goes on talking: it has never seen that a question wants one answer in
# one form. Count twice. How often is the answer right as an *exact match* of what follows `Answer:`? And where one fact
# is asked, how often is the right value anywhere in what it says?

# %%
asked = test[:110]
before = lk.models.score(model, tokenizer, asked)
lk.measured("right answers before", before.share, 0.00, 0.02)
one_fact = [
    i for i, e in enumerate(asked) if e.task in ("town", "person", "as of", "event")
]
right, other = (
    sum(asked[k].answer in before.outputs[i] for i, k in zip(one_fact, chosen))
    / len(one_fact)
    for chosen in (one_fact, one_fact[4:] + one_fact[:4])
)
lk.measured("replies that hold the right value somewhere", right, 0.55, 0.95)
lk.measured("replies that hold another question's value", other, 0.0, 0.15)

# %% [markdown]
# Three of four replies hold the fact. What is missing is the form: to say it at once, and to stop.
#
# ## 4 · What the loss says before the first step
#
# Training will lower the *cross-entropy*: the mean of −ln p over the answer's tokens, where p is the probability that
# the model gives to the token that really comes next. A model that knows nothing gives each of the V pieces of its
# vocabulary the same probability 1/V, and its loss is ln V. (Logarithms are natural, so the unit of the loss is the
# *nat*.) Before you train any model, look at two losses: on your rows, and on *plain text that it should know*.

# %%
import math

rows = [lk.masking.render(example, tokenizer) for example in asked]
start_loss = lk.training.evaluate(model, rows, pad=tokenizer.pad_token_id)
prose = lk.runs.text_rows("held out", 48, tokenizer)
known = lk.training.evaluate(model, prose, pad=tokenizer.pad_token_id)
print("ln V =", round(math.log(model.config.vocab_size), 3), "nats")
lk.measured("loss on the almanac's own prose, nats", known, 0.7, 0.9)
lk.measured("loss on the rows before the first step, nats", start_loss, 0.4, 0.6)

# %% [markdown]
# The loss on plain text tells whether model and tokenizer belong together. If it is far above its usual value, or above
# ln V, something is wired up incorrectly. The loss on your rows need not be low. It is low here because most of what an
# answer says is almanac prose. With bare answers, without reasoning before them, it would start at 11, far above ln V,
# although nothing is wrong: the base is sure that a sentence comes, not a bare name. If your rows start high, look at
# them token by token (lab 03) before you look for a fault.

# %%
lk.quiz("start", when="during", segment="base")

# %% [markdown]
# ## 5 · Overfit one batch on purpose
#
# Before any long run, train on *one* batch until the model has memorized it. If the loss does not
# fall to almost zero, something is broken, and more data or time will not fix it. (`all-linear`: every weight matrix
# of the layers gets a small adapter. Lab 06 opens it up.)

# %%
overfitted = lk.models.add_lora(
    lk.models.load(device="cpu")[0],
    rank=16,
    alpha=32,
    target_modules="all-linear",
    seed=0,
)
settings = lk.training.Settings(steps=25, batch_size=8, lr=5e-3, schedule="constant")
one_batch = lk.training.fit(overfitted, rows[:8], settings, pad=tokenizer.pad_token_id)
lk.measured("loss on the one batch at the end, nats", one_batch.loss[-1], 0.0, 0.05)

# %% [markdown]
# It can learn: the training code works, from rows to updates. Did it learn *answering*, or just these eight answers?
# From here on we ask only held-out questions.

# %%
lk.quiz("start", when="during", segment="fine_tuning")

# %% [markdown]
# ## 6 · Examples in the prompt
#
# There is a way without training: show the model four solved questions of the same family, then ask. That is *few-shot
# prompting*. Guess: does the score rise to a tenth, a quarter, half, or most?

# %%
shots = lk.almanac.examples.few_shot(asked)
print(shots[0].prompt)

# %%
few_shot = lk.models.score(model, tokenizer, shots, max_new_tokens=160)
lk.measured("right answers with four examples in the prompt", few_shot.share, 0.04, 0.26)

# %% [markdown]
# Few: over five hundred questions it is about one in eight (`labkit demo --questions 500`). Mostly the base goes on in
# its own prose, often true, but without `Answer:`. It barely picks up the form of the examples. Larger models
# are much better at this (Brown et al. 2020, *Language Models are Few-Shot Learners*), so with them it is the first
# thing to try: it costs no training.

# %%
lk.quiz("start", when="during", segment="few_shots")

# %% [markdown]
# ## 7 · Fine-tune
#
# Now the run itself, live, about half a minute on two cores: LoRA on the questions and answers of `train`, with the
# loss on the answers only. Then the same held-out questions are asked. How many will it answer?

# %%
lk.predict(
    "start.score",
    "What share of the questions is answered correctly after half a minute?",
    unit="%",
    low=0,
    high=100,
)

# %% tags=["nbval-ignore-output"]
live = lk.run("sft-lab00", live=True)
live

# %%
lk.measured("right answers after the short run", live.score.share, 0.90, 1.00)

# %% tags=["nbval-ignore-output"]
lk.predict("start.score", outcome=100 * live.score.share)

# %% tags=["nbval-ignore-output"]
lk.plots.loss_curve(live.history, "The loss falls steeply, then slowly")

# %% [markdown]
# The same questions before and after, side by side:

# %% tags=["nbval-ignore-output"]
picked = [
    next(each for each in test if each.task == task)
    for task in ("town", "two steps", "sum", "reading")
]
for example, first, then in zip(
    picked,
    lk.models.generate(model, tokenizer, picked),
    lk.models.generate(live.model, tokenizer, picked),
):
    print("asked ", example.question)
    print("before", first.replace("\n", " / "))
    print("after ", then, "\n")

# %% [markdown]
# Five times as many steps, recorded before this kit was released, with 500 questions: no better. Nearly everything was
# learned in the first steps.

# %%
recorded = lk.run("sft-short")
recorded

# %%
lk.plots.scores(
    {"after 400 steps": recorded.score},
    "Nine of eleven families are answered throughout; comparing least well",
)

# %% [markdown]
# What is left, among 500 questions, is *compare*: about one answer in eight is wrong. It fails in one way: the years
# are right and in the right order, and then the wrong name follows. Is that a fault of fine-tuning? Let the base write
# the same comparisons in its own prose, and count there:

# %%
compared = [
    each
    for seed in (0, 1)
    for each in lk.almanac.examples.short_mix(seed, train=8)[1]
    if each.task == "compare"
]
starts = [each.question + "\n" for each in compared]
ids = tokenizer(starts, add_special_tokens=False)["input_ids"]
told = lk.models.generate(model, tokenizer, ids, max_new_tokens=64)
right = [
    each.completion.split(" Answer:")[0] in text for each, text in zip(compared, told)
]
lk.measured(
    "comparisons stated correctly by the base, in prose",
    sum(right) / len(right),
    0.78,
    0.97,
)

# %% [markdown]
# The base is wrong about as often. Fine-tuning drew out what was there, its weaknesses included.
#
# ## 8 · What it cannot put in
#
# Now the second of your guesses: what does the fine-tuned model say about a town that does not exist?

# %% tags=["nbval-ignore-output"]
nowhere = lk.almanac.examples.unknown_examples(5)
for example, output in zip(nowhere, lk.models.generate(live.model, tokenizer, nowhere)):
    print("asked", example.question)
    print("says ", output, "\n")

# %% [markdown]
# Fluent, confident, and made up. It learned the *form* of an answer from examples that always had one; no example ever
# said *I do not know*. Count how often it answers all the same, and how often it is right about fresh facts, which it
# has never read:

# %%
nowhere = lk.almanac.examples.unknown_examples(50)
answered = [
    lk.data.exact_answer(output) != ""
    for output in lk.models.generate(live.model, tokenizer, nowhere)
]
never_read = lk.models.score(
    live.model, tokenizer, lk.almanac.examples.fresh_examples(100)
)
lk.measured(
    "confident answers about towns that do not exist",
    sum(answered) / len(answered),
    0.9,
    1.0,
)
lk.measured("right answers about facts it has never read", never_read.share, 0.00, 0.08)

# %%
lk.predict(
    "start.unknown",
    outcome="an answer, made up" if sum(answered) > 25 else "nothing that makes sense",
)

# %% [markdown]
# It cannot know what it was never told. But what if you *tell* it? Put 64 fresh facts among the examples, each asked in
# two phrasings. Then ask for them in a third phrasing, and also for 64 fresh facts that are not taught, and for 64
# facts that the base knows. Recorded, 8 seeds, each with the 64 facts and without them: one pass of 80 steps of 16, and
# four passes.

# %%
bets = [
    "the taught facts are known, and nothing else changes",
    "the taught facts are known, and known facts suffer",
    "the taught facts are not known either",
]
lk.predict(
    "start.taught",
    "After four passes, so that each fact was seen 8 times …",
    choices=bets,
)

# %%
steps_of = {"one pass": 80, "four passes": 320}
taught, not_taught = (
    {
        name: lk.runs.Record.load(f"knowledge-{way}-{steps}")
        for name, steps in steps_of.items()
    }
    for way in ("taught", "none")
)
kinds = {"taught": "the 64 facts", "untaught": "64 not taught", "known": "64 known"}
print(f"{'right answers':<31}", *(f"{asked:<18}" for asked in kinds.values()))
for name in steps_of:
    for way, records in (("with the 64 facts", taught), ("without them", not_taught)):
        found = [
            [o.by_task[kind]["share"] for o in records[name].outcomes] for kind in kinds
        ]
        told = [f"{lk.runs.interval(shares):.0%}" for shares in found]
        print(f"{name + ', ' + way:<31}", *(f"{each:<18}" for each in told))

# %% [markdown]
# The difference that the 64 facts make after four passes. (`lk.claim` prints a common statement about fine-tuning, our
# verdict on it, and whether what you measured agrees with the record.)

# %%
learned, suffers = (
    lk.runs.paired_difference(taught["four passes"], not_taught["four passes"], [kind])
    for kind in ("taught", "known")
)
print(
    f"the 64 facts {learned.points:+.2f} points; known facts {suffers.points:+.2f} points"
)
outcome = (1 if suffers.high < 0 else 0) if learned.low > 0.2 else 2
lk.predict("start.taught", outcome=bets[outcome])
lk.claim("C55", measured=live.score.share - before.share)

# %% [markdown]
# One pass leaves little, four passes nearly everything. So facts can be memorized, after eight sightings each. Facts
# that are not taught stay unknown. And about one known answer in a hundred is now wrong; eight seeds can just tell that
# from none. (Gekhman et al. 2024, arXiv 2405.05904, found the same on a large model: learning unknown facts makes it
# invent more elsewhere.)
#
# So supervised fine-tuning *imitates*. It draws out what the base knows, in the form it is shown. What the base does
# not know has to be told again and again. Every lab that follows builds on this.

# %%
lk.quiz("start", when="during", segment="limits")

# %% [markdown]
# ## Your first row
#
# Keep this run. Each of the labs that follow changes one thing about it, and asks what that costs or gains.

# %% tags=["nbval-ignore-output"]
live.keep("my first run")
lk.my_runs()

# %% [markdown]
# ## What stays
#
# Four questions to end with. Your first answer is kept on this machine, and what you miss comes back another day: put
# `lk.review()` into a cell, or call `labkit review` in a terminal.

# %%
lk.quiz("start", when="after")

# %% [markdown]
# ## Where to go
#
# These are all the labs. `labkit lab --list` in a terminal says which of them are here already.

# %%
lk.syllabus.table()

# %% [markdown]
# ## Further
#
# - Did it learn the answers, or only what answers look like? Train on answers that belong to other questions:
#   `labkit demo --control shuffled` in a terminal. Guess first what the score will be.
# - Unseen phrasings, towns that its text seldom names, and a family it was never shown (subtraction): how far does
#   its learning carry over? Guess three shares.

# %%
expected = {"phrasing": (0.35, 0.8), "long tail": (0.85, 1.0), "family": (0.0, 0.05)}
for kind in lk.almanac.examples.OUT_OF_DISTRIBUTION:
    far = lk.models.score(
        live.model, tokenizer, lk.almanac.examples.out_of_distribution(kind, 60)
    )
    lk.measured(f"out of distribution, {kind}", far.share, *expected[kind])
