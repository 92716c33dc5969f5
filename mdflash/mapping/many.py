"""A box of many molecules: one System, one force field, and places to start from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from mdflash.core.copies import join
from mdflash.core.plural import plural
from mdflash.core.system import System
from mdflash.core.types import Box, FloatArray
from mdflash.forcefields.copies import Part, merge
from mdflash.forcefields.model import ForceField
from mdflash.mapping.placing import Kind, place


@dataclass(frozen=True, eq=False)
class Copies(Part):
    """Copies of one molecule: its force field, its beads, how many.

    Attributes:
        frames: [F, N, 3] Å, copy i takes the shape of frame i, cycled; None: a chain that grows where there is room.
    """

    frames: FloatArray | None = None


class Filled(NamedTuple):
    """A box of molecules.

    Attributes:
        system: all beads, copy by copy.
        frames: [replicas, N, 3] Å, each with places of its own.
        forcefield: of all.
        apart: Å; no bead is nearer to one of another molecule.
        thickness: Å of the slab, or the longest edge.
    """

    system: System
    frames: FloatArray
    forcefield: ForceField
    apart: float
    thickness: float

    def describe(self, slab: bool) -> str:
        """'100 chains (13,700 beads) placed in a slab of 32.2 nm, ...'."""
        where = f"a slab of {self.thickness / 10:.3g} nm" if slab else "the box"
        chains = int(self.system.chain_index[-1]) + 1
        return (
            f"{plural(chains, 'chain')} ({plural(self.system.n_beads, 'bead')}) placed in {where}, no bead "
            f"nearer than {self.apart:g} angstrom to one of another molecule"
        )


def fill_box(
    molecules: Sequence[Copies],
    box: Box,
    seed: int,
    *,
    name: str = "box",
    replicas: int = 1,
    slab: bool = False,
    thickness: float | None = None,
) -> Filled:
    """Place many molecules in a periodic box, without overlap, as system.yaml does with `molecules:`.

    Args:
        molecules: what is placed.
        box: its edges, Å.
        seed: of the random numbers.
        name: of the System.
        replicas: for how many there shall be places.
        slab: whether in the middle of the longest edge alone, else everywhere.
        thickness: Å, of the slab; None: as 0.3 g/mL make it.

    Raises:
        InputError: they do not fit.
        ForceFieldError: force fields of molecules that cannot share a box.
    """
    kinds = [Kind(m.system.n_beads, m.count, float(m.system.masses.sum()), m.frames) for m in molecules]
    system, forcefield = join_molecules(molecules, name)
    placed = [place(kinds, box, seed, r, slab=slab, thickness=thickness) for r in range(replicas)]
    return Filled(
        system, np.stack([p.positions for p in placed]), forcefield, min(p.apart for p in placed),
        max(p.thickness for p in placed),
    )  # fmt: skip


def join_molecules(molecules: Sequence[Part], name: str) -> tuple[System, ForceField]:
    """The System and the force field of all of them.

    Raises:
        ForceFieldError: force fields of molecules that cannot share a box.
    """
    return join([(m.system, m.count) for m in molecules], name), merge(molecules, name)
