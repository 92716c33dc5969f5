"""The batch and its state, in tuples that compiled functions take whole."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mdflash.core.types import Box, FloatArray, IntArray

if TYPE_CHECKING:
    from mdflash.core.state import Layout, State


class Batch(NamedTuple):
    """The layout as the kernels see it."""

    mass: FloatArray  # [B]
    bead_offset: IntArray  # [R + 1]
    system: IntArray  # [R]
    replica_id: IntArray  # [R]


class Arrays(NamedTuple):
    """What a block changes: arrays of the state, and the step at which each replica failed, or -1."""

    x: FloatArray  # [B, 3]
    v: FloatArray  # [B, 3]
    f: FloatArray  # [B, 3]
    energy: FloatArray  # [R]
    failed: IntArray  # [R]


def batch(layout: Layout) -> Batch:
    """The kernels' view of a layout."""
    return Batch(
        layout.masses.numpy(), layout.bead_offset, layout.system_of_replica, np.array(layout.replica_ids, np.int64)
    )


def edges(box: Box | None) -> FloatArray:
    """The kernels' view of a box."""
    return np.zeros(3) if box is None else np.array(box, np.float64)


def arrays(state: State) -> Arrays:
    """The kernels' view of a state, which shares its memory; no replica has failed yet."""
    x, v, f = state.positions.numpy(), state.velocities.numpy(), state.forces.numpy()
    energy = state.energy.numpy()
    return Arrays(x, v, f, energy, np.full(len(energy), -1))
