"""Every figure of a report as a file of its own: SVG as on the page, PNG drawn by matplotlib."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np

from mdflash.analysis.analyze import Analysis
from mdflash.analysis.report.colors import LINES, paint
from mdflash.analysis.report.figure import Figure, Line, Plot
from mdflash.analysis.report.page import figures
from mdflash.analysis.report.svg import draw
from mdflash.analysis.sample import Progress
from mdflash.core.files import atomic_write, storage_errors
from mdflash.core.optional import require
from mdflash.core.regular import refuse_link


def write_figures(
    analysis: Analysis, folder: Path, kind: str, progress: Progress = lambda what, done, total: None
) -> Path:
    """Write every figure into `folder`; returns it.

    Args:
        analysis: what the figures are of.
        folder: is made.
        kind: "png" or "svg".
        progress: called with what is done.

    Raises:
        MissingExtraError: matplotlib is not installed (PNG).
        StorageError: the folder cannot be written.
    """
    if kind == "png":
        require("matplotlib", "analysis", "drawing PNG files")
    with storage_errors(folder):
        refuse_link(folder)
        folder.mkdir(parents=True, exist_ok=True)
    every = [f for _, _, found in figures(analysis) for f in found]
    for k, f in enumerate(every):
        progress(f"drawing {kind}", k, len(every))
        atomic_write(folder / f"{f.key}.{kind}", draw(f, alone=True) if kind == "svg" else png(f))
    return folder


def png(f: Figure) -> bytes:
    """A figure as PNG, 200 dots an inch."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Canvas

    square = not isinstance(f, Plot) and f.square
    canvas = Canvas(figsize=(5.2, 4.4 if square else 3.3), layout="constrained")
    FigureCanvasAgg(canvas)
    axis = canvas.subplots()
    if isinstance(f, Plot):
        for line in f.lines:
            if len(line.x):
                _line(axis, line)
        for at, label in f.marks:
            axis.axvline(at, color="#6b7280", ls="--", lw=1)
            axis.annotate(label, (at, 0.97), xycoords=("data", "axes fraction"), va="top", fontsize=8)
        if any(line.name for line in f.lines):
            axis.legend(frameon=False, fontsize=8)
        axis.set(xlim=f.x_range, ylim=f.y_range)
    else:
        from matplotlib.colors import ListedColormap

        colors = ListedColormap((paint(np.linspace(0.0, 1.0, 256), f.palette) / 255.0).tolist())
        low, high = f.z_range or (None, None)
        y = np.arange(len(f.rows) + 1.0) if f.rows else f.y_edges
        image = axis.pcolormesh(f.x_edges, y, f.z, cmap=colors, vmin=low, vmax=high)
        canvas.colorbar(image, ax=axis, label=f.z_label)
        if f.rows:
            step = max(1, -(-len(f.rows) // 12))
            axis.set_yticks(np.arange(0, len(f.rows), step) + 0.5, list(f.rows)[::step])
        if f.square:
            axis.set_aspect("equal")
    axis.set_xlabel(f.x_label)
    axis.set_ylabel(f.y_label)
    axis.set_title(f.title, fontsize=9, loc="left", wrap=True)
    out = io.BytesIO()
    canvas.savefig(out, format="png", dpi=200)
    return out.getvalue()


def _line(axis: Any, line: Line) -> None:
    color = line.paint or LINES[line.color % len(LINES)]
    label = line.name or None
    if line.style == "points":
        axis.plot(line.x, line.y, "o", ms=4, color=color, label=label)
        if line.low is not None and line.high is not None:
            axis.vlines(line.x, line.low, line.high, color=color, lw=1.2)
        return
    style = "--" if line.style == "dashed" else "-"
    axis.plot(line.x, line.y, style, color=color, lw=1.5, label=label)
    if line.low is not None and line.high is not None:
        axis.fill_between(line.x, line.low, line.high, color=color, alpha=0.18, lw=0)
