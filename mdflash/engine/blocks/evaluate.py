"""Energy and forces of one replica again and again, at positions that come from outside: an engine other than ours.

Neighbour lists live in arrays that the caller keeps, so a call rebuilds one only when a bead has moved too far. The
bits are those of a compiled block of steps.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mdflash.compiled.jit import njit, prange
from mdflash.neighbors.cpu import build_half_list, moved_too_far, remember
from mdflash.potentials.priors.cpu import Listed, add_listed, add_nonbonded
from mdflash.potentials.schnet.arrays import make_pairs, make_work
from mdflash.potentials.schnet.cpu import evaluate_alone, evaluate_together


def _evaluation(team: bool) -> Any:
    """Compile the evaluation for one thread, or for all threads on one replica; `networks` may be None."""

    @njit(cache=True, error_model="numpy", nogil=True)
    def evaluate(
        listed, nonbonded, networks, system, skin, box, start, neighbor, own_start, own_neighbor, built_at, pairs, work,
        x, f, energy,
    ):  # fmt: skip
        """Overwrite f [N, 3] with the forces at x, energy [1] with the energy; NaN where x or f is not finite.

        Returns 0; or, where a list needs more room than there is and nothing was evaluated, the pairs it needs.
        """
        row = nonbonded.first[system] + system
        rows = slice(row, row + x.shape[0] + 1)
        if moved_too_far(x, built_at, skin):
            built_at[:] = np.nan
            count = own_count = 0
            if nonbonded.cutoff[system] > 0.0:
                count = build_half_list(
                    x, nonbonded.cutoff[system] + skin, box, nonbonded.exclusion_start[rows], nonbonded.exclusion,
                    start, neighbor,
                )  # fmt: skip
            if networks is not None and networks.cutoff[system] > 0.0:
                own_count = build_half_list(
                    x, networks.cutoff[system] + skin, box, networks.exclusion_start[rows], networks.exclusion,
                    own_start, own_neighbor,
                )  # fmt: skip
            if max(count, own_count) > neighbor.shape[0]:
                return max(count, own_count)
            remember(x, built_at)
        f[:] = 0.0
        total = add_listed(listed, system, x, f)
        if nonbonded.cutoff[system] > 0.0:
            total += add_nonbonded(nonbonded, system, box, start, neighbor, x, f)
        if networks is not None and networks.cutoff[system] > 0.0:
            if team:
                total += evaluate_together(
                    networks, networks.rules, system, box, own_start, own_neighbor, x, pairs, work, f
                )
            else:
                total += evaluate_alone(
                    networks, networks.rules, system, box, own_start, own_neighbor, x, pairs, work, f
                )
        for i in range(x.shape[0]):
            for k in range(3):
                if not np.isfinite(x[i, k] + f[i, k]):
                    total = np.nan
        energy[0] = total
        return 0

    return evaluate


_alone = _evaluation(team=False)
_together = _evaluation(team=True)


@njit(cache=True, error_model="numpy", nogil=True)
def evaluate_one(kept, x, f, energy):
    """One replica by one thread; `kept` holds the other arguments of the evaluation."""
    return _alone(*kept.arguments, x, f, energy)


@njit(cache=True, error_model="numpy", nogil=True)
def evaluate_one_together(kept, x, f, energy):
    """As `evaluate_one`, by all threads."""
    return _together(*kept.arguments, x, f, energy)


@njit(cache=True, error_model="numpy")
def _with_own_arrays(
    listed, nonbonded, networks, skin, box, start, neighbor, own_start, own_neighbor, built_at, x, f, energy
):
    pairs = None if networks is None else make_pairs(networks, 0, own_neighbor.shape[0])
    work = None if networks is None else make_work(networks, 0, x.shape[0])
    return _alone(
        listed, nonbonded, networks, 0, skin, box, start, neighbor, own_start, own_neighbor, built_at, pairs, work,
        x, f, energy,
    )  # fmt: skip


@njit(cache=True, parallel={"prange": True, "numpy": False}, nogil=True)
def evaluate_each(
    distance, angle_cosine, angle, dihedral, nonbonded, networks, skin, box,
    start, neighbor, own_start, own_neighbor, built_at, x, f, energy,
):  # fmt: skip
    """`evaluate_one` for every replica of system 0, each by one thread; lists are [R, ...], energy is [R]."""
    needed = np.empty(energy.shape[0], np.int64)
    for r in prange(energy.shape[0]):
        listed = Listed(distance, angle_cosine, angle, dihedral)  # a parallel loop takes no nested tuples
        n = built_at.shape[1]
        rows = slice(r * n, (r + 1) * n)
        needed[r] = _with_own_arrays(
            listed, nonbonded, networks, skin, box, start[r], neighbor[r], own_start[r], own_neighbor[r], built_at[r],
            x[rows], f[rows], energy[r : r + 1],
        )  # fmt: skip
    return needed.max()
