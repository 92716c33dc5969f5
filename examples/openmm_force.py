"""Chignolin in OpenMM: a mdflash force field as a force of an OpenMM System.

    python examples/openmm_force.py

Needs `pip install 'mdflash[openmm]'`. The Reference platform is the fastest one for a force that is computed elsewhere.
"""

from __future__ import annotations

import sys

import numpy as np
import openmm
from openmm import app, unit

from mdflash import load_forcefield
from mdflash.openmm import create_system, make_topology, original_errors


def main(steps: int = 50_000) -> np.ndarray:
    """Run at 300 K; returns the end-to-end distance (Å) every 500 steps."""
    molecule, frames = load_forcefield("go-chignolin").system()
    assert frames is not None
    topology = make_topology(molecule)
    system = create_system("go-chignolin", topology)

    integrator = openmm.LangevinMiddleIntegrator(300 * unit.kelvin, 1 / unit.picosecond, 10 * unit.femtoseconds)
    integrator.setRandomNumberSeed(2026)
    platform = openmm.Platform.getPlatformByName("Reference")
    simulation = app.Simulation(topology, system, integrator, platform)
    simulation.context.setPositions(frames[0] * unit.angstrom)
    simulation.minimizeEnergy()
    simulation.context.setVelocitiesToTemperature(300 * unit.kelvin, 2026)
    simulation.reporters.append(
        app.StateDataReporter(sys.stdout, max(steps // 5, 1), step=True, potentialEnergy=True, speed=True)
    )
    distances = []
    with original_errors():  # an instability says which bead and which term
        for _ in range(steps // 500):
            simulation.step(500)
            x = simulation.context.getState(positions=True).getPositions(asNumpy=True).value_in_unit(unit.angstrom)
            distances.append(np.linalg.norm(x[-1] - x[0]))
    print(f"end-to-end distance: {np.mean(distances):.1f} ± {np.std(distances):.1f} Å")
    return np.array(distances)


if __name__ == "__main__":
    main()
