"""Free energies over one or two variables, from histograms of weighted frames.

F = -kT ln p + constant, p the probability of a bin; the lowest bin is 0. There is no Jacobian: F over a distance holds
what the volume at that distance adds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mdflash.analysis.statistics import resample
from mdflash.core.types import FloatArray, IntArray
from mdflash.units import kT

BINS, BINS_2D = 50, 40
RESAMPLES = 50


@dataclass(frozen=True, eq=False)
class Surface:
    """A free energy.

    Attributes:
        names: the one or two variables.
        edges: of the bins of each.
        energy: [bins] or [bins, bins] kcal/mol; NaN where there was no frame.
        errors: of the same shape, standard errors.
        kelvin: temperature.
    """

    names: tuple[str, ...]
    edges: tuple[FloatArray, ...]
    energy: FloatArray
    errors: FloatArray
    kelvin: float


def bin_edges(values: FloatArray, bins: int, span: tuple[float, float] | None = None) -> FloatArray:
    """[bins + 1] over the values; of few distinct ones (a fraction of ten contacts), one bin for each."""
    distinct = np.unique(np.round(values, 9))
    if 1 < len(distinct) <= bins:
        gap = float(np.diff(distinct).min())
        n = round((distinct[-1] - distinct[0]) / gap)
        if n < 2 * bins:
            return np.asarray(distinct[0] + gap * (np.arange(n + 2) - 0.5))
    low, high = span or (float(values.min()), float(values.max()))
    if span is None:
        low, high = (float(x) for x in np.quantile(values, [5e-5, 1.0 - 5e-5]))
    margin = 1e-6 + 1e-3 * (high - low)
    return np.linspace(low - margin, high + margin, bins + 1)


def bins_for(values: FloatArray, most: int, span: tuple[float, float] | None = None) -> int:
    """Rice's rule, 2 n^(1/3) bins over the values, so that a histogram of few frames does not fall into pieces.

    At least 8 and at most `most`; an axis `span` that is wider than the values has more bins in proportion.
    """
    bins = max(8.0, 2.0 * float(np.cbrt(len(values))))
    low, high = np.quantile(values, [0.01, 0.99]).tolist()
    if span is not None:
        bins *= (span[1] - span[0]) / max(high - low, 1e-9)
    return round(min(bins, float(most)))


def surface(
    names: Sequence[str],
    values: Sequence[FloatArray],
    kelvin: float,
    weight: FloatArray | None = None,
    blocks: IntArray | None = None,
    spans: Sequence[tuple[float, float] | None] = (),
    most: int | None = None,
    given: Sequence[FloatArray] | None = None,
) -> Surface:
    """The free energy over one or two variables.

    Args:
        names: of the variables.
        values: [N] of each.
        kelvin: temperature of the ensemble.
        weight: [N] of the frames; default: all alike.
        blocks: [N] the independent block of each frame, for bootstrap errors.
        spans: of each axis, or None.
        most: bins of each axis; default: as many as the frames fill.
        given: edges of the bins of each axis, in place of `spans` and `most`.
    """
    limits = list(spans) or [None] * len(values)
    many = BINS if len(values) == 1 else BINS_2D
    edges = tuple(given or ()) or tuple(
        bin_edges(v, most or bins_for(v, many, span), span) for v, span in zip(values, limits, strict=True)
    )
    shape = tuple(len(e) - 1 for e in edges)
    places = [np.searchsorted(e, v, "right") - 1 for e, v in zip(edges, values, strict=True)]
    inside = np.all([(p >= 0) & (p < n) for p, n in zip(places, shape, strict=True)], axis=0)
    flat = np.ravel_multi_index(tuple(p[inside] for p in places), shape)
    w = np.full(len(flat), 1.0 / max(len(flat), 1)) if weight is None else weight[inside]
    size = int(np.prod(shape))
    total = np.bincount(flat, weights=w, minlength=size).astype(np.float64)
    energy = _energy(total, kelvin)
    errors = np.full(size, np.nan)
    if blocks is not None:
        _, at = np.unique(blocks[inside], return_inverse=True)
        b = int(at.max(initial=-1)) + 1
        if b > 1:
            each = np.bincount(at * size + flat, weights=w, minlength=b * size).reshape(b, size)
            drawn = np.array([_energy(often @ each, kelvin) for often in resample(b, RESAMPLES)])
            seen = np.isfinite(drawn).mean(axis=0) > 0.8
            with np.errstate(invalid="ignore"):
                errors[seen] = np.nanstd(drawn[:, seen], axis=0, ddof=1)
    return Surface(tuple(names), edges, energy.reshape(shape), errors.reshape(shape), kelvin)


def _energy(p: FloatArray, kelvin: float) -> FloatArray:
    """kcal/mol from weights of bins; NaN for empty ones."""
    f = np.full(len(p), np.nan)
    some = p > 0
    f[some] = -kT(kelvin) * np.log(p[some])
    return np.asarray(f - np.nanmin(f)) if some.any() else f
