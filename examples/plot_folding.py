"""Q of one replica against time, and the free energy along Q of all replicas, from a finished run folder.

mdflash run chignolin
python examples/plot_folding.py runs/chignolin --out chignolin.png
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

import mdflash
from mdflash.analysis.validate_coordinates import fraction_of_contacts


def plot(run: Path, out: Path, forcefield: str = "go-chignolin", replica: int = 0) -> np.ndarray:
    """Writes the picture; returns Q [R, F]."""
    contacts = next(t for t in mdflash.load_forcefield(forcefield).terms if t.name == "contacts")
    frames = mdflash.open_run(run).xarray().positions  # [replica, time, bead, xyz] Å, read when asked for
    times = frames.time.values / 1000  # ns
    q = np.array([fraction_of_contacts(x.values, contacts.keys, contacts.parameters["r0"]) for x in frames])
    counts, edges = np.histogram(q, bins=25, range=(0, 1))
    with np.errstate(divide="ignore"):
        free_energy = -np.log(counts / counts.max())  # kT

    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 2.8), width_ratios=(3, 1), sharey=True)
    left.plot(times, q[replica], lw=0.4, color="#bcd4e6")
    left.plot(times, np.convolve(q[replica], np.ones(9) / 9, mode="same"), lw=0.9, color="#1b4965")
    left.set(xlabel="time / ns", ylabel="native contacts Q", ylim=(0, 1), xlim=(0, times[-1]))
    left.set_title(f"replica {replica} of {len(q)}", fontsize=9)
    right.plot(free_energy, 0.5 * (edges[1:] + edges[:-1]), color="#ca6702")
    right.set(xlabel="free energy / kT")
    right.set_title("all replicas", fontsize=9)
    for axis in (left, right):
        axis.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(out, dpi=150)
    return q


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--out", type=Path, default=Path("folding.png"))
    arguments = parser.parse_args()
    plot(arguments.run, arguments.out)
