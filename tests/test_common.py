"""What many modules share and no topic's test covers."""

from __future__ import annotations

import subprocess
import sys

from labkit.common import peak_rss_mb


def test_the_memory_of_the_process_that_started_this_one_is_not_its_own():
    held = b"x" * 200_000_000
    call = [sys.executable, "-c", "from labkit.common import peak_rss_mb; print(peak_rss_mb())"]
    own = float(subprocess.run(call, check=True, capture_output=True, text=True).stdout)
    assert 5 < own < 100 and peak_rss_mb() >= len(held) / 1e6
