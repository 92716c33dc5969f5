"""mdflash for OpenMM-ML: `MLPotential("mdflash", forcefield=...)`.

OpenMM-ML imports this module whenever it is imported itself, so nothing heavy is imported here.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from mdflash.core.optional import require
from mdflash.errors import InputError

require("openmmml", "openmmml", "MLPotential('mdflash')")

from openmmml.mlpotential import MLPotentialImpl, MLPotentialImplFactory  # noqa: E402


class MdflashFactory(MLPotentialImplFactory):  # type: ignore[misc]
    """What the entry point "mdflash" of openmmml.potentials names."""

    def createImpl(self, name: str, **args: Any) -> MdflashImpl:
        """The potential; arguments: `forcefield`, and the keyword arguments of `mdflash.openmm.create_system`."""
        return MdflashImpl(**args)


class MdflashImpl(MLPotentialImpl):  # type: ignore[misc]
    """A force field for `createSystem` and `createMixedSystem`.

    Args:
        forcefield: a folder, the name of a shipped force field, or a ForceField.
        options: keyword arguments of `mdflash.openmm.create_system`; `createSystem` takes them too.
    """

    def __init__(self, forcefield: Any = None, **options: Any) -> None:
        if forcefield is None:
            raise InputError(
                "which force field? Write MLPotential('mdflash', forcefield='FOLDER'), or the name of a shipped one"
            )
        self._forcefield, self._options = forcefield, options

    def addForces(self, topology: Any, system: Any, atoms: Iterable[int] | None, forceGroup: int, **args: Any) -> None:
        """Add the force; where all particles are beads, also their masses."""
        from mdflash.openmm.force import OPTIONS, bind

        options: dict[str, Any] = {"replicas": 1, "device": "cpu", "precision": "fp32"} | self._options | args
        unknown = sorted(options.keys() - set(OPTIONS))
        if unknown:
            raise InputError(f"unknown option '{unknown[0]}' of MLPotential('mdflash'); known: {', '.join(OPTIONS)}")
        particles = None if atoms is None else list(atoms)
        force, beads = bind(self._forcefield, topology, particles, **options)
        force.setForceGroup(forceGroup)
        system.addForce(force)
        if particles is None:
            for i in range(system.getNumParticles()):
                system.setParticleMass(i, float(beads.masses[i % beads.n_beads]))

    def getMLLongRange(self) -> bool:
        """Nothing acts beyond a cutoff."""
        return False
