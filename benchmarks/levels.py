"""Dense layers and whole steps at each level of processors, on one thread:

    PYTHONPATH=. python benchmarks/levels.py [--against CHECKOUT] [--levels x86-64-v3 x86-64-v4] [--only SYSTEM ...]

For each level, kernels and torch are held to its instructions, and in one alternating run are measured

- the dense layers of an evaluation (forward and backward, without activations) of `chignolin-ca` and `1enh-5b`, in
  multiply-adds/s of real beads, beside `torch.mm` of 256 x 256 float32 matrices;
- whole Langevin steps; with --against also those of another checkout, such as the release before.

All times are CPU times of the process, the least of many short repeats in turn, so other programs matter little.
Without mlcg's models (--reference) only a shipped system is measured. The result goes to a JSON file in --out.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

TORCH: dict[str, dict[str, str]] = {
    "x86-64-v3": {"ATEN_CPU_CAPABILITY": "avx2", "MKL_ENABLE_INSTRUCTIONS": "AVX2", "ONEDNN_MAX_CPU_ISA": "AVX2"},
    "x86-64-v4": {},
}
"""What holds torch and its libraries to a level."""
SECONDS = 0.3
"""CPU time of one repeat."""

STEPS = """
import sys, time, mdflash
structure, forcefield, replicas, timestep, temperature = sys.argv[1:]
sim = mdflash.Simulation(structure, forcefield, replicas=int(replicas), temperatures=temperature, timestep=timestep,
                         seed=1, threads=1)
sim.run(20)
arrays = [getattr(sim.state, name) for name in ("positions", "velocities", "forces", "energy")]
begin = [array.clone() for array in arrays]
print(mdflash.__version__, flush=True)
for line in sys.stdin:
    for array, value in zip(arrays, begin):
        array.copy_(value)
    began = time.process_time()
    sim.run(int(line))
    print(time.process_time() - began, flush=True)
"""
"""A process that times steps from one state on; public names only, so that it fits any version."""


def environment(level: str, checkout: Path) -> dict[str, str]:
    """Of a process that is held to a level and imports a checkout; at the machine's own level each version does as it
    always does."""
    from mdflash.compiled.processor import processor, use_level

    use_level()
    target = {} if level == processor() else {"NUMBA_CPU_NAME": level, "NUMBA_CPU_FEATURES": ""}
    one = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
    return {**os.environ, **TORCH[level], **target, **one, "PYTHONPATH": str(checkout)}


class Steps:
    """Steps of one system in a process of their own."""

    def __init__(self, environment: dict[str, str], arguments: list[str]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", STEPS, *arguments], env=environment, cwd="/", text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip

    def line(self) -> str:
        """What it prints next: the version, when its kernels are there."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            sys.exit("a process that measures steps ended; its error is above")
        return line.strip()

    def seconds(self, steps: int) -> float:
        """CPU time of one of `steps` steps."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{steps}\n")
        self.process.stdin.flush()
        return float(self.line()) / steps

    def close(self) -> None:
        """End the process."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def measure_steps(level: str, checkouts: dict[str, Path], arguments: list[str], repeats: int) -> dict[str, Any]:
    """CPU seconds of a step of all replicas, in each checkout in turn, from one state."""
    processes = {name: Steps(environment(level, checkout), arguments) for name, checkout in checkouts.items()}
    versions = {name: process.line() for name, process in processes.items()}
    best = {name: process.seconds(20) for name, process in processes.items()}
    steps = max(20, int(SECONDS / min(best.values())))
    for _ in range(repeats):
        for name, process in processes.items():
            best[name] = min(best[name], process.seconds(steps))
    for process in processes.values():
        process.close()
    result: dict[str, Any] = {"replicas": int(arguments[2]), "versions": versions, "seconds": best}
    if "against" in best:
        result["times_as_fast"] = best["against"] / best["here"]
    return result


Work = tuple[Callable[[int], object], float]
"""Runs so many times; multiply-adds of each."""


def dense(files: dict[str, str]) -> dict[str, float]:
    """Multiply-adds/s of `torch.mm` and of the dense layers of each system; called in a process of its own."""
    import numba
    import numpy as np
    import torch

    from mdflash.bench import kernels

    numba.set_num_threads(1)
    torch.set_num_threads(1)
    a, b, c = (torch.randn(256, 256) for _ in range(3))
    work: dict[str, Work] = {"torch.mm 256": (lambda n: [torch.mm(a, b, out=c) for _ in range(n)], 256.0**3)}
    for name, file in files.items():
        work[name] = dense_layers_of(Path(file))
    machine = np.full(kernels.CHAINS * 16, 0.5, np.float32)
    work["chains of multiply-adds"] = lambda n: kernels.chains(machine, 1, n), float(machine.size)
    times, best = {}, dict.fromkeys(work, 0.0)
    for name, (run, count) in work.items():
        run(2)
        times[name] = max(2, int(SECONDS * 4e10 / count))
    for _ in range(7):
        for name, (run, count) in work.items():
            began = time.process_time()
            run(times[name])
            best[name] = max(best[name], count * times[name] / (time.process_time() - began))
    return best


def dense_layers_of(file: Path) -> Work:
    """The dense layers of an evaluation of one replica of a run."""
    import numpy as np

    from mdflash.bench import kernels
    from mdflash.bench.speed import with_replicas
    from mdflash.bench.work import dense_layers, shape_of
    from mdflash.config.load import load_run
    from mdflash.engine.blocks.compiled import CompiledPropagator
    from mdflash.potentials.schnet.cpu import ROWS
    from mdflash.runs.prepare import prepare

    engine = with_replicas(prepare(load_run(file)), 1)
    assert isinstance(engine.propagator, CompiledPropagator)
    networks = engine.propagator.packed.networks
    assert networks is not None
    layers, beads = dense_layers(networks, 0), engine.layout.systems[0].n_beads
    table = np.array([(*layer, 0) for layer in layers], np.int64)
    rows = beads + beads % 2
    parts = np.array([ROWS] * (rows // ROWS) + [rows % ROWS] * (rows % ROWS > 0), np.int64)
    widest = shape_of(networks, 0).widest
    count = 2.0 * beads * sum(layer.n_in * layer.n_out for layer in layers)
    return lambda n: kernels.dense(table, networks.weights.data, 0, widest, parts, n), count


def systems(reference: Path, place: Path) -> dict[str, tuple[str, list[str]]]:
    """By name: a system.yaml, and the arguments of `STEPS`; cases are written into `place`."""
    from cases import chignolin, homeodomain

    folder = HERE.parent / "systems"
    arguments = [str(folder / "chignolin.pdb"), "teacher-chignolin", "16", "10 fs", "340 K"]
    found = {"chignolin-schnet": (str(folder / "chignolin-schnet.yaml"), arguments)}
    if not reference.is_dir():
        print(f"1enh-5b and chignolin-ca are left out: no models in {reference} (give --reference FOLDER)")
        return found
    for name, case in (("1enh-5b folded", homeodomain(reference)[0]), ("chignolin-ca", chignolin(reference))):
        file = case.write(place / case.name)
        molecule, forcefield = file.parent / f"{case.name}.safetensors", file.parent / "forcefield"
        found[name] = str(file), [str(molecule), str(forcefield), "1", "4 fs", "300 K"]
    return found


def measure(level: str, chosen: dict[str, tuple[str, list[str]]], checkouts: dict[str, Path], repeats: int) -> Any:
    """Everything at one level."""
    files = json.dumps({name: file for name, (file, _) in chosen.items()})
    done = subprocess.run(
        [sys.executable, __file__, "--dense", files], text=True, check=True, stdout=subprocess.PIPE,
        env=environment(level, checkouts["here"]),
    )  # fmt: skip
    rates = json.loads(done.stdout.splitlines()[-1])
    print(f"{level}: " + ", ".join(f"{name} {rate / 1e9:.1f} G/s" for name, rate in rates.items()), flush=True)
    steps = {}
    for name, (_, arguments) in chosen.items():
        steps[name] = measure_steps(level, checkouts, arguments, repeats)
        print(f"{level}, {name}: {steps[name]}", flush=True)
    return {"multiply_adds_per_second": rates, "steps": steps}


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--levels", nargs="+", choices=list(TORCH), default=list(TORCH))
    parser.add_argument("--against", type=Path, help="another checkout, whose steps are measured in turn")
    parser.add_argument("--only", nargs="+", help="these systems")
    parser.add_argument("--reference", type=Path, default=Path("../shared/reference"))
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--out", type=Path, default=HERE / "results")
    parser.add_argument("--dense", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.dense:
        print(json.dumps(dense(json.loads(given.dense))))
        return
    from mdflash.bench.machine import cpu_name

    checkouts = {"here": HERE.parent} | ({"against": given.against.resolve()} if given.against else {})
    found: dict[str, Any] = {"machine": cpu_name(), "date": date.today().isoformat(), "levels": {}}
    with tempfile.TemporaryDirectory(prefix="mdflash-levels-") as place:
        chosen = systems(given.reference, Path(place))
        chosen = {name: what for name, what in chosen.items() if name in (given.only or chosen)}
        for level in given.levels:
            found["levels"][level] = measure(level, chosen, checkouts, given.repeats)
    file = given.out / f"levels_{found['date']}.json"
    file.write_text(json.dumps(found, indent=1) + "\n")
    print(f"wrote {file}")


if __name__ == "__main__":
    main()
