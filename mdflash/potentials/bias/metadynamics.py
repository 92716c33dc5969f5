"""Well-tempered metadynamics: Gaussian hills at places that walkers have seen, lower where the bias is high already.

| equation | here |
|---|---|
| V(s, t + tau) = V(s, t) + sum over walkers of w exp(-sum_d (s_d - s_d(t))^2 / (2 sigma_d^2)) | `deposit` |
| w = w0 exp(-V(s(t), t) / (kT (gamma - 1))) | `heights` |
| c(t) = kT ln [ int exp(gamma / (gamma - 1) V / kT) ds / int exp(V / ((gamma - 1) kT)) ds ] | `offsets` |
| F(s) = -gamma / (gamma - 1) V(s) + constant, as V converges | `mdflash.analysis` |

w0 is `height`, sigma `widths`, gamma `bias_factor`, tau `every` steps, kT that of each group. All walkers of a group
take their heights from the bias before the deposit; then the hills are added in the order of replicas.

Barducci, Bussi & Parrinello, Phys. Rev. Lett. 100, 020603 (2008); walkers: Raiteri et al., J. Phys. Chem. B 110, 3533
(2006); c(t): Tiwary & Parrinello, J. Phys. Chem. B 119, 736 (2015). With exchange of temperatures a bias belongs to its
replicas, whatever temperatures they hold, and kT is that of the group's coldest one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from mdflash.core.state import Layout
from mdflash.core.types import FloatArray, IntArray
from mdflash.errors import InputError
from mdflash.potentials.bias.grid_bias import GridBias
from mdflash.potentials.bias.surface import Axis
from mdflash.potentials.bias.surface_cpu import add_gaussians, as_rows


class Metadynamics(GridBias):
    """A bias of hills on a grid; what deposits them is `engine.deposits`.

    Args:
        name: its name in logs, columns and errors.
        axes: one or two.
        layout: the batch.
        widths: [D] of a hill, in the units of the variables.
        height: of the first hill, kcal/mol.
        bias_factor: gamma, above 1.
        every: steps between deposits.
        kT: kcal/mol, one number or one for each group of walkers.
        walkers, system: as of every `GridBias`.

    Attributes:
        hills: [groups] deposited so far.

    Raises:
        InputError: as of `GridBias`; a width that the grid does not resolve; a height, factor, kT or interval that is
            none.
    """

    def __init__(
        self,
        name: str,
        axes: Sequence[Axis],
        layout: Layout,
        widths: Sequence[float],
        height: float,
        bias_factor: float,
        every: int,
        kT: float | Sequence[float],
        walkers: int | None = None,
        system: int = 0,
    ) -> None:
        super().__init__(name, axes, layout, walkers, system)
        self.widths: FloatArray = np.array(widths, np.float64)
        self.height, self.bias_factor, self.every = float(height), float(bias_factor), every
        self.kT: FloatArray = np.broadcast_to(np.asarray(kT, np.float64), (self.groups,)).copy()
        self.hills: IntArray = np.zeros(self.groups, np.int64)
        for axis, width in zip(self.axes, self.widths.tolist(), strict=True):
            if not axis.spacing <= 0.5 * width * (1 + 1e-9):
                least = math.ceil((axis.high - axis.low) / (0.5 * width)) + 1
                raise InputError(
                    f"bias '{name}': the grid's spacing {axis.spacing:.4g} does not resolve hills of width "
                    f"{width:.4g}; use {least} points or more"
                )
        if not (height > 0 and bias_factor > 1 and every >= 1 and (self.kT > 0).all()):
            raise InputError(
                f"bias '{name}': expected a height above 0, a bias factor above 1, 1 step or more between hills and "
                f"temperatures above 0 K; found {height:g}, {bias_factor:g}, {every} and kT {self.kT.tolist()}"
            )

    def copy(self) -> Metadynamics:
        """The same bias with hills of its own."""
        other = super().copy()
        assert isinstance(other, Metadynamics)
        other.hills = self.hills.copy()
        return other

    def heights(self, energies: FloatArray, group: IntArray) -> FloatArray:
        """[n] heights of hills at places where the bias is `energies` [n], of groups [n]; kcal/mol."""
        return np.asarray(self.height * np.exp(-energies / (self.kT[group] * (self.bias_factor - 1.0))))

    def deposit(self, group: IntArray, centers: FloatArray, heights: FloatArray) -> None:
        """Add hills at centers [n, D] of groups [n], in this order."""
        flat = self.surfaces.reshape(self.groups, -1)
        add_gaussians(flat, as_rows(self.axes), self.widths, group, np.ascontiguousarray(centers), heights)
        np.add.at(self.hills, group, 1)

    def free_energies(self) -> FloatArray:
        """[groups, points of each axis] kcal/mol: of each group the scaled bias, its lowest point 0."""
        scaled = -self.bias_factor / (self.bias_factor - 1.0) * self.surfaces[..., 0]
        return np.asarray(scaled - scaled.min(axis=tuple(range(1, scaled.ndim)), keepdims=True))

    def offsets(self) -> FloatArray:
        """[groups] c(t), kcal/mol; the bias less this is what reweights a frame."""
        v = self.surfaces[..., 0].reshape(self.groups, -1) / self.kT[:, None]
        top = v.max(axis=1, keepdims=True)
        gamma = self.bias_factor
        above = np.exp(gamma / (gamma - 1.0) * (v - top)).sum(axis=1)
        below = np.exp((v - top) / (gamma - 1.0)).sum(axis=1)
        return np.asarray(self.kT * (np.log(above / below) + top[:, 0]))
