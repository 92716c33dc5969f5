"""The functional forms a prior can have: each is a function of one internal coordinate.

A term's energy is sum_m u(q_m; parameters_m), its force -u'(q_m) dq_m/dx. A form says which coordinate q is and
which parameters u has, and holds u in plain torch; its module also holds the compiled (u, u'), or (u, u'/q) of q^2
where u needs no root of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal

import numpy as np
from torch import Tensor

from mdflash.core.system import FloatArray
from mdflash.potentials.priors import (
    contact,
    excluded_volume,
    fourier,
    harmonic,
    polynomial,
    repulsion,
    restricted,
    shifted_improper,
)

Coordinate = Literal["distance", "angle_cosine", "angle", "dihedral"]

ORDER: Final[Mapping[Coordinate, int]] = MappingProxyType({"distance": 2, "angle_cosine": 3, "angle": 3, "dihedral": 4})
"""How many beads a coordinate takes."""


@dataclass(frozen=True)
class Form:
    """One functional form.

    Attributes:
        name: as it stands in forcefield.yaml.
        coordinate: which internal coordinate it is a function of.
        scalars: parameters with one value per interaction.
        series: parameters with several (Fourier or polynomial coefficients).
        equation: for people.
        energy: u(q, **parameters) in torch, elementwise over interactions.
    """

    name: str
    coordinate: Coordinate
    scalars: tuple[str, ...]
    series: tuple[str, ...]
    equation: str
    energy: Callable[..., Tensor]

    @property
    def order(self) -> int:
        return ORDER[self.coordinate]

    @property
    def parameters(self) -> tuple[str, ...]:
        return self.scalars + self.series

    def rows(self, parameters: Mapping[str, FloatArray]) -> FloatArray:
        """[M, P] as the form's `value_slope` reads them: scalars, then the series coefficient by coefficient."""
        scalars = np.stack([parameters[p] for p in self.scalars], axis=1)  # [M, scalars]
        if not self.series:
            return scalars
        series = np.stack([parameters[p] for p in self.series], axis=2)  # [M, degree, series]
        return np.concatenate([scalars, series.reshape(len(series), -1)], axis=1)


def stack_rows(rows: Sequence[FloatArray]) -> FloatArray:
    """[M, P] rows of several forms under each other, padded with zeros to the widest."""
    width = max((r.shape[1] for r in rows), default=1)
    padded = [np.pad(r, ((0, 0), (0, width - r.shape[1]))) for r in rows] or [np.zeros((0, width))]
    return np.ascontiguousarray(np.concatenate(padded))  # to numba another order is another type


FORMS: Final[Mapping[str, Form]] = MappingProxyType(
    {
        form.name: form
        for form in (
            Form("harmonic_bond", "distance", ("k", "x0"), (), "k (r - x0)^2", harmonic.energy),
            Form(
                "harmonic_angle_cosine", "angle_cosine", ("k", "x0"), (), "k (cos(theta) - x0)^2", harmonic.energy
            ),
            Form("harmonic_angle", "angle", ("k", "x0"), (), "k (theta - x0)^2", harmonic.energy),
            Form("harmonic_improper", "dihedral", ("k", "x0"), (), "k (phi - x0)^2", harmonic.energy),
            Form(
                "shifted_harmonic_improper", "dihedral", ("k", "x0"), (), "k (phi -+ pi - x0)^2",
                shifted_improper.energy,
            ),
            Form(
                "fourier_dihedral", "dihedral", ("v0",), ("k1", "k2"),
                "v0 + sum_n k1_n sin(n phi) + k2_n cos(n phi)", fourier.energy,
            ),
            Form(
                "polynomial_angle_cosine", "angle_cosine", ("v0",), ("ks",), "v0 + sum_n ks_n cos(theta)^n",
                polynomial.energy,
            ),
            Form(
                "polynomial_angle", "angle", ("v0",), ("ks",), "v0 + sum_n ks_n theta^n", polynomial.energy
            ),
            Form(
                "restricted_quartic_angle", "angle", ("a", "b", "c", "d", "k", "v0"), (),
                "a cos^4 + b cos^3 + c cos^2 + d cos + k / sin^2 + v0 of theta", restricted.energy,
            ),
            Form("repulsion", "distance", ("sigma",), (), "(sigma / r)^6", repulsion.energy),
            Form(
                "contact_12_10", "distance", ("epsilon", "r0"), (),
                "epsilon [5 (r0/r)^12 - 6 (r0/r)^10]", contact.energy,
            ),
            Form(
                "excluded_volume", "distance", ("epsilon", "sigma"), (),
                "epsilon (sigma/r)^12, force-shifted at the cutoff", excluded_volume.energy,
            ),
        )
    }
)  # fmt: skip
"""Every form by name."""

NEIGHBOR_FORMS: Final = frozenset({"excluded_volume"})
"""Forms evaluated over the neighbour list (`keyed_by: neighbors`); the others act on listed beads."""
