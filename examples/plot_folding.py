"""A picture of folding from finished run folders: structures, native contacts of every replica, and the free energy.

mdflash run chignolin-schnet --set output.trajectory.interval="2 ps"
mdflash run chignolin        # the Gō model that taught the SchNet: the known truth
python examples/plot_folding.py runs/chignolin-schnet --truth runs/chignolin --out folding.png
"""

from __future__ import annotations

import argparse
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import LinearSegmentedColormap

import mdflash
from mdflash.units import BOLTZMANN, parse

INK, TRUTH = "#16324f", "#d1495b"
FOLDING = LinearSegmentedColormap.from_list("folding", ["#f6efe0", "#f2b05e", "#c8553d", "#16324f"])
CHAIN = plt.get_cmap("turbo")
SNAPSHOTS, CELL = 5, 27.0
"""Structures in a row, and the width of each, Å."""


def contacts_over_time(run: Path, teacher: str = "go-chignolin") -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Times [F] in ns, positions [R, F, N, 3] in Å, and the fraction of native contacts [R, F] of a run folder."""
    forcefield = mdflash.load_forcefield(teacher)
    (system, native), contacts = forcefield.system(), next(t for t in forcefield.terms if t.name == "contacts")
    frames = mdflash.open_run(run).xarray().positions  # [replica, time, bead, xyz], read when asked for
    positions = frames.values
    q = np.array([mdflash.native_contacts(x, system, native[0], contacts=contacts.keys) for x in positions])
    return frames.time.values / 1000, positions, q


def free_energy(q: np.ndarray, kelvin: float, bins: int = 12) -> tuple[np.ndarray, np.ndarray]:
    """Bin centers and free energy along Q in kcal/mol, lowest bin 0; [bins] each, infinite where nothing was."""
    counts, edges = np.histogram(q, bins=bins, range=(0, 1))
    with np.errstate(divide="ignore"):
        return 0.5 * (edges[1:] + edges[:-1]), -BOLTZMANN * kelvin * np.log(counts / counts.max())


def onto(positions: np.ndarray, native: np.ndarray) -> np.ndarray:
    """`positions` [N, 3] moved and turned to lie on `native` [N, 3], which is centered (W. Kabsch, 1976)."""
    x = positions - positions.mean(axis=0)
    u, _, v = np.linalg.svd(x.T @ native)
    flip = np.diag([1.0, 1.0, np.sign(np.linalg.det(u @ v))])
    return x @ (u @ flip @ v)


def flat(positions: np.ndarray) -> np.ndarray:
    """`positions` [N, 3] centered, the longest direction along x and the shortest along z."""
    x = positions - positions.mean(axis=0)
    axes = np.linalg.svd(x)[2]
    axes[2] *= np.linalg.det(axes)  # turned, not mirrored
    return x @ axes.T


def draw_chain(axis: Any, x: np.ndarray) -> None:
    """A chain of beads [N, 3] in Å, seen along z: the nearer, the larger."""
    n, near = len(x), x[:, 2] - x[:, 2].mean()
    for i in np.argsort(near[1:] + near[:-1]):
        for color, more in (("white", 4.0), (CHAIN((i + 0.5) / (n - 1)), 0.0)):
            axis.plot(*x[i : i + 2, :2].T, color=color, lw=6.5 + 0.3 * near[i] + more, solid_capstyle="round", zorder=1)
    for i in np.argsort(near):
        axis.scatter(*x[i, :2], s=150 + 12 * near[i], color=CHAIN(i / (n - 1)), edgecolors="white", lw=1.2, zorder=2)


def smooth(q: np.ndarray, width: int) -> np.ndarray:
    """Running means of rows [R, F] over `width` frames; over fewer at the ends."""
    window = np.ones(width)
    return np.array([np.convolve(row, window, mode="same") for row in q]) / np.convolve(q[0] * 0 + 1, window, "same")


def plot(run: Path, out: Path, truth: Path | None = None, replica: int = 0) -> np.ndarray:
    """Writes the picture; returns Q [R, F]."""
    times, positions, q = contacts_over_time(run)
    kelvin = parse(mdflash.open_run(run).config["dynamics"]["temperature"], "temperature")  # one for all replicas
    native = flat(positions[0, 0])

    figure = plt.figure(figsize=(9.6, 4.6))
    rows = figure.add_gridspec(2, 1, height_ratios=(1, 1.6), hspace=0.14, left=0.06, right=0.98, top=1, bottom=0.115)
    below = rows[1].subgridspec(1, 2, width_ratios=(2.9, 1), wspace=0.2)

    above = figure.add_subplot(rows[0])
    above.set(xlim=(0, CELL * SNAPSHOTS), ylim=(-11, 11), aspect="equal")
    above.axis("off")
    turns = np.linspace(0, len(times) - 1, SNAPSHOTS + 1).astype(int)
    for k, (first, last) in enumerate(pairwise(turns)):
        part = q[replica, first:last]
        frame = first + int(part.argmax() if k % 2 == 0 else part.argmin())  # folded, unfolded, folded, ...
        x = positions[replica, frame]
        x = onto(x, native) if k % 2 == 0 else flat(x)
        draw_chain(above, x + np.array([CELL * (k + 0.5), 1.5, 0]))
        label = f"{times[frame]:.2f} ns,  Q = {q[replica, frame]:.2f}"
        above.text(CELL * (k + 0.5), -10.5, label, ha="center", fontsize=9, color=INK)

    left = figure.add_subplot(below[0])
    image = left.imshow(
        smooth(q, 5), aspect="auto", cmap=FOLDING, vmin=0, vmax=1, interpolation="nearest",
        extent=(0, times[-1], len(q) - 0.5, -0.5),
    )  # fmt: skip
    left.set(xlabel="time / ns", ylabel="replica", yticks=range(0, len(q), max(1, len(q) // 4)))
    figure.colorbar(image, ax=left, pad=0.015, label="native contacts Q")

    right = figure.add_subplot(below[1])
    right.plot(*free_energy(q, kelvin), color=INK, lw=2.2, label="SchNet" if truth else None)
    if truth is not None:
        right.plot(*free_energy(contacts_over_time(truth)[2], kelvin), "--", color=TRUTH, lw=1.8, label="Gō (truth)")
        right.legend(frameon=False, fontsize=9)
    right.set(xlabel="native contacts Q", ylabel="free energy / kcal/mol", xlim=(0, 1), ylim=(-0.05, None))
    right.set_xticks((0, 0.5, 1))
    right.spines[["top", "right"]].set_visible(False)
    figure.savefig(out, dpi=150)
    plt.close(figure)
    return q


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--truth", type=Path, help="run folder of a force field to compare the free energy with")
    parser.add_argument("--replica", type=int, default=0, help="whose structures are shown")
    parser.add_argument("--out", type=Path, default=Path("folding.png"))
    arguments = parser.parse_args()
    plot(arguments.run, arguments.out, arguments.truth, arguments.replica)
