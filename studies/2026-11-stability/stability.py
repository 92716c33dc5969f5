"""Do the shipped force fields last? 64 replicas of each at 300 K with steps of 4 fs, 10 million steps of each replica.

    python studies/2026-11-stability/stability.py FOLDER [--systems ala2 ...] [--hours 2] [--threads N] [--out FILE]

A run stops at the first replica whose numbers are no longer finite (`guards.nonfinite: stop`), so the steps that it
came to are steps without one. Killed, or at the end of its hours, it keeps a checkpoint in FOLDER, and the same command
goes on. FILE says how far each came, and how hot any replica was at any time.
"""

from __future__ import annotations

import argparse
import csv
import datetime
import json
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

from mdflash.io.events import read_events
from mdflash.io.runfolder import load_manifest

SYSTEMS = "ala2", "chignolin-ca", "chignolin-schnet", "teacher-1enh"
"""Each shipped network's; chignolin-schnet is that of teacher-chignolin."""
STEPS, REPLICAS = 10_000_000, 64
SETTINGS = (
    "dynamics.temperature=300 K", "dynamics.timestep=4 fs", f"dynamics.steps={STEPS}", f"replicas.count={REPLICAS}",
    "output.trajectory.interval=100 ps", "output.log.interval=100 ps",
)  # fmt: skip
ORDINARY = "start", "resume", "stopped", "finished"
"""Events of a run to which nothing has happened."""


def found(folder: Path) -> dict[str, Any]:
    """What a run folder tells of its run."""
    manifest = load_manifest(folder)
    kelvin: dict[int, list[float]] = defaultdict(list)
    with (folder / "log.csv").open() as file:
        for row in csv.DictReader(file):
            kelvin[int(row["replica"])].append(float(row["temperature_K"]))
    every = [t for values in kelvin.values() for t in values[1:]]
    means = [sum(values[1:]) / len(values[1:]) for values in kelvin.values() if values[1:]]
    return {
        "forcefield": manifest["forcefields"][0]["name"],
        "sha256": manifest["forcefields"][0]["sha256"],
        "status": manifest["status"],
        "steps": manifest["step"],
        "replicas": len(kelvin),
        "beads": manifest["systems"][0]["beads"],
        "failures": [e for e in read_events(folder / "events.jsonl") if e["event"] not in ORDINARY],
        "temperature_K": round(sum(every) / len(every), 1) if every else None,
        "coldest_and_hottest_mean_of_a_replica_K": [round(min(means)), round(max(means))] if means else None,
        "hottest_K": round(max(every)) if every else None,
        "device": manifest["device_name"],
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="of the runs")
    parser.add_argument("--systems", nargs="+", choices=SYSTEMS, default=SYSTEMS)
    parser.add_argument("--hours", type=float, default=1000.0, help="for each of them")
    parser.add_argument("--threads", type=int, help="of the CPU")
    parser.add_argument("--out", type=Path, help="JSON file; default: stability.json in the folder")
    options = parser.parse_args()
    more = [] if options.threads is None else [f"hardware.threads={options.threads}"]
    results = []
    for name in options.systems:
        own = options.folder / name
        settings = [*SETTINGS, *more, f"output.folder={own.resolve()}"]
        command = [sys.executable, "-m", "mdflash", "run", name, "--until", f"{options.hours}h"]
        subprocess.run([*command, *(word for s in settings for word in ("--set", s))], check=False)
        results.append(found(own))
        said = {"date": datetime.date.today().isoformat(), "timestep_fs": 4.0, "target_steps": STEPS, "runs": results}
        (options.out or options.folder / "stability.json").write_text(json.dumps(said, indent=1) + "\n")
        print(json.dumps(results[-1]))
