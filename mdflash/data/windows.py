"""Umbrella windows on a backbone torsion: frames where an unbiased simulation hardly goes.

A walker with a window feels k/2 d(torsion, center)^2 beside the model, d the difference on the circle. What is written
are the forces of the model alone. The torsion is one of atoms that are beads, so at given beads the mean over the other
atoms does not know of the window, and such frames teach a network the same force as any other; but how often they
come says nothing, so priors and validation leave them out. G. M. Torrie and J. P. Valleau, J. Comput. Phys. 23, 187
(1977).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mdflash.errors import InputError
from mdflash.go import torsions
from mdflash.mapping.allatom import BIAS_GROUP
from mdflash.system import FloatArray, IntArray
from mdflash.units import KCAL_PER_KJ

if TYPE_CHECKING:
    import openmm as mm

TORSIONS = {"phi": ((-1, "C"), (0, "N"), (0, "CA"), (0, "C")), "psi": ((0, "N"), (0, "CA"), (0, "C"), (1, "N"))}
"""Residue (relative) and name of each torsion's atoms. IUPAC-IUB Commission, Biochemistry 9, 3471 (1970)."""


class Window(NamedTuple):
    """Where a walker is held: center in radian, force constant in kcal/mol/rad²."""

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
        raise InputError(f"{where}{shown} has no {kind}; choose a residue with a neighbour on both sides")
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


def restraint(atoms: IntArray, window: Window) -> mm.CustomTorsionForce:
    """The energy of a window on four atoms [4], in a force group of its own."""
    import openmm as mm

    force = mm.CustomTorsionForce("0.5*k*min(d, 2*pi-d)^2; d=abs(theta-center)")
    force.addGlobalParameter("pi", math.pi)
    force.addPerTorsionParameter("k")
    force.addPerTorsionParameter("center")
    force.addTorsion(*atoms.tolist(), [window.stiffness / KCAL_PER_KJ, window.center])
    force.setForceGroup(BIAS_GROUP)
    return force
