"""24 short runs on every executor, with processes killed at random: each is finished once, and none is torn."""

from __future__ import annotations

import csv
import importlib.util
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mdflash.campaigns.folder import read_rows
from mdflash.campaigns.plan import lay_out
from mdflash.campaigns.state import held_by, stand_of
from mdflash.config.load import load_run
from mdflash.io.runfolder import is_run_folder
from mdflash.runs.execute import execute
from tests.faults.one_node_slurm import jobs_left, missing, slurm

pytestmark = pytest.mark.slow

SWEEP = """
mdflash: 1
name: many
run: chignolin
folder: {folder}
set:
  dynamics.steps: 200000
  replicas.count: 1
  output.trajectory: {{format: xtc, interval: 100 ps}}
  output.log.interval: 20 ps
  output.checkpoint.interval: 200 ps
sweep:
  dynamics.temperature: [300 K, 340 K, 380 K]
  dynamics.seed: {{from: 1, to: {seeds}}}
job: {{scheduler: slurm, time: 1 h, cores: 1, at_once: 4}}
"""


def planned(tmp_path: Path, seeds: int = 8) -> Path:
    sweep = tmp_path / "sweep.yaml"
    sweep.write_text(SWEEP.format(folder=tmp_path / "many", seeds=seeds))
    laid = lay_out(sweep, lambda runs: None, lambda what, done, total: None)
    assert laid.added == 3 * seeds
    return laid.folder


def runner(folder: Path, *words: str) -> subprocess.Popen[str]:
    """`mdflash campaign run`, in a session of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "mdflash", "campaign", "run", str(folder), "--threads", "1", "--retries", "20", *words],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip


def processes_in(folder: Path) -> list[int]:
    """Runs of this campaign, by the folder that they work in."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if Path(os.readlink(entry / "cwd")).is_relative_to(folder / "runs"):
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


def kill_some(folder: Path, kills: int, going: Callable[[], bool], rng: random.Random) -> int:
    """SIGKILL runs at random moments, as long as any are going; returns how many."""
    done = 0
    while done < kills and going():
        time.sleep(rng.uniform(0.5, 4.0))
        running = processes_in(folder)
        if running:
            os.kill(rng.choice(running), signal.SIGKILL)
            done += 1
    return done


def check(folder: Path, tmp_path: Path, seed: int) -> None:
    """Every run finished once, some have the bits of runs that were left alone, and there is one table."""
    rows = read_rows(folder)
    for row in rows:
        place = folder / "runs" / row.name
        assert stand_of(place).state == "done", (row.name, stand_of(place))
        assert held_by(place) is None
        assert is_run_folder(place / "run")
        events = [json.loads(line)["event"] for line in (place / "run" / "events.jsonl").read_text().splitlines()]
        assert events.count("finished") == 1, (row.name, events)
        attempts = [json.loads(line) for line in (place / "attempts.jsonl").read_text().split("\n") if line]
        assert [attempt["verdict"] for attempt in attempts].count("done") == 1, attempts
    for row in random.Random(seed).sample(rows, 6):
        place = folder / "runs" / row.name
        whole = tmp_path / "whole" / row.name
        execute(
            load_run(place / "system.yaml", [f"output.folder={whole}", "hardware.threads=1"]), place / "system.yaml"
        )
        for name in (
            "log.csv",
            "topology.pdb",
            *(f"trajectory/{x.name}" for x in (whole / "trajectory").glob("*.xtc")),
        ):
            assert (place / "run" / name).read_bytes() == (whole / name).read_bytes(), (row.name, name)
    with (folder / "properties.csv").open() as file:
        table = list(csv.DictReader(file))
    assert [line["run"] for line in table] == [row.name for row in rows]
    assert all(float(line["rg_A"]) > 0.0 and line["status"] == "done" for line in table)
    assert {line["dynamics.temperature"] for line in table} == {"300 K", "340 K", "380 K"}


def test_local(tmp_path: Path) -> None:
    """Runs are killed; then their runner, whose runs go on; two others take over, and do no run twice."""
    folder, rng = planned(tmp_path), random.Random(1)
    first = runner(folder, "--workers", "2")
    killed = kill_some(folder, 6, lambda: first.poll() is None, rng)
    first.kill()
    first.communicate()
    others = [runner(folder, "--workers", "2") for _ in range(2)]
    killed += kill_some(folder, 6, lambda: any(other.poll() is None for other in others), rng)
    said = [other.communicate(timeout=1200)[0] for other in others]
    assert [other.returncode for other in others] == [0, 0], said
    assert killed == 12
    left = runner(folder, "--workers", "2")  # what the other had still in hand, and what the first one's runs finished
    out, _ = left.communicate(timeout=600)
    assert left.returncode == 0, out
    check(folder, tmp_path, 1)


@pytest.mark.skipif(importlib.util.find_spec("parsl") is None, reason="Parsl is not installed: pip install parsl")
def test_parsl(tmp_path: Path) -> None:
    folder, rng = planned(tmp_path), random.Random(2)
    first = runner(folder, "--workers", "2", "--executor", "parsl")
    killed = kill_some(folder, 8, lambda: first.poll() is None, rng)
    first.send_signal(signal.SIGTERM)
    out, _ = first.communicate(timeout=300)
    assert first.returncode == 75, out
    assert "stopped with" in out
    assert processes_in(folder) == []
    second = runner(folder, "--workers", "2", "--executor", "parsl")
    killed += kill_some(folder, 4, lambda: second.poll() is None, rng)
    out, _ = second.communicate(timeout=1200)
    assert second.returncode == 0, out
    assert killed == 12
    check(folder, tmp_path, 2)


@pytest.mark.skipif(bool(missing()), reason=f"SLURM is not installed: {', '.join(missing())}")
def test_slurm(tmp_path: Path) -> None:
    """An array of 24 jobs, submitted as docs/user/campaigns.md says; again as long as runs are left."""
    folder, rng = planned(tmp_path), random.Random(3)
    script = folder / "job.slurm"
    script.write_text(script.read_text().replace("campaign run .", "campaign run . --retries 20"))
    with tempfile.TemporaryDirectory(prefix="slurm-", dir="/tmp") as own, slurm(Path(own)) as env:
        killed = 0
        for _ in range(4):
            subprocess.run(["sbatch", "job.slurm"], cwd=folder, env=env, check=True, timeout=60)
            killed += kill_some(folder, 12 - killed, lambda: jobs_left(env) > 0, rng)
            end = time.monotonic() + 1200
            while jobs_left(env) > 0:
                assert time.monotonic() < end, list((folder / "jobs").iterdir())
                time.sleep(1.0)
            if all(stand_of(folder / "runs" / row.name).state == "done" for row in read_rows(folder)):
                break
        assert killed == 12
    check(folder, tmp_path, 3)
