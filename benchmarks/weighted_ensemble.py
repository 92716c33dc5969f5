"""How fast Gō chignolin unfolds at 340 K: a weighted ensemble against brute force.

    python benchmarks/weighted_ensemble.py [--length "1 ns"] [--replicas 192] [--threads N] [--out results]

Both start at the native structure, look every 4 ps whether the fraction of native contacts is 0.1 or less, and tell the
mean first passage time to there. Brute force runs replicas until every one of them has arrived, so no time is censored;
its interval is Student's, of the mean.
"""

from __future__ import annotations

import argparse
import json
import time
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from mdflash import Simulation
from mdflash.analysis.statistics import student
from mdflash.analysis.walkers import rate_of
from mdflash.bench.machine import measure_machine
from mdflash.engine.ensemble.ensemble import Generation

HERE = Path(__file__).parent
EVERY, TARGET, WALKERS = 4.0, 0.1, 48
Q = {"name": "q", "variable": "native_contacts"}


def simulation(replicas: int, seed: int, threads: int | None, **options: Any) -> Simulation:
    return Simulation(
        "chignolin", "go-chignolin", replicas=replicas, temperatures="340 K", timestep="10 fs", seed=seed,
        threads=threads, **options,
    )  # fmt: skip


def by_walkers(length: str, threads: int | None) -> dict[str, Any]:
    bins = {"min": 0.15, "max": 0.9, "count": 10}
    section = {**Q, "bins": bins, "target": {"max": TARGET}, "every": f"{EVERY} ps"}
    sim = simulation(WALKERS, 1, threads, weighted_ensemble=section)
    found: list[Generation] = []
    assert sim.ensemble is not None
    sim.ensemble.generation_listeners.append(lambda step, time, generation: found.append(generation))
    began = time.process_time()
    sim.run(length)
    rate = rate_of(np.array([g.weights * g.arrived for g in found]), EVERY)
    assert rate is not None
    return {
        "walkers": WALKERS,
        "resamplings": len(found),
        "aggregate_ns": WALKERS * len(found) * EVERY * 1e-3,
        "mean_first_passage_ps": rate.passage.value,
        "interval_95": rate.passage[1:],
        "arrivals": rate.arrivals,
        "effective_arrivals": rate.effective,
        "cpu_seconds": time.process_time() - began,
    }


def by_brute_force(replicas: int, threads: int | None) -> dict[str, Any]:
    sim = simulation(replicas, 2, threads, monitor=[Q])
    passage = np.full(replicas, np.nan)
    began, looks = time.process_time(), 0
    while np.isnan(passage).any():
        sim.run(f"{EVERY} ps")
        looks += 1
        arrived = np.isnan(passage) & (sim.variables()["q"] <= TARGET)
        passage[arrived] = EVERY * looks
    wide = student(0.975, replicas - 1) * passage.std(ddof=1) / np.sqrt(replicas)
    return {
        "replicas": replicas,
        "aggregate_ns": replicas * looks * EVERY * 1e-3,
        "mean_first_passage_ps": passage.mean(),
        "interval_95": (passage.mean() - wide, passage.mean() + wide),
        "cpu_seconds": time.process_time() - began,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--length", default="1 ns", help="of each walker")
    parser.add_argument("--replicas", type=int, default=192, help="of brute force")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--out", type=Path, default=HERE / "results")
    given = parser.parse_args()
    found = {
        "date": date.today().isoformat(),
        "machine": measure_machine().cpu,
        "weighted_ensemble": by_walkers(given.length, given.threads),
        "brute_force": by_brute_force(given.replicas, given.threads),
    }
    file = given.out / f"weighted_ensemble_{found['date']}.json"
    file.write_text(json.dumps(found, indent=2) + "\n")
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
