"""Six replicas of Gō chignolin at three temperatures: how much of the native structure is there?

python examples/fold_chignolin.py
"""

from __future__ import annotations

import numpy as np

import mdflash


class NativeContacts:
    """A reporter: collects Q, the fraction of native contacts (r < 1.2 r0), of every replica."""

    def __init__(self, every: int, contacts: np.ndarray, r0: np.ndarray) -> None:
        self.every, self.contacts, self.r0 = every, contacts, r0
        self.q: list[np.ndarray] = []

    def next_report(self, step: int) -> int:
        return (step // self.every + 1) * self.every

    def report(self, simulation: mdflash.Simulation) -> None:
        x = simulation.positions  # [R, N, 3] Å
        r = np.linalg.norm(x[:, self.contacts[:, 0]] - x[:, self.contacts[:, 1]], axis=-1)
        self.q.append((r < 1.2 * self.r0).mean(axis=1))


def main(length: str = "2 ns") -> np.ndarray:
    """Returns Q [frames, R]."""
    forcefield = mdflash.load_forcefield("go-chignolin")
    contacts = next(term for term in forcefield.terms if term.name == "contacts")
    sim = mdflash.Simulation(
        "chignolin",  # comes with the force field
        forcefield,
        replicas=6,
        temperatures=["300 K", "300 K", "340 K", "340 K", "380 K", "380 K"],
        timestep="10 fs",
        seed=1,
    )
    watcher = NativeContacts(sim.steps_in("10 ps"), contacts.keys, contacts.parameters["r0"])
    sim.reporters.append(watcher)
    sim.run(length)

    q = np.array(watcher.q)
    for pair in (0, 2, 4):
        mine = q[:, pair : pair + 2]
        kelvin = sim.replicas[pair].temperature
        print(f"{kelvin:.0f} K: mean Q {mine.mean():.2f}, folded (Q > 0.5) {(mine > 0.5).mean():.0%}")
    return q


if __name__ == "__main__":
    main()
