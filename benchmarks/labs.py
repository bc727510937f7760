"""What every lab costs when all its cells are run: seconds, and the peak memory of its kernel and that one's children.

Each lab runs as a copy, in a fresh kernel, with an empty LABKIT_HOME. The memory is sampled, so a peak that is
shorter than the pause between two samples can be missed. With `--reading` nothing runs: a learner's minutes for each core
are estimated from its source, by the rule in `labkit/workshop/reading.py`.
"""

import os
import shutil
import tempfile
import threading
import time
from pathlib import Path

PAUSE = 0.05  # seconds between two samples
MOST_SECONDS = 600  # for one cell


def tree_memory(process) -> int:
    """Resident bytes of a psutil.Process and all its descendants."""
    import psutil

    total = 0
    for member in [process, *process.children(recursive=True)]:
        try:
            total += member.memory_info().rss
        except psutil.NoSuchProcess:
            pass  # it ended between the listing and the look
    return total


class PeakMemory(threading.Thread):
    """Samples a process tree until it ends, or until `stop`."""

    def __init__(self, process_id: int):
        super().__init__(daemon=True)
        self.process_id, self.peak, self.stopped = process_id, 0, threading.Event()

    def run(self) -> None:
        import psutil

        try:
            process = psutil.Process(self.process_id)
            while not self.stopped.wait(PAUSE):
                self.peak = max(self.peak, tree_memory(process))
        except psutil.NoSuchProcess:
            pass

    def stop(self) -> int:
        self.stopped.set()
        self.join()
        return self.peak


def measure(notebook: Path) -> dict:
    """{"seconds", "peak_rss_mb"} of one notebook run from top to bottom; "ok": False and "error" if a cell fails."""
    import nbformat
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

    with tempfile.TemporaryDirectory() as folder:
        copy = shutil.copy(notebook, folder)
        environment = {**os.environ, "LABKIT_HOME": str(Path(folder) / "home")}
        client = NotebookClient(
            nbformat.read(copy, as_version=4), timeout=MOST_SECONDS, resources={"metadata": {"path": folder}}
        )
        failure = {}
        with client.setup_kernel(env=environment):
            memory = PeakMemory(client.km.provisioner.process.pid)
            memory.start()
            start = time.perf_counter()
            try:
                for index, cell in enumerate(client.nb.cells):
                    client.execute_cell(cell, index)
            except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
                failure = {"ok": False, "error": str(error).strip().splitlines()[-1]}
            seconds = time.perf_counter() - start
            peak = memory.stop()
    return {"seconds": round(seconds, 1), "peak_rss_mb": round(peak / 1e6), **failure}


def estimated() -> dict:
    """{lab: what its core holds, the minutes estimated, and those that the lab states}; a test holds one to the other."""
    from dataclasses import asdict

    from labkit.lab import checkout
    from labkit.syllabus import ROWS
    from labkit.workshop.reading import reading

    figures = {}
    print(f"{'core of the lab':<24}{'words':>7}{'lines':>7}{'exercises':>11}{'asked':>7}{'minutes':>9}{'stated':>8}")
    for lab in ROWS:
        found = reading(checkout() / "labs" / "source" / f"{lab.file}.py")
        asked = found.questions + found.guesses
        figures[lab.file] = asdict(found) | {"minutes": round(found.minutes), "stated": lab.minutes}
        print(
            f"{lab.file:<24}{found.words:>7}{found.lines:>7}{found.exercises:>11}{asked:>7}{found.minutes:>9.0f}"
            f"{lab.minutes or 'open':>8}"
        )
    return figures


def main(args) -> dict:
    from labkit.lab import shipped_labs

    if args.reading:
        return estimated()
    figures = {}
    print(f"{'lab':<24}{'seconds':>9}{'peak MB':>9}")
    for notebook in shipped_labs():
        row = figures[notebook.stem] = measure(notebook)
        print(
            f"{notebook.stem:<24}{row['seconds']:>9.1f}{row['peak_rss_mb']:>9}  {row.get('error', '')}".rstrip(),
            flush=True,
        )
    return figures
