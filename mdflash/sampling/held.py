"""Mean forces: the atoms at the beads are held, the others move, and the mapped forces are averaged.

A held atom has mass 0, so OpenMM leaves it exactly where it is: a stiff restraint would let it shiver by some 0.05 Å,
in which forces of bonds between beads change by tens of kcal/mol/Å. OpenMM refuses constraints on atoms of mass 0; the
constrained bonds of held atoms (to hydrogens) become springs instead. Their forces cancel within a constrained group,
which force maps treat as one, and are not written. Nothing removes the motion of the center of mass.

setup.safetensors of the molecule has beads [C, N, 3] Å beside what `mdflash.sampling.walker` says, and a start for
each.

Each configuration is a simulation of its own, whose noise depends on its number alone: so what a stopped sampling has
written stands, and the configuration at work begins anew.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mdflash.core.regular import read_input
from mdflash.core.tensors import read_tensors
from mdflash.core.types import FloatArray, IntArray
from mdflash.errors import UnstableError
from mdflash.io.runfolder import FolderLock
from mdflash.mapping.allatom import BIAS_GROUP, create_context, frame, relax
from mdflash.sampling.means import mean_force
from mdflash.sampling.schedule import is_wanted
from mdflash.sampling.trajectory import Aggregation, TrajectoryWriter, open_trajectory

if TYPE_CHECKING:
    import openmm as mm

SPRING = 3e5
"""kJ/mol/nm², of the bonds to hydrogens that were constrained: about that of C-H in ff14SB. With hydrogens of 3 Da,
time steps up to 6 fs are stable."""


@dataclass(frozen=True)
class HeldWalker:
    """What one process does: some of the configurations of a molecule, one after the other, into one trajectory.

    Attributes:
        trajectory: the .h5 file it writes, with a frame for each configuration.
        setup: the folder of its molecule's setup.
        number: in its molecule.
        configurations: their numbers in the setup.
        temperature: K.
        timestep: ps.
        friction: 1/ps.
        settle: steps before the first force.
        stride: steps between forces.
        samples: forces that are averaged.
        seed: of the noise; configuration k draws from seed + 10 k on.
        aggregation: noted in the file.
        label: for people.
    """

    trajectory: Path
    setup: Path
    number: int
    configurations: tuple[int, ...]
    temperature: float
    timestep: float
    friction: float
    settle: int
    stride: int
    samples: int
    seed: int
    aggregation: Aggregation
    label: str

    def frames(self) -> int:
        """Configurations that are safely on the disk."""
        return open_trajectory(self.trajectory, "").n_frames if self.trajectory.is_file() else 0

    def advance(self, frames: int, seconds: float, report: Callable[[int], None]) -> None:
        """Go on until the file holds `frames` configurations, or to the first that ends after `seconds`.

        Args:
            frames: in all, those of earlier calls included.
            seconds: of wall time.
            report: receives the number of configurations after each.

        Raises:
            UnstableError: a number that is not finite.
            StorageError: the disk refuses.
        """
        end = time.monotonic() + seconds
        lock = FolderLock(self.setup / f"{self.number:03d}.lock")
        try:
            self._advance(frames, end, report)
        finally:
            lock.release()

    def _advance(self, frames: int, end: float, report: Callable[[int], None]) -> None:
        import openmm as mm

        setup, _ = read_tensors(self.setup / "setup.safetensors")
        system = mm.XmlSerializer.deserialize(read_input(self.setup / "system.xml").decode())
        system = held_system(system, setup["atoms"])
        each = (self.settle + self.samples * self.stride) * self.timestep
        with TrajectoryWriter(
            self.trajectory, len(setup["atoms"]), seed=self.seed, aggregation=self.aggregation, frames=self.frames(),
            means=True, chosen=True,
        ) as writer:  # fmt: skip
            while writer.frames < frames:
                configuration = self.configurations[writer.frames]
                beads, start = setup["beads"][configuration], setup["starts"][configuration].copy()
                start[setup["atoms"]] = beads
                series = self._forces(system, start, configuration, setup["force_map"])
                if series is None:
                    return
                means = mean_force(series)
                writer.append(beads, means.mean, self.temperature, each * (writer.frames + 1), means=means)
                writer.flush()
                report(writer.frames)
                if time.monotonic() > end:
                    return

    def _forces(
        self, system: mm.System, start: FloatArray, configuration: int, force_map: FloatArray
    ) -> FloatArray | None:
        """Mapped forces [samples, N, 3] from a start [atoms, 3]; None: whoever asked for them is gone."""
        seed, found = (self.seed + 10 * configuration) % 2**31, []
        context = create_context(system, self.temperature, self.timestep, self.friction, seed)
        context.setPositions(relax(system, start) / 10.0)
        context.setVelocitiesToTemperature(self.temperature, (seed + 2) % 2**31)
        context.getIntegrator().step(self.settle)
        for _ in range(self.samples):
            context.getIntegrator().step(self.stride)
            found.append(force_map @ frame(context).forces)
            if not np.isfinite(found[-1]).all():
                raise UnstableError(
                    f"{self.label}: forces became NaN or infinite at configuration {configuration}; use a shorter "
                    "timestep, for example `timestep: 2 fs`"
                )
            if not is_wanted():
                return None
        return np.stack(found)


def held_system(system: mm.System, atoms: IntArray) -> mm.System:
    """A copy of `system` in which `atoms` [N] stay where they are."""
    import openmm as mm

    held = copy.deepcopy(system)
    fixed, springs = set(atoms.tolist()), mm.HarmonicBondForce()
    springs.setForceGroup(BIAS_GROUP)
    for k in reversed(range(held.getNumConstraints())):
        a, b, length = held.getConstraintParameters(k)
        if a in fixed or b in fixed:
            springs.addBond(a, b, length, SPRING)
            held.removeConstraint(k)
    for atom in fixed:
        held.setParticleMass(atom, 0.0)
    for k in reversed(range(held.getNumForces())):
        if isinstance(held.getForce(k), mm.CMMotionRemover):
            held.removeForce(k)
    held.addForce(springs)
    return held
