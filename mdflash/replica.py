"""One replica of a Simulation: its arrays as live views, checked where they are set."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from mdflash.config.from_call import as_length, as_text
from mdflash.core.arrays import as_numbers
from mdflash.core.scale import other_unit
from mdflash.core.types import FloatArray
from mdflash.engine.engine import Engine
from mdflash.errors import InputError
from mdflash.units import parse

if TYPE_CHECKING:
    import torch


class Replica:
    """One replica of a Simulation.

    Arrays are live views that cannot be written to; assign (`replica.positions = x`) to change them, `copy()` them to
    keep them.

    Attributes:
        number: its number in `sim.replicas`.
        system: its molecule.
    """

    __slots__ = ("_engine", "_rows", "number", "system")  # so a misspelled word is an error, not a new attribute

    def __init__(self, engine: Engine, number: int) -> None:
        layout = engine.layout
        self.number, self.system = number, layout.systems[int(layout.system_of_replica[number])]
        self._engine, self._rows = engine, layout.rows(number)

    def __repr__(self) -> str:
        return f"<Replica {self.number}: {self.system.name} ({self.system.n_beads} beads), {self.temperature:g} K>"

    @property
    def positions(self) -> FloatArray:
        """[N, 3] Å. May be set from numbers in Å or from quantities."""
        return read_only(self._engine.state.positions[self._rows])

    @positions.setter
    def positions(self, value: Any) -> None:
        self._engine.state.positions.numpy()[self._rows] = self.checked(value, "positions", "Å")
        self._engine.moved()

    @property
    def velocities(self) -> FloatArray:
        """[N, 3] Å/ps (those of the half step for langevin-middle). May be set."""
        return read_only(self._engine.state.velocities[self._rows])

    @velocities.setter
    def velocities(self, value: Any) -> None:
        self._engine.state.velocities.numpy()[self._rows] = self.checked(value, "velocities", "Å/ps")
        self._engine.guard.forget()

    @property
    def forces(self) -> FloatArray:
        """[N, 3] kcal/mol/Å, at the positions."""
        self._engine.refresh()
        return read_only(self._engine.state.forces[self._rows])

    @property
    def energy(self) -> float:
        """Potential energy at the positions, kcal/mol."""
        self._engine.refresh()
        return float(self._engine.state.energy[self.number])

    @property
    def kinetic_energy(self) -> float:
        """kcal/mol."""
        return float(self._engine.kinetic_energy()[self.number])

    @property
    def temperature(self) -> float:
        """Temperature of its bath, K. May be set ("350 K"), save under replica exchange."""
        return float(self._engine.state.temperature[self.number])

    @temperature.setter
    def temperature(self, value: Any) -> None:
        if self._engine.exchange is not None:
            raise InputError("the temperatures of replicas that exchange belong to the ladder; they cannot be set")
        try:
            kelvin = parse(as_text(value, "temperature"), "temperature")
        except ValueError as error:
            raise InputError(f"replica {self.number}: temperature: {error}") from None
        if kelvin < 0:
            raise InputError(f"replica {self.number}: temperature: expected 0 K or more, found {kelvin:g} K")
        self._engine.state.temperature[self.number] = kelvin
        self._engine.guard.forget()

    def checked(self, value: Any, what: str, unit: str) -> FloatArray:
        """[N, 3] finite numbers, as positions or velocities are set.

        Raises:
            InputError: anything else.
        """
        try:
            x = as_length(value) if what == "positions" else as_numbers(value)
        except (TypeError, ValueError) as error:
            raise InputError(f"replica {self.number}: {what}: expected numbers in {unit}: {error}") from None
        if x.shape != (self.system.n_beads, 3):
            raise InputError(
                f"replica {self.number}: {what} must be [{self.system.n_beads}, 3] in {unit}, found {list(x.shape)}"
            )
        bad = np.flatnonzero(~np.isfinite(x).all(axis=1))
        if len(bad):
            bead = self.system.bead_label(int(bad[0]))
            raise InputError(
                f"replica {self.number}: the {what} of {bead} are {x[bad[0]].tolist()}; numbers must be finite"
            )
        if what == "positions" and (wrong := other_unit(self.system, x[None])) is not None:
            raise InputError(f"replica {self.number}: {wrong.partition(': ')[2]}")
        return x


class Positions(np.ndarray[Any, Any]):
    """Positions that may be called for one more release, for in 0.1 `sim.positions(system)` was a method."""

    engine: Engine

    def __call__(self, system: int = 0) -> FloatArray:
        warnings.warn(
            "sim.positions is an array, [replicas, N, 3]: write sim.positions for sim.positions(); the call goes with "
            "the next release",
            DeprecationWarning,
            stacklevel=2,
        )
        return read_only(self.engine.layout.view(self.engine.state.positions, system))


def read_only(tensor: torch.Tensor) -> FloatArray:
    """The numbers of a tensor, a live view that cannot be written to."""
    array: FloatArray = tensor.numpy()
    array.flags.writeable = False
    return array
