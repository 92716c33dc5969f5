"""What replica exchange costs: 64 replicas, one attempt every 500 steps.

    python benchmarks/exchange.py [--reference ../shared/reference] [--seconds S] [--threads N] [--out results]

An attempt takes three things from a run, all measured inside one run: the attempt itself, what Python does around a
block of steps, and what a block costs however short it is (launch, neighbor list). Blocks of one step and blocks up to
the next attempt take turns, so a line through (steps, time) of all blocks gives the cost of a step and of a block.
Attempts come more often than every 500 steps, so that there are many; the share of 500 steps follows from the parts.

Cases: 1enh-5b (mlcg's priors, random network) and chignolin-ca (mlcg's trained model) with a ladder of temperatures,
1enh-5b with umbrella windows, whose attempts evaluate forces again, and the shipped go-chignolin.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import numpy as np
from cases import chignolin, homeodomain

from mdflash.bench.machine import measure_machine
from mdflash.config.load import load_run
from mdflash.engine.blocks.compiled import set_threads
from mdflash.engine.engine import Engine
from mdflash.runs.prepare import prepare

HERE = Path(__file__).parent
REPLICAS, EVERY = 64, 500
LADDER = "exchange.temperatures={min: 300 K, max: 400 K, count: 64}"
WINDOWS = (
    "biases=[{name: ends, variable: radius_of_gyration, force_constant: 5 kcal/mol/angstrom^2, "
    "center: {min: 9.8 angstrom, max: 10.6 angstrom, count: 64}}]",
    "exchange.biases=[ends]",
    "dynamics.temperature=300 K",
)


def start(file: Path | str, steps: int, *overrides: str) -> Engine:
    """A run with an attempt every `steps` steps, minimized a little."""
    config = load_run(
        file,
        ["dynamics.temperature=none", f"replicas.count={REPLICAS}", "dynamics.timestep=4 fs", "output.folder=none",
         f"exchange.interval={4 * steps} fs", *overrides],
    )  # fmt: skip
    engine = prepare(config.with_seed()).engine()
    engine.minimize(20)
    engine.draw_velocities()
    return engine


def measure(engine: Engine, seconds: float) -> dict[str, Any]:
    """Costs in s: of a step, a block, the Python around it, an attempt; and the share of an attempt every 500 steps."""
    assert engine.exchange is not None
    every = engine.exchange.every
    blocks: list[tuple[int, float]] = []
    attempts: list[float] = []
    advance, attempt = engine.propagator.advance, engine.exchange.attempt

    def timed(function: Callable[..., Any], note: Callable[[float, Any], None]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            began = time.perf_counter()
            result = function(*arguments)
            note(time.perf_counter() - began, arguments)
            return result

        return call

    engine.run(2 * every)  # compiled, and lists as long as they get
    engine.propagator.advance = timed(advance, lambda t, given: blocks.append((given[1], t)))  # type: ignore[method-assign]
    engine.exchange.attempt = timed(attempt, lambda t, given: attempts.append(t))  # type: ignore[method-assign]
    began = time.perf_counter()
    while time.perf_counter() - began < seconds:
        engine.run(1)
        engine.run(every - 1)
    total = time.perf_counter() - began
    steps, times = np.array(blocks, float).T
    if len(set(steps)) > 1:
        per_step, per_block = np.polyfit(steps, times, 1)
    else:  # every block is one step, as steps take that long: an attempt cuts none short
        per_step, per_block = times.sum() / steps.sum(), 0.0
    around = (total - times.sum() - sum(attempts)) / len(blocks)
    cost = float(np.mean(attempts)) + around + max(float(per_block), 0.0)
    return {
        "replicas": engine.layout.n_replicas,
        "attempts": len(attempts),
        "steps_between": every,
        "accepted": int(engine.exchange.accepted.sum()),
        "step": float(per_step),
        "block": float(per_block),
        "around_block": float(around),
        "attempt": float(np.mean(attempts)),
        "attempt_median": float(np.median(attempts)),
        "attempt_longest": max(attempts),
        "total": total,
        "share_of_500": cost / (cost + EVERY * float(per_step)),
    }


def table(cases: dict[str, Any]) -> list[str]:
    """Markdown."""
    lines = [
        "| case | attempts | step | attempt | block | around it | every 500 steps |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, row in cases.items():
        step, attempt, block, around = (1e3 * row[key] for key in ("step", "attempt", "block", "around_block"))
        lines.append(
            f"| `{name}` | {row['attempts']} | {step:.3g} ms | {attempt:.2f} ms | {block:.2f} ms | {around:.3f} ms "
            f"| {100 * row['share_of_500']:.2g} % |"
        )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reference", type=Path, default=HERE.parents[1] / "shared" / "reference")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each case")
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--out", type=Path, default=HERE / "results")
    arguments = parser.parse_args()
    set_threads(arguments.threads)
    machine = measure_machine()
    cases = {"go-chignolin": measure(start("chignolin", 250, LADDER), arguments.seconds)}
    if arguments.reference.is_dir():
        with tempfile.TemporaryDirectory(prefix="mdflash-exchange-") as place:
            folder = Path(place)
            trained = chignolin(arguments.reference).write(folder / "chignolin-ca")
            large = homeodomain(arguments.reference)[0].write(folder / "1enh-5b")
            cases["chignolin-ca"] = measure(start(trained, 25, LADDER), arguments.seconds)
            cases["1enh-5b"] = measure(start(large, 3, LADDER), arguments.seconds)
            cases["1enh-5b, windows"] = measure(start(large, 3, *WINDOWS), arguments.seconds)
    else:
        print(f"no models in {arguments.reference}; give --reference FOLDER")
    print("\n".join(table(cases)))
    report = {"date": date.today().isoformat(), "machine": dataclasses.asdict(machine), "cases": cases}
    arguments.out.mkdir(parents=True, exist_ok=True)
    target = arguments.out / f"exchange_{report['date']}.json"
    target.write_text(json.dumps(report, indent=2) + "\n")
    print(f"written to {target}")


if __name__ == "__main__":
    main()
