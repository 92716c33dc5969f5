"""Frames of a Gō force field in umbrella windows along the fraction of native contacts: positions, forces, no energies.

    python examples/teacher/bundle.py runs/teacher/go-bundle
    python examples/teacher/windows.py runs/teacher/bundle-windows --teacher runs/teacher/go-bundle

Two replicas in each window, one from the fold and one from a chain that was hot.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from teacher import HEATING, HOT, LARGEST, engine

from mdflash import Dynamics, Engine, LangevinMiddle, Layout, Simulation, State, build_potential, load_forcefield
from mdflash.config.biases import BiasEntry
from mdflash.sampling.dataset import create_dataset
from mdflash.sampling.restraint import Restraint
from mdflash.sampling.trajectory import TrajectoryWriter

CENTERS = np.linspace(0.05, 0.95, 16)
STIFFNESS = 250.0  # kcal/mol: a window is 0.05 wide, as wide as the step to the next


def fold(center: object, reference: str) -> dict[str, object]:
    """The keys of a bias, or of windows."""
    return {
        "name": "fold", "variable": "native_contacts", "reference": reference,
        "force_constant": f"{STIFFNESS} kcal/mol", "center": center,
    }  # fmt: skip


def write(folder: Path, teacher: Path, kelvin: float, settling: float, length: float, interval: float) -> int:
    """Simulate, and write the dataset; returns its frames. Times in ps."""
    ff = load_forcefield(teacher)
    system, native = ff.system()
    assert native is not None
    centers = np.repeat(CENTERS, 2).tolist()
    hot = engine(ff, [HOT] * len(centers), seed=5)
    hot.run(HEATING)
    x = hot.layout.view(hot.state.positions, 0).numpy().copy()
    x[::2] = native[0]
    folder.mkdir(parents=True)
    reference = folder / "native.npy"
    np.save(reference, native[0])
    sim = Simulation(
        system, ff, replicas=len(centers), temperatures=f"{kelvin} K", timestep="10 fs", start=x, seed=9,
        biases=[fold(centers, str(reference))],
    )  # fmt: skip
    layout = Layout((system,), (len(centers),))
    state = State.at(layout, sim.positions.reshape(-1, 3).copy(), kelvin)
    free = Engine(layout, build_potential([ff], layout), state, Dynamics(LangevinMiddle(0.01, 1.0), seed=0))
    create_dataset(folder, {system.name: (system, native)}, ff.mapping, {"teacher": ff.digest})
    writers = [
        TrajectoryWriter(
            folder / system.name / f"{k:03d}.h5", system.n_beads, seed=9, aggregation="basic", biased=True,
            restraint=Restraint(BiasEntry.model_validate(fold(center, "start")), native[0]),
        )
        for k, center in enumerate(centers)
    ]  # fmt: skip
    sim.run(f"{settling} ps")
    kept = 0
    for frame in range(1, round(length / interval) + 1):
        sim.run(f"{interval} ps")
        state.positions.copy_(sim.state.positions)
        free.evaluate()
        forces = layout.view(state.forces, 0).numpy()
        for k, writer in enumerate(writers):
            if np.abs(forces[k]).max() < LARGEST:
                writer.append(sim.positions[k], forces[k], kelvin, frame * interval)
                kept += 1
    for writer in writers:
        writer.close()
    return kept


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="the dataset to write")
    parser.add_argument("--teacher", type=Path, required=True, help="force field folder")
    parser.add_argument("--temperature", type=float, default=345.0, help="K")
    parser.add_argument("--settling", type=float, default=1500.0, help="ps")
    parser.add_argument("--length", type=float, default=2000.0, help="ps of each replica")
    parser.add_argument("--interval", type=float, default=5.0, help="ps between frames")
    o = parser.parse_args()
    print(f"{write(o.folder, o.teacher, o.temperature, o.settling, o.length, o.interval):,} frames in {o.folder}")
