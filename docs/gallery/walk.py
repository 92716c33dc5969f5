"""Whether a ladder works: every replica of the same run wanders through all temperatures, again and again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from look import ORANGE, panels
from matplotlib.figure import Figure
from melting import COMMANDS as COMMANDS
from melting import SHORT as SHORT

import mdflash


def draw(runs: Path) -> Figure:
    """The temperature of every replica over its first nanosecond, and its round trips in all of the run."""
    run = mdflash.open_run(runs / "ladder")
    found = run.analyze().molecules["chignolin"]
    walk, kelvin = found.walk, found.sample.temperatures
    assert walk is not None
    end = min(1000.0, found.length)
    shown = walk.steps * (found.length / walk.steps[-1]) <= end

    figure, (left, right) = panels(2.6, 1)
    image = left.imshow(
        kelvin[walk.labels[shown]].T, aspect="auto", cmap="viridis", extent=(0, end, len(kelvin) - 0.5, -0.5)
    )
    figure.colorbar(image, ax=left, label="temperature / K")
    left.set(xlabel="time / ps", ylabel="replica", yticks=range(len(kelvin)))
    left.set_title("Colors mix: no replica is stuck")
    right.barh(np.arange(len(kelvin)), walk.round_trips, color=ORANGE, height=0.7)
    right.set(xlabel=f"round trips in {found.length / 1000:.3g} ns", yticks=range(len(kelvin)))
    right.set(ylabel="replica", ylim=(len(kelvin) - 0.5, -0.5))
    right.set_title(f"{walk.round_trips.sum():,} round trips")
    return figure
