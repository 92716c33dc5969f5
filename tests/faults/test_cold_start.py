"""Runs that are started at once on an empty cache of kernels, as the first jobs of a user on a cluster."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mdflash.io.read import read_frames
from tests.processes import Process, python


def command(folder: Path) -> list[str]:
    sets = (f"output.folder={folder}", "replicas.count=2", "dynamics.seed=5", "output.log.interval=1 ps",
            "output.trajectory.interval=1 ps")  # fmt: skip
    return ["-m", "mdflash", "run", "chignolin", "--steps", "400", *(word for s in sets for word in ("--set", s))]


def content(folder: Path) -> list[bytes]:
    (checkpoint,) = (folder / "checkpoint").glob(f"step_{400:015d}.npz")
    frames = read_frames(folder / "trajectory" / "chignolin.h5", 1).positions
    return [(folder / "log.csv").read_bytes(), checkpoint.read_bytes(), frames.tobytes()]


@pytest.mark.slow  # every run compiles for itself; the suite starts 8 processes with small kernels: compiled/test_units
@pytest.mark.parametrize("runs", [3, 8])
def test_all_finish_with_the_same_bits_and_leave_one_cache(tmp_path: Path, runs: int) -> None:
    """In the user's cache folder, where nobody chose another."""
    env = {k: v for k, v in os.environ.items() if k != "NUMBA_CACHE_DIR"} | {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    kernels = tmp_path / "cache" / "mdflash" / "kernels"
    processes = [Process(*command(tmp_path / f"run{k}"), env=env) for k in range(runs)]
    for process in processes:
        said, errors = process.communicate(timeout=900)
        assert process.returncode == 0, errors
        assert "compiling kernels (once for this version" in said
    first = content(tmp_path / "run0")
    assert all(content(tmp_path / f"run{k}") == first for k in range(1, runs))
    kept = sorted(kernels.iterdir())
    assert kept and {file.suffix for file in kept} == {".nbc"}
    again = python(*command(tmp_path / "again"), env=env)
    assert (again.returncode, again.stderr) == (0, "")
    assert "compiling" not in again.stdout
    assert content(tmp_path / "again") == first
    assert sorted(kernels.iterdir()) == kept
