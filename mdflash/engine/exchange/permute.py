"""Who swaps with whom: from reduced energies and labels to new labels, as a pure function.

Labels (numbers of thermodynamic states) move between replicas; coordinates never do. Replica x with label i has the
reduced energy u[i, x]: beta_i U(x) where the states are temperatures. Replicas a and b with labels i and j swap if

    ln(random) < (u[i, a] + u[j, b]) - (u[i, b] + u[j, a])    [= (beta_i - beta_j) (U_a - U_b) for temperatures]

which is the Metropolis rule. Random numbers are Philox4x32-10 keyed by (seed, ladder), counter (step, swap,
EXCHANGE), so any process that knows energies and labels comes to the same decision.

* neighbors: replicas with consecutive labels, even pairs (0-1, 2-3, ...) and odd pairs (1-2, 3-4, ...) in turn.
* gibbs: many random pairs one after the other, which comes close to an independent draw of the permutation.
  Chodera & Shirts, J. Chem. Phys. 135, 194110 (2011).
"""

from __future__ import annotations

import math
from typing import Any, Final, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from mdflash.compiled.jit import njit
from mdflash.compiled.philox import EXCHANGE, philox4x32
from mdflash.core.types import FloatArray, IntArray

MOST_SWAPS: Final = 1_000_000
"""Random pairs a Gibbs attempt tries at most; otherwise the cube of the number of replicas."""

Scheme = Literal["neighbors", "gibbs"]

_philox: Any = njit(cache=True)(philox4x32)
_WORD, _HALF = np.uint64(0xFFFFFFFF), np.uint64(32)
_TO_UNIT = 2.0**-32


class Permutation(NamedTuple):
    """The outcome of one attempt in one ladder of K replicas.

    Attributes:
        labels: [K] the label of each replica afterwards.
        attempted, accepted: [K, K] swaps by the labels of the pair, the lower first.
    """

    labels: IntArray
    attempted: IntArray
    accepted: IntArray


def permute(
    reduced: FloatArray,
    labels: IntArray,
    active: npt.NDArray[np.bool_],
    scheme: Scheme,
    *,
    seed: int,
    ladder: int,
    step: int,
    attempt: int,
) -> Permutation:
    """Decide one attempt.

    Args:
        reduced: [K, K] reduced energy of state l (row) at the coordinates of replica x (column), no unit.
        labels: [K] the state of each replica, a permutation of 0..K-1.
        active: [K] replicas that take part; the others keep their labels, and their neighbors close ranks.
        scheme: the rule by which pairs are tried.
        seed: seed of the run.
        ladder: number of the ladder; with the seed, the key of its random numbers.
        step: step of the simulation.
        attempt: number of attempts before this one; decides between even and odd pairs.
    """
    k = len(labels)
    new = labels.astype(np.int64, copy=True)
    counts = np.zeros((2, k, k), np.int64)
    members = np.flatnonzero(active)
    if scheme == "gibbs":
        swaps = min(len(members) ** 3, MOST_SWAPS) if len(members) > 1 else 0
        _random_pairs(reduced, new, members, swaps, seed, ladder, step, counts)
    else:
        members = members[np.argsort(new[members])]
        first = attempt % 2 if len(members) > 2 else 0  # two replicas have no odd pair
        _neighbor_pairs(reduced, new, members, first, seed, ladder, step, counts)
    return Permutation(new, counts[0], counts[1])


def _uniform_plain(seed: int, ladder: int, step: int, swap: int) -> tuple[float, float, float]:
    """Three uniform numbers in (0, 1)."""
    s = np.uint64(step)
    w0, w1, w2, _ = _philox(
        s & _WORD, s >> _HALF, np.uint64(swap), np.uint64(EXCHANGE), np.uint64(seed), np.uint64(ladder)
    )
    return (w0 + 0.5) * _TO_UNIT, (w1 + 0.5) * _TO_UNIT, (w2 + 0.5) * _TO_UNIT


_uniform: Any = njit(cache=True)(_uniform_plain)


def _try_plain(reduced: FloatArray, labels: IntArray, a: int, b: int, random: float, counts: IntArray) -> None:
    """Swap the labels of replicas a and b, or not."""
    i, j = labels[a], labels[b]
    gain = (reduced[i, a] + reduced[j, b]) - (reduced[i, b] + reduced[j, a])
    low, high = min(i, j), max(i, j)
    counts[0, low, high] += 1
    if gain >= 0.0 or random < math.exp(gain):
        labels[a], labels[b] = j, i
        counts[1, low, high] += 1


_try: Any = njit(cache=True)(_try_plain)


def _neighbor_pairs_plain(
    reduced: FloatArray,
    labels: IntArray,
    members: IntArray,
    first: int,
    seed: int,
    ladder: int,
    step: int,
    counts: IntArray,
) -> None:
    for m in range(first, len(members) - 1, 2):
        a, b = members[m], members[m + 1]
        _try(reduced, labels, a, b, _uniform(seed, ladder, step, labels[a])[0], counts)


def _random_pairs_plain(
    reduced: FloatArray,
    labels: IntArray,
    members: IntArray,
    swaps: int,
    seed: int,
    ladder: int,
    step: int,
    counts: IntArray,
) -> None:
    n = len(members)
    for swap in range(swaps):
        random, one, other = _uniform(seed, ladder, step, swap)
        m, p = int(one * n), int(other * n)
        if m != p:  # idle draws keep the number of swaps from being always even
            _try(reduced, labels, members[m], members[p], random, counts)


_neighbor_pairs: Any = njit(cache=True)(_neighbor_pairs_plain)
_random_pairs: Any = njit(cache=True)(_random_pairs_plain)
