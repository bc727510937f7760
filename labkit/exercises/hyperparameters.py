"""Exercises of lab 05: the rate at a step, what one update sees, what several seeds say together, what is wrong with a
run.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from statistics import fmean, median, median_low

from labkit import diagnosis, hyperparameters
from labkit.exercises.kinds import Comparison, Exercise, Probe, mistake

# lr_at


def rate_probes(rng: random.Random) -> Iterator[Probe]:
    for step in (0, 1, 2, 5, 10, 11):
        yield Probe((step, 10, 0.5, 2), "edges")
    yield Probe((0, 4, 1.0, 0), "edges")
    yield Probe((3, 4, 1.0, 4), "edges")
    yield Probe((4, 4, 1.0, 4), "edges")  # the warmup is the whole run: its last update does not have the full rate
    yield Probe((-1, 4, 1.0, 2), "edges")
    for _ in range(3):
        warmup, lr = rng.randint(3, 9), round(rng.uniform(1e-4, 1e-2), 5)
        steps = warmup + rng.randint(6, 40)
        inside = rng.randint(warmup + 1, warmup + (steps - warmup) // 2 - 1)
        for step in (0, rng.randint(1, warmup - 1), warmup, inside, steps - 1, steps):
            yield Probe((step, steps, lr, warmup), "typical")
        yield Probe((rng.randint(1, steps - 1), steps, lr, 0), "typical")
        yield Probe((steps + rng.randint(1, 5), steps, lr, warmup), "typical")


def _rate(step: int, steps: int, lr: float, warmup_steps: int, decay: Callable[[float], float]) -> float:
    """A rise over the warmup, then `decay` of the share that is over; nothing is checked."""
    if step < warmup_steps:
        return lr * step / warmup_steps
    return lr * decay((step - warmup_steps) / max(steps - warmup_steps, 1))


def _cosine(done: float) -> float:
    return (1 + math.cos(math.pi * done)) / 2


@mistake(
    "begins the rise at one",
    "Your rise is one step ahead: counted from 0, update 0 has rate 0, and the update after the last of the warmup is "
    "the first with the full rate.",
)
def rate_one_ahead(step, steps, lr, warmup_steps):
    return lr * (step + 1) / warmup_steps if step < warmup_steps else _rate(step, steps, lr, warmup_steps, _cosine)


@mistake("leaves the warmup out", "You begin with the full rate: over the warmup it rises from 0, a straight line.")
def rate_without_warmup(step, steps, lr, warmup_steps):
    return lr * _cosine(step / steps)


@mistake(
    "measures the cosine from step 0",
    "Your cosine begins at step 0, so at the end of the warmup the rate jumps down: count it from the end of the "
    "warmup, `(step - warmup_steps) / (steps - warmup_steps)`.",
)
def rate_cosine_from_zero(step, steps, lr, warmup_steps):
    return lr * step / warmup_steps if step < warmup_steps else lr * _cosine(step / steps)


@mistake(
    "stretches the cosine",
    "You divide by all steps: the decay has only `steps - warmup_steps` of them, and yours ends above 0.",
)
def rate_stretched(step, steps, lr, warmup_steps):
    return lr * step / warmup_steps if step < warmup_steps else lr * _cosine((step - warmup_steps) / steps)


@mistake(
    "decays in a straight line",
    "You decay in a straight line: the exercise asks for a cosine, `(1 + cos(π·done)) / 2`.",
)
def rate_linear(step, steps, lr, warmup_steps):
    return _rate(step, steps, lr, warmup_steps, lambda done: 1 - done)


@mistake(
    "takes a quarter of the wave",
    "You take cos from 0 to π/2, which is steepest at the end: the decay is half a wave, `(1 + cos(π·done)) / 2`, flat "
    "at both ends.",
)
def rate_quarter(step, steps, lr, warmup_steps):
    return _rate(step, steps, lr, warmup_steps, lambda done: math.cos(math.pi / 2 * done))


@mistake(
    "falls below 0",
    "Your rate falls below 0: cos goes from 1 to −1, so add 1 and halve it, `(1 + cos(π·done)) / 2`.",
)
def rate_negative(step, steps, lr, warmup_steps):
    return _rate(step, steps, lr, warmup_steps, lambda done: math.cos(math.pi * done))


@mistake(
    "rises again",
    "You take a whole wave, `cos(2π·done)`: the rate is 0 in the middle of the decay and full again at its end.",
)
def rate_whole_wave(step, steps, lr, warmup_steps):
    return _rate(step, steps, lr, warmup_steps, lambda done: _cosine(2 * done))


@mistake(
    "divides by a warmup of 0",
    "Without a warmup, yours divides by 0: first check whether the step is still within the warmup.",
)
def rate_divides_by_zero(step, steps, lr, warmup_steps):
    if not 0 <= step <= steps:
        raise ValueError("step")
    return min(1.0, step / warmup_steps) * lr * _cosine(max(step - warmup_steps, 0) / max(steps - warmup_steps, 1))


@mistake(
    "goes on after the end",
    "After the end of the run your cosine rises again, and before its start there is no rate: raise a `ValueError` "
    "unless 0 <= step <= steps.",
)
def rate_unchecked(step, steps, lr, warmup_steps):
    return _rate(step, steps, lr, warmup_steps, _cosine)


LR_AT = Exercise(
    id="hyperparameters.lr_at",
    points=2,
    minutes=6,
    reference=hyperparameters.lr_at,
    probes=rate_probes,
    compare=Comparison(rtol=1e-4, atol=1e-12),  # float32 will do
    misconceptions=(
        rate_one_ahead,
        rate_without_warmup,
        rate_cosine_from_zero,
        rate_stretched,
        rate_linear,
        rate_quarter,
        rate_negative,
        rate_whole_wave,
        rate_divides_by_zero,
        rate_unchecked,
    ),
    hints=(
        "Three cases: outside the run, within the warmup, and after it. What is the rate at step 0, and at the end?",
        "Within the warmup `lr * step / warmup_steps`. After it, what share `done` of the decay is over? Be careful "
        "if the decay has no steps at all.",
        "`done = (step - warmup_steps) / max(steps - warmup_steps, 1)`, and `lr * (1 + math.cos(math.pi * done)) / 2`.",
    ),
)


# effective_batch


def batch_probes(rng: random.Random) -> Iterator[Probe]:
    yield Probe((1, 1, 1), "edges")
    yield Probe((4, 1, 8), "edges")
    yield Probe((4, 8, 1), "edges")
    yield Probe((3, 2, 5), "edges")
    yield Probe((0, 2, 3), "edges")
    yield Probe((4, 2, 0), "edges")
    yield Probe((-4, 2, -1), "edges")  # two below 1, whose product is not
    for _ in range(4):
        yield Probe((rng.randint(2, 16), rng.randint(3, 8), rng.randint(5, 9)), "typical")
    yield Probe((rng.randint(1, 8), 0, rng.randint(1, 8)), "typical")


@mistake("forgets the accumulation", "You leave the accumulated parts out: an update comes only after all of them.")
def batch_without_accumulation(per_device, devices, accumulation):
    return per_device * devices


@mistake("forgets the devices", "You leave the devices out: their gradients are averaged before the update.")
def batch_without_devices(per_device, devices, accumulation):
    return per_device * accumulation


@mistake(
    "divides by the accumulation",
    "You divide by the accumulation: `per_device` is what a device takes at once, and each part adds the same number again.",
)
def batch_divided(per_device, devices, accumulation):
    return per_device * devices // accumulation if accumulation else 0


@mistake("adds them", "You add the three: each device takes `per_device` rows in every part, so they multiply.")
def batch_added(per_device, devices, accumulation):
    return per_device + devices + accumulation


@mistake("spreads it over the devices", "You divide by the devices: each takes `per_device` rows of its own.")
def batch_spread(per_device, devices, accumulation):
    return per_device * accumulation // devices if devices else 0


@mistake("takes 0", "With 0 rows, devices or parts there is no update: raise a `ValueError` where one is below 1.")
def batch_unchecked(per_device, devices, accumulation):
    return per_device * devices * accumulation


EFFECTIVE_BATCH = Exercise(
    id="hyperparameters.effective_batch",
    points=1,
    minutes=3,
    reference=hyperparameters.effective_batch,
    probes=batch_probes,
    misconceptions=(
        batch_without_accumulation,
        batch_without_devices,
        batch_divided,
        batch_added,
        batch_spread,
        batch_unchecked,
    ),
    hints=(
        "How many rows has the model seen, on all devices together, when the optimizer takes its step?",
        "Each device takes `per_device` rows for each of the accumulated parts.",
        "The product of the three; `ValueError` where one is below 1.",
    ),
)


# mean_and_interval

T = (12.7062, 4.30265, 3.18245, 2.77645, 2.57058, 2.44691, 2.36462, 2.30600, 2.26216, 2.22814)  # 97.5%, from 1 degree


def interval_probes(rng: random.Random) -> Iterator[Probe]:
    yield Probe(([0.5, 0.75],), "edges")
    yield Probe(([3.0, 3.0, 3.0],), "edges")
    yield Probe(([-1.0, 0.0, 1.0, 8.0],), "edges")
    yield Probe(([0.5],), "edges")
    yield Probe(([],), "edges")
    for n in (3, 5, 8, 10):
        yield Probe(([round(rng.uniform(0.6, 0.9), 3) for _ in range(n)],), "typical")
    yield Probe(([round(rng.uniform(0, 9), 1)],), "typical")


def _parts(values: list[float]) -> tuple[float, float, int]:
    """(mean, standard deviation with n − 1, n); one value divides by 0."""
    middle = sum(values) / len(values)
    return middle, math.sqrt(sum((value - middle) ** 2 for value in values) / (len(values) - 1)), len(values)


@mistake(
    "takes 1.96",
    "You take 1.96, the normal quantile: with n values the spread itself is uncertain, and Student's t with n − 1 "
    "degrees of freedom is larger, 4.30 at n = 3.",
)
def interval_normal(values):
    middle, spread, n = _parts(values)
    return middle, 1.96 * spread / math.sqrt(n)


@mistake(
    "takes t at n",
    "You take t with n degrees of freedom: one is spent on the mean, so it is t at n − 1, 12.7 for two values.",
)
def interval_t_at_n(values):
    middle, spread, n = _parts(values)
    return middle, T[n - 1] * spread / math.sqrt(n)


@mistake(
    "divides by n in the spread",
    "Your standard deviation divides by n (as `np.std` does unless told `ddof=1`): with few values that is too small; "
    "divide by n − 1.",
)
def interval_population(values):
    middle, spread, n = _parts(values)
    return middle, T[n - 2] * spread * math.sqrt((n - 1) / n) / math.sqrt(n)


@mistake(
    "gives the spread of one value",
    "You leave √n out: that is where the next value will lie. The mean of n values varies less, by √n.",
)
def interval_without_root(values):
    middle, spread, n = _parts(values)
    return middle, T[n - 2] * spread


@mistake("divides by n for √n", "You divide by n: the mean of n values varies less by √n, not by n.")
def interval_by_n(values):
    middle, spread, n = _parts(values)
    return middle, T[n - 2] * spread / n


@mistake(
    "gives the standard error",
    "You give s / √n, the standard error: it holds the true mean about two times in three. For 95% it is multiplied "
    "by t.",
)
def interval_standard_error(values):
    middle, spread, n = _parts(values)
    return middle, spread / math.sqrt(n)


@mistake(
    "gives the whole width",
    "You give the interval's whole width: the exercise asks for the half-width, the ± of a report.",
)
def interval_whole(values):
    middle, spread, n = _parts(values)
    return middle, 2 * T[n - 2] * spread / math.sqrt(n)


@mistake(
    "gives the two ends", "You return the lower and the upper end: the exercise asks for the mean and the half-width."
)
def interval_ends(values):
    middle, spread, n = _parts(values)
    half = T[n - 2] * spread / math.sqrt(n)
    return middle - half, middle + half


@mistake(
    "gives one value a width of 0",
    "One seed shows no spread, but that does not mean that there is none: raise a `ValueError`.",
)
def interval_of_one(values):
    return (values[0], 0.0) if len(values) == 1 else hyperparameters.mean_and_interval(values)


MEAN_AND_INTERVAL = Exercise(
    id="hyperparameters.mean_and_interval",
    points=2,
    minutes=6,
    reference=hyperparameters.mean_and_interval,
    probes=interval_probes,
    compare=Comparison(rtol=5e-4, atol=1e-9),  # a table of t with three decimals will do
    misconceptions=(
        interval_normal,
        interval_t_at_n,
        interval_population,
        interval_without_root,
        interval_by_n,
        interval_standard_error,
        interval_whole,
        interval_ends,
        interval_of_one,
    ),
    hints=(
        "Mean, spread, quantile, root: which of them knows how many values there are?",
        "The spread divides by n − 1, t is that of n − 1 degrees of freedom, and a mean of n varies less by √n.",
        "`t * s / math.sqrt(n)` with `s = math.sqrt(sum((x - mean) ** 2 for x in values) / (n - 1))`; fewer than two "
        "values: raise `ValueError`.",
    ),
)


# diagnose


def history_probes(rng: random.Random) -> Iterator[Probe]:
    nan = math.nan

    def run(n: int = 20, **columns: list | None) -> dict:
        """A sound run of `n` steps, with these columns in place of its own; None takes one away."""
        held = [2.2, 1.4, 1.0, 0.9]
        sound = {
            "loss": [round(0.4 + 2 * 0.85**step + rng.uniform(-0.02, 0.02), 3) for step in range(n)],
            "grad_norm": [round(rng.uniform(0.5, 1.5), 2) for _ in range(n)],
            "lr": [round(1e-3 * (1 - step / (n + 1)), 6) for step in range(n)],
            "validation_loss": [round(value + rng.uniform(-0.02, 0.02), 3) for value in held],
        }
        return {name: values for name, values in (sound | columns).items() if values is not None}

    def at(values: list[float], place: int, value: float) -> list[float]:
        return [*values[:place], value, *values[place + 1 :]]

    def losses(n: int = 20) -> list[float]:
        return run(n)["loss"]

    def short(loss: list[float], **columns: list) -> Probe:
        return Probe(({"loss": loss, **columns},), "edges")

    fall, held = [2.0, 1.6, 1.3, 1.1, 1.0, 0.9, 0.8], [1.8, 1.2, 1.0]
    longer = [*fall, 0.7, 0.7, 0.6, 0.6]  # 11 losses: their fifth, rounded up, is 3
    yield short(fall, validation_loss=held)
    yield short(fall)  # no held-out loss
    yield short(fall[:4], validation_loss=held)
    yield short([])
    yield short([0.0] * 5)
    yield short([0.0] * 5, grad_norm=[nan] * 5)  # how a library's filter hides a NaN
    yield short(at(fall, 3, math.inf))
    yield short(fall, grad_norm=at([1.0] * 7, 3, math.inf))
    yield short(fall, validation_loss=[1.7, 1.7])
    yield short(fall, lr=[0.4, 0.4, 0.3, 0.2, 0.1, 0.0, 0.0])
    yield short(fall, lr=[0.0, 0.4, 0.4, 0.3, 0.2, 0.1, 0.0])  # a cosine that ends at 0 is not spent early
    yield short(fall, lr=[0.0, 0.4, 0.4, 0.3, 0.3, 0.2, 0.2])
    yield short(longer, lr=[*[0.5] * 9, 0.0, 0.0])  # the last fifth, rounded down
    yield short(at(longer, 2, 4.0))  # the first place at which a spike counts
    yield short(at([*longer, 0.6, 0.6, 0.5, 0.5], 2, 9.0))  # in the first fifth: the start
    yield short(at(fall, 1, 4.0))  # nothing two before it
    yield short(at(fall, 5, 4.0))  # one after it
    yield short([1.0, 1.0, 1.5, 1.0, 1.0], validation_loss=[1.0])  # not over 1.5 times; a single held-out loss
    yield short([1.0, 1.0, 1.6, 1.0, 0.9], validation_loss=[2.0, 1.0, 1.2])  # a spike, and forgetting
    yield short([1.0, 1.0, 2.0, 1.0, 4.0])  # twice the median, and less than 1.5 times the mean
    yield short([2.0, 2.0, 2.0, 1.0, 1.0])  # a step down
    yield short([2.0, 2.0, 2.6, 1.0, 1.0])  # a spike on it
    yield short(at(fall, 3, 0.3))  # a low one, and an ordinary one after it
    yield short(at(fall, 6, 9.0))  # the last loss alone is high
    yield short(fall, validation_loss=[2.0, 1.0, 1.18, 1.2])  # its lowest is not the one before
    yield short(fall, validation_loss=[2.0, 1.0, 1.04])
    yield short([1.0] * 5, validation_loss=[2.0, 1.0, 1.2])  # the training loss has not fallen
    yield short([1.0, 1.0, 1.0, 1.0, 0.9], validation_loss=[2.0, 1.0, 1.2])  # flat, and forgetting

    n = rng.choice([18, 19, 23, 24])  # whose fifth is not the same rounded down, rounded and rounded up
    fifth, middle, late = n // 5, n // 2, rng.randint(n // 2, n - 4)
    sound, rates = losses(n), run(n)["lr"]
    level = [round(1 + rng.uniform(-0.01, 0.01), 3) for _ in range(n)]
    stairs = [round(2 * value, 3) for value in level[:middle]] + level[middle:]
    rising = [2.0, 1.0, 1.2, round(rng.uniform(1.2, 1.5), 2)]
    for columns in (
        {"loss": sound, "lr": [*rates[: 1 - fifth], *[0.0] * (fifth - 1)], "grad_norm": None},
        {"loss": sound, "lr": [*rates[:-fifth], *[0.0] * fifth], "grad_norm": None},
        {"loss": sound, "lr": at(rates, 0, 0.0)},  # a warmup
        {"loss": sound, "validation_loss": None, "grad_norm": None},
        {"loss": sound[: rng.randint(1, 4)]},
        {"loss": [0.0] * n, "grad_norm": [0.0] * n},
        {"loss": [0.0] * n, "grad_norm": [nan] * n},
        {"loss": at(sound, late, nan)},
        {"loss": sound, "grad_norm": at([1.0] * n, late, math.inf)},
        {"loss": sound, "validation_loss": [1.7] * 3},
        {"loss": at(sound, fifth, round(3 * sound[fifth], 3)), "validation_loss": rising},
        {"loss": at(sound, n - 3, round(3 * sound[n - 3], 3))},
        {"loss": at(at(sound, n - 3, 1.2), n - 1, 4.0)},
        {"loss": at(stairs, middle - 1, round(rng.uniform(1.9, 2.1), 2))},
        {"loss": at(stairs, middle - 1, round(rng.uniform(2.5, 2.7), 2))},
        {"loss": at(sound, 2, 9.0)},
        {"loss": at(sound, middle, round(0.3 * sound[middle], 3))},
        {"loss": sound, "validation_loss": rising},
        {"loss": sound, "validation_loss": [2.0, 1.0, 1.02]},
        {"loss": at(sound, n - 1, 50.0), "validation_loss": rising},
        {"loss": [*level[:-1], 0.9], "validation_loss": rising},
    ):
        yield Probe((run(n, **columns),), "typical")


Rule = Callable[[list, list, list, list], bool]  # of loss, held-out loss, gradient norms, rates


def _spikes(loss: list[float], threshold_of: Callable[[int], float], first: int | None = None) -> bool:
    first = max(2, len(loss) // 5) if first is None else first
    return any(loss[place] > threshold_of(place) for place in range(first, len(loss) - 2))


def _around(loss: list[float], place: int, middle: Callable[[list[float]], float] = median) -> float:
    return 1.5 * middle([loss[place - 2], loss[place - 1], loss[place + 1], loss[place + 2]])


RULES: dict[str, Rule] = {  # in order; the part in brackets is not part of the answer
    "cannot tell (too few)": lambda loss, held, norms, rates: len(loss) < 5,
    "nothing counted": lambda loss, held, norms, rates: not any(loss) and not any(map(math.isnan, norms)),
    "not a number": lambda loss, held, norms, rates: not all(map(math.isfinite, [*loss, *norms])),
    "nothing updated": lambda loss, held, norms, rates: len(held) > 1 and len(set(held)) == 1,
    "schedule spent early": lambda loss, held, norms, rates: bool(rates) and not any(rates[-max(2, len(rates) // 5) :]),
    "spike": lambda loss, held, norms, rates: _spikes(loss, lambda place: _around(loss, place)),
    "overfitting": lambda loss, held, norms, rates: bool(held) and held[-1] > 1.05 * min(held) and loss[-1] < loss[0],
    "flat": lambda loss, held, norms, rates: median(loss[-5:]) > 0.95 * median(loss[:5]),
    "cannot tell (not held out)": lambda loss, held, norms, rates: not held,
    "sound": lambda loss, held, norms, rates: True,
}


def _said(history: dict, changed: dict[str, Rule] | None = None, rules: dict[str, Rule] = RULES) -> str:
    """The first rule that holds, where some are other than they should be."""
    columns = (history["loss"], *(history.get(name) or [] for name in ("validation_loss", "grad_norm", "lr")))
    return next(name for name, holds in (rules | (changed or {})).items() if holds(*columns)).split(" (")[0]


def _never(loss: list, held: list, norms: list, rates: list) -> bool:
    return False


@mistake(
    "takes a loss of 0 for learned",
    "A loss of exactly 0 from the first step on is not a success: no token was counted. Check for that first.",
)
def history_zero_learned(history):
    return _said(history, {"nothing counted": _never})


@mistake(
    "overlooks the gradient norm",
    "You look for NaN in the losses alone: some libraries write 0.0 in its place, and only `grad_norm` still says nan.",
)
def history_losses_only(history):
    def not_finite(loss, held, norms, rates):
        return not all(map(math.isfinite, loss))

    return _said(history, {"nothing counted": lambda loss, *_: not any(loss), "not a number": not_finite})


@mistake(
    "overlooks infinity", "You look for NaN only: an infinite loss or norm is not a number either, `math.isfinite`."
)
def history_nan_only(history):
    return _said(history, {"not a number": lambda loss, held, norms, rates: any(map(math.isnan, [*loss, *norms]))})


@mistake(
    "compares with NaN",
    "`value == math.nan` is never true, not even for NaN itself: use `math.isfinite(value)`.",
)
def history_equal_to_nan(history):
    return _said(history, {"nothing counted": lambda loss, *_: not any(loss), "not a number": _never})


@mistake(
    "calls it sound unseen",
    "Without a held-out loss you cannot know whether the run is sound: return `cannot tell`.",
)
def history_sound_unseen(history):
    return _said(history, {"cannot tell (not held out)": _never})


@mistake(
    "judges from the last rate",
    "You look at the last rate alone: a cosine ends at 0 as it should. The schedule is spent early if the whole last "
    "fifth has rate 0.",
)
def history_last_rate(history):
    return _said(history, {"schedule spent early": lambda loss, held, norms, rates: bool(rates) and rates[-1] == 0})


@mistake(
    "looks for any rate of 0",
    "One rate of 0 anywhere is enough for you: a warmup begins with 0, and a cosine ends there. The schedule is spent "
    "early if the whole last fifth has rate 0, `all(…)`.",
)
def history_any_rate(history):
    return _said(history, {"schedule spent early": lambda loss, held, norms, rates: 0 in rates})


@mistake(
    "compares a loss with the one before",
    "You compare each loss with the one before: after a low one an ordinary one looks like a spike. Take the median of "
    "the two before and the two after.",
)
def history_before_only(history):
    def spike(loss, held, norms, rates):
        return _spikes(loss, lambda place: 1.5 * loss[place - 1])

    return _said(history, {"spike": spike})


@mistake(
    "takes the mean",
    "You take the mean: one other high loss lifts it, and hides a spike or makes a run look flat. Take the median, "
    "`statistics.median` or `np.median`.",
)
def history_mean(history):
    def spike(loss, held, norms, rates):
        return _spikes(loss, lambda place: _around(loss, place, fmean))

    return _said(history, {"spike": spike, "flat": lambda loss, *_: fmean(loss[-5:]) > 0.95 * fmean(loss[:5])})


@mistake(
    "takes the mean around a loss",
    "You take the mean of the four losses around: another high one among them lifts it and hides a spike. Take the "
    "median, `statistics.median` or `np.median`.",
)
def history_mean_around(history):
    return _said(history, {"spike": lambda loss, *_: _spikes(loss, lambda i: _around(loss, i, fmean))})


@mistake(
    "takes the lower of the middle two",
    "You take the lower of the middle two for the median of four, as `torch.median` does: it is halfway between them, "
    "`statistics.median` or `np.median`.",
)
def history_lower_median(history):
    return _said(history, {"spike": lambda loss, *_: _spikes(loss, lambda i: _around(loss, i, median_low))})


@mistake(
    "counts the spike itself",
    "The loss itself is among those that you take the median of: take the two before and the two after, four in all.",
)
def history_with_itself(history):
    def spike(loss, held, norms, rates):
        return _spikes(loss, lambda place: 1.5 * median(loss[place - 2 : place + 3]))

    return _said(history, {"spike": spike})


@mistake(
    "counts a spike at the start",
    "You look for spikes from the start: in the first fifth the loss is still unsteady; begin after it.",
)
def history_early_spike(history):
    return _said(history, {"spike": lambda loss, *_: _spikes(loss, lambda place: _around(loss, place), 2)})


@mistake(
    "wants no margin",
    "You call it overfitting as soon as the held-out loss is above its lowest, but it fluctuates. Only more than 1.05 times counts.",
)
def history_no_margin(history):
    def overfitting(loss, held, norms, rates):
        return bool(held) and held[-1] > min(held) and loss[-1] < loss[0]

    return _said(history, {"overfitting": overfitting})


@mistake(
    "overlooks the training loss",
    "You look at the held-out loss alone: it is overfitting only if the training loss has fallen meanwhile, its last "
    "below its first.",
)
def history_held_only(history):
    def overfitting(loss, held, norms, rates):
        return bool(held) and held[-1] > 1.05 * min(held)

    return _said(history, {"overfitting": overfitting})


@mistake(
    "compares the two ends",
    "You compare the last loss with the first: one batch is noise. Compare the medians of five at each end.",
)
def history_two_ends(history):
    return _said(history, {"flat": lambda loss, *_: loss[-1] > 0.95 * loss[0]})


@mistake(
    "asks for flat too early",
    "You check for `flat` before `overfitting`: if both hold, the held-out loss says more, and the first that holds "
    "counts.",
)
def history_flat_first(history):
    names = list(RULES)
    names.insert(names.index("overfitting"), names.pop(names.index("flat")))
    return _said(history, rules={name: RULES[name] for name in names})


@mistake(
    "wants every column",
    "You take `grad_norm`, `lr` or `validation_loss` for granted: many logs lack one; `history.get(name) or []`.",
)
def history_every_column(history):
    for name in ("grad_norm", "lr", "validation_loss"):
        history[name]
    return _said(history)


@mistake(
    "judges from a handful",
    "Fewer than five losses are too few to judge a run: `cannot tell`, before everything else.",
)
def history_handful(history):
    return _said(history, {"cannot tell (too few)": lambda loss, *_: not loss})


DIAGNOSE = Exercise(
    id="hyperparameters.diagnose",
    points=4,
    minutes=12,
    reference=diagnosis.diagnose,
    probes=history_probes,
    misconceptions=(
        history_zero_learned,
        history_losses_only,
        history_nan_only,
        history_equal_to_nan,
        history_sound_unseen,
        history_last_rate,
        history_any_rate,
        history_before_only,
        history_mean,
        history_mean_around,
        history_lower_median,
        history_with_itself,
        history_early_spike,
        history_no_margin,
        history_held_only,
        history_two_ends,
        history_flat_first,
        history_every_column,
        history_handful,
    ),
    hints=(
        "The order is the exercise: each rule may rely on those before it, as the comparisons rely on there being no NaN.",
        "Take the columns first, `history.get(name) or []` for those that may be missing. One `if` and one `return` "
        "for each rule, in the order of the text.",
        "A spike: for each place from `max(2, len(loss) // 5)` to `len(loss) - 3`, is the loss over 1.5 times "
        "`np.median` of the two before and the two after? The last fifth of the rates: `lr[-max(2, len(lr) // 5):]`.",
    ),
)
