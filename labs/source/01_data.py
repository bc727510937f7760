# %% [markdown]
# # 01 · Data
#
# **The question of this lab: what is my data worth?**
#
# Somebody has gathered twenty thousand questions and answers for you. Before you train on them you want to know which
# are wrong, which say the same thing again, and whether you can believe the score that you will report.
#
# You will be able to
#
# - say what a training pair is, and what a chain of thought in it is worth;
# - look at a pool, clean it in stages, and give each stage's keep rate with its denominator;
# - find near-duplicates with MinHash, and say which ones it misses;
# - split data so that the test set tells the truth.
#
# About 60 minutes, with four exercises. For every exercise you leave unsolved, the kit's own function is used.

# %%
import labkit as lk

# %% [markdown]
# Your runs so far. This lab adds one, trained on a cleaned pool.

# %% tags=["nbval-ignore-output"]
lk.my_runs()

# %% [markdown]
# ## Before you begin
#
# Guessing is fine.

# %%
lk.quiz("data", when="before")

# %% [markdown]
# ## 1 · Look first, then ask what a pair is
#
# Read some of your data first. Here are eight of the candidates. Which of them would you not want to learn from?

# %%
from random import Random

pool, truth = lk.almanac.pool.candidates()
print(len(pool), "candidates, eight of them:\n")
for example in Random(1009).sample(pool, 8):
    print(f"{example.source}: {example.prompt}".replace("\n", " / "))
    print("   →", example.completion, "\n")

# %% [markdown]
# `truth` says which faults were planted where. We open it only to grade what we do.
#
# Each candidate is a *pair*: an input, the prompt, and a target, the completion. Loss is taken on the target only, so
# the target is what you teach. Here is the same question with two targets.

# %%
some, _ = lk.almanac.examples.short_mix(seed=0, train=300, test=11)
example = next(example for example in some if example.task == "two steps")
print("prompt:          ", example.prompt)
print("chain of thought:", example.completion)
print("answer only:     ", "Answer: " + example.answer)

# %% [markdown]
# Where does the chain help, and why? It gives the model *room*: more tokens, and so more passes, before the answer. And
# it is written in a *form*: sentences like those that the base was pretrained on. To separate the two, two more targets
# were recorded: a **filler** of as many words that say nothing ("so so so …"), and the same steps in **other** words,
# which the base has not read ("29 & 35 => 64"). 120 steps of 16, 8 seeds, the same 110 held-out questions; only the
# answer counts.

# %%
targets = {
    way: lk.runs.Record.load(f"thought-{way}")
    for way in ("chain", "other", "filler", "bare")
}
lk.runs.summary(targets)
one_fact = ("town", "person", "as of", "event")
steps = ("two steps", "compare", "sum", "shopping", "units", "dates")
gain = {
    f"{way} − bare, {kind}": lk.runs.paired_difference(
        targets[way], targets["bare"], tasks
    )
    for kind, tasks in (("several steps", steps), ("one fact", one_fact))
    for way in ("chain", "other", "filler")
}
lk.plots.differences(gain, "What stands before the answer (recorded)")
for task in ("two steps", "sum"):
    right = {way: lk.runs.pooled(targets[way]).by_task[task].share for way in targets}
    print(f"right, {task}:", ", ".join(f"{way} {right[way]:.0%}" for way in right))

# %%
lk.claim("C03", measured=gain["chain − bare, several steps"].mean)

# %% [markdown]
# Room alone brings nothing: the filler gains no points where several steps are needed, and costs 26 where one fact is
# asked. The same steps in other words help in *two steps*, not in sums, and cost 24 points where one fact is asked.
# What pays here, within 120 steps, is a form that the base has read thousands of times. So "add a chain of thought" is
# half of the advice. The other half is: in words that the model knows. (Longer runs, which might learn others, were not
# measured.)

# %%
lk.quiz("data", when="during", segment="pairs")

# %% [markdown]
# ## 2 · Quality
#
# You have seen eight candidates. Now look at all of them: which completions appear again and again?

# %%
from collections import Counter

for completion, times in Counter(example.completion for example in pool).most_common(6):
    print(f"{times:>4} × {completion}")

# %% [markdown]
# Boilerplate, where an answer should be. Write a filter against it. A toy: the completions *a, b, a, c, a* with `most`
# = 2. *a* occurs three times, more than twice, so all of it goes: places 1 and 3 stay, and the keep rate is 2/5 = 0.4.
# Your turn: with `most` = 3, which places stay, and what is the keep rate? (All five; 1.0.)
#
# ### Exercise: drop what repeats
#
# *Easy, 4 minutes.* Return the places (from 0) of the completions that stay, in order, and the keep rate: those that
# stay over all that came in. A completion that occurs more than `most` times is dropped, every time. Two are the same
# only if they are equal letter by letter. Without completions there is no denominator: a `ValueError`. (An exercise's
# cell is tried by itself: names from other cells are not there.)


# %% tags=["nbval-ignore-output"]
@lk.exercise("data.drop_repeated")
def drop_repeated(completions: list[str], most: int) -> tuple[list[int], float]:
    """(places of the completions that stay, keep rate)."""
    ...


# %% [markdown]
# How often is too often? Try three values, and open the truth to grade them:

# %%
drop_checked = lk.use("data.drop_repeated")
for most in (5, 20, 50):
    stays, rate = drop_checked([example.completion for example in pool], most)
    dropped = [pool[place] for place in set(range(len(pool))) - set(stays)]
    kinds = Counter(truth[example.id].kind for example in dropped)
    told = ", ".join(f"{kind} {count}" for kind, count in kinds.most_common(3))
    print(f"most {most:>2}: {len(stays):,} of {len(pool):,} stay, {rate:.1%}")
    print("    dropped:", told)

# %% [markdown]
# All three find the boilerplate. But a fact that many people ask about is also said often: with 5, as many clean
# candidates are dropped as boilerplate. So judge a filter by two numbers: how much of the fault it finds, and what else
# it drops.
#
# Some faults need more than counting. Which sums, source by source, are right?

# %%
answered = [e for e in pool if e.task == "sum" and "Answer:" in e.completion]
answered = [e for e in answered if lk.almanac.pool.FILTERS["readable"](e)]
for source in sorted({example.source for example in answered}):
    right = [lk.almanac.pool.sum_is_right(e) for e in answered if e.source == source]
    print(f"{source:<15} {sum(right):>4} of {len(right):>5} sums are right")
for example in [e for e in answered if e.source == "pedlar's sheet"][:3]:
    print("   ", example.prompt, "→", example.completion)

# %% [markdown]
# The pedlar never carries. If a source is wrong where you can check it, do not trust it where you cannot.
#
# Now three filters in stages: *readable* (no mojibake, which is UTF-8 read as Windows-1252), *complete*, *trusted
# source*. Each keep rate has its own denominator. Below, the truth: how much of each planted kind remains.

# %%
left = pool
for name, stays in lk.almanac.pool.FILTERS.items():
    kept = [example for example in left if stays(example)]
    share = len(kept) / len(left)
    print(f"{name:<15}{len(kept):>7,} of {len(left):>7,} stay, {share:.1%}")
    left = kept
planted, remains = (Counter(truth[e.id].kind for e in some) for some in (pool, left))
for kind, count in planted.most_common():
    print(f"    {kind:<17}{remains[kind]:>6,} of {count:>6,} remain")

# %% [markdown]
# No clean candidate was lost. What else is left is copies (section 3), and eleven truncated texts.
#
# ### What does a wrong source cost?
#
# In the pool the pedlar's sums are wrong *and* have no chain of thought. To separate the two, five runs were recorded,
# 8 seeds each: one pass over 1,280 examples of other families, 320 right sums, and 320 sums of a second source.
#
# | | its 320 sums |
# |---|---|
# | sound | right, digit by digit |
# | pedlar | wrong in one way: digit by digit, nothing is carried |
# | random | wrong in many ways: each slips in one column |
# | bare | right, the result alone |
# | bare pedlar | the pedlar's results alone |
#
# Then 110 new sums are asked.

# %%
bets = [
    "the pedlar's: always the same mistake",
    "the random slips",
    "right, but bare",
    "no difference beyond chance",
]
asked = "Beside sound sums: which second source costs most?"
lk.predict("data.quality", asked, choices=bets)

# %%
ways = ("sound", "pedlar", "random", "bare", "bare-pedlar")
sources = {way: lk.runs.Record.load(f"sums-{way}") for way in ways}
lk.runs.summary(sources)
cost = {
    f"{way} − sound": lk.runs.paired_difference(sources[way], sources["sound"])
    for way in ways[1:]
}
lk.plots.differences(cost, "What a second source of sums costs (recorded)")

# %%
order = {bets[0]: "pedlar", bets[1]: "random", bets[2]: "bare"}
worst = min(order, key=lambda bet: cost[f"{order[bet]} − sound"].mean)
lk.predict("data.quality", outcome=worst)
for way in ("sound", "random", "pedlar"):
    found = [sum(o.probabilities) / len(o.probabilities) for o in sources[way].outcomes]
    print(f"{way:<7} probability of the right text: {lk.runs.interval(found):.0%}")

# %% [markdown]
# With the pedlar and with the random slips, half of all sums are wrong, but the harm is not the same. Random slips cost
# nothing that eight seeds establish: in every column the right way remains the most frequent, and greedy decoding
# writes the likeliest text. (The probability of the right text shows what the score hides: it falls by about half.) The
# pedlar's sums agree with one another: his is a second way to add. (He is also wrong in about twice as many columns;
# that is not separated here.)
#
# The surprise is *bare*: all of its sums are right, and it costs more than half of what the pedlar costs, because the
# digits are missing. Without digits, his wrong results cost no more than right ones. So ask *how* a source is wrong,
# and then look at its form.
#
# ### And more data?
#
# Take a skill that the base does not have: subtraction, which none of its text shows. "More data" can mean two things.
# At *equal steps*, 200 of 16, a small set is seen many times. At *equal passes*, one each, it gets few steps.

# %%
files = {"200 examples, one pass": "200-pass", "800 examples, one pass": "800-pass"}
files |= {"200 examples, 200 steps": "200-steps", "800 examples, 200 steps": "800-steps"}
files |= {"3,200 examples: both": "3200-steps"}
runs = {name: lk.runs.Record.load(f"size-{file}") for name, file in files.items()}
lk.runs.summary(runs)
least, _, most = list(runs.values())[2:]
more = lk.runs.paired_difference(most, least)
print(f"200 → 3,200 examples, at equal steps: {more.points:+.1f} points")

# %%
lk.claim("C01", measured=-cost["pedlar − sound"].mean)

# %% [markdown]
# At one pass each, more is nearly everything. At equal steps the gain is a few points, which eight seeds cannot tell
# from none. Most of what "more data" brings here is more *steps*: say how many examples were *seen*.
#
# So does quality count for more than quantity? It depends on the fault and on the steps. A source that is wrong in one
# way cost a lot, random slips little. Less data cost little at equal steps, and nearly everything at one pass.

# %%
lk.quiz("data", when="during", segment="quality")

# %% [markdown]
# ## 3 · The same thing said again
#
# Exact copies are easy: hash the words, keep one. But people change things when they repost. So cut each text into
# *shingles*, the runs of n neighbouring words, and compare two sets of shingles A and B by their *Jaccard similarity*,
# the elements in both over the elements in either:
#
# J(A, B) = |A ∩ B| / |A ∪ B|.
#
# With n = 3, *the red mill stands by the river* has *the red mill · red mill stands · mill stands by · stands by the ·
# by the river*. With *bridge* instead of *river*, only the last is different: four are in both, six in either, J = 4/6
# = 0.67. One word of seven has changed, and a third of the similarity is gone.
#
# Your turn: *the red mill stands* against the first. (It has two shingles, both in the first's five: 2/5 = 0.4.)

# %% [markdown]
# ### A signature instead of a set
#
# 14,000 texts make a hundred million pairs: too many to compare. *MinHash* makes a short signature of each set (Broder
# 1997). Give every shingle a number x. Take a hash, h(x) = (a·x + b) mod p, which shuffles the numbers, and keep only
# the *smallest* hash of the set. Then take another a and b, and so on.
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
# The signatures are (2, 0, 4, 1) and (2, 0, 3, 0). They agree in 2 of 4 places, and J = 2/4. That is not an accident.
# The smallest of *all* the hashes belongs to one element of the union; each has the same chance. The signatures agree
# exactly when that element is in both sets. So they agree in one place with probability J.
#
# Your turn: a = 4, b = 5. Do they agree? (The hashes are 9, 10, 7, 8; the smallest is 7, that of 6, which is in both:
# yes.)
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
# With 128 pairs (a, b) the share of equal places is off by about 0.04 (measured under *Further*).

# %%
lk.quiz("data", when="during", segment="duplicates")

# %% [markdown]
# ## 4 · What a threshold of 0.8 catches
#
# Signatures are short, but there are just as many pairs. *Locality-sensitive hashing* (LSH) cuts each signature into
# *bands* of some *rows*. Only texts that agree in all rows of at least one band are compared: they fall into one
# bucket. Six places, in three bands of two rows:

# %%
lk.pictures.bands([2, 0, 4, 1, 7, 3], [2, 0, 3, 0, 7, 5], rows=2)

# %% [markdown]
# A pair of similarity s agrees in one row with probability s. Take 3 bands of 2 rows, and s = 0.8:
#
# | what happens | probability |
# |---|---|
# | a given band agrees | 0.8² = 0.64 |
# | it does not | 1 − 0.64 = 0.36 |
# | none of three does | 0.36³ = 0.047 |
# | **some band does: a candidate** | **1 − 0.047 = 0.953** |
#
# Your turn, with s = 0.5. (A band agrees with 0.25, none of three with 0.75³ = 0.42: a candidate with 0.58.)
#
# ### Exercise: the probability of being a candidate
#
# *Easy once you see it, 4 minutes.*


# %% tags=["nbval-ignore-output"]
@lk.exercise("data.candidate_probability")
def candidate_probability(s: float, bands: int, rows: int) -> float:
    """The probability that two sets of similarity s agree in all rows of some band."""
    ...


# %%
candidate_checked = lk.use("data.candidate_probability")
for s in (0.8, 0.5):
    print(f"s = {s}: {candidate_checked(s, bands=3, rows=2):.3f}")

# %% [markdown]
# This is the S-curve, with two sliders below it. Make the step steeper. Move it to the left. What does each cost?

# %%
lk.explorers.s_curve(bands=18, rows=7)

# %% [markdown]
# More rows move the step to the right, more bands to the left; both together make it steeper, and cost hashes. It is
# never a sharp cut-off. `datasketch`, a library that many people take, makes only 40% of the pairs *at* 0.8 candidates
# if you ask it for 0.8 (*Further*). Our 18 bands of 7 rows find nearly all of them, and many pairs below. That costs
# only time *if every candidate is then verified* by its true similarity. The whole pipeline, each stage with its
# denominator:

# %%
texts = [lk.almanac.pool.text(example) for example in left]
found = lk.dedup.find(texts, threshold=0.8)
print(found.table())

# %% [markdown]
# One in seven candidates passes: 712 pairs. Without verification the others would have been thrown away too.
#
# 0.8 is the usual number. It comes from work on web pages (Lee et al. 2021, arXiv 2107.06499), not on texts of two
# lines. A third of the pool's copies are *reposts*: one has a word in front, another a typing error or a different
# ending. What share of the reposts lies in one cluster with the post that it repeats?

# %%
lk.predict(
    "data.reposts",
    "What share of the reposts does a threshold of 0.8 find?",
    unit="%",
    low=0,
    high=100,
)

# %%
at = {0.8: found} | {other: lk.dedup.find(texts, other) for other in (0.65, 0.5)}
for threshold, each in at.items():
    recall, right = lk.almanac.pool.judged(each, left, pool, truth)
    shares = ", ".join(f"{share:.0%} of the {kind}s" for kind, share in recall.items())
    print(f"{threshold:<5} found: {shares}")
    print(f"      {len(each.pairs):,} pairs, exact ones included: {right:.1%} are copies")

# %%
recalled = lk.almanac.pool.judged(found, left, pool, truth)[0]["repost"]
lk.predict("data.reposts", outcome=round(100 * recalled, 1))

# %% [markdown]
# (4,666 pairs at 0.8 are the 712 verified ones and the exact copies: each of these makes a pair with the text it
# copies.)
#
# No threshold is right for everything. At 0.8 three quarters of the reposts are missed. At 0.5 nearly all are found,
# but so are texts that are not copies: sums with dates, which share most of their words but have different months. And
# what is said in *other* words is missed: all of it at 0.8, most of it at 0.5. MinHash compares words, not meanings. So
# look at the largest clusters, and at the pairs nearest to the threshold: *Further* has five to decide by hand.

# %%
lk.claim("C08", measured=recalled)

# %%
lk.quiz("data", when="during", segment="threshold")

# %% [markdown]
# ## 5 · A test set that tells the truth
#
# Take about eight hundred posts of one year. Each fact was posted once, and reposted three to six times in the next
# three months: a cluster. If you split the posts at random, the answer to a test question is also in training, slightly
# changed. So a *cluster* must go to one side as a whole.
#
# A toy: clusters {0, 1}, {2}, {3, 4, 5}, taken in the order 2, 0, 1, with at least half of the six rows for training.
# First {3, 4, 5}: three rows, enough. Train {3, 4, 5}, test {0, 1, 2}. Your turn, in the order 1, 0, 2. ({2} is too
# few, with {0, 1} it is three. Train {2, 0, 1}, test {3, 4, 5}.)
#
# ### Exercise: split by cluster
#
# *Medium, 6 minutes.* The clusters are lists of ids; `order` holds their places. Take them in that order until train
# holds at least `share` of all ids (of the *rows*, not of the clusters). The cluster that crosses the line goes to
# train, the rest to the test. On both sides the ids come cluster by cluster, in the order in which they were taken.


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
# Now four ways to split the posts, 80 to 20. Whole clusters can be taken in a random order, or in the order of their
# *first day*: that cuts by time without dividing a post from its reposts. For each way, count the test posts whose
# cluster is also in training.

# %%
made = lk.almanac.mixes.posts(seed=0)
ids = list(range(len(made.posts)))  # they are in order of date
cut = len(ids) * 8 // 10
mixed = Random(0).sample(ids, len(ids))
anyhow = Random(0).sample(range(len(made.clusters)), len(made.clusters))
first_day = sorted(anyhow, key=lambda number: min(made.clusters[number]))
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
    share = leaked / len(test)
    print(f"{name:<20}{leaked:>4} of {len(test)} test posts leak, {share:.0%}")

# %% [markdown]
# What does a leak do to a score? Three kinds of facts are in the posts: *fresh* ones, which the base has never read;
# *changed* ones (a new mayor, a new home, a new price), of which it has read the old value; and *unchanged* ones, which
# it knows. In the experiment, 45 posts from the last months are asked, 15 of each kind. Each of four models trains on
# 320 other posts, five times over, chosen as one of the splits would. Only *which* posts differs.

# %%
raised = "By how much does the random split raise the score above the split by cluster?"
lk.predict("data.leak", raised, unit="points", low=-100, high=100)

# %%
ways = {"random": "random", "time": "time", "cluster": "cluster"}
ways |= {"cluster, then time": "time-cluster"}
split_records = {
    name: lk.runs.Record.load(f"data-posts-{way}") for name, way in ways.items()
}
title = "The same questions: what leaks is what scores (recorded)"
lk.plots.scores(
    {name: lk.runs.pooled(each) for name, each in split_records.items()}, title
)

# %%
inflation, leak = (
    lk.runs.paired_difference(split_records[one], split_records[other])
    for one, other in (("random", "cluster"), ("time", "cluster, then time"))
)
lk.predict("data.leak", outcome=round(100 * inflation.mean, 1))
print(f"random − cluster: {inflation.points:+.1f} points")
print(f"time − cluster, then time: {leak.points:+.1f} points")

# %%
lk.claim("C04", measured=inflation.mean)

# %%
lk.claim("C05", measured=leak.mean)

# %% [markdown]
# By the random split, the model has learned the year's news. It has only memorized its posts: about facts that are in
# none of them it knows nothing fresh, as in lab 00. And a cut by time alone still leaks. *Further* has each kind apart,
# the cost of a later time (*drift*), and questions *out of distribution*, which no split gives you.
#
# Last, train on the cleaned pool yourself, live (about half a minute).

# %% tags=["nbval-ignore-output"]
live = lk.run("data-clean", live=True)
live

# %%
lk.measured("right answers, held out", live.score.share, 0.88, 1.00)

# %%
lk.quiz("data", when="during", segment="splits")

# %% [markdown]
# ## What you keep
#
# The row of this lab.

# %% tags=["nbval-ignore-output"]
live.keep("trained on the cleaned pool")
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
# ### 99% thrown away?
#
# *Leading labs throw 99% of their data away*: no lab has published that.

# %%
dropped = 1 - len(lk.almanac.pool.cleaned(pool)) / len(pool)
print(f"here: {dropped:.1%} of the candidates dropped, deduplication included")
print(f"DCLM: {1 - 3.8 / 240:.1%} of 240 trillion tokens dropped (arXiv 2406.11794)")
lk.claim("C02", measured=dropped)

# %% [markdown]
# One is a share of chosen examples, the other a share of a raw web crawl's tokens: they cannot be compared.
#
# ### Do not grade by the reward that you trained on
#
# A test set for reinforcement learning has a rule of its own: it is graded by *another* reward than training used. Here
# is why. Models trained on the cleaned pool, 16 seeds, answer each of 44 questions sixteen times, sampled at random.
# Reward A likes thorough answers: a point for each word, if there is an `Answer:`. Take the best of n by A. Then ask
# reward B, which only looks at whether the answer is right.

# %%
curves = lk.best_of.recorded()
for number, count in enumerate(curves[0].counts):
    by_a, by_b = (
        lk.runs.interval([getattr(each, name)[number] for each in curves])
        for name in ("by_a", "by_b")
    )
    print(f"best of {count:>2}: A {by_a.mean:5.2f} words, B right {by_b:.1%}")


# %%
def against_one(name):
    """The change against one sample, in percent, for each n."""
    rows = [
        [100 * (value / getattr(each, name)[0] - 1) for value in getattr(each, name)]
        for each in curves
    ]
    return [lk.runs.interval(values) for values in zip(*rows)]


both = {"reward A, words": against_one("by_a"), "reward B, right": against_one("by_b")}
title = "Picked by A, the answers get better by A and worse by B (recorded)"
lk.plots.courses(
    curves[0].counts,
    both,
    title,
    "best of n",
    "change against one sample (%)",
    x_log=True,
)

# %%
last = lk.runs.interval([each.by_b[-1] - each.by_b[0] for each in curves])
print(f"best of 16 − one sample, by B: {last.points:+.1f} points")
lk.claim("C07", measured=last.mean)

# %% [markdown]
# Who looks only at A reports progress, while right answers become fewer. This is Goodhart's law: once a measure becomes
# a target, it stops being a good measure. Best of n does no training at all; a policy that is trained on A goes further
# in the same direction (Gao, Schulman and Hilton 2022, arXiv 2210.10760).

# %% [markdown]
# ### Far from home
#
# No split gives you one more kind of test: questions *out of distribution*. Ask your run three kinds: facts in words
# that no training example uses, the long tail of towns and people that the text rarely mentions, and a family that was
# never shown, subtraction. First lock in a guess for the unseen family.

# %%
lk.predict(
    "data.far",
    "What share of the unseen family is answered correctly?",
    unit="%",
    low=0,
    high=100,
)

# %%
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

# %% [markdown]
# ### A cut by time, each kind apart, and drift
#
# In a toy: five clusters, each a post with its reposts, and a cut at day 34.

# %%
days = [[1, 4, 9], [20, 22, 31], [28, 30, 35], [40, 44], [33, 36, 50]]
lk.pictures.cut_in_time(days, cut=34)

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

# %% [markdown]
# Even unchanged facts gain from the leak, because it is news too that a mayor is *still* in office.
#
# And *drift*, the cost of being asked about a later time? Between the two honest splits nothing is lost: in the last
# four lines only the unchanged facts move, and they gain. Whatever changed had already changed at New Year, before the
# first post. The drift shows between the kinds: the base knows the world of the year before.

# %%
honest = split_records["cluster, then time"]
shares = {
    kind: [outcome.by_task[kind]["share"] for outcome in honest.outcomes]
    for kind in ("unchanged", "changed")
}
drift = lk.runs.interval([still - now for still, now in zip(*shares.values())])
print(f"unchanged − changed: {drift.points:+.1f} points")

# %% [markdown]
# So a score by time needs both numbers: an average over the kinds would rise and fall with the share of the questions
# that ask for something that has changed.

# %% [markdown]
# ### What a library makes of a threshold
#
# Ask `datasketch` for "a threshold of 0.8". How many of the pairs *at* 0.8 become candidates?

# %%
from datasketch import MinHashLSH

theirs = MinHashLSH(threshold=0.8, num_perm=128)
ours = lk.dedup.scheme(threshold=0.8)
schemes = {"datasketch": (theirs.b, theirs.r), "labkit": (ours.bands, ours.rows)}
for name, (bands, rows) in schemes.items():
    chances = [f"{s}: {candidate_checked(s, bands, rows):.2f}" for s in (0.6, 0.8, 0.9)]
    print(f"{name:<11}{bands:>3} bands of {rows:>2} rows   {', '.join(chances)}")

# %% [markdown]
# It weighs misses and false alarms equally, and so it misses more than half of the pairs at its threshold.

# %% [markdown]
# ### Exercise: Jaccard similarity
#
# *Easy, one edge, 3 minutes.* You get two sets. Two empty sets are equal: their similarity is 1.0.


# %% tags=["nbval-ignore-output"]
@lk.exercise("data.jaccard")
def jaccard(a: set[str], b: set[str]) -> float:
    """The elements in both over those in either, from 0 to 1; two empty sets: 1.0."""
    ...


# %%
jaccard_checked = lk.use("data.jaccard")
first = "the red mill stands by the river"
for other in ("the red mill stands by the bridge", "the red mill stands"):
    both = (lk.dedup.shingles(text, 3) for text in (first, other))
    print(f"{jaccard_checked(*both):.2f}  {other}")

# %% [markdown]
# ### How good is the estimate?
#
# 128 pairs (a, b), drawn from the whole range up to a large prime (small ones barely shuffle), on 300 posts of the
# pool, each beside a repost of it.

# %%
by_id = {example.id: example for example in pool}
prime, draw = 2**61 - 1, Random(1)
a, b = ([draw.randrange(1, prime) for _ in range(128)] for _ in range(2))
reposts = [
    (by_id[each.of], by_id[id]) for id, each in truth.items() if each.kind == "repost"
]
true, told = [], []
for pair in reposts[:300]:
    sets = [lk.dedup.shingles(lk.almanac.pool.text(example), 3) for example in pair]
    one, other = (
        minhash_checked(lk.dedup.shingle_ids([found])[0].tolist(), a, b, prime)
        for found in sets
    )
    true.append(jaccard_checked(*sets))
    told.append(sum(x == y for x, y in zip(one, other)) / 128)
error = (sum((x - y) ** 2 for x, y in zip(true, told)) / len(true)) ** 0.5
expected = (sum(x * (1 - x) for x in true) / len(true) / 128) ** 0.5
print(
    f"off by {error:.3f} on average; a share of 128 draws would be off by {expected:.3f}"
)

# %% [markdown]
# ### Exercise: split by time
#
# *Easy, 3 minutes.* Examples are dicts with a `"date"`, an ISO day. Train holds the examples from before the
# cutoff, test those from that day and later; the order stays.


# %% tags=["nbval-ignore-output"]
@lk.exercise("data.split_by_time")
def split_by_time(examples: list[dict], cutoff: str) -> tuple[list[dict], list[dict]]:
    """(the examples from before the cutoff, the others), both in the given order."""
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
    if each.kind == "paraphrase" and id in {example.id for example in left}
)
for example in (original, other):
    print(lk.almanac.pool.text(example).replace("\n", " / "))
both = (
    lk.dedup.shingles(lk.almanac.pool.text(example), 3) for example in (original, other)
)
same = original.answer == other.answer
print(f"Jaccard {jaccard_checked(*both):.2f}, same answer: {same}")

# %% [markdown]
# Compare meanings: vectors of a text-embedding model, and their neighbours (SemDeDup, arXiv 2303.09540). That finds
# more, and makes more errors: *who was mayor in 2023* and *in 2024* are close neighbours.
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

# %% [markdown]
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
    chance = candidate_checked(similarity, bands=14, rows=8)
    print(f"{similarity}: removed with a probability of {chance:.2f}")
