"""What 16-bit filter tables do to energies: mean, spread, and the mean energy of a simulation with them.

    PYTHONPATH=.:benchmarks python studies/2026-11-mixed16-bias/mixed16_bias.py REFERENCE [--replicas 32] [--frames 30]

Frames come from Langevin dynamics in fp32. With D = E(16 bits) - E(fp64) on a frame, a simulation in 16 bits has the
mean energy <E> - cov(D, E) / kT to first order (R. W. Zwanzig, J. Chem. Phys. 22, 1420 (1954)); a constant D has no
effect on a simulation at all. Errors are those of the mean over replicas.
"""

from __future__ import annotations

import argparse
import datetime
import json
from pathlib import Path

import numpy as np
import torch
from cases import Case, chignolin, homeodomain
from numpy.typing import NDArray

from mdflash.bench.machine import cpu_name
from mdflash.core.state import Layout, State
from mdflash.engine.engine import Engine
from mdflash.engine.settings import Backend, Dynamics
from mdflash.forcefields.build import build_potential
from mdflash.integrators.langevin import LangevinMiddle
from mdflash.units import kT

KELVIN, SETTLE, EVERY = 300.0, 500, 50
PRECISIONS = ("fp64", "fp32", "mixed16")


def energies(case: Case, replicas: int, frames: int) -> dict[str, NDArray[np.float64]]:
    """[frames, replicas] kcal/mol of each precision."""
    layout = Layout((case.system,), (replicas,))
    potential = build_potential([case.forcefield], layout)
    start = torch.from_numpy(np.tile(case.start, (replicas, 1)))

    def engine(precision: str) -> Engine:
        state = State.at(layout, start.clone(), KELVIN)
        return Engine(
            layout, potential, state, Dynamics(LangevinMiddle(0.004, 1.0), seed=1), Backend(precision=precision)
        )

    driver = engine("fp32")
    driver.minimize(200)
    driver.draw_velocities()
    driver.run(SETTLE)
    others = {precision: engine(precision) for precision in PRECISIONS}
    found: dict[str, list[NDArray[np.float64]]] = {precision: [] for precision in PRECISIONS}
    for _ in range(frames):
        driver.run(EVERY)
        for precision, other in others.items():
            other.state.positions.copy_(driver.state.positions)
            other.evaluate()
            found[precision].append(other.state.energy.numpy().copy())
    return {precision: np.array(rows) for precision, rows in found.items()}


def summary(found: dict[str, NDArray[np.float64]], beads: int) -> dict[str, dict[str, float]]:
    """Of each precision against fp64, in units of kT."""
    exact, thermal = found["fp64"], kT(KELVIN)
    fluctuation = exact - exact.mean()
    rows = {}
    for precision in PRECISIONS[1:]:
        off = found[precision] - exact
        of_replica = off.mean(axis=0) / thermal
        shift = -((off - off.mean()) * fluctuation).mean(axis=0) / thermal**2
        root = np.sqrt(len(shift))
        rows[precision] = {
            "mean_kT": of_replica.mean(),
            "mean_error_kT": of_replica.std(ddof=1) / root,
            "mean_kT_per_bead": of_replica.mean() / beads,
            "sd_kT": off.std() / thermal,
            "shift_of_simulated_mean_kT": shift.mean(),
            "shift_error_kT": shift.std(ddof=1) / root,
            "sd_of_energy_kT": exact.std() / thermal,
        }
    return {p: {k: float(f"{v:.4g}") for k, v in row.items()} for p, row in rows.items()}


def main() -> None:
    """Both reference models."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("reference", type=Path)
    parser.add_argument("--replicas", type=int, default=32)
    parser.add_argument("--frames", type=int, default=30)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "mixed16_bias.json")
    options = parser.parse_args()
    result: dict[str, object] = {"date": datetime.date.today().isoformat(), "machine": cpu_name()}
    result |= {"replicas": options.replicas, "frames": options.frames, "steps_between_frames": EVERY}
    for case in (chignolin(options.reference), homeodomain(options.reference)[0]):
        found = energies(case, options.replicas, options.frames)
        result[case.name] = summary(found, case.system.n_beads)
        print(case.name, json.dumps(result[case.name], indent=1), flush=True)
    options.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
