"""The run card that is handed in beside an adapter: what was trained on and how, and the predicted score.

`run_card.yaml` is the template, a filled one. A card is read as plain data (no tags, anchors or aliases, no key twice,
limits on size and depth), and every fault is one line. Nothing here knows whether what it says is true; what can be
checked, the scorer measures.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from labkit.common import InputError, printable

TEMPLATE = Path(__file__).with_suffix(".yaml")
NAME = "card.yaml"  # beside the adapter's own files
MAX_BYTES = 200_000

Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Curve = Annotated[list[Annotated[float, Field(allow_inf_nan=False)]], Field(min_length=2, max_length=1_000)]
Text = Annotated[str, Field(min_length=1, max_length=2_000)]
Count = Annotated[int, Field(ge=1, le=10**9)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Data(_Part):
    kept: Count
    why: Text


class Split(_Part):
    by: Literal["cluster", "time", "both", "random"]
    held_out: Count


class Predicted(_Part):
    """A share of right answers with its interval."""

    score: Share
    low: Share
    high: Share

    @model_validator(mode="after")
    def _in_order(self) -> Predicted:
        if not self.low <= self.score <= self.high:
            raise ValueError(f"must have low ≤ score ≤ high, not {self.low:g}, {self.score:g}, {self.high:g}")
        return self


class Card(_Part):
    """A run card."""

    name: Annotated[str, Field(min_length=1, max_length=80)]
    pool_seed: Annotated[int, Field(ge=0, lt=10**9)]
    data: Data
    split: Split
    mask: Literal["completion", "none"]
    learning_rate: Annotated[float, Field(gt=0, lt=100)]
    seeds: Annotated[list[Annotated[int, Field(ge=0, lt=10**9)]], Field(min_length=1, max_length=100)]
    curves: Annotated[list[Curve], Field(max_length=100)]
    predicted: Predicted

    @model_validator(mode="after")
    def _a_curve_for_each_seed(self) -> Card:
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError("names a seed twice")
        if len(self.curves) != len(self.seeds):
            raise ValueError(f"claims {len(self.seeds)} seeds and holds {len(self.curves)} curves; give one for each")
        return self


class _Plain(yaml.SafeLoader):
    """YAML as data: no anchors or aliases (a few lines of them can expand to gigabytes), no key twice."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.peek_event()
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise yaml.MarkedYAMLError(problem="an anchor or alias; write the text out", problem_mark=event.start_mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        if again := next((key for key in keys if keys.count(key) > 1), None):
            raise yaml.MarkedYAMLError(problem=f"the key {again!r} is there twice", problem_mark=node.start_mark)
        return super().construct_mapping(node, deep)


_Plain.add_implicit_resolver(  # `1e-3`, which YAML takes for text
    "tag:yaml.org,2002:float", re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
)


def load(path: str | Path) -> Card:
    """The card in a file. Raises `InputError`, one line that names the file and what to mend."""
    path = Path(path).expanduser()
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # a pipe would never end
            raise InputError(f"{path}: is not a file; name the run card")
        if path.stat().st_size > MAX_BYTES:
            raise InputError(f"{path}: has {path.stat().st_size:,} bytes; a run card has at most {MAX_BYTES:,}")
        with open(path, "rb") as file:
            data = file.read(MAX_BYTES)
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such run card; `labkit score --card-template` prints one") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})") from None
    try:
        return parse(data)
    except InputError as error:
        raise InputError(f"{path}: {error}; `labkit score --card-template` prints one") from None


def parse(data: bytes) -> Card:
    """The card in a file's bytes. Raises `InputError` of one line."""
    try:
        found = yaml.load(data.decode("utf-8-sig"), Loader=_Plain)
        if not isinstance(found, dict):
            raise InputError("is not a run card, which begins with `name: …`")
        return Card.model_validate(found)
    except InputError:
        raise
    except UnicodeDecodeError as error:
        raise InputError(f"byte {error.start + 1} is not valid UTF-8; save it as UTF-8") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}: " if mark else ""
        raise InputError(f"{where}is not YAML ({_first(getattr(error, 'problem', None) or error)})") from None
    except ValidationError as error:
        raise InputError(_said(error)) from None
    except RecursionError:
        raise InputError("is nested too deeply") from None
    except ValueError as error:  # such as a date that there is not
        raise InputError(f"is not a run card ({_first(error)})") from None


def _said(error: ValidationError) -> str:
    first = error.errors()[0]
    place = ".".join(map(str, first["loc"]))
    text = first["msg"].removeprefix("Value error, ")
    return printable(f"{place}: {text}" if place else text)[:300]


def _first(error: object) -> str:
    lines = str(error).strip().splitlines()
    return printable(lines[0][:160]) if lines else type(error).__name__
