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
        found.append(
            Plot(
                f"pmf-{w.name}", f"Free energy along {w.name} at {s.kelvin:.4g} K, without the bias",
                f"Error bands much thinner than the barriers.{VOLUME if w.variable == 'distance' else ''}", label,
                "free energy / kcal/mol", [Line("", x, s.energy, s.energy - s.errors, s.energy + s.errors)],
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
                f"windows-{w.name}", f"What the {len(w.centers)} windows of {w.name} saw",
                "Each curve overlaps the next; no gap.", label, "probability density", lines,
            )
        )  # fmt: skip
        n = len(w.centers)
        found.append(
            Map(
                f"window-overlap-{w.name}", f"Overlap of the windows: {w.weakest:.2f} between neighbors at least",
                "Neighbors share 0.03 or more.", "state", "state", cells(n), cells(n),
                w.overlap, "overlap", None, "blues", square=True, whole=True,
            )
        )  # fmt: skip
    return found
