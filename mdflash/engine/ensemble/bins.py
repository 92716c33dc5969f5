"""Resampling in bins: every bin that is occupied gets the same number of walkers, of about the same weight.

Huber & Kim, Biophys. J. 70, 97 (1996), with bins that share a fixed number of walkers. In each bin the heaviest walker
is split in halves while walkers are lacking, and the two lightest are merged while there are too many. Then, while the
heaviest has more than twice the mean weight of the bin and the two lightest together less than it, both is done.
"""

from __future__ import annotations

import math
from bisect import insort
from dataclasses import dataclass

import numpy as np

from mdflash.core.types import FloatArray, IntArray
from mdflash.engine.ensemble.resample import Draw

Walker = tuple[float, int]
"""A weight, and whose copy it is."""


@dataclass(frozen=True)
class Bins:
    """Bins between edges; what is below the first and above the last edge are bins too.

    Attributes:
        edges: increasing, in the unit of the variable; a value at an edge belongs to the bin above it.
    """

    edges: tuple[float, ...]

    def of(self, values: FloatArray) -> IntArray:
        """The number of each value's bin, 0 below the first edge."""
        return np.searchsorted(self.edges, values, side="right").astype(np.int64)

    def shares(self, values: FloatArray, weights: FloatArray, draw: Draw) -> list[list[float]]:
        """The weights of the copies of each of N walkers, N copies in all; see `Scheme`."""
        bins = self.of(values)
        occupied, members = np.unique(bins, return_counts=True)
        room = np.full(len(occupied), len(bins) // len(occupied))
        room[np.argsort(-members, kind="stable")[: len(bins) % len(occupied)]] += 1  # where fewest must be merged
        found: list[list[float]] = [[] for _ in bins]
        for b, count in zip(occupied, room.tolist(), strict=True):
            pool = [(float(weights[i]), int(i)) for i in np.flatnonzero(bins == b)]
            for weight, walker in fit(pool, count, draw):
                found[walker].append(weight)
        return found


def fit(walkers: list[Walker], count: int, draw: Draw) -> list[Walker]:
    """Split and merge the walkers of one bin until there are `count`, of about the same weight."""
    pool = sorted(walkers)
    ideal = math.fsum(weight for weight, _ in pool) / count
    while len(pool) < count:
        _split(pool)
    while len(pool) > count:
        _merge(pool, draw)
    while len(pool) > 2 and pool[-1][0] > 2.0 * ideal and pool[0][0] + pool[1][0] < ideal:
        _split(pool)
        _merge(pool, draw)
    return pool


def _split(pool: list[Walker]) -> None:
    """Divide the heaviest."""
    weight, walker = pool.pop()
    for _ in range(2):
        insort(pool, (0.5 * weight, walker))


def _merge(pool: list[Walker], draw: Draw) -> None:
    """Merge the two lightest."""
    (one, first), (other, second) = pool.pop(0), pool.pop(0)
    insort(pool, (one + other, first if draw() * (one + other) < one else second))
