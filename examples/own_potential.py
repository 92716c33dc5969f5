"""A potential of one's own as a plain function; forces come from torch autograd. A soft wall around a droplet.

python examples/own_potential.py
"""

from __future__ import annotations

import torch

import mdflash


def main(length: str = "50 ps", radius: float = 12.0) -> float:
    """Returns how far (Å) the farthest bead is from the origin at the end."""

    def wall(x: torch.Tensor) -> torch.Tensor:
        """k/2 (r - radius)² for every bead outside: from positions [R, N, 3] in Å to energies [R] in kcal/mol."""
        outside = (x.norm(dim=-1) - radius).clamp(min=0.0)
        return 0.5 * 5.0 * outside.square().sum(dim=-1)

    system, native = mdflash.load_forcefield("go-chignolin").system()
    sim = mdflash.Simulation(
        system,
        "go-chignolin",
        start=native - native.mean(axis=1, keepdims=True),
        replicas=4,
        temperatures="500 K",
        timestep="10 fs",
        biases=[mdflash.FunctionBias("wall", wall)],
        seed=3,
    )
    sim.run(length)
    farthest = max(float(torch.tensor(r.positions.copy()).norm(dim=-1).max()) for r in sim.replicas)
    print(f"{sim}: the farthest bead is {farthest:.1f} Å from the origin")
    return farthest


if __name__ == "__main__":
    main()
