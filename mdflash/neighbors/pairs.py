"""Pairs of beads within reach of each other, for potentials that are evaluated from Python."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Pairs:
    """Pairs of beads that may be within a cutoff, each once; never between replicas.

    Attributes:
        first: [P] flat bead index i.
        second: [P] flat bead index j > i; rows are sorted by (i, j).
        shift: [P, 3] Å, add to x_j - x_i to get the nearest image; None without a box.
        cutoff: every pair nearer than this is listed. Farther pairs may be listed too (the skin), so a
            potential drops what lies beyond its own cutoff.
    """

    first: Tensor
    second: Tensor
    shift: Tensor | None
    cutoff: float

    def displacements(self, positions: Tensor) -> Tensor:
        """x_j - x_i, nearest image, [P, 3] Å."""
        d = positions[self.second] - positions[self.first]
        return d if self.shift is None else d + self.shift
