"""What `mdflash analyze` takes on a large run: 64 replicas x 10,000 frames of a chain of 269 beads, 2 GB of HDF5.

    python benchmarks/analysis.py [--replicas 64] [--frames 10000] [--folder runs/large] [--out results]

The frames are made up (a chain that breathes, with noise), since only their number matters; the folder is that of a
real run. CPU seconds and peak memory are those of the process of `mdflash analyze`. Wall time is what it was, with
whatever else the machine had to do.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import subprocess
import sys
import time
from datetime import date
from pathlib import Path

import h5py
import numpy as np

from mdflash.bench.machine import measure_machine
from mdflash.config.load import load_run
from mdflash.runs.execute import execute

HERE = Path(__file__).parent
BEADS, EVERY, AT_ONCE = 269, 1000, 400
"""Beads of a chain, steps between frames, frames that are written at once."""
RUN = """mdflash: 1
name: large
system: {{sequence: {sequence}, name: chain}}
model: {{forcefield: calvados2}}
dynamics: {{timestep: 10 fs, temperature: 300 K, steps: {every}, seed: 1}}
replicas: {{count: {replicas}}}
output: {{folder: {folder}, trajectory: {{format: hdf5, interval: 10 ps}}, log: {{interval: 10 ps}}}}
"""


def make(folder: Path, replicas: int, frames: int) -> None:
    """A run folder that holds so many frames."""
    rng = np.random.default_rng(1)
    sequence = "".join(rng.choice(list("GSQNYKEDRAPL"), BEADS))
    source = folder.with_suffix(".yaml")
    source.parent.mkdir(parents=True, exist_ok=True)
    source.write_text(RUN.format(sequence=sequence, replicas=replicas, folder=folder.absolute(), every=EVERY))
    execute(load_run(source), source)
    steps = EVERY * np.arange(frames)
    with h5py.File(folder / "trajectory" / "chain.h5", "r+") as file:
        position = file["particles/trajectory/position"]
        start = position["value"][0].reshape(1, replicas, BEADS, 3)
        start = start - start.mean(axis=2, keepdims=True)
        phase = 2.0 * np.pi * rng.random(replicas)
        for name in ("value", "time", "step"):
            position[name].resize(frames, axis=0)
        position["step"][:], position["time"][:] = steps, steps * 0.01
        for first in range(0, frames, AT_ONCE):
            t = np.arange(first, min(first + AT_ONCE, frames))[:, None]
            breath = 1.0 + 0.3 * np.sin(t / 40.0 + phase) + 0.05 * rng.normal(size=(len(t), replicas))
            noise = rng.normal(size=(len(t), replicas, BEADS, 3)).astype(np.float32)
            x = start * breath[..., None, None] + 0.05 * noise
            position["value"][first : first + len(t)] = x.reshape(len(t), -1, 3)
    with (folder / "log.csv").open("r+") as log:
        head = log.readline()
        log.seek(0)
        log.truncate()
        log.write(head)
        energy = 100.0 + 5.0 * rng.normal(size=(frames, replicas, 2))
        for s, rows in zip(steps, energy, strict=True):
            log.writelines(
                f"{s},{0.01 * s:g},{r},chain,0,300.0,{e},{k},{k * 1.2}\n" for r, (e, k) in enumerate(rows.tolist())
            )
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest |= {"step": int(steps[-1]), "total_steps": int(steps[-1]), "status": "finished"}
    (folder / "manifest.json").write_text(json.dumps(manifest))


def measure(folder: Path) -> dict[str, object]:
    """CPU seconds, wall seconds and peak memory of `mdflash analyze`, and the size of its page."""
    begun = time.monotonic()
    process = subprocess.Popen([sys.executable, "-m", "mdflash", "analyze", str(folder)])
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise SystemExit("mdflash analyze failed")
    return {
        "cpu_s": round(used.ru_utime + used.ru_stime, 1),
        "wall_s": round(time.monotonic() - begun, 1),
        "peak_MB": round(used.ru_maxrss * 1024 / 1e6),
        "page_MB": round((folder / "analysis" / "report.html").stat().st_size / 1e6, 2),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--replicas", type=int, default=64)
    parser.add_argument("--frames", type=int, default=10_000)
    parser.add_argument("--folder", type=Path, default=Path("runs/large"))
    parser.add_argument("--out", type=Path, default=HERE / "results")
    given = parser.parse_args()
    if not given.folder.exists():
        make(given.folder, given.replicas, given.frames)
    load = os.getloadavg()[0]
    found: dict[str, object] = {"replicas": given.replicas, "frames": given.frames, "beads": BEADS} | measure(
        given.folder
    )
    found |= {"load_before": round(load, 1), "machine": dataclasses.asdict(measure_machine())}
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / f"analysis_{date.today()}.json").write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1))
