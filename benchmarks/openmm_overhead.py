"""What OpenMM costs around a mdflash force: native steps and steps through OpenMM, in turn, in one run.

    python benchmarks/openmm_overhead.py [--reference ../shared/reference] [--threads N] [--out benchmarks/results]

One replica, Langevin middle, 4 fs, fp32, OpenMM's Reference platform. Cases: `1enh-5b-folded` (269 beads) and
`chignolin-ca` (10 beads) with mlcg's published models (left out without them), and the shipped `go-chignolin`, whose
own time is next to nothing. Blocks of native steps and of OpenMM steps follow each other, the fastest of each counts:
`ratio` is the speed through OpenMM over the native speed, `overhead` what a step takes longer.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import openmm
import torch
from cases import chignolin, homeodomain

from mdflash import __version__
from mdflash.bench.machine import measure_machine
from mdflash.core.state import Layout, State
from mdflash.core.system import System
from mdflash.core.types import FloatArray
from mdflash.engine.blocks.compiled import set_threads
from mdflash.engine.engine import Engine
from mdflash.engine.settings import Backend, Dynamics
from mdflash.forcefields.build import build_potential
from mdflash.forcefields.forcefield import load_forcefield
from mdflash.forcefields.model import ForceField
from mdflash.integrators.langevin import LangevinMiddle
from mdflash.openmm import create_system

TIMESTEP, FRICTION, TEMPERATURE = 0.004, 1.0, 300.0
BLOCKS = 8


def native(ff: ForceField, system: System, x: FloatArray) -> Callable[[int], object]:
    layout = Layout((system,), (1,))
    state = State.at(layout, x, TEMPERATURE)
    scheme = LangevinMiddle(TIMESTEP, FRICTION)
    engine = Engine(
        layout, build_potential([ff], layout), state, Dynamics(scheme, seed=2026), Backend(precision="fp32")
    )
    engine.draw_velocities()
    return engine.run


def through_openmm(openmm_system: openmm.System, x: FloatArray) -> Callable[[int], object]:
    integrator = openmm.LangevinMiddleIntegrator(TEMPERATURE, FRICTION, TIMESTEP)
    platform = openmm.Platform.getPlatformByName("Reference")
    context = openmm.Context(openmm_system, integrator, platform)
    context.setPositions(x * 0.1)
    context.setVelocitiesToTemperature(TEMPERATURE, 2026)

    # by way of the Context, which must live as long as its integrator
    return lambda steps: context.getIntegrator().step(steps)


def measure(ff: ForceField, system: System, x: FloatArray, seconds: float) -> dict[str, Any]:
    """Seconds of one step each way, in blocks of about `seconds`."""
    full = create_system(ff, system)
    bare = create_system(ff, system)
    bare.removeForce(0)
    runs = {"native": native(ff, system, x), "openmm": through_openmm(full, x), "bare_openmm": through_openmm(bare, x)}
    best: dict[str, float] = {}
    steps: dict[str, int] = {}
    for name, run in runs.items():
        run(50)  # compiles
        began = time.perf_counter()
        run(50)
        steps[name] = max(50, int(seconds * 50 / (time.perf_counter() - began)))
    for _ in range(BLOCKS):
        for name, run in runs.items():
            began = time.perf_counter()
            run(steps[name])
            taken = (time.perf_counter() - began) / steps[name]
            best[name] = min(taken, best.get(name, taken))
    return {
        "beads": system.n_beads,
        "seconds_per_step": best,
        "ratio": best["native"] / best["openmm"],
        "overhead_us": 1e6 * (best["openmm"] - best["native"]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reference", type=Path, default=Path(__file__).parents[2] / "shared" / "reference")
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each timed block")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    arguments = parser.parse_args()
    threads = set_threads(arguments.threads)
    torch.set_num_threads(threads)
    go = load_forcefield("go-chignolin")
    molecule, frames = go.system()
    assert frames is not None
    cases = [("go-chignolin", go, molecule, frames[0])]
    if (arguments.reference / "mlcg").is_dir():
        for case in (chignolin(arguments.reference), homeodomain(arguments.reference)[0]):
            cases.append((case.name, case.forcefield, case.system, case.start))
    report: dict[str, Any] = {
        "date": date.today().isoformat(),
        "machine": measure_machine().cpu,
        "threads": threads,
        "load_average": os.getloadavg()[0],
        "versions": {"mdflash": __version__, "openmm": openmm.__version__, "torch": torch.__version__},
    }
    for name, ff, system, x in cases:
        report[name] = measure(ff, system, x, arguments.seconds)
        print(json.dumps({name: report[name]}, indent=2))
    arguments.out.mkdir(parents=True, exist_ok=True)
    target = arguments.out / f"openmm_overhead_{report['date']}_{threads}threads.json"
    target.write_text(json.dumps(report, indent=2) + "\n")
    print(f"written to {target}")


if __name__ == "__main__":
    main()
