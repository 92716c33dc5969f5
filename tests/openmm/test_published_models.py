"""Forces of the shipped models of one bead per residue, against OpenMM's own forces on the same chains.

OpenMM evaluates the equations as they are published, written below, in double precision (its Reference platform).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from mdflash.core.copies import join
from mdflash.core.state import Layout
from mdflash.core.system import System
from mdflash.core.types import Box, FloatArray
from mdflash.engine.blocks.compiled import CompiledPriors
from mdflash.forcefields.build import bind_term, build_potential, neighbor_table
from mdflash.forcefields.environment import Environment
from mdflash.forcefields.forcefield import load_forcefield
from mdflash.forcefields.model import ForceField
from mdflash.forcefields.shipped import shipped_names
from mdflash.mapping.chain import chain_of
from mdflash.mapping.placing import Kind, place
from mdflash.mapping.sequence import ONE_LETTER
from mdflash.potentials.pack import pack

KJ = 4.184
ASHBAUGH_HATCH = (
    "select(step(R-2^(1/6)*sigma),lambda*(lj-end),lj+epsilon*(1-lambda)-lambda*end);"
    "lj=4*epsilon*((sigma/R)^12-(sigma/R)^6);end=4*epsilon*((sigma/{rc})^12-(sigma/{rc})^6)"
)
EQUATIONS = {
    "ashbaugh_hatch": ASHBAUGH_HATCH.format(rc="rc"),
    "ashbaugh_hatch_own_cutoff": "step(own_cutoff-R)*" + ASHBAUGH_HATCH.format(rc="own_cutoff"),
    "wang_frenkel": "step(3*sigma-R)*epsilon*a*((sigma/R)^(2*mu)-1)*((3*sigma/R)^(2*mu)-1)^2;"
    "a=2*3^(2*mu)*(3/(2*(3^(2*mu)-1)))^3",
    "yukawa": "prefactor*exp(-kappa*R)/R",
    "yukawa_shifted": "prefactor*(exp(-kappa*R)/R-exp(-kappa*rc)/rc)",
}
"""In kcal/mol, of R in Å and the cutoff rc."""


def models() -> list[str]:
    """Every shipped force field that holds for any sequence of residues."""
    found = []
    for name in shipped_names("forcefields"):
        ff = load_forcefield(name)
        if ff.mapping == "ca" and not ff.networks and all(t.keyed_by != "beads" for t in ff.terms):
            found.append(name)
    return found


MODELS = models()


def in_openmm(ff: ForceField, system: System, x: FloatArray, box: Box | None) -> tuple[float, FloatArray]:
    """Energy in kcal/mol and forces in kcal/mol/Å."""
    import openmm
    from openmm import unit

    made = openmm.System()
    if box is not None:
        made.setDefaultPeriodicBoxVectors(*(openmm.Vec3(*row) for row in np.diag(box) / 10))
    for mass in system.masses:
        made.addParticle(mass)
    for term in ff.terms:
        made.addForce(_bonds(ff, term, system) if term.keyed_by == "types" else _pairs(ff, term, system, box))
    context = openmm.Context(made, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference"))
    context.setPositions(x / 10)
    state = context.getState(getEnergy=True, getForces=True)
    forces = state.getForces(asNumpy=True).value_in_unit(unit.kilocalories_per_mole / unit.angstrom)
    return float(state.getPotentialEnergy().value_in_unit(unit.kilocalories_per_mole)), np.asarray(forces)


def _bonds(ff: ForceField, term: Any, system: System) -> Any:
    import openmm

    assert term.form == "harmonic_bond"
    force = openmm.HarmonicBondForce()
    index, p = bind_term(ff, term, system)
    for (i, j), k, x0 in zip(index.tolist(), p["k"], p["x0"], strict=True):
        force.addBond(i, j, x0 / 10, 2 * k * KJ * 100)
    return force


def _pairs(ff: ForceField, term: Any, system: System, box: Box | None) -> Any:
    import openmm

    table = neighbor_table(ff, term, system)
    size = len(next(iter(table.parameters.values())))
    energy, *where = EQUATIONS[term.form].split(";")
    where += [f"{p}={p}_of(kind1,kind2)" for p in table.parameters] + [f"rc={term.cutoff}", "R=10*r"]
    force = openmm.CustomNonbondedForce(";".join([f"{KJ}*({energy})", *where]))
    for p, matrix in table.parameters.items():
        force.addTabulatedFunction(
            f"{p}_of", openmm.Discrete2DFunction(size, size, np.asarray(matrix).ravel().tolist())
        )
    force.addPerParticleParameter("kind")
    for kind in table.types.tolist():
        force.addParticle([kind])
    for i, j in table.excluded.tolist():
        force.addExclusion(i, j)
    periodic = box is not None
    force.setNonbondedMethod(force.CutoffPeriodic if periodic else force.CutoffNonPeriodic)
    force.setCutoffDistance(term.cutoff / 10)
    return force


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("box", [None, (95.0, 90.0, 120.0)], ids=["open", "periodic"])
def test_forces_are_those_of_openmm(name: str, box: Box | None) -> None:
    seed = int(np.random.SeedSequence().generate_state(1)[0])
    rng = np.random.default_rng(seed)
    ff = load_forcefield(name)
    if ff.environment is not None:
        ff = ff.at(Environment(rng.uniform(280, 320), rng.uniform(0.02, 0.5), rng.uniform(5.0, 8.0)))
    residues = [letter for letter, name_ in ONE_LETTER.items() if name_ in {t.name for t in ff.bead_types}]
    sequences = ["".join(rng.choice(residues, n)) for n in rng.integers(20, 60, 1 if box is None else 6)]
    chains = [chain_of(sequence, ff, "chain")[0] for sequence in sequences]
    system = join([(chain, 1) for chain in chains], "chains")
    kinds = [Kind(c.n_beads, 1, float(c.masses.sum())) for c in chains]
    x = place(kinds, box or (200.0, 200.0, 200.0), seed).positions + rng.normal(scale=0.3, size=(system.n_beads, 3))
    energy, forces = in_openmm(ff, system, x, box)
    layout = Layout((system,), (1,))
    packed = pack(build_potential([ff], layout).terms, layout)
    found = CompiledPriors(packed, box).energy_and_forces(torch.from_numpy(x), layout, None)
    assert abs(float(found.energy[0]) - energy) < 1e-6 * max(1.0, abs(energy)), (seed, float(found.energy[0]), energy)
    scale = np.abs(forces).max()
    worst = np.abs(found.forces.numpy() - forces).max()
    assert worst < 1e-6 * scale, (seed, worst, scale)
