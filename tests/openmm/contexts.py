"""OpenMM Contexts for the tests, and what they say in mdflash's units."""

from __future__ import annotations

from typing import Any

import numpy as np
import openmm


def context(system: Any, positions: np.ndarray, integrator: Any = None, platform: str = "Reference") -> Any:
    """A Context at `positions` [N, 3] in Å."""
    made = openmm.Context(
        system, integrator or openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName(platform)
    )
    made.setPositions(positions * 0.1)
    return made


def energy_forces(made: Any, groups: int = -1) -> tuple[float, np.ndarray]:
    """Energy in kcal/mol and forces in kcal/mol/Å."""
    state = made.getState(getEnergy=True, getForces=True, groups=groups)
    return state.getPotentialEnergy()._value / 4.184, state.getForces(asNumpy=True)._value / 41.84


def positions_of(made: Any) -> np.ndarray:
    """Positions [N, 3] in Å."""
    return made.getState(getPositions=True).getPositions(asNumpy=True)._value * 10.0


def relative(found: np.ndarray, expected: np.ndarray) -> float:
    """Largest difference over the largest expected value."""
    return float(np.abs(found - expected).max() / np.abs(expected).max())
