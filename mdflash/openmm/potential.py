"""An OpenMM model as an mdflash potential: any classical force of OpenMM in mdflash's replicas, exchange and biases."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from mdflash.core.optional import require
from mdflash.core.state import Layout
from mdflash.errors import InputError
from mdflash.potentials.base import EnergyForces, Pairs, Potential
from mdflash.units import KCAL_PER_KJ, NM_PER_ANGSTROM

_NO_FORCES: Final = ("MonteCarloBarostat", "MonteCarloAnisotropicBarostat", "MonteCarloFlexibleBarostat",
                     "MonteCarloMembraneBarostat", "AndersenThermostat")  # fmt: skip
"""Parts of a System that act other than through a potential energy."""


class OpenMMPotential(Potential):
    """The forces of an `openmm.System` on every replica, one after the other.

    Its particles are the beads; `mdflash.openmm.beads_of` makes the System of mdflash to go with it.

    Args:
        openmm_system: may hold any forces; not: constraints, virtual sites, a periodic box, barostats or thermostats.
        platform: OpenMM's name of it; "Reference" is in double precision, and the fastest below some 1,000 particles.

    Raises:
        InputError: something of the System that mdflash cannot honor, or an unknown platform.
        MissingExtraError: openmm is not installed.
    """

    def __init__(self, openmm_system: Any, platform: str = "Reference") -> None:
        openmm = require("openmm", "openmm", "OpenMMPotential")
        self.name = "openmm"
        self._particles = openmm_system.getNumParticles()
        _refuse(openmm_system)
        try:
            chosen = openmm.Platform.getPlatformByName(platform)
        except openmm.OpenMMException:
            known = [openmm.Platform.getPlatform(i).getName() for i in range(openmm.Platform.getNumPlatforms())]
            raise InputError(f"OpenMM has no platform '{platform}' here; it has {', '.join(known)}") from None
        self._context = openmm.Context(openmm_system, openmm.VerletIntegrator(0.001), chosen)

    def energy_and_forces(self, positions: Tensor, layout: Layout, pairs: Pairs | None) -> EnergyForces:
        """As `Potential.energy_and_forces`; forces are computed in the precision of the platform."""
        for system in layout.systems:
            if system.n_beads != self._particles:
                raise InputError(
                    f"the OpenMM System has {self._particles} particles, but system '{system.name}' has "
                    f"{system.n_beads} beads; see mdflash.openmm.beads_of"
                )
        x = positions.detach().to("cpu", torch.float64).numpy() * NM_PER_ANGSTROM
        energy, forces = np.empty(layout.n_replicas), np.empty_like(x)
        for r in range(layout.n_replicas):
            rows = layout.rows(r)
            self._context.setPositions(x[rows])
            state = self._context.getState(getEnergy=True, getForces=True)
            energy[r] = state.getPotentialEnergy()._value
            forces[rows] = state.getForces(asNumpy=True)._value
        energy *= KCAL_PER_KJ
        forces *= KCAL_PER_KJ * NM_PER_ANGSTROM
        return EnergyForces(torch.from_numpy(energy).to(positions), torch.from_numpy(forces).to(positions))


def _refuse(system: Any) -> None:
    """Raise InputError for what would be passed over in silence."""
    if system.getNumConstraints():
        raise InputError(
            f"the OpenMM System has {system.getNumConstraints()} constraints, which mdflash's integrators do not keep; "
            "build it without them (constraints=None, rigidWater=False) and choose a time step for that"
        )
    sites = [i for i in range(system.getNumParticles()) if system.isVirtualSite(i)]
    if sites:
        raise InputError(f"particle {sites[0]} of the OpenMM System is a virtual site, which mdflash does not place")
    for force in system.getForces():
        kind = type(force).__name__
        if kind in _NO_FORCES:
            raise InputError(f"the OpenMM System has a {kind}, which is no potential: mdflash's integrator does that")
        if force.usesPeriodicBoundaryConditions():
            raise InputError(
                f"the {kind} of the OpenMM System is periodic, which OpenMMPotential does not support; build the "
                "System with nonbondedMethod=NoCutoff or CutoffNonPeriodic"
            )
