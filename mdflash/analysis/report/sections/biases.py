"""Umbrella windows."""

from __future__ import annotations

import numpy as np

from mdflash.analysis.report.figure import Figure, Line, Map, Plot
from mdflash.analysis.report.sections.base import cells
from mdflash.analysis.result import MoleculeAnalysis

VOLUME = (
    " It is -kT ln p(r), in which 2 kT ln r of the volume at a distance is not removed; add 2 kT ln r to compare with "
    "a potential of mean force by the density, -kT ln g(r)."
)
"""What a free energy along a distance holds."""


def biases(m: MoleculeAnalysis) -> list[Figure]:
    """Histograms of windows, their overlap, and the free energy."""
    found: list[Figure] = []
    for w in m.windows:
        label = f"{w.variable} ({w.name})" + (f" / {w.unit}" if w.unit else "")
        s = w.profile
        x = 0.5 * (s.edges[0][1:] + s.edges[0][:-1])
        best = float(x[int(np.nanargmin(s.energy))]) if np.isfinite(s.energy).any() else np.nan
        found.append(
            Plot(
                f"pmf-{w.name}", f"Without the bias and at {s.kelvin:.4g} K the free energy is lowest where {w.name} "
                f"is {best:.3g} {w.unit}".rstrip(),
                f"Error bands much thinner than the barriers.{VOLUME if w.variable == 'distance' else ''}", label,
                "free energy / kcal/mol", [Line("", x, s.energy, s.energy - s.errors, s.energy + s.errors)],
                shared=1, subject=f"free energy along {w.name}",
            )
        )  # fmt: skip
        lines = []
        edges = np.linspace(float(w.values.min()), float(w.values.max()), 91)
        for k, c in enumerate(w.centers):
            v = w.values[w.states == k]
            if len(v):
                y = np.histogram(v, edges)[0] / len(v) / np.diff(edges)
                lines.append(
                    Line(f"{c:.4g}" if len(w.centers) <= 12 else "", 0.5 * (edges[1:] + edges[:-1]), y, color=k)
                )
        found.append(
            Plot(
                f"windows-{w.name}",
                f"The {len(w.centers)} windows of {w.name} saw {edges[0]:.3g} to {edges[-1]:.3g} {w.unit}".rstrip(),
                "Each curve overlaps the next; no gap.", label,
                "probability density", lines,
            )
        )  # fmt: skip
        n = len(w.centers)
        found.append(
            Map(
                f"window-overlap-{w.name}", f"Neighboring windows overlap by {w.weakest:.2f} at least",
                "Neighbors share 0.03 or more.", "state", "state", cells(n), cells(n),
                w.overlap, "overlap", None, "blues", square=True, whole=True,
            )
        )  # fmt: skip
    return found
