"""OPES: a bias from the probability that walkers have seen, as a sum of few kernels.

| equation | here |
|---|---|
| P(s) = sum_k h_k exp(-sum_d (s_d - s_k,d)^2 / (2 sigma_k,d^2)) / sum_k w_k | `_rebuild` |
| V(s) = (1 - 1/gamma) kT ln(P(s) / Z + epsilon) | `_rebuild` |
| w_k = exp(V(s_k) / kT), h_k = w_k prod_d sigma0_d / sigma_k,d | `grow` |
| sigma_k = sigma0 (n (D + 2) / 4)^(-1 / (D + 4)), n = (1 + sum w)^2 / (1 + sum w^2) | `grow` |
| Z: the mean of P over the places of the kernels | `_rebuild` |
| epsilon = exp(-barrier / (kT (1 - 1/gamma))) | `barrier` |
| F(s) = -kT ln P(s) | `free_energies` |

With `explore` P is the distribution that is sampled, w_k = 1 and n their number, V = (gamma - 1) kT ln(P / Z +
epsilon), kernels are sqrt(gamma) as wide, and F = -gamma kT ln P: it leaves basins sooner and says less of them.

A kernel that lies within one width of another is merged into it, so there are some hundreds of them whatever the length
of the run (`kernels_cpu`). Their sum is kept on the grid, and V at its nodes follows from it after each deposit: inside
the compiled loop OPES is metadynamics. Kernels do not become narrower than two spacings of the grid.

Invernizzi & Parrinello, J. Phys. Chem. Lett. 11, 2731 (2020); explore: J. Chem. Theory Comput. 18, 3988 (2022).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from mdflash.core.state import Layout
from mdflash.core.types import FloatArray, IntArray
from mdflash.errors import InputError
from mdflash.potentials.bias.growing import Deposit, GrowingBias, from_lowest
from mdflash.potentials.bias.kernels_cpu import mean_at_kernels, merge_kernels
from mdflash.potentials.bias.surface import Axis
from mdflash.potentials.bias.surface_cpu import as_rows

SPACINGS: Final = 2.0
"""Of the grid, which a kernel is wide at least."""
_PAIRS: Final = ((1, 2), (1, 4), (2, 4))
"""First derivatives of a surface, of which every two have a second one at the sum of their places."""
FLOOR: Final = 1e-12
"""Of the highest probability, what the nodes that no kernel reaches are given."""


class Opes(GrowingBias):
    """OPES, or OPES explore; see the module.

    Args:
        name: its name in logs, columns and errors.
        axes: one to three.
        layout: the batch.
        widths: [D] of the first kernels, in the units of the variables.
        barrier: the highest to be crossed, kcal/mol; the bias is never deeper.
        every: steps between deposits.
        kT: kcal/mol, one number or one for each group of walkers.
        bias_factor: gamma, above 1; None: barrier / kT.
        explore: the variant.
        walkers, system: as of every `GridBias`.

    Attributes:
        kernels: of each group [kernels, 2 D + 1]: center, width and height.
        density: [groups, points of each axis, 2^D] sum of the kernels, and its derivatives by the nodes.
        sums: [groups, 3] sum of weights, of their squares, and the number of deposits, each with what it starts from.

    Raises:
        InputError: as of `GrowingBias`; a barrier below 2 kT, or a bias factor that is none.
    """

    def __init__(
        self,
        name: str,
        axes: Sequence[Axis],
        layout: Layout,
        widths: Sequence[float],
        barrier: float,
        every: int,
        kT: float | Sequence[float],
        bias_factor: float | None = None,
        explore: bool = False,
        walkers: int | None = None,
        system: int = 0,
    ) -> None:
        super().__init__(name, axes, layout, widths, every, kT, walkers, system)
        self.barrier, self.explore = float(barrier), explore
        if not (barrier > 2.0 * self.kT).all() or not (bias_factor is None or bias_factor > 1):
            raise InputError(
                f"bias '{name}': expected a barrier above 2 kT ({2 * self.kT.max():.3g} kcal/mol) and a bias factor "
                f"above 1; found {barrier:g} kcal/mol and {bias_factor}"
            )
        self.bias_factor: FloatArray = (
            self.barrier / self.kT if bias_factor is None else np.full(self.groups, bias_factor)
        )
        self.factor = self.bias_factor - 1.0 if explore else 1.0 - 1.0 / self.bias_factor
        self.epsilon = np.exp(-self.barrier / (self.kT * self.factor))
        self.kernels: list[FloatArray] = [np.zeros((0, 2 * len(self.axes) + 1)) for _ in range(self.groups)]
        start = self.epsilon**self.factor
        self.sums: FloatArray = np.stack([start, start**2, np.ones(self.groups)], axis=1)
        self.density: FloatArray = np.zeros_like(self.surfaces)
        self.surfaces[..., 0] = -self.barrier
        self._rows = as_rows(self.axes)
        self._least = SPACINGS * np.array([axis.spacing for axis in self.axes])

    def copy(self) -> Opes:
        """The same bias with kernels of its own."""
        other = super().copy()
        assert isinstance(other, Opes)
        other.kernels, other.sums = [k.copy() for k in self.kernels], self.sums.copy()
        other.density = self.density.copy()
        return other

    def grow(self, group: IntArray, centers: FloatArray, energies: FloatArray) -> Deposit:
        """As every growing bias."""
        d = len(self.axes)
        weights = np.exp(energies / self.kT[group])
        heights, widths = np.empty(len(group)), np.empty((len(group), d))
        for g, mine in _members(group, self.groups):
            w = weights[mine]
            self.sums[g] += [w.sum(), (w**2).sum(), len(w)]
            total, squares, count = self.sums[g].tolist()
            size = count if self.explore else (1.0 + total) ** 2 / (1.0 + squares)
            first = self.widths * (np.sqrt(self.bias_factor[g]) if self.explore else 1.0)
            width = np.maximum(first * (size * (d + 2) / 4.0) ** (-1.0 / (d + 4)), self._least)
            widths[mine] = width
            height = (1.0 if self.explore else w) * (first / width).prod()
            heights[mine] = height
            old, new = self.kernels[g], len(w)
            fresh, room = np.empty((new, 2 * d + 1)), np.empty((len(old) + new, 2 * d + 1))
            fresh[:, :d], fresh[:, d:-1], fresh[:, -1], room[: len(old)] = centers[mine], width, height, old
            kept = merge_kernels(room, len(old), fresh, self._rows, self.density[g].reshape(-1))
            self.kernels[g] = room[:kept].copy()
            self._rebuild(g)
        np.add.at(self.hills, group, 1)
        return Deposit(heights, widths)

    def _rebuild(self, g: int) -> None:
        """The surface of a group from its kernels."""
        density = self.density[g]
        z = mean_at_kernels(density.reshape(-1), self._rows, self.kernels[g])  # a norm would cancel
        p = density / z
        base = np.maximum(p[..., 0], 0.0) + self.epsilon[g]  # where kernels have gone, rounding is left
        surface, scale = self.surfaces[g], self.kT[g] * self.factor[g]
        surface[..., 0] = scale * np.log(base)
        for k in range(1, surface.shape[-1]):
            surface[..., k] = scale * p[..., k] / base
        for one, other in _PAIRS[: 1 if len(self.axes) == 2 else 3] if len(self.axes) > 1 else ():
            surface[..., one | other] -= scale * p[..., one] * p[..., other] / base**2
        if len(self.axes) == 3:
            ends = sum(p[..., one | other] * p[..., 7 ^ one ^ other] for one, other in _PAIRS)
            surface[..., 7] += scale * (2.0 * p[..., 1] * p[..., 2] * p[..., 4] / base**3 - ends / base**2)

    def free_energies(self) -> FloatArray:
        """As every growing bias."""
        power = self.bias_factor if self.explore else np.ones(self.groups)
        scale = (self.kT * power).reshape(-1, *[1] * len(self.axes))
        p = self.density[..., 0]
        least = FLOOR * p.max(axis=tuple(range(1, p.ndim)), keepdims=True)
        return from_lowest(-scale * np.log(np.maximum(p, np.maximum(least, np.finfo(np.float64).tiny))))

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """As every growing bias."""
        counts = np.array([len(kernels) for kernels in self.kernels])
        kernels = {"kernels": np.concatenate(self.kernels), "kept": counts}
        return super().state() | kernels | {"sums": self.sums, "density": self.density}

    def restore(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        """As every growing bias."""
        super().restore(state)
        self.sums[...], self.density[...] = state["sums"], state["density"]
        self.kernels = [part.copy() for part in np.split(state["kernels"], np.cumsum(state["kept"])[:-1])]


def _members(group: IntArray, groups: int) -> Iterator[tuple[int, IntArray | slice]]:
    """Each group that has some of the walkers of groups [n], and which of them; a slice copies nothing."""
    if groups == 1 and len(group):
        yield 0, slice(None)
    elif groups > 1:
        for g in np.unique(group).tolist():
            yield g, np.flatnonzero(group == g)
