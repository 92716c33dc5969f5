"""Where a protein melts: Gō chignolin on a ladder of temperatures, its folded fraction and its heat capacity."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from look import BLUE, GREEN, ORANGE, band, panels
from matplotlib.figure import Figure

import mdflash
from mdflash.units import BOLTZMANN

COMMANDS = ("mdflash melt chignolin --from '260 K' --to '460 K' --count 16 --set dynamics.length='8 ns' --out ladder",)
SHORT = ("dynamics.length=40 ps",)


def share(true: np.ndarray) -> float:
    """Of a replica's frames at a temperature; NaN where it has none."""
    return float(true.mean()) if len(true) else np.nan


def draw(runs: Path) -> Figure:
    """Points are frames of each temperature; curves are those of all frames, by MBAR."""
    found = mdflash.open_run(runs / "ladder").analyze().molecules["chignolin"]
    melting, sample = found.melting, found.sample
    assert melting is not None and melting.folded is not None
    states = range(len(sample.temperatures))
    folded = [[share(t.values["q"][t.states == s] > 0.5) for s in states] for t in sample.tracks]
    mean, error = np.nanmean(folded, axis=0), np.nanstd(folded, axis=0, ddof=1) / np.sqrt(len(folded))

    figure, (left, right) = panels(1, 1)
    band(left, melting.temperatures, melting.folded.values, melting.folded.errors, BLUE, "all frames, by MBAR")
    left.errorbar(sample.temperatures, mean, error, fmt="o", ms=4, color=ORANGE, label="frames of each temperature")
    if melting.melting is not None:
        left.axvline(melting.melting.value, color="#5b6675", lw=1, ls="--")
        left.set_title(f"It melts at {melting.melting.value:.1f} ± {melting.melting.error:.1f} K")
    left.set(xlabel="temperature / K", ylabel="folded fraction (Q > 0.5)", ylim=(0, 1))
    left.legend(loc="upper right")
    heat = melting.heat_capacity
    band(right, melting.temperatures, heat.values / BOLTZMANN, heat.errors / BOLTZMANN, GREEN)
    right.set_title(f"The heat capacity peaks at {melting.peak.value:.1f} ± {melting.peak.error:.1f} K")
    right.set(xlabel="temperature / K", ylabel="heat capacity / $k_B$", ylim=(0, None))
    return figure
