"""One walker: an all-atom simulation that leaves mapped frames and forces, and goes on where it was stopped.

sampling/<molecule>/system.xml           OpenMM's System
sampling/<molecule>/setup.safetensors    starts [S, atoms, 3] Å; atoms [N]; force_map [N, atoms]
sampling/<molecule>/NNN.checkpoint       one line of JSON, then OpenMM's checkpoint
sampling/<molecule>/NNN.lock             held by the process at work
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mdflash.data.trajectory import BLOCK, Aggregation, TrajectoryWriter
from mdflash.errors import StorageError, UnstableError
from mdflash.io.files import atomic_write, storage_errors
from mdflash.io.runfolder import FolderLock
from mdflash.mapping.allatom import create_context, frame, openmm_version
from mdflash.system import FloatArray

if TYPE_CHECKING:
    import openmm as mm

HOT_TEMPERATURE, HOT_TIME = 500.0, 500.0  # K, ps


@dataclass(frozen=True)
class Walker:
    """What one walker does.

    Attributes:
        trajectory: the .h5 file it writes.
        setup: the folder of its molecule's setup.
        number: in its molecule.
        start: which of the starts it begins with.
        hot: whether it is heated to 500 K first, to forget the start.
        temperature: K.
        timestep: ps.
        friction: 1/ps.
        stride: steps between frames.
        equilibration: steps before the first frame.
        seed: of its noise and first velocities.
        aggregation: noted in the file.
        label: for people.
    """

    trajectory: Path
    setup: Path
    number: int
    start: int
    hot: bool
    temperature: float
    timestep: float
    friction: float
    stride: int
    equilibration: int
    seed: int
    aggregation: Aggregation
    label: str

    @property
    def checkpoint(self) -> Path:
        return self.setup / f"{self.number:03d}.checkpoint"

    def frames(self) -> int:
        """Frames that are safely on the disk."""
        return int(self._header()["frames"]) if self.checkpoint.is_file() else 0

    def _header(self) -> dict[str, Any]:
        with self.checkpoint.open("rb") as file:
            header: dict[str, Any] = json.loads(file.readline())
        return header


def advance(walker: Walker, frames: int, seconds: float, report: Callable[[int], None]) -> None:
    """Carry `walker` on until its file holds `frames` frames, or to the first block that ends after `seconds`.

    Args:
        walker: what to do; a checkpoint is written after each block of frames.
        frames: in all, those of earlier calls included.
        seconds: of wall time.
        report: told the number of frames after each block.

    Raises:
        UnstableError: a number that is not finite.
        StorageError: the disk refuses, or the checkpoint is of another OpenMM.
    """
    lock = FolderLock(walker.setup / f"{walker.number:03d}.lock")
    try:
        _advance(walker, frames, time.monotonic() + seconds, report)
    finally:
        lock.release()


def _advance(walker: Walker, frames: int, end: float, report: Callable[[int], None]) -> None:
    import openmm as mm
    from safetensors.numpy import load_file

    setup = load_file(walker.setup / "setup.safetensors")
    atoms, force_map = setup["atoms"], setup["force_map"]
    system = mm.XmlSerializer.deserialize((walker.setup / "system.xml").read_text())
    context = create_context(system, walker.temperature, walker.timestep, walker.friction, walker.seed)
    done = _restore(walker, context)
    if not done:
        _begin(walker, context, setup["starts"][walker.start])
    owner = os.getppid()
    with TrajectoryWriter(
        walker.trajectory, len(atoms), seed=walker.seed, aggregation=walker.aggregation, frames=done
    ) as writer:
        while writer.frames < frames and os.getppid() == owner:  # whoever asked for this may be gone
            context.getIntegrator().step(walker.stride)
            positions, forces = frame(context)
            if not (np.isfinite(positions).all() and np.isfinite(forces).all()):
                raise UnstableError(
                    f"{walker.label}: atoms left the finite numbers at frame {writer.frames}; "
                    "use a shorter timestep, for example `timestep: 2 fs`"
                )
            now = (writer.frames + 1) * walker.stride * walker.timestep
            writer.append(positions[atoms], force_map @ forces, walker.temperature, now)
            if writer.frames % BLOCK == 0 or writer.frames == frames:
                writer.flush()
                header = json.dumps({"frames": writer.frames, "openmm": openmm_version()})
                atomic_write(walker.checkpoint, header.encode() + b"\n" + context.createCheckpoint())
                report(writer.frames)
                if time.monotonic() > end:
                    return


def _restore(walker: Walker, context: mm.Context) -> int:
    """Put the context where the checkpoint was; says how many frames were written then."""
    if not walker.checkpoint.is_file():
        return 0
    with storage_errors(walker.checkpoint):
        head, _, state = walker.checkpoint.read_bytes().partition(b"\n")
    header = json.loads(head)
    if header["openmm"] != openmm_version():
        raise StorageError(
            f"{walker.checkpoint}: was written by OpenMM {header['openmm']}, and {openmm_version()} is installed; "
            "install that version to go on, or sample into a new folder"
        )
    context.loadCheckpoint(state)
    return int(header["frames"])


def _begin(walker: Walker, context: mm.Context, start: FloatArray) -> None:
    """Start positions, velocities, and the time before the first frame."""
    context.setPositions(start / 10.0)
    integrator = context.getIntegrator()
    if walker.hot:
        context.setVelocitiesToTemperature(HOT_TEMPERATURE, walker.seed + 1)
        integrator.setTemperature(HOT_TEMPERATURE)
        integrator.step(round(HOT_TIME / walker.timestep))
        integrator.setTemperature(walker.temperature)
    context.setVelocitiesToTemperature(walker.temperature, walker.seed + 2)
    integrator.step(walker.equilibration)
