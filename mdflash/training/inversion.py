"""Boltzmann inversion: from samples q of an internal coordinate to the parameters of a prior u(q).

At temperature T the density of a coordinate that feels only u is p(q) = J(q) exp(-u(q) / kT) / Z, where J counts how
much room there is at q:

| coordinate       | J(q)       |
|------------------|------------|
| distance r       | r^2        |
| angle theta      | sin(theta) |
| torsion phi      | 1          |

Harmonic terms follow from the mean and variance of the samples with weights 1 / J, which is exact where the density is
of that form; the others from a least-squares fit of -kT ln(p / J). Coordinates are not independent, so a prior is a
start that holds where there is no data, not a potential of mean force: the network learns the rest.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.optimize import lsq_linear

from mdflash.core.types import FloatArray

Parameters = dict[str, float | FloatArray]

BINS = 72
NARROW = 0.95
"""Mean resultant length |<exp(i phi)>| above which a torsion has a single well."""
FLOOR: Final = 0.03
"""Least weight of a bin, beside 1 for the fullest: where there are no samples the fit has to stay bounded, no more."""
STEEPEST: Final = 5000.0
"""kcal/mol per unit squared; a coordinate that hardly moves gets no stiffer term."""


@dataclass(frozen=True, eq=False)
class Curve:
    """What a fit saw, for its picture: -kT ln(p / J) at the middles of bins that have samples, lowest value 0."""

    q: FloatArray
    energy: FloatArray


def free_energy(q: FloatArray, jacobian: FloatArray, kT: float, span: tuple[float, float]) -> tuple[FloatArray, Curve]:
    """Weights [samples] of a histogram with 1 / J, as counts per bin, and the free energy where there are any.

    Args:
        q: [samples].
        jacobian: [samples] J(q).
        kT: kcal/mol.
        span: range of the histogram.
    """
    counts, edges = np.histogram(q, BINS, span, weights=jacobian.mean() / jacobian)
    middles = 0.5 * (edges[1:] + edges[:-1])
    some = counts > 0
    energy = -kT * np.log(counts[some] / counts.max())
    return counts, Curve(middles[some], energy)


def harmonic(q: FloatArray, jacobian: FloatArray, kT: float) -> Parameters:
    """k (q - x0)^2 from the mean and variance of the samples with weights 1 / J."""
    weights = 1.0 / jacobian
    mean = np.average(q, weights=weights)
    variance = np.average((q - mean) ** 2, weights=weights)
    return {"k": float(min(0.5 * kT / max(variance, 1e-12), STEEPEST)), "x0": float(mean)}


def restricted_quartic(theta: FloatArray, kT: float) -> Parameters:
    """a c^4 + b c^3 + c c^2 + d c + k / sin^2 + v0 with c = cos(theta), k >= 0.01 kT.

    Where there are no samples the fit may be anything above the highest free energy that was seen: bins in which it
    is lower are drawn up to there, until none is.
    """
    counts, curve = free_energy(theta, np.sin(theta), kT, (0.0, np.pi))
    edges = np.linspace(0.0, np.pi, BINS + 1)
    q = 0.5 * (edges[1:] + edges[:-1])
    c = np.cos(q)
    columns = np.stack([c**4, c**3, c**2, c, 1.0 / np.sin(q) ** 2, np.ones_like(c)], axis=1)
    lower = np.array([-np.inf] * 4 + [0.01 * kT, -np.inf])
    target = np.full(BINS, curve.energy.max() + kT)
    target[counts > 0] = curve.energy
    weights = np.sqrt(counts / counts.max())
    for _ in range(BINS):
        solution = lsq_linear(columns * weights[:, None], target * weights, (lower, np.inf)).x
        low = (counts == 0) & (columns @ solution < target - 0.5 * kT)
        if not low.any():
            break
        weights[low] += FLOOR
    return dict(zip(("a", "b", "c", "d", "k", "v0"), map(float, solution), strict=True))


def fourier(phi: FloatArray, kT: float, degree: int) -> Parameters:
    """v0 + sum_n k1_n sin(n phi) + k2_n cos(n phi).

    A torsion with a single narrow well gets one term, kappa kT [1 - cos(phi - phi0)], with the kappa of the von Mises
    distribution; a series of low degree cannot follow such a well.
    """
    mean = np.exp(1j * phi).mean()
    if abs(mean) > NARROW:
        r = min(float(abs(mean)), 1.0 - 1e-6)
        kappa = min(1.0 / (r**3 - 4.0 * r**2 + 3.0 * r), STEEPEST / kT)  # within 1 % for r > 0.85
        k = kappa * kT
        direction = mean / abs(mean)
        k1, k2 = np.zeros(degree), np.zeros(degree)
        k1[0], k2[0] = -k * direction.imag, -k * direction.real
        return {"v0": float(k), "k1": k1, "k2": k2}
    counts, curve = free_energy(phi, np.ones_like(phi), kT, (-np.pi, np.pi))
    edges = np.linspace(-np.pi, np.pi, BINS + 1)
    q = 0.5 * (edges[1:] + edges[:-1])
    target = np.full(BINS, curve.energy.max() + kT)
    target[counts > 0] = curve.energy
    weights = np.maximum(np.sqrt(counts / counts.max()), FLOOR)
    n = np.arange(1, degree + 1)
    columns = np.concatenate([np.ones((BINS, 1)), np.sin(q[:, None] * n), np.cos(q[:, None] * n)], axis=1)
    solution = np.linalg.lstsq(columns * weights[:, None], target * weights, rcond=None)[0]
    return {"v0": float(solution[0]), "k1": solution[1 : degree + 1], "k2": solution[degree + 1 :]}
