"""Exercises of lab 04: which tokens carry loss, how rows become a batch, and what in a batch ruins a run."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator

from labkit import masking
from labkit.exercises.kinds import Comparison, Exercise, Probe, mistake

# completion_labels


def completion_probes(rng: random.Random) -> Iterator[Probe]:
    yield Probe(([5, 6, 7], [8, 9]), "edges")
    yield Probe(([4], [3]), "edges")
    yield Probe(([], [3, 1]), "edges")
    yield Probe(([4, 4], []), "edges")
    yield Probe(([7, 7], [7, 7]), "edges")
    for _ in range(5):
        prompt = rng.sample(range(5, 60), rng.randint(2, 6))
        yield Probe((prompt, [*rng.sample(range(5, 60), rng.randint(2, 5)), 1]), "typical")
    yield Probe((prompt, [*prompt[::-1], 1]), "typical")  # the answer says again what the question says


@mistake(
    "one token early",
    "The labels begin one token early: you train on the last token of the prompt, which the model is always given.",
)
def completion_one_early(prompt_ids, completion_ids):
    labels = masking.completion_labels(prompt_ids, completion_ids)
    return labels[: max(len(prompt_ids) - 1, 0)] + prompt_ids[-1:] + completion_ids


@mistake(
    "one token late",
    "The labels begin one token late: the completion's first token, the one that decides what the answer is about, is "
    "never trained.",
)
def completion_one_late(prompt_ids, completion_ids):
    return [-100] * (len(prompt_ids) + 1) + completion_ids[1:]


@mistake(
    "end token masked",
    "The last token is masked. It is the end token: a model that never trains it never learns to stop.",
)
def completion_without_end(prompt_ids, completion_ids):
    return [-100] * len(prompt_ids) + completion_ids[:-1] + [-100]


SHIFTED = (
    "You shifted the labels by one. The library shifts again: each position would learn the token after the next "
    "one. A label has the same position as its token."
)


@mistake("shifted already", SHIFTED)
def completion_shifted_already(prompt_ids, completion_ids):
    return [*masking.completion_labels(prompt_ids, completion_ids)[1:], -100][: len(prompt_ids) + len(completion_ids)]


@mistake("shifted already, one −100 fewer and one at the end", SHIFTED)
def completion_shifted_by_count(prompt_ids, completion_ids):
    return [-100] * (len(prompt_ids) - 1) + completion_ids + [-100]


@mistake("shifted already, and no mask", SHIFTED)
def completion_shifted_without_mask(prompt_ids, completion_ids):
    return [*prompt_ids, *completion_ids][1:] + [-100]


@mistake(
    "shifted the wrong way",
    "You moved the labels one place to the right: each position would learn the token that it has just read. A label "
    "has the same position as its token.",
)
def completion_shifted_late(prompt_ids, completion_ids):
    return [-100] * (len(prompt_ids) + 1) + completion_ids[:-1]


@mistake(
    "one −100 too few",
    "There is one −100 too few: as many as the prompt has tokens. So the labels are one short, and all of the "
    "completion's are one place early.",
)
def completion_one_masked_too_few(prompt_ids, completion_ids):
    return [-100] * (len(prompt_ids) - 1) + completion_ids


@mistake(
    "one −100 too many",
    "There is one −100 too many: as many as the prompt has tokens. So there is one label more than tokens, and all of "
    "the completion's are one place late.",
)
def completion_one_masked_too_many(prompt_ids, completion_ids):
    return [-100] * (len(prompt_ids) + 1) + completion_ids


@mistake(
    "one −100 for the prompt",
    "One −100 stands for the whole prompt: there are as many labels as tokens, so each token of the prompt needs one.",
)
def completion_one_for_all(prompt_ids, completion_ids):
    return [-100, *completion_ids]


@mistake(
    "end token left out",
    "The completion's last token has no label, so there is one label fewer than tokens. It is the end token: a model "
    "that never trains it never learns to stop.",
)
def completion_end_left_out(prompt_ids, completion_ids):
    return [-100] * len(prompt_ids) + completion_ids[:-1]


@mistake(
    "masked by value",
    "You mask every token that is also in the prompt, in the completion too: what an answer repeats from its question "
    "would never be trained. Go by the position.",
)
def completion_by_value(prompt_ids, completion_ids):
    return [-100 if id in prompt_ids else id for id in [*prompt_ids, *completion_ids]]


@mistake("no mask", "Nothing is masked: the prompt's tokens carry loss too. Put −100 in their place.")
def completion_of_everything(prompt_ids, completion_ids):
    return [*prompt_ids, *completion_ids]


@mistake("the wrong side", "You mask the completion and train on the prompt: it is the other way round.")
def completion_of_the_prompt(prompt_ids, completion_ids):
    return [*prompt_ids, *[-100] * len(completion_ids)]


@mistake(
    "no labels for the prompt",
    "There are as many labels as tokens in the row: the prompt's tokens have one too, −100.",
)
def completion_alone(prompt_ids, completion_ids):
    return list(completion_ids)


@mistake("zero for no loss", "0 is the id of a token, and would be learned. The label that is ignored is −100.")
def completion_with_zeros(prompt_ids, completion_ids):
    return [0] * len(prompt_ids) + list(completion_ids)


@mistake("a mask of ones", "You give a mask of 0 and 1. A label is the id of the token to predict, or −100.")
def completion_as_mask(prompt_ids, completion_ids):
    return [0] * len(prompt_ids) + [1] * len(completion_ids)


COMPLETION_LABELS = Exercise(
    id="masking.completion_labels",
    points=2,
    minutes=4,
    reference=masking.completion_labels,
    probes=completion_probes,
    misconceptions=(
        completion_one_early,
        completion_one_late,
        completion_without_end,
        completion_shifted_already,
        completion_shifted_by_count,
        completion_shifted_without_mask,
        completion_shifted_late,
        completion_one_masked_too_few,
        completion_one_masked_too_many,
        completion_one_for_all,
        completion_end_left_out,
        completion_by_value,
        completion_of_everything,
        completion_of_the_prompt,
        completion_alone,
        completion_with_zeros,
        completion_as_mask,
    ),
    hints=(
        "How many labels does the row have? What goes where no loss is taken?",
        "As many −100 as the prompt has tokens, then the completion's ids as they are, the last one too.",
        "`[-100] * len(prompt_ids)`, and after it the list of `completion_ids`.",
    ),
)


# partial_labels


def partial_probes(rng: random.Random) -> Iterator[Probe]:
    shot = [("shot question", [6, 7]), ("shot answer", [8, 1])]
    row = [("system", [2, 5]), *shot, ("question", [9]), ("answer", [4, 1])]
    yield Probe((row, {"shot answer", "answer"}), "edges")
    yield Probe((row, {"answer"}), "edges")
    yield Probe(([], {"answer"}), "edges")
    yield Probe(([("system", [3, 3]), ("answer", [])], {"answer"}), "edges")
    yield Probe(([("question", [3, 4])], {"question"}), "edges")
    yield Probe((row, {"system", "answer"}), "edges")
    yield Probe((row[:3], {"answer"}), "edges")
    for _ in range(4):
        draw = lambda: rng.choices(range(5, 40), k=rng.randint(1, 4))
        shots = [(role, draw()) for _ in range(rng.randint(1, 2)) for role in ("shot question", "shot answer")]
        segments = [("system", draw()), *shots, ("question", draw()), ("answer", [*draw(), 1])]
        chosen = {"answer", rng.choice(["shot answer", "shot question"])}
        yield Probe((segments, chosen), "typical")
        yield Probe((segments, {"shot answer"}), "typical")
    yield Probe((segments, {"system", "answer"}), "typical")


@mistake(
    "final answer only",
    "You always train on the last segment: check for each segment whether its role is in train_on.",
)
def partial_final_only(segments, train_on):
    last = len(segments) - 1
    return [i if n == last else -100 for n, (_, ids) in enumerate(segments) for i in ids]


@mistake("turned round", "You mask what should be trained, and train what should be masked.")
def partial_inverted(segments, train_on):
    return [-100 if role in train_on else i for role, ids in segments for i in ids]


@mistake("no mask", "Every segment carries loss: roles that are not in train_on must be −100.")
def partial_everything(segments, train_on):
    return [i for _, ids in segments for i in ids]


@mistake(
    "part of a name",
    'You look for a part of the name: "answer" is also in "shot answer". `role in train_on` compares whole names '
    "where train_on is a set.",
)
def partial_by_part_of_name(segments, train_on):
    meant = {role for role, _ in segments if any(role in name or name in role for name in train_on)}
    return masking.partial_labels(segments, meant)


@mistake(
    "end tokens masked",
    "The last token of a trained segment is masked: it is the end token, which must be learned too.",
)
def partial_without_ends(segments, train_on):
    return [
        i if role in train_on and place < len(ids) - 1 else -100
        for role, ids in segments
        for place, i in enumerate(ids)
    ]


@mistake(
    "one label a segment",
    "A masked segment of five tokens needs five times −100, not one: there are as many labels as tokens.",
)
def partial_one_a_segment(segments, train_on):
    labels = []
    for role, ids in segments:
        labels += ids if role in train_on else [-100]
    return labels


@mistake(
    "masked segments left out",
    "The masked segments have no labels at all: then the labels are not at the positions of their tokens.",
)
def partial_kept_only(segments, train_on):
    return [i for role, ids in segments if role in train_on for i in ids]


@mistake(
    "a list of lists", "You give a list for each segment: the row is one list, so join them into one list of integers."
)
def partial_as_lists(segments, train_on):
    return [list(ids) if role in train_on else [-100] * len(ids) for role, ids in segments]


PARTIAL_LABELS = Exercise(
    id="masking.partial_labels",
    points=2,
    minutes=5,
    reference=masking.partial_labels,
    probes=partial_probes,
    misconceptions=(
        partial_final_only,
        partial_inverted,
        partial_everything,
        partial_by_part_of_name,
        partial_without_ends,
        partial_one_a_segment,
        partial_kept_only,
        partial_as_lists,
    ),
    hints=(
        "Go through the segments in order. What does each add to the labels?",
        "A segment adds its ids if its role is in train_on; else it adds −100, once for each of its tokens.",
        "`labels += ids if role in train_on else [-100] * len(ids)`",
    ),
)


# prompt_share


def share_probes(rng: random.Random) -> Iterator[Probe]:
    yield Probe(([[-100, -100, 5, 1], [-100, 7, 8, -100]], [4, 3]), "edges")
    yield Probe(([[-100, -100]], [2]), "edges")
    yield Probe(([[4, 5]], [2]), "edges")
    yield Probe(([[-100, 3, -100], [-100, -100, -100]], [2, 0]), "edges")
    yield Probe(([], []), "edges")
    yield Probe(([[-100, -100]], [0]), "edges")
    yield Probe(([[-100, 7, -100, 8, -100, 1]], [6]), "edges")
    for _ in range(5):
        shapes = [(rng.randint(1, 6), rng.randint(1, 3)) for _ in range(2)]
        shapes.append((rng.randint(9, 14), rng.randint(4, 6)))
        width = max(map(sum, shapes))
        rows = [[-100] * p + rng.choices(range(5, 50), k=c) + [-100] * (width - p - c) for p, c in shapes]
        yield Probe((rows, [p + c for p, c in shapes]), "typical")
    shots = [rng.choices((-100, 7, 9), k=rng.randint(6, 9)) for _ in range(2)]
    yield Probe(([[-100, 5, *row, -100, 1] for row in shots], [len(row) + 4 for row in shots]), "typical")


@mistake(
    "mean of ratios",
    "You average the rows' shares: then a row of ten tokens counts as much as one of a thousand. Sum first, divide "
    "last.",
)
def share_mean_of_ratios(batch_labels, lengths):
    shares = [masking.prompt_share([labels], [n]) for labels, n in zip(batch_labels, lengths) if n]
    if not shares:
        raise ValueError("no row")
    return sum(shares) / len(shares)


@mistake(
    "padding counted",
    "You count padding as prompt: its labels are −100 too, but it is not a real token. Look at the first `length` labels.",
)
def share_with_padding(batch_labels, lengths):
    if not sum(lengths):
        raise ValueError("no token")
    labels = [label for row in batch_labels for label in row]
    return sum(label == -100 for label in labels) / len(labels)


@mistake(
    "padding above the line only",
    "Padding counts in the numerator but not in the denominator: leave it out of both.",
)
def share_padding_above_only(batch_labels, lengths):
    if not sum(lengths):
        raise ValueError("no token")
    return sum(label == -100 for row in batch_labels for label in row) / sum(lengths)


@mistake("share of the completion", "That is the share of tokens that carry loss; the exercise asks for the rest.")
def share_of_completions(batch_labels, lengths):
    return 1 - masking.prompt_share(batch_labels, lengths)


@mistake("ratio of prompt to completion", "You divide prompt by completion: a share divides by all real tokens.")
def share_as_ratio(batch_labels, lengths):
    share = masking.prompt_share(batch_labels, lengths)
    return share / (1 - share) if share < 1 else math.inf


@mistake("percent", "A share lies between 0 and 1; yours is in percent.")
def share_as_percent(batch_labels, lengths):
    return 100 * masking.prompt_share(batch_labels, lengths)


PROMPT_SHARE = Exercise(
    id="masking.prompt_share",
    points=1,
    minutes=5,
    reference=masking.prompt_share,
    probes=share_probes,
    misconceptions=(
        share_mean_of_ratios,
        share_with_padding,
        share_padding_above_only,
        share_of_completions,
        share_as_ratio,
        share_as_percent,
    ),
    hints=(
        "What is counted in the numerator, and what in the denominator? Is padding a real token?",
        "Take the first `length` labels of each row. Sum over the batch before you divide.",
        "`sum(label == -100 for labels, n in zip(batch_labels, lengths) for label in labels[:n]) / sum(lengths)`",
    ),
)


# collate


def collate_probes(rng: random.Random) -> Iterator[Probe]:
    def row(ids, masked):
        return {"input_ids": ids, "labels": [-100] * masked + ids[masked:]}

    yield Probe(([row([5, 6, 1], 1)], 0), "edges")
    yield Probe(([row([5, 6], 1), row([7, 8, 9, 1], 2)], 0), "edges")
    yield Probe(([row([5, 0, 6, 1], 1), row([7, 1], 1)], 0), "edges")  # a real token equals pad
    yield Probe(([row([5, 6, 1], 1), row([7, 1], 1)], 1), "edges")  # the end token is the padding
    yield Probe(([row([], 0), row([5, 1], 1)], 0), "edges")
    yield Probe(([row([], 0), row([], 0)], 0), "edges")
    yield Probe(([], 0), "edges")
    for _ in range(4):
        pad = rng.choice([0, 1])
        rows = []
        for size in rng.sample(range(3, 8), 3):
            ids = [*rng.choices(range(2, 30), k=size - 2), pad, 1]
            rows.append(row(ids, rng.randint(1, size - 2)))
        yield Probe((rows, pad), "typical")
    yield Probe(([row([], 0), *rows], 1), "typical")
    yield Probe(([row([], 0)] * rng.randint(1, 3), 1), "typical")


def _checked_rows(rows: list) -> None:
    if not rows:
        raise ValueError("no rows")


@mistake(
    "labels padded with pad",
    "The labels are padded with the pad id: the model would learn to write padding. Pad them with −100.",
)
def collate_labels_with_pad(rows, pad):
    batch = masking.collate(rows, pad)
    size = batch["attention_mask"].bool()
    batch["labels"] = batch["labels"].where(size, pad)
    return batch


@mistake(
    "mask by value",
    "The mask is 0 wherever an id equals pad: a real token may have that id (the end token, if it is also the "
    "padding). Go by the position.",
)
def collate_mask_by_value(rows, pad):
    batch = masking.collate(rows, pad)
    batch["attention_mask"] = (batch["input_ids"] != pad).long()
    return batch


@mistake(
    "labels by value",
    "You set the label of every token that equals pad to −100: if the end token is also the padding, no row teaches "
    "the model to stop.",
)
def collate_labels_by_value(rows, pad):
    batch = masking.collate(rows, pad)
    batch["labels"] = batch["labels"].masked_fill(batch["input_ids"] == pad, -100)
    return batch


@mistake(
    "padded on the left",
    "The padding is on the left, as for generation. For training it is on the right.",
)
def collate_on_the_left(rows, pad):
    import torch

    _checked_rows(rows)
    longest = max(len(row["input_ids"]) for row in rows)

    def padded(lists, value):
        return torch.tensor([[value] * (longest - len(x)) + list(x) for x in lists], dtype=torch.int64)

    return {
        "input_ids": padded([r["input_ids"] for r in rows], pad),
        "attention_mask": padded([[1] * len(r["input_ids"]) for r in rows], 0),
        "labels": padded([r["labels"] for r in rows], -100),
    }


@mistake("cut to the shortest", "You cut the rows to the shortest: pad them to the longest, nothing may be lost.")
def collate_cut_to_shortest(rows, pad):
    _checked_rows(rows)
    shortest = min(len(row["input_ids"]) for row in rows)
    return masking.collate([{key: row[key][:shortest] for key in ("input_ids", "labels")} for row in rows], pad)


@mistake(
    "mask from the labels",
    "The attention mask is 0 on the prompt: the model must read the prompt; only the loss is not taken there.",
)
def collate_mask_from_labels(rows, pad):
    batch = masking.collate(rows, pad)
    batch["attention_mask"] = (batch["labels"] != -100).long()
    return batch


@mistake(
    "labels from the ids", "You take the ids as labels: tokens that the rows' own labels mask are trained after all."
)
def collate_labels_from_ids(rows, pad):
    batch = masking.collate(rows, pad)
    batch["labels"] = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
    return batch


@mistake(
    "shifts the labels",
    "You shift the labels by one; the library does that. A label has the same position as its token.",
)
def collate_shifts_labels(rows, pad):
    import torch

    batch = masking.collate(rows, pad)
    labels = batch["labels"]
    batch["labels"] = torch.cat([labels[:, 1:], torch.full_like(labels[:, :1], -100)], dim=1)
    return batch


@mistake(
    "float32 from empty rows",
    "An empty row without a type becomes float32, and makes what it is joined with float32. Give the type: "
    "`torch.tensor(…, dtype=torch.int64)`.",
)
def collate_floats_of_empty_rows(rows, pad):
    batch = masking.collate(rows, pad)
    return batch if rows[0]["input_ids"] else {key: value.float() for key, value in batch.items()}


@mistake(
    "mask padded with pad",
    "You fill up the attention mask with `pad`. It says what is real: 1 for tokens and 0 for padding, whatever id the "
    "padding has.",
)
def collate_mask_with_pad(rows, pad):
    batch = masking.collate(rows, pad)
    mask = batch["attention_mask"]
    return batch | {"attention_mask": mask.where(mask == 1, pad)}


@mistake("ids padded with −100", "The ids are padded with −100, which is not the id of a token. Pad them with `pad`.")
def collate_ids_with_ignored(rows, pad):
    batch = masking.collate(rows, pad)
    return batch | {"input_ids": batch["input_ids"].where(batch["attention_mask"] == 1, -100)}


@mistake("no attention mask", "The attention mask is missing: the dict has three tables.")
def collate_without_mask(rows, pad):
    batch = masking.collate(rows, pad)
    return {key: batch[key] for key in ("input_ids", "labels")}


COLLATE = Exercise(
    id="masking.collate",
    points=2,
    minutes=6,
    reference=masking.collate,
    probes=collate_probes,
    compare=Comparison(dtype="int64"),
    torch=True,
    misconceptions=(
        collate_labels_with_pad,
        collate_mask_by_value,
        collate_labels_by_value,
        collate_on_the_left,
        collate_cut_to_shortest,
        collate_mask_from_labels,
        collate_labels_from_ids,
        collate_shifts_labels,
        collate_floats_of_empty_rows,
        collate_mask_with_pad,
        collate_ids_with_ignored,
        collate_without_mask,
    ),
    hints=(
        "Three tables of one shape. What fills each of them up: pad, 0, or something else?",
        "Ids with `pad`, the attention mask with 0, labels with −100; each row by `longest - len(row)` places.",
        (
            "For each row: `ids + [pad] * gap`, `[1] * len(ids) + [0] * gap`, `labels + [-100] * gap`; then "
            "`torch.tensor(…, dtype=torch.int64)`. No rows: raise ValueError."
        ),
    ),
)


# check_batch

END = 1


def batch_probes(rng: random.Random) -> Iterator[Probe]:
    def row(prompt, completion):
        return {"input_ids": prompt + completion, "labels": [-100] * len(prompt) + completion}, len(prompt)

    def hide(made, *places):
        for place in places:
            made[0]["labels"][place] = -100
        return made

    def shift(made, way):
        labels = made[0]["labels"]
        made[0]["labels"] = [-100, *labels[:-1]] if way == "late" else [*labels[1:], -100]
        return made

    def open_prompt(made):
        made[0]["labels"][: made[1]] = made[0]["input_ids"][: made[1]]
        return made

    def cut(made, size):
        made[0]["input_ids"], made[0]["labels"] = made[0]["input_ids"][:size], made[0]["labels"][:size]
        return made

    def probe(group, *made, pad=0):
        return Probe((masking.collate([row for row, _ in made], pad), [start for _, start in made], END), group)

    def sound(size=None):
        prompt = [*rng.sample(range(5, 50), size or rng.randint(2, 5)), END, 3]  # an end token and a role before it
        return row(prompt, [*rng.sample(range(5, 50), rng.randint(3, 5)), END])

    def size(made):
        return len(made[0]["input_ids"])

    for group, pad, others in (("pad of its own", 0, 2), ("end is pad", END, 0)):
        yield probe(group, row([5, 6], [7, 8, END]), pad=pad)
        yield probe(group, row([5], [END]), row([5, 6, 7], [8, END]), pad=pad)
        yield probe(group, row([5, pad], [pad, 8, END]), row([5, 6, 4], [7, 9, 8, END]), pad=pad)
        before = [sound() for _ in range(others)]
        made = sound()
        yield probe(group, *before, hide(made, *range(size(made))), pad=pad)
        made = sound()
        yield probe(group, *before, hide(made, *range(made[1] + rng.randint(2, 3))), pad=pad)
        made = sound()
        yield probe(group, *before, hide(made, made[1]), pad=pad)
        for way in ("late", "early"):
            yield probe(group, *before, shift(sound(), way), pad=pad)
        yield probe(group, *before, open_prompt(sound()), pad=pad)
        yield probe(group, *before, hide(open_prompt(sound(3)), 1), pad=pad)  # some of it is masked: that is meant
        made = open_prompt(sound(3))
        yield probe(group, *before, hide(made, 1, made[1], made[1] + 1), pad=pad)
        made = open_prompt(sound())
        yield probe(group, *before, hide(made, size(made) - 1), pad=pad)
        made = sound(3)
        yield probe(group, *before, cut(made, size(made) - rng.randint(1, 2)), sound(5), pad=pad)
        made = sound()
        yield probe(group, *before, hide(made, size(made) - 1), pad=pad)
        made = sound(2)
        yield probe(group, *before, cut(made, made[1]), pad=pad)  # cut before its completion
        yield probe(group, sound(4), *before, sound(2), pad=pad)
        two = ([5, 6], [7, END])
        yield probe(group, hide(row(*two), 3), hide(row(*two), 2), pad=pad)
        yield probe(group, hide(row(*two), 3), hide(row(*two), 2, 3), pad=pad)
        yield probe(group, hide(row(*two), 2), hide(row([5, 6], [7, 8, END]), 2, 3), pad=pad)
        yield probe(group, hide(row(*two), 2, 3), cut(row([5, END, 6], [7, 8, END]), 5), pad=pad)
        yield probe(group, row([5, 7], [7, 7, END]), row([7, 7, 7], [7, 7, END]), pad=pad)
        yield probe(group, row([5, END], [END]), pad=pad)  # the label is the token before as well: nothing is shifted
        yield probe(group, open_prompt(row(*two)), shift(row([5, 6], [7, 8, END]), "early"), pad=pad)
        yield probe(group, hide(row(*two), 2), open_prompt(row([5, 6], [7, 8, END])), pad=pad)


@mistake(
    "looks at the whole batch only",
    "You ask whether any label of the batch counts: one good row then hides a row that is fully masked. Go row by row.",
)
def check_whole_batch(batch, prompt_lengths, end_id):
    if not bool((batch["labels"] != -100).any()):
        return masking.check_batch(batch, prompt_lengths, end_id)
    found = masking.check_batch(batch, prompt_lengths, end_id)
    return "ok" if found == "all_masked" else found


@mistake(
    "end token taken for padding",
    "You answer `truncated` where the rows do end with the end token. Look at the last token where attention_mask is 1: "
    "by its value you cannot tell a real end token from padding.",
)
def check_by_value(batch, prompt_lengths, end_id):
    mask = batch["input_ids"] != end_id
    mask = mask & (batch["attention_mask"] > 0)
    return masking.check_batch(batch | {"attention_mask": mask.long()}, prompt_lengths, end_id)


@mistake(
    "padding taken for the row",
    "You look at the last column: in a shorter row there is padding. Take the last token where attention_mask is 1.",
)
def check_last_column(batch, prompt_lengths, end_id):
    whole = {key: value.clone() for key, value in batch.items()}
    whole["attention_mask"][:] = 1
    return masking.check_batch(whole, prompt_lengths, end_id)


@mistake(
    "an end token anywhere",
    "A row that was cut gets another name from you. Its last real token must be `end_id`: an end token somewhere in the "
    "row is not enough, because prompts have some too.",
)
def check_end_anywhere(batch, prompt_lengths, end_id):
    found = masking.check_batch(batch, prompt_lengths, end_id)
    if found != "truncated":
        return found
    ids = [row for row in batch["input_ids"].tolist() if end_id not in row]
    if ids:
        return found
    hidden = [bool((labels == -100).all()) for labels in batch["labels"]]
    return "all_masked" if any(hidden) else "ok"


@mistake("first row only", "You look at the first row only; the fault may be in any.")
def check_first_row(batch, prompt_lengths, end_id):
    return masking.check_batch({key: value[:1] for key, value in batch.items()}, prompt_lengths[:1], end_id)


@mistake(
    "rows before the table",
    "You return the fault of the first row that has one: the order of the table comes first. Collect the faults of all "
    "rows, then go down the table.",
)
def check_rows_first(batch, prompt_lengths, end_id):
    rows = [{key: value[i : i + 1] for key, value in batch.items()} for i in range(len(prompt_lengths))]
    found = (masking.check_batch(row, [start], end_id) for row, start in zip(rows, prompt_lengths))
    return next((fault for fault in found if fault != "ok"), "ok")


@mistake(
    "masked before truncated",
    "A row that was cut before its completion has no label either, but its fault is the cut: check for `truncated` "
    "before `all_masked`.",
)
def check_masked_before_cut(batch, prompt_lengths, end_id):
    if bool((batch["labels"] == -100).all(dim=1).any()):
        return "all_masked"
    return masking.check_batch(batch, prompt_lengths, end_id)


@mistake(
    "late for template",
    "`late` is one missing label; where the first two are missing, the mask looked for another marker: `template`.",
)
def check_late_for_template(batch, prompt_lengths, end_id):
    found = masking.check_batch(batch, prompt_lengths, end_id)
    return "late" if found == "template" else found


@mistake(
    "end token's label not looked at",
    "The end token is there, and its label is −100: that is `no_end_token`, and the model never learns to stop.",
)
def check_never_ends(batch, prompt_lengths, end_id):
    found = masking.check_batch(batch, prompt_lengths, end_id)
    return "ok" if found == "no_end_token" else found


@mistake(
    "prompts not looked at",
    "You look at the completion alone. A row whose whole prompt carries loss is the commonest fault: `prompt_trained`.",
)
def check_completion_only(batch, prompt_lengths, end_id):
    labels = batch["labels"].clone()
    ids = batch["input_ids"]
    for row, start in enumerate(prompt_lengths):
        if bool((labels[row, :start] == ids[row, :start]).all()):
            labels[row, :start] = -100
    return masking.check_batch(batch | {"labels": labels}, prompt_lengths, end_id)


@mistake(
    "one trained token of a prompt taken for all",
    "`prompt_trained` is a prompt whose every token carries loss. You ask whether any does: some may be meant to, as a "
    "shot's answer.",
)
def check_any_of_the_prompt(batch, prompt_lengths, end_id):
    batch = {key: value.clone() for key, value in batch.items()}
    ids, labels = batch["input_ids"], batch["labels"]
    for row, start in enumerate(prompt_lengths):
        if bool((labels[row, :start] == ids[row, :start]).any()) and bool((labels[row, start:] != -100).any()):
            labels[row, :start] = ids[row, :start]
    return masking.check_batch(batch, prompt_lengths, end_id)


@mistake(
    "labels' values not looked at",
    "You miss labels that are moved by one place. Compare each label that counts with the ids: `shifted` if it is the id "
    "before its place, `shifted_early` if it is the id after.",
)
def check_places_only(batch, prompt_lengths, end_id):
    labels = batch["input_ids"].where(batch["labels"] != -100, batch["labels"])
    return masking.check_batch(batch | {"labels": labels}, prompt_lengths, end_id)


@mistake(
    "the two shifts exchanged", "`shifted` is one place too late, `shifted_early` one too early: you exchange them."
)
def check_shifts_exchanged(batch, prompt_lengths, end_id):
    found = masking.check_batch(batch, prompt_lengths, end_id)
    return {"shifted": "shifted_early", "shifted_early": "shifted"}.get(found, found)


CHECK_BATCH = Exercise(
    id="masking.check_batch",
    points=3,
    minutes=12,
    reference=masking.check_batch,
    probes=batch_probes,
    torch=True,
    misconceptions=(
        check_whole_batch,
        check_by_value,
        check_last_column,
        check_end_anywhere,
        check_first_row,
        check_rows_first,
        check_masked_before_cut,
        check_late_for_template,
        check_never_ends,
        check_completion_only,
        check_any_of_the_prompt,
        check_places_only,
        check_shifts_exchanged,
    ),
    hints=(
        "Go row by row. How many tokens are real (attention_mask)? Where does the completion begin?",
        (
            "Find each row's fault, checking in the order of the table; then return the first in that order that "
            "some row has."
        ),
        (
            "`counted = [label != -100 for label in labels]`; `truncated`: `ids[-1] != end_id`; `all_masked`: `not "
            "any(counted)`; `shifted`: some label is not its id, and each is the id before; `prompt_trained`: "
            "`all(counted[:start])`; `template`: `not any(counted[start:start + 2])`; `late`: `not counted[start]`; "
            "`no_end_token`: `not counted[-1]`."
        ),
    ),
)
