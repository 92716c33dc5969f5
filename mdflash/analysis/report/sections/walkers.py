"""Rates and populations of a weighted ensemble."""

from __future__ import annotations

import numpy as np

from mdflash.analysis.report.figure import Figure, Line, Plot
from mdflash.analysis.report.sections.series import COLUMNS
from mdflash.analysis.result import MoleculeAnalysis
from mdflash.analysis.walkers import Walked, interval_text
from mdflash.core.types import FloatArray
from mdflash.units import kT


def walkers(m: MoleculeAnalysis) -> list[Figure]:
    """Flux over time, where the weight is, lineages, and of how many walkers the last ones are copies."""
    w = m.walked
    if not isinstance(w, Walked):
        return []
    unit, size = ("ns", 1e3) if w.times[-1] >= 2e3 else ("ps", 1.0)
    begun = [(float(w.times[w.first]) / size, "used from here")]
    found: list[Figure] = [] if w.rate is None else [_flux(w, unit, size, begun)]
    middle = 0.5 * (w.edges[1:] + w.edges[:-1])
    found.append(_population(w, middle))
    found.append(
        Plot(
            "walkers-lineages",
            f"Where {len(w.lineages)} walkers came from" + (" that reached the target" if w.target is not None else ""),
            "Paths that share little: those that run together have one ancestor, and are one event.",
            f"time / {unit}", w.variable,
            [Line("", times / size, values, color=k) for k, (times, values) in enumerate(w.lineages)],
        )
    )  # fmt: skip
    at = np.unique(np.linspace(0, len(w.times) - 1, min(COLUMNS, len(w.times))).round().astype(np.int64))
    found.append(
        Plot(
            "walkers-ancestors", f"Of how many walkers the last {w.walkers} are copies",
            "One only long before the end: the run has forgotten how it began.", f"time / {unit}", "walkers",
            [Line("", w.times[at] / size, w.ancestors[at].astype(np.float64))], y_range=(0.0, 1.05 * w.walkers),
        )
    )  # fmt: skip
    return found


def _flux(w: Walked, unit: str, size: float, begun: list[tuple[float, str]]) -> Plot:
    """In columns of many resamplings, and its mean from where it is used."""
    assert w.rate is not None
    flux, r = w.rate.flux * size, w.rate.rate
    edges = np.linspace(0, len(flux), min(COLUMNS // 5, len(flux)) + 1).round().astype(np.int64)
    y = np.add.reduceat(flux, edges[:-1]) / np.diff(edges)
    x = np.add.reduceat(w.times, edges[:-1]) / np.diff(edges) / size
    used = np.array([w.times[w.first], w.times[-1]]) / size

    def flat(value: float) -> FloatArray:
        return np.full(2, value * size)

    mean = Line("mean with 95 % interval", used, flat(r.value), flat(r.low), flat(r.high), color=1)
    return Plot(
        "walkers-flux", f"Weight arrives in the target at {interval_text(r, '/ps')}",
        "A plateau that begins before the part that is used, and no few high points that make the mean.",
        f"time / {unit}", f"flux / {unit}⁻¹", [Line("flux", x, y, style="steps"), mean],
        y_range=(0.0, 1.05 * float(max(y.max(), r.high * size if np.isfinite(r.high) else 0.0))), marks=begun,
    )  # fmt: skip


def _population(w: Walked, middle: FloatArray) -> Plot:
    """In kT, since weights differ by orders of magnitude; a free energy where nothing starts again."""
    with np.errstate(divide="ignore", invalid="ignore"):
        density = w.population / np.diff(w.edges)
        y = -np.log(density / density.max())
        error = np.where(w.population > 0, w.errors / w.population, np.nan)
    y[~np.isfinite(y)] = np.nan
    if w.target is None:
        y, error = y * kT(w.kelvin), error * kT(w.kelvin)
        what, axis = f"Free energy along {w.variable} at {w.kelvin:.4g} K", "free energy / kcal/mol"
    else:
        what, axis = f"Weight along {w.variable} on the way to the target", "-ln weight"
    return Plot(
        "walkers-population", what, "A smooth curve in a thin band, and no gap between the start and the target."
        if w.target is not None else "A smooth curve in a thin band.", w.variable, axis,
        [Line("", middle, y, y - error, y + error)],
        marks=[(end, "target") for end in w.target or () if np.isfinite(end)],
    )  # fmt: skip
