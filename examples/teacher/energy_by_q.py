"""What a student's energies say of its folding, on frames of its Gō teacher: half a minute, no simulation.

python examples/teacher/energy_by_q.py runs/teacher/bundle/forcefield --teacher runs/teacher/go-bundle \
    --data runs/teacher/bundle-data

By the fraction of native contacts Q: the mean and spread of E_student - E_teacher, and the free energy that the student
adds, -kT ln <exp(-(E_student - E_teacher) / kT)>, each from its value in the middle. R. W. Zwanzig, J. Chem. Phys. 22,
1420 (1954). It trusts that the student goes where the teacher goes; `folding_profile.py` simulates it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from scipy.special import logsumexp

from mdflash import Dynamics, Engine, ForceField, LangevinMiddle, Layout, State, build_potential, load_forcefield
from mdflash.analysis.against.coordinates import coordinates
from mdflash.sampling.dataset import load_dataset
from mdflash.units import kT

BINS, CHUNK = 10, 256


def energies(ff: ForceField, positions: np.ndarray) -> np.ndarray:
    """[F] kcal/mol at positions [F, N, 3] Å."""
    system, _ = ff.system()
    found = []
    for begin in range(0, len(positions), CHUNK):
        x = positions[begin : begin + CHUNK]
        layout = Layout((system,), (len(x),))
        state = State.at(layout, x.reshape(-1, 3), 0.0)
        engine = Engine(layout, build_potential([ff], layout), state, Dynamics(LangevinMiddle(0.001, 1.0), seed=0))
        engine.evaluate()
        found.append(state.energy.numpy().copy())
    return np.concatenate(found)


def frames(folder: Path, molecule: str, temperature: float, width: float) -> np.ndarray:
    """[F, N, 3] of the dataset's frames within `width` K of a temperature."""
    dataset = load_dataset(folder)
    read = [t.read() for m in dataset.molecules if m.name == molecule for t in m.trajectories]
    return np.concatenate([f.positions[np.abs(f.temperature - temperature) <= width] for f in read]).astype(float)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="the student's force field")
    parser.add_argument("--teacher", default="go-chignolin", help="force field folder, or the name of a shipped one")
    parser.add_argument("--data", type=Path, required=True, help="a dataset of the teacher's frames")
    parser.add_argument("--temperature", type=float, default=345.0, help="K")
    parser.add_argument("--width", type=float, default=20.0, help="K; frames of nearby temperatures count too")
    parser.add_argument("--frames", type=int, default=300, help="in each bin of Q, at most")
    options = parser.parse_args()
    teacher, student = load_forcefield(options.teacher), load_forcefield(options.folder)
    system, native = teacher.system()
    fold = next(c for c in coordinates(system, native[0]) if c.name == "Q")
    x = frames(options.data, system.name, options.temperature, options.width)
    number = np.minimum((BINS * fold.values(x)[:, 0]).astype(int), BINS - 1)
    rng = np.random.default_rng(1)
    chosen = np.concatenate([rng.permutation(np.flatnonzero(number == k))[: options.frames] for k in range(BINS)])
    x, number = x[chosen], number[chosen]
    difference = energies(student, x) - energies(teacher, x)
    beta = 1.0 / kT(options.temperature)
    rows = {}
    for k in np.unique(number):
        d = difference[number == k]
        rows[int(k)] = len(d), d.mean(), d.std(), -(logsumexp(-beta * d) - np.log(len(d))) / beta
    middle = rows[min(rows, key=lambda k: abs(k - BINS // 2))]
    print("Q          frames   energy  spread  free energy / kcal/mol")
    for k, (count, mean, spread, free) in rows.items():
        low, high = k / BINS, (k + 1) / BINS
        print(f"{low:.1f}..{high:.1f} {count:8} {mean - middle[1]:8.2f} {spread:7.2f} {free - middle[3]:8.2f}")
