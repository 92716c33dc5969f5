"""Boltzmann inversion, on samples drawn from known potentials."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mdflash.potentials.forms import FORMS
from mdflash.training.inversion import fourier, harmonic, restricted_quartic

KT = 0.6


def _draw(u: np.ndarray, q: np.ndarray, jacobian: np.ndarray, n: int, seed: int) -> np.ndarray:
    p = jacobian * np.exp(-u / KT)
    return np.random.default_rng(seed).choice(q, n, p=p / p.sum())


def _curve(form: str, parameters: dict[str, object], q: np.ndarray) -> np.ndarray:
    tensors = {k: torch.as_tensor(v, dtype=torch.float64) for k, v in parameters.items()}
    return FORMS[form].energy(torch.from_numpy(q), **tensors).numpy()


def test_a_spring_comes_back_whatever_the_room_at_q() -> None:
    r = np.linspace(0.5, 6.0, 20001)
    found = harmonic(r_samples := _draw(8.0 * (r - 1.9) ** 2, r, r**2, 400_000, 1), r_samples**2, KT)
    assert found["k"] == pytest.approx(8.0, rel=0.01)
    assert found["x0"] == pytest.approx(1.9, abs=0.002)
    # without the Jacobian the minimum would be off by kT / (k r), 0.04 Å
    assert abs(np.mean(r_samples) - 1.9) > 0.02


def test_angles_near_straight_keep_their_minimum() -> None:
    theta = np.linspace(0.01, np.pi - 0.01, 20001)
    samples = _draw(30.0 * (theta - 2.7) ** 2, theta, np.sin(theta), 400_000, 2)
    found = harmonic(samples, np.sin(samples), KT)
    assert found["k"] == pytest.approx(30.0, rel=0.02)
    assert found["x0"] == pytest.approx(2.7, abs=0.01)


def test_restricted_quartic_follows_two_wells_and_stays_bounded() -> None:
    theta = np.linspace(0.3, np.pi - 0.05, 20001)
    u = np.minimum(40.0 * (theta - 1.6) ** 2, 25.0 * (theta - 2.2) ** 2 + 0.3)
    found = restricted_quartic(_draw(u, theta, np.sin(theta), 300_000, 3), KT)
    populated = theta[u < 2.0]
    fitted = _curve("restricted_quartic_angle", found, populated)
    difference = fitted - u[u < 2.0]
    assert (difference - difference.mean()).std() < 0.35
    everywhere = _curve("restricted_quartic_angle", found, np.linspace(0.02, np.pi - 0.02, 500))
    assert everywhere.min() > fitted.min() - 0.1  # no well where there is no data
    assert found["k"] > 0


def test_fourier_series_follows_a_torsion() -> None:
    phi = np.linspace(-np.pi, np.pi, 20001)[:-1]
    u = 0.8 * np.cos(phi - 0.4) + 0.6 * np.sin(2 * phi) - 0.3 * np.cos(3 * phi + 1.0)
    found = fourier(_draw(u, phi, np.ones_like(phi), 400_000, 4), KT, 3)
    difference = _curve("fourier_dihedral", found, phi) - u
    assert np.ptp(difference) < 0.15


@pytest.mark.parametrize("center", [0.6, np.pi - 0.01])
def test_a_single_narrow_well_becomes_one_cosine(center: float) -> None:
    phi = np.linspace(-np.pi, np.pi, 20001)[:-1]
    samples = _draw(30.0 * (1.0 - np.cos(phi - center)), phi, np.ones_like(phi), 200_000, 5)
    found = fourier(samples, KT, 3)
    assert np.hypot(found["k1"][0], found["k2"][0]) == pytest.approx(30.0, rel=0.03)
    assert not np.any(found["k1"][1:]) and not np.any(found["k2"][1:])
    curve = _curve("fourier_dihedral", found, phi)
    assert abs(np.angle(np.exp(1j * (phi[curve.argmin()] - center)))) < 0.01
