"""Do deep models of every rule simulate? Langevin dynamics of the force fields that the depth study has kept.

    python studies/2026-11-depth/depth_stability.py RESULTS --seconds 60 --steps 1000000

RESULTS is the depth study's folder. Each force field runs until its seconds are over or its steps are done;
RESULTS/stability.json says how far each came, and whether every number stayed finite.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch

from mdflash.core.state import Layout, State
from mdflash.engine.blocks.compiled import set_threads
from mdflash.engine.engine import Engine
from mdflash.engine.settings import Backend, Dynamics
from mdflash.errors import UnstableError
from mdflash.forcefields.build import build_potential
from mdflash.forcefields.forcefield import load_forcefield
from mdflash.integrators.langevin import LangevinMiddle

TIMESTEPS = {"ala2": 0.002, "teacher": 0.010}
"""ps, by the data's name."""
FRICTION, KELVIN = 1.0, 300.0
BLOCK = 50


def simulate(folder: Path, replicas: int, seconds: float, steps: int) -> dict[str, object]:
    """Replicas of one force field from its first start frame."""
    ff = load_forcefield(folder)
    system, start = ff.system()
    layout = Layout((system,), (replicas,))
    timestep = TIMESTEPS[folder.name.split("-")[1]]
    state = State.at(layout, np.tile(start[0], (replicas, 1)), KELVIN)
    dynamics = Dynamics(LangevinMiddle(timestep, FRICTION), seed=1)
    engine = Engine(layout, build_potential([ff], layout), state, dynamics, Backend(precision="fp32"))
    engine.minimize(200)
    engine.draw_velocities()
    heat: list[float] = []
    error = ""
    began = time.monotonic()
    while engine.state.step < steps and time.monotonic() - began < seconds and not error:
        try:
            engine.run(min(BLOCK, steps - engine.state.step))
        except UnstableError as found:
            error = found.message
        heat.append(float(engine.instantaneous_temperature().mean()))
    return {
        "forcefield": folder.name.removeprefix("ff-"),
        "kernels": engine.propagator.kernels,
        "replicas": replicas,
        "steps": engine.state.step,
        "timestep_fs": 1e3 * timestep,
        "mean_temperature_K": round(float(np.mean(heat[len(heat) // 5 :])), 1),
        "finite": not error and bool(torch.isfinite(engine.state.positions).all()),
        "error": error,
        "notes": list(engine.notes),
    }


def main() -> None:
    """Run them all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("results", type=Path)
    parser.add_argument("--replicas", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=60.0, help="for each force field")
    parser.add_argument("--steps", type=int, default=1_000_000, help="of each replica, at most")
    parser.add_argument("--only", default="", help="force fields whose name begins so, such as ala2-plain-128")
    options = parser.parse_args()
    torch.set_num_threads(set_threads(1))
    file = options.results / "stability.json"
    done = {row["forcefield"]: row for row in (json.loads(file.read_text()) if file.is_file() else [])}
    for folder in sorted(options.results.glob(f"ff-{options.only}*")):
        row = simulate(folder, options.replicas, options.seconds, options.steps)
        done[str(row["forcefield"])] = row
        print(json.dumps(row), flush=True)
        file.write_text(json.dumps(list(done.values()), indent=1) + "\n")


if __name__ == "__main__":
    main()
