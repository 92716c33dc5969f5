"""Replicas from Python: eight copies of Gō chignolin at three temperatures, and a reporter of one's own.

python examples/fold_chignolin.py
"""

from __future__ import annotations

import numpy as np

from mdflash import Engine, LangevinMiddle, Layout, State, build_potential, load_forcefield


class NativeContacts:
    """Collects Q, the fraction of native contacts (r < 1.2 r0), of every replica."""

    def __init__(self, every: int, contacts: np.ndarray, r0: np.ndarray) -> None:
        self.every, self.contacts, self.r0 = every, contacts, r0
        self.q: list[np.ndarray] = []

    def next_report(self, step: int) -> int:
        return (step // self.every + 1) * self.every

    def report(self, simulation: Engine) -> None:
        x = simulation.layout.view(simulation.state.positions, 0).numpy()  # [R, N, 3] Å
        r = np.linalg.norm(x[:, self.contacts[:, 0]] - x[:, self.contacts[:, 1]], axis=-1)
        self.q.append((r < 1.2 * self.r0).mean(axis=1))


def main(steps: int = 200_000) -> np.ndarray:
    """Returns Q [frames, R]."""
    forcefield = load_forcefield("go-chignolin")
    system, native = forcefield.system()
    temperatures = [300.0, 340.0, 380.0, 300.0, 340.0, 380.0]  # K, one for each replica
    layout = Layout((system,), (len(temperatures),))
    start = np.tile(native[0], (len(temperatures), 1))  # [R * N, 3] Å

    simulation = Engine(
        layout,
        build_potential([forcefield], layout),
        State.at(layout, start, temperatures),
        LangevinMiddle(timestep=0.010, collision_rate=1.0),  # ps, 1/ps
        seed=1,
    )
    simulation.draw_velocities()
    contacts = next(t for t in forcefield.terms if t.name == "contacts")
    watcher = NativeContacts(1000, contacts.keys, contacts.parameters["r0"])
    simulation.reporters.append(watcher)
    simulation.run(steps)

    q = np.array(watcher.q)
    for t in sorted(set(temperatures)):
        mine = [r for r, other in enumerate(temperatures) if other == t]
        print(f"{t:.0f} K: mean Q {q[:, mine].mean():.2f}, folded (Q > 0.5) {(q[:, mine] > 0.5).mean():.0%}")
    return q


if __name__ == "__main__":
    main()
