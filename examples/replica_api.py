"""The Python API in one page: replicas, exchange, files, and a run folder's worth of analysis.

python examples/replica_api.py
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

import mdflash


def main(folder: Path = Path("replica_api"), length: str = "200 ps") -> mdflash.Simulation:
    """Returns the simulation at its end."""
    sim = mdflash.Simulation(
        "chignolin",  # or "protein.pdb" (PDB, mmCIF, GRO), or a list of molecules
        "go-chignolin",  # a folder or a shipped name
        replicas=4,
        exchange={"temperatures": {"min": "300 K", "max": "380 K", "count": 4}, "interval": "1 ps"},
        timestep="10 fs",  # or 0.010 (ps), or 10 * openmm.unit.femtoseconds
        friction="1 /ps",
        seed=2025,
    )
    print(sim)

    # every replica by its number: live views in Å, Å/ps and kcal/mol
    first = sim.replicas[0]
    first.positions = first.positions + np.random.default_rng(0).normal(scale=0.3, size=(first.system.n_beads, 3))
    print(f"energy after a push  {first.energy:8.2f} kcal/mol")
    sim.minimize()
    print(f"minimized            {first.energy:8.2f} kcal/mol")

    sim.reporters.append(mdflash.StateDataReporter(folder.with_suffix(".csv"), sim.steps_in("10 ps"), replica=0))
    with mdflash.TrajectoryReporter(folder, sim.steps_in("1 ps"), format="xtc") as frames:
        sim.reporters.append(frames)
        sim.run(length)

    for replica in sim.replicas:
        print(f"{replica}: potential energy {replica.energy:8.2f} kcal/mol")
    print("acceptance between neighbors:", sim.exchange.acceptance()["chignolin"])
    return sim


if __name__ == "__main__":
    main()
