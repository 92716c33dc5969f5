"""Basins and the barrier between them: the free energy of the same run over native contacts and RMSD."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from look import BLUE, band, panels
from matplotlib.figure import Figure
from melting import COMMANDS as COMMANDS
from melting import SHORT as SHORT

import mdflash


def draw(runs: Path) -> Figure:
    """A map and a curve, both at one temperature, reweighted from all of them."""
    found = mdflash.open_run(runs / "ladder").analyze().molecules["chignolin"]
    plane = next(s for s in found.surfaces if len(s.names) == 2)
    line = next(s for s in found.surfaces if s.names == ("q",))
    top = 4.0

    figure, (left, right) = panels(1.25, 1)
    image = left.pcolormesh(*plane.edges, np.minimum(plane.energy, top).T, vmin=0, vmax=top, cmap="viridis")
    figure.colorbar(image, ax=left, label="free energy / kcal/mol", extend="max")
    labels = {o.name: o.label for o in found.sample.observables}
    left.set(xlabel=labels[plane.names[0]], ylabel=labels[plane.names[1]])
    left.set_title(f"Folded and unfolded at {plane.kelvin:.0f} K")
    x = 0.5 * (line.edges[0][1:] + line.edges[0][:-1])
    band(right, x, line.energy, line.errors, BLUE)
    right.plot(x, line.energy, "o", ms=4, color=BLUE)
    right.set(xlabel=labels["q"], ylabel="free energy / kcal/mol", ylim=(-0.1, None))
    right.set_title("The same along Q, with its error")
    return figure
