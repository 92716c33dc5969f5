"""Kinds of beads: a bead type, and whether the bead ends its chain, which may change its mass and its charge."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from mdflash.core.system import System
from mdflash.core.types import FloatArray, IntArray
from mdflash.forcefields.environment import Environment, protonated
from mdflash.forcefields.mixing import Mix
from mdflash.forcefields.model import ForceField

_NOWHERE = Environment(math.nan, math.nan, math.nan)
"""Of a force field without an environment, whose rules do not read it."""


@dataclass(frozen=True, eq=False)
class Kinds:
    """The kinds of beads in one molecule.

    Attributes:
        of_bead: [N] kind of each bead.
        type: [K] position of each kind's type in `ForceField.bead_types`.
        first, last: [K] whether it begins, or ends, a chain.
    """

    of_bead: IntArray
    type: IntArray
    first: npt.NDArray[np.bool_]
    last: npt.NDArray[np.bool_]


def bead_kinds(ff: ForceField, system: System) -> Kinds:
    """The kinds of a molecule's beads: its bead types, told apart at chain ends where the force field has termini.

    A bead begins a chain if no bead before it in the list is bonded to it, and ends one if none behind it is.

    Raises:
        ForceFieldError: a type the force field does not know.
    """
    types = ff.type_indices(system)
    if not ff.termini:
        return replace(every_type(ff), of_bead=types)
    first, last = chain_ends(system)
    found, of_bead = np.unique(np.stack([types, first, last], axis=1), axis=0, return_inverse=True)
    return Kinds(of_bead.reshape(-1).astype(np.int64), found[:, 0], found[:, 1] > 0, found[:, 2] > 0)


def chain_ends(system: System) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """[N] and [N]: the beads that begin, and that end, a chain; a bead without bonds does both."""
    first, last = np.ones(system.n_beads, bool), np.ones(system.n_beads, bool)
    first[system.bonds[:, 1]] = False  # rows of bonds ascend
    last[system.bonds[:, 0]] = False
    return first, last


def bead_masses(ff: ForceField, system: System) -> FloatArray:
    """[N] Da: what the force field says, ends of chains included; the molecule's own where it says nothing."""
    masses = {t.name: t.mass for t in ff.bead_types if t.mass is not None}
    found = np.array([masses.get(t, m) for t, m in zip(system.types, system.masses, strict=True)])
    for end, at in zip(("first", "last"), chain_ends(system), strict=True):
        found[at] += ff.termini.get(end, {}).get("mass", 0.0)
    return found


def every_type(ff: ForceField) -> Kinds:
    """A kind for each bead type, inside a chain."""
    n = len(ff.bead_types)
    return Kinds(np.arange(n), np.arange(n), np.zeros(n, bool), np.zeros(n, bool))


def mixed(ff: ForceField, mix: Mix, kinds: Kinds) -> FloatArray:
    """[K, K] a parameter that a rule gives, in the force field's environment."""

    def values(name: str) -> FloatArray:
        by_type = np.array([_property(ff, t, name) for t in range(len(ff.bead_types))])
        found: FloatArray = by_type[kinds.type]
        for end, at in (("first", kinds.first), ("last", kinds.last)):
            found[at] += ff.termini.get(end, {}).get(name, 0.0)
        return found

    return mix.matrix(values, len(kinds.type), ff.environment or _NOWHERE)


def _property(ff: ForceField, index: int, name: str) -> float:
    properties = ff.bead_types[index].properties
    value = properties[name]
    if name == "charge" and "pKa" in properties and ff.environment is not None:
        value += protonated(properties["pKa"], ff.environment.pH)
    return value
