"""Do the shipped force fields last? 64 replicas of each at 300 K, 10 million steps of each replica.

    python studies/2026-11-stability/stability.py FOLDER [--only ala2 ...] [--hours 2] [--threads N] [--out FILE]
    python studies/2026-11-stability/stability.py FOLDER --device cuda --minutes 9

Networks make steps of 4 fs, with one program for each replica where a GPU has it for them; force fields for any sequence
steps of 10 fs, on 50 residues of the low-complexity domain of hnRNPA1. A replica whose numbers are no longer finite is
frozen, and the others go on (`guards.nonfinite: freeze`). Killed, or at the end of its time, a run keeps a checkpoint in
FOLDER, and the same command goes on, on another machine too. FILE says how far each came, which replicas broke, how hot
they were, and how long and short bonds became.
"""

from __future__ import annotations

import argparse
import csv
import datetime
import json
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mdflash.analysis.open_run import open_run
from mdflash.config.load import load_run
from mdflash.config.write import commented_yaml
from mdflash.io.events import read_events
from mdflash.io.runfolder import load_manifest
from mdflash.runs.prepare import prepare

STEPS, REPLICAS, KELVIN = 10_000_000, 64, 300.0
A1 = "GSMASASSSQRGRSGSGNFGGGRGGGFGGNDNFGRGGNFSGRGGFGGSRGG"
"""50 residues of the low-complexity domain of hnRNPA1."""


class Subject(NamedTuple):
    """What is run: a shipped system with its own settings, or a force field for any sequence; the time step in fs."""

    system: str = ""
    forcefield: str = ""
    fs: float = 4.0


SUBJECTS = {
    "ala2": Subject("ala2"),
    "chignolin-ca": Subject("chignolin-ca"),
    "teacher-chignolin": Subject("chignolin-schnet"),
    "teacher-1enh": Subject("teacher-1enh"),
    "go-chignolin": Subject("chignolin"),
    **{
        name: Subject(forcefield=name, fs=10.0)
        for name in ("calvados2", "calvados3", "hps-urry", "hps-kr", "mpipi", "mpipi-recharged")
    },
}
"""By force field: every shipped one."""
HOT = 1.05
"""A replica whose mean temperature is so many times the bath's, and five standard errors more, is hot."""
ORDINARY = "start", "resume", "stopped", "finished", "note"
"""Events of a run to which nothing has happened."""


def run_file(name: str, folder: Path) -> str:
    """What `mdflash run` is given."""
    subject = SUBJECTS[name]
    if subject.system:
        return subject.system
    file = folder / f"{name}.yaml"
    file.write_text(commented_yaml({
        "mdflash": 1, "name": name, "system": {"sequence": A1}, "model": {"forcefield": name},
        "dynamics": {"friction": "0.01 /ps", "seed": 1},
    }))  # fmt: skip
    return str(file)


def settings(name: str, own: Path, options: argparse.Namespace) -> list[str]:
    """As `--set` takes them."""
    fs = SUBJECTS[name].fs
    length = options.steps * fs / 1000.0  # ps
    found = [
        f"dynamics.temperature={KELVIN:g} K", f"dynamics.timestep={fs:g} fs", f"dynamics.steps={options.steps}",
        f"replicas.count={options.replicas}", "guards.nonfinite=freeze", f"output.folder={own.resolve()}",
        f"hardware.device={options.device}",
        f"output.log.interval={length / 400:g} ps", f"output.trajectory.interval={length / 100:g} ps",
    ]  # fmt: skip
    if options.device == "cuda" and SUBJECTS[name].system not in ("", "chignolin"):
        found.append("model.kernels=whole")
    if options.threads is not None:
        found.append(f"hardware.threads={options.threads}")
    return found


def found(name: str, folder: Path) -> dict[str, Any]:
    """What a run folder tells of its run."""
    manifest, events = load_manifest(folder), read_events(folder / "events.jsonl")
    kelvin: dict[int, list[float]] = defaultdict(list)
    with (folder / "log.csv").open() as file:
        for row in csv.DictReader(file):
            kelvin[int(row["replica"])].append(float(row["temperature_K"]))
    frozen = sorted({int(e["replica"]) for e in events if e["event"] == "freeze"})
    broken = [e for e in events if e["event"] not in ORDINARY]
    sampled = {r: np.array(values[1:]) for r, values in kelvin.items() if len(values) > 2}
    moving = {r: values for r, values in sampled.items() if r not in frozen}
    means = {r: float(values.mean()) for r, values in moving.items()}
    slack = {r: 5.0 * float(values.std() / len(values) ** 0.5) for r, values in moving.items()}
    every = np.concatenate(list(moving.values())) if moving else np.zeros(0)
    (sha,) = {ff["sha256"] for ff in manifest["forcefields"]}
    return {
        "forcefield": name,
        "sha256": sha,
        "status": manifest["status"],
        "steps": manifest["step"],
        "timestep_fs": SUBJECTS[name].fs,
        "replicas": len(kelvin),
        "beads": manifest["systems"][0]["beads"],
        "broken": broken[:100],
        "frozen_replicas": frozen,
        "hot_replicas": sorted(r for r, mean in means.items() if mean > HOT * KELVIN + slack[r]),
        "temperature_K": round(float(every.mean()), 1) if len(every) else None,
        "coldest_and_hottest_mean_of_a_replica_K": [round(f(means.values())) for f in (min, max)] if means else None,
        "hottest_K": round(float(every.max())) if len(every) else None,
        **bonds(folder),
        "kernels": manifest["kernels"],
        "device": manifest["device_name"],
        "timing": manifest["timing"],
        "mdflash": manifest["versions"]["mdflash"],
    }


def bonds(folder: Path) -> dict[str, Any]:
    """How far bonds went from their length in the start frame, over all frames of all replicas."""
    prepared = prepare(load_run(folder, ["hardware.device=cpu"]))
    (system,) = prepared.layout.systems
    first, second = np.asarray(system.bonds).T
    start = prepared.start.numpy()[: system.n_beads]
    length = np.linalg.norm(start[second] - start[first], axis=1)
    least, most, longest, frames = np.inf, -np.inf, 0.0, 0
    for positions in open_run(folder).positions.values():
        x = np.asarray(positions[:])
        now = np.linalg.norm(x[:, second] - x[:, first], axis=2)
        frames += len(x)
        least, most = min(least, float((now - length).min())), max(most, float((now - length).max()))
        longest = max(longest, float(now.max()))
    return {"frames": frames, "shortest_bond_change_A": round(least, 3), "longest_bond_change_A": round(most, 3),
            "longest_bond_A": round(longest, 3)}  # fmt: skip


def go_on(name: str, folder: Path, options: argparse.Namespace, seconds: float) -> dict[str, Any]:
    """Run a force field on for so long at most; what it has come to."""
    folder.mkdir(parents=True, exist_ok=True)
    own = folder / name
    given = settings(name, own, options)
    finished = (own / "manifest.json").is_file() and load_manifest(own)["status"] == "finished"
    if not finished:
        command = [sys.executable, "-m", "mdflash", "run", run_file(name, folder), "--until", f"{seconds / 3600:.5f}h"]
        done = subprocess.run([*command, *(word for s in given for word in ("--set", s))], check=False)
        if not (own / "manifest.json").is_file():
            return {"forcefield": name, "status": f"ended with {done.returncode} before step 0", "steps": 0}
    return found(name, own)


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("folder", type=Path, help="of the runs")
    parser.add_argument("--only", nargs="+", choices=tuple(SUBJECTS), default=tuple(SUBJECTS))
    parser.add_argument("--hours", type=float, default=1000.0, help="for each of them")
    parser.add_argument("--minutes", type=float, default=1e6, help="for all of them")
    parser.add_argument("--threads", type=int, help="of the CPU")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--replicas", type=int, default=REPLICAS)
    parser.add_argument("--out", type=Path, help="JSON file; default: stability.json in the folder")
    return parser


def main() -> None:
    options = arguments().parse_args()
    end = time.monotonic() + 60.0 * options.minutes
    results: list[dict[str, Any]] = []
    for name in options.only:
        left = min(3600.0 * options.hours, end - time.monotonic())
        if left < 20.0:
            print(f"{name}: no time left")
            continue
        results.append(go_on(name, options.folder, options, left - 10.0))
        said = {"date": datetime.date.today().isoformat(), "target_steps": options.steps, "runs": results}
        (options.out or options.folder / "stability.json").write_text(json.dumps(said, indent=1) + "\n")
        print(json.dumps(results[-1]))


if __name__ == "__main__":
    main()
