"""Pictures of fitted priors: the data and the prior side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mdflash import units
from mdflash.core.files import replacing, storage_errors
from mdflash.core.optional import require
from mdflash.core.regular import own_folder
from mdflash.forcefields.model import ForceField
from mdflash.potentials.forms import FORMS
from mdflash.training.inversion import free_energy
from mdflash.training.priors import Samples

COLUMNS, ROWS = 5, 6
_SPAN = {"angle": (0.0, np.pi), "dihedral": (-np.pi, np.pi)}


def plot_priors(folder: Path, rows: Sequence[Samples], ff: ForceField) -> list[Path]:
    """Write one PNG for each term (and page of 30 rows); returns their paths.

    Args:
        folder: created where missing.
        rows: from `priors.fit_priors`.
        ff: the force field that was fitted.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    require("matplotlib", "analysis", "a picture of the priors")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    forms = {term.name: term.form for term in ff.terms}
    with storage_errors(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        own_folder(folder)
    written = []
    for term in dict.fromkeys(row.term for row in rows):
        mine = [row for row in rows if row.term == term]
        for page in range(0, len(mine), COLUMNS * ROWS):
            shown = mine[page : page + COLUMNS * ROWS]
            lines = -(-len(shown) // COLUMNS)
            figure = Figure(figsize=(2.4 * COLUMNS, 1.9 * lines), layout="constrained")
            FigureCanvasAgg(figure)
            for axis, row in zip(figure.subplots(lines, COLUMNS, squeeze=False).flat, shown, strict=False):
                _draw(axis, row, forms[term])
            for axis in figure.axes[len(shown) :]:
                axis.set_visible(False)
            figure.suptitle(f"{term}: data (dots), prior (line); kcal/mol", fontsize=9)
            path = folder / (f"{term}.png" if page == 0 else f"{term}-{page // (COLUMNS * ROWS) + 1}.png")
            with replacing(path) as partial:
                figure.savefig(partial, dpi=110, format="png")
            written.append(path)
    return written


def _draw(axis: Any, row: Samples, form: str) -> None:
    kT = units.kT(row.temperature)
    low, high = _SPAN.get(row.coordinate, (float(row.values.min()), float(row.values.max())))
    jacobian = {"distance": row.values**2, "angle": np.sin(row.values)}.get(row.coordinate, np.ones_like(row.values))
    _, curve = free_energy(row.values, jacobian, kT, (low, high))
    margin = 0.0 if row.coordinate in _SPAN else 0.1 * (high - low)
    q = np.linspace(low - margin + 1e-3, high + margin - 1e-3, 200)
    parameters = {p: torch.as_tensor(v, dtype=torch.float64) for p, v in row.parameters.items()}
    u = FORMS[form].energy(torch.from_numpy(q), **parameters).numpy()
    at = np.interp(curve.q, q, u)
    shift = np.average(curve.energy - at, weights=np.exp(-curve.energy / kT))
    unit = 1.0 if row.coordinate == "distance" else 180.0 / np.pi
    axis.plot(curve.q * unit, curve.energy, ".", ms=3, color="#1b4965")
    axis.plot(q * unit, u + shift, lw=1, color="#ca6702")
    axis.set_ylim(-0.5, min(curve.energy.max(), 10.0) + 1.5)
    axis.set_title(row.label, fontsize=6)
    axis.tick_params(labelsize=6)
