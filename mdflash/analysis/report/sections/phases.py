"""Dense and dilute phase of a box of many chains."""

from __future__ import annotations

import numpy as np

from mdflash.analysis.report.figure import Figure, Line, Plot
from mdflash.analysis.report.sections.base import cap, label
from mdflash.analysis.report.sections.series import COLUMNS
from mdflash.analysis.result import MoleculeAnalysis


def phases(m: MoleculeAnalysis) -> list[Figure]:
    """The density along the longest edge, and the concentrations of both phases over time."""
    p = m.phases
    if p is None:
        return []
    z = p.profiles.z / 10
    lines = [Line("all", z, p.density, p.density - p.error, p.density + p.error)]
    if len(p.profiles.names) > 1:
        lines += [
            Line(name, z, row, color=k)
            for k, (name, row) in enumerate(zip(p.profiles.names, p.by_species, strict=True), 1)
        ]
    marks: list[tuple[float, str]] = []
    title = "Density along the longest edge: no slab stands out"
    wish = "Each frame is centered where it is densest, so a box without a slab shows a narrow peak, too."
    if p.interface is not None:
        ends = p.interface.middle / 10
        marks = [(-float(ends[0]), ""), (float(ends[1]), "interface")]
        title = f"Density along the longest edge: a slab of {float(ends.sum()):.1f} nm"
        wish = "A flat top and flat sides, the same on both."
    where = label(m, m.focus)
    top = float(np.nanmax(p.density + np.nan_to_num(p.error)))
    found: list[Figure] = [
        Plot(
            "density", f"{title}, at {where}", wish, "z / nm", "density / mg/mL", lines,
            y_range=(0.0, 1.1 * top or 1.0), marks=marks,
        )
    ]  # fmt: skip
    if p.dilute_mass is None or m.focus not in p.dilute_mass.states:
        return found
    low = p.dilute_mass.states[m.focus].mean.value
    found.append(
        Plot(
            "density-dilute", "The same, near the density of the dilute phase", "Flat on both sides of the slab.",
            "z / nm", "density / mg/mL", lines[:1], y_range=(0.0, max(6.0 * low, 0.02 * top)), marks=marks,
        )
    )  # fmt: skip
    for phase, by_name in (("dilute", p.dilute), ("dense", p.dense)):
        for name in by_name:
            found += _over_time(m, f"{phase} {name}", f"{name} in the {phase} phase", "concentration / mM")
    return found


def _over_time(m: MoleculeAnalysis, name: str, title: str, label: str) -> list[Figure]:
    """A series of every replica, in blocks."""
    lines = []
    for k, t in enumerate(m.sample.tracks[:8]):
        if len(t) > 1:
            parts = np.array_split(np.arange(len(t)), min(COLUMNS, len(t)))
            x, y = (np.array([v[part].mean() for part in parts]) for v in (t.times, t.values[name]))
            lines.append(Line(f"replica {t.replica}" if len(m.sample.tracks) > 1 else "", x / 1e3, y, color=k))
    if not lines:
        return []
    start = [(m.left_out / 1e3, "equilibrium")] if m.left_out > 0 else []
    top = max(float(line.y.max()) for line in lines)
    return [
        Plot(
            f"series-{name.replace(' ', '-')}", f"{cap(title)} over time", "No drift after the start.", "time / ns",
            label, lines, y_range=(0.0, 1.1 * top or 1.0), marks=start,
        )
    ]  # fmt: skip
