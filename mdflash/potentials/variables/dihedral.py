"""The torsion of four beads or centers of mass: phi = atan2(|b2| b1 . n2, n1 . n2), rad in (-pi, pi], MDTraj's sign.

With the bonds b1, b2, b3 along the chain, n1 = b1 x b2, n2 = b2 x b3; gradient of Blondel & Karplus, J. Comput. Chem.
17, 1132 (1996).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from mdflash.compiled.deferred import njit
from mdflash.potentials.variables.base import Beads, VariableArrays
from mdflash.potentials.variables.centers import OfCenters, centers, spread
from mdflash.potentials.variables.vectors import between, cross, dot

if TYPE_CHECKING:
    from torch import Tensor

    from mdflash.core.system import System
    from mdflash.core.types import FloatArray


class Dihedral(OfCenters):
    """Torsion about b-c, in (-pi, pi]; beads or centers of mass of groups."""

    name, dimension, takes = "dihedral", "angle", 4
    lowest, highest, periodic = -math.pi, math.pi, True
    action = "TORSION"

    def __init__(self, system: System, a: Beads, b: Beads, c: Beads, d: Beads) -> None:
        super().__init__(system, a, b, c, d)

    def value(self, x: Tensor) -> Tensor:
        """As every variable."""
        from mdflash.potentials.priors.geometry import dihedral

        return self.coordinate(dihedral, x)


@njit
def value_gradient(v: VariableArrays, x: FloatArray, g: FloatArray) -> float:
    """phi at x [N, 3]; overwrites g [M, 3] with its gradient."""
    c, slope = centers(v, x), np.zeros((4, 3))
    w = np.empty((5, 3))
    b1, b2, b3, n1, n2 = w[0], w[1], w[2], w[3], w[4]
    between(c[0], c[1], b1)
    length = between(c[1], c[2], b2)
    between(c[2], c[3], b3)
    first, last = cross(b1, b2, n1), cross(b2, b3, n2)
    s12, s32 = dot(b1, b2) / (length * length), dot(b3, b2) / (length * length)
    for d in range(3):
        slope[0, d] = -length / (first * first) * n1[d]
        slope[3, d] = length / (last * last) * n2[d]
        shift = s12 * slope[0, d] - s32 * slope[3, d]
        slope[1, d] = -slope[0, d] - shift
        slope[2, d] = shift - slope[3, d]
    spread(v, slope, g)
    return math.atan2(length * dot(b1, n2), dot(n1, n2))
