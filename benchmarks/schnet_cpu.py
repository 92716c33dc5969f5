"""How fast the compiled SchNet runs on this CPU, beside the plain torch reference in the same run.

    python benchmarks/schnet_cpu.py REFERENCE [--case 1enh-5b] [--threads 2] [--out benchmarks/results]

REFERENCE is the folder with mlcg's models (`mlcg/1enh_5b_random_schnet_exp_schnet.pt`, ...). Cases: `1enh-5b`, 269
beads in the folded start frames, the published CGSchNet size with random weights (last layer scaled by 0.02, so that
dynamics is stable) and the published priors; `chignolin-ca`, 10 beads, mlcg's trained network and its priors.

Each number is full Langevin steps (priors, network, thermostat). `wall` is what a user sees; `cpu` counts processor
time of all threads, which is the one to compare when the machine is shared. The best of several blocks is reported.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import platform
import resource
import time
from datetime import date
from pathlib import Path
from typing import Any

import numba
import numpy as np
import torch

from mdflash.engine import Engine
from mdflash.forcefield import ForceField
from mdflash.importers.mlcg import import_mlcg
from mdflash.integrators.langevin import LangevinMiddle
from mdflash.neighbors.reference import all_pairs
from mdflash.potentials.build import build_potential
from mdflash.potentials.precision import Recentred
from mdflash.potentials.schnet.flash import FlashSchNet
from mdflash.potentials.schnet.potential import SchNetPotential
from mdflash.propagate.compiled import set_threads
from mdflash.state import Layout, State

REPLICAS = (1, 64)
BLOCKS = 3


def forcefield(case: str, reference: Path) -> ForceField:
    folder = reference / "mlcg"
    if case == "chignolin-ca":
        return import_mlcg([folder / "schnet_cln_ca_specialized_model_and_config.pt"], None, case)
    models = [folder / "1enh_5b_random_schnet_exp_schnet.pt", folder / "prior.pt"]
    ff = import_mlcg(models, folder / "1enh_5b_configurations.pt", case)
    (network,) = ff.networks
    last = max(key for key in network.weights if key.startswith("output."))
    weights = {key: np.array(w) * (0.02 if key == last else 1.0) for key, w in network.weights.items()}
    return dataclasses.replace(ff, networks=(dataclasses.replace(network, weights=weights),))


def simulation(ff: ForceField, replicas: int, kernels: str) -> Engine:
    system, frames = ff.systems[0]
    layout = Layout((system,), (replicas,))
    state = State.at(layout, np.concatenate([frames[0]] * replicas), 300.0)
    sim = Engine(
        layout, build_potential([ff], layout), state, LangevinMiddle(0.004, 1.0),
        seed=2026, precision="fp32", kernels=kernels,  # type: ignore[arg-type]
    )  # fmt: skip
    sim.draw_velocities()
    return sim


def time_steps(sim: Engine, seconds: float) -> dict[str, float]:
    """Seconds of wall and processor time of one step of one replica, best of `BLOCKS` blocks."""
    sim.run(2)  # compiles
    began = time.perf_counter()
    sim.run(2)
    steps = max(2, int(seconds * 2 / (time.perf_counter() - began)))
    wall, cpu = [], []
    for _ in range(BLOCKS):
        w, c = time.perf_counter(), time.process_time()
        sim.run(steps)
        wall.append((time.perf_counter() - w) / steps / sim.layout.n_replicas)
        cpu.append((time.process_time() - c) / steps / sim.layout.n_replicas)
    return {"wall": min(wall), "cpu": min(cpu)}


def time_evaluations(ff: ForceField, seconds: float) -> dict[str, Any]:
    """Energy and forces of the network alone, one replica: reference and compiled, and how they differ."""
    system, frames = ff.systems[0]
    layout = Layout((system,), (1,))
    (reference,) = (t for t in build_potential([ff], layout).terms if isinstance(t, SchNetPotential))
    x = torch.from_numpy(np.ascontiguousarray(frames[0]))
    pairs = all_pairs(x, layout, reference.cutoff)
    flash, plain = FlashSchNet.of(reference, layout, "fp32"), Recentred(reference, torch.float32)
    out: dict[str, Any] = {"neighbors_per_bead": 2 * len(pairs.first) / layout.n_beads, "pairs": len(pairs.first)}
    for name, potential in (("reference", plain), ("compiled", flash)):
        potential.energy_and_forces(x, layout, pairs)
        best, end = {"wall": np.inf, "cpu": np.inf}, time.perf_counter() + seconds
        while time.perf_counter() < end:
            w, c = time.perf_counter(), time.process_time()
            potential.energy_and_forces(x, layout, pairs)
            best["wall"] = min(best["wall"], time.perf_counter() - w)
            best["cpu"] = min(best["cpu"], time.process_time() - c)
        out[name] = best
    out["ratio_wall"] = out["reference"]["wall"] / out["compiled"]["wall"]
    out["ratio_cpu"] = out["reference"]["cpu"] / out["compiled"]["cpu"]
    exact = reference.energy_and_forces(x, layout, pairs).forces
    found = flash.energy_and_forces(x, layout, pairs).forces
    out["force_error"] = float(((found - exact).square().mean() / exact.square().mean()).sqrt())
    out["intervals"] = int(flash.networks.shape[0, 3])
    return out


def measure(case: str, reference: Path, seconds: float) -> dict[str, Any]:
    ff = forcefield(case, reference)
    result: dict[str, Any] = {"beads": ff.systems[0][0].n_beads}
    for replicas in REPLICAS:
        times = time_steps(simulation(ff, replicas, "auto"), seconds)
        result[f"{replicas} replicas"] = {**times, "steps_per_second_all_replicas": 1.0 / times["wall"]}
    result["peak_memory_MB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # before the reference
    result["evaluation"] = time_evaluations(ff, seconds)
    plain = time_steps(simulation(ff, 1, "reference"), seconds)
    result["reference, 1 replica"] = plain
    for clock in ("wall", "cpu"):
        result[f"step_ratio_{clock}"] = plain[clock] / result["1 replicas"][clock]
    return result


def cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []:
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("reference", type=Path)
    parser.add_argument("--case", choices=("1enh-5b", "chignolin-ca"), action="append")
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each timed block")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    arguments = parser.parse_args()
    threads = set_threads(arguments.threads)
    torch.set_num_threads(threads)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    report: dict[str, Any] = {
        "date": date.today().isoformat(),
        "machine": cpu_model(),
        "threads": threads,
        "load_average": os.getloadavg()[0],
        "versions": {"torch": torch.__version__, "numba": numba.__version__, "numpy": np.__version__},
        "memory_of_the_interpreter_MB": before,
    }
    for case in arguments.case or ("1enh-5b", "chignolin-ca"):
        report[case] = measure(case, arguments.reference, arguments.seconds)
        print(json.dumps({case: report[case]}, indent=2))
    arguments.out.mkdir(parents=True, exist_ok=True)
    target = arguments.out / f"schnet_cpu_{report['date']}_{threads}threads.json"
    target.write_text(json.dumps(report, indent=2) + "\n")
    print(f"written to {target}")


if __name__ == "__main__":
    main()
