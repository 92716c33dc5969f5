"""One walker: an all-atom simulation that leaves mapped frames and forces, and resumes where it was stopped.

A walker has one replica, or a ladder of them that exchange their temperatures: the coordinates stay in their context,
and velocities are scaled by sqrt(T_new / T_old). Y. Sugita and Y. Okamoto, Chem. Phys. Lett. 314, 141 (1999).

sampling/<molecule>/system.xml           OpenMM's System
sampling/<molecule>/setup.safetensors    starts [S, atoms, 3] Å; atoms [N]; force_map [N, atoms]; with windows: torsion
                                         [4] and beyond [M], or reference [N, 3] Å, see `mdflash.sampling.windows`
sampling/<molecule>/NNN.checkpoint       one line of JSON, then OpenMM's checkpoint of each replica
sampling/<molecule>/NNN.lock             held by the process at work
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from mdflash.core.files import atomic_write, storage_errors
from mdflash.core.regular import open_input, parse_json, read_input
from mdflash.core.tensors import read_tensors
from mdflash.core.types import FloatArray
from mdflash.engine.exchange.permute import permute
from mdflash.errors import StorageError, UnstableError
from mdflash.io.runfolder import FolderLock
from mdflash.mapping.allatom import create_context, frame, openmm_version
from mdflash.sampling.schedule import is_wanted
from mdflash.sampling.trajectory import BLOCK, Aggregation, TrajectoryWriter
from mdflash.sampling.windows import Window, held_in
from mdflash.units import BOLTZMANN, KCAL_PER_KJ

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
        starts: which of the starts each replica begins with.
        hot: for each replica, whether it is heated to 500 K first, to forget the start.
        temperatures: K, one for each replica; at first replica k has the k-th.
        timestep: ps.
        friction: 1/ps.
        stride: steps between frames.
        exchange: steps between exchanges of temperatures, a divisor of `stride`; equal to it for a single replica.
        equilibration: steps before the first frame.
        seed: of its noise, first velocities and exchanges; replica k draws from seed + 10 k on.
        aggregation: noted in the file.
        window: where it is held, or None.
        label: for people.
        chosen: whether its start was chosen for its uncertainty.
    """

    trajectory: Path
    setup: Path
    number: int
    starts: tuple[int, ...]
    hot: tuple[bool, ...]
    temperatures: tuple[float, ...]
    timestep: float
    friction: float
    stride: int
    exchange: int
    equilibration: int
    seed: int
    aggregation: Aggregation
    window: Window | None
    label: str
    chosen: bool = False

    @property
    def checkpoint(self) -> Path:
        return self.setup / f"{self.number:03d}.checkpoint"

    def frames(self) -> int:
        """Frames that are safely on the disk."""
        return int(self._header()["frames"]) if self.checkpoint.is_file() else 0

    def _header(self) -> dict[str, Any]:
        with storage_errors(self.checkpoint), open_input(self.checkpoint) as file:
            return self.read_header(file.readline())

    def read_header(self, line: bytes) -> dict[str, Any]:
        """The first line of the checkpoint.

        Raises:
            StorageError: it is none.
        """
        try:
            header = parse_json(line)
            int(header["frames"]), str(header["openmm"])
        except (ValueError, KeyError, TypeError):
            raise StorageError(
                f"{self.checkpoint}: is damaged; restore it from a copy, or sample into a new folder"
            ) from None
        return cast("dict[str, Any]", header)

    def advance(self, frames: int, seconds: float, report: Callable[[int], None]) -> None:
        """Run until the file holds `frames` frames, or to the first block that ends after `seconds`.

        Args:
            frames: in all, those of earlier calls included; a checkpoint is written after each block of them.
            seconds: of wall time.
            report: receives the number of frames after each block.

        Raises:
            UnstableError: a number that is not finite.
            StorageError: the disk refuses, or the checkpoint is of another OpenMM.
        """
        end = time.monotonic() + seconds
        lock = FolderLock(self.setup / f"{self.number:03d}.lock")
        try:
            _advance(self, frames, end, report)
        finally:
            lock.release()


def _advance(walker: Walker, frames: int, end: float, report: Callable[[int], None]) -> None:
    import openmm as mm

    setup, _ = read_tensors(walker.setup / "setup.safetensors")
    atoms, force_map = setup["atoms"], setup["force_map"]
    system = mm.XmlSerializer.deserialize(read_input(walker.setup / "system.xml").decode())
    starts, restraint = setup["starts"], None
    if walker.window is not None:
        held = held_in(setup)
        held.hold(system, walker.window)
        restraint = held.restraint(walker.window, atoms)
    ladder = _Ladder(walker, system)
    done = ladder.restore()
    if not done:
        if walker.window is not None:
            starts = np.stack([held.begin(system, start, walker.window) for start in starts])
        ladder.begin(starts)
    count = len(walker.temperatures)
    with TrajectoryWriter(
        walker.trajectory, len(atoms), seed=walker.seed, aggregation=walker.aggregation, frames=done,
        replica=count > 1, potential=True, biased=walker.window is not None, restraint=restraint,
        chosen=walker.chosen,
    ) as writer:  # fmt: skip
        while writer.frames < frames and is_wanted():
            number = writer.frames // count  # of the frames of one replica
            ladder.run(number)
            now = (number + 1) * walker.stride * walker.timestep
            for replica, (context, label) in enumerate(zip(ladder.contexts, ladder.labels, strict=True)):
                positions, forces, energy = frame(context)
                if not (np.isfinite(positions).all() and np.isfinite(forces).all()):
                    raise UnstableError(
                        f"{walker.label}: coordinates became NaN or infinite at frame {writer.frames}; "
                        "use a shorter timestep, for example `timestep: 2 fs`"
                    )
                temperature = walker.temperatures[label]
                own = replica if count > 1 else None
                writer.append(positions[atoms], force_map @ forces, temperature, now, own, potential=energy)
            if (number + 1) % BLOCK == 0 or writer.frames == frames:
                writer.flush()
                ladder.save(writer.frames)
                report(writer.frames)
                if time.monotonic() > end:
                    return


class _Ladder:
    """The replicas of a walker and the label of each, the number of its temperature."""

    def __init__(self, walker: Walker, system: mm.System) -> None:
        self.walker = walker
        self.labels = np.arange(len(walker.temperatures))
        self.contexts = [
            create_context(system, t, walker.timestep, walker.friction, walker.seed + 10 * k)
            for k, t in enumerate(walker.temperatures)
        ]

    def begin(self, starts: FloatArray) -> None:
        """Start positions, velocities, and the time before the first frame."""
        walker = self.walker
        for k, (context, temperature) in enumerate(zip(self.contexts, walker.temperatures, strict=True)):
            seed, integrator = walker.seed + 10 * k, context.getIntegrator()
            context.setPositions(starts[walker.starts[k]] / 10.0)
            if walker.hot[k]:
                context.setVelocitiesToTemperature(HOT_TEMPERATURE, seed + 1)
                integrator.setTemperature(HOT_TEMPERATURE)
                integrator.step(round(HOT_TIME / walker.timestep))
                integrator.setTemperature(temperature)
            context.setVelocitiesToTemperature(temperature, seed + 2)
            integrator.step(walker.equilibration)

    def run(self, number: int) -> None:
        """From frame `number` of every replica to the next."""
        walker = self.walker
        for part in range(walker.stride // walker.exchange):
            for context in self.contexts:
                context.getIntegrator().step(walker.exchange)
            if len(self.contexts) > 1:
                self._swap(number * walker.stride // walker.exchange + part)

    def _swap(self, attempt: int) -> None:
        """The attempt of this number to exchange temperatures."""
        walker = self.walker
        kelvin = np.array(walker.temperatures)
        found = [context.getState(energy=True).getPotentialEnergy()._value for context in self.contexts]  # kJ/mol
        energy = KCAL_PER_KJ * np.array(found)
        everyone = np.ones(len(kelvin), bool)
        labels = permute(
            np.outer(1.0 / (BOLTZMANN * kelvin), energy), self.labels, everyone, "neighbors",
            seed=walker.seed % 2**32, ladder=walker.number, step=attempt, attempt=attempt,
        ).labels  # fmt: skip
        for k in np.flatnonzero(labels != self.labels):
            context = self.contexts[k]
            velocities = context.getState(velocities=True).getVelocities(asNumpy=True)._value
            context.setVelocities(velocities * np.sqrt(kelvin[labels[k]] / kelvin[self.labels[k]]))
            context.getIntegrator().setTemperature(kelvin[labels[k]])
        self.labels = labels

    def save(self, frames: int) -> None:
        """Write the checkpoint that belongs to so many frames."""
        states = [context.createCheckpoint() for context in self.contexts]
        header = {
            "frames": frames,
            "openmm": openmm_version(),
            "labels": self.labels.tolist(),
            "bytes": [len(state) for state in states],
        }
        atomic_write(self.walker.checkpoint, json.dumps(header).encode() + b"\n" + b"".join(states))

    def restore(self) -> int:
        """Put every replica where the checkpoint was; returns how many frames were written then."""
        file = self.walker.checkpoint
        if not file.is_file():
            return 0
        with storage_errors(file):
            head, _, states = read_input(file).partition(b"\n")
        header = self.walker.read_header(head)
        if sum(header.get("bytes", [len(states)])) != len(states):
            raise StorageError(f"{file}: is damaged; restore it from a copy, or sample into a new folder")
        if header["openmm"] != openmm_version():
            raise StorageError(
                f"{file}: was written by OpenMM {header['openmm']}, and {openmm_version()} is installed; "
                "install that version to resume, or sample into a new folder"
            )
        self.labels, begin = np.array(header.get("labels", [0])), 0  # a header without labels is of a single replica
        sizes = header.get("bytes", [len(states)])
        for context, label, size in zip(self.contexts, self.labels, sizes, strict=True):
            context.loadCheckpoint(states[begin : begin + size])
            context.getIntegrator().setTemperature(self.walker.temperatures[label])
            begin += size
        return int(header["frames"])
