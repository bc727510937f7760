# %% [markdown]
# # 01 · Data
#
# **The question of this lab: what is my data worth?**
#
# Somebody has gathered twenty thousand questions and answers for you. Before you train on them you want to know what
# you have: which are wrong, which say the same thing again, and whether the score that you will report can be believed.
#
# You will be able to
#
# - say what a training pair is, and what a chain of thought in it is worth;
# - look at a pool, clean it in stages, and give each stage's keep rate with its denominator;
# - find near-duplicates with MinHash, and say which ones it misses;
# - split data so that the test set tells the truth.
#
# About 45 minutes, with four exercises. For every exercise you leave unsolved, the kit's own function is used.
#
# Each exercise's cell is tried by itself: it cannot use functions or names from other cells. Write the helpers that you
# need in the same cell.

# %%
import labkit as lk

# %% [markdown]
# Your runs so far. This lab adds one, trained on a pool that you cleaned.

# %% tags=["nbval-ignore-output"]
lk.my_runs()

# %% [markdown]
# ## Before you begin
#
# Two questions. Guessing is fine; the lab answers both.

# %%
lk.quiz("data", when="before")

# %% [markdown]
# ## 1 · Look first, then ask what a pair is
#
# The habit that saves the most time with data is also the cheapest: read some of it. Here are eight of the candidates.
# Which of them would you not want to learn from?

# %%
from random import Random

pool, truth = lk.almanac.pool.candidates()
print(
    len(pool), "candidates, eight of them:\n"
)  # a draw that shows most of what there is
for example in Random(1009).sample(pool, 8):
    print(f"{example.source}: {example.prompt}".replace("\n", " / "))
    print("   →", example.completion, "\n")

# %% [markdown]
# `truth` says which faults were planted where. We keep it closed, and open it only to grade what we do.
#
# Each candidate is a *pair*: an input, the prompt, and a target, the completion. Loss is taken on the target only, so
# the target is what you teach. Here is the same question with two targets.

# %%
thinking, _ = lk.almanac.examples.short_mix(seed=0, train=300, test=11)
bare, _ = lk.almanac.examples.short_mix(seed=0, train=300, test=11, thought=False)
number = next(i for i, example in enumerate(thinking) if example.task == "two steps")
print("prompt:          ", thinking[number].prompt)
print("chain of thought:", thinking[number].completion)
print("answer only:     ", bare[number].completion)

# %% [markdown]
# The answer-only target is shorter, cheaper, and asks for the answer in one step. Some questions need one fact: *town,
# person, as of, event*. Others need several steps: two facts, or arithmetic. Where will the chain of thought matter?

# %%
places = ["in questions of one fact", "in questions of several steps", "in both alike"]
lk.predict(
    "data.thought",
    "Where does training on a chain of thought raise the score most?",
    choices=places,
)

# %% [markdown]
# Recorded: 80 steps on the same questions, once with each kind of target, 8 seeds. Both models then answer the same
# 110 held-out questions, and only the answer counts. The figure shows the difference, seed by seed.

# %%
with_chain, without = (
    lk.runs.Record.load(name) for name in ("sft-lab00", "data-answers")
)
one_fact = ("town", "person", "as of", "event")
steps = ("two steps", "compare", "sum", "shopping", "units", "dates")
families = {"one fact": one_fact, "several steps": steps} | {
    task: (task,) for task in steps
}
gain = {
    name: lk.runs.paired_difference(with_chain, without, tasks)
    for name, tasks in families.items()
}
lk.plots.differences(gain, "A chain of thought pays where there are steps (recorded)")

# %%
apart = gain["several steps"].mean - gain["one fact"].mean
lk.predict(
    "data.thought", outcome=places[2 if abs(apart) < 0.05 else 1 if apart > 0 else 0]
)

# %%
lk.claim("C03", measured=gain["several steps"].mean)

# %% [markdown]
# A model writes one token after another, with the same work for each. A chain of thought gives it room: every digit
# that it has written down can be read for the next one. Without it, a whole sum has to come out in one pass, and it
# never does. It pays even for one fact: the chain repeats the almanac's own sentence, *The emblem of … is …*, and that
# is the form in which the base knows it.

# %%
lk.quiz("data", when="during", segment="pairs")

# %% [markdown]
# ## 2 · Quality
#
# You have seen eight. Now look at all of them, with three questions that take a line of code each. First: which
# completions appear again and again?

# %%
from collections import Counter

for completion, times in Counter(example.completion for example in pool).most_common(6):
    print(f"{times:>4} × {completion}")

# %% [markdown]
# Boilerplate, where an answer should be. Next: which letters occur that do not belong in English?

# %%
letters = Counter(
    letter for example in pool for letter in example.prompt if not letter.isascii()
)
print(dict(letters.most_common(6)))
print(next(example.prompt for example in pool if "€" in example.prompt))

# %% [markdown]
# That is *mojibake*: UTF-8 that somebody once read as Windows-1252. And the ß shows that some candidates are in German.
#
# The third question needs more than looking. Sums can be checked. Check them, source by source.

# %%
import re


def adds_up(example):
    terms = [int(digits) for digits in re.findall(r"\d+", example.question)]
    return lk.data.exact_answer(example.completion) == str(sum(terms))


for source in sorted({example.source for example in pool if example.task == "sum"}):
    sums = [
        each
        for each in pool
        if each.task == "sum" and each.source == source and "Answer:" in each.completion
    ]
    print(f"{source:<15} {sum(map(adds_up, sums)):>4} of {len(sums):>5} sums are right")

# %%
wrong = [
    example
    for example in pool
    if example.source == "pedlar's sheet" and example.task == "sum"
]
for example in wrong[:3]:
    print(example.prompt, "→", example.completion)

# %% [markdown]
# Look closely at the pedlar's sums: he never carries. His mistakes are not noise, they have a *system*, and a system
# can be learned. (The school page's few wrong ones are mojibake.) If a source is wrong where you can check it, do
# not trust it where you cannot.
#
# Now three filters, each of them one line in `lk.almanac.pool.FILTERS`. A keep rate says little without its
# denominator, so each stage gives both numbers.

# %%
left = pool
for name, stays in lk.almanac.pool.FILTERS.items():
    kept = [example for example in left if stays(example)]
    print(
        f"{name:<15}{len(kept):>7,} of {len(left):>7,} stay, {len(kept) / len(left):.1%}"
    )
    left = kept

# %% [markdown]
# Now open the truth, and grade the filters: what was planted, and how much of it is still there?

# %%
planted, remains = (
    Counter(truth[example.id].kind for example in examples) for examples in (pool, left)
)
for kind, count in planted.most_common():
    print(f"{kind:<17}{remains[kind]:>6,} of {count:>6,} remain")

# %% [markdown]
# No clean candidate was lost, and almost nothing faulty is left except copies. (The eleven truncated ones are cut off
# after `Answer:`, in the middle of a date: no filter here sees that.) Copies are the next section. First:
# what is at stake?
#
# ### What does a wrong source cost?
#
# The pool's faults come mixed: the pedlar's sums are wrong *and* have no chain of thought. To see what does the harm, they
# have to be taken apart. Recorded, 8 seeds each: 1,280 examples of other families, 320 right sums, and 320 sums of a second
# source, all on the same questions, all in one pass of 120 steps of 16. The second source is one of five:
#
# | | its 320 sums |
# |---|---|
# | sound | right, digit by digit, like the first source's |
# | pedlar | wrong in one way: digit by digit, and nothing is ever carried |
# | random | wrong in many ways: each slips in one column, somewhere |
# | bare | right, the result alone, no digit by digit |
# | bare pedlar | the pedlar's results alone |
#
# So half of the sums are wrong, or none is; of those that need a carry, two thirds, because all of the second source's do. 110 sums that nobody trained on are then asked. Before you look:

# %%
bets = [
    "the pedlar's: always the same mistake",
    "the random slips",
    "right, but bare",
    "no difference beyond chance",
]
lk.predict(
    "data.quality", "Beside sound sums: which second source costs most?", choices=bets
)

# %%
ways = ("sound", "pedlar", "random", "bare", "bare-pedlar")
sources = {way: lk.runs.Record.load(f"sums-{way}") for way in ways}
for way, record in sources.items():
    share = lk.runs.interval(list(record.shares.values()))
    likely = [sum(o.probabilities) / len(o.probabilities) for o in record.outcomes]
    print(f"{way:<12} right {share.mean:6.1%} ({share.low:.1%} to {share.high:.1%}), "
          f"probability of the right text {sum(likely) / len(likely):.0%}")  # fmt: skip

# %%
cost = {
    f"{way} − sound": lk.runs.paired_difference(sources[way], sources["sound"])
    for way in ways[1:]
}
lk.plots.differences(cost, "What a second source of sums costs (recorded)")

# %%
order = {bets[0]: "pedlar", bets[1]: "random", bets[2]: "bare"}
lk.predict(
    "data.quality", outcome=min(order, key=lambda bet: cost[f"{order[bet]} − sound"].mean)
)

# %% [markdown]
# Twice, half of the sums were wrong, and the harm was not the same. Random slips cost almost nothing in the score: each is
# different, in every column the right way remains the most frequent, and greedy decoding writes the likeliest text. The
# probability tells what the score hides: it has fallen by half. The pedlar's sums agree with one another. His is a second way
# to add, and where something is carried it is the majority, two sums of three: there the model is right in one of seven, as the
# cell below says, and elsewhere as before. (He is also wrong in about twice as many columns; that is not separated here.)
#
# The third line is the surprise: sums that are all *right* cost more than half of what the pedlar's cost, because they come
# without their digits, and a result in one go is what this model cannot do. And the fourth: bare, the pedlar's wrong results cost
# no more than right ones. In the pool, too, the pedlar's sums are bare: what a model loses in sums there may well be the harm of
# their form. An earlier version of this lab took it for the harm of wrong answers.
#
# If a source is wrong where you can check it, ask *how* it is wrong. Then look at its form.

# %%
asked = {seed: lk.almanac.mixes.sums_mix("sound", seed)[1] for seed in range(8)}
for way in ("sound", "pedlar", "random"):
    hits = {True: [], False: []}
    for outcome in sources[way].outcomes:
        for hit, question in zip(outcome.right, asked[outcome.seed]):
            hits["carry" in question.completion].append(hit == "1")
    shares = {carry: sum(found) / len(found) for carry, found in hits.items()}
    print(f"{way:<8} right: with a carry {shares[True]:.1%}, without {shares[False]:.1%}")

# %% [markdown]
#
# ### And more data?
#
# For this the skill must be one that the base does not have, or a few hundred examples teach the form and every size scores
# alike: subtraction, which none of its text shows. Three sizes, compared in two ways, because "more data" can mean two things:
# at *equal steps*, 200 of 16, so that the small sets are seen many times; and at *equal passes*, one each, so that the
# small sets get few steps.

# %%
lk.predict(
    "data.more",
    "At equal steps: 3,200 examples, each seen once, less 200 examples seen 16 times?",
    unit="points",
    low=-50,
    high=50,
)

# %%
sizes = (200, 800, 3200)
steps = {n: lk.runs.Record.load(f"size-{n}-steps") for n in sizes}
passes = {n: lk.runs.Record.load(f"size-{n}-pass") for n in sizes[:2]} | {
    3200: steps[3200]
}
for n in sizes:
    for name, record in (("equal steps", steps[n]), ("one pass", passes[n])):
        share = lk.runs.interval(list(record.shares.values()))
        seen = 16 * record.recipe["steps"]
        print(f"{n:>5} examples, {name:<12}{seen:>5,} seen: {share.mean:.1%} right "
              f"({share.low:.1%} to {share.high:.1%})")  # fmt: skip

# %%
more = {
    "200 → 3,200, equal steps": lk.runs.paired_difference(steps[3200], steps[200]),
    "800 → 3,200, equal steps": lk.runs.paired_difference(steps[3200], steps[800]),
    "200 → 3,200, one pass each": lk.runs.paired_difference(passes[3200], passes[200]),
    "800 → 3,200, one pass each": lk.runs.paired_difference(passes[3200], passes[800]),
}
lk.plots.differences(more, "What more examples bring (recorded)")

# %%
lk.predict("data.more", outcome=round(100 * more["200 → 3,200, equal steps"].mean, 1))

# %%
quality = cost["pedlar − sound"]
lk.claim("C01", measured=-quality.mean)

# %% [markdown]
# At one pass each, more is nearly everything. At equal steps it is much less: sixteen times as many examples bring a few points,
# which eight seeds can tell neither from none nor from seventeen. So most of what "more data" brings here is more *steps*, and few sound examples seen
# many times go far. What repeating them costs is in lab 05 (overfitting). Whoever compares two amounts of data has to say
# how many examples were *seen*.
#
# So does quality count for more than quantity? Here a source that is wrong in one way cost more than fifteen sixteenths of the
# data, at equal steps. But the two are not on one scale: slips at random cost little or nothing, and one pass over little data everything.
#
# And the famous number, *leading labs throw 99% away*? No lab has published that.

# %%
dropped = 1 - len(lk.almanac.pool.cleaned(pool)) / len(pool)
print(f"here: {dropped:.1%} of the candidates dropped, deduplication included")
print(
    f"DCLM: {1 - 3.8 / 240:.1%} of a pool of 240 trillion tokens dropped (arXiv 2406.11794)"
)

# %%
lk.claim("C02", measured=dropped)

# %% [markdown]
# Both are true, and they cannot be compared: one is a share of examples that somebody chose, the other a share of the
# tokens of a raw web crawl. Without its denominator, a keep rate says nothing.

# %%
lk.quiz("data", when="during", segment="quality")

# %% [markdown]
# ## 3 · The same thing said again
#
# Exact copies are easy: hash the words, keep one. But people change things when they repost. So texts are compared by
# their *shingles*, the runs of n neighbouring words, and two sets of shingles A and B by their *Jaccard similarity*,
#
# J(A, B) = |A ∩ B| / |A ∪ B|,
#
# the elements in both over the elements in either. With n = 3:
#
# | text | shingles |
# |---|---|
# | the red mill stands by the river | *the red mill · red mill stands · mill stands by · stands by the · by the river* |
# | the red mill stands by the bridge | *the red mill · red mill stands · mill stands by · stands by the · by the bridge* |
#
# Four are in both, six in either: J = 4/6 = 0.67. One word of seven has changed, and a third of the similarity is gone.
#
# Your turn: *the red mill stands* against the first line. In both ▁, in either ▁, J = ▁
#
# <details><summary>The answer</summary>
#
# Its shingles are *the red mill* and *red mill stands*. Both are in the first line's five, so 2 in both, 5 in either,
# J = 0.4.
#
# </details>
#
# ### Exercise: Jaccard similarity
#
# *Easy, one edge, 3 minutes.* You get two sets. Two empty sets are equal: their similarity is 1.0.


# %% tags=["nbval-ignore-output"]
@lk.exercise("data.jaccard")
def jaccard(a: set[str], b: set[str]) -> float:
    """The elements in both over the elements in either, from 0 to 1; two empty sets: 1.0."""
    ...


# %%
jaccard_checked = lk.use("data.jaccard")
lines = [
    "the red mill stands by the river",
    "the red mill stands by the bridge",
    "the red mill stands",
]
river, bridge, short = (lk.dedup.shingles(line, 3) for line in lines)
print(
    f"river and bridge {jaccard_checked(river, bridge):.2f}, river and short {jaccard_checked(river, short):.2f}"
)

# %% [markdown]
# ### A signature instead of a set
#
# 14,000 texts make a hundred million pairs. That is too many to compare, and most have nothing in common. *MinHash*
# makes a short signature of each set (Broder 1997). Give every shingle a number x. Take a hash, h(x) = (a·x + b) mod
# p, which shuffles the numbers, and keep only the *smallest* hash of the set. Then take another a and b, and so on.
#
# Two sets, {1, 4, 6} and {4, 6, 9}, with p = 11:
#
# | a, b | h(1) | h(4) | h(6) | h(9) | smallest of {1, 4, 6} | of {4, 6, 9} | they agree |
# |---|---|---|---|---|---|---|---|
# | 3, 1 | 4 | 2 | 8 | 6 | 2 | 2 | yes |
# | 5, 2 | 7 | 0 | 10 | 3 | 0 | 0 | yes |
# | 2, 7 | 9 | 4 | 8 | 3 | 4 | 3 | no |
# | 7, 3 | 10 | 9 | 1 | 0 | 1 | 0 | no |
#
# The signatures are (2, 0, 4, 1) and (2, 0, 3, 0). They agree in 2 of 4 places, and J = 2/4. That is not an accident:
# the smallest of *all* the hashes belongs to some element of the union, each with the same chance, and the signatures
# agree exactly when that element is in both. So they agree in one place with probability J.
#
# Your turn: a = 4, b = 5. h(1) = ▁, h(4) = ▁, h(6) = ▁, h(9) = ▁. Do they agree?
#
# <details><summary>The answer</summary>
#
# 9, 10, 7, 8. In both sets the smallest is 7, the hash of 6, which is in both: they agree.
#
# </details>
#
# ### Exercise: MinHash
#
# *Medium, 6 minutes.* Return one integer for each pair (a, b): the smallest (a·x + b) mod prime over the ids. Use
# Python's integers, which never overflow. If there are no ids, raise a `ValueError`.


# %% tags=["nbval-ignore-output"]
@lk.exercise("data.minhash")
def minhash(ids: list[int], a: list[int], b: list[int], prime: int) -> list[int]:
    """For each pair (a, b) the smallest (a·x + b) mod prime over the ids x."""
    ...


# %%
minhash_checked = lk.use("data.minhash")
for ids in ([1, 4, 6], [4, 6, 9]):
    print(ids, minhash_checked(ids, a=[3, 5, 2, 7], b=[1, 2, 7, 3], prime=11))

# %% [markdown]
# Now at full size: 128 pairs (a, b), drawn from the whole range up to a large prime (small ones barely shuffle), and
# 300 posts of the pool, each beside a repost of it. How well does the share of equal places estimate the similarity?

# %%
prime, draw = 2**61 - 1, Random(1)
a, b = ([draw.randrange(1, prime) for _ in range(128)] for _ in range(2))


def signature(text):
    return minhash_checked(
        lk.dedup.shingle_ids([lk.dedup.shingles(text, 3)])[0].tolist(), a, b, prime
    )


# %%
by_id = {example.id: example for example in pool}
reposts = [
    (by_id[each.of], by_id[id]) for id, each in truth.items() if each.kind == "repost"
][:300]

true, told = [], []
for pair in reposts:
    one, other = (lk.almanac.pool.text(example) for example in pair)
    true.append(jaccard_checked(lk.dedup.shingles(one, 3), lk.dedup.shingles(other, 3)))
    told.append(sum(x == y for x, y in zip(signature(one), signature(other))) / 128)

# %%
error = (sum((x - y) ** 2 for x, y in zip(true, told)) / len(true)) ** 0.5
title = f"128 places tell the similarity to about ±{error:.2f}"
figure, axes = lk.plots.figure(
    title, "true Jaccard similarity", "share of equal places", size=(5.2, 4.2)
)
axes.plot([0, 1], [0, 1], color="black", linewidth=1)
axes.plot(true, told, "o", color=lk.plots.COLOURS[0], markersize=3)
expected = (sum(x * (1 - x) for x in true) / len(true) / 128) ** 0.5
alt = f"{title}. Root mean square error {error:.3f}; that of {len(true)} proportions of 128 would be {expected:.3f}."
lk.plots.show(figure, alt)

# %% [markdown]
# So it is only an estimate: a pair at 0.80 may look like 0.75 or 0.85. Remember that when you set a threshold.

# %%
lk.quiz("data", when="during", segment="duplicates")

# %% [markdown]
# ## 4 · What a threshold of 0.8 catches
#
# Signatures are short, but there are still just as many pairs of them. *Locality-sensitive hashing* cuts each signature
# into *bands* of some *rows*. Texts that agree in all rows of at least one band fall into one bucket, and only those
# are compared.
#
# A pair of similarity s agrees in one row with probability s. Take 3 bands of 2 rows, and s = 0.8:
#
# | what happens | probability |
# |---|---|
# | a given band agrees | 0.8² = 0.64 |
# | it does not | 1 − 0.64 = 0.36 |
# | none of three does | 0.36³ = 0.047 |
# | **some band does: a candidate** | **1 − 0.047 = 0.953** |
#
# Your turn, with s = 0.5: a band agrees ▁, none of three does ▁, a candidate ▁
#
# <details><summary>The answer</summary>
#
# 0.25; 0.75³ = 0.42; 0.58.
#
# </details>
#
# ### Exercise: the probability of being a candidate
#
# *Easy once you see it, 4 minutes.*


# %% tags=["nbval-ignore-output"]
@lk.exercise("data.candidate_probability")
def candidate_probability(s: float, bands: int, rows: int) -> float:
    """The probability that two sets of similarity s agree in all rows of at least one band."""
    ...


# %%
candidate_checked = lk.use("data.candidate_probability")
print(
    f"s = 0.8: {candidate_checked(0.8, bands=3, rows=2):.3f}, s = 0.5: {candidate_checked(0.5, bands=3, rows=2):.3f}"
)

# %% [markdown]
# This is the S-curve. With a running kernel, there are two sliders below it. Make the step steeper. Move it to the
# left. What does each cost?

# %%
lk.explorers.s_curve(bands=18, rows=7)

# %% [markdown]
# More rows move the step to the right, more bands to the left; both together make it steeper, and cost hashes. There
# is no sharp cut-off, only a slope. Ask `datasketch`, the library that most people take, for "a threshold of 0.8", and
# see how many of the pairs *at* 0.8 it makes candidates.

# %%
from datasketch import MinHashLSH

theirs = MinHashLSH(threshold=0.8, num_perm=128)
ours = lk.dedup.scheme(threshold=0.8)
for name, bands, rows in (
    ("datasketch", theirs.b, theirs.r),
    ("labkit", ours.bands, ours.rows),
):
    chances = [
        f"{s}: {candidate_checked(s, bands, rows):.2f}" for s in (0.6, 0.7, 0.8, 0.9)
    ]
    print(f"{name:<11}{bands:>3} bands of {rows:>2} rows   {', '.join(chances)}")

# %% [markdown]
# `datasketch` weighs misses and false alarms alike, and so misses more than half of the pairs at its threshold. Our
# choice gets nearly all, and many pairs below it: that costs nothing but time *if every candidate is then verified* by
# its true similarity. Here is the whole pipeline, each stage with its denominator:

# %%
texts = [lk.almanac.pool.text(example) for example in left]
found = lk.dedup.find(texts, threshold=0.8)
print(found.table())

# %% [markdown]
# One in seven candidates passes verification. Without that stage the others would have been thrown away too.
#
# 0.8 is the usual number. It comes from work on web pages (Lee et al. 2021, arXiv 2107.06499), not on texts of two
# lines. A third of the pool's copies are *reposts*, with a word in front, a typing error, another ending. What share
# of them lies in one cluster with the post that it repeats?

# %%
lk.predict(
    "data.reposts",
    "What share of the reposts does a threshold of 0.8 find?",
    unit="%",
    low=0,
    high=100,
)

# %%
place = {example.id: number for number, example in enumerate(left)}


def judged(found):
    """(recall by planted kind, share of the pairs found whose two answers are the same)."""
    cluster = {
        member: number for number, group in enumerate(found.clusters) for member in group
    }
    recall = {}
    for kind in ("exact duplicate", "repost", "paraphrase"):
        pairs = [
            (place[id], place[each.of])
            for id, each in truth.items()
            if each.kind == kind and id in place
        ]
        recall[kind] = sum(
            i in cluster and cluster[i] == cluster.get(j) for i, j in pairs
        ) / len(pairs)
    agree = sum(left[i].answer == left[j].answer for i, j, _ in found.pairs) / len(
        found.pairs
    )
    return recall, agree


# %%
at = {0.8: found} | {
    threshold: lk.dedup.find(texts, threshold) for threshold in (0.65, 0.5)
}
for threshold, each in at.items():
    recall, agree = judged(each)
    shares = ", ".join(f"{kind} {share:.1%}" for kind, share in recall.items())
    print(f"{threshold:<5} found: {shares}; same answer in {agree:.1%} of the pairs")

# %%
lk.predict("data.reposts", outcome=round(100 * judged(found)[0]["repost"], 1))

# %% [markdown]
# That was recall: how much of what was planted is found. The same answer is a generous test of the pairs, because two
# facts may have one answer. By the truth, a pair is right if both texts were made from the same one. Count that, by
# what was planted in the pair. Where *nothing* was planted, the pool drew two texts that are similar, and the pair is
# right if they are the same text.


# %%
def origin(example):
    """The text that this one was made from, or its own, without regard to capitals and white space."""
    while truth[example.id].of:
        example = by_id[truth[example.id].of]
    return " ".join(lk.almanac.pool.text(example).lower().split())


origins = [origin(example) for example in left]

# %%
for threshold, each in at.items():
    right, of = Counter(), Counter()
    for i, j, _ in each.pairs:
        kinds = {truth[left[number].id].kind for number in (i, j)}
        for kind in kinds & {"exact duplicate", "repost", "paraphrase"} or {"nothing"}:
            of[kind] += 1
            right[kind] += origins[i] == origins[j]
    shares = (
        f"{kind} {right[kind] / of[kind]:.1%} of {of[kind]:,}" for kind in sorted(of)
    )
    print(f"{threshold:<5} right: {', '.join(shares)}")

# %% [markdown]
# No threshold is right for everything. At 0.8 three quarters of the reposts stay. At 0.5 nearly all are found, but so
# are texts that are not copies: sums with dates, which share most of their words but have different months. Pairs with
# a repost are nearly always right; pairs of two candidates in which nothing was planted are right less often the lower
# the threshold. (A pair counts under *paraphrase* if one of the two is one, whatever the other is.) And what is said
# in *other* words is missed: all of it at 0.8, most of it at 0.5. MinHash compares words, not meanings.
#
# ### Similarity is not transitive
#
# Clusters are made of chains: A is similar to B, B is similar to C, so all three are in one cluster, however different
# A and C may be. Here is what that does at 0.5.

# %%
sets = [lk.dedup.shingles(text, 3) for text in texts]
near = {}
for i, j, _ in at[0.5].pairs:
    near.setdefault(i, set()).add(j)
    near.setdefault(j, set()).add(i)
middles = [y for y in near if truth[left[y].id].kind == "repost"]
chains = ((x, y, z) for y in middles for x in near[y] for z in near[y] - near[x] if x < z)
x, y, z = min(
    chains, key=lambda chain: (jaccard_checked(sets[chain[0]], sets[chain[2]]), chain)
)
for name, one, other in (("A, B", x, y), ("B, C", y, z), ("A, C", x, z)):
    print(f"{name}: {jaccard_checked(sets[one], sets[other]):.2f}")
for name, member in zip("ABC", (x, y, z)):
    print(f"{name}: {texts[member]}".replace("\n", " / "))

# %% [markdown]
# Wool and pepper cost the same in one year, and one post says thanks for the answer twice. One link is enough to put
# two facts into one cluster, of which only one member stays. So look at the clusters, at least the large ones, and at
# the pairs that the threshold only just decided.
#
# ### Five to decide by hand
#
# These are the pairs nearest to 0.5. Brackets show what only one of the two texts has. Which are copies?

# %%
for i, j, similarity in at[0.5].borderline(5):
    print(
        f"{similarity:.3f}",
        lk.dedup.difference(texts[i], texts[j]).replace("\n", " / "),
        "\n",
    )

# %% [markdown]
# <details><summary>How I would decide</summary>
#
# The two pairs that differ in the *year* are two facts each, which happen to have the same value: keep both. The other
# three say the same thing about the same subject; where a typing error is the only difference, keep the text without
# it. No number tells the two kinds apart.
#
# </details>

# %%
lk.claim("C08", measured=judged(found)[0]["repost"])

# %%
lk.quiz("data", when="during", segment="threshold")

# %% [markdown]
# ## 5 · A test set that tells the truth
#
# Duplicates waste time in training. In a test set they do worse. Take about eight hundred posts of one year, each fact
# posted once and reposted three to six times in the three months that follow. One cluster:

# %%
made = lk.almanac.mixes.posts(seed=0)
for member in max(made.clusters, key=len)[:5]:
    print(
        made.posts[member].date,
        lk.almanac.pool.text(made.posts[member]).replace("\n", " / "),
    )

# %% [markdown]
# Split the posts at random, and the answer to a test question is also in training, slightly changed. Instead, a
# *cluster* must go to one side as a whole. A toy: clusters {0, 1}, {2}, {3, 4, 5}, taken in the order 2, 0, 1, with at
# least half of the six rows for training. First {3, 4, 5}: three rows, half of six. That is enough. Train {3, 4, 5},
# test {0, 1, 2}.
#
# Your turn: the same, in the order 1, 0, 2. Train ▁, test ▁
#
# <details><summary>The answer</summary>
#
# {2} is one row, too few. {0, 1} makes three, enough. Train {2, 0, 1}, test {3, 4, 5}.
#
# </details>
#
# ### Exercise: split by cluster
#
# *Medium, 6 minutes.* The clusters are lists of ids; `order` holds their places. Take them in that order until train
# holds at least `share` of all ids (of the *rows*, not of the clusters). The cluster that crosses the line goes to
# train. The rest is the test. On both sides the ids keep their order: cluster by cluster, as they were taken.


# %% tags=["nbval-ignore-output"]
@lk.exercise("data.split_by_cluster")
def split_by_cluster(
    clusters: list[list], order: list[int], share: float
) -> tuple[list, list]:
    """(train, test): ids, of which no cluster has some on both sides."""
    ...


# %%
split_checked = lk.use("data.split_by_cluster")
for order in ([2, 0, 1], [1, 0, 2]):
    print(order, split_checked([[0, 1], [2], [3, 4, 5]], order, share=0.5))

# %% [markdown]
# Now four ways to split the posts, 80 to 20. The order decides what kind of split by cluster it is: a random order, or
# the order of each cluster's *first day*, which cuts by time without dividing a post from its reposts. For each way,
# count the test posts whose cluster is also in training.

# %%
ids = list(range(len(made.posts)))  # they are in order of date
cut = len(ids) * 8 // 10
mixed = Random(0).sample(ids, len(ids))
anyhow = Random(0).sample(range(len(made.clusters)), len(made.clusters))
first_day = sorted(
    range(len(made.clusters)), key=lambda number: min(made.clusters[number])
)
splits = {
    "random": (mixed[:cut], mixed[cut:]),
    "time": (ids[:cut], ids[cut:]),
    "cluster": split_checked(made.clusters, anyhow, 0.8),
    "cluster, then time": split_checked(made.clusters, first_day, 0.8),
}

# %%
for name, (train, test) in splits.items():
    trained = {made.of[post] for post in train}
    leaked = sum(made.of[post] in trained for post in test)
    print(
        f"{name:<20}{leaked:>4} of {len(test)} test posts have a copy in training, {leaked / len(test):.0%}"
    )

# %% [markdown]
# The splits use the clusters that were found, the counts use the planted ones: what the tool misses would show here.
#
# What does a leak do to a score? Three kinds of facts are in the posts: *fresh* ones, which the base has never read;
# *changed* ones (a new mayor, a new home, a new price), of which it has read the old value; and *unchanged* ones, which
# it knows. The experiment: 45 posts from the last months, 15 of each kind, are asked. Each of four models trains on 320
# other posts, five times over, chosen as one of the splits would. So the questions are the same, the number of posts
# is the same, and only *which* posts differs.

# %%
raised = "By how much does the random split raise the score above the split by cluster?"
lk.predict("data.leak", raised, unit="points", low=-100, high=100)

# %%
ways = {
    "random": "data-posts-random",
    "time": "data-posts-time",
    "cluster": "data-posts-cluster",
}
ways |= {"cluster, then time": "data-posts-time-cluster"}
split_records = {name: lk.runs.Record.load(recipe) for name, recipe in ways.items()}
title = "The same questions: what leaks is what scores (recorded)"
lk.plots.scores(
    {name: lk.runs.pooled(record) for name, record in split_records.items()}, title
)

# %%
inflation = lk.runs.paired_difference(split_records["random"], split_records["cluster"])
lk.predict("data.leak", outcome=round(100 * inflation.mean, 1))

# %% [markdown]
# Seed by seed, and each kind apart: what the random split inflates, and what a cut by time alone still leaks.

# %%
against = {
    "inflation": ("random", "cluster"),
    "leak of time": ("time", "cluster, then time"),
}
against |= {"cut by time": ("cluster, then time", "cluster")}
shown = {}
for name, (one, other) in against.items():
    shown[name] = lk.runs.paired_difference(split_records[one], split_records[other])
    for kind in lk.almanac.mixes.KINDS:
        shown[f"{name}, {kind}"] = lk.runs.paired_difference(
            split_records[one], split_records[other], [kind]
        )
lk.plots.differences(shown, "A cut by time alone still leaks (recorded)")

# %%
lk.claim("C04", measured=inflation.mean)

# %%
lk.claim("C05", measured=shown["leak of time"].mean)

# %% [markdown]
# The random split reports that the model has learned the year's news. It has only memorized them: asked about facts
# that are in no training post, it knows nothing fresh, as lab 00 said. Even unchanged facts gain from the leak,
# because it is news too that a mayor is *still* in office.
#
# And *drift*, the cost of being asked about a later time? Between the two honest splits nothing is lost (in the last
# four lines only the unchanged facts move, and they gain), because whatever changed had already changed at New Year,
# before the first post. The drift shows between the kinds: the base knows the world of the year before.

# %%
honest = split_records["cluster, then time"]
shares = {
    kind: [outcome.by_task[kind]["share"] for outcome in honest.outcomes]
    for kind in ("unchanged", "changed")
}
drift = lk.runs.interval([still - now for still, now in zip(*shares.values())])
print(
    f"unchanged − changed: {100 * drift.mean:+.1f} points ({100 * drift.low:+.1f} to {100 * drift.high:+.1f})"
)

# %% [markdown]
# So a score by time needs both numbers: an average over the kinds would rise and fall with the share of the questions
# that ask for something that has changed.
#
# ### Far from home
#
# No split gives you one more kind of test: questions *out of distribution*. Train on the pool that you cleaned, live,
# and ask three kinds: facts asked in words that no training example uses, the long tail of towns and people that the
# text rarely mentions, and a family that was never shown, subtraction. First lock in a guess for the unseen family.

# %%
lk.predict(
    "data.far",
    "What share of the unseen family is answered correctly?",
    unit="%",
    low=0,
    high=100,
)

# %% tags=["nbval-ignore-output"]
live = lk.run("data-clean", live=True)
live

# %%
lk.measured("right answers, held out", live.score.share, 0.88, 1.00)
expected = {"phrasing": (0.25, 0.8), "long tail": (0.85, 1.0), "family": (0.0, 0.05)}
far = {}
for kind, interval in expected.items():
    far[kind] = lk.models.score(
        live.model, live.tokenizer, lk.almanac.examples.out_of_distribution(kind, 60)
    ).share
    lk.measured(f"out of distribution, {kind}", far[kind], *interval)

# %% tags=["nbval-ignore-output"]
lk.predict("data.far", outcome=round(100 * far["family"], 1))

# %%
lk.claim("C06", measured=far["family"])

# %% [markdown]
# Three kinds, three answers. Averaged, they would be a number that means nothing. The long tail is as good as the
# usual questions, because the base has read it. Unseen phrasing lowers the score, and an unseen family is not answered
# at all: fine-tuning gave the model the form of what it was shown.

# %%
lk.quiz("data", when="during", segment="splits")

# %% [markdown]
# ## What you keep
#
# The row of this lab.

# %% tags=["nbval-ignore-output"]
live.keep("trained on the pool I cleaned")
lk.my_runs()

# %% [markdown]
# ## Four questions to end with

# %%
lk.quiz("data", when="after")

# %% [markdown]
# Next is lab 02, *tokenization*: what does my model see?

# %% [markdown]
# ## Further
#
# ### The same on your own files
#
# `labkit dedup mine.jsonl --threshold 0.5 --out cleaned` does what section 4 does, for files of any size. It writes
# what is kept, what is removed (with its cluster, its nearest neighbour and the reason), and what could not be read.
#
# ### Do not grade by the reward that you trained on
#
# A test set for reinforcement learning has a rule of its own: it is graded by *another* reward than training used.
# Here is why. A model trained on the cleaned pool answers each of 22 questions sixteen times, sampled at random. Reward
# A likes thorough answers: a point for each word, if there is an `Answer:`. Take the best of n by A. Then look at what
# reward B says, which only asks whether the answer is right.

# %%
curves = lk.best_of.recorded()
for number, count in enumerate(curves[0].counts):
    by_a, by_b = (
        lk.runs.interval([getattr(each, name)[number] for each in curves])
        for name in ("by_a", "by_b")
    )
    print(
        f"best of {count:>2}: A {by_a.mean:5.2f} words, B {by_b.mean:.1%} right ({by_b.low:.1%} to {by_b.high:.1%})"
    )


# %%
def against_one(name):
    """The change against one sample, in percent, for each n."""
    rows = [
        [100 * (value / getattr(each, name)[0] - 1) for value in getattr(each, name)]
        for each in curves
    ]
    return [lk.runs.interval(values) for values in zip(*rows)]


both = {"reward A, words": against_one("by_a"), "reward B, right": against_one("by_b")}
title = "Picked by A, the answers get better by A and not by B (recorded)"
lk.plots.courses(
    curves[0].counts,
    both,
    title,
    "best of n",
    "change against one sample (%)",
    x_log=True,
)

# %%
last = [each.by_b[-1] - each.by_b[0] for each in curves]
lk.claim("C07", measured=lk.runs.interval(last).mean)

# %% [markdown]
# A report of A would be a report of progress. This is Goodhart's law: once a measure becomes a target, it stops being
# a good measure. Best of n does no training at all; a policy that is trained on A goes further in the same direction
# (Gao, Schulman and Hilton 2022, arXiv 2210.10760).
#
# ### Exercise: split by time
#
# *Easy, 3 minutes.* Examples are dicts with a `"date"`, an ISO day. Train holds the examples from before the
# cutoff, test those from that day and later; the order stays.


# %% tags=["nbval-ignore-output"]
@lk.exercise("data.split_by_time")
def split_by_time(examples: list[dict], cutoff: str) -> tuple[list[dict], list[dict]]:
    """(the examples from before the cutoff, those of its day and later), both in the given order."""
    ...


# %% [markdown]
# ### Exercise: shingles
#
# *Easy, 5 minutes.* Lower the case, split at white space, and join the words by one space. A text of fewer than n words
# is one shingle as a whole. A text without words has none: the empty set.


# %% tags=["nbval-ignore-output"]
@lk.exercise("data.shingles")
def shingles(text: str, n: int) -> set[str]:
    """The runs of n words, as a set."""
    ...


# %% [markdown]
# ### Exercise: clusters
#
# *Medium, 8 minutes.* The groups that the pairs join 0 … n−1 into, directly or through others. A number that no pair
# names is a group of its own.


# %% tags=["nbval-ignore-output"]
@lk.exercise("data.clusters")
def clusters(n: int, pairs: list[tuple[int, int]]) -> list[list[int]]:
    """The connected groups of 0 … n−1, single ones too."""
    ...


# %% [markdown]
# ### What MinHash misses
#
# One planted paraphrase, with its similarity. How would you find it?

# %%
original, other = next(
    (by_id[each.of], by_id[id])
    for id, each in truth.items()
    if each.kind == "paraphrase" and id in place
)
for example in (original, other):
    print(lk.almanac.pool.text(example).replace("\n", " / "))
both = (
    lk.dedup.shingles(lk.almanac.pool.text(example), 3) for example in (original, other)
)
print(
    f"Jaccard {jaccard_checked(*both):.2f}, same answer: {original.answer == other.answer}"
)

# %% [markdown]
# Compare meanings: vectors of a text-embedding model, and their neighbours (SemDeDup, arXiv 2303.09540). That finds
# more, and makes more errors: *who was mayor in 2023* and *in 2024* are close neighbours.
#
# ### Corpora beyond one machine
#
# A signature needs only its own text, and a bucket only its own band, so the work can be spread over many machines.
# `datatrove` does that, in four stages whose results are files (FineWeb was made with it, arXiv
# 2406.17557). The kit puts its pipeline together, with the shingles of this lab:
#
# ```
# labkit corpus shards --out cleaned --workers 8
# labkit corpus shards --out cleaned --workers 64 --ray
# ```
#
# `shards` is a folder of `*.jsonl` with a `"text"` in each line. The first line uses processes on this machine, the
# second the Ray cluster that this machine belongs to.
#
# It verifies nothing: whatever shares a band counts as a copy. So its 14 bands of 8 rows, the default, *are* the
# threshold. Where will that differ from what you found above?

# %%
for similarity in (0.5, 0.6, 0.7, 0.8, 0.9):
    print(
        f"{similarity}: removed with a probability of {candidate_checked(similarity, bands=14, rows=8):.2f}"
    )
