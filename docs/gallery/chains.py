"""How chains grow: radii with CALVADOS 2; one repeat follows a power law, long chains of the other collapse."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from look import BLUE, ORANGE, panels
from matplotlib.figure import Figure

import mdflash

COMMANDS = (
    "mdflash init --fasta docs/gallery/chains.fasta --forcefield calvados2 --set replicas.count=8"
    " --set dynamics.length='600 ps' --set output.trajectory.interval='5 ps' --set output.log.interval='5 ps'"
    " --out chains",
    "mdflash run chains/system.yaml",
)
SHORT = ("dynamics.length=20 ps",)


def draw(runs: Path) -> Figure:
    """Radii over length, and the power law of the soluble repeat; errors are those of means over replicas."""
    found = mdflash.open_run(runs / "chains/run").analyze().molecules
    figure, (left, right) = panels(1, 1)
    for color, repeat in ((BLUE, "GS"), (ORANGE, "GYSQ")):
        chains = [m for m in found.values() if m.name.split("-")[0] == repeat]
        n = np.array([m.sample.molecule.system.n_beads for m in chains], float)
        rg = np.array([m.measured["rg"].states[m.focus].mean for m in chains]) / 10
        label = f"({repeat})$_n$"
        left.errorbar(n, rg[:, 0], rg[:, 1], fmt="o", ms=4.5, color=color, label=label)
        if repeat == "GS":
            fit, covariance = np.polyfit(np.log(n), np.log(rg[:, 0]), 1, w=rg[:, 0] / rg[:, 1], cov="unscaled")
            power = f"$N^\\nu$, ν = {fit[0]:.2f} ± {covariance[0, 0] ** 0.5:.2f}"
            left.plot(n, np.exp(np.polyval(fit, np.log(n))), color=color, lw=1.2, label=power)
        longest = chains[-1]
        values = np.concatenate([t.values["rg"][t.steps >= longest.first_step] for t in longest.sample.tracks]) / 10
        right.hist(values, 30, density=True, histtype="stepfilled", alpha=0.35, color=color)
        right.axvline(rg[-1, 0], color=color, lw=1.5, ymax=0.74, label=f"{label}, mean")
    left.set(xscale="log", yscale="log", xlabel="residues N", ylabel="radius of gyration / nm")
    left.set(xticks=n, xticklabels=[f"{k:.0f}" for k in n], yticks=(1, 2, 3), yticklabels=("1", "2", "3"))
    left.minorticks_off()
    left.set_title("The sticky repeat falls off the line")
    left.legend()
    right.set(xlabel="radius of gyration / nm", ylabel="probability density / nm$^{-1}$")
    right.set_title(f"The chains of {n[-1]:.0f} residues")
    right.set_ylim(0, 1.35 * right.get_ylim()[1])
    right.legend(ncols=2)
    return figure
