"""An energy over one to three variables on a grid, interpolated by cubic Hermite polynomials: plain NumPy and torch.

A node of a grid holds what the polynomials need: the energy, and its derivatives by the numbers of the nodes,

    one axis    V, dV/dz                                       z = (q - low) / spacing
    two axes    V, dV/dz1, dV/dz2, d2V/dz1 dz2
    three       those, and the derivatives of all four by z3

so a cell is a cubic along each axis, its value and gradient are continuous everywhere, and the gradient of what is
interpolated is exact. A Gaussian of width sigma on a grid of spacing h is off by at most 3/384 (h/sigma)^4 of its
height: 1.3e-5 at h = sigma / 5. Nodes of a periodic axis go round. Beyond the ends of other axes the energy is that of
the nearest edge, without a force.

`surface_cpu` is the compiled twin of everything here, with the same signatures.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mdflash.core.types import FloatArray
from mdflash.errors import InputError
from mdflash.potentials.bias.grid_size import MOST_AXES, MOST_NODES
from mdflash.potentials.variables.base import Variable

REACH: Final = 6.0
"""Widths beyond which a Gaussian is left out: 1.5e-8 of its height."""


@dataclass(frozen=True)
class Axis:
    """One variable and its nodes, from `low` to `high`.

    Attributes:
        name: of the variable, in columns.
        variable: what it measures.
        low, high: the ends, in the unit of the variable; of a periodic one, a period.
        points: nodes; both ends are nodes, but those of a period are one.

    Raises:
        InputError: ends that are no range, fewer than 4 nodes, or a periodic variable with another range than a period.
    """

    name: str
    variable: Variable
    low: float
    high: float
    points: int

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high) or self.points < 4:
            raise InputError(
                f"a grid has two ends, the lower one first, and 4 points or more; found {self.low:g}, {self.high:g} "
                f"and {self.points}"
            )
        if self.periodic and abs(self.high - self.low - 2.0 * math.pi) > 1e-9:
            raise InputError(
                f"a grid over a {self.variable.name} is a whole period, -pi to pi; found {self.low:g} to {self.high:g}"
            )

    @property
    def periodic(self) -> bool:
        """Whether its last node is followed by its first."""
        return self.variable.periodic

    @property
    def spacing(self) -> float:
        """Between nodes, in the unit of the variable."""
        return (self.high - self.low) / (self.points if self.periodic else self.points - 1)

    @property
    def nodes(self) -> FloatArray:
        """[points] values of the variable."""
        return np.asarray(self.low + self.spacing * np.arange(self.points))

    def inside(self, values: FloatArray) -> npt.NDArray[np.bool_]:
        """[...] whether values are on the grid; False for NaN."""
        if self.periodic:
            return np.asarray(np.isfinite(values))
        return np.asarray((values >= self.low) & (values <= self.high))


def empty_surface(axes: Sequence[Axis]) -> FloatArray:
    """[points of each axis, 2^D] zeros.

    Raises:
        InputError: not one to three axes, or more nodes than a grid may have.
    """
    shape = tuple(axis.points for axis in axes)
    if not 1 <= len(shape) <= MOST_AXES or math.prod(shape) > MOST_NODES:
        raise InputError(
            f"a grid has one to {MOST_AXES} axes and at most {MOST_NODES:,} nodes, found {' x '.join(map(str, shape))}"
        )
    return np.zeros((*shape, 2 ** len(shape)))


def add_gaussian(
    surface: FloatArray, axes: Sequence[Axis], center: FloatArray, width: FloatArray, height: float
) -> None:
    """Add height * exp(-sum_d (q_d - center_d)^2 / (2 width_d^2)), and its images along periodic axes, to a surface.

    Args:
        surface: [points of each axis, 2^D]; changed.
        axes: of the surface.
        center, width: [D] in the units of the variables.
        height: kcal/mol.
    """
    rows = [_gaussian(*each) for each in zip(axes, center, width, strict=True)]
    parts = [
        functools.reduce(np.multiply.outer, [row[:, p >> d & 1] for d, row in enumerate(rows)])
        for p in range(2 ** len(rows))
    ]
    surface += height * np.stack(parts, axis=-1)


def _gaussian(axis: Axis, center: float, width: float) -> FloatArray:
    """[points, 2] a Gaussian of height 1 at the nodes, and its derivative by their number."""
    z, w = (center - axis.low) / axis.spacing, width / axis.spacing
    images = range(-math.ceil(REACH * w / axis.points) - 1, math.ceil(REACH * w / axis.points) + 2)
    x = (np.arange(axis.points) + axis.points * np.array(images if axis.periodic else [0])[:, None] - z) / w
    e = np.where(np.abs(x) <= REACH, np.exp(-0.5 * x * x), 0.0)
    return np.stack([e.sum(axis=0), (-x / w * e).sum(axis=0)], axis=-1)


def interpolate(surface: Tensor, axes: Sequence[Axis], values: Tensor) -> Tensor:
    """[n] energies, kcal/mol, at values [n, D] of the variables; differentiable by them.

    Args:
        surface: [n, points of each axis, 2^D], one for each of the values.
        axes: of the surfaces.
        values: of the variables.
    """
    n = torch.arange(len(values))
    cells = [_cell(axis, q) for axis, q in zip(axes, values.unbind(-1), strict=True)]
    ends = [(i, j) for i, j, _ in cells]
    corners = [surface[nodes] for nodes in itertools.product([n], *ends)]  # [n, 2^D] of each node around
    for _, _, t in reversed(cells):  # along the last axis first
        half = corners[0].shape[-1] // 2
        pairs = zip(corners[::2], corners[1::2], strict=True)
        corners = [
            torch.stack([_hermite(a[:, [p, p + half]], b[:, [p, p + half]], t) for p in range(half)], dim=-1)
            for a, b in pairs
        ]
    return corners[0][:, 0]


def _cell(axis: Axis, q: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """[n] the node before each value, the node after it, and how far between them it is, 0 to 1."""
    z = (q - axis.low) / axis.spacing
    if axis.periodic:
        z = z - axis.points * torch.floor(z.detach() / axis.points)
        first = z.detach().long().clamp(0, axis.points - 1)
        return first, (first + 1) % axis.points, z - first
    z = z.clamp(0.0, axis.points - 1.0)
    first = z.detach().long().clamp(0, axis.points - 2)
    return first, first + 1, z - first


def _hermite(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """The cubic from value and slope a [n, 2] to b [n, 2], at t [n]."""
    s = 1.0 - t
    values = (1.0 + 2.0 * t) * s * s * a[:, 0] + t * t * (3.0 - 2.0 * t) * b[:, 0]
    return values + t * s * s * a[:, 1] - t * t * s * b[:, 1]
