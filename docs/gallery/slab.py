"""A condensate beside its dilute phase: the density of 40 sticky chains along a long box, with CALVADOS 2."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from look import BLUE, ORANGE, panels
from matplotlib.figure import Figure

import mdflash

COMMANDS = (
    "mdflash init --sequence GYSQGYSQGYSFGYSQRGYSQGYSF --count 40 --box '9 nm, 9 nm, 40 nm' --slab"
    " --forcefield calvados2 --set dynamics.temperature='260 K' --set replicas.count=2 --set dynamics.length='1.5 ns'"
    " --set output.trajectory.interval='10 ps' --set output.log.interval='10 ps' --out slab",
    "mdflash run slab/system.yaml",
)
SHORT = ("dynamics.length=30 ps",)


def draw(runs: Path) -> Figure:
    """The mean profile, and that of every moment."""
    (found,) = mdflash.open_run(runs / "slab/run").analyze().molecules.values()
    phases = found.phases
    assert phases is not None
    z = phases.profiles.z / 10

    figure, (left, right) = panels(1.15, 1)
    left.plot(z, phases.density, color=BLUE, label="mean")
    low, high = phases.density - phases.error, phases.density + phases.error
    left.fill_between(z, low, high, color=BLUE, alpha=0.25, lw=0, label="standard error")
    if phases.interface is not None:
        ends = np.array(phases.interface.middle) / 10
        for end in (-ends[0], ends[1]):
            left.axvline(end, color=ORANGE, ls="--", lw=1)
        left.set_title(f"A slab of {ends.sum():.1f} nm at {found.sample.temperatures[found.focus]:.0f} K")
    left.set(xlabel="z / nm", ylabel="density / mg/mL", ylim=(0, None), xlim=(z[0], z[-1]))
    left.legend(loc="upper right")
    track = found.sample.tracks[0]
    rows = phases.profiles.density[: len(track)]
    image = right.imshow(
        rows, aspect="auto", origin="lower", cmap="viridis", extent=(z[0], z[-1], 0, track.times[-1] / 1000)
    )
    figure.colorbar(image, ax=right, label="density / mg/mL")
    right.set(xlabel="z / nm", ylabel="time / ns")
    right.set_title("One replica over time")
    return figure
