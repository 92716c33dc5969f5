"""Speed of a simulation: steps per second, and from how many replicas on more of them gain little."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch

from mdflash.core.state import Layout, State
from mdflash.engine.engine import Engine
from mdflash.forcefields.build import build_potential
from mdflash.runs.prepare import Prepared

BLOCKS: Final = 3
WORTHWHILE: Final = 1.1
"""Twice the replicas are worth it while they bring at least this factor in step·replicas/s."""
MOST_REPLICAS, MOST_BEADS = 1024, 1 << 17
"""Batches beyond either are not tried."""

PS_PER_DAY: Final = 86_400 * 1e-3
"""ps/s in ns/day."""


@dataclass(frozen=True)
class Speed:
    """How fast a batch goes.

    Attributes:
        replicas: in the batch.
        steps_per_second: steps of the whole batch, in the best of `BLOCKS` stretches (wall time).
        slowest: the same in the worst stretch; far below it where the machine is shared.
        ns_per_day: ns/day of one replica.
    """

    replicas: int
    steps_per_second: float
    slowest: float
    ns_per_day: float

    @property
    def step_replicas_per_second(self) -> float:
        return self.steps_per_second * self.replicas

    @property
    def aggregate_ns_per_day(self) -> float:
        return self.ns_per_day * self.replicas


def measure_speed(engine: Engine, seconds: float) -> Speed:
    """Time steps of `engine` for about `seconds` s of wall time; nothing is written.

    Raises:
        UnstableError: a replica does not survive it.
    """
    for steps in (1, 3):  # the first one compiles, and tries more than one number of threads
        engine.run(steps)
    began = time.perf_counter()
    engine.run(1)
    steps, each = 1, time.perf_counter() - began
    while each * steps < 0.1 * seconds:  # until the time of one step is known
        steps *= 2
        began = time.perf_counter()
        engine.run(steps)
        each = (time.perf_counter() - began) / steps
    steps = max(1, round(seconds / BLOCKS / each))
    rates = []
    for _ in range(BLOCKS):
        began = time.perf_counter()
        engine.run(steps)
        rates.append(steps / (time.perf_counter() - began))
    per_day = engine.integrator.timestep * PS_PER_DAY
    return Speed(engine.layout.n_replicas, max(rates), min(rates), max(rates) * per_day)


def with_replicas(prepared: Prepared, count: int) -> Engine:
    """The same run with `count` replicas of each system, from its first start frames, velocities drawn.

    No exchange, guards or biases; temperatures are those of the first replicas.
    """
    config, layout = prepared.config, prepared.layout
    batch = Layout(layout.systems, (count,) * len(layout.systems))
    start = torch.cat([layout.view(prepared.start, s)[0].repeat(count, 1) for s in range(len(layout.systems))])
    first = layout.replica_offset[:-1].tolist()
    temperatures = np.repeat(np.array(config.temperatures)[first], count).tolist()
    state = State.at(batch, start, temperatures, config.box)
    engine = Engine(batch, build_potential(prepared.forcefields, batch), state, prepared.dynamics(), prepared.backend())
    settle(engine, config.dynamics.minimize)
    return engine


def settle(engine: Engine, minimize: int) -> None:
    """Minimize as the run would, and draw velocities."""
    if minimize:
        engine.minimize(minimize)
    engine.draw_velocities()


def batch_sizes(prepared: Prepared, seconds: float) -> list[Speed]:
    """Speed with 1, 2, 4, ... replicas of each system, until doubling them was not `WORTHWHILE` twice in a row."""
    found: list[Speed] = []
    count, beads = 1, sum(system.n_beads for system in prepared.layout.systems)
    most = max(1, min(MOST_REPLICAS, MOST_BEADS // beads))
    while break_even(found) is None and count <= most:
        found.append(measure_speed(with_replicas(prepared, count), seconds))
        count *= 2
    return found


def break_even(sizes: list[Speed]) -> int | None:
    """Replicas from which on doubling them is not worthwhile, twice in a row; None: not reached.

    Args:
        sizes: batches, each with twice the replicas of the one before.
    """
    rates = [size.step_replicas_per_second for size in sizes]
    for size, *later in zip(sizes, rates, rates[1:], rates[2:], strict=False):
        if later[1] < WORTHWHILE * later[0] and later[2] < WORTHWHILE * later[1]:
            return size.replicas
    return None
