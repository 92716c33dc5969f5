"""Deposits of metadynamics and OPES: at fixed steps, between blocks, every walker adds a hill where it is.

They fall on the steps that are multiples of a bias's interval, after that step's reports and before its exchange: what
is reported at a step shows the bias that made it. All ranks know all replicas between two blocks, so each adds the same
hills in the same order, and the bits of a bias do not depend on how replicas are shared.

A replica that is frozen, not finite, or outside the grid adds nothing; when that begins and when it ends are events.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from mdflash.core.state import Layout
from mdflash.core.types import FloatArray, IntArray
from mdflash.engine.guards import NEVER, Listener
from mdflash.engine.protocols import Running
from mdflash.potentials.base import Potential
from mdflash.potentials.bias.grid_bias import grid_biases_of
from mdflash.potentials.bias.growing import GrowingBias
from mdflash.potentials.bias.pack import PackedBiases


class Hills(NamedTuple):
    """What one bias received at one step, n hills in the order in which they were added.

    Attributes:
        bias: which one.
        replica: [n] global numbers.
        group: [n] of the walkers.
        centers: [n, D] in the units of the variables.
        heights: [n] kcal/mol; of the kernels of OPES, without unit.
        widths: [n, D] in the units of the variables.
    """

    bias: GrowingBias
    replica: IntArray
    group: IntArray
    centers: FloatArray
    heights: FloatArray
    widths: FloatArray


class HillListener(Protocol):
    """Receives all hills."""

    def __call__(self, step: int, time: float, hills: Hills, /) -> None: ...


class Deposits:
    """What deposits the hills of a simulation.

    Args:
        layout: the batch.
        potential: its growing biases are served.

    Attributes:
        listeners: called with every event: "no hills" and "hills again".
        hill_listeners: called with the hills of every deposit.
    """

    moves_forces = True

    def __init__(self, layout: Layout, potential: Potential) -> None:
        self.layout = layout
        self.biases = tuple(bias for bias in grid_biases_of(potential) if isinstance(bias, GrowingBias))
        self.listeners: list[Listener] = []
        self.hill_listeners: list[HillListener] = []
        self._packed = PackedBiases(self.biases, layout)
        self._rows = [bias.rows(layout) for bias in self._packed.biases]
        self._idle: npt.NDArray[np.bool_] = np.zeros((len(self.biases), layout.n_replicas), bool)
        self._ids = np.array(layout.replica_ids)

    def next_change(self, step: int) -> int:
        """The first deposit after `step`."""
        return min(((step // bias.every + 1) * bias.every for bias in self.biases), default=NEVER)

    def change(self, engine: Running) -> None:
        """Add the hills of this step; energy and forces of the state are old afterwards."""
        step = engine.state.step
        values, energies = self._packed.measure(engine.state.positions.numpy())
        for b, bias in enumerate(self._packed.biases):
            assert isinstance(bias, GrowingBias)
            if step % bias.every == 0:
                first, stop = self._packed.column[b : b + 2]
                self._one(engine, b, bias, values[:, first:stop], energies[:, first])

    def _one(self, engine: Running, b: int, bias: GrowingBias, values: FloatArray, energies: FloatArray) -> None:
        rows = self._rows[b]
        walks = rows >= 0
        good = walks & ~engine.frozen & bias.inside(values) & np.isfinite(energies)
        self._tell(engine, b, bias, walks & ~good, values)
        mine = np.flatnonzero(good)
        group = bias.group[rows[mine]]
        added = bias.grow(group, values[mine], energies[mine])
        hills = Hills(bias, self._ids[mine], group, values[mine], *added)
        for listener in self.hill_listeners:
            listener(engine.state.step, engine.time, hills)

    def _tell(
        self, engine: Running, b: int, bias: GrowingBias, idle: npt.NDArray[np.bool_], values: FloatArray
    ) -> None:
        """Report replicas that have begun or ceased to deposit nothing."""
        for r in np.flatnonzero(idle != self._idle[b]).tolist():
            fields: dict[str, Any] = {"bias": bias.name, "replica": int(self._ids[r])}
            if idle[r]:
                finite = bool(np.isfinite(values[r]).all())
                why = "frozen" if engine.frozen[r] else "outside the grid" if finite else "not finite"
                fields |= {"reason": why, "values": _with_units(bias, values[r])}
            for listener in self.listeners:
                listener(engine.state.step, "no hills" if idle[r] else "hills again", **fields)
        self._idle[b] = idle

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """What a checkpoint must hold to continue with the same bits."""
        found: dict[str, npt.NDArray[Any]] = {"hills_idle": self._idle} if self.biases else {}
        for bias in self.biases:
            found |= {f"hills_{word}_{bias.name}": array for word, array in bias.state().items()}
        return found

    def restore(self, arrays: Mapping[str, npt.NDArray[Any]], step: int) -> None:
        """Continue from a checkpoint's arrays, at its step."""
        if self.biases:
            self._idle[...] = arrays["hills_idle"]
        for bias in self.biases:
            bias.restore({word: arrays[f"hills_{word}_{bias.name}"] for word in bias.state()})

    def summary(self) -> list[dict[str, Any]]:
        """For manifest.json: hills of each bias, by group of walkers."""
        return [{"name": bias.name, "groups": bias.groups, "hills": bias.hills.tolist()} for bias in self.biases]


def _with_units(bias: GrowingBias, values: FloatArray) -> dict[str, str | None]:
    """Values of the variables of a bias as a person reads them: {"ends": "41.2 A"}; None: not finite."""
    return {
        axis.name: f"{x:.6g} {axis.variable.unit}".rstrip() if np.isfinite(x) else None
        for axis, x in zip(bias.axes, values.tolist(), strict=True)
    }
