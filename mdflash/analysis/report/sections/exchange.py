"""How replicas walk, and what temperature does."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mdflash.analysis.report.figure import Figure, Line, Map, Plot
from mdflash.analysis.report.sections.base import cap, cells, the
from mdflash.analysis.report.sections.series import COLUMNS
from mdflash.analysis.result import MoleculeAnalysis
from mdflash.analysis.reweight import Curve
from mdflash.analysis.verdict import measured, time_text
from mdflash.core.types import FloatArray
from mdflash.units import BOLTZMANN


def exchange(m: MoleculeAnalysis) -> list[Figure]:
    """Acceptance, walks, heat capacity, melting."""
    return [*_walks(m), *_curves(m)]


def _walks(m: MoleculeAnalysis) -> list[Figure]:
    w = m.walk
    if w is None:
        return []
    found: list[Figure] = []
    kelvin = m.sample.temperatures
    if m.acceptance:
        y = np.array([np.nan if a is None else a for a in m.acceptance], np.float64)
        found.append(
            Plot(
                "acceptance", f"Swaps are accepted {np.nanmin(y):.0%} to {np.nanmax(y):.0%} of the time",
                "All above 0.1, and about the same.", "pair of states", "acceptance",
                [Line("", cells(len(y) - 1, 0.5), y, style="points")], y_range=(0.0, 1.05),
                x_range=(0.0, float(len(y))), whole=True,
            )
        )  # fmt: skip
    if len(w.steps) > 2 and len(m.sample.tracks):
        pick = np.unique(np.linspace(0, len(w.steps) - 1, min(COLUMNS, len(w.steps))).round().astype(int))
        t = next((t for t in m.sample.tracks if len(t) > 1), None)
        per = 1.0 if t is None else float((t.times[-1] - t.times[0]) / (t.steps[-1] - t.steps[0]))
        times = w.steps[pick] * per
        unit, size = ("ns", 1e3) if times[-1] >= 2e3 else ("ps", 1.0)
        gap = float(np.median(np.diff(times)))
        edges = np.concatenate([times, [times[-1] + gap]]) / size
        trips = int(w.round_trips.sum())
        several = np.ptp(kelvin) > 0
        z = kelvin[w.labels[pick]].T if several else w.labels[pick].T.astype(float)
        found.append(
            Map(
                "walk", f"Replicas visit all states: {trips:,} round trips" if trips else "There is no round trip yet",
                "Every row shows all colors, again and again.", f"time / {unit}", "replica", edges,
                np.arange(z.shape[0] + 1.0), z, "temperature / K" if several else "state", link="replica",
                rows=[str(t.replica) for t in m.sample.tracks],
            )
        )  # fmt: skip
        x = np.array([t.replica for t in m.sample.tracks], np.float64)
        found.append(
            Plot(
                "trips", f"Replicas make {w.round_trips.min()} to {w.round_trips.max()} round trips each",
                "No replica far below the others.", "replica", "round trips",
                [Line("", x, w.round_trips.astype(float), style="points")],
                y_range=(0.0, 1.1 * float(max(w.round_trips.max(), 1))),
                x_range=(float(x.min()) - 0.5, float(x.max()) + 0.5),
                whole=True,
            )
        )  # fmt: skip
        found.append(
            Map(
                "transitions", f"States mix in {time_text(w.mixing_attempts * m.exchange_ps, 2)}: second eigenvalue "
                f"{w.eigenvalue:.4f}", "A broad diagonal without gaps.", "to state", "from state",
                cells(w.states), cells(w.states), w.transition, "probability",
                (0.0, 1.0), "blues", square=True, whole=True,
            )
        )  # fmt: skip
    return found


def _curves(m: MoleculeAnalysis) -> list[Figure]:
    k = m.melting
    if k is None:
        return []
    kelvin = m.sample.temperatures
    known = {o.name: o for o in m.sample.observables}
    t = k.temperatures

    def line(name: str, c: Curve, factor: float = 1.0) -> Line:
        y, e = factor * c.values, factor * c.errors
        return Line(name, t, y, y - e, y + e)

    found: list[Figure] = [
        Plot(
            "heat-capacity", f"The heat capacity is highest at {measured(*k.peak, 'K')}",
            "A peak inside the range of temperatures, and a thin band.", "temperature / K",
            "heat capacity of the potential energy / kB", [line("", k.heat_capacity, 1.0 / BOLTZMANN)],
            shared=1, subject="heat capacity",
        )
    ]  # fmt: skip
    if k.folded is not None:
        title = (
            f"It melts at {measured(*k.melting, 'K')}" if k.melting is not None else "It does not melt in this range"
        )
        points = _points(m, "q", lambda v: (v > 0.5).astype(float))
        marks = [(k.melting.value, f"{k.melting.value:.1f} K")] if k.melting is not None else []
        found.append(
            Plot(
                "melting", title, "The curve passes one half, and the points lie on it.", "temperature / K",
                "folded fraction (Q > 0.5)", [line("MBAR over all temperatures", k.folded), points], y_range=(0.0, 1.0),
                marks=marks, shared=1, subject="folded fraction",
            )
        )  # fmt: skip
    for name in dict.fromkeys([m.key, "rg"]):
        if name in k.quantities:
            states = m.measured[name].states
            x = np.array([kelvin[s] for s in states])
            y = np.array([v.mean.value for v in states.values()])
            e = np.array([v.mean.error for v in states.values()])
            points = Line("frames of each temperature", x, y, y - e, y + e, style="points", color=1)
            found.append(
                Plot(
                    f"mean-{name}", f"{cap(the(known[name]))} goes from {k.quantities[name].values[0]:.3g} to "
                    f"{k.quantities[name].values[-1]:.3g} {known[name].unit} with temperature",
                    "The points lie on the curve.",
                    "temperature / K", known[name].label,
                    [line("MBAR over all temperatures", k.quantities[name]), points], shared=1,
                    subject=f"{known[name].title} over temperature",
                )
            )  # fmt: skip
    n, least = len(kelvin), float(np.diagonal(k.overlap, 1).min())
    found.append(
        Map(
            "overlap", f"Neighboring states overlap by {least:.2f} at least", "Neighbors share 0.03 or more.", "state",
            "state", cells(n), cells(n), k.overlap, "overlap", None, "blues",
            square=True, whole=True,
        )
    )  # fmt: skip
    return found


def _points(m: MoleculeAnalysis, name: str, function: Callable[[FloatArray], FloatArray]) -> Line:
    kelvin = m.sample.temperatures
    x, y = [], []
    for s, t in enumerate(kelvin):
        v = np.concatenate([a.values[name][(a.steps >= m.first_step) & (a.states == s)] for a in m.sample.tracks])
        if len(v):
            x.append(float(t))
            y.append(float(function(v).mean()))
    return Line("frames of each temperature", np.array(x), np.array(y), style="points", color=1)
