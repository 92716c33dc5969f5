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

from collections.abc import Sequence

import numpy as np

from mdflash.core.state import Layout
from mdflash.core.types import FloatArray, IntArray
from mdflash.errors import InputError
from mdflash.potentials.bias.growing import Deposit, GrowingBias, from_lowest
from mdflash.potentials.bias.surface import Axis
from mdflash.potentials.bias.surface_cpu import add_gaussians, as_rows


class Metadynamics(GrowingBias):
    """A bias of hills; see the module.

    Args:
        name: its name in logs, columns and errors.
        axes: one to three.
        layout: the batch.
        widths: [D] of a hill, in the units of the variables.
        height: of the first hill, kcal/mol.
        bias_factor: gamma, above 1.
        every: steps between deposits.
        kT: kcal/mol, one number or one for each group of walkers.
        walkers, system: as of every `GridBias`.

    Raises:
        InputError: as of `GrowingBias`; a height or factor that is none.
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
        super().__init__(name, axes, layout, widths, every, kT, walkers, system)
        self.height, self.bias_factor = float(height), float(bias_factor)
        if not (height > 0 and bias_factor > 1):
            raise InputError(
                f"bias '{name}': expected a height above 0 and a bias factor above 1; found {height:g} and "
                f"{bias_factor:g}"
            )

    def heights(self, energies: FloatArray, group: IntArray) -> FloatArray:
        """[n] heights of hills at places where the bias is `energies` [n], of groups [n]; kcal/mol."""
        return np.asarray(self.height * np.exp(-energies / (self.kT[group] * (self.bias_factor - 1.0))))

    def deposit(self, group: IntArray, centers: FloatArray, heights: FloatArray) -> None:
        """Add hills at centers [n, D] of groups [n], in this order."""
        flat = self.surfaces.reshape(self.groups, -1)
        add_gaussians(flat, as_rows(self.axes), self.widths, group, np.ascontiguousarray(centers), heights)
        np.add.at(self.hills, group, 1)

    def grow(self, group: IntArray, centers: FloatArray, energies: FloatArray) -> Deposit:
        """As every growing bias."""
        heights = self.heights(energies, group)
        self.deposit(group, centers, heights)
        return Deposit(heights, np.broadcast_to(self.widths, centers.shape))

    def free_energies(self) -> FloatArray:
        """As every growing bias: the scaled bias."""
        return from_lowest(-self.bias_factor / (self.bias_factor - 1.0) * self.surfaces[..., 0])

    def offsets(self) -> FloatArray:
        """As every growing bias."""
        v = self.surfaces[..., 0].reshape(self.groups, -1) / self.kT[:, None]
        top = v.max(axis=1, keepdims=True)
        gamma = self.bias_factor
        above = np.exp(gamma / (gamma - 1.0) * (v - top)).sum(axis=1)
        below = np.exp((v - top) / (gamma - 1.0)).sum(axis=1)
        return np.asarray(self.kT * (np.log(above / below) + top[:, 0]))
