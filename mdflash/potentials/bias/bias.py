"""A bias: an energy that is a function of one collective variable, with parameters of each replica's own.

| form        | energy, with d = q - center (where q is periodic, the nearest image) |
|-------------|----------------------------------------------------------------------|
| harmonic    | 1/2 force_constant d^2                                               |
| flat-bottom | 1/2 force_constant max(0, |d| - width)^2                             |
| linear      | force_constant d                                                     |
| lower-wall  | 1/2 force_constant min(0, d)^2                                       |
| upper-wall  | 1/2 force_constant max(0, d)^2                                       |
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor

from mdflash.core.state import Layout
from mdflash.core.types import FloatArray
from mdflash.errors import InputError
from mdflash.potentials.base import Potential, SumPotential
from mdflash.potentials.bias.bias_form import EQUATIONS, ONE_SIDED, BiasForm
from mdflash.potentials.bias.by_replica import ReplicaBias
from mdflash.potentials.variables.base import Variable

FORCE_CONSTANT, CENTER, WIDTH = range(3)
"""Columns of `Bias.parameters`."""

COLUMNS: Final = ("force_constant", "center", "width")


@dataclass(frozen=True, eq=False)
class Path:
    """How the parameters of a bias move: in equal steps from `begin` to `end`.

    Attributes:
        begin, end: [K, 3] parameters of each replica, by the columns above.
        start, stop: steps of the simulation between which they move.
        every: steps of the simulation between two of theirs.
    """

    begin: FloatArray
    end: FloatArray
    start: int
    stop: int
    every: int

    def at(self, step: int) -> FloatArray:
        """[K, 3] what holds from a step on."""
        done = min(max(step // self.every * self.every - self.start, 0), self.stop - self.start)
        return np.asarray(self.begin + done / (self.stop - self.start) * (self.end - self.begin))

    def next_move(self, step: int) -> int | None:
        """The first step after `step` at which they change; None: they do not any more."""
        found = max(step // self.every + 1, self.start // self.every + 1) * self.every
        return found if found <= self.stop else None


class Bias(ReplicaBias):
    """A bias on the replicas of one system; compiled with the priors, and plain torch here.

    The parameters may change between two blocks of steps (a reporter that moves a center, an exchange of windows):
    compiled loops read them at the start of every block. After a change the energy and
    forces of the state are old; `Engine.evaluate` brings them up to date. Whoever changes parameters must keep them in
    a checkpoint.

    Args:
        name: its name in logs, columns and errors.
        variable: the collective variable of the molecule.
        layout: the batch; keeps which replicas the bias acts on, by their ids.
        force_constant: kcal/mol per squared unit of the variable (harmonic) or per unit (linear).
        center: the center, in the unit of the variable.
        width: half-width of a flat bottom, in the unit of the variable.
        form: "harmonic", "flat-bottom", "linear", "lower-wall" or "upper-wall"; see the module.
        system: index of the system in the layout.

    Each parameter is one number, or one for each replica of the system.

    Attributes:
        replica_ids: [K] the replicas.
        parameters: [K, 3] force constant, center and width of each, by the columns above.
        path: how they move; None: they do not.

    Raises:
        InputError: no such form; a wrong number of values, one that is not finite, a negative width, a width without a
            flat bottom; a linear bias or a wall on a periodic variable.
    """

    def __init__(
        self,
        name: str,
        variable: Variable,
        layout: Layout,
        force_constant: float | Sequence[float],
        center: float | Sequence[float] = 0.0,
        width: float | Sequence[float] = 0.0,
        form: BiasForm = "harmonic",
        system: int = 0,
    ) -> None:
        super().__init__(layout, system)
        self.name, self.variable, self.form = name, variable, form
        self.parameters: FloatArray = np.stack(
            [self._column(word, values) for word, values in zip(COLUMNS, (force_constant, center, width), strict=True)],
            axis=1,
        )
        self.path: Path | None = None
        if form not in EQUATIONS:
            raise InputError(f"bias '{name}': form must be one of {', '.join(EQUATIONS)}, found '{form}'")
        if (self.parameters[:, WIDTH] < 0).any():
            raise InputError(f"bias '{name}': the width must be 0 or more, found {self.parameters[:, WIDTH].min():g}")
        if form != "flat-bottom" and self.parameters[:, WIDTH].any():
            raise InputError(f"bias '{name}': a {form} bias has no width; write form='flat-bottom'")
        if form in ONE_SIDED and variable.periodic:
            raise InputError(
                f"bias '{name}': a {form} bias on a {variable.name} would jump at 180 degrees; use harmonic"
            )

    @property
    def variables(self) -> tuple[Variable, ...]:
        """What it acts on."""
        return (self.variable,)

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of its variables: its own."""
        return (self.name,)

    def move(self, end: FloatArray, start: int, stop: int, every: int) -> None:
        """Have the parameters move to `end` [K, 3] between two steps, every `every` steps; see `engine.steering`.

        Raises:
            InputError: start and stop that are no multiples of `every`, or in the wrong order.
        """
        if every < 1 or start % every or stop % every or not 0 <= start < stop:
            raise InputError(
                f"bias '{self.name}': moves from step {start} to step {stop}, which must be multiples of {every} in "
                "this order"
            )
        self.path = Path(self.parameters.copy(), end, start, stop, every)

    def copy(self) -> Bias:
        """The same bias with parameters of its own."""
        other = copy.copy(self)
        other.parameters = self.parameters.copy()
        return other

    def _column(self, word: str, values: float | Sequence[float]) -> FloatArray:
        n = len(self.replica_ids)
        column = np.asarray(values, np.float64)
        if column.shape not in ((), (n,)) or not np.isfinite(column).all():
            raise InputError(
                f"bias '{self.name}': {word} must be one finite number, or one for each of the {n} replicas; "
                f"found {column.tolist()}"
            )
        return np.broadcast_to(column, (n,))

    def energies(self, values: Tensor, parameters: Tensor) -> Tensor:
        """Bias energies, kcal/mol, of values of the variable under parameters [..., 3]; shapes broadcast."""
        k, center, width = parameters.unbind(-1)
        d = values - center
        if self.variable.periodic:
            d = d - 2.0 * math.pi * torch.round(d / (2.0 * math.pi))
        if self.form == "linear":
            return k * d
        if self.form == "lower-wall":
            d = d.clamp(max=0.0)
        elif self.form == "upper-wall":
            d = d.clamp(min=0.0)
        return 0.5 * k * (d.abs() - width).clamp(min=0.0) ** 2

    def energy_of(self, x: Tensor, row: int) -> Tensor:
        q = self.variable.value(x[None])[0]
        return self.energies(q, torch.from_numpy(self.parameters[row]).to(q))


def biases_of(potential: Potential) -> tuple[Bias, ...]:
    """The biases among the terms of a potential."""
    terms = potential.terms if isinstance(potential, SumPotential) else (potential,)
    return tuple(term for term in terms if isinstance(term, Bias))
