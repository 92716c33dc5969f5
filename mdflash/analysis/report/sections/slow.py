"""The slow motions."""

from __future__ import annotations

import numpy as np

from mdflash.analysis.kinetics import Kinetics
from mdflash.analysis.report.figure import Figure, Line, Map, Plot, Table
from mdflash.analysis.result import MoleculeAnalysis
from mdflash.analysis.verdict import measured, time_text


def slow(m: MoleculeAnalysis) -> list[Figure]:
    """The slowest motions and how slow they are."""
    k = m.kinetics
    if k is None:
        return []
    lines = []
    for c in range(k.timescales.shape[1]):
        y, e = k.timescales[:, c], k.errors[:, c]
        lines.append(Line(f"component {c + 1}", k.lags, y, y - e, y + e, style="points", color=c))
    if not isinstance(k.states, str):
        lines.append(Line("1 by the Markov model", k.lags, k.states.timescales[:, 0], color=2))
    lines.append(Line("lag", k.lags, k.lags, style="dashed", color=7))
    seen = np.flatnonzero(k.timescales[:, 0] >= k.lags)  # a motion that is over within the lag is not seen at that lag
    title = "Every motion is faster than the frames show"
    if len(seen):
        at = int(seen[-1])
        slowest = measured(float(k.timescales[at, 0]), float(k.errors[at, 0]), "ps")
        title = f"The slowest motion takes {slowest} at a lag of {time_text(float(k.lags[at]))}"
    top = float(np.nanquantile(k.map.energy, 0.98)) if np.isfinite(k.map.energy).any() else 1.0
    return [
        Plot(
            "timescales", title,
            "Points that no longer rise with the lag, and stay above the dashed line.", "lag / ps", "timescale / ps",
            lines, shared=1, subject="timescale of the slowest motion",
            y_range=(0.0, 1.15 * float(np.nanmax([np.nanmax(line.y) for line in lines if np.isfinite(line.y).any()]))),
        ),
        Map(
            "free-tics",
            f"The two slowest components span {top:.2g} kcal/mol at {k.map.kelvin:.4g} K (lag {time_text(k.lag)})",
            "Basins that are connected. A click shows the nearest frame.", "first component", "second component",
            k.map.edges[0], k.map.edges[1], np.minimum(k.map.energy, top).T, "kcal/mol", (0.0, max(top, 0.1)),
            link="value", names=("tic1", "tic2"),
        ),
        *_markov(m, k),
    ]  # fmt: skip


def _markov(m: MoleculeAnalysis, k: Kinetics) -> list[Figure]:
    """The Markov model: does it hold, and what are its states."""
    if isinstance(k.states, str):
        return []
    model, values = k.states.model, k.states.values
    ps = k.lag / model.lag
    times = np.concatenate([[0.0], k.lag * model.multiples])
    lines = []
    for s in range(len(model.populations)):
        y = np.concatenate([[1.0], model.predicted[:, s]])
        lines.append(Line(f"set {s + 1}", times, y, color=s))
        o, e = model.observed[:, s], model.errors[:, s]
        lines.append(Line("", times[1:], o, o - e, o + e, style="points", color=s))
    far = model.deviation
    worst = "" if np.isnan(far) else f": points are off by {far:.1f} errors at most"
    known = {o.name: o for o in m.sample.observables}
    shown = [n for n in dict.fromkeys([m.key, "rg", "end_to_end"]) if n in values]
    order = range(len(model.populations))
    rows = [
        [
            f"set {s + 1}", measured(float(model.populations[s]), float(model.population_errors[s])),
            *(f"{values[n][s]:.4g}" for n in shown),
            *("-" if s == t else time_text(ps * float(model.passages[s, t])) for t in range(len(order))),
        ]
        for s in order
    ]  # fmt: skip
    head = ["", "population", *(known[n].label for n in shown), *(f"to set {t + 1}" for t in range(len(order)))]
    slowest = time_text(ps * float(model.timescales[0]))
    return [
        Plot(
            "chapman-kolmogorov", f"Chapman-Kolmogorov test{worst}",
            "Points on the lines: the model foretells how long each set is kept.", "time / ps",
            "chance to be in the set again", lines, y_range=(0.0, 1.05),
        ),
        Table(
            "sets", f"A Markov model of {len(model.stationary)} clusters has {len(order)} metastable sets; they mix in "
            f"{slowest}",
            "Populations with small errors, and passages shorter than the run: mean first passage times, in columns.",
            head, rows,
        ),
    ]  # fmt: skip
