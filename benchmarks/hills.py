"""What metadynamics and OPES cost: 64 replicas of chignolin, a Gō model and a network, hills every 500 steps.

    python benchmarks/hills.py [--rounds N] [--threads N] [--out results]

Two measures of the same:

* parts: what a deposit adds, in CPU time of one thread, the median of many: the deposit itself (measuring variables,
  adding hills), energies and forces after it, and what ending and starting a block of steps costs. The share is their
  sum of 500 steps by all threads, since meanwhile the others wait. Other work on the machine hardly disturbs it; what
  waking threads takes is not in it.
* whole, of the Gō model: runs with hills every 500 steps and with none (the same bias, whose first hill is far away)
  take turns; the share is the median over rounds of their ratio, less one. Of time that passes, and of CPU time of the
  process, which other work on the machine disturbs less; threads that wait for each other are in the first alone.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import tempfile
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from mdflash.bench.machine import measure_machine
from mdflash.config.load import load_run
from mdflash.engine.engine import Engine
from mdflash.runs.prepare import prepare

HERE = Path(__file__).parent
REPLICAS, EVERY = 64, 500
STEPS = {"go-chignolin": 5_000, "chignolin-ca": 500}
"""Of a run, by model: half a second, and some seconds."""
SHORT = 200
"""Blocks of one step."""
RUN = """mdflash: 1
name: hills
system: {structure: STRUCTURE}
model: {forcefield: MODEL}
dynamics: {temperature: 340 K, timestep: FEMTOSECONDS fs, length: 1 us, seed: 3}
"""
FEMTOSECONDS = {"go-chignolin": 10, "chignolin-ca": 4}
METHODS = {"metadynamics": "height: 0.1 kcal/mol, bias_factor: 6", "opes": "method: opes, barrier: 6 kcal/mol"}


@dataclasses.dataclass(frozen=True)
class Case:
    """A model under a method, on a number of threads."""

    model: str
    method: str
    threads: int

    @property
    def steps(self) -> int:
        return STEPS[self.model]

    def start(self, folder: Path, every: int) -> Engine:
        """A run whose hills come every so many steps, minimized a little and under way."""
        file, fs = folder / f"{self.model}.yaml", FEMTOSECONDS[self.model]
        structure = (HERE.parent / "systems" / "chignolin.pdb").resolve()
        text = RUN.replace("STRUCTURE", str(structure)).replace("MODEL", self.model)
        file.write_text(text.replace("FEMTOSECONDS", str(fs)))
        hills = (
            f"metadynamics=[{{name: fold, variables: [{{name: q, variable: native_contacts, width: 0.02}}], "
            f"{METHODS[self.method]}, every: {every * fs} fs}}]"
        )
        config = load_run(
            file, [f"replicas.count={REPLICAS}", hills, f"hardware.threads={self.threads}", "output.folder=none"]
        )
        engine = prepare(config.with_seed()).engine()
        engine.minimize(20)
        engine.draw_velocities()
        engine.run(self.steps)
        return engine


def parts(case: Case, folder: Path, threads: int) -> dict[str, Any]:
    """Seconds of a deposit's parts by one thread, and their share of a run by many."""
    engine = dataclasses.replace(case, threads=1).start(folder, EVERY)
    step = seconds(engine.run, case.steps) / case.steps
    deposits, propagator = engine.deposits, engine.propagator
    spent: dict[str, list[float]] = {"deposit": [], "forces": [], "block": []}
    (bias,) = deposits.biases
    for _ in range(SHORT):
        bias.every = 10**9  # no hill within the run
        spent["block"].append(seconds(engine.run, 1) - seconds(engine.run, 0) - step)  # starting a run is none of it
        bias.every = 1
        spent["deposit"].append(seconds(deposits.change, engine))
        spent["forces"].append(seconds(propagator.evaluate, engine.state))
    found = {f"{name}_s": float(np.median(times)) for name, times in spent.items()}
    return found | {"step_s": step, "share": sum(found.values()) / (EVERY * step / threads)}


def seconds(function: Callable[..., Any], *given: Any) -> float:
    """CPU time of a call by this thread."""
    began = time.thread_time()
    function(*given)
    return time.thread_time() - began


def whole(case: Case, folder: Path, rounds: int) -> dict[str, Any]:
    """Seconds of a run with hills and without, in turns: those that pass, and those of all threads."""
    some, none = case.start(folder, EVERY), case.start(folder, 10**8)
    times = []
    for _ in range(rounds):
        pair = []
        for engine in (some, none):
            began, cpu = time.perf_counter(), time.process_time()
            engine.run(case.steps)
            pair.append((time.perf_counter() - began, time.process_time() - cpu))
        times.append(pair)
    ratio = np.array(times)[:, 0] / np.array(times)[:, 1] - 1.0  # [rounds, 2]
    return {
        "rounds_s": times,
        "share": float(np.median(ratio[:, 0])),
        "share_quartiles": np.quantile(ratio[:, 0], [0.25, 0.75]).tolist(),
        "cpu_share": float(np.median(ratio[:, 1])),
        "cpu_share_quartiles": np.quantile(ratio[:, 1], [0.25, 0.75]).tolist(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--out", type=Path, default=HERE / "results")
    given = parser.parse_args()
    threads = given.threads or os.cpu_count() or 1
    found: dict[str, Any] = {"replicas": REPLICAS, "every_steps": EVERY, "threads": threads}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for model in STEPS:
            for method in METHODS:
                case = Case(model, method, threads)
                measured = {"parts": parts(case, folder, threads)}
                if model == "go-chignolin":
                    measured["whole"] = whole(case, folder, given.rounds)
                found.setdefault(model, {})[method] = measured
                shares = {
                    f"{how} {word}": f"{100 * numbers[word]:.2f} %"
                    for how, numbers in measured.items()
                    for word in ("share", "cpu_share")
                    if word in numbers
                }
                print(model, method, shares, flush=True)
    record = {"machine": dataclasses.asdict(measure_machine()), "load": os.getloadavg()} | found
    out = given.out / f"hills_{date.today().isoformat()}.json"
    out.write_text(json.dumps(record, indent=2, default=str) + "\n")
    print(f"wrote {out}")


if __name__ == "__main__":
    main()
