"""Signals while a command starts: one sentence, the exit code of stops, nothing half done."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import mdflash
from mdflash.core.signals import STOP
from tests.processes import Process

ENV = {**os.environ, "PYTHONPATH": str(Path(mdflash.__file__).parents[1])}


def catches(pid: int, number: signal.Signals) -> bool:
    """Whether the process has a handler for a signal."""
    status = Path(f"/proc/{pid}/status").read_text()
    mask = next(line.split()[1] for line in status.splitlines() if line.startswith("SigCgt"))
    return bool(int(mask, 16) >> (number - 1) & 1)


def run(folder: Path) -> list[str]:
    return ["-m", "mdflash", "run", "chignolin", "--set", f"output.folder={folder}", "--set", "replicas.count=1"]


def check(code: int, said: str, number: signal.Signals) -> None:
    assert code == 75, (code, said)
    assert "Traceback" not in said and "Aborted" not in said
    assert len([line for line in said.splitlines() if number.name in line]) == 1, said


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda n: n.name)
def test_a_command_that_has_hardly_begun(tmp_path: Path, number: signal.Signals) -> None:
    """From the moment that the interpreter knows of it, before anything of weight is imported."""
    process = subprocess.Popen([sys.executable, *run(tmp_path / "r")], env=ENV, stderr=subprocess.PIPE, text=True)
    while not catches(process.pid, signal.SIGTERM):
        assert process.poll() is None
        time.sleep(0.002)
    process.send_signal(number)
    _, said = process.communicate(timeout=600)
    check(process.returncode, said, number)
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize("seed", range(6))
def test_at_any_moment(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    number = rng.choice(STOP)
    process = Process(*run(tmp_path / "r"))
    while not catches(process.pid, signal.SIGTERM):
        assert process.poll() is None, process.said()
        time.sleep(0.002)
    time.sleep(rng.uniform(0.0, 2.0))
    process.send_signal(number)
    _, said = process.communicate(timeout=600)
    check(process.wait(), said, number)
