"""Replicas of a force field, for its validation: run, keep the frames in memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mdflash.core.state import Layout, State
from mdflash.core.system import System
from mdflash.core.types import FloatArray
from mdflash.engine.engine import Engine
from mdflash.engine.exchange.replica_exchange import ReplicaExchange
from mdflash.engine.guards import Guard
from mdflash.engine.settings import Backend, Dynamics
from mdflash.forcefields.build import build_potential
from mdflash.forcefields.model import ForceField
from mdflash.integrators.langevin import LangevinMiddle
from mdflash.reporters import Periodic


@dataclass(frozen=True)
class SimulationPlan:
    """How a force field is run.

    Attributes:
        temperature: K.
        replicas: how many at this temperature, from frames of the data.
        ladder: K, increasing, more than `temperature`: each replica has one at each of these beside it, and they
            exchange temperatures at every frame; frames are those at `temperature`.
        length: of each after `settling`, ps.
        settling: left out at the start of each, ps.
        timestep, friction: ps and 1/ps.
        interval: between frames, ps.
        seed: of start frames and noise.
    """

    temperature: float
    replicas: int = 64
    ladder: tuple[float, ...] = ()
    length: float = 10_000.0
    settling: float = 1_000.0
    timestep: float = 0.004
    friction: float = 1.0
    interval: float = 2.0
    seed: int = 1

    @property
    def steps(self) -> int:
        """With the settling."""
        return round((self.length + self.settling) / self.timestep)


class _Keep(Periodic):
    """Frames of the replicas that are at `temperature` at the time, [F] of [replicas, N, 3]."""

    def __init__(self, interval: int, first: int, temperature: float, progress: Callable[[int], None]) -> None:
        super().__init__(interval)
        self.first, self.temperature, self.progress = first, temperature, progress
        self.frames: list[FloatArray] = []

    def report(self, simulation: Engine) -> None:
        if simulation.state.step > self.first:
            x = simulation.layout.view(simulation.state.positions, 0).numpy()
            x = x[simulation.state.temperature.numpy() == self.temperature]
            self.frames.append((x - x.mean(axis=1, keepdims=True)).astype(np.float32))
        self.progress(simulation.state.step)


def simulate(
    ff: ForceField, system: System, start: FloatArray, plan: SimulationPlan, progress: Callable[[int], None]
) -> tuple[list[FloatArray], int]:
    """Run `plan.replicas` replicas, or ladders of them.

    Args:
        ff: the force field.
        system: the molecule.
        start: [S, N, 3] Å; replicas begin at frames drawn from these.
        plan: the rest.
        progress: called with the step from time to time.

    Returns:
        [F, N, 3] of each replica (or ladder) that stayed finite, and how many did not.
    """
    kelvin = (plan.temperature, *plan.ladder)
    layout = Layout((system,), (plan.replicas * len(kelvin),))
    rng = np.random.default_rng(plan.seed)
    x = start[rng.integers(0, len(start), layout.n_replicas)]
    interval = max(1, round(plan.interval / plan.timestep))
    guard = Guard(layout, "freeze")
    engine = Engine(
        layout,
        build_potential([ff], layout),
        State.at(layout, x.reshape(-1, 3).astype(np.float64), kelvin * plan.replicas),
        Dynamics(LangevinMiddle(plan.timestep, plan.friction), seed=plan.seed),
        Backend(precision="fp32"),
        guard=guard,
        exchange=ReplicaExchange(layout, kelvin, interval) if plan.ladder else None,
    )
    engine.draw_velocities()
    keep = _Keep(interval, round(plan.settling / plan.timestep), plan.temperature, progress)
    engine.reporters.append(keep)
    engine.run(plan.steps)
    frames = np.stack(keep.frames, axis=1)  # [replicas, F, N, 3]
    lost = {int(replica) // len(kelvin) for replica in np.flatnonzero(guard.frozen)}
    return [own for k, own in enumerate(frames) if k not in lost], len(lost)
