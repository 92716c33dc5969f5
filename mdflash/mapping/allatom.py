"""The all-atom model that data are sampled from: ff14SB with OBC2 implicit solvent, in OpenMM.

ff14SB: J. A. Maier et al., J. Chem. Theory Comput. 11, 3696 (2015). OBC2: A. Onufriev, D. Bashford and D. A. Case,
Proteins 55, 383 (2004), through OpenMM's own GBSAOBCForce, which is several times as fast as the same model read
from XML. Bonds to hydrogen are constrained, and hydrogens weigh 3 Da, so that 4 fs is a sound time step.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mdflash.core.types import FloatArray, IntArray
from mdflash.errors import InputError
from mdflash.units import KCAL_PER_KJ

if TYPE_CHECKING:
    import openmm as mm

MODEL = "ff14SB + OBC2 (GBSAOBCForce), constraints on bonds to hydrogen, hydrogen mass 3 Da"
HYDROGEN_MASS = 3.0
FORCE_PER_OPENMM = 1.0 / 41.84
"""kJ/mol/nm in kcal/mol/Å."""
BIAS_GROUP = 1
"""OpenMM's force group of energies that are not the model's, which has group 0."""
REFERENCE_PLATFORM_ATOMS = 60
"""Up to this size OpenMM's plain platform beats its threaded one."""


def openmm_version() -> str:
    """OpenMM's version.

    Raises:
        InputError: it is not installed.
    """
    try:
        import openmm
    except ImportError:
        raise InputError(
            "all-atom sampling needs OpenMM, which is not installed: pip install 'mdflash[structures]'"
        ) from None
    return str(openmm.__version__)


def create_system(topology: Any) -> mm.System:
    """The OpenMM System of a protein with all its hydrogens.

    Raises:
        InputError: an atom is missing or a residue is unknown to ff14SB; OpenMM's text names it.
    """
    import openmm as mm
    from openmm import app, unit
    from openmm.app.internal.customgbforces import GBSAOBC2Force

    try:
        system = app.ForceField("amber14/protein.ff14SB.xml").createSystem(
            topology,
            nonbondedMethod=app.NoCutoff,
            constraints=app.HBonds,
            hydrogenMass=HYDROGEN_MASS * unit.amu,
        )
    except ValueError as error:
        raise InputError(f"ff14SB does not fit the molecule: {error}") from None
    nonbonded = next(f for f in system.getForces() if isinstance(f, mm.NonbondedForce))
    nonbonded.setReactionFieldDielectric(1.0)  # asked for by GBSAOBCForce, although there is no cutoff
    solvent = mm.GBSAOBCForce()
    for atom, (radius, scale) in enumerate(GBSAOBC2Force.getStandardParameters(topology)):
        solvent.addParticle(nonbonded.getParticleParameters(atom)[0], radius, scale)
    system.addForce(solvent)
    return system


def create_context(system: mm.System, temperature: float, timestep: float, friction: float, seed: int) -> mm.Context:
    """A Context on the platform that is fastest for one molecule on one core.

    Args:
        system: from `create_system`.
        temperature: K.
        timestep: ps.
        friction: 1/ps.
        seed: of the thermostat's noise.
    """
    import openmm as mm

    integrator = mm.LangevinMiddleIntegrator(temperature, friction, timestep)
    integrator.setRandomNumberSeed(seed % 2**31 or 1)  # 0 asks OpenMM for a seed of its own choice
    if system.getNumParticles() <= REFERENCE_PLATFORM_ATOMS:
        return mm.Context(system, integrator, mm.Platform.getPlatformByName("Reference"))
    properties = {"Threads": "1", "DeterministicForces": "true"}
    return mm.Context(system, integrator, mm.Platform.getPlatformByName("CPU"), properties)


def relax(system: mm.System, positions: FloatArray, hold: IntArray | None = None) -> FloatArray:
    """`positions` [atoms, 3] in Å after energy minimization.

    Args:
        system: from `create_system`.
        positions: where to start.
        hold: [M] atoms that stay in place, within about 0.1 Å.
    """
    return _minimize(system if hold is None else _holding(system, positions, hold), positions, 1.0, 2000)


def relax_quickly(system: mm.System, positions: FloatArray, hold: IntArray) -> FloatArray:
    """As `relax`, several times as fast and not as far: first without solvent, whose forces cost the most.

    For 35 residues: 2.9 s of CPU time instead of 16, and 31 kJ/mol above the energy that `relax` reaches
    (2026-11-30, all-atom frame of 1ENH's first 35 CA).
    """
    import openmm as mm

    held = _holding(system, positions, hold)
    dry = copy.deepcopy(held)
    dry.removeForce(next(k for k, f in enumerate(dry.getForces()) if isinstance(f, mm.GBSAOBCForce)))
    return _minimize(held, _minimize(dry, positions, 10.0, 1000), 30.0, 500)


def _holding(system: mm.System, positions: FloatArray, atoms: IntArray) -> mm.System:
    """The system with springs from atoms to where they are."""
    import openmm as mm

    system = copy.deepcopy(system)
    springs = mm.CustomExternalForce("0.5*k*((x-x0)^2+(y-y0)^2+(z-z0)^2)")
    springs.addGlobalParameter("k", 1e5)  # kJ/mol/nm^2
    for name in ("x0", "y0", "z0"):
        springs.addPerParticleParameter(name)
    for atom in atoms.tolist():
        springs.addParticle(atom, positions[atom] / 10.0)
    system.addForce(springs)
    return system


def _minimize(system: mm.System, positions: FloatArray, tolerance: float, most: int) -> FloatArray:
    """Minimized to a root mean square force below `tolerance` (kJ/mol/nm), in at most `most` iterations."""
    import openmm as mm

    context = create_context(system, 300.0, 0.001, 1.0, 1)
    context.setPositions(positions / 10.0)
    mm.LocalEnergyMinimizer.minimize(context, tolerance, most)
    found: FloatArray = context.getState(positions=True).getPositions(asNumpy=True)._value * 10.0
    return found


class AtomFrame(NamedTuple):
    """Positions in Å, forces in kcal/mol/Å [atoms, 3], and the potential energy in kcal/mol.

    Forces and energy are those of the model: without constraints and biases.
    """

    positions: FloatArray
    forces: FloatArray
    energy: float


def frame(context: mm.Context) -> AtomFrame:
    """Where a simulation is."""
    state = context.getState(positions=True, forces=True, energy=True, groups={0})
    positions: FloatArray = state.getPositions(asNumpy=True)._value * 10.0
    forces: FloatArray = state.getForces(asNumpy=True)._value * FORCE_PER_OPENMM
    return AtomFrame(positions, forces, float(state.getPotentialEnergy()._value) * KCAL_PER_KJ)


def constraints(system: mm.System) -> IntArray:
    """[M, 2] atoms whose distance is fixed."""
    pairs = [system.getConstraintParameters(k)[:2] for k in range(system.getNumConstraints())]
    return np.array(pairs, np.int64).reshape(-1, 2)
