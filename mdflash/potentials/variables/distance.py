"""The distance between two beads or centers of mass: r = |c_1 - c_0|, Å.

dr/dc_1 = (c_1 - c_0) / r = -dr/dc_0.

In a periodic box (`Distance.in_box`) c_1 is its image nearest to c_0. At half an edge the nearest image changes, and
with it the direction of the force, so keep biases below that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mdflash.compiled.deferred import njit
from mdflash.potentials.variables.base import Beads, Variable, VariableArrays, norm
from mdflash.potentials.variables.centers import OfCenters, centers, spread
from mdflash.potentials.variables.vectors import between

if TYPE_CHECKING:
    from torch import Tensor

    from mdflash.core.system import System
    from mdflash.core.types import Box, FloatArray


class Distance(OfCenters):
    """Between two beads, or the centers of mass of two groups."""

    name, dimension, takes = "distance", "length", 2
    action = "DISTANCE"

    def __init__(self, system: System, a: Beads, b: Beads) -> None:
        super().__init__(system, a, b)

    def in_box(self, box: Box) -> Distance:
        """The distance between the nearest images of the two centers."""
        found = object.__new__(Distance)
        Variable.__init__(found, self.groups, self.weights, constants=box)
        found.box = box
        return found

    def value(self, x: Tensor) -> Tensor:
        """As every variable."""
        if self.box is None:
            from mdflash.potentials.priors.geometry import distance

            return self.coordinate(distance, x)
        c = self.centers(x)
        edges = c.new_tensor(self.box)
        v = c[:, 1] - c[:, 0]
        return norm(v - edges * (v / edges).round())


@njit
def value_gradient(v: VariableArrays, x: FloatArray, g: FloatArray) -> float:
    """r at x [N, 3]; overwrites g [M, 3] with its gradient, 0 where the centers are in one place."""
    c, slope = centers(v, x), np.zeros((4, 3))
    for d in range(3):
        edge = v.constants[d]
        if edge > 0.0:
            c[1, d] -= edge * np.rint((c[1, d] - c[0, d]) / edge)
    r = between(c[0], c[1], slope[1])
    for d in range(3):
        slope[1, d] /= r if r > 0.0 else 1.0
        slope[0, d] = -slope[1, d]
    spread(v, slope, g)
    return r
