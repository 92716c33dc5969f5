"""How much a series of numbers is worth: equilibration, correlation, errors, and whether replicas agree.

A *block* is a stretch of one replica that is taken as independent of the others. Where there are many replicas each is
one block; of few replicas each is cut into several. Means over blocks are ratios (sum of values over count), so blocks
may differ in length: that is how a temperature of a ladder is averaged, which every replica visits now and then.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from mdflash.core.types import FloatArray, IntArray

BLOCKS = 16
"""Blocks that an error is made from, at least, where there are enough frames."""
SHORTEST_LAG = 3
"""Frames; noise may not end the sum over lags earlier."""
STARTS = 40
"""Starts that the detection of equilibration tries."""


def statistical_inefficiency(series: FloatArray) -> float:
    """g >= 1: so many frames are worth one independent one; 1 + 2 sum over lags t of (1 - t/F) C(t), F frames.

    The sum ends where the normalized autocorrelation C is no longer positive: Chodera et al., J. Chem. Theory Comput.
    3, 26 (2007), as pymbar computes it. A series that is constant is worth one frame. Frames whose value is not finite
    are worth nothing: C is of the pairs of frames that have values, and g still counts all frames.
    """
    a = np.asarray(series, np.float64)
    n = len(a)
    if n < 2:
        return 1.0
    known = np.isfinite(a)
    if not known.all():
        return _with_gaps(a, known)
    d = a - a.mean()
    variance = float((d**2).mean())
    if variance <= 1e-24 * max(1.0, float((a**2).mean())):
        return float(n)
    lags = np.arange(n)
    c = _lagged(d) / (n - lags) / variance
    ended = np.flatnonzero((c <= 0.0) & (lags > SHORTEST_LAG))
    last = int(ended[0]) if len(ended) else n - 1
    t = lags[1:last]
    return max(1.0, float(1.0 + 2.0 * ((1.0 - t / n) * c[1:last]).sum()))


def _with_gaps(a: FloatArray, known: npt.NDArray[np.bool_]) -> float:
    """The inefficiency of a series of which some frames have no value; without two values it is worth one frame."""
    n, m = len(a), int(known.sum())
    if m < 2:
        return float(n)
    d = np.where(known, a - a[known].mean(), 0.0)
    variance = float((d**2).sum() / m)
    if variance <= 1e-24 * max(1.0, float((a[known] ** 2).mean())):
        return float(n)
    pairs = np.rint(_lagged(known.astype(np.float64)))
    c = np.where(pairs > 0, _lagged(d) / np.maximum(pairs, 1.0) / variance, 0.0)
    ended = np.flatnonzero((c <= 0.0) & (pairs > 0) & (np.arange(n) > SHORTEST_LAG))
    last = int(ended[0]) if len(ended) else n - 1
    g = max(1.0, float(1.0 + 2.0 * (pairs / m * c)[1:last].sum()))
    return min(float(n), n / m * g)


def _lagged(d: FloatArray) -> FloatArray:
    """[F] sum over frames of d(s) d(s + t), by lag t."""
    n = len(d)
    size = 1 << (2 * n - 1).bit_length()
    f = np.fft.rfft(d, size)
    return np.asarray(np.fft.irfft(f * f.conj(), size)[:n])


class Equilibration(NamedTuple):
    """From where on a series is at equilibrium.

    Attributes:
        start: frames that are left out.
        inefficiency: of the rest.
        effective: uncorrelated frames in the rest.
    """

    start: int
    inefficiency: float
    effective: float


def detect_equilibration(series: FloatArray) -> Equilibration:
    """The start that leaves the most uncorrelated frames: Chodera, J. Chem. Theory Comput. 12, 1799 (2016)."""
    n = len(series)
    best = Equilibration(0, float(n), 1.0 if n else 0.0)
    for start in sorted({round(x) for x in np.linspace(0, 0.9 * n, STARTS)}):
        rest = series[start:]
        if len(rest) < 10:
            break
        g = statistical_inefficiency(rest)
        if len(rest) / g > best.effective * (1.0 + 1e-9):
            best = Equilibration(start, g, len(rest) / g)
    return best


def reaches_plateau(series: FloatArray) -> int:
    """The first frame at which the mean over replicas is within two standard errors of that of the second half.

    Replicas that start from one structure leave it together; a detection by correlation alone can miss that where the
    motion at equilibrium is as slow. `series` is [R, F]; 0 with fewer than four replicas.
    """
    r, n = series.shape
    if r < 4 or n < 4:
        return 0
    plateau = series[:, n // 2 :].mean()
    error = series.std(axis=0, ddof=1) / np.sqrt(r)
    inside = np.abs(series.mean(axis=0) - plateau) <= 2.0 * error
    return int(np.argmax(inside)) if inside.any() else n // 2


class Mean(NamedTuple):
    """A mean with its standard error; NaN where it is not known."""

    value: float
    error: float


def cut_blocks(lengths: Sequence[int], least: int = 1) -> IntArray:
    """[blocks, 3] (series, first, last): so many series of these lengths cut into about `BLOCKS` blocks or more.

    Args:
        lengths: frames of each series.
        least: frames of the shortest block.
    """
    used = [n for n in lengths if n]
    each = -(-BLOCKS // max(len(used), 1))
    found = []
    for k, n in enumerate(lengths):
        parts = max(1, min(each, n // max(least, 1)))
        edges = np.linspace(0, n, parts + 1).round().astype(int)
        found += [(k, a, b) for a, b in itertools.pairwise(edges) if b > a]
    return np.array(found, np.int64).reshape(-1, 3)


def ratio_mean(sums: FloatArray, counts: FloatArray) -> Mean:
    """Mean and standard error from the sum of values and the count of frames of each block [B].

    The error is that of a ratio estimator: sqrt(B/(B-1) sum over blocks (sum - mean count)²) / total count.
    """
    total = counts.sum()
    if total == 0:
        return Mean(np.nan, np.nan)
    mean = float(sums.sum() / total)
    used = counts > 0
    b = int(used.sum())
    if b < 2:
        return Mean(mean, np.nan)
    square = ((sums[used] - mean * counts[used]) ** 2).sum()
    return Mean(mean, float(np.sqrt(b / (b - 1) * square) / total))


def student(probability: float, freedom: int) -> float:
    """Quantile of Student's distribution with so many degrees of freedom."""
    from scipy.special import stdtrit

    return float(stdtrit(freedom, probability))


def gelman_rubin(series: Sequence[FloatArray]) -> float:
    """R-hat of replicas, each split in halves: 1 where all agree; above 1.05 they have not seen the same.

    Gelman et al., Bayesian Data Analysis, 3rd ed., section 11.4. NaN with fewer than two replicas or 8 frames.
    """
    n = min((len(s) for s in series), default=0) // 2
    if len(series) < 2 or n < 4:
        return float("nan")
    halves = np.array([part for s in series for part in (s[:n], s[-n:])])
    within = halves.var(axis=1, ddof=1).mean()
    between = n * halves.mean(axis=1).var(ddof=1)
    if within == 0.0:
        return 1.0 if between == 0.0 else float("inf")
    return float(np.sqrt(((n - 1) / n * within + between / n) / within))


def resample(blocks: int, times: int, strata: IntArray | None = None, seed: int = 0) -> IntArray:
    """[times, blocks] how often each block counts in each bootstrap sample.

    Args:
        blocks: how many there are.
        times: samples.
        strata: [blocks] each is replaced by blocks of its own stratum alone; default: by any.
        seed: of the draw.
    """
    rng = np.random.default_rng(seed)
    groups = [np.arange(blocks)] if strata is None else [np.flatnonzero(strata == s) for s in np.unique(strata)]
    drawn = np.zeros((times, blocks), np.int64)
    for row in drawn:
        for group in groups:
            np.add.at(row, rng.choice(group, len(group)), 1)
    return drawn
