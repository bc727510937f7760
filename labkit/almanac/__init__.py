"""The almanac: an invented world that serves every lab.

`world` holds what is true and since when, `phrasing` how it is stated and asked, `documents` the text the base was
pretrained on, `examples` dated questions with answers and their mixes, `pool` candidates with planted faults, `mixes`
what lab 01 trains on; `base/` holds the weights.
"""

from labkit.almanac import documents, examples, mixes, phrasing, pool, world

__all__ = ["documents", "examples", "mixes", "phrasing", "pool", "world"]
