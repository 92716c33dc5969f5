"""Every observable over time."""

from __future__ import annotations

import numpy as np

from mdflash.analysis.observables.base import Observable
from mdflash.analysis.report.figure import Figure, Line, Map, Plot
from mdflash.analysis.report.sections.base import cap, label, observables, the
from mdflash.analysis.result import BIAS, ENERGY, MoleculeAnalysis
from mdflash.analysis.verdict import measured, time_text

COLUMNS = 300
"""Of a series over time, at most."""


def _title(m: MoleculeAnalysis, o: Observable) -> str:
    """A sentence with the mean at the state of the pictures.

    There is none while a bias or the temperature moves, or where frames have weights.
    """
    x = {ENERGY: m.energy, BIAS: m.bias}.get(o.name, m.measured.get(o.name))
    if m.pulled or m.walked or x is None or m.focus not in x.states:
        return f"{cap(the(o))} over time"
    return f"{cap(the(o))} is {measured(*x.states[m.focus].mean, o.unit)} at {label(m, m.focus)}"


def _memory(m: MoleculeAnalysis) -> float:
    """ps for one independent sample."""
    return m.measured[m.key].inefficiency * m.sample.interval


def time_series(m: MoleculeAnalysis) -> list[Figure]:
    """Mean and spread over replicas of every observable; the key one replica by replica."""
    tracks = [t for t in m.sample.tracks if len(t) > 1]
    if not tracks:
        return []
    end = max(float(t.times[-1]) for t in tracks)
    unit, size = ("ns", 1e3) if end >= 2e3 else ("ps", 1.0)
    bins = int(min(COLUMNS, max(len(t) for t in tracks)))
    edges = np.linspace(min(float(t.times[0]) for t in tracks), end, bins + 1)
    middle = 0.5 * (edges[1:] + edges[:-1]) / size
    start = [(m.left_out / size, "equilibrium")] if m.left_out > 0 and not m.pulled else []
    wish = "No drift after the start; replicas that cross." if len(tracks) > 1 else "No drift after the start."
    wish = "It follows what pulls; replicas that cross." if m.pulled else wish
    found: list[Figure] = []
    for o in observables(m):
        table = np.full((len(tracks), bins), np.nan)
        for row, t in zip(table, tracks, strict=True):
            at = np.clip(np.searchsorted(edges, t.times, "right") - 1, 0, bins - 1)
            n = np.bincount(at, minlength=bins)
            total = np.bincount(at, weights=np.nan_to_num(t.values[o.name]), minlength=bins)
            row[n > 0] = total[n > 0] / n[n > 0]
        known = np.isfinite(table).any(axis=0)
        mean, low, high = (np.full(bins, np.nan) for _ in range(3))
        mean[known] = np.nanmean(table[:, known], axis=0)
        low[known], high[known] = np.nanquantile(table[:, known], [0.1, 0.9], axis=0)
        name = "mean and 80 % of the replicas" if len(tracks) > 1 else f"replica {tracks[0].replica}"
        band = (low, high) if len(tracks) > 1 else (None, None)
        every = np.concatenate([t.values[o.name] for t in tracks])
        a, b = o.span or np.nanquantile(every, [0.001, 0.999]).tolist()
        lines = [Line(name, middle, mean, *band)]
        if o.name not in (ENERGY, BIAS) and len(tracks) > 1:
            lines.append(Line("the chosen replica", np.zeros(0), np.zeros(0), color=1))
        for meaning, level in o.levels(m.sample.molecule):
            lines.append(Line(meaning, middle[[0, -1]], np.array([level, level]), style="dashed", color=2))
            a, b = min(a, level), max(b, level)
        limits = (a - 0.03 * (b - a), b + 0.03 * (b - a)) if b > a else None
        found.append(
            Plot(
                f"series-{o.name}", _title(m, o), wish,
                f"time / {unit}", o.label, lines, y_range=limits, marks=start,
                x_range=(float(edges[0]) / size, float(edges[-1]) / size), link="time", names=(o.name,), shared=1,
                subject=f"{o.title} over time",
            )
        )  # fmt: skip
        if o.name == m.key and len(tracks) > 1 and m.walked is None:  # a walker's row becomes another walker's
            found.append(
                Map(
                    f"replicas-{o.name}", f"A replica forgets {the(o)} in {time_text(_memory(m), 2)}",
                    "Every row changes its color many times; none keeps one.", f"time / {unit}", "replica",
                    edges / size, np.arange(len(tracks) + 1.0), table, o.label, o.span, link="replica", names=(o.name,),
                    rows=[str(t.replica) for t in tracks],
                )
            )  # fmt: skip
    return found
