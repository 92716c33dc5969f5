"""Free energies from the work of biases that move."""

from __future__ import annotations

from mdflash.analysis.report.figure import Figure, Line, Plot
from mdflash.analysis.result import MoleculeAnalysis


def pulling(m: MoleculeAnalysis) -> list[Figure]:
    """The free energy by Jarzynski's average, and the mean work above it."""
    return [
        Plot(
            f"work-{p.name}", f"Free energy while the {p.what} of {p.name} moves, at {p.kelvin:.4g} K",
            "The mean work is 2 kT above the free energy or less: slow enough.", p.variable, "energy / kcal/mol",
            [
                Line(f"Jarzynski, {p.replicas} replicas", p.parameter, p.free, p.free - p.error, p.free + p.error),
                Line("mean work", p.parameter, p.mean, style="dashed", color=1),
            ],
        )
        for p in m.pulled
    ]  # fmt: skip
