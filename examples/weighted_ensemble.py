"""How fast Gō chignolin unfolds, by a weighted ensemble: 48 walkers are split and merged along native contacts.

python examples/weighted_ensemble.py
"""

from __future__ import annotations

import numpy as np

from mdflash import Simulation


def main(length: str = "400 ps", every: float = 4.0) -> float:
    """Returns the mean first passage time in ps from the native structure to 10 % of its contacts, at 340 K."""
    sim = Simulation(
        "chignolin",
        "go-chignolin",
        replicas=48,
        temperatures="340 K",
        timestep="10 fs",
        seed=2026,
        weighted_ensemble={
            "name": "q",
            "variable": "native_contacts",
            "bins": {"min": 0.15, "max": 0.9, "count": 10},
            "target": {"max": 0.1},
            "every": f"{every} ps",
        },
    )
    flux: list[float] = []
    assert sim.ensemble is not None
    sim.ensemble.generation_listeners.append(lambda step, time, g: flux.append(g.weights[g.arrived].sum() / every))
    sim.run(length)
    return float(1.0 / np.mean(flux[len(flux) // 4 :]))  # weights are not stationary at first


if __name__ == "__main__":
    print(f"mean first passage time: {main():.0f} ps")
