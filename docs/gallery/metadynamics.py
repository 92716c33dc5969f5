"""The map of a dipeptide: alanine's free energy over phi and psi, filled by 16 walkers of one metadynamics."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from look import BLUE, ORANGE, panels
from matplotlib.figure import Figure

import mdflash

COMMANDS = ("mdflash run docs/gallery/metadynamics.yaml",)
SHORT = ("dynamics.length=5 ps",)


def draw(runs: Path) -> Figure:
    """The free energy of the bias, and how it settled."""
    (filled,) = mdflash.open_run(runs / "metadynamics").analyze().molecules["ala2"].filled
    phi, psi = (np.degrees(nodes) for nodes in filled.nodes)
    top, turn = 6.0, {"lim": (-180, 180), "ticks": (-180, -90, 0, 90, 180)}

    figure, (left, right) = panels(1.15, 1)
    energy = np.minimum(filled.scaled, top).T
    image = left.pcolormesh(phi, psi, energy, vmin=0, vmax=top, cmap="viridis", shading="nearest", rasterized=True)
    left.contour(phi, psi, energy, levels=np.arange(1, top), colors="white", linewidths=0.5)
    figure.colorbar(image, ax=left, label="free energy / kcal/mol", extend="max")
    left.set(xlabel="phi / degree", **{f"x{key}": value for key, value in turn.items()})
    left.set(ylabel="psi / degree", **{f"y{key}": value for key, value in turn.items()})
    left.set_title(f"{filled.hills:,} hills at {filled.kelvin:.0f} K")
    right.plot(filled.times[:-1], filled.drift, "o-", ms=4, color=BLUE)
    if filled.check is not None:
        right.axhline(filled.check.halves, color=ORANGE, ls="--", label="both halves of the run, by frames")
        right.legend()
    right.set(xlabel="time of each walker / ps", ylabel="rms difference / kcal/mol", ylim=(0, None))
    right.set_title("How far it was from its last shape")
    return figure
