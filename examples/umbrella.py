"""Free energy of pulling the ends of Gō chignolin apart: umbrella windows that exchange, and MBAR.

pip install 'mdflash[analysis]'
python examples/umbrella.py
"""

from __future__ import annotations

import numpy as np
from pymbar import MBAR

from mdflash import Simulation
from mdflash.units import kT

CENTERS = np.linspace(4.0, 20.0, 16)  # Å
STIFFNESS = 1.5  # kcal/mol/Å²
KT = kT(340.0)  # kcal/mol


def main(samples: int = 500, equilibration: str = "1 ns") -> tuple[np.ndarray, np.ndarray]:
    """Returns distances in Å and free energies in kcal/mol; NaN where nothing was seen."""
    pull = {
        "name": "pull",
        "variable": "distance",
        "beads": [0, 9],
        "center": {"min": "4 angstrom", "max": "20 angstrom", "count": len(CENTERS)},  # replica r: window r
        "force_constant": f"{STIFFNESS} kcal/mol/angstrom^2",
    }
    sim = Simulation(
        "chignolin",
        "go-chignolin",
        replicas=len(CENTERS),
        temperatures="340 K",
        timestep="10 fs",
        seed=1,
        biases=[pull],
        exchange={"biases": ["pull"], "interval": "1 ps"},
    )
    sim.run(equilibration)
    seen = []
    for _ in range(samples):
        sim.run("5 ps")
        x = sim.positions  # [R, N, 3] Å
        seen.append(np.linalg.norm(x[:, 9] - x[:, 0], axis=-1))
    r = np.concatenate(seen)  # every window contributed as many, whichever replica had it
    reduced = 0.5 * STIFFNESS * (r - CENTERS[:, None]) ** 2 / KT  # [windows, samples]
    counts = np.full(len(CENTERS), samples)
    free = MBAR(reduced, counts).f_k
    weights = 1 / (counts[:, None] * np.exp(free[:, None] - reduced)).sum(axis=0)
    edges = np.linspace(4.0, 20.0, 33)
    with np.errstate(divide="ignore"):
        profile = -KT * np.log(np.histogram(r, edges, weights=weights)[0])
    return 0.5 * (edges[1:] + edges[:-1]), np.where(np.isfinite(profile), profile - profile.min(), np.nan)


if __name__ == "__main__":
    for d, f in zip(*main(), strict=True):
        print(f"{d:5.2f} Å {f:6.2f} kcal/mol")
