"""A reporter of one's own: two methods. This one stops each replica's clock when it first unfolds.

python examples/own_reporter.py
"""

from __future__ import annotations

import numpy as np

import mdflash


class UnfoldingTimes:
    """Notes when the end-to-end distance of a replica first exceeds `far` Å."""

    def __init__(self, interval: int, far: float) -> None:
        self.interval, self.far = interval, far
        self.times: dict[int, float] = {}  # replica -> ps

    def next_report(self, step: int) -> int:
        """The first step after `step` at which `report` is due."""
        return (step // self.interval + 1) * self.interval

    def report(self, simulation: mdflash.Simulation) -> None:
        """Called at those steps; energy and forces belong to the positions."""
        x = simulation.positions  # [R, N, 3] Å
        distance = np.linalg.norm(x[:, -1] - x[:, 0], axis=1)
        for replica in np.flatnonzero(distance > self.far).tolist():
            self.times.setdefault(replica, simulation.time)


def main(length: str = "1 ns") -> dict[int, float]:
    """Returns the time (ps) at which each replica that unfolded did so."""
    sim = mdflash.Simulation("chignolin", "go-chignolin", replicas=16, temperatures="400 K", timestep="10 fs", seed=7)
    watch = UnfoldingTimes(sim.steps_in("1 ps"), far=15.0)
    sim.reporters.append(watch)
    sim.run(length)
    times = sorted(watch.times.values())
    print(f"{len(times)} of {len(sim.replicas)} replicas unfolded", end="")
    print(f", half of those within {np.median(times):.0f} ps" if times else "")
    return watch.times


if __name__ == "__main__":
    main()
