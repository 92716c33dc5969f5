"""Markov models of a few states: counts, reversible transition matrices, timescales, metastable sets and their test.

Prinz et al., J. Chem. Phys. 134, 174105 (2011). Times are in frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from mdflash.analysis.statistics import resample
from mdflash.core.types import FloatArray, IntArray
from mdflash.errors import InputError

CLUSTERED: Final = 5_000
"""Points that centers of clusters are placed by."""
ROUNDS: Final = 50
ITERATIONS: Final = 10_000
TOLERANCE: Final = 1e-10
ROUGH: Final = 1e-6
"""Change of the stationary distribution at which an iteration ends in a bootstrap."""
RESAMPLES: Final = 20
MULTIPLES: Final = (1, 2, 3, 4, 5)
"""Of the lag, in the Chapman-Kolmogorov test."""


def clusters(points: FloatArray, number: int, seed: int = 0) -> IntArray:
    """[F] the cluster of each point [F, D], by k-means from spread-out starts (k-means++).

    Arthur & Vassilvitskii, SODA 2007. At most `CLUSTERED` points, evenly picked, place the centers.
    """
    from scipy.spatial import cKDTree

    some = points[:: max(1, -(-len(points) // CLUSTERED))]
    rng = np.random.default_rng(seed)
    centers = some[rng.integers(len(some))][None]
    nearest = ((some - centers[0]) ** 2).sum(axis=1)
    while len(centers) < min(number, len(some)) and nearest.sum() > 0:
        new = some[rng.choice(len(some), p=nearest / nearest.sum())]
        centers = np.concatenate([centers, new[None]])
        nearest = np.minimum(nearest, ((some - new) ** 2).sum(axis=1))
    for _ in range(ROUNDS):
        of = cKDTree(centers).query(some)[1]
        count = np.bincount(of, minlength=len(centers))
        sums = np.stack([np.bincount(of, weights=column, minlength=len(centers)) for column in some.T], axis=1)
        moved = np.where(count[:, None] > 0, sums / np.maximum(count, 1)[:, None], centers)
        if np.allclose(moved, centers):
            break
        centers = moved
    return np.asarray(cKDTree(centers).query(points)[1], np.int64)


def count_matrix(labels: Sequence[IntArray], lag: int, states: int) -> FloatArray:
    """[T, states, states] transitions of each trajectory [F] over `lag` frames, every frame a start."""
    found = np.zeros((len(labels), states, states))
    for k, x in enumerate(labels):
        if len(x) > lag:
            flat = x[:-lag] * states + x[lag:]
            found[k] = np.bincount(flat, minlength=states * states).reshape(states, states)
    return found


def largest_connected(counts: FloatArray) -> IntArray:
    """The states of the largest set that can all be reached from each other, from counts [N, N]."""
    from scipy.sparse.csgraph import connected_components

    number, of = connected_components(counts > 0, directed=True, connection="strong")
    weight = [counts[of == k][:, of == k].sum() for k in range(number)]
    return np.flatnonzero(of == int(np.argmax(weight)))


def reversible(counts: FloatArray, tolerance: float = TOLERANCE) -> tuple[FloatArray, FloatArray]:
    """The reversible transition matrix [N, N] of greatest likelihood, and its stationary distribution [N].

    Self-consistent iteration of x_ij = (c_ij + c_ji) / (c_i / x_i + c_j / x_j): Bowman, Beauchamp, Boxer & Pande,
    J. Chem. Phys. 131, 124101 (2009), of connected counts.
    """
    both = counts + counts.T
    c = counts.sum(axis=1)
    x = both.copy()
    for _ in range(ITERATIONS):
        rate = c / x.sum(axis=1)
        new = both / (rate[:, None] + rate[None, :])
        change = np.abs(new.sum(axis=1) / new.sum() - x.sum(axis=1) / x.sum()).max()
        x = new
        if change < tolerance:
            break
    rows = x.sum(axis=1)
    return np.asarray(x / rows[:, None]), np.asarray(rows / rows.sum())


def spectrum(matrix: FloatArray, stationary: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Eigenvalues, falling, and right eigenvectors of a reversible matrix."""
    root = np.sqrt(stationary)
    values, vectors = np.linalg.eigh((root[:, None] * matrix) / root)
    return values[::-1], vectors[:, ::-1] / root[:, None]


def timescales(eigenvalues: FloatArray, lag: int) -> FloatArray:
    """-lag / ln(eigenvalue) of all but the first, frames; NaN where it is not between 0 and 1."""
    v = eigenvalues[1:]
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where((v > 0) & (v < 1), -lag / np.log(v), np.nan)


def metastable(vectors: FloatArray, sets: int) -> IntArray:
    """[N] the metastable set of each state: PCCA+ by the inner simplex, each state where its membership is largest.

    Deuflhard & Weber, Linear Algebra Appl. 398, 161 (2005). `vectors` are right eigenvectors, the constant one first.
    """
    x = vectors[:, :sets].copy()
    x[:, 0] = 1.0
    corners = [int(np.argmax(np.linalg.norm(x, axis=1)))]
    rest = x - x[corners[0]]
    for _ in range(1, sets):
        far = np.linalg.norm(rest, axis=1)
        corners.append(int(np.argmax(far)))
        direction = rest[corners[-1]] / far[corners[-1]]
        rest = rest - np.outer(rest @ direction, direction)
    return np.asarray(np.argmax(x @ np.linalg.inv(x[corners]), axis=1), np.int64)


@dataclass(frozen=True, eq=False)
class Markov:
    """A model.

    Attributes:
        lag: frames.
        matrix, stationary: [N, N], [N] of the connected states.
        sets: [N] the metastable set of each, the most populated first.
        timescales: [N - 1] frames.
        populations, population_errors: [M] of the sets.
        passages: [M, M] mean first passage times from set to set, frames.
        multiples: [K] of the lag, of the test.
        predicted, observed, errors: [K, M] chance to be in a set after multiples of the lag, having been in it at
            equilibrium: by this model, by models at those lags, and the standard errors of the latter.
    """

    lag: int
    matrix: FloatArray
    stationary: FloatArray
    sets: IntArray
    timescales: FloatArray
    populations: FloatArray
    population_errors: FloatArray
    passages: FloatArray
    multiples: IntArray
    predicted: FloatArray
    observed: FloatArray
    errors: FloatArray

    @property
    def deviation(self) -> float:
        """The largest deviation of the Chapman-Kolmogorov test in standard errors."""
        with np.errstate(divide="ignore", invalid="ignore"):
            z = np.abs(self.predicted - self.observed) / self.errors
        z = z[1:][np.isfinite(z[1:])]
        return float(z.max()) if z.size else float("nan")


def markov_model(labels: Sequence[IntArray], lag: int, states: int, sets: int = 2) -> Markov:
    """A model of trajectories of states, with its Chapman-Kolmogorov test and errors by bootstrap over trajectories.

    Args:
        labels: [F] of each trajectory, the state of each frame, from 0.
        lag: frames.
        states: how many there are.
        sets: metastable ones.

    Raises:
        InputError: fewer connected states than sets.
    """
    counts = count_matrix(labels, lag, states)
    keep = largest_connected(counts.sum(axis=0))
    if len(keep) <= sets:
        raise InputError(f"{len(keep)} states are connected at a lag of {lag} frames, too few for {sets} sets")
    counts = counts[:, keep][:, :, keep]
    matrix, stationary = reversible(counts.sum(axis=0))
    values, vectors = spectrum(matrix, stationary)
    of = metastable(vectors, sets)
    of = np.argsort(np.argsort(-np.bincount(of, weights=stationary, minlength=sets)))[of]
    member = np.eye(sets)[of]  # [N, M]
    longest = max(map(len, labels))
    multiples = np.array([k for k in MULTIPLES if k * lag < longest // 2] or [1])
    every = [count_matrix(labels, int(k) * lag, states)[:, keep][:, :, keep] for k in multiples]
    predicted = np.array([_stay(np.linalg.matrix_power(matrix, int(k)), stationary, member) for k in multiples])
    observed = np.array([_observed(c.sum(axis=0), member) for c in every])
    drawn, shares = [], []
    for often in resample(len(labels), RESAMPLES) if len(labels) > 3 else []:
        drawn.append([_observed(np.tensordot(often, c, 1), member) for c in every])
        shares.append(_population(np.tensordot(often, counts, 1), member))
    unknown = np.full((2, len(multiples), sets), np.nan)
    spread = np.array(drawn) if drawn else unknown
    several = np.array(shares) if shares else unknown[:, 0]
    return Markov(
        lag, matrix, stationary, of, timescales(values, lag), stationary @ member, several.std(axis=0, ddof=1),
        lag * passage_times(matrix, stationary, member), multiples, predicted, observed, spread.std(axis=0, ddof=1),
    )  # fmt: skip


def _connected(counts: FloatArray) -> tuple[IntArray, FloatArray, FloatArray]:
    keep = largest_connected(counts)
    matrix, stationary = reversible(counts[np.ix_(keep, keep)], ROUGH)
    return keep, matrix, stationary


def _observed(counts: FloatArray, member: FloatArray) -> FloatArray:
    """[M] the chance to be in each set again, by a model of these counts."""
    keep, matrix, stationary = _connected(counts)
    return _stay(matrix, stationary, member[keep])


def _population(counts: FloatArray, member: FloatArray) -> FloatArray:
    keep, _, stationary = _connected(counts)
    return np.asarray(stationary @ member[keep])


def _stay(matrix: FloatArray, stationary: FloatArray, member: FloatArray) -> FloatArray:
    """[M] the chance to be in a set again after a step, having been in it at equilibrium."""
    flow = np.einsum("n,nm,nk,km->m", stationary, member, matrix, member, optimize=True)
    total = stationary @ member
    return np.asarray(np.divide(flow, total, out=np.full(len(total), np.nan), where=total > 0))


def passage_times(matrix: FloatArray, stationary: FloatArray, member: FloatArray) -> FloatArray:
    """[M, M] mean steps from a set, at equilibrium within it, until the first frame in another.

    For each target the times t of the other states solve t_i = 1 + sum over j of T_ij t_j.
    """
    sets = member.shape[1]
    found = np.zeros((sets, sets))
    for b in range(sets):
        outside = np.flatnonzero(member[:, b] == 0)
        times = np.zeros(len(matrix))
        inner = matrix[np.ix_(outside, outside)]
        times[outside] = np.linalg.solve(np.eye(len(outside)) - inner, np.ones(len(outside)))
        for a in range(sets):
            weight = stationary * member[:, a]
            found[a, b] = float(weight @ times / weight.sum())
    return found
