"""The classical yardstick: a structure-based (Gō) force field on the same beads, in OpenMM and in mdflash."""

from __future__ import annotations

import time
from itertools import combinations
from typing import Any

import numpy as np

from mdflash.core.geometry import bond_angles, distances, torsions
from mdflash.core.system import System
from mdflash.core.types import FloatArray, IntArray
from mdflash.forcefields.build import excluded_pairs
from mdflash.forcefields.model import BeadType, ForceField, Term
from mdflash.importers.go_model import build_go
from mdflash.units import NM_PER_ANGSTROM

TIMESTEP = 0.004  # ps
CONTACT = 6.0
"""Å; pairs of a five-bead structure nearer than this are native contacts."""
CUTOFF = 10.0


def go_forcefield(system: System, native: FloatArray) -> ForceField:
    """Gō force field of a CA chain, or the same kind of terms for a molecule with side chains."""
    if (system.bonds[:, 1] == system.bonds[:, 0] + 1).all():
        return build_go(system, native)
    bonded: list[set[int]] = [set() for _ in range(system.n_beads)]
    for i, j in system.bonds.tolist():
        bonded[i].add(j)
        bonded[j].add(i)
    angles = [(a, b, c) for b, around in enumerate(bonded) for a, c in combinations(sorted(around), 2)]
    dihedrals = [
        (a, b, c, d) for b, c in system.bonds.tolist() for a in sorted(bonded[b] - {c}) for d in sorted(bonded[c] - {b})
    ]
    near = {tuple(sorted(pair)) for rows in (system.bonds.tolist(), angles, dihedrals) for row in rows
            for pair in combinations(row, 2)}  # fmt: skip
    i, j = np.triu_indices(system.n_beads, 1)
    close = distances(native, np.stack([i, j], axis=1)) < CONTACT
    contacts = np.array([pair for pair in zip(i[close].tolist(), j[close].tolist(), strict=True) if pair not in near])
    angle_rows, dihedral_rows = np.array(angles), np.array(dihedrals)
    phi = torsions(native, dihedral_rows)[:, None] * np.arange(1, 4)  # [M, 3]
    k = np.array([1.0, 0.0, 0.5])
    length = distances(native, contacts)
    types = tuple(BeadType(name, index) for index, name in enumerate(sorted(set(system.types))))
    keys = np.stack(np.triu_indices(len(types)), axis=1)
    return ForceField(
        "go-like",
        types,
        terms=(
            _harmonic("bonds", "harmonic_bond", system.bonds, 100.0, distances(native, system.bonds)),
            _harmonic("angles", "harmonic_angle", angle_rows, 20.0, bond_angles(native, angle_rows)),
            Term("dihedrals", "fourier_dihedral", "beads", dihedral_rows,
                 {"v0": np.full(len(phi), k.sum()), "k1": -k * np.sin(phi), "k2": -k * np.cos(phi)}),
            Term("contacts", "contact_12_10", "beads", contacts, {"epsilon": np.ones(len(contacts)), "r0": length}),
            Term("excluded_volume", "excluded_volume", "neighbors", keys,
                 {"epsilon": np.ones(len(keys)), "sigma": np.full(len(keys), 3.0)}, cutoff=CUTOFF, exclude_bonds=3,
                 exclude_terms=("contacts",)),
        ),
    )  # fmt: skip


def _harmonic(name: str, form: str, rows: IntArray, k: float, x0: FloatArray) -> Term:
    return Term(name, form, "beads", rows, {"k": np.full(len(rows), k), "x0": x0})


_SERIES = "+".join(f"k1_{n}*sin({n}*theta)+k2_{n}*cos({n}*theta)" for n in (1, 2, 3))
_FORCES = {
    "harmonic_bond": ("Bond", "k*(10*r-x0)^2"),
    "harmonic_angle": ("Angle", "k*(theta-x0)^2"),
    "fourier_dihedral": ("Torsion", f"v0+{_SERIES}"),
    "contact_12_10": ("Bond", "epsilon*(5*(r0/(10*r))^12-6*(r0/(10*r))^10)"),
}
"""Kind of OpenMM force and the energy in kcal/mol, parameters in Å; OpenMM's r is in nm."""


def openmm_system(ff: ForceField, system: System) -> Any:
    """The terms of a `go_forcefield` as an OpenMM System."""
    import openmm

    out = openmm.System()
    for mass in system.masses:
        out.addParticle(float(mass))
    for term in ff.terms:
        force = _repulsion(ff, term, system) if term.form == "excluded_volume" else _listed(term)
        out.addForce(force)
    return out


def _listed(term: Term) -> Any:
    import openmm

    kind, energy = _FORCES[term.form]
    force = getattr(openmm, f"Custom{kind}Force")(f"4.184*({energy})")
    columns: dict[str, FloatArray] = {}
    for name, values in term.parameters.items():
        columns |= {name: values} if values.ndim == 1 else {f"{name}_{n + 1}": values[:, n] for n in range(3)}
    for name in columns:
        getattr(force, f"addPer{kind}Parameter")(name)
    for beads, values in zip(term.keys.tolist(), np.stack(list(columns.values()), axis=1).tolist(), strict=True):
        getattr(force, f"add{kind}")(*beads, values)
    return force


def _repulsion(ff: ForceField, term: Term, system: System) -> Any:
    import openmm

    sigma, cutoff = float(term.parameters["sigma"][0]), term.cutoff or 0.0
    at = f"({sigma}/{cutoff})^12"
    force = openmm.CustomNonbondedForce(f"4.184*(({sigma}/(10*r))^12-{at}+(10*r-{cutoff})*12*{at}/{cutoff})")
    force.setNonbondedMethod(openmm.CustomNonbondedForce.CutoffNonPeriodic)
    force.setCutoffDistance(cutoff * NM_PER_ANGSTROM)
    for _ in range(system.n_beads):
        force.addParticle([])
    for i, j in excluded_pairs(ff, term, system).tolist():
        force.addExclusion(i, j)
    return force


def openmm_speed(ff: ForceField, system: System, x: FloatArray, seconds: float) -> dict[str, Any]:
    """Energy in kcal/mol at x [N, 3] Å, and steps/s of one replica on the faster of OpenMM's two CPU platforms."""
    import openmm

    found: dict[str, Any] = {"steps_per_second": 0.0}
    for name in ("Reference", "CPU"):
        integrator = openmm.LangevinMiddleIntegrator(300.0, 1.0, TIMESTEP)
        platform = openmm.Platform.getPlatformByName(name)
        context = openmm.Context(openmm_system(ff, system), integrator, platform)
        context.setPositions(x * NM_PER_ANGSTROM)
        energy = context.getState(getEnergy=True).getPotentialEnergy()
        context.setVelocitiesToTemperature(300.0, 1)
        integrator.step(20)
        steps, spent = 20, 0.0
        while spent < seconds:
            steps *= 2
            began = time.perf_counter()
            integrator.step(steps)
            context.getState(getEnergy=True)  # waits for the last step
            spent = time.perf_counter() - began
        if steps / spent > found["steps_per_second"]:
            found = {
                "steps_per_second": steps / spent,
                "platform": name,
                "energy": energy.value_in_unit(openmm.unit.kilocalories_per_mole),
            }
    return found
