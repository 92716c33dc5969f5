"""A bias on a grid of one to three variables, shared by groups of walkers: what metadynamics fills between blocks."""

from __future__ import annotations

import copy
import functools
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mdflash.core.state import Layout
from mdflash.core.types import FloatArray, IntArray
from mdflash.errors import InputError
from mdflash.potentials.base import Potential, SumPotential
from mdflash.potentials.bias.by_replica import ReplicaBias
from mdflash.potentials.bias.surface import Axis, empty_surface, interpolate
from mdflash.potentials.variables.base import Variable


class GridBias(ReplicaBias):
    """An energy on a grid, see `surface`; compiled with the priors, and plain torch here.

    The surfaces may change between two blocks of steps; compiled loops read them at the start of every block. After a
    change the energy and forces of the state are old, and whoever changes them keeps them in a checkpoint.

    Args:
        name: its name in logs, columns and errors.
        axes: one to three.
        layout: the batch; keeps which replicas the bias acts on, by their ids.
        walkers: replicas that share one surface: the first ones of the system, the next ones, and so on; None: all.
        system: index of the system in the layout.

    Attributes:
        group: [K] the surface of each of `replica_ids`.
        surfaces: [groups, points of each axis, 2^D] kcal/mol.

    Raises:
        InputError: not one to three axes, a grid that is too large, or replicas that do not fill groups.
    """

    def __init__(
        self, name: str, axes: Sequence[Axis], layout: Layout, walkers: int | None = None, system: int = 0
    ) -> None:
        super().__init__(layout, system)
        self.name, self.axes = name, tuple(axes)
        count = len(self.replica_ids)
        size = count if walkers is None else walkers
        if size < 1 or count % size:
            raise InputError(
                f"bias '{name}': {count} replicas do not fill groups of {size} walkers; use a divisor of {count}"
            )
        self.group: IntArray = np.arange(count) // size
        self.surfaces: FloatArray = np.stack([empty_surface(self.axes)] * (count // size))

    @property
    def variables(self) -> tuple[Variable, ...]:
        """What it acts on."""
        return tuple(axis.variable for axis in self.axes)

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of its variables."""
        return tuple(axis.name for axis in self.axes)

    @property
    def groups(self) -> int:
        """How many surfaces there are."""
        return len(self.surfaces)

    def copy(self) -> GridBias:
        """The same bias with surfaces of its own."""
        other = copy.copy(self)
        other.surfaces = self.surfaces.copy()
        return other

    def inside(self, values: FloatArray) -> npt.NDArray[np.bool_]:
        """[n] whether values [n, D] are on the grid."""
        return functools.reduce(np.logical_and, [a.inside(q) for a, q in zip(self.axes, values.T, strict=True)])

    def energies(self, values: Tensor, group: IntArray) -> Tensor:
        """[n] bias energies, kcal/mol, of values [n, D] of the variables on the surfaces of groups [n]."""
        return interpolate(torch.from_numpy(self.surfaces[group]), self.axes, values)

    def energy_of(self, x: Tensor, row: int) -> Tensor:
        q = torch.stack([variable.value(x[None]) for variable in self.variables], dim=-1)
        return self.energies(q, self.group[row : row + 1])[0]


def grid_biases_of(potential: Potential) -> tuple[GridBias, ...]:
    """The biases on grids among the terms of a potential."""
    terms = potential.terms if isinstance(potential, SumPotential) else (potential,)
    return tuple(term for term in terms if isinstance(term, GridBias))
