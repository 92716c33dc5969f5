"""What metadynamics and OPES cost: 64 replicas of chignolin, a Gō model and a network, hills every 500 steps.

    python benchmarks/hills.py [--rounds N] [--threads N] [--out results]

Two measures of the same, both of interleaved pieces, so that other work on the machine hits them alike:

* parts: inside one run, the time of everything that a deposit adds (measuring variables, adding hills, the energies and
  forces after it) as a share of all time. What a shorter block of steps costs is not in it.
* whole: runs with hills every 500 steps and with none (the same bias, whose first hill is far away) take turns; the
  share is the median over rounds of their ratio, less one. Of time that passes, and of CPU time of the process, which
  other work on the machine disturbs less; threads that wait for each other are in the first alone.
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
from mdflash.engine.engine import Engine
from mdflash.runs.prepare import prepare

HERE = Path(__file__).parent
REPLICAS, EVERY = 64, 500
STEPS = {"go-chignolin": 5_000, "chignolin-schnet": 1_000}
"""Of a run, by model: about half a second, and some ten seconds."""
RUN = """mdflash: 1
name: hills
system: {structure: STRUCTURE}
model: {forcefield: MODEL}
dynamics: {temperature: 340 K, timestep: FEMTOSECONDS fs, length: 1 us, seed: 3}
"""
FEMTOSECONDS = {"go-chignolin": 10, "chignolin-schnet": 4}
METHODS = {"metadynamics": "height: 0.1 kcal/mol, bias_factor: 6", "opes": "method: opes, barrier: 6 kcal/mol"}


@dataclasses.dataclass(frozen=True)
class Case:
    """A model under a method, on a number of threads (None: all cores)."""

    model: str
    method: str
    threads: int | None

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
        threads = f"hardware.threads={'null' if self.threads is None else self.threads}"
        config = load_run(file, [f"replicas.count={REPLICAS}", hills, threads, "output.folder=none"])
        engine = prepare(config.with_seed()).engine()
        engine.minimize(20)
        engine.draw_velocities()
        engine.run(self.steps)
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
    parser.add_argument("--rounds", type=int, default=15, help="of the Gō model; the network has a third")
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--out", type=Path, default=HERE / "results")
    given = parser.parse_args()
    found: dict[str, Any] = {"replicas": REPLICAS, "every_steps": EVERY, "threads": given.threads}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for model in STEPS:
            rounds = given.rounds if model == "go-chignolin" else max(3, given.rounds // 3)
            found[model] = {}
            for method in METHODS:
                case = Case(model, method, given.threads)
                engine = case.start(folder, EVERY)
                measured = {"parts": parts(engine, 8 * case.steps), "whole": whole(case, folder, rounds)}
                found[model][method] = measured
                shares = {k: f"{100 * v['share']:.2f} %" for k, v in measured.items()}
                print(model, method, shares | {"CPU": f"{100 * measured['whole']['cpu_share']:.2f} %"}, flush=True)
    record = {"machine": dataclasses.asdict(measure_machine()), "load": os.getloadavg()} | found
    out = given.out / f"hills_{date.today().isoformat()}.json"
    out.write_text(json.dumps(record, indent=2, default=str) + "\n")
    print(f"wrote {out}")


if __name__ == "__main__":
    main()
