"""Energy minimization of every replica at once: FIRE.

Bitzek, Koskinen, Gähler, Moseler & Gumbsch, "Structural relaxation made simple", Phys. Rev. Lett. 97, 170201 (2006),
with unit masses and the displacement of a step limited, so that overlapping beads part gently. Each replica has its own
clock, so its path does not depend on the others.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mdflash.compiled.jit import njit
from mdflash.core.state import Layout, State
from mdflash.core.types import FloatArray

LARGEST_MOVE = 0.2
"""Å; no bead moves farther in one step."""
_START, _MOST = 0.01, 0.1  # time step, in (Å² mol/kcal)^(1/2)
_ALPHA, _PATIENCE = 0.1, 5


@dataclass(frozen=True)
class Minimized:
    """How a minimization ended: [R] energies before and after (kcal/mol), largest force (kcal/mol/Å), steps done."""

    before: FloatArray
    after: FloatArray
    largest_force: FloatArray
    steps: int


@njit(cache=True, error_model="numpy")
def _step(
    x: FloatArray,  # [N, 3] Å
    v: FloatArray,  # [N, 3]
    f: FloatArray,  # [N, 3] kcal/mol/Å
    clock: FloatArray,  # [3]
) -> None:
    """One FIRE step of one replica in place; clock = [time step, alpha, steps downhill]."""
    power = ff = vv = 0.0
    for i in range(x.shape[0]):
        for k in range(3):
            power += f[i, k] * v[i, k]
            ff += f[i, k] * f[i, k]
            vv += v[i, k] * v[i, k]
    if power > 0.0:
        mix = clock[1] * np.sqrt(vv / ff)
        for i in range(x.shape[0]):
            for k in range(3):
                v[i, k] = (1.0 - clock[1]) * v[i, k] + mix * f[i, k]
        clock[2] += 1.0
        if clock[2] > _PATIENCE:
            clock[0] = min(1.1 * clock[0], _MOST)
            clock[1] *= 0.99
    else:
        v[:] = 0.0
        clock[0] *= 0.5
        clock[1] = _ALPHA
        clock[2] = 0.0
    longest = 0.0
    for i in range(x.shape[0]):
        square = 0.0
        for k in range(3):
            v[i, k] += clock[0] * f[i, k]
            square += v[i, k] * v[i, k]
        longest = max(longest, clock[0] * np.sqrt(square))
    shrink = min(1.0, LARGEST_MOVE / longest) if longest > 0.0 else 0.0
    for i in range(x.shape[0]):
        for k in range(3):
            v[i, k] *= shrink
            x[i, k] += clock[0] * v[i, k]


def minimize(
    layout: Layout,
    state: State,
    evaluate: Callable[[State], None],
    steps: int,
    tolerance: float = 1.0,
) -> Minimized:
    """Move every replica downhill, in place, until no bead feels more than `tolerance` or `steps` are done.

    Args:
        layout: the batch.
        state: positions are changed; velocities are left alone; energy and forces are up to date afterwards.
        evaluate: brings the state's energy and forces up to date.
        steps: the largest number of steps.
        tolerance: the largest force at which a replica is done, kcal/mol/Å.
    """
    evaluate(state)
    x, f = state.positions.numpy(), state.forces.numpy()
    v = np.zeros_like(x)
    clocks = np.tile(np.array([_START, _ALPHA, 0.0]), (layout.n_replicas, 1))
    before = state.energy.numpy().copy()
    largest = np.empty(layout.n_replicas)
    done = 0
    while True:
        for r in range(layout.n_replicas):
            largest[r] = np.linalg.norm(f[layout.rows(r)], axis=1).max()
        if done == steps or (largest <= tolerance).all():
            return Minimized(before, state.energy.numpy().copy(), largest, done)
        for r in np.flatnonzero(~(largest <= tolerance)).tolist():
            rows = layout.rows(r)
            _step(x[rows], v[rows], f[rows], clocks[r])
        evaluate(state)
        done += 1
