"""A box of many molecules: one System, one force field, and places to start from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from mdflash.core.copies import join
from mdflash.core.geometry import long_axis
from mdflash.core.plural import plural
from mdflash.core.system import System
from mdflash.core.types import Box, FloatArray
from mdflash.forcefields.copies import Part, merge
from mdflash.forcefields.model import ForceField
from mdflash.mapping.placing import Kind, larger_box, place


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
        start, end: edges of the larger periodic box that the molecules are in, and what it must be compressed to; None
            where nothing has to be compressed.
    """

    system: System
    frames: FloatArray
    forcefield: ForceField
    apart: float
    thickness: float
    start: Box | None = None
    end: Box | None = None

    def describe(self, slab: bool) -> str:
        """'100 chains (13,700 beads) placed in a slab of 32.2 nm, ...'."""
        if self.start is not None and self.end is not None:
            start, end = (" x ".join(f"{edge / 10:.3g}" for edge in edges) for edges in (self.start, self.end))
            what = "the slab" if slab else "the box"
            where = f"{start} nm, to be compressed to {end} nm ({what})"
        else:
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
    compress: bool = False,
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
        compress: whether to place them in a larger box where they would be too dense (see `placing.larger_box`).

    Raises:
        InputError: they do not fit.
        ForceFieldError: force fields of molecules that cannot share a box.
    """
    kinds = [Kind(m.system.n_beads, m.count, float(m.system.masses.sum()), m.frames) for m in molecules]
    system, forcefield = join_molecules(molecules, name)
    larger = larger_box(kinds, box, slab, thickness) if compress else None
    if larger is not None:
        start, end = larger
        placed = [place(kinds, start, seed, r) for r in range(replicas)]
        apart = min(p.apart for p in placed)
        return Filled(
            system, np.stack([p.positions for p in placed]), forcefield, apart, end[long_axis(box)], start, end
        )
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
