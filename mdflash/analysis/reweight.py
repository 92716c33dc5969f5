"""Averages and free energies at any state from samples of all of them: MBAR.

Shirts & Chodera, J. Chem. Phys. 129, 124105 (2008). K states, N samples; `reduced` [K, N] is the reduced energy of
every state at every sample (no unit). pymbar computes the same free energies (tests compare). This solver is Newton's
method on the convex function of f alone, so that a bootstrap can solve it a hundred times in seconds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mdflash.analysis.statistics import Mean, resample
from mdflash.core.types import FloatArray, IntArray
from mdflash.units import BOLTZMANN

RESAMPLES = 50
"""Bootstrap samples of an error."""
TEMPERATURES = 76
"""Of a curve."""


def _log_sum(x: FloatArray, axis: int) -> FloatArray:
    top = x.max(axis=axis, keepdims=True)
    top = np.where(np.isfinite(top), top, 0.0)
    return np.asarray(np.log(np.exp(x - top).sum(axis=axis)) + np.squeeze(top, axis))


def log_mixture(reduced: FloatArray, counts: FloatArray, free: FloatArray) -> FloatArray:
    """[N] log of sum over k of N_k exp(f_k - u_k), the denominator of every MBAR weight."""
    used = counts > 0
    return _log_sum(np.log(counts[used])[:, None] + free[used][:, None] - reduced[used], axis=0)


def mbar(
    reduced: FloatArray, counts: FloatArray, guess: FloatArray | None = None, times: FloatArray | None = None
) -> FloatArray:
    """[K] free energies in kT, the first 0.

    Args:
        reduced: [K, N].
        counts: [K] samples of each state; may be 0 for some.
        guess: [K] to start from.
        times: [N] how often each sample counts (a bootstrap); `counts` then counts by it too.
    """
    k = len(counts)
    free = np.zeros(k) if guess is None else guess - guess[0]
    used = np.flatnonzero(counts > 0)
    u, n, f = reduced[used], counts[used], free[used].copy()
    c = np.ones(u.shape[1]) if times is None else times
    log_n = np.log(n)[:, None]

    def value(x: FloatArray) -> float:
        return float(c @ _log_sum(log_n + x[:, None] - u, axis=0) - n @ x)

    now = value(f)
    for _ in range(500):
        log_d = _log_sum(log_n + f[:, None] - u, axis=0)
        w = np.exp(log_n + f[:, None] - u - log_d)  # [K, N] the share of each state in each sample
        total = (w * c).sum(axis=1)
        gradient = total - n
        if np.abs(gradient).max() < 1e-9 * n.sum():
            break
        hessian = np.diag(total) - (w * c) @ w.T
        step = -np.linalg.lstsq(hessian, gradient, rcond=1e-14)[0]
        step -= step[0]
        size = 1.0
        while size > 1e-3 and not (new := value(f + size * step)) <= now + 1e-12 * abs(now):
            size *= 0.5
        if size <= 1e-3:  # poor overlap: a step of the self-consistent iteration always goes down
            step = -_log_sum(np.log(np.maximum(c, 1e-300)) - u - log_d, axis=1) - f
            step, size = step - step[0], 1.0
            new = value(f + step)
        f = f + size * step
        if np.abs(size * step).max() < 1e-11:
            break
        now = new
    free[used] = f
    empty = np.flatnonzero(counts <= 0)
    if len(empty):
        log_d = log_mixture(reduced, counts, free)
        free[empty] = -_log_sum(np.log(np.maximum(c, 1e-300)) - reduced[empty] - log_d, axis=1)
    return np.asarray(free - free[0])


def weights(target: FloatArray, mixture: FloatArray, times: FloatArray | None = None) -> FloatArray:
    """[N] normalized weights of the samples at a state with reduced energies `target` [N]."""
    log_w = -target - mixture
    w = np.exp(log_w - log_w.max())
    if times is not None:
        w = w * times
    return np.asarray(w / w.sum())


def overlap_matrix(reduced: FloatArray, counts: FloatArray, free: FloatArray) -> FloatArray:
    """[K, K] the chance that a sample of state i could be one of state j: Klimovich, Shirts & Mobley (2015).

    J. Comput.-Aided Mol. Des. 29, 397. Neighbors below 0.03 do not overlap enough.
    """
    w = np.exp(free[:, None] - reduced - log_mixture(reduced, counts, free))
    return np.asarray(counts * (w @ w.T))


@dataclass(frozen=True, eq=False)
class Curve:
    """A quantity over temperature: values and standard errors [T]."""

    values: FloatArray
    errors: FloatArray


@dataclass(frozen=True, eq=False)
class Melting:
    """What a ladder of temperatures says.

    Attributes:
        temperatures: [T] K, of the curves.
        heat_capacity: of the potential energy, kcal/mol/K.
        peak: K, where it is highest.
        folded: fraction of folded frames, or None.
        quantities: means by observable.
        melting: K, where half of the frames are folded, or None where they never are.
        free: [K] kT, of the states.
        overlap: [K, K].
        samples: frames used.
        stride: every how many.
    """

    temperatures: FloatArray
    heat_capacity: Curve
    peak: Mean
    folded: Curve | None
    quantities: dict[str, Curve]
    melting: Mean | None
    free: FloatArray
    overlap: FloatArray
    samples: int
    stride: int


def melting(
    energy: FloatArray,
    states: IntArray,
    kelvin: FloatArray,
    blocks: IntArray,
    quantities: dict[str, FloatArray],
    folded: FloatArray | None = None,
    strata: IntArray | None = None,
    stride: int = 1,
) -> Melting:
    """Heat capacity, means and melting temperature over the range of a ladder, with bootstrap errors over blocks.

    Args:
        energy: [N] potential energies, kcal/mol.
        states: [N] the state of each sample.
        kelvin: [K] temperatures of the states.
        blocks: [N] the independent block of each sample, from 0, such as its replica.
        quantities: [N] of each observable.
        folded: [N] 1 where folded, else 0.
        strata: [blocks] of the bootstrap, see `resample`.
        stride: every how many frames the samples are; is passed on.
    """
    grid = np.linspace(np.nanmin(kelvin), np.nanmax(kelvin), TEMPERATURES)
    beta = 1.0 / (BOLTZMANN * kelvin)
    energy0 = energy - energy.mean()
    reduced = beta[:, None] * energy0
    counts = np.bincount(states, minlength=len(kelvin)).astype(np.float64)
    free = mbar(reduced, counts)
    columns = [*quantities.values(), *([] if folded is None else [folded])]
    table = np.stack([energy0, energy0**2, *columns], axis=1)  # [N, 2 + quantities]

    def curves(times: FloatArray | None, f: FloatArray, n: FloatArray) -> FloatArray:
        mixture = log_mixture(reduced, n, f)
        return np.array([weights(energy0 / (BOLTZMANN * t), mixture, times) @ table for t in grid])

    def heat(means: FloatArray) -> FloatArray:
        return np.asarray((means[:, 1] - means[:, 0] ** 2) / (BOLTZMANN * grid**2))

    means = curves(None, free, counts)
    several = int(blocks.max(initial=0)) + 1
    drawn = []
    for often in resample(several, RESAMPLES, strata) if several > 1 else []:
        times = often[blocks].astype(np.float64)
        n = np.bincount(states, weights=times, minlength=len(kelvin)).astype(np.float64)
        drawn.append(curves(times, mbar(reduced, n, free, times), n))
    spread = np.array(drawn) if drawn else np.full((2, *means.shape), np.nan)

    def curve(k: int) -> Curve:
        return Curve(means[:, 2 + k], spread[:, :, 2 + k].std(axis=0, ddof=1))

    cv, cvs = heat(means), np.array([heat(m) for m in spread])
    peaks = np.array([_peak(grid, c) for c in cvs])
    tm = None
    if folded is not None and (value := crossing(grid, means[:, -1])) is not None:
        others = [crossing(grid, m[:, -1]) for m in spread] if drawn else []
        known = np.array([x for x in others if x is not None])
        tm = Mean(value, float(known.std(ddof=1)) if len(known) > 0.9 * RESAMPLES else np.nan)
    return Melting(
        grid,
        Curve(cv, cvs.std(axis=0, ddof=1)),
        Mean(_peak(grid, cv), float(peaks.std(ddof=1))),
        None if folded is None else curve(len(columns) - 1),
        {name: curve(k) for k, name in enumerate(quantities)},
        tm,
        free,
        overlap_matrix(reduced, counts, free),
        len(energy),
        stride,
    )


def _peak(grid: FloatArray, values: FloatArray) -> float:
    """Where it is highest, between the points by a parabola through three."""
    if not np.isfinite(values).all():
        return float("nan")
    k = int(np.argmax(values))
    if k in (0, len(grid) - 1):
        return float(grid[k])
    a, b, c = values[k - 1 : k + 2]
    bend = a - 2.0 * b + c
    return float(grid[k] + (0.5 * (a - c) / bend if bend < 0 else 0.0) * (grid[1] - grid[0]))


def crossing(grid: FloatArray, folded: FloatArray) -> float | None:
    """Where `folded` falls through one half, by interpolation; None if it does not."""
    below = np.flatnonzero((folded[:-1] >= 0.5) & (folded[1:] < 0.5))
    if not len(below):
        return None
    k = int(below[0])
    share = (folded[k] - 0.5) / (folded[k] - folded[k + 1])
    return float(grid[k] + share * (grid[k + 1] - grid[k]))
