"""Multiple time steps: what `network_every: k` gains, and up to which k it holds.

    python benchmarks/respa.py [--reference ../shared/reference] [--case 1enh-5b] [--steps N] [--out benchmarks/results]

For each k, all in one run: step·replicas/s; temperature and potential energy of Langevin dynamics at multiples of k
against k = 1 (in standard errors over replicas); drift and fluctuation of the total energy in NVE; largest force.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import tempfile
from datetime import date
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import numpy as np
from cases import Case, chignolin, homeodomain

from mdflash.bench.machine import measure_machine
from mdflash.bench.speed import measure_speed, with_replicas
from mdflash.config.load import load_run
from mdflash.engine import Engine
from mdflash.errors import UnstableError
from mdflash.integrators.respa import shortest_period
from mdflash.potentials.base import SumPotential
from mdflash.prepare import prepare
from mdflash.propagate.compiled import set_threads
from mdflash.units import BOLTZMANN

HERE = Path(__file__).parent
EVERY = (1, 2, 3, 4, 6, 8)
CYCLE = 24
"""Steps between samples: a multiple of every k."""
REPLICAS = {"1enh-5b": 4, "chignolin-ca": 64}
STEPS = {"1enh-5b": 2_400, "chignolin-ca": 48_000}


def engine(file: Path, every: int, replicas: int, integrator: str = "langevin-middle") -> Engine:
    """The case with `network_every: every`, minimised and drawn."""
    overrides = [
        f"dynamics.network_every={every}", f"dynamics.integrator={integrator}", "dynamics.minimize=200",
        "exchange=none",
    ]  # fmt: skip
    return with_replicas(prepare(load_run(file, overrides)), replicas)


def langevin(simulation: Engine, steps: int) -> dict[str, Any]:
    """Means of each replica, the first fifth left out."""
    simulation.run(steps // 5 // CYCLE * CYCLE)
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
    """Drift in kT per bead and ns, and fluctuation in kT per bead, of the total energy."""
    total = []
    for _ in range(steps // CYCLE):
        total.append(simulation.state.energy.numpy() + simulation.kinetic_energy())
        simulation.run(CYCLE)
    time = np.arange(len(total)) * CYCLE * simulation.integrator.timestep * 1e-3
    each = np.array(total) / (BOLTZMANN * 300.0 * simulation.layout.systems[0].n_beads)  # [time, replicas]
    slope, middle = np.polyfit(time, each, 1)
    return {"drift": float(slope.mean()), "fluctuation": float((each - time[:, None] * slope - middle).std())}


def measure(case: Case, name: str, steps: int, seconds: float) -> dict[str, Any]:
    """The rows of one case, by k."""
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="mdflash-respa-") as place:
        file = case.write(Path(place) / case.name)
        for every in EVERY:
            simulation = engine(file, every, REPLICAS[name])
            assert isinstance(simulation.potential, SumPotential)
            found["shortest_bond_period_fs"] = 1e3 * shortest_period(simulation.potential.terms, simulation.layout)
            row: dict[str, Any] = {}
            try:
                row["speed"] = dataclasses.asdict(measure_speed(simulation, seconds))
                row |= langevin(simulation, steps)
                row |= conserved(engine(file, every, REPLICAS[name], "verlet"), steps)
            except UnstableError as error:
                row["unstable"] = str(error)
            found[str(every)] = row
            print(name, every, json.dumps({k: v for k, v in row.items() if not isinstance(v, list)}), flush=True)
    return found


def table(case: dict[str, Any]) -> list[str]:
    """The rows of one case as Markdown."""
    lines = [
        "| k | k dt | speed-up | T, K | energy from k = 1, std errors | NVE drift, kT/bead/ns | spread, kT/bead |",
        "|---|---|---|---|---|---|---|",
    ]
    first = case["1"]
    for every in EVERY:
        row = case[str(every)]
        if "unstable" in row:
            lines.append(f"| {every} | {4 * every} fs | unstable | | | | |")
            continue
        e, e1 = np.array(row["energy"]), np.array(first["energy"])
        error = np.sqrt((e.var(ddof=1) + e1.var(ddof=1)) / len(e))
        faster = row["speed"]["steps_per_second"] / first["speed"]["steps_per_second"]
        lines.append(
            f"| {every} | {4 * every} fs | {faster:.2f}x "
            f"| {np.mean(row['temperature']):.1f} | {(e.mean() - e1.mean()) / error:+.1f} "
            f"| {row['drift']:+.3g} | {row['fluctuation']:.2g} |"
        )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reference", type=Path, default=HERE.parents[1] / "shared" / "reference")
    parser.add_argument("--case", choices=sorted(REPLICAS), action="append")
    parser.add_argument("--steps", type=int, default=None, help="of each measurement; default: by case")
    parser.add_argument("--seconds", type=float, default=4.0, help="of each measurement of speed")
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--out", type=Path, default=HERE / "results")
    arguments = parser.parse_args()
    if not arguments.reference.is_dir():
        raise SystemExit(f"no models in {arguments.reference}; give --reference FOLDER")
    set_threads(arguments.threads)
    machine = measure_machine()
    report: dict[str, Any] = {"date": date.today().isoformat(), "machine": dataclasses.asdict(machine), "cases": {}}
    for name in arguments.case or REPLICAS:
        case = homeodomain(arguments.reference)[0] if name == "1enh-5b" else chignolin(arguments.reference)
        report["cases"][name] = measure(case, name, arguments.steps or STEPS[name], arguments.seconds)
        print("\n".join(table(report["cases"][name])))
    arguments.out.mkdir(parents=True, exist_ok=True)
    target = arguments.out / f"respa_{report['date']}.json"
    target.write_text(json.dumps(report, indent=2) + "\n")
    print(f"written to {target}")


if __name__ == "__main__":
    main()
