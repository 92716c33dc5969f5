"""Temperatures that follow a schedule: stages in a row, in equal steps of time, linear or geometric.

A stage takes every replica from the temperature that it holds when the stage begins to another one, the same for all:

    linear      T = T0 + s (T1 - T0)            s from 0 to 1
    geometric   T = T0 (T1 / T0)^s

The temperature is a function of the step alone, so a run that is resumed, or cut into other blocks, has the same bits.
It changes after the reports of a step: what is reported at a step shows the temperature that made it. Velocities are
not scaled; the bath takes them along.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from mdflash.core.types import FloatArray
from mdflash.engine.guards import NEVER
from mdflash.engine.protocols import Running
from mdflash.errors import InputError

StageForm = Literal["linear", "geometric"]


@dataclass(frozen=True)
class Stage:
    """One stage; steps are those of the simulation.

    Attributes:
        kelvin: where it ends.
        start, stop: between which steps the temperature moves.
        every: steps between two of its values; start and stop are multiples of it.
        form: how it moves.
    """

    kelvin: float
    start: int
    stop: int
    every: int
    form: StageForm = "linear"


class Annealing:
    """What changes the temperatures of a simulation.

    Args:
        temperatures: [R] K at the start.
        stages: one after the other.

    Raises:
        InputError: stages that overlap, steps that are no multiples of each other, or temperatures of 0 K and below.
    """

    moves_forces = False

    def __init__(self, temperatures: Sequence[float], stages: Sequence[Stage] = ()) -> None:
        self.start: FloatArray = np.array(temperatures, np.float64)
        self.stages = tuple(stages)
        before = 0
        for stage in self.stages:
            if stage.every < 1 or stage.start % stage.every or stage.stop % stage.every:
                raise InputError(
                    f"annealing from step {stage.start} to step {stage.stop}: both must be multiples of {stage.every}"
                )
            if not before <= stage.start < stage.stop:
                raise InputError(f"annealing: a stage begins at step {stage.start}, before step {before} or its end")
            before = stage.stop
        if self.stages and not (min(stage.kelvin for stage in self.stages) > 0 and (self.start > 0).all()):
            raise InputError("annealing: temperatures must be above 0 K")

    def at(self, step: int) -> FloatArray:
        """[R] K that hold from a step on."""
        kelvin = self.start
        for stage in self.stages:
            if step <= stage.start:
                break
            done = min(step, stage.stop) // stage.every * stage.every - stage.start
            share = done / (stage.stop - stage.start)
            if share == 1.0:
                kelvin = np.full_like(kelvin, stage.kelvin)
            elif stage.form == "linear":
                kelvin = kelvin + share * (stage.kelvin - kelvin)
            else:
                kelvin = kelvin * (stage.kelvin / kelvin) ** share
        return np.asarray(kelvin)

    def next_change(self, step: int) -> int:
        """The first step after `step` at which temperatures change."""
        for stage in self.stages:
            found = max(step // stage.every + 1, stage.start // stage.every + 1) * stage.every
            if found <= stage.stop:
                return found
        return NEVER

    def change(self, engine: Running) -> None:
        """Set the temperatures of this step."""
        engine.state.temperature.numpy()[:] = self.at(engine.state.step)

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Nothing: temperatures follow from the step."""
        return {}

    def restore(self, arrays: Mapping[str, npt.NDArray[Any]], step: int) -> None:
        """Nothing: the state holds the temperatures of its step."""
