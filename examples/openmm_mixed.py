"""Chignolin by mdflash beside a chain that OpenMM's own forces hold together, through OpenMM-ML.

    python examples/openmm_mixed.py

Needs `pip install 'mdflash[openmmml]'`. Within chignolin the force field acts, everything else stays classical.
"""

from __future__ import annotations

import numpy as np
import openmm
from openmm import app
from openmmml import MLPotential

from mdflash import load_forcefield
from mdflash.openmm import make_topology


def main(steps: int = 20_000) -> tuple[float, float]:
    """Run at 300 K; returns the mean length (Å) of a bond in chignolin and in the other chain."""
    molecule, frames = load_forcefield("go-chignolin").system()
    assert frames is not None
    topology = make_topology(molecule)
    chain = topology.addChain("B")
    for number in range(5):
        topology.addAtom("CA", app.element.carbon, topology.addResidue("GLY", chain, str(number)))
    x = np.concatenate([frames[0], frames[0].mean(axis=0) + [[15.0, 4.0 * i, 0.0] for i in range(5)]])

    classical = openmm.System()  # all 15 beads repel each other; the five are bonded
    bonds = openmm.HarmonicBondForce()
    repulsion = openmm.CustomNonbondedForce("(0.4/r)^12")
    for _ in x:
        classical.addParticle(100.0)
        repulsion.addParticle([])
    for i in range(10, 14):
        bonds.addBond(i, i + 1, 0.4, 20_000.0)
        repulsion.addExclusion(i, i + 1)
    classical.addForce(bonds)
    classical.addForce(repulsion)

    potential = MLPotential("mdflash", forcefield="go-chignolin")
    mixed = potential.createMixedSystem(topology, classical, range(molecule.n_beads))
    integrator = openmm.LangevinMiddleIntegrator(300, 1, 0.01)
    integrator.setRandomNumberSeed(2026)
    simulation = app.Simulation(topology, mixed, integrator, openmm.Platform.getPlatformByName("Reference"))
    simulation.context.setPositions(x * 0.1)
    lengths = []
    for _ in range(steps // 100):
        simulation.step(100)
        x = simulation.context.getState(positions=True).getPositions(asNumpy=True)._value * 10.0
        lengths.append([np.linalg.norm(x[i + 1] - x[i]) for i in (4, 11)])
    inside, outside = np.mean(lengths, axis=0)
    print(f"bonds of {inside:.2f} Å in chignolin and {outside:.2f} Å in the classical chain")
    return float(inside), float(outside)


if __name__ == "__main__":
    main()
