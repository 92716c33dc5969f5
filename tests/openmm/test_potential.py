"""OpenMM's forces in mdflash."""

from __future__ import annotations

import numpy as np
import openmm
import pytest
import torch
from openmm import app

from mdflash.core.state import Layout
from mdflash.core.system import System
from mdflash.errors import InputError
from mdflash.integrators.langevin import LangevinMiddle
from mdflash.openmm import OpenMMPotential, beads_of, make_topology
from mdflash.testing import check_potential
from tests.helpers import simulate, toy, walk
from tests.openmm.contexts import context, positions_of


def chain(n: int = 8) -> openmm.System:
    """Bonds, angles and a repulsion."""
    system = openmm.System()
    bonds, angles = openmm.HarmonicBondForce(), openmm.HarmonicAngleForce()
    for i in range(n):
        system.addParticle(100.0 + i)
        if i:
            bonds.addBond(i - 1, i, 0.38, 5000.0)
        if i > 1:
            angles.addAngle(i - 2, i - 1, i, 1.9, 30.0)
    apart = openmm.CustomNonbondedForce("(0.4/r)^12")
    for _ in range(n):
        apart.addParticle([])
    apart.createExclusionsFromBonds([(i, i + 1) for i in range(n - 1)], 2)
    for force in (bonds, angles, apart):
        system.addForce(force)
    system.addForce(openmm.CMMotionRemover())
    return system


@pytest.fixture
def molecule() -> System:
    topology = app.Topology()
    residue_of = topology.addChain("A")
    for i in range(8):
        topology.addAtom("CA", None, topology.addResidue("ALA", residue_of, str(i + 3)))
    return beads_of(topology, chain(), "chain")


def test_beads_of_an_openmm_model(molecule: System) -> None:
    assert molecule.masses.tolist() == [100.0 + i for i in range(8)]
    assert molecule.bead_label(1) == "ALA 4 CA (bead 1)"
    again = beads_of(make_topology(molecule), chain(), "chain")
    assert again == molecule
    with pytest.raises(InputError, match="8 atoms, but the OpenMM System 5 particles"):
        beads_of(make_topology(molecule), chain(5))


def test_keeps_the_contract_of_a_potential(molecule: System, rng: np.random.Generator) -> None:
    x = np.concatenate([walk(8, rng) for _ in range(3)])
    check_potential(OpenMMPotential(chain()), Layout((molecule,), (3,)), torch.from_numpy(x))


def test_dynamics_in_mdflash_is_dynamics_in_openmm(molecule: System, rng: np.random.Generator) -> None:
    """Two replicas, LangevinMiddle at T = 0, 500 steps."""
    x = np.concatenate([walk(8, rng) for _ in range(2)])
    engine = simulate(Layout((molecule,), (2,)), [toy()], x, LangevinMiddle(0.002, 1.0),
                      extra=[OpenMMPotential(chain())])  # fmt: skip
    v = engine.state.velocities.numpy().copy()
    engine.state.temperature.zero_()
    engine.run(500)
    for r in range(2):
        rows = slice(8 * r, 8 * r + 8)
        system = chain()
        system.removeForce(3)
        made = context(system, x[rows], openmm.LangevinMiddleIntegrator(0.0, 1.0, 0.002))
        made.setVelocities(v[rows] * 0.1)
        made.getIntegrator().step(500)
        assert np.abs(positions_of(made) - x[rows]).max() > 0.2
        assert np.abs(positions_of(made) - engine.state.positions.numpy()[rows]).max() < 1e-8


def test_what_it_refuses(molecule: System) -> None:
    def refused(change: object, match: str) -> None:
        system = chain()
        change(system)  # type: ignore[operator]
        with pytest.raises(InputError, match=match):
            OpenMMPotential(system)

    refused(lambda s: s.addConstraint(0, 1, 0.38), "1 constraints.*constraints=None")
    refused(lambda s: s.addForce(openmm.MonteCarloBarostat(1.0, 300.0)), "MonteCarloBarostat")
    refused(lambda s: s.addForce(openmm.AndersenThermostat(300.0, 1.0)), "AndersenThermostat")
    refused(lambda s: s.setVirtualSite(3, openmm.TwoParticleAverageSite(1, 2, 0.5, 0.5)), "particle 3 .*virtual site")
    refused(
        lambda s: s.getForce(2).setNonbondedMethod(openmm.CustomNonbondedForce.CutoffPeriodic),
        "CustomNonbondedForce .* is periodic.*CutoffNonPeriodic",
    )
    with pytest.raises(InputError, match="no platform 'GPU' here; it has Reference"):
        OpenMMPotential(chain(), platform="GPU")
    potential = OpenMMPotential(chain(5))
    with pytest.raises(InputError, match="5 particles, but system 'chain' has 8 beads"):
        potential.energy_and_forces(torch.zeros(8, 3), Layout((molecule,), (1,)), None)
