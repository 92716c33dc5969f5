"""What there is to know of a functional form.

A term's energy is sum_m u(q_m; parameters_m), its force -u'(q_m) dq_m/dx. A form defines the coordinate q and the
parameters of u. Its module holds u three times: in plain torch (the truth), compiled for the CPU, and in Triton.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from mdflash.core.ranges import ANY, Range
from mdflash.core.types import FloatArray

if TYPE_CHECKING:
    from torch import Tensor

Coordinate = Literal["distance", "angle_cosine", "angle", "dihedral", "pair"]
"""What a form is a function of; "pair" is the distance of every near pair, the others are of listed beads."""

ORDER: Final[Mapping[Coordinate, int]] = MappingProxyType(
    {"distance": 2, "angle_cosine": 3, "angle": 3, "dihedral": 4, "pair": 2}
)
"""How many beads a coordinate takes."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Form:
    """One functional form.

    Attributes:
        name: as it stands in forcefield.yaml.
        on: its coordinate q: r in Å, the cosine of theta, theta or phi in rad.
        scalars: parameters with one value per interaction, name -> unit.
        series: parameters with several (Fourier or polynomial coefficients), name -> unit; all of one length.
        equation: u(q) as a line of text, kcal/mol.
        source: where the form is from.
        energy: u(q, **parameters) in torch, elementwise; forms on "pair" take a keyword `cutoff` in Å too.
        constant: the parameter that is added to u, so that no force knows it.
        strength: of a form on "pair": the parameter that u is proportional to. Beads for which it is 0 whomever they
            meet are not searched for.
        columns: of a form on "pair": what the compiled twins read in place of the parameters, made of them and of the
            term's cutoff in Å; here goes what need not be computed again for each pair.
        ends: of a form on "pair": where u of each pair ends, Å, if that is before the term's cutoff.
        rough: of a form on "pair": where the slope of u bends before u ends, Å.
        whole: parameters that are whole numbers, name -> those allowed.
        ranges: of other parameters, those for which u has a meaning in physics; the rest may be any number.
        safe: values of q at which the coordinate is singular (r = 0, theta = pi) or jumps (phi = pi), and the force is
            right nevertheless; the conformance tests look there too.
    """

    name: str
    on: Coordinate
    scalars: Mapping[str, str]
    series: Mapping[str, str] = field(default_factory=dict)
    equation: str
    source: str
    energy: Callable[..., Tensor]
    constant: str = ""
    strength: str = ""
    columns: Callable[[Mapping[str, FloatArray], float], tuple[FloatArray, ...]] | None = None
    ends: Callable[[Mapping[str, FloatArray]], FloatArray] | None = None
    rough: Callable[[Mapping[str, FloatArray]], FloatArray] | None = None
    whole: Mapping[str, range] = field(default_factory=dict)
    ranges: Mapping[str, Range] = field(default_factory=dict)
    safe: tuple[float, ...] = ()

    @property
    def order(self) -> int:
        return ORDER[self.on]

    @property
    def parameters(self) -> tuple[str, ...]:
        return (*self.scalars, *self.series)

    @property
    def units(self) -> Mapping[str, str]:
        """Of every parameter."""
        return {**self.scalars, **self.series}

    def problem(self, parameters: Mapping[str, FloatArray]) -> tuple[int, str] | None:
        """The first row [K] of some of its parameters that makes no sense, and what is wrong there."""
        for name, values in parameters.items():
            if name in self.whole:
                odd = np.flatnonzero(~np.isin(values, self.whole[name]))
                if len(odd):
                    first, last = self.whole[name][0], self.whole[name][-1]
                    found = values[odd[0]]
                    return int(odd[0]), f"'{name}' must be a whole number from {first} to {last}, not {found:g}"
            rule = self.ranges.get(name, ANY)
            if (worst := rule.worst(values)) is not None:
                return worst[0], f"'{name}' {rule.problem(worst[1], self.units[name])}"
        return None

    def pair_rows(self, parameters: Mapping[str, FloatArray], cutoff: float) -> FloatArray:
        """[..., P] as the compiled twins of a form on "pair" read them; `cutoff` in Å."""
        if self.columns is None:
            return self.rows(parameters)
        return np.stack(self.columns(parameters, cutoff), axis=-1)

    def rows(self, parameters: Mapping[str, FloatArray]) -> FloatArray:
        """[M, P] as the compiled twins read them: scalars, then the series coefficient by coefficient."""
        scalars = np.stack([parameters[p] for p in self.scalars], axis=-1)  # [M, scalars]
        if not self.series:
            return scalars
        series = np.stack([parameters[p] for p in self.series], axis=-1)  # [M, degree, series]
        return np.concatenate([scalars, series.reshape(len(series), -1)], axis=1)


def stack_rows(rows: Sequence[FloatArray]) -> FloatArray:
    """[M, P] rows of several forms under each other, padded with zeros to the widest."""
    width = max((r.shape[-1] for r in rows), default=1)
    padded = [pad_columns(r, width) for r in rows] or [np.zeros((0, width))]
    return np.ascontiguousarray(np.concatenate(padded))  # to numba another order is another type


def pad_columns(rows: FloatArray, width: int) -> FloatArray:
    """[..., width], zeros behind what there is."""
    return np.pad(rows, [(0, 0)] * (rows.ndim - 1) + [(0, width - rows.shape[-1])])
