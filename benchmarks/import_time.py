"""How long `import labkit` takes in a fresh process, and that it brings none of the heavy packages with it."""

import json
import statistics
import subprocess
import sys
import time

HEAVY = ("torch", "transformers", "matplotlib", "ipywidgets")
REPETITIONS = 5
MEASURE = f"""
import json, sys, time
start = time.perf_counter()
import labkit
seconds = time.perf_counter() - start
print(json.dumps([seconds, [name for name in {HEAVY!r} if name in sys.modules]]))
"""


def main(args) -> dict:
    """Median seconds over fresh processes: of the import itself, and of the whole process around it."""
    imports, processes, loaded = [], [], set()
    for _ in range(REPETITIONS):
        start = time.perf_counter()
        seconds, heavy = json.loads(
            subprocess.run([sys.executable, "-c", MEASURE], capture_output=True, check=True, text=True).stdout
        )
        processes.append(time.perf_counter() - start)
        imports.append(seconds)
        loaded.update(heavy)
    figures = {
        "seconds": statistics.median(imports),
        "process_seconds": statistics.median(processes),
        "loaded": sorted(loaded),
        "ok": not loaded,
    }
    print(
        f"import labkit: {figures['seconds'] * 1000:.1f} ms in a process of {figures['process_seconds'] * 1000:.0f} ms "
        f"(medians of {REPETITIONS}); of {', '.join(HEAVY)} it loads {', '.join(sorted(loaded)) or 'none'}"
    )
    return figures
