"""A Gō force field moved to a given melting curve: targets for the folded share at four temperatures.

python examples/teacher/melting.py start runs/teacher/melting
mdflash train examples/teacher/melting.yaml
python examples/teacher/melting.py check runs/teacher/melting/train/forcefield

The start is `go-chignolin` and a network that is zero, so what is learned is what has to change.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from teacher import engine, starts

from mdflash import ForceField, load_forcefield, save_forcefield
from mdflash.forcefields.model import Network
from mdflash.forcefields.networks import schnet_weights
from mdflash.potentials.schnet.network import Hyperparameters, SchNet
from mdflash.potentials.variables.base import Selected
from mdflash.potentials.variables.native_contacts import Contacts, NativeContacts
from mdflash.sampling.dataset import create_dataset
from mdflash.sampling.trajectory import TrajectoryWriter

KELVIN, FRAMES, EVERY = 340.0, 60, 500  # K, frames of each replica, steps
TEMPERATURES, FOLDED = (320.0, 340.0, 360.0, 380.0), 0.5


def with_network(teacher: ForceField) -> ForceField:
    """The teacher and a small network that is zero."""
    hyper = Hyperparameters(
        cutoff=12.0, types=max(t.index for t in teacher.bead_types) + 1, features=16, filters=16, blocks=1,
        basis_size=24, filter_hidden=(16,), output=(16, 8),
    )  # fmt: skip
    torch.manual_seed(1)
    model = SchNet(hyper)
    with torch.no_grad():
        model.get_parameter(f"output.{len(model.output) - 1}.weight").zero_()
    return replace(
        teacher, name="start", networks=(Network("schnet", "schnet", hyper.to_dict(), schnet_weights(model)),)
    )


def write_start(teacher: ForceField, out: Path, replicas: int) -> None:
    """The force field to start from, and frames of the teacher at one temperature, where replicas begin."""
    save_forcefield(out / "start", with_network(teacher))
    system, native = teacher.system()
    kelvin = [KELVIN] * replicas
    simulation = engine(teacher, kelvin, 1, starts(teacher, kelvin, 1))
    simulation.run(5_000)
    create_dataset(out / "data", {system.name: (system, native)}, "ca", {"teacher": teacher.name})
    writers = [
        TrajectoryWriter(out / "data" / system.name / f"{r:03d}.h5", system.n_beads, seed=1, aggregation="basic")
        for r in range(replicas)
    ]
    for _ in range(FRAMES):
        simulation.run(EVERY)
        x, f = (simulation.layout.view(t, 0).numpy() for t in (simulation.state.positions, simulation.state.forces))
        for r, writer in enumerate(writers):
            writer.append(x[r], f[r], KELVIN, simulation.time)
    for writer in writers:
        writer.close()


def check(ff: ForceField, teacher: ForceField, replicas: int, steps: int) -> None:
    """Print the folded share at each temperature, with its error from halves of the replicas."""
    system, native = teacher.system()
    whole = Selected([list(range(system.n_beads))], native[0], Contacts())
    variable = NativeContacts.select(system, whole)
    kelvin = list(TEMPERATURES) * replicas
    simulation = engine(ff, kelvin, 7, starts(teacher, kelvin, 7))
    simulation.run(steps // 10)
    seen = []
    for _ in range(steps // 200):
        simulation.run(200)
        seen.append(variable.value(simulation.layout.view(simulation.state.positions, 0)).numpy() > FOLDED)
    share = np.array(seen).mean(axis=0).reshape(replicas, len(TEMPERATURES))
    for k, t in enumerate(TEMPERATURES):
        error = share[:, k].std(ddof=1) / replicas**0.5
        print(f"{t:g} K: folded {share[:, k].mean():.3f} ± {error:.3f}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("start", "check"))
    parser.add_argument("folder", type=Path, help="where to write, or the force field to check")
    parser.add_argument("--replicas", type=int, default=16, help="for check: at each temperature")
    parser.add_argument("--steps", type=int, default=300_000)
    options = parser.parse_args()
    go = load_forcefield("go-chignolin")
    if options.what == "start":
        write_start(go, options.folder, options.replicas)
    else:
        check(load_forcefield(options.folder), go, options.replicas, options.steps)
