"""Free energy of chignolin along its end-to-end distance, by OpenMM's metadynamics on a mdflash force field.

    python examples/metadynamics.py

Needs `pip install 'mdflash[openmm]'`.
"""

from __future__ import annotations

import numpy as np
import openmm
from openmm import app, unit

from mdflash import load_forcefield
from mdflash.openmm import create_system, make_topology


def main(steps: int = 500_000) -> tuple[np.ndarray, np.ndarray]:
    """Returns the distances [bins] in Å and the free energy [bins] in kcal/mol, lowest point 0."""
    molecule, frames = load_forcefield("go-chignolin").system()
    assert frames is not None
    topology = make_topology(molecule)
    system = create_system("go-chignolin", topology)

    distance = openmm.CustomBondForce("r")
    distance.addBond(0, molecule.n_beads - 1, [])
    variable = app.BiasVariable(distance, 0.3, 3.3, 0.1, False)
    metadynamics = app.Metadynamics(
        system, [variable], 340 * unit.kelvin, 8, 0.5 * unit.kilojoules_per_mole, frequency=250
    )
    integrator = openmm.LangevinMiddleIntegrator(340, 1, 0.01)
    integrator.setRandomNumberSeed(2026)
    simulation = app.Simulation(topology, system, integrator, openmm.Platform.getPlatformByName("Reference"))
    simulation.context.setPositions(frames[0] * unit.angstrom)
    metadynamics.step(simulation, steps)

    free = metadynamics.getFreeEnergy().value_in_unit(unit.kilocalories_per_mole)
    free -= free.min()
    r = np.linspace(3.0, 33.0, len(free))
    for at, value in zip(r[::8], free[::8], strict=True):
        print(f"{at:5.1f} Å  {value:5.2f} kcal/mol  {'#' * int(8 * min(value, 8.0))}")
    return r, free


if __name__ == "__main__":
    main()
