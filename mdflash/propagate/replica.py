"""What every compiled loop does for one replica: keep its neighbour list, evaluate its priors."""

from __future__ import annotations

import numpy as np

from mdflash.kernels import njit
from mdflash.neighbors.cpu import build_half_list
from mdflash.potentials.priors.cpu import add_listed, add_nonbonded


@njit(cache=True)
def _room_for(count):
    return np.empty(count + count // 4 + 64, np.int64)


@njit(cache=True)
def rebuild(x, reach, box, exclusion_start, exclusion, start, neighbor):
    """Build the list, with more room if needed; returns the array that holds it."""
    count = build_half_list(x, reach, box, exclusion_start, exclusion, start, neighbor)
    if count > neighbor.shape[0]:
        neighbor = _room_for(count)
        build_half_list(x, reach, box, exclusion_start, exclusion, start, neighbor)
    return neighbor


@njit(cache=True, error_model="numpy")
def prior_forces(listed, nonbonded, system, box, start, neighbor, x, f):
    """Overwrite f [N, 3] with the forces of the priors; returns their energy."""
    f[:] = 0.0
    energy = add_listed(listed, system, x, f)
    if nonbonded.cutoff[system] > 0.0:
        energy += add_nonbonded(nonbonded, system, box, start, neighbor, x, f)
    return energy
