"""Gō models of several copies: contacts within a molecule act between copies of it, as OpenMM computes them too."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import openmm
import pytest
import torch
from openmm import unit

from mdflash.core.copies import join
from mdflash.core.geometry import distances
from mdflash.core.state import Layout
from mdflash.core.system import System
from mdflash.core.types import FloatArray
from mdflash.engine.evaluator import Evaluator
from mdflash.errors import ForceFieldError, InputError
from mdflash.forcefields.between import BETWEEN, contacts_between, describe_contacts
from mdflash.forcefields.build import build_potential
from mdflash.forcefields.copies import Part
from mdflash.forcefields.model import ForceField
from mdflash.importers.go_model import GoParameters, build_go
from mdflash.mapping.chain import chain_of
from mdflash.mapping.many import Copies, fill_box, join_molecules
from mdflash.neighbors.reference import all_pairs
from mdflash.potentials.pack import pack
from tests.forcefields.test_copies import shipped

SEQUENCE = "GYSRALPSLENLEDDDKW"


def helix(n: int) -> FloatArray:
    i = np.arange(n)
    return np.stack([2.3 * np.cos(1.745 * i), 2.3 * np.sin(1.745 * i), 1.5 * i], axis=1)


def molecule(sequence: str = SEQUENCE) -> tuple[ForceField, System, FloatArray]:
    """A Gō model of a helix, and its native structure."""
    system, _ = chain_of(sequence, shipped("calvados2"), "helix")
    native = helix(len(sequence)) + np.random.default_rng().normal(scale=0.2, size=(len(sequence), 3))
    ff = build_go(replace(system, interactions={}), native)
    return ff, ff.systems[0][0], native


def dimer(gone: int = 0) -> tuple[System, FloatArray]:
    """Two helices side by side; the second lacks its first residues."""
    one = replace(molecule()[1], name="one")
    both = join([(one, 2)], "dimer")
    x = np.concatenate([helix(one.n_beads), helix(one.n_beads) @ np.diag([-1.0, -1.0, 1.0]) + [8.5, 0.0, 0.0]])
    if not gone:
        return both, x
    keep = np.r_[0 : one.n_beads, one.n_beads + gone : both.n_beads]
    number = {int(bead): k for k, bead in enumerate(keep)}
    bonds = np.array([[number[i], number[j]] for i, j in both.bonds.tolist() if i in number and j in number])
    pick = lambda values: tuple(values[k] for k in keep)  # noqa: E731
    return System(
        name="dimer", types=pick(both.types), bead_names=pick(both.bead_names), residue_index=np.arange(len(keep)),
        residue_names=pick(both.residue_names), residue_ids=pick(both.residue_ids), chain_ids=pick(both.chain_ids),
        masses=both.masses[keep], bonds=bonds, interactions={},
    ), x[keep]  # fmt: skip


def of_contacts(ff: ForceField) -> tuple[set[tuple[int, int]], dict[tuple[int, int], float]]:
    (term,) = (t for t in ff.terms if t.name == "contacts")
    keys = [(int(i), int(j)) for i, j in term.keys]
    return set(keys), dict(zip(keys, term.parameters["r0"].tolist(), strict=True))


@pytest.mark.parametrize("gone", [0, 3])
def test_a_contact_within_a_chain_is_one_between_copies(gone: int) -> None:
    system, native = dimer(gone)
    n = len(SEQUENCE)
    chains = np.array([0] * n + [1] * (n - gone))
    plain, _ = of_contacts(build_go(system, native, chains=chains))
    found, r0 = of_contacts(build_go(system, native, None, GoParameters(between_chains="symmetric"), chains=chains))
    assert plain < found
    place = [*range(n), *range(gone, n)]
    bead = {(chain, k): b for b, (chain, k) in enumerate(zip(chains.tolist(), place, strict=True))}
    touch = {tuple(sorted((place[i], place[j]))) for i, j in plain}
    assert {tuple(sorted((place[i], place[j]))) for i, j in found} == touch
    for i, j in plain:
        a, b = bead.get((0, place[i])), bead.get((1, place[j]))
        c, d = bead.get((0, place[j])), bead.get((1, place[i]))
        assert all(pair in found for pair in ((a, b), (c, d)) if None not in pair)
        assert np.isclose(r0[i, j], distances(native, np.array([[i, j]]))[0])  # native ones are as they were
    within = {(i, j) for i, j in found if chains[i] == chains[j]}
    assert within == {(i, j) for i, j in plain if chains[i] == chains[j]}


def test_chains_of_different_molecules_have_no_symmetry() -> None:
    system, native = dimer()
    other = list(system.residue_names)
    other[-5:] = ["TRP"] * 5
    with pytest.raises(InputError, match=r"no two chains of 'dimer' are copies .* --between-chains native"):
        build_go(replace(system, residue_names=tuple(other)), native, None, GoParameters(between_chains="symmetric"))


def test_what_has_no_contacts_is_refused() -> None:
    plain = shipped("calvados2")
    with pytest.raises(ForceFieldError, match=r"no native contacts .*between_copies: none"):
        contacts_between(Part(plain, chain_of("GYSGYS", plain, "idr")[0], 2))


def in_openmm(ff: ForceField, system: System, x: FloatArray, box: float, alone: int) -> tuple[float, FloatArray]:
    """What acts between copies, as custom forces: kcal/mol and kcal/mol/Å."""
    (term,) = (t for t in ff.terms if t.name == "contacts")
    made = openmm.System()
    made.setDefaultPeriodicBoxVectors(*(np.eye(3) * box / 10))
    near = openmm.CustomBondForce("step(2.5*r0-r)*eps*(5*(r0/r)^12-6*(r0/r)^10-(5*0.4^12-6*0.4^10))")
    volume = openmm.CustomBondForce(
        "step(rc-r)*(eps*(s/r)^12-eps*(s/rc)^12+(r-rc)*12*eps*(s/rc)^12/rc); eps=4.184; s=0.4; rc=1"
    )
    near.addPerBondParameter("eps")
    near.addPerBondParameter("r0")
    for force in (near, volume):
        force.setUsesPeriodicBoundaryConditions(True)
        made.addForce(force)
    for mass in system.masses:
        made.addParticle(float(mass))
    native = dict(zip(map(tuple, np.sort(term.keys, axis=1).tolist()), term.parameters["r0"].tolist(), strict=True))
    for i in range(system.n_beads):
        for j in range(i + 1, system.n_beads):
            a, b = sorted((i % alone, j % alone))
            if i // alone == j // alone:
                continue
            if (a, b) in native:
                near.addBond(i, j, [4.184, native[a, b] / 10])
            else:
                volume.addBond(i, j, [])
    context = openmm.Context(made, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference"))
    context.setPositions(x / 10)
    state = context.getState(getEnergy=True, getForces=True)
    forces = state.getForces(asNumpy=True).value_in_unit(unit.kilocalorie_per_mole / unit.angstrom)
    return state.getPotentialEnergy().value_in_unit(unit.kilocalorie_per_mole), forces


def test_copies_in_a_box_agree_with_openmm_and_with_torch() -> None:
    ff, system, native = molecule()
    count, box = 4, 61.0
    copies = contacts_between(Copies(ff, system, count, native[None]))
    n = len(ff.terms[3].keys)
    assert f"6 pairs of copies, {2 * n} contacts each ({n} native ones" in describe_contacts(copies)
    filled = fill_box([copies], (box, box, box), 5)
    rng = np.random.default_rng()
    x = filled.frames[0] + rng.normal(scale=0.15, size=filled.frames[0].shape)
    middle = x.reshape(count, -1, 3).mean(axis=1)
    # copies that touch, one of them through the wall of the box
    for k, away in enumerate([[0.0, 0.0, 0.0], [9.5, 1.0, 2.0], [-9.0, 2.0, box], [2.0, 10.0, -1.0]]):
        x[k * system.n_beads : (k + 1) * system.n_beads] += np.array([5.0, 5.0, 5.0]) + away - middle[k]
    layout = Layout((filled.system,), (1,))
    positions = torch.from_numpy(x)
    between, forces = in_openmm(ff, filled.system, x, box, system.n_beads)
    one = Layout((system,), (1,))
    for k in range(count):
        rows = slice(k * system.n_beads, (k + 1) * system.n_beads)
        own = build_potential([ff], one).energy_and_forces(positions[rows], one, all_pairs(positions[rows], one, 60.0))
        between += float(own.energy[0])
        forces[rows] += own.forces.numpy()
    reference = build_potential([filled.forcefield], layout)
    assert not pack(reference.terms, layout).rest  # all of it is compiled
    kernels = Evaluator(filled.forcefield, filled.system)(x, (box, box, box))
    pairs = all_pairs(positions, layout, 0.499 * box, (box, box, box))
    for found in (reference.energy_and_forces(positions, layout, pairs), kernels):
        assert np.isclose(float(found[0][0]), between, rtol=1e-9)
        np.testing.assert_allclose(np.asarray(found[1]), forces, rtol=1e-8, atol=1e-8 * np.abs(forces).max())
    assert sum(t.name == BETWEEN for t in filled.forcefield.terms) == 1


def test_copies_far_apart_do_not_meet() -> None:
    ff, system, native = molecule()
    together, merged = join_molecules([contacts_between(Part(ff, system, 2))], "two")
    layout, one = Layout((together,), (1,)), Layout((system,), (1,))
    x = torch.from_numpy(np.concatenate([native, native + 300.0]))
    alone = build_potential([ff], one).energy_and_forces(x[: len(native)], one, all_pairs(x[: len(native)], one, 90.0))
    both = build_potential([merged], layout).energy_and_forces(x, layout, all_pairs(x, layout, 90.0))
    assert np.isclose(float(both.energy[0]), 2 * float(alone.energy[0]), rtol=1e-12)


@pytest.mark.parametrize("word", [True, False, "symmetrical"])
def test_other_words_for_contacts_between_chains_are_refused(word: Any) -> None:
    """`False` once meant none, and must not be read as native."""
    with pytest.raises(InputError, match="'between_chains' is one of native, none, symmetric"):
        GoParameters(between_chains=word)
