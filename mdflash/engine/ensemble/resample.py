"""What resampling is: walkers are split and merged, weights are conserved, and each copy gets a row.

A scheme (`Bins`, `Revo`) decides, from values and weights, into which weights each walker is divided: none where it was
merged into another one. A split divides a weight; a merge of weights a and b leaves one walker of weight a + b, which
is the first with probability a / (a + b). So the expected weight of every walker is what it was, whatever is split or
merged, as long as the choice does not look at who survives: Huber & Kim, Biophys. J. 70, 97 (1996); Zhang, Jasnow &
Zuckerman, J. Chem. Phys. 132, 054107 (2010).

Random numbers are Philox4x32-10 keyed by (seed, first replica), counter (step, draw, RESAMPLING), so any process that
knows values and weights comes to the same decision.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, Protocol

import numpy as np

from mdflash.compiled.philox import philox4x32
from mdflash.core.types import FloatArray, IntArray

RESAMPLING: Final = 0x5745
"""Purpose of random numbers, beside those of `compiled.philox`: splitting, merging and starting again."""

Draw = Callable[[], float]
"""Gives the next uniform number in (0, 1)."""

_WORD, _HALF = np.uint64(0xFFFFFFFF), np.uint64(32)


class Scheme(Protocol):
    """Decides who is split and who is merged."""

    def shares(self, values: FloatArray, weights: FloatArray, draw: Draw) -> list[list[float]]:
        """The weights of the copies of each of N walkers, N copies in all.

        Args:
            values: [N] of the variable.
            weights: [N] positive.
            draw: random numbers.
        """


class Resampled(NamedTuple):
    """The outcome of one resampling.

    Attributes:
        parents: [N] the row whose walker each row holds from now on.
        weights: [N] its weight.
    """

    parents: IntArray
    weights: FloatArray


def uniforms(seed: int, key: int, step: int) -> Draw:
    """Random numbers of one resampling, with 53 bits: weights differ by many orders of magnitude."""
    count = 0

    def draw() -> float:
        nonlocal count
        s = np.uint64(step)
        words = philox4x32(
            s & _WORD, s >> _HALF, np.uint64(count), np.uint64(RESAMPLING), np.uint64(seed), np.uint64(key)
        )
        count += 1
        high, low = int(words[0]) >> 5, int(words[1]) >> 6
        return ((high << 26) + low + 0.5) * 2.0**-53

    return draw


def place(shares: Sequence[Sequence[float]]) -> Resampled:
    """Give each copy a row: the first copy of a walker stays where it is, others take rows of walkers that are gone.

    Rows key the noise of the dynamics, so copies in different rows part at the next step.
    """
    parents = np.full(len(shares), -1, np.int64)
    weights = np.zeros(len(shares))
    more: list[tuple[int, float]] = []
    for walker, mine in enumerate(shares):
        if mine:
            parents[walker], weights[walker] = walker, mine[0]
            more += [(walker, weight) for weight in mine[1:]]
    for row, (walker, weight) in zip(np.flatnonzero(parents < 0), more, strict=True):
        parents[row], weights[row] = walker, weight
    return Resampled(parents, weights)
