"""The angle at the second of three beads or centers of mass: theta = atan2(|a x b|, a . b), rad in [0, pi].

With a = c_0 - c_1, b = c_2 - c_1, their unit vectors a', b', and c = cos(theta), s = sin(theta):
d(theta)/dc_0 = (c a' - b') / (|a| s), d(theta)/dc_2 = (c b' - a') / (|b| s); no direction at s = 0, and 0 there.
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


class Angle(OfCenters):
    """At b, in [0, pi]; beads or centers of mass of groups."""

    name, dimension, takes = "angle", "angle", 3
    highest = math.pi
    action = "ANGLE"

    def __init__(self, system: System, a: Beads, b: Beads, c: Beads) -> None:
        super().__init__(system, a, b, c)

    def value(self, x: Tensor) -> Tensor:
        """As every variable."""
        from mdflash.potentials.priors.geometry import angle

        return self.coordinate(angle, x)


@njit
def value_gradient(v: VariableArrays, x: FloatArray, g: FloatArray) -> float:
    """theta at x [N, 3]; overwrites g [M, 3] with its gradient."""
    c, slope = centers(v, x), np.zeros((4, 3))
    w = np.empty((3, 3))
    la, lb = between(c[1], c[0], w[0]), between(c[1], c[2], w[1])
    sine, cosine = cross(w[0], w[1], w[2]) / (la * lb), dot(w[0], w[1]) / (la * lb)
    if sine > 0.0:
        for d in range(3):
            a, b = w[0, d] / la, w[1, d] / lb
            slope[0, d] = (cosine * a - b) / (la * sine)
            slope[2, d] = (cosine * b - a) / (lb * sine)
            slope[1, d] = -(slope[0, d] + slope[2, d])
    spread(v, slope, g)
    return math.atan2(sine, cosine)
