"""A ladder of temperatures reweighted by MBAR (see `core.mbar`): curves over temperature with bootstrap errors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mdflash.analysis.statistics import Mean, resample
from mdflash.core.mbar import log_mixture, mbar, overlap_matrix, weights
from mdflash.core.types import FloatArray, IntArray
from mdflash.units import BOLTZMANN

RESAMPLES = 50
"""Bootstrap samples of an error."""
TEMPERATURES = 76
"""Of a curve."""


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
