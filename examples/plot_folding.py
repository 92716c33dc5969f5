"""A picture of folding from finished run folders: structures, native contacts of every replica, and the free energy.

mdflash run chignolin-schnet --set output.trajectory.interval="2 ps"
mdflash run chignolin        # the Gō model that taught the SchNet: the known truth
python examples/plot_folding.py runs/chignolin-schnet --truth runs/chignolin --teacher go-chignolin --out folding.png

Native contacts are those of the run's Gō force field; of another, pairs of beads within 8 Å in the first frame.
"""

from __future__ import annotations

import argparse
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import LinearSegmentedColormap

import mdflash
from mdflash.analysis.measures import fraction_of_contacts
from mdflash.config.load import load_run
from mdflash.io.read import read_times
from mdflash.units import BOLTZMANN

INK, TRUTH = "#16324f", "#d1495b"
FOLDING = LinearSegmentedColormap.from_list("folding", ["#f6efe0", "#f2b05e", "#c8553d", "#16324f"])
CHAIN = plt.get_cmap("turbo")
SNAPSHOTS, CELL = 5, 27.0
"""Structures in a row, and the width of each, Å."""


class Folding(NamedTuple):
    """What is drawn of a run.

    Attributes:
        times: [F] ns.
        positions: [R, F, N, 3] Å of the replicas of the first molecule.
        q: [R, F] fraction of native contacts.
        kelvin: [R, F] the temperature that each frame was held at.
    """

    times: np.ndarray
    positions: np.ndarray
    q: np.ndarray
    kelvin: np.ndarray


def native_contacts(forcefield: str, native: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pairs [C, 2] and their distances [C]: of a Gō force field its own, else pairs within 8 Å in `native` [N, 3]."""
    for term in mdflash.load_forcefield(forcefield).terms:
        if term.name == "contacts":
            return term.keys, term.parameters["r0"]
    pairs = np.stack(np.triu_indices(len(native), k=4), axis=1)
    r0 = np.linalg.norm(native[pairs[:, 1]] - native[pairs[:, 0]], axis=1)
    return pairs[r0 < 8.0], r0[r0 < 8.0]


def folding(folder: Path, teacher: str | None = None) -> Folding:
    """What is drawn of a run folder; `teacher` is the Gō force field whose contacts count, if not the run's own."""
    run, config = mdflash.open_run(folder), load_run(folder / "resolved.yaml")
    sources = [s for s in run.sources() if s.system == config.system[0].name]
    steps, times = read_times(sources[0].path)
    positions = np.array([run.positions[s.replica][:] for s in sources])
    pairs, r0 = native_contacts(teacher or str(config.forcefields[0]), positions[0, 0])
    q = np.array([fraction_of_contacts(x, pairs, r0) for x in positions])
    if config.exchange is None:
        kelvin = np.array([[config.temperatures[s.replica]] * len(steps) for s in sources])
    else:
        held = run.states(steps)
        kelvin = np.array(config.exchange_states)[held[[s.replica for s in sources]].to_numpy().T]
    return Folding(np.asarray(times) / 1000, positions, q, kelvin)


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


def plot(
    run: Path,
    out: Path,
    truth: Path | None = None,
    replica: int = 0,
    teacher: str | None = None,
    temperature: float | None = None,
) -> np.ndarray:
    """Writes the picture; returns Q [R, F]. The free energy is that at `temperature` (K; default: the lowest)."""
    times, positions, q, held = folding(run, teacher)
    known = np.unique(held)
    kelvin = float(known[0] if temperature is None else known[np.abs(known - temperature).argmin()])
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
    right.plot(*free_energy(q[held == kelvin], kelvin), color=INK, lw=2.2, label=run.name if truth else None)
    if truth is not None:
        other = folding(truth, teacher)
        near = np.abs(other.kelvin - kelvin) < 0.5
        right.plot(*free_energy(other.q[near], kelvin), "--", color=TRUTH, lw=1.8, label=truth.name)
        right.legend(frameon=False, fontsize=9)
    right.set(
        xlabel="native contacts Q", ylabel=f"free energy at {kelvin:.0f} K / kcal/mol", xlim=(0, 1), ylim=(-0.05, None)
    )
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
    parser.add_argument("--teacher", help="Gō force field whose native contacts count; default: the run's own")
    parser.add_argument("--temperature", type=float, help="K, of the free energy; default: the lowest of the run")
    parser.add_argument("--out", type=Path, default=Path("folding.png"))
    arguments = parser.parse_args()
    plot(
        arguments.run, arguments.out, arguments.truth, arguments.replica, arguments.teacher, arguments.temperature
    )  # fmt: skip
