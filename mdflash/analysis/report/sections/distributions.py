"""Free energies, and how often values are seen."""

from __future__ import annotations

import numpy as np

from mdflash.analysis.free_energy import Surface, bin_edges, bins_for
from mdflash.analysis.observables.base import Observable
from mdflash.analysis.report.colors import shade
from mdflash.analysis.report.figure import Figure, Line, Map, Plot
from mdflash.analysis.report.sections.base import label, observables, the
from mdflash.analysis.result import ENERGY, MoleculeAnalysis
from mdflash.core.types import FloatArray


def distributions(m: MoleculeAnalysis) -> list[Figure]:
    """Free energies, and the first half against the second."""
    known = {o.name: o for o in observables(m)}
    found: list[Figure] = []
    how = "reweighted from all temperatures" if m.melting is not None else "from the frames of this state"
    for s in m.surfaces:
        labels = [known[n].label for n in s.names]
        title = f"At {s.kelvin:.4g} K the free energy is lowest where {_lowest(s, known)} ({how})"
        if len(s.names) == 1:
            x = 0.5 * (s.edges[0][1:] + s.edges[0][:-1])
            y = np.where(np.isfinite(s.errors), s.energy, np.nan) if np.isfinite(s.errors).any() else s.energy
            line = Line("", x, y, s.energy - s.errors, s.energy + s.errors)
            found.append(
                Plot(
                    f"free-{s.names[0]}", title, "Error bands much thinner than the barriers.", labels[0],
                    "free energy / kcal/mol", [line], link="value", names=s.names, shared=1,
                    subject=f"free energy over the {known[s.names[0]].title}",
                )
            )  # fmt: skip
        else:
            top = float(np.nanquantile(s.energy, 0.98))
            found.append(
                Map(
                    f"free-{'-'.join(s.names)}", title, "Connected basins. A click shows the nearest frame.", labels[0],
                    labels[1], s.edges[0], s.edges[1], np.minimum(s.energy, top).T, "kcal/mol", (0.0, max(top, 0.1)),
                    link="value", names=s.names,
                )
            )  # fmt: skip
    found += _halves(m, known)
    found += _by_state(m, known)
    return found


def _lowest(s: Surface, known: dict[str, Observable]) -> str:
    """Where a free energy has its minimum."""
    at = np.unravel_index(int(np.nanargmin(s.energy)), s.energy.shape)
    places = [0.5 * float(e[k] + e[k + 1]) for e, k in zip(s.edges, at, strict=True)]
    words = [f"{the(known[n])} is {x:.3g} {known[n].unit}".rstrip() for n, x in zip(s.names, places, strict=True)]
    return " and ".join(words)


def _halves_title(m: MoleculeAnalysis, o: Observable) -> str:
    drift = m.measured[o.name].states[m.focus].drift
    apart = f" differ by {drift:.1f} standard errors" if np.isfinite(drift) else ""
    return f"Both halves of the run{apart} in {the(o)} at {label(m, m.focus)}"


def _mean(values: dict[int, FloatArray], which: int) -> str:
    return f"{float(list(values.values())[which].mean()):.3g}"


def _halves(m: MoleculeAnalysis, known: dict[str, Observable]) -> list[Figure]:
    o = known.get(m.key)
    if o is None:
        return []
    halves: list[list[FloatArray]] = [[], []]
    for t in m.sample.tracks:
        x, s = t.values[m.key][t.steps >= m.first_step], t.states[t.steps >= m.first_step]
        h = np.arange(len(x)) >= len(x) / 2
        for k in (0, 1):
            halves[k].append(x[(h == k) & (s == m.focus)])
    values = [np.concatenate(h) for h in halves]
    if min(map(len, values)) < 50:
        return []
    edges = bin_edges(np.concatenate(values), bins_for(min(values, key=len), 40, o.span), o.span)
    lines = [
        Line(name, 0.5 * (edges[1:] + edges[:-1]), np.histogram(v, edges)[0] / len(v) / np.diff(edges), color=k)
        for k, (name, v) in enumerate(zip(("first half", "second half"), values, strict=True))
    ]
    return [
        Plot(
            f"halves-{m.key}", _halves_title(m, o),
            "Two curves that fall on each other.", o.label, "probability density", lines, link="value", names=(m.key,),
            y_range=(0.0, 1.1 * max(float(line.y.max()) for line in lines)),
        )
    ]  # fmt: skip


def _by_state(m: MoleculeAnalysis, known: dict[str, Observable]) -> list[Figure]:
    """Energy distributions, whose overlap is what exchange and reweighting live from."""
    kelvin = m.sample.temperatures
    if ENERGY not in known or len(kelvin) < 2 or np.ptp(kelvin) == 0:
        return []
    shown = np.unique(np.linspace(0, len(kelvin) - 1, min(len(kelvin), 8)).round().astype(int))
    values = {}
    for s in shown.tolist():
        v = np.concatenate([t.values[ENERGY][(t.steps >= m.first_step) & (t.states == s)] for t in m.sample.tracks])
        if len(v) > 50:
            values[s] = v
    if not values:
        return []
    every = np.concatenate(list(values.values()))
    low, high = np.quantile(every, [0.001, 0.999]).tolist()
    edges = np.linspace(low, high, 41)
    lines = [
        Line(
            label(m, s), 0.5 * (edges[1:] + edges[:-1]), np.histogram(v, edges)[0] / len(v) / np.diff(edges),
            paint=shade(k / max(len(values) - 1, 1)),
        )
        for k, (s, v) in enumerate(values.items())
    ]  # fmt: skip
    return [
        Plot(
            "energies",
            f"Potential energies rise from {_mean(values, 0)} to {_mean(values, -1)} kcal/mol on the ladder",
            "Each curve overlaps the next one.",
            "potential energy / kcal/mol", "probability density / mol/kcal", lines,
            y_range=(0.0, 1.1 * max(float(line.y.max()) for line in lines)),
        )
    ]  # fmt: skip
