"""progress.png of a training, redrawn while it learns: the relative entropy, and free energies beside the data's."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mdflash.core.files import replacing, storage_errors
from mdflash.core.optional import require
from mdflash.core.types import FloatArray
from mdflash.training.entropy.profiles import POPULATED, Profile
from mdflash.training.entropy.targets import Target

DATA, START, NOW = "#1b4965", "#9aa5b1", "#ca6702"
COLUMNS = 3


def draw(
    path: Path,
    log: Path,
    curves: Sequence[tuple[Profile, FloatArray, FloatArray]],
    targets: Sequence[Target] = (),
) -> None:
    """Draw the picture anew.

    Args:
        path: the PNG.
        log: log.csv of the training.
        curves: each profile with its free energies at the start and now, [bins] kcal/mol.
        targets: what shall be reached, if anything.

    Raises:
        MissingExtraError: matplotlib is not installed.
        StorageError: it cannot be written.
    """
    require("matplotlib", "analysis", "the picture of a training")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    panels = 2 + len(curves) + (2 if targets else 0)
    columns = 2 if panels in (2, 4) else COLUMNS
    lines = -(-panels // columns)
    figure = Figure(figsize=(4.0 * columns, 3.0 * lines), layout="constrained")
    FigureCanvasAgg(figure)
    axes = list(figure.subplots(lines, columns, squeeze=False).flat)
    with storage_errors(log), log.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    update = np.array([int(row["update"]) for row in rows])
    _follow(axes[0], update, rows, "held_out_entropy", "relative entropy held out, from the start / nats")
    _follow(axes[1], update, rows, "force_loss", "force loss held out / (kcal/mol/Å)²")
    for axis, (profile, start, now) in zip(axes[2:], curves, strict=False):
        _compare(axis, profile, start, now)
    if targets:
        _approach(axes[panels - 2], update, rows, targets)
        _follow(axes[panels - 1], update, rows, "price", "price: relative entropy from the start / nats", False)
    for axis in axes[panels:]:
        axis.set_visible(False)
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as partial:
            figure.savefig(partial, dpi=110, format="png")


def _approach(axis: Any, update: FloatArray, rows: Sequence[dict[str, str]], targets: Sequence[Target]) -> None:
    """How far each target is, in its uncertainty."""
    axis.axhspan(-1.0, 1.0, color=START, alpha=0.3, lw=0)
    for target in targets:
        off = np.array([target.off(float(row[target.name])) for row in rows])
        axis.plot(update, off, ".-", ms=4, lw=1, label=target.name)
    axis.set_title("targets: off by, in their uncertainty", fontsize=9)
    axis.set_xlabel("update", fontsize=8)
    axis.tick_params(labelsize=8)
    axis.legend(fontsize=7, frameon=False)


def _follow(
    axis: Any, update: FloatArray, rows: Sequence[dict[str, str]], column: str, title: str, lowest: bool = True
) -> None:
    values = np.array([float(row[column]) for row in rows])
    axis.plot(update, values, ".-", ms=4, lw=1, color=NOW)
    if len(values) > 1 and lowest:
        best = int(np.argmin(values))
        axis.margins(y=0.15)  # the lowest point has room for its number below the curve
        axis.annotate(
            f"{values[best]:.3g}".replace("-", "\u2212"), (update[best], values[best]), (0, -5),
            textcoords="offset points", fontsize=8, va="top", ha="right",
        )  # fmt: skip
    axis.set_title(title, fontsize=9)
    axis.set_xlabel("update", fontsize=8)
    axis.tick_params(labelsize=8)


def _compare(axis: Any, profile: Profile, start: FloatArray, now: FloatArray) -> None:
    middle = 0.5 * (profile.edges[1:] + profile.edges[:-1])
    known = np.isfinite(profile.data) & np.isfinite(profile.noise)
    axis.errorbar(middle[known], profile.data[known], profile.noise[known], fmt="none", ecolor=DATA, elinewidth=1)
    for values, color, label, style in (
        (profile.data, DATA, "data", "o"),
        (start, START, "start", "-"),
        (now, NOW, f"now: off by {profile.error(now):.2f}", "-"),
    ):
        axis.plot(
            middle, np.where(np.isfinite(values), values, np.nan), style, ms=3.5, lw=1.4, color=color, label=label
        )
    axis.set_ylim(-0.3, 2.0 * POPULATED)
    axis.set_title("free energy / kcal/mol", fontsize=9)
    axis.set_xlabel(profile.axis, fontsize=8)
    axis.tick_params(labelsize=8)
    axis.legend(fontsize=7, frameon=False)
