"""What priors keep of every replica from block to block: neighbor lists, and their share of energy and forces.

A list is built again when a bead is more than half the skin from where it was when the list was built. The share of the
priors is that of the last positions of a block, before biases were added, and variables of biases are kept with it:
where a bias has changed since, as after a hill, it is read at the same values and added. All say for which positions
they hold, whoever moves the beads meanwhile, so how long a block is costs next to nothing, and no bit depends on it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from mdflash.compiled.jit import njit
from mdflash.core.types import FloatArray, IntArray
from mdflash.engine.blocks.arguments import Batch
from mdflash.neighbors.cpu import remember
from mdflash.potentials.bias.cpu import Biases
from mdflash.potentials.priors.cpu import Nonbonded, find_by_one_thread


class PriorCache(NamedTuple):
    """Lists and forces of all replicas, as kernels see them.

    Attributes:
        row: [R + 1] the list of replica r has the rows start[row[r]:row[r + 1]].
        start: of all lists, each counted from its own beginning.
        room: [R + 1] its entries are neighbor[room[r]:room[r + 1]].
        neighbor: of all lists.
        built_at: [B, 3] Å, positions that the lists belong to; NaN where there is no list.
        wanted: [R] entries of a list that has outgrown its room, and was therefore not kept.
        x: [B, 3] Å, positions that the forces belong to; NaN where there are none.
        f: [B, 3] kcal/mol/Å, forces of the priors alone.
        energy: [R] kcal/mol, their energy.
        value: [R, n] variables of biases at x, as in `Biases`.
        gradient: [R, M, 3] their gradients.
    """

    row: IntArray
    start: IntArray
    room: IntArray
    neighbor: IntArray
    built_at: FloatArray
    wanted: IntArray
    x: FloatArray
    f: FloatArray
    energy: FloatArray
    value: FloatArray
    gradient: FloatArray


def make_cache(layout: Batch, nonbonded: Nonbonded, biases: Biases | None) -> PriorCache:
    """Without a list or a force yet, and without room for lists."""
    replicas, beads = len(layout.system), len(layout.mass)
    variables, entries = (0, 0) if biases is None else (len(biases.variable), len(biases.beads))
    row = np.concatenate([[0], np.cumsum(nonbonded.rows[layout.system])])
    return PriorCache(
        row=row,
        start=np.zeros(row[-1], np.int64),
        room=np.zeros(replicas + 1, np.int64),
        neighbor=np.zeros(0, np.int64),
        built_at=np.full((beads, 3), np.nan),
        wanted=np.zeros(replicas, np.int64),
        x=np.full((beads, 3), np.nan),
        f=np.zeros((beads, 3)),
        energy=np.zeros(replicas),
        value=np.zeros((replicas, variables)),
        gradient=np.zeros((replicas, entries, 3)),
    )


def with_room(cache: PriorCache) -> PriorCache:
    """The same with room for the lists that had outgrown theirs; all lists are yet to be built."""
    if not cache.wanted.any():
        return cache
    room = np.concatenate([[0], np.cumsum(np.maximum(np.diff(cache.room), cache.wanted))])
    cache.built_at[:] = np.nan
    cache.wanted[:] = 0
    return cache._replace(room=room, neighbor=np.zeros(room[-1], np.int64))


@njit(cache=True, error_model="numpy")
def rebuild_list(
    nonbonded: Nonbonded,
    system: int,
    skin: float,
    box: FloatArray,  # [3] edges in Å, 0 for no box
    x: FloatArray,  # [N, 3] Å
    start: IntArray,  # [rows]
    neighbor: IntArray,  # [capacity]
    built_at: FloatArray,  # [N, 3] Å
) -> IntArray:
    """Build the list of a replica for the beads at x; returns the array that holds it."""
    built_at[:] = np.nan  # should memory run out before the end
    neighbor = find_by_one_thread(nonbonded, system, skin, box, x, start, neighbor)
    remember(x, built_at)
    return neighbor


@njit(cache=True)
def same(x: FloatArray, y: FloatArray) -> bool:
    """Whether positions [N, 3] are the same; False where one is not finite."""
    for i in range(x.shape[0]):
        for k in range(3):
            if x[i, k] != y[i, k]:
                return False
    return True
