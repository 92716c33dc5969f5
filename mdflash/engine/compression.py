"""Compression: a box of molecules that shrinks to its size while they move, and then moves on at that size.

Molecules that do not fit into a dense box at once are placed in a larger one. Its edges shrink linearly in time, in
steps of at most 0.3 %; at each, molecules move with their centers and keep their shape. It ends before step 0 of the
run, whose frames are all of the box as it was asked for. All of it is a function of the start, the settings and the
seed, so a run that is killed meanwhile begins again and reaches the same bits.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Final, NamedTuple

import numpy as np

from mdflash.core.geometry import long_axis
from mdflash.core.state import Layout, State
from mdflash.core.types import Box, FloatArray, IntArray
from mdflash.engine.engine import Engine
from mdflash.engine.minimize import minimize
from mdflash.engine.settings import Dynamics
from mdflash.errors import UnstableError
from mdflash.integrators.cpu import maxwell_boltzmann
from mdflash.units import BOLTZMANN

SHRINK: Final = 0.003
"""By which an edge shrinks at once, at most."""
FRICTION: Final = 1.0
"""1/ps; least friction while a box shrinks, which heats what is in it."""
_BLOCK: Final = 500
"""Steps after which the caller is asked whether to stop."""
_MINIMIZE: Final = 1000
_OTHER: Final = 0x5EED
"""Makes another seed: the run's own numbers begin at step 0."""


class Compression(NamedTuple):
    """How a box is compressed.

    Attributes:
        start, end: its edges, Å, as molecules were placed and as they shall be.
        first: [molecules] the first bead of each.
        steps: over which it shrinks; as many follow at the end.
        box: of the run, Å: `end`, or for a slab longer along one edge, in whose middle the slab is put.
    """

    start: Box
    end: Box
    first: IntArray
    steps: int
    box: Box


Said = Callable[[str], None]


def compress(engine: Engine, how: Compression, dynamics: Dynamics, should_stop: Callable[[], bool], say: Said) -> bool:
    """Bring an engine's positions from the box they were placed in to that of the run.

    Args:
        engine: at step 0, of replicas of one system, in the larger box; at the end in that of the run.
        how: from where to where.
        dynamics: of these steps: another friction than the run's may serve; their seed is made of its own.
        should_stop: asked between blocks.
        say: called with how far it is.

    Returns:
        Whether it was done; False where it was stopped, and the positions are as they were.

    Raises:
        UnstableError: a replica's energy is no longer finite.
    """
    layout = engine.layout
    dynamics = dataclasses.replace(dynamics, seed=dynamics.seed ^ _OTHER, network_every=1)
    start, end = np.array(how.start), np.array(how.end)
    stages = max(1, math.ceil(float((1.0 - end / start).max()) / (SHRINK * float((end / start).min()))))
    stages = min(stages, how.steps)
    state = engine.state.copy()
    state.box = how.start
    propagator = engine.choose(state, dynamics)
    minimize(layout, state, propagator.evaluate, _MINIMIZE)
    if dynamics.integrator.has_velocities:
        _draw(layout, state, dynamics.seed)
    x = state.positions.numpy().reshape(layout.n_replicas, -1, 3)
    edges = start
    for k in range(1, stages + 1):
        wanted = start + (end - start) * (k / stages)
        _scale(x, how.first, wanted / edges)
        edges = wanted
        state.box = (float(edges[0]), float(edges[1]), float(edges[2]))
        propagator = engine.choose(state, dynamics)
        propagator.evaluate(state)
        steps = how.steps * k // stages - how.steps * (k - 1) // stages
        if should_stop() or not _advance(layout, propagator.advance, state, steps, should_stop):
            return False
        say(f"compressing: the box is {_nm(edges)} nm and shrinks to {_nm(end)} nm, {100 * k // stages} % done")
    say(f"compressed to {_nm(end)} nm; moving on at that size for as long")
    if not _advance(layout, propagator.advance, state, how.steps, should_stop):
        return False
    _put(x, how)
    engine.put(state.positions, how.box)
    return True


def _advance(
    layout: Layout, advance: Callable[[State, int], IntArray], state: State, steps: int, should_stop: Callable[[], bool]
) -> bool:
    left = steps
    while left:
        block = min(left, _BLOCK)
        lost = (advance(state, block) >= 0) | ~np.isfinite(state.energy.numpy())
        if lost.any():
            raise UnstableError(
                f"the energy of replica {layout.replica_ids[int(np.argmax(lost))]} is no longer finite while the box "
                "is compressed; compress it for longer (`compress: 5 ns`), or take a shorter time step"
            )
        left -= block
        if left and should_stop():
            return False
    return True


def _draw(layout: Layout, state: State, seed: int) -> None:
    masses, v = layout.masses.numpy(), state.velocities.numpy()
    for r, replica in enumerate(layout.replica_ids):
        rows = layout.rows(r)
        v[rows] = maxwell_boltzmann(masses[rows], BOLTZMANN * float(state.temperature[r]), seed, replica)


def _centers(x: FloatArray, first: IntArray) -> tuple[FloatArray, IntArray]:
    """[R, M, 3] Å, and the number of beads [M] of each molecule."""
    sizes = np.diff([*first.tolist(), x.shape[1]])
    return np.add.reduceat(x, first, axis=1) / sizes[:, None], sizes


def _scale(x: FloatArray, first: IntArray, by: FloatArray) -> None:
    """Move molecules with their centers, in place."""
    centers, sizes = _centers(x, first)
    x += np.repeat(centers * (by - 1.0), sizes, axis=1)


def _put(x: FloatArray, how: Compression) -> None:
    """Centers into the compressed box, and a slab into the middle of the run's."""
    end, axis = np.array(how.end), long_axis(how.box)
    centers, sizes = _centers(x, how.first)
    x -= np.repeat(np.floor(centers / end) * end, sizes, axis=1)
    x[..., axis] += 0.5 * (how.box[axis] - end[axis])


def _nm(edges: FloatArray) -> str:
    return " x ".join(f"{edge / 10:.3g}" for edge in edges.tolist())
