"""An ensemble against a reference ensemble: free energies of both, and how far they are apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from mdflash.analysis.against.compare import POPULATED, Comparison
from mdflash.analysis.against.findings import EnsembleResult, Finding
from mdflash.analysis.report.figure import Figure, Line, Map, Plot, Table
from mdflash.analysis.report.sections.base import cap
from mdflash.analysis.result import MoleculeAnalysis
from mdflash.core.types import FloatArray
from mdflash.units import kT

TOP: Final = POPULATED + 1.0
"""kcal/mol at which the colors of a free energy end."""
DIFFERENCE: Final = 1.5
"""kcal/mol at which those of a difference end."""
GROUPS: Final = ("bonds", "angles", "dihedrals")
WORST: Final = 2
"""Coordinates of a group that are drawn."""
ABOUT: Final = (
    f"JSD: Jensen-Shannon divergence, 0 to 0.69 nats. RMSE: of the free energy, over bins within {POPULATED:g} "
    "kcal/mol of the minimum of the reference. Halves: its second half against its first, that is, what it can resolve."
)


def against(m: MoleculeAnalysis) -> list[Figure]:
    """The frames of a run against a reference ensemble."""
    return [] if m.against is None else ensemble_figures(m.against)


def ensemble_figures(r: EnsembleResult) -> list[Figure]:
    """A table of every coordinate, free energies of one and two variables, and internal coordinates along the chain."""
    large = [f for f in r.findings if not f.coordinate.group]
    energy = kT(r.kelvin)
    found: list[Figure] = []
    if large:
        worst = max(large, key=lambda f: f.model.rmse)
        found.append(
            Table(
                "against", f"{cap(r.name)} differs most from {r.reference} in {worst.coordinate.name}: "
                f"{worst.model.rmse:.2f} ± {worst.model.rmse_error:.2f} kcal/mol",
                f"Numbers no larger than those of the halves. {ABOUT}",
                _HEAD, [_row(f) for f in large],
            )
        )  # fmt: skip
    for f in large:
        found += _curves(f, r, energy) if len(f.coordinate.labels) == 1 else _maps(f, r, energy)
    for group in GROUPS:
        found += _group(group, [f for f in r.findings if f.coordinate.group == group], r)
    return found


_HEAD: Final = (
    "coordinate", "JSD / nats", "±", "RMSE / kcal/mol", "±", "bins", "never visited", "halves: JSD", "halves: RMSE"
)  # fmt: skip


def _row(f: Finding) -> tuple[str, ...]:
    m, h = f.model, f.halves
    return (
        f.coordinate.name, f"{m.jsd:.4f}", f"{m.jsd_error:.4f}", f"{m.rmse:.2f}", f"{m.rmse_error:.2f}", str(m.bins),
        str(m.empty), f"{h.jsd:.4f}", f"{h.rmse:.2f}",
    )  # fmt: skip


def _key(f: Finding) -> str:
    return "against-" + "".join(c if c.isalnum() else "-" for c in f.coordinate.name)


def _free(p: FloatArray, energy: float) -> FloatArray:
    with np.errstate(divide="ignore"):
        f = -energy * np.log(p)
    f = f - np.min(f)
    return np.where(np.isfinite(f), f, np.nan)


def _middles(edges: FloatArray) -> FloatArray:
    return np.asarray(0.5 * (edges[1:] + edges[:-1]))


def _difference(c: Comparison, energy: float) -> FloatArray:
    """Of the free energies, where the reference is populated and the other was."""
    with np.errstate(divide="ignore", invalid="ignore"):
        difference = -energy * np.log(c.other / c.reference)
    shown = (c.reference > c.reference.max() * np.exp(-POPULATED / energy)) & (c.other > 0)
    return np.where(shown, difference, np.nan)


def _curves(f: Finding, r: EnsembleResult, energy: float) -> list[Figure]:
    c = f.model
    x = _middles(c.axes[0].edges)
    return [
        Plot(
            _key(f), f"{f.coordinate.name}: free energies differ by {c.rmse:.2f} ± {c.rmse_error:.2f} kcal/mol",
            f"Curves that fall on each other; the halves of {r.reference} differ by {f.halves.rmse:.2f}.",
            c.axes[0].label, "free energy / kcal/mol",
            [
                Line(r.reference, x, _free(c.reference, energy), color=0),
                Line(r.name, x, _free(c.other, energy), color=1),
            ],
            y_range=(-0.2, TOP + 1.0),
        )
    ]  # fmt: skip


def _maps(f: Finding, r: EnsembleResult, energy: float) -> list[Figure]:
    c = f.model
    x, y = c.axes
    found: list[Figure] = [
        Map(
            f"{_key(f)}-{k}", f"Free energy over {f.coordinate.name}: {name}", "The same basins in both.", x.label,
            y.label, x.edges, y.edges, np.minimum(_free(p, energy), TOP).T, "kcal/mol", (0.0, TOP),
        )
        for k, (name, p) in enumerate(((r.reference, c.reference), (r.name, c.other)))
    ]  # fmt: skip
    found.append(
        Map(
            f"{_key(f)}-difference",
            f"{f.coordinate.name}: {r.name} less {r.reference} is {c.rmse:.2f} ± {c.rmse_error:.2f} kcal/mol (RMSE)",
            f"White; blue is where {r.name} is too often. {c.empty} of {c.bins} populated bins are never visited.",
            x.label, y.label, x.edges, y.edges, np.clip(_difference(c, energy), -DIFFERENCE, DIFFERENCE).T, "kcal/mol",
            (-DIFFERENCE, DIFFERENCE), "balance",
        )
    )  # fmt: skip
    return found


def _group(name: str, found: Sequence[Finding], r: EnsembleResult) -> list[Figure]:
    """The divergence of every bond, angle or dihedral, and the distributions of the worst."""
    if not found:
        return []
    x = np.arange(1.0, len(found) + 1.0)
    jsd = np.array([f.model.jsd for f in found])
    halves = np.array([f.halves.jsd for f in found])
    worst = sorted(found, key=lambda f: -f.model.jsd)[:WORST]
    figures: list[Figure] = [
        Plot(
            f"against-{name}",
            f"{cap(name)}: the divergence is {np.median(jsd):.3f} in the middle, {jsd.max():.3f} at most "
            f"({worst[0].coordinate.name})",
            "Points near those of the halves of the reference.", f"number among the {name}", "JSD / nats",
            [
                Line(r.name, x, jsd, style="points", color=1),
                Line(f"halves of {r.reference}", x, halves, style="points", color=0),
            ],
            y_range=(0.0, 1.08 * float(max(jsd.max(), halves.max(), 1e-6))), whole=True,
            x_range=(0.0, len(found) + 1.0),
        )
    ]  # fmt: skip
    for f in worst:
        c = f.model
        edges = c.axes[0].edges
        width = edges[1] - edges[0]
        figures.append(
            Plot(
                _key(f), f"{f.coordinate.name}: the divergence is {c.jsd:.3f} ± {c.jsd_error:.3f}",
                f"One of the {name} that differ most.", c.axes[0].label, "probability density",
                [
                    Line(r.reference, _middles(edges), c.reference / width, color=0),
                    Line(r.name, _middles(edges), c.other / width, color=1),
                ],
            )
        )  # fmt: skip
    return figures
