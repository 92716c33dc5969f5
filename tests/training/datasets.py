"""A small dataset with exactly known forces: a Gō helix, simulated."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import yaml

from mdflash.core.state import Layout
from mdflash.core.system import System
from mdflash.forcefields.model import ForceField
from mdflash.integrators.langevin import LangevinMiddle
from mdflash.sampling.dataset import create_dataset
from mdflash.sampling.trajectory import TrajectoryWriter
from tests.helpers import go_helix, helix, simulate


def write_dataset(
    folder: Path,
    name: str = "helix",
    beads: int = 7,
    trajectories: int = 3,
    frames: int = 200,
    temperatures: tuple[float, ...] = (300.0,),
    mapping: str = "ca",
    biased: tuple[int, ...] = (),
    every: int = 100,
    energies: bool = False,
) -> tuple[System, ForceField]:
    """Frames of a Gō helix and its forces; trajectory k has the temperature k modulo the number of temperatures.

    Those that are `biased` say that they were held in a window. From one frame to the next are `every` steps of 4 fs.
    """
    system, ff = go_helix(beads, name)
    layout = Layout((system,), (trajectories,))
    kelvin = [temperatures[k % len(temperatures)] for k in range(trajectories)]
    start = np.tile(helix(beads), (trajectories, 1))
    engine = simulate(layout, [ff], start, LangevinMiddle(0.004, 20.0), temperature=kelvin, seed=beads)
    engine.run(2000)
    create_dataset(folder, {name: (system, helix(beads)[None])}, mapping, {"made_for": "tests"})
    writers = [
        TrajectoryWriter(
            folder / name / f"{k:03d}.h5", beads, seed=1, aggregation="basic", biased=k in biased, energy=energies
        )
        for k in range(trajectories)
    ]
    for _ in range(frames):
        engine.run(every)
        x, f = (layout.view(t, 0).numpy() for t in (engine.state.positions, engine.state.forces))
        for k, writer in enumerate(writers):
            energy = float(engine.state.energy[k]) if energies else None
            writer.append(x[k], f[k], kelvin[k], engine.time, energy=energy)
    for writer in writers:
        writer.close()
    return system, ff


def write_recipe(file: Path, dataset: Path, **sections: dict[str, object]) -> Path:
    """A recipe of a small network; `sections` are merged into it."""
    recipe: dict[str, object] = {
        "mdflash": 1,
        "data": {"dataset": str(dataset), "validation": 0.3},
        "priors": {"key": "beads"},
        "network": {"cutoff": "12 angstrom", "features": 16, "blocks": 2, "basis_size": 16},
        "training": {"epochs": 2, "batch": 32, "learning_rate": 5e-3, "warmup": 5, "seed": 3},
        "folder": str(file.parent / "out"),
    }
    for key, section in sections.items():
        old = recipe.get(key, {})
        recipe[key] = {**old, **section} if isinstance(old, dict) else section
    file.write_text(yaml.safe_dump(recipe))
    return file
