"""MBAR, melting and free energies, against pymbar and against a double well whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from pymbar import MBAR
from scipy.special import ndtri

from mdflash.analysis.free_energy import surface
from mdflash.analysis.ladder import round_trips, second_eigenvalue, walk
from mdflash.analysis.reweight import crossing, melting
from mdflash.core.mbar import log_mixture, mbar, overlap_matrix, weights
from mdflash.units import BOLTZMANN, kT
from tests.helpers import evenly


def harmonic_states(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Reduced energies [K, N] of samples of harmonic oscillators, and their counts; one state has none."""
    centers, k, counts = np.array([0.0, 1.0, 2.5, 3.0]), np.array([1.0, 2.0, 4.0, 1.5]), np.array([300, 200, 0, 400])
    x = np.concatenate([c + ndtri(evenly(n, rng)) / np.sqrt(s) for c, s, n in zip(centers, k, counts, strict=True)])
    return 0.5 * k[:, None] * (x - centers[:, None]) ** 2, counts.astype(float)


def test_free_energies_are_pymbars() -> None:
    reduced, counts = harmonic_states(np.random.default_rng())
    theirs = MBAR(reduced, counts.astype(int))
    ours = mbar(reduced, counts)
    np.testing.assert_allclose(ours, theirs.f_k, atol=1e-7)
    np.testing.assert_allclose(overlap_matrix(reduced, counts, ours), theirs.compute_overlap()["matrix"], atol=1e-6)
    exact = 0.5 * np.log(np.array([1.0, 2.0, 4.0, 1.5]))
    np.testing.assert_allclose(ours, exact - exact[0], atol=0.1)


def test_windows_far_apart_end_too() -> None:
    rng = np.random.default_rng()
    centers = np.array([0.0, 9.0, 18.0])
    x = np.concatenate([rng.normal(c, 1.0, 200) for c in centers])
    free = mbar(0.5 * (x - centers[:, None]) ** 2, np.full(3, 200.0))
    assert np.isfinite(free).all()


def test_double_well_by_windows() -> None:
    """A free energy along x from windows, within its error of U(x), and the same as pymbar's."""
    rng, kelvin = np.random.default_rng(), 300.0
    beta = 1 / kT(kelvin)
    centers, k = np.linspace(-1.6, 1.6, 13), 30.0

    def energy(x: np.ndarray) -> np.ndarray:
        return 4.0 * (x**2 - 1.0) ** 2 + 0.5 * x

    grid, frames = np.linspace(-2.2, 2.2, 4001), 800
    draws = []
    for c in centers:
        p = np.exp(-beta * (energy(grid) + 0.5 * k * (grid - c) ** 2))
        draws.append(np.interp(evenly(frames, rng), np.cumsum(p) / p.sum(), grid))
    x = np.concatenate(draws)
    reduced = beta * 0.5 * k * (x - centers[:, None]) ** 2
    counts = np.full(len(centers), float(frames))
    free = mbar(reduced, counts)
    np.testing.assert_allclose(free, MBAR(reduced, counts.astype(int)).f_k, atol=1e-6)
    w = weights(np.zeros(len(x)), log_mixture(reduced, counts, free))
    blocks = np.tile(np.arange(20), len(x) // 20)
    found = surface(("x",), (x,), kelvin, w, blocks, [(-1.5, 1.5)])
    middle = 0.5 * (found.edges[0][1:] + found.edges[0][:-1])
    inside = np.abs(middle) < 1.4
    exact = energy(middle)
    difference = (found.energy - exact)[inside]
    difference -= difference.mean()
    assert np.abs(difference).max() < 0.2
    assert np.sqrt((difference**2).mean()) < 0.05
    assert (found.errors[inside] < 0.3).all()


def test_melting_of_two_states() -> None:
    """Two levels with degeneracies: the folded fraction crosses one half at gap / (kB ln g)."""
    rng = np.random.default_rng()
    gap, g = 8.0, 1e5
    exact = gap / (BOLTZMANN * np.log(g))
    kelvin = exact * np.linspace(0.9, 1.1, 7)
    states = np.repeat(np.arange(7), 400)
    unfolded = 1 / (1 + np.exp(gap / (BOLTZMANN * kelvin[states])) / g)
    up = np.concatenate([evenly(400, rng) for _ in range(7)]) < unfolded
    energy = gap * up + rng.normal(0, 1e-3, len(states))
    blocks = np.tile(np.arange(16), len(states) // 16 + 1)[: len(states)]
    found = melting(energy, states, kelvin, blocks, {"up": up.astype(float)}, (~up).astype(float))
    assert found.melting is not None and 0 < found.melting.error < 3.0
    assert abs(found.melting.value - exact) < 0.3  # one frame of a state is 0.3 K there
    p = 1 / (1 + np.exp(gap / (BOLTZMANN * found.temperatures)) / g)
    heat = gap**2 * p * (1 - p) / (BOLTZMANN * found.temperatures**2)
    np.testing.assert_allclose(found.heat_capacity.values, heat, rtol=0.02)
    assert abs(found.peak.value - found.temperatures[heat.argmax()]) < 4.0
    np.testing.assert_allclose(found.quantities["up"].values + found.folded.values, 1.0, atol=1e-9)  # type: ignore[union-attr]
    assert crossing(np.array([1.0, 2.0]), np.array([0.9, 0.8])) is None


def test_walks() -> None:
    up_and_down = np.array([0, 1, 2, 1, 0, 1, 2, 2, 1, 0])
    stays = np.zeros(10, int) + 1
    assert round_trips(np.stack([up_and_down, stays], axis=1), 3).tolist() == [2, 0]
    frozen = walk(np.arange(5), np.tile([0, 1, 2], (5, 1)), 3)
    assert frozen.eigenvalue == 1.0 and frozen.mixing_attempts == float("inf") and frozen.round_trips.sum() == 0
    rng = np.random.default_rng()
    mixed = np.array([rng.permutation(4) for _ in range(4000)])
    found = walk(np.arange(4000), mixed, 4)
    assert found.eigenvalue < 0.1 and np.abs(found.transition - 0.25).max() < 0.05
    assert second_eigenvalue(np.array([[0.9, 0.1], [0.1, 0.9]])) == pytest.approx(0.8)
