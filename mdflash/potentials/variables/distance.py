"""The distance between two beads or centers of mass: r = |c_1 - c_0|, Å.

dr/dc_1 = (c_1 - c_0) / r = -dr/dc_0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mdflash.compiled.deferred import njit
from mdflash.potentials.variables.base import Beads, VariableArrays
from mdflash.potentials.variables.centers import OfCenters, centers, spread
from mdflash.potentials.variables.vectors import between

if TYPE_CHECKING:
    from torch import Tensor

    from mdflash.core.system import System
    from mdflash.core.types import FloatArray


class Distance(OfCenters):
    """Between two beads, or the centers of mass of two groups."""

    name, dimension, takes = "distance", "length", 2

    def __init__(self, system: System, a: Beads, b: Beads) -> None:
        super().__init__(system, a, b)

    def value(self, x: Tensor) -> Tensor:
        """As every variable."""
        from mdflash.potentials.priors.geometry import distance

        return self.coordinate(distance, x)


@njit
def value_gradient(v: VariableArrays, x: FloatArray, g: FloatArray) -> float:
    """r at x [N, 3]; overwrites g [M, 3] with its gradient, 0 where the centers are in one place."""
    c, slope = centers(v, x), np.zeros((4, 3))
    r = between(c[0], c[1], slope[1])
    for d in range(3):
        slope[1, d] /= r if r > 0.0 else 1.0
        slope[0, d] = -slope[1, d]
    spread(v, slope, g)
    return r
