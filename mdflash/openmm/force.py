"""An mdflash force field as an OpenMM force.

The force is an `openmm.PythonForce`, so it works wherever OpenMM forces do: on subsets of the particles, in force
groups, inside CustomCVForce, with Metadynamics, the minimizer, several Contexts in threads.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mdflash.core.optional import require
from mdflash.core.system import System
from mdflash.core.types import Device, Precision
from mdflash.engine.evaluator import Evaluator
from mdflash.errors import InputError
from mdflash.forcefields.forcefield import load_forcefield
from mdflash.forcefields.model import ForceField
from mdflash.openmm.computation import Computation
from mdflash.openmm.reference import Reference
from mdflash.openmm.topology import find_molecule

OPTIONS = ("replicas", "device", "precision")
"""Keyword arguments of `mdflash_force` and `create_system`."""


def mdflash_force(
    forcefield: ForceField | Path | str,
    topology_or_beads: Any,
    particles: Sequence[int] | None = None,
    *,
    replicas: int = 1,
    device: Device = "cpu",
    precision: Precision = "fp32",
) -> Any:
    """A force field as an `openmm.PythonForce`.

    Where OpenMM has run into an error of the force, `original_errors` brings its class back. A System that holds the
    force can be copied and written as XML: it refers to the folder of the force field. If `forcefield` is not from a
    folder, only this process can read it again.

    Args:
        forcefield: a folder, the name of a shipped one, or a ForceField.
        topology_or_beads: `openmm.app.Topology`, whose atoms are the beads of a molecule that came with the force
            field, or of its mapping ("ca": one CA per residue); or the molecule as a System. With a periodic box in the
            Topology, the force follows the Context's box.
        particles: indices of the particles that are the beads, in their order; None: all.
        replicas: number of copies of the molecule, which lie one after the other and do not interact.
        device: "cpu" or "cuda".
        precision: arithmetic of networks.

    Raises:
        ForceFieldError: the force field cannot be read, or does not fit the beads.
        InputError: an argument is wrong.
        MissingExtraError: openmm is not installed.
    """
    return bind(forcefield, topology_or_beads, particles, replicas, device, precision)[0]


def create_system(
    forcefield: ForceField | Path | str,
    topology_or_beads: Any,
    *,
    replicas: int = 1,
    device: Device = "cpu",
    precision: Precision = "fp32",
) -> Any:
    """An `openmm.System` of the beads, with their masses and `mdflash_force`; arguments and errors as there.

    Nothing removes the motion of the center of mass: add an `openmm.CMMotionRemover` if you want that, but not with
    several replicas, which it would couple.
    """
    force, beads = bind(forcefield, topology_or_beads, None, replicas, device, precision)
    system = require("openmm", "openmm", "mdflash.openmm").System()
    for mass in beads.masses.tolist() * replicas:
        system.addParticle(mass)
    if force.usesPeriodicBoundaryConditions():
        system.setDefaultPeriodicBoxVectors(*topology_or_beads.getPeriodicBoxVectors())
    system.addForce(force)
    return system


def bind(
    forcefield: ForceField | Path | str,
    topology_or_beads: Any,
    particles: Sequence[int] | None,
    replicas: int,
    device: Device,
    precision: Precision,
) -> tuple[Any, System]:
    """What `mdflash_force` returns, and the molecule that it acts on."""
    openmm = require("openmm", "openmm", "mdflash.openmm")
    _check_kinds(forcefield, topology_or_beads)
    folder = None if isinstance(forcefield, ForceField) else forcefield
    ff = forcefield if isinstance(forcefield, ForceField) else load_forcefield(forcefield)
    if not isinstance(replicas, (int, np.integer)) or replicas < 1:
        raise InputError(f"replicas must be a whole number, at least 1; found {replicas!r}")
    replicas = int(replicas)
    rows = None if particles is None else _check_particles(particles)
    if isinstance(topology_or_beads, System):
        beads, periodic = topology_or_beads, False
    else:
        beads = find_molecule(ff, topology_or_beads, replicas, rows)
        periodic = topology_or_beads.getPeriodicBoxVectors() is not None
    if rows is not None and len(rows) != replicas * beads.n_beads:
        raise InputError(
            f"{len(rows)} particles for {replicas} x {beads.name} ({beads.n_beads} beads); "
            f"name {replicas * beads.n_beads} particles, replica after replica"
        )
    reference = Reference.to(
        folder, ff, beads, replicas=replicas, precision=precision, device=device, periodic=periodic
    )
    evaluator = Evaluator(ff, beads, replicas, precision, device)
    computation = Computation(reference, evaluator)
    force = openmm.PythonForce(computation, {}, rows or [])
    force.setName("mdflash")
    force.setUsesPeriodicBoundaryConditions(periodic)
    return force, beads


def _check_particles(particles: Sequence[int]) -> list[int]:
    """The particles as plain numbers; InputError for what is no index, or twice there."""
    rows = np.asarray(particles)
    if rows.ndim != 1 or rows.dtype.kind not in "iu" or not len(rows) or rows.min() < 0:
        raise InputError(
            "particles must be the indices of particles, whole numbers from 0 on; write for example list(range(10))"
        )
    number, often = np.unique(rows, return_counts=True)
    if often.max() > 1:
        raise InputError(f"particles names particle {number[often.argmax()]} {often.max()} times; each is one bead")
    found: list[int] = rows.tolist()
    return found


def _check_kinds(forcefield: Any, topology_or_beads: Any) -> None:
    """Raise InputError where an argument is something else, as the two in the wrong order."""
    right = "write create_system(FORCEFIELD, topology), FORCEFIELD a folder or a shipped name such as 'go-chignolin'"
    if not isinstance(forcefield, (ForceField, str, os.PathLike)):
        raise InputError(f"the first argument is the force field, found {type(forcefield).__name__}; {right}")
    if isinstance(topology_or_beads, System) or callable(getattr(topology_or_beads, "atoms", None)):
        return
    found = f"expected a topology of OpenMM or a System of mdflash, found {type(topology_or_beads).__name__}"
    if hasattr(topology_or_beads, "to_openmm"):
        raise InputError(f"{found}; write topology.to_openmm()")
    if callable(getattr(getattr(topology_or_beads, "topology", None), "atoms", None)):
        raise InputError(f"{found}; write .topology after it")
    raise InputError(f"{found}; {right}")
