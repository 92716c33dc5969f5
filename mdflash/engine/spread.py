"""The spread of a committee on frames of one molecule."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mdflash.core.system import System
from mdflash.core.types import FloatArray
from mdflash.engine.evaluator import Evaluator
from mdflash.errors import UnstableError
from mdflash.forcefields.committee import Committee, energy_spread_of, spread_of
from mdflash.forcefields.model import ForceField

CHUNK = 256
"""Frames that are evaluated together."""


class Spread(NamedTuple):
    """Of frames [F]: of forces, kcal/mol/Å, and of energies, kcal/mol (NaN where members never saw the molecule).

    Infinite where a member has no finite energy and forces.
    """

    forces: FloatArray
    energies: FloatArray


def evaluate_members(
    members: Sequence[ForceField], system: System, positions: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Forces [M, F, N, 3] in kcal/mol/Å and energies [M, F] in kcal/mol at positions [F, N, 3] in Å.

    Raises:
        ForceFieldError: a member does not fit the molecule.
        UnstableError: a force is not finite; names the frame.
    """
    forces, energies = _Members(members, system, min(CHUNK, max(len(positions), 1)))(positions)
    lost = np.argwhere(~np.isfinite(energies.T))
    if len(lost):
        frame, member = lost[0].tolist()
        raise UnstableError(f"member {member + 1} has no finite energy and forces at frame {frame} of {system.name}")
    return forces, energies


class SpreadOnFrames:
    """The spread of a committee; what is compiled is kept from call to call.

    Args:
        committee: whose.
        system: the molecule.
        together: frames that are evaluated at a time.

    Raises:
        ForceFieldError: a member does not fit the molecule.
    """

    def __init__(self, committee: Committee, system: System, together: int = CHUNK) -> None:
        self._own = committee.own.get(system.name)
        self._members = _Members(committee.members, system, together)

    def __call__(self, positions: FloatArray) -> Spread:
        """At finite positions [F, N, 3] in Å."""
        forces, energies = self._members(positions)
        found = np.isfinite(energies).all(axis=0)
        spread, known = np.full((2, len(positions)), np.inf)
        spread[found] = spread_of(forces[:, found])
        if self._own is None:
            known[:] = np.nan
        else:
            known[found] = energy_spread_of(energies[:, found], self._own.offsets)
        return Spread(spread, known)


class _Members:
    """Evaluates frames in chunks of one size; the last one is filled up with its own last frame.

    The energy is NaN where one is not finite.
    """

    def __init__(self, members: Sequence[ForceField], system: System, together: int) -> None:
        self._evaluators = [Evaluator(member, system, together) for member in members]
        self._together, self._beads = together, system.n_beads

    def __call__(self, positions: FloatArray) -> tuple[FloatArray, FloatArray]:
        members = len(self._evaluators)
        forces, energies = np.zeros((members, *positions.shape)), np.zeros((members, len(positions)))
        for begin in range(0, len(positions), self._together):
            x = np.asarray(positions[begin : begin + self._together], np.float64)
            n = len(x)
            x = np.concatenate([x, np.repeat(x[-1:], self._together - n, axis=0)])
            for k, evaluate in enumerate(self._evaluators):
                e, f = evaluate.wherever_finite(x.reshape(-1, 3))
                energies[k, begin : begin + n] = e[:n]
                forces[k, begin : begin + n] = f.reshape(x.shape)[:n]
        return forces, energies
