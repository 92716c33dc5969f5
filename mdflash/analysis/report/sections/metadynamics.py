"""Free energies by metadynamics."""

from __future__ import annotations

import numpy as np

from mdflash.analysis.hills import METHODS, Filled, node_edges
from mdflash.analysis.report.colors import shade
from mdflash.analysis.report.figure import Figure, Line, Map, Plot
from mdflash.analysis.report.sections.biases import VOLUME
from mdflash.analysis.report.sections.series import COLUMNS
from mdflash.analysis.result import MoleculeAnalysis
from mdflash.analysis.verdict import time_text


def metadynamics(m: MoleculeAnalysis) -> list[Figure]:
    """The free energy by the scaled bias and by reweighted frames, how it has settled, and the heights of hills."""
    found: list[Figure] = []
    for f in m.filled:
        title = f"Free energy along {' and '.join(f.variables)} at {f.kelvin:.4g} K, by {METHODS[f.method]}"
        found += _filled_line(f, title) if len(f.nodes) == 1 else _filled_plane(f, title)
        time, height = f.heights
        unit, size = ("ns", 1e3) if time[-1] >= 2e3 else ("ps", 1.0)
        edges = np.linspace(0.0, float(time[-1]), min(COLUMNS, len(np.unique(time))) + 1)
        at = np.clip(np.searchsorted(edges, time) - 1, 0, len(edges) - 2)
        count = np.bincount(at, minlength=len(edges) - 1)
        filled = count > 0  # hills may come more rarely than columns, and a line breaks at a place without any
        mean = np.bincount(at, weights=height, minlength=len(edges) - 1)[filled] / count[filled]
        drift = f.drift
        found += [
            Plot(
                f"meta-drift-{f.key}", f"How far the free energy of {f.name} was from its last shape",
                "A curve that has fallen below the error you accept, well before the end. It counts places up to 8 kT.",
                f"time / {unit}", "root mean square difference / kcal/mol",
                [Line("", f.times[:-1] / size, drift, style="points"), Line("", f.times[:-1] / size, drift)],
                y_range=(0.0, 1.1 * float(np.nanmax(drift)) if np.isfinite(drift).any() else 1.0),
            ),
        ]  # fmt: skip
        if f.method != "well-tempered" or f"meta-heights-{f.bias}" in {figure.key for figure in found}:
            continue
        found += [
            Plot(
                f"meta-heights-{f.bias}", f"Mean height of the hills of {f.bias}",
                "It falls like 1 / time once all basins are filled.", f"time / {unit}",
                "height / kcal/mol",
                [Line("", 0.5 * (edges[1:] + edges[:-1])[filled] / size, mean)],
                y_range=(0.0, 1.05 * float(height.max())),
            ),
        ]  # fmt: skip
    return found


def _estimate(f: Filled) -> str:
    return "scaled bias" if f.method == "well-tempered" else "kernels"


def _filled_line(f: Filled, title: str) -> list[Figure]:
    (x,) = f.nodes
    low, high = (f.scaled - f.scaled_error, f.scaled + f.scaled_error) if f.groups > 1 else (None, None)
    name = _estimate(f) + (f" of {f.groups} groups of walkers" if f.groups > 1 else "")
    lines = [Line(name, x, f.scaled, low, high)]
    if f.reweighted is not None:
        s = f.reweighted
        y = s.energy + float(np.nanmedian(np.interp(0.5 * (s.edges[0][1:] + s.edges[0][:-1]), x, f.scaled) - s.energy))
        lines.append(
            Line("frames, reweighted", 0.5 * (s.edges[0][1:] + s.edges[0][:-1]), y, y - s.errors, y + s.errors,
                 style="points", color=1)
        )  # fmt: skip
    stages = [
        Line(time_text(float(t)), x, stage, paint=shade(k / max(len(f.stages) - 1, 1)))
        for k, (t, stage) in enumerate(zip(f.times, f.stages, strict=True))
    ]
    volume = VOLUME if f.kinds[0] == "distance" else ""
    return [
        Plot(
            f"meta-{f.key}", title, f"Both estimates agree, in thin bands.{volume}", f.variables[0],
            "free energy / kcal/mol", lines,
        ),
        Plot(
            f"meta-stages-{f.key}", f"By the {_estimate(f)} of {f.name}, over time",
            "The last curves lie on each other.", f.variables[0], "free energy / kcal/mol", stages,
        ),
    ]  # fmt: skip


def _filled_plane(f: Filled, title: str) -> list[Figure]:
    first, second = f.variables
    top = float(np.quantile(f.scaled[f.visited], 0.99)) * 1.3
    edges = [node_edges(n) for n in f.nodes]
    found: list[Figure] = [
        Map(
            f"meta-{f.key}", f"{title}: the {_estimate(f)}", "Connected basins.", first, second, edges[0], edges[1],
            np.minimum(f.scaled, top).T, "kcal/mol", (0.0, max(top, 0.1)),
        )
    ]  # fmt: skip
    if f.reweighted is not None:
        s = f.reweighted
        found.append(
            Map(
                f"meta-reweighted-{f.key}", f"{title}: frames, reweighted", "The same basins.",
                first, second, s.edges[0], s.edges[1], np.minimum(s.energy, top).T, "kcal/mol", (0.0, max(top, 0.1)),
            )
        )  # fmt: skip
    return found
