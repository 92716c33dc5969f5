"""A bias on a grid that grows where walkers have been: what metadynamics and OPES have in common."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from mdflash.core.state import Layout
from mdflash.core.types import FloatArray, IntArray
from mdflash.errors import InputError
from mdflash.potentials.bias.grid_bias import GridBias
from mdflash.potentials.bias.surface import Axis


class Deposit(NamedTuple):
    """What n walkers added.

    Attributes:
        heights: [n] of the hills, kcal/mol; of the kernels, without unit.
        widths: [n, D] in the units of the variables.
    """

    heights: FloatArray
    widths: FloatArray


class GrowingBias(GridBias):
    """A `GridBias` to which every walker adds at fixed steps; what has it do so is `engine.deposits`.

    Args:
        name: its name in logs, columns and errors.
        axes: one to three.
        layout: the batch.
        widths: [D] of a hill, in the units of the variables.
        every: steps between deposits.
        kT: kcal/mol, one number or one for each group of walkers.
        walkers, system: as of every `GridBias`.

    Attributes:
        hills: [groups] deposited so far.

    Raises:
        InputError: as of `GridBias`; a width that the grid does not resolve; a kT or interval that is none.
    """

    def __init__(
        self,
        name: str,
        axes: Sequence[Axis],
        layout: Layout,
        widths: Sequence[float],
        every: int,
        kT: float | Sequence[float],
        walkers: int | None = None,
        system: int = 0,
    ) -> None:
        super().__init__(name, axes, layout, walkers, system)
        self.widths: FloatArray = np.array(widths, np.float64)
        self.every = every
        self.kT: FloatArray = np.broadcast_to(np.asarray(kT, np.float64), (self.groups,)).copy()
        self.hills: IntArray = np.zeros(self.groups, np.int64)
        for axis, width in zip(self.axes, self.widths.tolist(), strict=True):
            if not axis.spacing <= 0.5 * width * (1 + 1e-9):
                least = int(np.ceil((axis.high - axis.low) / (0.5 * width))) + 1
                raise InputError(
                    f"bias '{name}': the grid's spacing {axis.spacing:.4g} does not resolve hills of width "
                    f"{width:.4g}; use {least} points or more"
                )
        if not (every >= 1 and (self.kT > 0).all()):
            raise InputError(
                f"bias '{name}': expected 1 step or more between hills and temperatures above 0 K; found {every} and "
                f"kT {self.kT.tolist()}"
            )

    def copy(self) -> GrowingBias:
        """The same bias with a growth of its own."""
        other = super().copy()
        assert isinstance(other, GrowingBias)
        other.hills = self.hills.copy()
        return other

    @property
    def bytes(self) -> int:
        """Of what a checkpoint must hold."""
        return sum(array.nbytes for array in self.state().values())

    @abstractmethod
    def grow(self, group: IntArray, centers: FloatArray, energies: FloatArray) -> Deposit:
        """Add what walkers of groups [n] at centers [n, D] add, in this order, where the bias is energies [n] now."""

    @abstractmethod
    def free_energies(self) -> FloatArray:
        """[groups, points of each axis] kcal/mol: what each group says of the free energy, its lowest point 0."""

    def offsets(self) -> FloatArray:
        """[groups] c(t), kcal/mol; a frame is reweighted by the bias less this. 0 where it needs none."""
        return np.zeros(self.groups)

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """What a checkpoint must hold."""
        return {"surface": self.surfaces, "count": self.hills}

    def restore(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        """Continue from what a checkpoint held."""
        self.surfaces[...], self.hills[...] = state["surface"], state["count"]


def from_lowest(energies: FloatArray) -> FloatArray:
    """[groups, ...] less the lowest of each group."""
    return np.asarray(energies - energies.min(axis=tuple(range(1, energies.ndim)), keepdims=True))
