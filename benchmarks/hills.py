"""What metadynamics and OPES cost: 64 replicas of Gō chignolin, hills every 500 steps.

    python benchmarks/hills.py [--rounds N] [--threads N] [--out results]

Two measures of the same, both of interleaved pieces, so that other work on the machine hits them alike:

* parts: inside one run, the time of everything that a deposit adds (measuring variables, adding hills, the energies and
  forces after it) as a share of all time. What a shorter block of steps costs is not in it.
* whole: runs of 5,000 steps with hills every 500 steps and with none (the same bias, whose first hill is far away) take
  turns; the share is the median over rounds of their ratio, less one.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import tempfile
import time
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from mdflash.bench.machine import measure_machine
from mdflash.config.load import load_run
from mdflash.engine.blocks.compiled import set_threads
from mdflash.engine.engine import Engine
from mdflash.runs.prepare import prepare

HERE = Path(__file__).parent
REPLICAS, EVERY, STEPS = 64, 500, 5_000
RUN = """mdflash: 1
name: hills
system: {structure: STRUCTURE}
model: {forcefield: go-chignolin}
dynamics: {temperature: 340 K, timestep: 10 fs, length: 1 us, seed: 3}
"""
METHODS = {"metadynamics": "height: 0.1 kcal/mol, bias_factor: 6", "opes": "method: opes, barrier: 6 kcal/mol"}


def start(file: Path, method: str, every: str) -> Engine:
    """A run whose hills come at multiples of a time, minimized a little and under way."""
    hills = (
        f"metadynamics=[{{name: fold, variables: [{{name: q, variable: native_contacts, width: 0.02}}], "
        f"{METHODS[method]}, every: {every}}}]"
    )
    config = load_run(file, [f"replicas.count={REPLICAS}", hills, "output.folder=none"])
    engine = prepare(config.with_seed()).engine()
    engine.minimize(20)
    engine.draw_velocities()
    engine.run(STEPS)
    return engine


def parts(engine: Engine, steps: int) -> dict[str, Any]:
    """Seconds of a deposit's parts, and their share of the run."""
    spent: dict[str, list[float]] = {"deposit": [], "forces": []}

    def timed(name: str, function: Any) -> Any:
        def call(*given: Any) -> Any:
            began = time.perf_counter()
            try:
                return function(*given)
            finally:
                spent[name].append(time.perf_counter() - began)

        return call

    deposits, propagator = engine.deposits, engine.propagator
    deposits.change = timed("deposit", deposits.change)  # type: ignore[method-assign]
    propagator.evaluate = timed("forces", propagator.evaluate)  # type: ignore[method-assign]
    began = time.perf_counter()
    engine.run(steps)
    whole = time.perf_counter() - began
    del deposits.change, propagator.evaluate
    found: dict[str, Any] = {f"{name}_s": float(np.median(times)) for name, times in spent.items()}
    return found | {"deposits": len(spent["deposit"]), "share": sum(map(sum, spent.values())) / whole}


def whole(file: Path, method: str, rounds: int) -> dict[str, Any]:
    """Seconds of 5,000 steps with hills and without, in turns."""
    some, none = start(file, method, "5 ps"), start(file, method, "500 ns")
    times = []
    for _ in range(rounds):
        pair = []
        for engine in (some, none):
            began = time.perf_counter()
            engine.run(STEPS)
            pair.append(time.perf_counter() - began)
        times.append(pair)
    ratio = np.array(times)[:, 0] / np.array(times)[:, 1] - 1.0
    return {
        "rounds_s": times,
        "share": float(np.median(ratio)),
        "share_quartiles": np.quantile(ratio, [0.25, 0.75]).tolist(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--out", type=Path, default=HERE / "results")
    given = parser.parse_args()
    set_threads(given.threads)
    found: dict[str, Any] = {"replicas": REPLICAS, "every_steps": EVERY}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "system.yaml"
        file.write_text(RUN.replace("STRUCTURE", str((HERE.parent / "systems" / "chignolin.pdb").resolve())))
        for method in METHODS:
            engine = start(file, method, "5 ps")
            found[method] = {"parts": parts(engine, 8 * STEPS), "whole": whole(file, method, given.rounds)}
            print(method, {k: f"{100 * v['share']:.2f} %" for k, v in found[method].items()}, flush=True)
    record = {"machine": dataclasses.asdict(measure_machine()), "load": os.getloadavg()} | found
    out = given.out / f"hills_{date.today().isoformat()}.json"
    out.write_text(json.dumps(record, indent=2, default=str) + "\n")
    print(f"wrote {out}")


if __name__ == "__main__":
    main()
