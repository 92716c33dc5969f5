"""Time by term: what the parts of a compiled step take, measured one by one on the frames of a simulation.

The compiled block has no clocks inside, which would slow it down. Each part is repeated on its own, in all threads at
once where replicas are spread over threads, as in a block. What the sum of the parts leaves of a step is printed.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch

from mdflash.bench.kernels import (
    dense,
    integrator,
    network_lists_of_each,
    network_lists_together,
    network_of_each,
    network_together,
    prior_lists_of_each,
    prior_lists_together,
    priors,
)
from mdflash.bench.work import dense_layers, shape_of
from mdflash.compiled.panels import ROW_STEP
from mdflash.core.state import Layout, State
from mdflash.engine.blocks.arguments import batch
from mdflash.engine.blocks.compiled import CompiledPropagator
from mdflash.engine.blocks.threads import over_ranges
from mdflash.engine.engine import Engine
from mdflash.integrators.cpu import scheme
from mdflash.neighbors.cpu import moved_too_far
from mdflash.potentials.schnet.arrays import Networks
from mdflash.potentials.schnet.cpu import ROWS, TEAM_ROWS
from mdflash.potentials.schnet.tabulated import together
from mdflash.units import BOLTZMANN

TERMS: Final = ("neighbors", "messages", "dense layers", "priors", "integrator")
COUNTED_STEPS: Final = 300
COUNTED_SECONDS: Final = 5.0
"""Rebuilds of the neighbor list are counted over so many steps, or so many seconds if those come first."""


@dataclass(frozen=True)
class Terms:
    """Seconds of one step of the whole batch, by term.

    Attributes:
        seconds: by name; see `TERMS`. "priors" are biases too; "messages" is the evaluation of the network without its
            dense layers: sorting pairs, filters, messages and their gradients, the sum of the forces. With
            `network_every: k`, a k-th of an evaluation.
        steps_per_rebuild: steps between rebuilds of the neighbor list, mean over the systems' first replicas; infinite
            without a list.
    """

    seconds: dict[str, float]
    steps_per_rebuild: float

    @property
    def total(self) -> float:
        return sum(self.seconds.values())


def measure_terms(engine: Engine, seconds: float) -> Terms:
    """Time the parts of a step, about `seconds` s each; the engine is left as it is.

    Args:
        engine: at a typical state; its propagator is the compiled one.
    """
    propagator = engine.propagator
    assert isinstance(propagator, CompiledPropagator)
    packed, layout, state = propagator.packed, engine.layout, engine.state
    box = np.zeros(3) if state.box is None else np.array(state.box)
    x, v, f = state.positions.numpy(), state.velocities.numpy(), state.forces.numpy()
    each, skin, networks = batch(layout), engine.dynamics.skin, packed.networks
    step = scheme(engine.dynamics.integrator, engine.dynamics.remove_com_motion)
    kT = BOLTZMANN * state.temperature.numpy()

    def repeat(kernel: Callable[..., None], *arguments: Any) -> float:
        return _time_once(lambda times: kernel(*arguments, times), seconds)

    def alone(kernel: Callable[..., None], *arguments: Any) -> float:
        return _time_once(lambda times: kernel(*arguments, times, 0, layout.n_replicas), seconds)

    def shared(kernel: Callable[..., None], *arguments: Any) -> float:
        return _time_once(lambda times: over_ranges(kernel, (*arguments, times), layout.n_replicas), seconds)

    found = dict.fromkeys(TERMS, 0.0)
    found["priors"] = shared(priors, packed.listed, packed.nonbonded, packed.biases.arrays(), each, skin, box, x)
    found["integrator"] = repeat(integrator, step, each, kT, skin, x, v, f)
    every = math.inf
    all_threads = networks is not None and together(layout)
    lists: list[float] = []
    if packed.nonbonded.cutoff.any():
        of_priors = (packed.nonbonded, each, skin, box, x)
        lists.append(
            alone(prior_lists_together, *of_priors) if all_threads else shared(prior_lists_of_each, *of_priors)
        )
    if networks is not None and networks.weights.cutoff.any():
        of_networks = (networks.weights, each, skin, box, x)
        lists.append(
            alone(network_lists_together, *of_networks) if all_threads else shared(network_lists_of_each, *of_networks)
        )
    if lists:
        every = _steps_per_rebuild(engine, propagator)
        found["neighbors"] = sum(lists) / every
    if networks is not None:
        whole = repeat(network_together if all_threads else network_of_each, *networks, each, skin, box, x)
        found["dense layers"] = sum(
            repeat(dense, *_dense_tasks(networks, layout, s, all_threads))
            for s in range(len(layout.systems))
            if networks.weights.cutoff[s] > 0.0
        )
        found["messages"] = max(0.0, whole - found["dense layers"])
        for name in ("messages", "dense layers"):
            found[name] /= engine.dynamics.network_every
    return Terms(found, every)


def _time_once(work: Callable[[int], None], seconds: float) -> float:
    """Seconds of one repetition, the best of three measurements; those of a call without any are taken off."""
    work(1)
    times, spent = 1, 0.0
    while spent < 0.1 * seconds:
        times *= 2
        spent = _elapsed(work, times)
    times = max(times, round(times * seconds / 3 / spent))
    full, empty = (min(_elapsed(work, n) for _ in range(3)) for n in (times, 0))
    return max(0.0, full - empty) / times


def _elapsed(work: Callable[[int], None], times: int) -> float:
    began = time.perf_counter()
    work(times)
    return time.perf_counter() - began


def _dense_tasks(networks: Networks, layout: Layout, system: int, all_threads: bool) -> tuple[Any, ...]:
    """The arguments of `dense` (but `times`) for all replicas of one system, cut up as in an evaluation."""
    net = shape_of(networks, system)
    layers = dense_layers(networks, system)
    # U2 has none, and neither has B
    active = [k % 3 == 0 for k in range(3 * net.blocks - 1)] + [True] * net.hidden
    rows = -(-layout.systems[system].n_beads // ROW_STEP) * ROW_STEP
    most = TEAM_ROWS if all_threads else ROWS
    parts = [most] * (rows // most) + [rows % most] * (rows % most > 0)
    table = np.array([(*layer, a) for layer, a in zip(layers, active, strict=True)], np.int64)
    tasks = np.array(parts * layout.counts[system], np.int64)
    return table, networks.weights.data, net.activation, net.widest, tasks


def _steps_per_rebuild(engine: Engine, propagator: CompiledPropagator) -> float:
    """Mean steps between two neighbor lists, in short runs of the first replica of each system."""
    layout, state = engine.layout, engine.state
    firsts = layout.replica_offset[:-1].tolist()
    alone = Layout(layout.systems, (1,) * len(firsts), tuple(layout.replica_ids[r] for r in firsts))
    copy = State.at(
        alone, torch.cat([state.positions[layout.rows(r)] for r in firsts]), state.temperature[firsts], state.box
    )
    copy.velocities = torch.cat([state.velocities[layout.rows(r)] for r in firsts])
    packed = propagator.packed._replace(biases=propagator.packed.biases.of(alone))
    mover = CompiledPropagator(alone, packed, engine.dynamics, state.box)
    mover.evaluate(copy)
    built_at, rebuilds, steps = copy.positions.numpy().copy(), 0, 0
    began = time.perf_counter()
    while steps < COUNTED_STEPS and time.perf_counter() - began < COUNTED_SECONDS:
        mover.advance(copy, 1)
        steps += 1
        for r in range(alone.n_replicas):
            rows = alone.rows(r)
            if moved_too_far(copy.positions[rows].numpy(), built_at[rows], engine.dynamics.skin):
                built_at[rows] = copy.positions[rows].numpy()
                rebuilds += 1
    return steps * alone.n_replicas / max(rebuilds, 1)
