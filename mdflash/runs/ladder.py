"""A ladder of temperatures with about equal acceptance, from a short pilot run.

The pilot runs a few replicas at temperatures across the range. Between them, the mean and the standard deviation of the
potential energy U are interpolated. For normally distributed energies, x = (beta - beta') (U - U') is normal too, with

    mean m = (beta - beta') (<U> - <U'>),   variance s^2 = (beta - beta')^2 (var U + var U')

and the acceptance is <min(1, e^x)> = Phi(m/s) + exp(m + s^2/2) Phi(-s - m/s). Every next temperature is the one at
which this falls to the wanted acceptance; at the end the acceptance is raised until the last step just reaches the top.
Rathore, Chopra & de Pablo, J. Chem. Phys. 122, 024111 (2005).
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import log_ndtr

from mdflash.config.schema import RunConfig
from mdflash.core.types import FloatArray
from mdflash.errors import InputError
from mdflash.runs.prepare import prepare
from mdflash.units import BOLTZMANN

POINTS = 6
"""Temperatures of the pilot."""
REPLICAS = 4
"""Replicas of the pilot at each temperature."""
FEWEST = 6
"""Temperatures of a ladder that shows a melting curve, also where two would exchange well: of a small molecule."""
MOST = 1000
"""Temperatures of a suggested ladder at most."""


@dataclass(frozen=True)
class EnergyCurve:
    """Potential energies of one system over temperature.

    Attributes:
        temperatures: [P] K, increasing.
        mean: [P] kcal/mol.
        deviation: [P] standard deviation, kcal/mol.
    """

    temperatures: FloatArray
    mean: FloatArray
    deviation: FloatArray

    def acceptance(self, low: float, high: float) -> float:
        """Of swaps between two temperatures, K."""
        (u, v), (a, b) = (np.interp([low, high], self.temperatures, values) for values in (self.mean, self.deviation))
        difference = 1.0 / (BOLTZMANN * low) - 1.0 / (BOLTZMANN * high)
        m, s = difference * float(u - v), difference * math.hypot(a, b)
        if s == 0.0:
            return math.exp(min(m, 0.0))
        return min(1.0, math.exp(log_ndtr(m / s)) + math.exp(m + 0.5 * s * s + log_ndtr(-s - m / s)))


def suggest(curves: Sequence[EnergyCurve], low: float, high: float, acceptance: float, fewest: int = 2) -> FloatArray:
    """[K] temperatures from `low` to `high` K, with about equal acceptance of at least `acceptance`.

    Of several systems the one with the lowest acceptance decides. There are at least `fewest`.

    Raises:
        InputError: it would take more than `MOST` temperatures.
    """

    def climb(wanted: float) -> list[float]:
        ladder = [low]
        while ladder[-1] < high and len(ladder) < MOST:
            ladder.append(_next_rung(curves, ladder[-1], high, wanted))
        return ladder

    rungs = max(len(climb(acceptance)), fewest)
    if rungs == MOST:
        raise InputError(f"acceptance {acceptance:g} from {low:g} K to {high:g} K takes more than {MOST} temperatures")
    least, most = acceptance, 1.0  # the highest acceptance that needs no more rungs
    for _ in range(40):
        middle = 0.5 * (least + most)
        ladder = climb(middle)
        if ladder[-1] >= high and len(ladder) <= rungs:
            least = middle
        else:
            most = middle
    return np.array(climb(least))


def _next_rung(curves: Sequence[EnergyCurve], at: float, high: float, wanted: float) -> float:
    def accepted(t: float) -> float:
        return min(curve.acceptance(at, t) for curve in curves)

    if accepted(high) >= wanted:
        return high
    inside, outside = at, high
    for _ in range(50):
        middle = 0.5 * (inside + outside)
        inside, outside = (middle, outside) if accepted(middle) >= wanted else (inside, middle)
    return max(inside, at * (1.0 + 1e-6))


def pilot(config: RunConfig, low: float, high: float, steps: int, seconds: float) -> tuple[list[EnergyCurve], int]:
    """Run a few replicas of every system across the range of temperatures; nothing is written.

    Args:
        config: the run the ladder is for.
        low, high: K.
        steps: steps of the pilot; the first half is left out of the averages.
        seconds: wall time after which it ends anyway, whatever has been done.

    Returns:
        The energies of each system, and the steps done.

    Raises:
        InputError, UnstableError: as a run.
    """
    points = np.geomspace(low, high, POINTS)
    n = POINTS * REPLICAS
    entries = tuple(entry.model_copy(update={"replicas": n}) for entry in config.system)
    temperatures = tuple(np.repeat(points, REPLICAS).tolist()) * len(entries)
    short = config.model_copy(
        update={
            "system": entries,
            "exchange": None,
            "dynamics": config.dynamics.model_copy(update={"temperature": temperatures}),
        }
    )
    prepared = prepare(short.with_seed())
    engine = prepared.engine()
    prepared.settle(engine, lambda: False, lambda text: None)
    every = max(1, steps // 1000)
    samples: list[FloatArray] = []
    end = time.monotonic() + seconds
    while engine.state.step < steps and time.monotonic() < end:
        engine.run(every)
        samples.append(engine.state.energy.numpy().copy())
    energy = np.array(samples[len(samples) // 2 :])  # [F, R]
    curves = []
    for s in range(len(entries)):
        mine = (
            energy[:, s * n : (s + 1) * n].reshape(len(energy), POINTS, REPLICAS).transpose(1, 0, 2).reshape(POINTS, -1)
        )
        curves.append(EnergyCurve(points, mine.mean(axis=1), mine.std(axis=1)))
    return curves, engine.state.step
