"""Diagnosis: what a run's log says about its health.

`diagnose` is the plain function of lab 05's exercise. Around it: `formats` reads anybody's log, `signs` measures what
is seen, `causes` says what fits and which test tells, `checks` are those tests, `clinic` plants faults in real runs,
`record` keeps runs to measure all this on, `command` is `labkit diagnose`. The clinic that a learner visits: `patients`,
the `knobs` that cure them, and the `measures` that show it. Importing this loads nothing heavy.
"""

from __future__ import annotations

import math


def diagnose(history: dict[str, list]) -> str:
    """What is wrong with a run, from its log alone: the first of these that is true.

    `history` holds lists: `loss` and, if they were logged, `grad_norm` and `lr` of the same length; `validation_loss`
    may have another length.

    - "cannot tell": there are fewer than five losses;
    - "nothing counted": every loss is 0, and no gradient norm is NaN;
    - "not a number": a loss or gradient norm is NaN or infinite;
    - "nothing updated": there are at least two held-out losses, and all are equal;
    - "schedule spent early": the rate is 0 in all of the last fifth of the steps (rounded down, at least two);
    - "spike": a loss, later than the first fifth, is over 1.5 times the median of the two before and the two after it;
    - "overfitting": the last held-out loss is over 1.05 times the lowest, and the last training loss under the first;
    - "flat": the median of the last five losses is over 0.95 times that of the first five;
    - "cannot tell": there is no held-out loss;
    - "sound".
    """
    from statistics import median  # here, so that the function's own source runs by itself

    loss, held = history["loss"], history.get("validation_loss") or []
    grads, rates = history.get("grad_norm") or [], history.get("lr") or []
    if len(loss) < 5:
        return "cannot tell"
    if all(value == 0 for value in loss) and not any(math.isnan(norm) for norm in grads):
        return "nothing counted"
    if not all(math.isfinite(value) for value in [*loss, *grads]):
        return "not a number"
    if len(held) > 1 and all(value == held[0] for value in held):
        return "nothing updated"
    if rates and not any(rates[-max(2, len(rates) // 5) :]):
        return "schedule spent early"
    for place in range(max(2, len(loss) // 5), len(loss) - 2):
        around = [loss[place - 2], loss[place - 1], loss[place + 1], loss[place + 2]]
        if loss[place] > 1.5 * median(around):
            return "spike"
    if held and held[-1] > 1.05 * min(held) and loss[-1] < loss[0]:
        return "overfitting"
    if median(loss[-5:]) > 0.95 * median(loss[:5]):
        return "flat"
    return "sound" if held else "cannot tell"
