"""One look for all pictures of the gallery: a row of panels, colors that everyone tells apart, spread as bands."""

from __future__ import annotations

from typing import Any

from matplotlib.figure import Figure

from mdflash.analysis.report.colors import LINES

BLUE, ORANGE, GREEN, PINK = LINES[:4]
LOOK = {
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "axes.titlesize": 10.5,
    "axes.titlelocation": "left",
    "axes.titlepad": 8,
    "axes.edgecolor": "#5b6675",
    "axes.labelcolor": "#1f2733",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": "#5b6675",
    "ytick.color": "#5b6675",
    "lines.linewidth": 1.8,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "errorbar.capsize": 0,
    "image.cmap": "viridis",
    "image.interpolation": "nearest",
}


def panels(*widths: float) -> tuple[Figure, list[Any]]:
    """A figure, and axes side by side of these relative widths."""
    figure = Figure(figsize=(8.6, 3.5), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.08, h_pad=0.06, wspace=0.04)
    return figure, list(figure.subplots(1, len(widths), width_ratios=widths, squeeze=False)[0])


def band(axis: Any, x: Any, y: Any, error: Any, color: str, label: str = "") -> None:
    """A curve with its standard error."""
    axis.plot(x, y, color=color, label=label or None)
    axis.fill_between(x, y - error, y + error, color=color, alpha=0.2, lw=0)
