"""Markov models: of a chain whose matrix is known, and of matrices by direct formulas."""

from __future__ import annotations

import numpy as np
import pytest

from mdflash.analysis.markov import (
    clusters,
    count_matrix,
    largest_connected,
    markov_model,
    metastable,
    passage_times,
    reversible,
    spectrum,
    timescales,
)
from mdflash.errors import InputError

TRUE = np.array([[0.95, 0.05, 0.0, 0.0], [0.05, 0.94, 0.01, 0.0], [0.0, 0.005, 0.955, 0.04], [0.0, 0.0, 0.04, 0.96]])
"""Reversible (a chain of neighbors always is): two pairs that rarely meet."""


def _walks(rng: np.random.Generator, walkers: int, frames: int) -> list[np.ndarray]:
    steps, x = np.cumsum(TRUE, axis=1), np.zeros((frames, walkers), np.int64)
    x[0] = rng.integers(4, size=walkers)
    for k, u in enumerate(rng.random((frames - 1, walkers))):
        x[k + 1] = np.minimum((steps[x[k]] < u[:, None]).sum(axis=1), 3)
    return list(x.T)


def test_the_matrix_of_a_chain_is_found_again() -> None:
    rng = np.random.default_rng(1)
    walks = _walks(rng, 24, 4000)
    found = markov_model(walks, 1, 5)  # state 4 is never visited
    assert found.matrix.shape == (4, 4)
    np.testing.assert_allclose(found.matrix, TRUE, atol=0.004)
    np.testing.assert_allclose(found.matrix * found.stationary[:, None], (found.matrix * found.stationary[:, None]).T)
    values = np.sort(np.linalg.eigvals(TRUE).real)[::-1]
    np.testing.assert_allclose(found.timescales, -1.0 / np.log(values[1:]), rtol=0.1)
    assert found.sets[0] == found.sets[1] != found.sets[2] == found.sets[3]
    assert (np.abs(found.populations[found.sets[[0, 2]]] - _shares()) < 4 * found.population_errors.max()).all()
    assert (np.diff(found.populations) <= 0).all()
    assert (found.population_errors < 0.05).all() and found.deviation < 4.0 and len(found.multiples) == 5


def _shares() -> np.ndarray:
    values, vectors = np.linalg.eig(TRUE.T)
    p = vectors[:, np.argmax(values.real)].real
    p = p / p.sum()
    return np.array([p[:2].sum(), p[2:].sum()])


def test_numbers_are_deeptimes() -> None:
    """Matrix, timescales, sets and passages, where deeptime is installed."""
    deeptime = pytest.importorskip("deeptime.markov", reason="deeptime is not installed")
    msm = pytest.importorskip("deeptime.markov.msm")
    labels = _walks(np.random.default_rng(), 8, 4000)
    found = markov_model(labels, 2, 4)
    counts = deeptime.TransitionCountEstimator(2, "sliding").fit_fetch([x.astype(np.int32) for x in labels])
    other = msm.MaximumLikelihoodMSM(reversible=True, maxerr=1e-12).fit_fetch(counts.submodel_largest())
    np.testing.assert_allclose(found.matrix, other.transition_matrix, atol=1e-6)
    np.testing.assert_allclose(found.timescales, other.timescales(3), rtol=1e-4)
    sets = deeptime.pcca(other.transition_matrix, 2, stationary_distribution=other.stationary_distribution).assignments
    assert len(set(zip(sets.tolist(), found.sets.tolist(), strict=True))) == 2
    first, second = (np.flatnonzero(found.sets == k) for k in (0, 1))
    assert found.passages[0, 1] == pytest.approx(other.mfpt(first, second), rel=1e-4)


def test_likelihood_is_greatest() -> None:
    """No reversible matrix near it is more likely."""
    rng = np.random.default_rng(2)
    counts = rng.integers(1, 50, (4, 4)).astype(float)
    matrix, stationary = reversible(counts)
    np.testing.assert_allclose(matrix.sum(axis=1), 1.0)
    np.testing.assert_allclose(stationary @ matrix, stationary, atol=1e-8)
    best = (counts * np.log(matrix)).sum()
    flow = matrix * stationary[:, None]
    for _ in range(50):
        other = flow * np.exp(1e-3 * rng.normal(size=(4, 4)))
        other = other + other.T
        assert (counts * np.log(other / other.sum(axis=1, keepdims=True))).sum() <= best + 1e-9


def test_counts_connections_and_passages() -> None:
    counts = count_matrix([np.array([0, 1, 1, 0]), np.array([2, 2])], 1, 3).sum(axis=0)
    np.testing.assert_array_equal(counts, [[0, 1, 0], [1, 1, 0], [0, 0, 1]])
    np.testing.assert_array_equal(largest_connected(counts), [0, 1])
    np.testing.assert_array_equal(count_matrix([np.array([0, 1])], 5, 2), np.zeros((1, 2, 2)))
    p = 0.02  # to leave state 0: the mean time is 1 / p
    matrix, member = np.array([[1 - p, p], [0.5, 0.5]]), np.eye(2)
    np.testing.assert_allclose(passage_times(matrix, np.array([0.5, p]) / (0.5 + p), member), [[0, 1 / p], [2, 0]])
    assert timescales(np.array([1.0, np.exp(-0.1), -0.2]), 3)[0] == pytest.approx(30.0)
    with pytest.raises(InputError, match="2 states are connected"):
        markov_model([np.array([0, 1, 0, 1, 0])], 1, 2)


def test_sets_are_those_that_rarely_mix() -> None:
    """Three blocks of random sizes."""
    rng = np.random.default_rng(3)
    of = np.repeat([0, 1, 2], rng.integers(2, 6, 3))
    flow = rng.random((len(of), len(of)))
    flow = (flow + flow.T) * np.where(of[:, None] == of, 1.0, 1e-3)
    stationary = flow.sum(axis=1) / flow.sum()
    found = metastable(spectrum(flow / flow.sum(axis=1, keepdims=True), stationary)[1], 3)
    assert len({(a, b) for a, b in zip(of, found, strict=True)}) == 3


def test_clusters() -> None:
    rng = np.random.default_rng(4)
    middles = np.array([[0.0, 0.0], [9.0, 0.0], [0.0, 9.0]])
    of = rng.integers(0, 3, 7000)
    found = clusters(middles[of] + rng.normal(size=(7000, 2)), 3)
    assert np.bincount(3 * of + found, minlength=9).astype(bool).sum() == 3
    assert len(np.unique(clusters(np.zeros((10, 2)), 4))) == 1
