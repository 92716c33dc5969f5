"""Umbrella windows on a backbone torsion or on the beads' RMSD: frames where an unbiased simulation hardly goes.

A walker with a window feels k/2 (s - center)^2 beside the model, s its torsion (the difference taken on the circle) or
RMSD. What is written are the forces of the model alone. s is a function of beads, so at given beads the mean over the
other atoms does not know of the window, and such frames teach a network the same force as any other; but how often they
come means nothing, so priors and validation leave them out. G. M. Torrie and J. P. Valleau, J. Comput. Phys. 23, 187
(1977).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mdflash.core.geometry import torsions
from mdflash.core.types import FloatArray, IntArray
from mdflash.errors import InputError
from mdflash.mapping.allatom import BIAS_GROUP, relax
from mdflash.sampling.restraint import Restraint, make_restraint
from mdflash.units import KCAL_PER_KJ

if TYPE_CHECKING:
    import openmm as mm

TORSIONS = {"phi": ((-1, "C"), (0, "N"), (0, "CA"), (0, "C")), "psi": ((0, "N"), (0, "CA"), (0, "C"), (1, "N"))}
"""Residue (relative) and name of each torsion's atoms. IUPAC-IUB Commission, Biochemistry 9, 3471 (1970)."""


class Window(NamedTuple):
    """Where a walker is held: center in radian or Å, force constant in kcal/mol/rad² or kcal/mol/Å²."""

    center: float
    stiffness: float


class Torsion(NamedTuple):
    """Four atoms [4], and the atoms beyond the bond in the middle [M], which turn with the last of them."""

    atoms: IntArray
    beyond: IntArray

    def turned(self, positions: FloatArray, value: float) -> FloatArray:
        """`positions` [atoms, 3] with the torsion at `value`, in radian; bonds and angles stay (Rodrigues)."""
        _, b, c, _ = positions[self.atoms]
        axis, angle = (c - b) / np.linalg.norm(c - b), value - torsions(positions, self.atoms[None])[0]
        arm = positions[self.beyond] - c
        found: FloatArray = positions.copy()
        found[self.beyond] = c + (
            math.cos(angle) * arm
            + math.sin(angle) * np.cross(axis, arm)
            + (1.0 - math.cos(angle)) * np.outer(arm @ axis, axis)
        )
        return found

    def begin(self, system: mm.System, positions: FloatArray, window: Window) -> FloatArray:
        """Where a walker of this window begins: `positions` [atoms, 3], turned, and relaxed in `system`."""
        return relax(system, self.turned(positions, window.center))

    def hold(self, system: mm.System, window: Window) -> None:
        """Add the energy of a window to `system`, in a force group of its own."""
        import openmm as mm

        force = mm.CustomTorsionForce("0.5*k*min(d, 2*pi-d)^2; d=abs(theta-center)")
        force.addGlobalParameter("pi", math.pi)
        force.addPerTorsionParameter("k")
        force.addPerTorsionParameter("center")
        force.addTorsion(*self.atoms.tolist(), [window.stiffness / KCAL_PER_KJ, window.center])
        force.setForceGroup(BIAS_GROUP)
        system.addForce(force)

    def arrays(self) -> dict[str, IntArray | FloatArray]:
        """As `held_in` reads it."""
        return {"torsion": self.atoms, "beyond": self.beyond}

    def restraint(self, window: Window, beads: IntArray) -> Restraint:
        """The window as a dataset keeps it, where bead k lies on atom `beads[k]`."""
        mine = [int(np.flatnonzero(beads == atom)[0]) for atom in self.atoms]
        return make_restraint("dihedral", mine, window.center, window.stiffness)


class BeadRmsd(NamedTuple):
    """The beads' root mean square distance from a reference [N, 3] in Å, the best superposition taken.

    `atoms` [N] are the atoms at the beads.
    """

    atoms: IntArray
    reference: FloatArray

    def begin(self, system: mm.System, positions: FloatArray, window: Window) -> FloatArray:
        """`positions` themselves: dynamics draws a walker into its window, which relaxation would leave crumpled."""
        return positions

    def hold(self, system: mm.System, window: Window) -> None:
        """Add the energy of a window to `system`, in a force group of its own."""
        import openmm as mm

        reference = np.zeros((system.getNumParticles(), 3))
        reference[self.atoms] = self.reference / 10.0
        force = mm.CustomCVForce("0.5*k*(rmsd-center)^2")
        force.addCollectiveVariable("rmsd", mm.RMSDForce(reference, self.atoms.tolist()))
        force.addGlobalParameter("k", 100.0 * window.stiffness / KCAL_PER_KJ)
        force.addGlobalParameter("center", window.center / 10.0)
        force.setForceGroup(BIAS_GROUP)
        system.addForce(force)

    def arrays(self) -> dict[str, IntArray | FloatArray]:
        """As `held_in` reads it."""
        return {"reference": self.reference}

    def restraint(self, window: Window, beads: IntArray) -> Restraint:
        """The window as a dataset keeps it."""
        return make_restraint("rmsd", "all", window.center, window.stiffness, self.reference)


def held_in(setup: Mapping[str, Any]) -> Torsion | BeadRmsd:
    """What the windows of a molecule hold, from the arrays of its setup."""
    if "torsion" in setup:
        return Torsion(setup["torsion"], setup["beyond"])
    return BeadRmsd(setup["atoms"], setup["reference"])


def find_torsion(topology: Any, kind: str, residue: int, molecule: str) -> Torsion:
    """phi or psi of a residue.

    Args:
        topology: OpenMM's.
        kind: a key of `TORSIONS`.
        residue: its number, from 1, caps included.
        molecule: for errors.

    Raises:
        InputError: there is no such residue or torsion, or a ring holds it.
    """
    residues = list(topology.residues())
    where = f"molecule '{molecule}': windows: "
    if residue > len(residues):
        raise InputError(f"{where}residue {residue} of {len(residues)}; give `residue:` from 1 to {len(residues)}")
    names = {(a.residue.index, a.name): a.index for a in topology.atoms()}
    wanted = [(residue - 1 + shift, name) for shift, name in TORSIONS[kind]]
    shown = f"{residues[residue - 1].name} {residue}"
    if not all(key in names for key in wanted):
        raise InputError(f"{where}{shown} has no {kind}; choose a residue with a neighbor on both sides")
    atoms = np.array([names[key] for key in wanted])
    beyond, todo = {int(atoms[2])}, [int(atoms[2])]
    bonds = [(a.index, b.index) for a, b in topology.bonds()]
    while todo:
        atom = todo.pop()
        for pair in bonds:
            if atom in pair and set(pair) != set(atoms[1:3].tolist()):
                other = pair[0] + pair[1] - atom
                if other not in beyond:
                    beyond.add(other)
                    todo.append(other)
    if int(atoms[1]) in beyond:
        raise InputError(f"{where}{kind} of {shown} is in a ring, which holds it; choose another residue")
    return Torsion(atoms, np.array(sorted(beyond - {int(atoms[2])})))
