"""Lab 04: masked, unmasked and partly weighted on the long mix, each at four rates; the planted failures on the short."""

from collections.abc import Iterator

from labkit.runs.recipe import BEFORE, Recipe


def recipes() -> Iterator[Recipe]:
    long = BEFORE | {
        "mix": "long",
        "examples": 320,
        "steps": 20,
        "batch_size": 16,
        "evaluation_n": 110,
        "max_new_tokens": 128,
    }
    prompts: dict[str, dict] = {"masked": {}, "tenth": {"prompt_weight": 0.1}, "unmasked": {"mask": "none"}}
    for name, fields in prompts.items():
        for lr in (1e-3, 3e-3, 1e-2, 3e-2):
            yield Recipe(f"mask-{name}-{lr:g}", "04", lr=lr, **fields, **long)
        yield Recipe(f"mask-{name}-few", "04", **fields, **long | {"examples": 32})
    yield Recipe("mask-partial", "04", mask="partial", **long)
    short = BEFORE | {"examples": 640, "steps": 40, "batch_size": 16, "evaluation_n": 110, "max_new_tokens": 128}
    yield Recipe("mask-sound", "04", **short)
    for fault in ("template", "truncated", "late", "shifted"):
        yield Recipe(f"mask-{fault}", "04", fault=fault, **short)
    yield Recipe("mask-end", "04", stop="unknown", **short)
    yield Recipe("mask-no-end", "04", stop="unknown", fault="no_end_token", **short)
