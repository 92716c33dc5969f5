"""Whether a run grows or slows down: memory, files and speed of one long run of chignolin.

    PYTHONPATH=. python benchmarks/soak.py --replicas 512 --steps 10_000_000 --report docs/reliability.md

Memory is what the process holds (VmRSS). Its slope is fitted to the second half, with the error that blocks of it give;
the files must be as large as their frames and rows make them. Speed is steps per second of processor time, which other
work on the machine changes little. `--minutes` ends it so long after the first checkpoint.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

import mdflash
from mdflash.io.checkpoint import load_checkpoint

BLOCKS = 8


class Sample(NamedTuple):
    """At one moment: seconds since the start, step, memory in MB, bytes of the folder, open files, processor time."""

    seconds: float
    step: int
    memory: float
    size: int
    handles: int
    processor: float


def look(pid: int, folder: Path, seconds: float) -> Sample | None:
    """None before the first checkpoint, or where the process has ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
        handles = len(os.listdir(f"/proc/{pid}/fd"))
        size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        step = max(int(file.stem[5:]) for file in (folder / "checkpoint").glob("step_*.npz"))
        memory = re.search(r"VmRSS:\s+(\d+) kB", status)
        user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]  # proc(5): 14 and 15
    except (OSError, ValueError):
        return None
    processor = (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")
    return None if memory is None else Sample(seconds, step, int(memory[1]) / 1024, size, handles, processor)


def watch(replicas: int, steps: int, minutes: float | None, folder: Path) -> list[Sample]:
    """Run, and look every second."""
    sets = [f"output.folder={folder}", f"replicas.count={replicas}", "output.trajectory.interval=50 ps",
            "output.log.interval=50 ps", "output.checkpoint.interval=100 ps", "hardware.device=cpu"]  # fmt: skip
    words = ["run", "chignolin", "--steps", str(steps), *(word for each in sets for word in ("--set", each))]
    process = subprocess.Popen([sys.executable, "-m", "mdflash", *words], stdout=subprocess.DEVNULL)
    began, found = time.monotonic(), list[Sample]()
    while process.poll() is None:
        time.sleep(1.0)
        seconds = time.monotonic() - began
        sample = look(process.pid, folder, seconds)
        found += [] if sample is None else [sample]
        if minutes is not None and found and seconds > found[0].seconds + 60.0 * minutes:
            process.send_signal(signal.SIGTERM)
            process.wait()
    if process.returncode not in (0, 75):
        sys.exit(f"the run ended with {process.returncode}")
    if len(found) < 4 * BLOCKS:
        sys.exit(f"the run was seen {len(found)} times, which is too short for a slope; let it run longer")
    return found


def slope(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Of a line through y(x), and its standard error from blocks."""
    parts = [(x[part].mean(), y[part].mean()) for part in np.array_split(np.arange(len(x)), BLOCKS)]
    t, z = np.array(parts).T
    t = t - t.mean()
    best = float((t * z).sum() / (t**2).sum())
    rest = z - z.mean() - best * t
    return best, float(np.sqrt((rest**2).sum() / (BLOCKS - 2) / (t**2).sum()))


def described(found: list[Sample], folder: Path, replicas: int) -> str:
    """Sentences."""
    data = np.array(found)
    half = data[len(data) // 2 :]
    rise, error = slope(half[:, 0] / 3600.0, half[:, 2])
    moved = data[np.flatnonzero(np.diff(data[:, 1], prepend=-1) > 0)]  # where a checkpoint was new
    quarters = [
        (part[-1, 1] - part[0, 1]) / (part[-1, 5] - part[0, 5]) for part in np.array_split(moved, 4) if len(part) > 1
    ]
    checkpoint = load_checkpoint(folder / "checkpoint")
    assert checkpoint is not None
    frames = sum(checkpoint.header["frames"].values())
    beads = int(checkpoint.arrays["positions"].shape[0])
    trajectory = sum(file.stat().st_size for file in (folder / "trajectory").iterdir())
    cores = len(os.sched_getaffinity(0))
    return (
        f"{replicas} replicas of chignolin, {int(data[-1, 1]):,} steps in {data[-1, 0]:.0f} s on {cores} cores that "
        f"others used as well (mdflash {mdflash.__version__}): memory {half[0, 2]:.0f} MB at half time and "
        f"{half[-1, 2]:.0f} MB at the end, slope {rise:+.1f} +- {error:.1f} MB/h; "
        f"{int(half[:, 4].min())} to {int(half[:, 4].max())} open files; "
        f"{trajectory:,} bytes for {frames} frames, {12 * frames * beads:,} of them positions; "
        f"steps per processor second in quarters of the run: {', '.join(f'{q:,.1f}' for q in quarters)}."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replicas", type=int, default=512)
    parser.add_argument("--steps", type=int, default=10_000_000)
    parser.add_argument("--minutes", type=float, help="stop after so many")
    parser.add_argument("--report", type=Path, help="the page that is written")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mdflash-soak-") as place:
        folder = Path(place) / "run"
        text = described(watch(given.replicas, given.steps, given.minutes, folder), folder, given.replicas)
    print(text)
    if given.report is not None:
        before, rest = given.report.read_text(encoding="utf-8").split("<!-- soak -->")
        after = rest.split("<!-- /soak -->")[1]
        given.report.write_text(f"{before}<!-- soak -->\n{text}\n<!-- /soak -->{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
