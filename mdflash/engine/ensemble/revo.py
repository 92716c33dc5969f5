"""Resampling without bins: REVO, which splits and merges while that spreads walkers out.

    V = sum_ij (d_ij / d0)^4 phi_i phi_j        d: distance along the variable
    phi_i = ln w_i - ln(LEAST / 100)            favors heavy walkers

The walker that adds most to V is split, the one that adds least is merged with its nearest neighbor, while that
increases V. Donyapour, Roussey & Dickson, J. Chem. Phys. 150, 244112 (2019). One thing is different here: V after a
merge is the mean over who survives. A decision that looked at the survivor would change its probability.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from mdflash.core.types import FloatArray, IntArray
from mdflash.engine.ensemble.resample import Draw

LEAST: Final = 1e-12
"""Weight below which no walker is split."""
MOST: Final = 0.1
"""Weight above which no walkers are merged."""
POWER: Final = 4.0


@dataclass(frozen=True)
class Revo:
    """REVO along one variable.

    Attributes:
        merge_distance: walkers that are farther apart are not merged; in the unit of the variable.
        period: of the variable, or None.
    """

    merge_distance: float
    period: float | None = None

    def distances(self, values: FloatArray) -> FloatArray:
        """[N, N] between walkers."""
        d = np.abs(values[:, None] - values)
        if self.period is not None:
            d = np.abs(d - self.period * np.rint(d / self.period))
        return d

    def shares(self, values: FloatArray, weights: FloatArray, draw: Draw) -> list[list[float]]:
        """The weights of the copies of each of N walkers, N copies in all; see `Scheme`."""
        apart = self.distances(values)
        d = (apart / max(float(apart.mean()), 1e-300)) ** POWER
        weight, copies = weights.astype(np.float64), np.ones(len(weights), np.int64)
        while True:
            each = _contributions(d, weight, copies)
            found = self._candidates(apart, each, weight, copies)
            if found is None:
                break
            split, one, other = found
            outcomes = [_after(weight, copies, split, kept, gone) for kept, gone in ((one, other), (other, one))]
            total = [float((n * _contributions(d, w, n)).sum()) for w, n in outcomes]
            odds = weight[one] / (weight[one] + weight[other])
            if odds * total[0] + (1.0 - odds) * total[1] <= float((copies * each).sum()):
                break
            weight, copies = outcomes[0 if draw() < odds else 1]
        return [_divide(w, n) for w, n in zip(weight.tolist(), copies.tolist(), strict=True)]

    def _candidates(
        self, apart: FloatArray, each: FloatArray, weight: FloatArray, copies: IntArray
    ) -> tuple[int, int, int] | None:
        """Whom to split, and whom to merge; None where nobody may be."""
        may_split = (copies > 0) & (weight >= LEAST * (copies + 1))
        if not may_split.any():
            return None
        split = int(np.where(may_split, each, -np.inf).argmax())
        single = (copies == 1) & (weight <= MOST)
        single[split] = False
        near = single[:, None] & single & (apart <= self.merge_distance) & (weight[:, None] + weight <= MOST)
        np.fill_diagonal(near, False)
        if not near.any():
            return None
        one = int(np.where(near.any(axis=1), each, np.inf).argmin())
        other = int(np.where(near[one], apart[one], np.inf).argmin())
        return split, one, other


def _contributions(d: FloatArray, weight: FloatArray, copies: IntArray) -> FloatArray:
    """[N] what one copy of each walker adds to V; 0 for those that are gone."""
    there = copies > 0
    phi = np.zeros(len(weight))
    phi[there] = np.maximum(np.log(weight[there] / copies[there]) - np.log(LEAST / 100.0), 0.0)
    return np.asarray(phi * (d @ (copies * phi)))


def _after(weight: FloatArray, copies: IntArray, split: int, kept: int, gone: int) -> tuple[FloatArray, IntArray]:
    """Weights and copies once one walker is split, and one is merged into another."""
    w, n = weight.copy(), copies.copy()
    n[split] += 1
    n[gone] = 0
    w[kept], w[gone] = w[kept] + w[gone], 0.0
    return w, n


def _divide(weight: float, copies: int) -> list[float]:
    return [weight / copies] * copies if copies else []
