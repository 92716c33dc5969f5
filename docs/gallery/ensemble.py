"""How fast a protein unfolds, without a bias: a weighted ensemble splits and merges 48 walkers on their way."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from look import BLUE, ORANGE, panels
from matplotlib.figure import Figure

import mdflash
from mdflash.analysis.walkers import Walked

COMMANDS = ("mdflash run docs/gallery/ensemble.yaml",)
SHORT = ("dynamics.length=20 ps", "weighted_ensemble.every=0.4 ps")


def draw(runs: Path) -> Figure:
    """Paths of the walkers that arrived last, back to the native structure, and the flux into the unfolded state."""
    walked = mdflash.open_run(runs / "ensemble").analyze().molecules["chignolin"].walked
    assert isinstance(walked, Walked)

    figure, (left, right) = panels(1.3, 1)
    for times, values in walked.lineages:
        left.plot(times, values, color=BLUE, lw=0.9, alpha=0.45)
    if walked.target is not None:
        left.axhspan(0, walked.target[1], color=ORANGE, alpha=0.25, lw=0)
        left.text(0.01, 0.02, "target", color="#8a3b00", transform=left.transAxes, fontsize=9)
    left.set(xlabel="time / ps", ylabel="native contacts Q", ylim=(0, 1))
    left.set_title("Paths that reach the unfolded state")
    rate = walked.rate
    if rate is not None:
        mean = np.cumsum(rate.flux) / np.arange(1, len(rate.flux) + 1)
        right.vlines(walked.times, 0, rate.flux, color="#9aa3af", lw=0.8, label="each resampling")
        right.plot(walked.times, mean, color=BLUE, label="running mean")
        right.axhspan(rate.rate.low, rate.rate.high, color=ORANGE, alpha=0.3, lw=0, label="rate, 95 % interval")
        right.set_title(f"It takes {rate.passage.value:.0f} ps ({rate.passage.low:.0f} to {rate.passage.high:.0f})")
        right.set_ylim(0, 3.0 * rate.rate.high)
        right.legend(loc="upper right", frameon=True, framealpha=1, edgecolor="white")
    right.set(xlabel="time / ps", ylabel="flux into the target / ps$^{-1}$")
    return figure
