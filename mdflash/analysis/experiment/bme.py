"""Weights of frames that agree with experiments and change as little as they must: Bayesian maximum entropy (BME).

The weights w minimize  m/2 chi²(w) + theta sum over frames of w ln(w / w0),  m data points, w0 the weights before:
Bottaro, Bengtsen & Lindorff-Larsen, Methods Mol. Biol. 2112, 219 (2020). They are
w ~ w0 exp(-sum_i lambda_i x_i), x_i = (calculated - measured) / error, and lambda minimizes the convex function
ln sum w0 exp(-lambda x) + theta/2 |lambda|², which is done by Newton's method. Scattering curves have a scale and a
background that nobody knows; both are fitted to the average and the weights found again, until neither changes: Pesce
& Lindorff-Larsen, Biophys. J. 120, 5124 (2021).

| symbol | here |
|---|---|
| theta | how much the prior is trusted; large leaves the weights alone |
| phi | `fraction`, exp(-sum w ln(w / w0)): the effective share of the frames |
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from mdflash.core.types import FloatArray

THETAS: Final = np.logspace(4.0, -2.0, 31)
"""Of a scan, times the number of data points."""
SEVERAL: Final = 60
"""Data points from which the space that the frames span is looked for first."""
SMALLEST: Final = 1e-9
"""Size of a direction, relative to the largest, in which frames are taken to differ."""
HALVINGS: Final = 5
"""Of the interval of theta in which chi² passes 1."""
ROUNDS: Final = 30
"""Fits of scale and background, at most."""
SETTLED: Final = 1e-5
"""Change of all weights from which on they are settled."""


@dataclass(frozen=True, eq=False)
class Points:
    """Data of one kind.

    Attributes:
        calculated: [F, M] of each frame; their average is compared.
        measured, errors: [M].
        fitted: whether a scale and a background are free.
    """

    calculated: FloatArray
    measured: FloatArray
    errors: FloatArray
    fitted: bool = False


@dataclass(frozen=True, eq=False)
class Fit:
    """An average against data: scale * average + offset, and chi² for each point."""

    scale: float
    offset: float
    average: FloatArray
    chi2: float


@dataclass(frozen=True, eq=False)
class Reweighting:
    """Weights at one theta.

    Attributes:
        theta: how much the prior is trusted.
        weights: [F], with sum 1.
        fits: of each kind of data.
        chi2: over all points, for each.
        fraction: the effective share of the frames, 0 to 1.
    """

    theta: float
    weights: FloatArray
    fits: tuple[Fit, ...]
    chi2: float
    fraction: float


def fit(points: Points, weights: FloatArray) -> Fit:
    """The weighted average against the data; where they are free, with the best scale and background."""
    mean = weights @ points.calculated
    scale, offset = 1.0, 0.0
    if points.fitted:
        w = 1.0 / points.errors
        table = np.stack([mean * w, w], axis=1)
        scale, offset = (float(v) for v in np.linalg.lstsq(table, points.measured * w, rcond=None)[0])
    average = scale * mean + offset
    return Fit(scale, offset, average, float((((average - points.measured) / points.errors) ** 2).mean()))


def bme(data: Sequence[Points], theta: float, prior: FloatArray | None = None) -> Reweighting:
    """The weights at one theta.

    Args:
        data: kinds of data, with the same frames.
        theta: more than 0.
        prior: [F] weights before, with sum 1; default: all alike.
    """
    return scan_theta(data, prior, np.array([theta]))[0]


def scan_theta(
    data: Sequence[Points], prior: FloatArray | None = None, thetas: FloatArray | None = None
) -> tuple[Reweighting, ...]:
    """Weights from a large theta to a small one; default: `THETAS` times the number of data points."""
    frames = len(data[0].calculated)
    w0 = np.full(frames, 1.0 / frames) if prior is None else prior
    spaces = [_space(p) for p in data]
    every = THETAS * sum(len(p.measured) for p in data) if thetas is None else thetas
    weights, multipliers, found = w0, np.zeros(sum(len(s.measured) for s in spaces)), []
    for theta in every.tolist():
        for _ in range(ROUNDS if any(p.fitted for p in data) else 1):
            fits = [fit(p, weights) for p in data]
            x = [f.scale * s.frames + f.offset * s.one - s.measured for f, s in zip(fits, spaces, strict=True)]
            new, multipliers = _solve(np.concatenate(x, axis=1), np.log(w0), theta, multipliers)
            change = float(np.abs(new - weights).sum())
            weights = new
            if change < SETTLED:
                break
        found.append(_result(data, theta, weights, w0))
    return tuple(found)


def chosen_theta(data: Sequence[Points], prior: FloatArray | None = None) -> tuple[tuple[Reweighting, ...], int]:
    """A scan and which of it to use, with theta between two of the scan where chi² passes 1 there."""
    found = scan_theta(data, prior)
    k = choose_theta(found)
    if k == 0 or found[k].chi2 > 1.0:
        return found, k
    best, high, low = found[k], np.log(found[k - 1].theta), np.log(found[k].theta)
    for _ in range(HALVINGS):
        middle = bme(data, float(np.exp(0.5 * (high + low))), prior)
        if middle.chi2 > 1.0:
            high = np.log(middle.theta)
        else:
            best, low = middle, np.log(middle.theta)
    return (found if best is found[k] else (*found[:k], best, *found[k:])), k


def _result(data: Sequence[Points], theta: float, weights: FloatArray, prior: FloatArray) -> Reweighting:
    fits = tuple(fit(p, weights) for p in data)
    chi2 = float(np.average([f.chi2 for f in fits], weights=[len(p.measured) for p in data]))
    used = weights > 0
    entropy = float((weights[used] * np.log(weights[used] / prior[used])).sum())
    return Reweighting(theta, weights, fits, chi2, float(np.exp(-entropy)))


class _Space(NamedTuple):
    """Data in units of its errors: each frame [F, K], one [K], and what was measured [K]."""

    frames: FloatArray
    one: FloatArray
    measured: FloatArray


def _space(p: Points) -> _Space:
    """A kind of data in the space where its multipliers lie: that of its frames, which for smooth curves is small."""
    x, one, measured = p.calculated / p.errors, 1.0 / p.errors, p.measured / p.errors
    if len(measured) <= SEVERAL:
        return _Space(x, one, measured)
    _, sizes, rows = np.linalg.svd(x, full_matrices=False)
    rows = rows[sizes > SMALLEST * sizes[0]]
    basis, _ = np.linalg.qr(np.concatenate([rows, one[None], measured[None]]).T)
    return _Space(x @ basis, one @ basis, measured @ basis)


def choose_theta(found: Sequence[Reweighting]) -> int:
    """Which of a scan to use: the largest theta with chi² at most 1, so that nothing is fitted beyond the errors.

    Where none reaches 1, the elbow of chi² over the effective fraction: the point farthest from the straight line
    between the two ends (Satopää et al., ICDCSW 2011).
    """
    within = [k for k, r in enumerate(found) if r.chi2 <= 1.0]
    if within:
        return within[0]
    chi2 = np.array([r.chi2 for r in found])
    phi = np.array([r.fraction for r in found])
    if np.ptp(chi2) == 0 or np.ptp(phi) == 0:
        return 0
    x, y = (phi[0] - phi) / np.ptp(phi), (chi2[0] - chi2) / np.ptp(chi2)
    return int(np.argmax(y - x))


def _solve(x: FloatArray, log_prior: FloatArray, theta: float, start: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Weights [F] and multipliers [M] from deviations x [F, M] in units of the errors."""

    def value(m: FloatArray) -> tuple[float, FloatArray]:
        e = log_prior - x @ m
        top = float(e.max())
        w = np.exp(e - top)
        total = float(w.sum())
        return top + np.log(total) + 0.5 * theta * float(m @ m), w / total

    mu, (now, w) = start, value(start)
    for _ in range(200):
        mean = w @ x
        gradient = theta * mu - mean
        hessian = (x * w[:, None]).T @ x - np.outer(mean, mean) + theta * np.eye(len(mu))
        step = -np.linalg.solve(hessian, gradient)
        slope = float(gradient @ step)
        size = 1.0
        new, other = value(mu + step)
        while new > now + 1e-4 * size * slope and size > 1e-10:
            size *= 0.5
            new, other = value(mu + size * step)
        mu, now, w = mu + size * step, new, other
        if -slope < 1e-12 * max(1.0, abs(now)):
            break
    return w, mu
