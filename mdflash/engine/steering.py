"""Biases that move, and the work they do: centers or force constants in equal steps, between blocks.

A step at which parameters change does the work u(q; new) - u(q; old) on a replica, at coordinates that do not move
meanwhile. So the work of a path is exact for steps of any size, and so is Jarzynski's average of it:
<exp(-W / kT)> = exp(-dF / kT), for replicas that were at equilibrium under the first parameters. Jarzynski, Phys. Rev.
Lett. 78, 2690 (1997); Crooks, J. Stat. Phys. 90, 1481 (1998) for discrete steps.

Steps fall after the reports of the same step, before hills and exchange. A replica that is frozen has no work: NaN.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from mdflash.core.state import Layout
from mdflash.core.types import FloatArray
from mdflash.engine.guards import NEVER
from mdflash.engine.protocols import Running
from mdflash.potentials.base import Potential
from mdflash.potentials.bias.bias import Bias, biases_of
from mdflash.potentials.bias.pack import PackedBiases


class Steering:
    """What moves the biases of a simulation that have a path.

    Args:
        layout: the batch.
        potential: its biases are moved.

    Attributes:
        biases: those that move.
        work: [biases, R] kcal/mol done so far; NaN for replicas without the bias, or frozen.
    """

    moves_forces = True

    def __init__(self, layout: Layout, potential: Potential) -> None:
        self.layout = layout
        self._packed = PackedBiases([bias for bias in biases_of(potential) if bias.path is not None], layout)
        self.biases: tuple[Bias, ...] = tuple(bias for bias in self._packed.biases if isinstance(bias, Bias))
        self._rows = [bias.rows(layout) for bias in self.biases]
        self.work: FloatArray = np.array([np.where(rows >= 0, 0.0, np.nan) for rows in self._rows])

    def next_change(self, step: int) -> int:
        """The first step after `step` at which a bias moves."""
        paths = [bias.path for bias in self.biases]
        due = [path.next_move(step) for path in paths if path is not None]
        return min((step for step in due if step is not None), default=NEVER)

    def change(self, engine: Running) -> None:
        """Move what moves at this step; energy and forces of the state are old afterwards."""
        step = engine.state.step
        values = self._packed.measure(engine.state.positions.numpy())[0]
        for b, (bias, rows) in enumerate(zip(self.biases, self._rows, strict=True)):
            assert bias.path is not None
            if bias.path.next_move(step - 1) != step:
                continue
            before, after = bias.parameters.copy(), bias.path.at(step)
            acts = np.flatnonzero(rows >= 0)
            q = torch.from_numpy(values[acts, b])
            old, new = (bias.energies(q, torch.from_numpy(p[rows[acts]])).numpy() for p in (before, after))
            self.work[b, acts] += new - old
            self.work[b, engine.frozen] = np.nan
            bias.parameters[:] = after

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """What a checkpoint must hold: the parameters follow from the step."""
        return {"work": self.work} if self.biases else {}

    def restore(self, arrays: Mapping[str, npt.NDArray[Any]], step: int) -> None:
        """Continue from a checkpoint's arrays, at its step."""
        if self.biases:
            self.work[...] = arrays["work"]
        for bias in self.biases:
            assert bias.path is not None
            bias.parameters[:] = bias.path.at(step)
