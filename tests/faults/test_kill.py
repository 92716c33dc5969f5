"""A run that is killed and started again ends with the same content as one that was left alone."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.processes import Process, python
from tests.rank_helpers import CLOCK, newest_step, wait_for_checkpoint

STEPS = 200_000
CAMPAIGN_STEPS = 4_000_000


def command(folder: Path, form: str, steps: int = STEPS) -> list[str]:
    """Seconds of Gō chignolin, 8 replicas, a checkpoint every 8,000 steps, frames and log in between."""
    return [
        *("-m", "mdflash", "run", "chignolin", "--steps", str(steps)),
        *("--set", f"output.folder={folder}", "--set", f"output.trajectory.format={form}"),
        *("--set", "replicas.count=8", "--set", "dynamics.timestep=4 fs", "--set", "dynamics.seed=5"),
        *("--set", "output.trajectory.interval=6 ps", "--set", "output.log.interval=10 ps"),
        *("--set", "output.checkpoint.interval=32 ps"),
    ]


def content(folder: Path) -> dict[str, bytes]:
    """Everything that must not depend on what happened on the way, by file."""
    found = {"log.csv": (folder / "log.csv").read_bytes(), "topology": (folder / "topology.pdb").read_bytes()}
    for file in sorted((folder / "trajectory").iterdir()):
        if file.suffix == ".h5":
            with h5py.File(file, "r") as f:
                for name in ("coordinates", "time", "particles/trajectory/position/step", "topology"):
                    found[f"{file.name}/{name}"] = f[name][()].tobytes()
        else:
            found[file.name] = file.read_bytes()
    for file in sorted((folder / "checkpoint").iterdir()):
        found[file.name] = file.read_bytes()
    return found


def finished(folder: Path) -> bool:
    manifest = folder / "manifest.json"
    return manifest.is_file() and json.loads(manifest.read_text())["status"] == "finished"


def events(folder: Path) -> list[bytes]:
    file = folder / "events.jsonl"
    return file.read_bytes().splitlines() if file.is_file() else []


def run_and_kill(folder: Path, form: str, steps: int, kills: int, seed: int) -> list[int]:
    """Start again and again, each time with SIGKILL at a random moment; returns the steps of the events log."""
    rng = random.Random(seed)
    for _ in range(kills):
        before = len(events(folder))
        child = Process(*command(folder, form, steps))
        # mostly while steps are done, sometimes while it starts or resumes
        if rng.random() < 0.8:
            while child.poll() is None and len(events(folder)) == before:
                time.sleep(0.01)
            time.sleep(rng.uniform(0.0, 0.75))
        else:
            time.sleep(rng.uniform(0.5, 2.0))
        if child.poll() is None:
            os.kill(child.pid, signal.SIGKILL)
        _, errors = child.communicate()
        assert child.returncode in (0, -signal.SIGKILL), errors
    done = python(*command(folder, form, steps))
    assert done.returncode == 0, done.stderr
    return [e["step"] for e in map(json.loads, events(folder)) if e["event"] == "resume"]


def compare(tmp_path: Path, form: str, steps: int, kills: int, seed: int) -> list[int]:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    python(*command(whole, form, steps), check=True)
    resumed = run_and_kill(broken, form, steps, kills, seed)
    assert finished(whole)
    assert finished(broken)
    expected, found = content(whole), content(broken)
    assert found.keys() == expected.keys()
    for name in expected:
        assert found[name] == expected[name], f"{name} differs after resuming at steps {resumed}"
    return resumed


def test_killed_runs_end_the_same(tmp_path: Path) -> None:
    compare(tmp_path, "hdf5", STEPS, kills=3, seed=1)


@pytest.mark.slow
@pytest.mark.parametrize(("form", "kills"), [("hdf5", 20), ("xtc", 6), ("dcd", 6)])
def test_campaign(tmp_path: Path, form: str, kills: int) -> None:
    resumed = compare(tmp_path, form, CAMPAIGN_STEPS, kills, seed=2)
    assert len(set(resumed)) > kills // 4, f"the kills did not fall into the run: {resumed}"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_signals_write_a_checkpoint_and_leave_with_75(tmp_path: Path, number: signal.Signals) -> None:
    folder = tmp_path / "run"
    child = Process(*command(folder, "none", CAMPAIGN_STEPS))
    wait_for_checkpoint(folder, 1, [child])
    child.send_signal(number)
    _, errors = child.communicate(timeout=CLOCK)
    assert child.returncode == 75, errors
    said = re.search(rf"{number.name}: stopped at step ([\d,]+)", errors)
    assert said is not None, errors
    step = int(said[1].replace(",", ""))
    assert 0 < step == newest_step(folder) < CAMPAIGN_STEPS
    header = json.loads(str(np.load(folder / "checkpoint" / f"step_{step:015d}.npz")["header"]))
    assert header["step"] == step
