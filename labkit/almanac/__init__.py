"""The almanac: an invented world that serves every lab.

`world` holds what is true and since when, `phrasing` how it is told and asked, `documents` the text the base was pretrained on,
`examples` dated questions with answers and the mixes, `pool` candidates with planted faults; `base/` holds the weights.
"""

from labkit.almanac import documents, examples, phrasing, pool, world

__all__ = ["documents", "examples", "phrasing", "pool", "world"]
