"""Molecules, random frames and writers for the tests of the output files."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mdflash.core.system import System
from mdflash.io.formats import WRITTEN, written_format, written_formats
from mdflash.io.formats.base import FrameWriter, Target

RESIDUES = ("TYR", "ASP", "PRO", "GLU", "THR", "GLY", "LYS", "TRP", "ALA", "SER")
FORMATS = WRITTEN
DT_PS = 0.004
INTERVAL = 250


def build_system(beads: int = 10, name: str = "pep", chains: str = "A") -> System:
    """A Cα chain cut into as many chains as there are letters; residue numbers start at 5."""
    chain_ids = tuple(chains[r * len(chains) // beads] for r in range(beads))
    return System(
        name=name,
        types=tuple(RESIDUES[i % 10] for i in range(beads)),
        bead_names=("CA",) * beads,
        residue_index=np.arange(beads),
        residue_names=tuple(RESIDUES[i % 10] for i in range(beads)),
        residue_ids=tuple(range(5, 5 + beads)),
        chain_ids=chain_ids,
        masses=np.full(beads, 110.0),
        bonds=np.array([[i, i + 1] for i in range(beads - 1) if chain_ids[i] == chain_ids[i + 1]]),
    )


def frame(index: int, replicas: int, beads: int, seed: int = 0) -> np.ndarray:
    """Positions [replicas, beads, 3] Å of frame `index`: a random molecule, some way off the origin."""
    rng = np.random.default_rng([seed, index])
    return rng.normal(size=(replicas, beads, 3)) * 8 + rng.uniform(-40, 40, size=(replicas, 1, 3))


def fill(writer: FrameWriter, first: int, last: int, seed: int = 0) -> None:
    """Append the frames first:last; frame i belongs to step i * INTERVAL."""
    replicas, beads = len(writer.target.replica_ids), writer.target.system.n_beads
    for i in range(first, last):
        writer.append(frame(i, replicas, beads, seed), i * INTERVAL, i * INTERVAL * DT_PS)


def expected(count: int, replica: int, replicas: int, beads: int, seed: int = 0) -> np.ndarray:
    """What a file of `count` frames must hold for the replica in row `replica`, [count, beads, 3] Å."""
    return np.array([frame(i, replicas, beads, seed)[replica] for i in range(count)]).reshape(count, beads, 3)


TOLERANCE = {format.name: format.exact_to for format in written_formats()}  # Å


@pytest.fixture(params=FORMATS)
def format(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def target(tmp_path: Path) -> Target:
    return Target(tmp_path, build_system(), (4, 5, 9), block=4)


def files_of(format: str, target: Target) -> dict[int, Path]:
    """Replica id -> its file."""
    return {replica: written_format(format).file(target, replica) for replica in target.replica_ids}


def run_and_kill(work: Callable[[Callable[[int], None]], None], delay: float) -> int:
    """Fork; run `work(report)` in the child and SIGKILL it `delay` seconds after its first report.

    Returns the last number that the child reported.
    """
    reader, sender = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reader)
            work(lambda number: os.write(sender, b"%d\n" % number) and None)
        finally:
            os._exit(1)
    os.close(sender)
    try:
        first = os.read(reader, 1)
        assert first, "the child died before its first report"
        time.sleep(delay)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        text = first
        while part := os.read(reader, 1 << 16):
            text += part
    finally:
        os.close(reader)
    return int(text[: text.rindex(b"\n")].split()[-1])


def new_writer(format: str, target: Target) -> FrameWriter:
    return written_format(format).writer.create(target)
