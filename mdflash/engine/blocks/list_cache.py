"""Neighbor lists of one replica that live from block to block, and the arrays that evaluating its network writes.

A list is built again when a bead is more than half the skin from where it was when the list was built, whoever moved
it: a step, a minimizer, a guard that puts a replica back. So how long a block is costs nothing, and since a list's age
is invisible (`neighbors.cpu`), keeping one changes no bit.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import types
from numba.experimental import structref

from mdflash.compiled.arrays import integers, vectors
from mdflash.compiled.jit import njit
from mdflash.core.types import FloatArray
from mdflash.neighbors.cpu import moved_too_far, rebuild, rebuild_together, remember
from mdflash.potentials.priors.cpu import Nonbonded, find_by_all_threads, find_by_one_thread
from mdflash.potentials.schnet.arrays import Weights, make_pairs, make_work


class _Fields(types.StructRef):  # type: ignore[misc]
    def preprocess_fields(self, fields: Any) -> Any:
        return tuple((name, types.unliteral(kind)) for name, kind in fields)


@structref.register
class _ListsType(_Fields):
    pass


@structref.register
class _ScratchType(_Fields):
    pass


class Lists(structref.StructRefProxy):  # type: ignore[misc]
    """Half lists in the hands of compiled functions; from Python they are opaque.

    Fields: the list of the priors (start, neighbor) and of the network (own_start, own_neighbor), and the positions
    that both belong to, NaN where there are none: built_at [N, 3] Å.
    """


class Scratch(structref.StructRefProxy):  # type: ignore[misc]
    """What an evaluation of a network writes (work, pairs); replicas that run one after the other can share it."""


structref.define_proxy(Lists, _ListsType, ["start", "neighbor", "own_start", "own_neighbor", "built_at"])
structref.define_proxy(Scratch, _ScratchType, ["pairs", "work"])


@njit(cache=True)
def make_lists(n: int, rows: int) -> Lists:
    """Lists of a replica of n beads that are yet to be built; those of the priors have `rows` rows."""
    nothing, built_at = integers(0), vectors(n)
    built_at[:] = np.nan
    return Lists(integers(rows), nothing, integers(n + 1), nothing, built_at)


@njit(cache=True)
def make_scratch(weights: Weights, system: int, n: int) -> Scratch:
    """Arrays for replicas of one system of n beads; room for pairs is made by `update`."""
    none = np.int64(0)  # (numba would compile `make_pairs` anew for a literal number)
    return Scratch(
        make_pairs(weights, system, none), make_work(weights, system, n if weights.cutoff[system] > 0.0 else none)
    )


Update = Callable[[Lists, Scratch, Nonbonded, Weights, int, float, FloatArray, FloatArray], None]


def _updater(all_threads: bool) -> Update:
    """Compile the update for one thread, or for all; the same lists."""

    @njit(cache=True, unit=True, error_model="numpy")
    def update(
        lists: Lists,
        scratch: Scratch,
        nonbonded: Nonbonded,
        weights: Weights,
        system: int,
        skin: float,
        box: FloatArray,  # [3] edges in Å, 0 for no box
        x: FloatArray,
    ) -> None:
        """Build the lists again if the beads at x [N, 3] are too far from where they were."""
        if not moved_too_far(x, lists.built_at, skin):
            return
        lists.built_at[:] = np.nan  # should memory run out before the end
        row = nonbonded.first[system] + system
        rows = slice(row, row + x.shape[0] + 1)
        if nonbonded.cutoff[system] > 0.0:
            if all_threads:  # known when it is compiled
                lists.neighbor = find_by_all_threads(nonbonded, system, skin, box, x, lists.start, lists.neighbor)
            else:
                lists.neighbor = find_by_one_thread(nonbonded, system, skin, box, x, lists.start, lists.neighbor)
        if weights.cutoff[system] > 0.0:
            reach = weights.cutoff[system] + skin
            old = (weights.exclusion_start[rows], weights.exclusion, lists.own_start, lists.own_neighbor)
            lists.own_neighbor = rebuild_together(x, reach, box, *old) if all_threads else rebuild(x, reach, box, *old)
            if lists.own_neighbor.shape[0] > scratch.pairs.t.shape[0]:
                scratch.pairs = make_pairs(weights, system, lists.own_neighbor.shape[0])
        remember(x, lists.built_at)

    return update


update_by_one_thread = _updater(all_threads=False)
update_by_all_threads = _updater(all_threads=True)
