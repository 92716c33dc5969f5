"""Multiple time steps: what `network_every: k` gains, and up to which k it holds.

    PYTHONPATH=.:benchmarks python studies/2026-11-multiple-time-steps/respa.py speed      step·replicas/s by k; a minute or two, on an idle machine
    PYTHONPATH=.:benchmarks python studies/2026-11-multiple-time-steps/respa.py physics    the table of stable k; ten minutes and more, on any machine

    [--reference ../shared/reference] [--case 1enh-5b] [--steps N] [--seconds S] [--threads N] [--out results]

The table has, for time steps of 2 and 4 fs and each k, all from the same equilibrated state: temperature and potential
energy of Langevin dynamics at multiples of k, the energy also against k = 1 in standard errors over replicas; the
largest force met; drift and spread of the total energy without a thermostat (NVE).
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import tempfile
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import numpy as np
from cases import Case, chignolin, homeodomain

from mdflash.bench.machine import measure_machine
from mdflash.bench.speed import measure_speed, with_replicas
from mdflash.config.load import load_run
from mdflash.core.state import State
from mdflash.engine.blocks.compiled import set_threads
from mdflash.engine.engine import Engine
from mdflash.errors import UnstableError
from mdflash.integrators.timestep_check import shortest_period
from mdflash.potentials.base import SumPotential
from mdflash.runs.prepare import prepare
from mdflash.units import BOLTZMANN

HERE = Path(__file__).parent
EVERY = (1, 2, 3, 4, 6, 8)
TIMESTEPS = (2, 4)
"""fs"""
TEMPERATURE = 300.0
EXPLODED = 100.0
"""kT per bead of spread in NVE, beyond which nothing more is said."""
CYCLE = 24
"""Steps between samples: a multiple of every k."""
EQUILIBRATE = 50 * CYCLE
REPLICAS = {"1enh-5b": 8, "chignolin-ca": 64}
STEPS = {"1enh-5b": 40 * CYCLE, "chignolin-ca": 200 * CYCLE}
"""Of each measurement."""


def engine(file: Path, name: str, timestep: int, every: int, integrator: str = "langevin-middle") -> Engine:
    """Replicas of a case at its start frame, velocities drawn."""
    overrides = [
        f"dynamics.network_every={every}", f"dynamics.timestep={timestep} fs", f"dynamics.integrator={integrator}",
    ]  # fmt: skip
    return with_replicas(prepare(load_run(file, overrides)), REPLICAS[name])


def put(simulation: Engine, state: State) -> Engine:
    """The simulation with positions and velocities of another."""
    simulation.state.positions.copy_(state.positions)
    simulation.state.velocities.copy_(state.velocities)
    simulation.evaluate()
    return simulation


def langevin(simulation: Engine, steps: int) -> dict[str, Any]:
    """Means of each replica, the first tenth left out; largest force of any sample."""
    simulation.run(max(steps // 10 // CYCLE, 1) * CYCLE)
    temperature, energy, largest = [], [], 0.0
    for _ in range(steps // CYCLE):
        simulation.run(CYCLE)
        temperature.append(simulation.instantaneous_temperature())
        energy.append(simulation.state.energy.numpy().copy())
        largest = max(largest, float(simulation.state.forces.norm(dim=1).max()))
    return {
        "temperature": np.mean(temperature, axis=0).tolist(),
        "energy": np.mean(energy, axis=0).tolist(),
        "largest_force": largest,
    }


def conserved(simulation: Engine, steps: int) -> dict[str, float]:
    """Drift in kT per bead and ns, and spread about it in kT per bead, of the total energy."""
    total = []
    for _ in range(steps // CYCLE):
        total.append(simulation.state.energy.numpy() + simulation.kinetic_energy())
        simulation.run(CYCLE)
    time = np.arange(len(total)) * CYCLE * simulation.integrator.timestep * 1e-3
    each = np.array(total) / (BOLTZMANN * TEMPERATURE * simulation.layout.systems[0].n_beads)  # [time, replicas]
    slope, middle = np.polyfit(time, each, 1)
    return {"drift": float(slope.mean()), "spread": float((each - time[:, None] * slope - middle).std())}


def measure_speeds(file: Path, name: str, seconds: float) -> dict[str, Any]:
    """By k, at 4 fs."""
    found = {}
    for every in EVERY:
        speed = measure_speed(engine(file, name, 4, every), seconds)
        found[str(every)] = dataclasses.asdict(speed)
        print(f"{name} k = {every}: {speed.step_replicas_per_second:.1f} step·replicas/s", flush=True)
    return found


def measure_physics(file: Path, name: str, steps: int) -> dict[str, Any]:
    """By time step in fs and k."""
    found: dict[str, Any] = {}
    for timestep in TIMESTEPS:
        start = engine(file, name, timestep, 1)
        start.minimize(100)
        start.run(EQUILIBRATE)
        assert isinstance(start.potential, SumPotential)
        found["shortest_bond_period_fs"] = 1e3 * shortest_period(start.potential.terms, start.layout)
        rows = found[str(timestep)] = {}
        for every in EVERY:
            runs: tuple[tuple[str, Callable[[Engine, int], dict[str, Any]]], ...] = (
                ("langevin-middle", langevin), ("verlet", conserved),
            )  # fmt: skip
            row = rows[str(every)] = {}
            for integrator, measurement in runs:
                simulation = put(engine(file, name, timestep, every, integrator), start.state)
                try:
                    row[integrator] = measurement(simulation, steps)
                except UnstableError as error:
                    row[integrator] = {"unstable": str(error)}
            print(f"{name} {timestep} fs k = {every} done", flush=True)
    return found


def speed_table(case: dict[str, Any]) -> list[str]:
    """The rows of one case as Markdown."""
    lines = ["| k | step·replicas/s | speed-up |", "|---|---|---|"]
    for every, row in case.items():
        rate = row["steps_per_second"]
        faster = rate / case["1"]["steps_per_second"]
        lines.append(f"| {every} | {rate * row['replicas']:,.0f} | {faster:.2f}x |")
    return lines


def physics_table(case: dict[str, Any]) -> list[str]:
    """The rows of one case as Markdown."""
    lines = [
        "| time step | k | impulses every | T, K | energy from k = 1, kcal/mol (std errors) | largest force "
        "| NVE drift, kT/bead/ns | spread, kT/bead |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for timestep in TIMESTEPS:
        rows = case[str(timestep)]
        first = np.array(rows["1"]["langevin-middle"]["energy"])
        for every in EVERY:
            warm, free = rows[str(every)]["langevin-middle"], rows[str(every)]["verlet"]
            line = f"| {timestep} fs | {every} | {every * timestep} fs "
            if "unstable" in warm or np.mean(warm["temperature"]) > 2.0 * TEMPERATURE:
                line += "| explodes | | "
            else:
                e = np.array(warm["energy"])
                away, error = e.mean() - first.mean(), np.sqrt((e.var(ddof=1) + first.var(ddof=1)) / len(e))
                line += f"| {np.mean(warm['temperature']):.1f} | {away:+.2f} ({away / error:+.1f}) "
                line += f"| {warm['largest_force']:.0f} "
            if "unstable" in free or free["spread"] > EXPLODED:
                lines.append(line + "| explodes | |")
            else:
                lines.append(line + f"| {free['drift']:+.3g} | {free['spread']:.2g} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("speed", "physics"))
    parser.add_argument("--reference", type=Path, default=HERE.parents[2] / "shared" / "reference")
    parser.add_argument("--case", choices=sorted(REPLICAS), action="append")
    parser.add_argument("--steps", type=int, default=None, help="of each measurement of physics; default: by case")
    parser.add_argument("--seconds", type=float, default=4.0, help="of each measurement of speed")
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--out", type=Path, default=HERE)
    arguments = parser.parse_args()
    if not arguments.reference.is_dir():
        raise SystemExit(f"no models in {arguments.reference}; give --reference FOLDER")
    set_threads(arguments.threads)
    machine = measure_machine()
    report: dict[str, Any] = {"date": date.today().isoformat(), "machine": dataclasses.asdict(machine), "cases": {}}
    for name in arguments.case or REPLICAS:
        case: Case = homeodomain(arguments.reference)[0] if name == "1enh-5b" else chignolin(arguments.reference)
        with tempfile.TemporaryDirectory(prefix="mdflash-respa-") as place:
            file = case.write(Path(place) / case.name)
            if arguments.part == "speed":
                found = measure_speeds(file, name, arguments.seconds)
                table = speed_table(found)
            else:
                found = measure_physics(file, name, arguments.steps or STEPS[name])
                table = physics_table(found)
        report["cases"][name] = found
        print("\n".join(table), flush=True)
    arguments.out.mkdir(parents=True, exist_ok=True)
    target = arguments.out / f"respa_{arguments.part}_{report['date']}.json"
    target.write_text(json.dumps(report, indent=2) + "\n")
    print(f"written to {target}")


if __name__ == "__main__":
    main()
