"""Free energy of Gō chignolin along its native contacts, by metadynamics: 16 replicas fill one bias.

python examples/metadynamics.py
"""

from __future__ import annotations

import numpy as np

from mdflash import Simulation


def main(length: str = "2 ns") -> tuple[np.ndarray, np.ndarray]:
    """Returns the fraction of native contacts [points] and the free energy [points] in kcal/mol, lowest point 0."""
    sim = Simulation(
        "chignolin",
        "go-chignolin",
        replicas=16,
        temperatures="340 K",
        timestep="10 fs",
        seed=2026,
        metadynamics=[
            {
                "name": "fold",
                "variables": {"name": "q", "variable": "native_contacts", "width": 0.02},
                "height": "0.1 kcal/mol",
                "bias_factor": 6,
                "every": "1 ps",
            }
        ],
    )
    sim.run(length)
    (bias,) = sim.deposits.biases
    return bias.axes[0].nodes, bias.free_energies()[0]


if __name__ == "__main__":
    q, free = main()
    for at, value in zip(q[::10], free[::10], strict=True):
        print(f"{at:4.2f}  {value:5.2f} kcal/mol  {'#' * int(8 * min(value, 8.0))}")
