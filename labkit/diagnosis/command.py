"""`labkit diagnose FILE`: which log it is and what is missing, what can be seen, what fits, and the test that would
decide.
"""

from __future__ import annotations

import argparse
import io
import math
from pathlib import Path
from typing import Any

from labkit.common import InputError, as_json
from labkit.diagnosis import formats
from labkit.diagnosis.causes import CANNOT_TELL, CAUSES, Verdict, judge
from labkit.diagnosis.formats import Log
from labkit.diagnosis.signs import Signs, see

UNEVEN = 0.5  # scatter of the loss about its course; in the sound runs that the forests know it is at most 0.28


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", type=Path, help="a training log: JSON, CSV or a console's text")
    parser.add_argument("--run", metavar="NAME", help="which run, where the file holds several (the first)")
    parser.add_argument("--plot", metavar="OUT.png", type=Path, help="draw loss, gradient norm and rate")
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    parser.epilog = (
        f"It reads {formats.FORMATS}.\nExit status 1 if the signs fit a fault.\n\n"
        "examples:\n  labkit diagnose out/checkpoint-500/trainer_state.json\n"
        "  labkit diagnose wandb_export.csv --run amber-sky-7 --plot curves.png"
    )


def main(args: argparse.Namespace) -> int:
    log = formats.read(args.file, args.run)
    signs = see(log.history)
    verdict = judge(signs)
    print("\n".join(told(str(args.file), log, signs, verdict)))
    if args.plot is not None:
        plot(log, args.plot, verdict.name)
        print(f"drawn: {args.plot}")
    if args.json:
        print(
            as_json(
                {
                    "format": log.format,
                    "missing": log.missing,
                    "notes": log.notes,
                    "runs": log.runs,
                    "signs": {name: _plain(value) for name, value in signs.as_dict().items()},
                    "cause": verdict.name,
                    "because": verdict.why,
                    "others": list(verdict.others),
                    "tests": {cause: CAUSES[cause].test for cause in verdict.causes},
                }
            )
        )
    return 0 if verdict.name in ("sound", CANNOT_TELL) else 1


def told(name: str, log: Log, signs: Signs, verdict: Verdict) -> list[str]:
    """The report, line by line."""
    steps = log.history.get("step", [])
    span = f"steps {steps[0]} to {steps[-1]} in {len(steps)} lines" if steps else f"{len(log.history['loss'])} lines"
    missing = "; ".join(log.missing) or "nothing is missing"
    lines = [f"{name}: {log.format}, {span}; {missing}"]
    lines += [f"  note: {note}" for note in log.notes]
    lines += [f"seen: {text}" for text in seen(signs)]
    if verdict.name == CANNOT_TELL:
        lines.append(f"cannot tell, because {verdict.why}")
        if (signs.noise or 0) > UNEVEN:
            lines.append(
                f"  first: the loss scatters by {signs.noise:.0%}, because batches are small or unlike each other, which hides "
                "its course: trust the held-out loss, or take a larger batch"
            )
    else:
        lines.append(f"fits: {verdict.name} ({CAUSES[verdict.name].text}), because {verdict.why}")
    lines += [f"  test: {cause}: {CAUSES[cause].test}" for cause in verdict.causes]
    if verdict.name in CAUSES and verdict.name != "sound":
        lines.append(f"  then: {CAUSES[verdict.name].cure}")
    return lines


def seen(s: Signs) -> list[str]:
    """What stands out, in words; always including the course of the loss."""
    found = []
    if s.all_zero:
        found.append("every loss is 0")
    elif s.first is not None:
        found.append(f"the loss goes from {s.first:.3g} to {s.last:.3g}")
    if s.nan_at is not None:
        found.append(f"from {s.nan_at:.0%} of the run on, the loss or the gradient norm is NaN or infinite")
    if s.validation_gain is not None and s.validation_rise is not None:
        rise = f", after rising {s.validation_rise:.0%} from its lowest" if s.validation_rise > 0.02 else ""
        rise = ", its lowest" if s.validation_rise == 0 else rise
        found.append(f"the held-out loss ends at 1/{s.validation_gain:.2g} of where it began{rise}")
    if s.spikes:
        found.append(f"{s.spikes} lines stand out, the largest by {s.spike:.0%}")
    if (s.rise_of_fall or 0) > 0.3:
        found.append(f"the loss rises again by {s.rise:.0%} at {s.rise_at:.0%} of the run")
    if s.rate_zero_from is not None:
        found.append(f"the rate is 0 from {s.rate_zero_from:.0%} of the run on")
    if (s.noise or 0) > 0.1:
        found.append(f"the loss scatters by {s.noise:.0%} about its course")
    if s.walk is not None:
        found.append(f"the weights moved {s.walk:.2g} times as far as steps of chance (a sound run: 0.9 to 2.4 times)")
    return found


def plot(log: Log, path: Path, title: str) -> None:
    """Draw training and held-out loss, gradient norm and rate over the steps, as far as the log has them."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from labkit.plots import COLOURS

    history = log.history
    panels = [name for name in ("loss", "grad_norm", "lr") if name in history]
    drawn = Figure(figsize=(7.0, 1.2 + 2.0 * len(panels)), facecolor="white", layout="constrained")
    FigureCanvasAgg(drawn)
    axes = drawn.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    names = {"loss": "loss (nats a token)", "grad_norm": "gradient norm", "lr": "learning rate"}
    for axis, panel in zip(axes, panels):
        values = [math.nan if value is None else value for value in history[panel]]
        axis.plot(history["step"], values, color=COLOURS[0], linewidth=1.2, label="training")
        axis.set_ylabel(names[panel])
        axis.grid(color="#dddddd", linewidth=0.6)
        axis.spines[["top", "right"]].set_visible(False)
    if "validation_loss" in history:
        held = [math.nan if value is None else value for value in history["validation_loss"]]
        axes[0].plot(history["validation_step"], held, "s--", color=COLOURS[1], markersize=3, label="held out")
        axes[0].legend(frameon=False)
    axes[0].set_title(f"{path.stem}: {title}", loc="left", fontsize=12)
    axes[-1].set_xlabel("step")
    picture = io.BytesIO()
    try:
        drawn.savefig(picture, format=path.suffix.lstrip(".").lower() or "png", dpi=144)
        path.write_bytes(picture.getvalue())
    except ValueError:
        raise InputError(f"{path}: is not the name of a picture; end it in .png, .svg or .pdf") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror or error}); name another place") from None


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
