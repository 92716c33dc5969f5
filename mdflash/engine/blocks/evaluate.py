"""Energy and forces of one replica again and again, at positions that come from outside: an engine other than ours.

Neighbor lists live in arrays that the caller keeps, so a call rebuilds one only when a bead has moved too far. The
bits are those of a compiled block of steps.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from mdflash.compiled.held_arguments import Kept
from mdflash.compiled.jit import njit
from mdflash.core.types import FloatArray, IntArray
from mdflash.neighbors.cpu import build_half_list, moved_too_far, remember
from mdflash.potentials.priors.cpu import Listed, Nonbonded, add_listed, add_nonbonded, find_near
from mdflash.potentials.schnet.arrays import Networks, PairWork, Work, make_pairs, make_work
from mdflash.potentials.schnet.cpu import evaluate_alone, evaluate_together


class HalfLists(NamedTuple):
    """Neighbor lists of one replica; of R replicas, with a first axis [R] in all arrays but the box."""

    skin: float  # Å
    box: FloatArray  # [3] Å; 0: not periodic
    start: IntArray  # of the priors' list
    neighbor: IntArray
    own_start: IntArray  # of the network's list
    own_neighbor: IntArray
    built_at: FloatArray  # [N, 3] Å, the positions both belong to; NaN where there are none


Evaluation = Callable[
    [
        Listed, Nonbonded, Networks | None, HalfLists, PairWork | None, Work | None, FloatArray, FloatArray, FloatArray
    ],
    int,
]  # fmt: skip


def _evaluation(all_threads: bool) -> Evaluation:
    """Compile the evaluation for one thread, or for all threads on one replica; `networks` may be None."""

    @njit(cache=True, error_model="numpy", nogil=True)
    def evaluate(
        listed: Listed,
        nonbonded: Nonbonded,
        networks: Networks | None,
        lists: HalfLists,
        pairs: PairWork | None,
        work: Work | None,
        x: FloatArray,
        f: FloatArray,
        energy: FloatArray,
    ) -> int:
        """Overwrite f [N, 3] with the forces at x, energy [1] with the energy; NaN where x or f is not finite.

        The replica is one of system 0. Returns 0; or, where a list needs more room than there is and nothing was
        evaluated, the pairs it needs.
        """
        skin, box, start, neighbor, own_start, own_neighbor, built_at = lists
        row = nonbonded.first[0]
        rows = slice(row, row + x.shape[0] + 1)
        if moved_too_far(x, built_at, skin):
            built_at[:] = np.nan
            count = own_count = 0
            if nonbonded.cutoff[0] > 0.0:
                count = find_near(nonbonded, 0, skin, box, x, start, neighbor)
            if networks is not None and networks.weights.cutoff[0] > 0.0:
                own_count = build_half_list(
                    x, networks.weights.cutoff[0] + skin, box, networks.weights.exclusion_start[rows],
                    networks.weights.exclusion, own_start, own_neighbor,
                )  # fmt: skip
            if max(count, own_count) > neighbor.shape[0]:
                return max(count, own_count)
            remember(x, built_at)
        f[:] = 0.0
        total = add_listed(listed, 0, x, f)
        if nonbonded.cutoff[0] > 0.0:
            total += add_nonbonded(nonbonded, 0, box, start, neighbor, x, f)
        if networks is not None and pairs is not None and work is not None and networks.weights.cutoff[0] > 0.0:
            s = np.int64(0)  # a variable: the code of the network is then that of a run, and compiled once
            if all_threads:  # known when it is compiled
                total += evaluate_together(
                    networks.weights, networks.tables, networks.rules, s, box, own_start, own_neighbor, x, pairs, work,
                    f,
                )  # fmt: skip
            else:
                total += evaluate_alone(
                    networks.weights, networks.tables, networks.rules, s, box, own_start, own_neighbor, x, pairs, work,
                    f,
                )  # fmt: skip
        for i in range(x.shape[0]):
            for k in range(3):
                if not np.isfinite(x[i, k] + f[i, k]):
                    total = np.nan
        energy[0] = total
        return 0

    return evaluate


_by_one_thread = _evaluation(all_threads=False)
_by_all_threads = _evaluation(all_threads=True)


@njit(cache=True, error_model="numpy", nogil=True)
def evaluate_by_one_thread(
    kept: Kept,
    x: FloatArray,  # [N, 3] Å
    f: FloatArray,  # [N, 3] kcal/mol/Å
    energy: FloatArray,  # [1] kcal/mol, out
) -> int:
    """One replica by one thread; `kept` holds the other arguments of the evaluation."""
    listed, nonbonded, networks, lists, pairs, work = kept.arguments
    return _by_one_thread(listed, nonbonded, networks, lists, pairs, work, x, f, energy)


@njit(cache=True, error_model="numpy", nogil=True)
def evaluate_by_all_threads(
    kept: Kept,
    x: FloatArray,  # [N, 3] Å
    f: FloatArray,  # [N, 3] kcal/mol/Å
    energy: FloatArray,  # [1] kcal/mol, out
) -> int:
    """As `evaluate_by_one_thread`, by all threads."""
    listed, nonbonded, networks, lists, pairs, work = kept.arguments
    return _by_all_threads(listed, nonbonded, networks, lists, pairs, work, x, f, energy)


@njit(cache=True, error_model="numpy")
def _with_own_arrays(
    listed: Listed,
    nonbonded: Nonbonded,
    networks: Networks | None,
    lists: HalfLists,
    x: FloatArray,  # [N, 3] Å
    f: FloatArray,  # [N, 3] kcal/mol/Å
    energy: FloatArray,  # [1] kcal/mol, out
) -> int:
    if networks is None:
        return _by_one_thread(listed, nonbonded, networks, lists, None, None, x, f, energy)
    weights = networks.weights
    pairs, work = make_pairs(weights, 0, lists.own_neighbor.shape[0]), make_work(weights, 0, x.shape[0])
    return _by_one_thread(listed, nonbonded, networks, lists, pairs, work, x, f, energy)


@njit(cache=True, nogil=True)
def evaluate_each(
    listed: Listed,
    nonbonded: Nonbonded,
    networks: Networks | None,
    lists: HalfLists,
    x: FloatArray,  # [B, 3] Å
    f: FloatArray,  # [B, 3] kcal/mol/Å
    energy: FloatArray,
    needed: IntArray,
    first: int,
    last: int,
) -> None:
    """The replicas first:last of system 0; energy and needed, the pairs that a list needs or 0, are [R]."""
    for r in range(first, last):
        n = lists.built_at.shape[1]
        rows = slice(r * n, (r + 1) * n)
        mine = HalfLists(
            lists.skin, lists.box, lists.start[r], lists.neighbor[r], lists.own_start[r], lists.own_neighbor[r],
            lists.built_at[r],
        )  # fmt: skip
        needed[r] = _with_own_arrays(listed, nonbonded, networks, mine, x[rows], f[rows], energy[r : r + 1])
