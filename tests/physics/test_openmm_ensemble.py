"""The same potential in OpenMM, by its own forces and integrator, and here: two-sample tests of what both sample.

Chains of five beads with bonds, angles and a torsion of three wells, hundreds at once. No force of `mdflash.openmm`
takes part: what is compared is the potential's energy, forces and thermostat, from the equation to the ensemble.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from mdflash.core.geometry import bond_angles, distances, torsions
from mdflash.core.state import Layout
from mdflash.integrators.langevin import LangevinMiddle
from mdflash.units import KCAL_PER_KJ, NM_PER_ANGSTROM
from tests.helpers import bead_term, beads, simulate, toy, walk

openmm = pytest.importorskip("openmm", reason="needs OpenMM (pip install 'mdflash[openmm]')")

pytestmark = pytest.mark.slow

N, CHAINS, TEMPERATURE, STEP, FRICTION, MASS = 5, 300, 320.0, 0.005, 2.0, 50.0
BOND, ANGLE, TURNS = (20.0, 3.8), (6.0, 1.9), ((0.8, 1, 0.5), (0.5, 3, -0.3))
FRAMES, BETWEEN, BEFORE = 3, 2500, 3000


def there() -> np.ndarray:
    """[samples, N, 3] Å of OpenMM's dynamics."""
    system = openmm.System()
    bonds, angles, turns = openmm.HarmonicBondForce(), openmm.HarmonicAngleForce(), openmm.PeriodicTorsionForce()
    kj = 1.0 / KCAL_PER_KJ
    for chain in range(CHAINS):
        first = chain * N
        for k in range(N):
            system.addParticle(MASS)
            if k + 1 < N:  # there with the factor 1/2
                stiff = 2.0 * BOND[0] * kj / NM_PER_ANGSTROM**2
                bonds.addBond(first + k, first + k + 1, BOND[1] * NM_PER_ANGSTROM, stiff)
            if k + 2 < N:
                angles.addAngle(first + k, first + k + 1, first + k + 2, ANGLE[1], 2.0 * ANGLE[0] * kj)
            if k + 3 < N:
                for height, fold, phase in TURNS:
                    turns.addTorsion(*range(first + k, first + k + 4), fold, phase, height * kj)
    for force in (bonds, angles, turns):
        system.addForce(force)
    integrator = openmm.LangevinMiddleIntegrator(TEMPERATURE, FRICTION, STEP)
    integrator.setRandomNumberSeed(7)
    context = openmm.Context(system, integrator, openmm.Platform.getPlatformByName("Reference"))
    start = walk(N, np.random.default_rng(3))
    context.setPositions(np.concatenate([start + np.array([50.0 * c, 0, 0]) for c in range(CHAINS)]) * NM_PER_ANGSTROM)
    context.setVelocitiesToTemperature(TEMPERATURE, 7)
    integrator.step(BEFORE)
    found = []
    for _ in range(FRAMES):
        integrator.step(BETWEEN)
        found.append(context.getState(getPositions=True).getPositions(asNumpy=True)._value / NM_PER_ANGSTROM)
    return np.array(found).reshape(-1, N, 3)


def here(twist: float = 1.0) -> np.ndarray:
    """[samples, N, 3] Å of mdflash's; `twist` times the torsions."""
    system = beads("chain", N, masses=MASS)
    index = [[k, k + 1, k + 2, k + 3] for k in range(N - 3)]
    k1, k2 = np.zeros((2, len(index), 3))
    for height, fold, phase in TURNS:  # height (1 + cos(n phi - phase))
        k1[:, fold - 1] += twist * height * np.sin(phase)
        k2[:, fold - 1] += twist * height * np.cos(phase)
    ff = toy(
        bead_term("bonds", "harmonic_bond", system.bonds, k=BOND[0], x0=BOND[1]),
        bead_term("angles", "harmonic_angle", [[k, k + 1, k + 2] for k in range(N - 2)], k=ANGLE[0], x0=ANGLE[1]),
        bead_term("torsions", "fourier_dihedral", index, v0=0.0, k1=k1, k2=k2),
    )
    x = np.tile(walk(N, np.random.default_rng(3)), (CHAINS, 1))
    engine = simulate(Layout((system,), (CHAINS,)), [ff], x, LangevinMiddle(STEP, FRICTION), TEMPERATURE, seed=8)
    engine.run(BEFORE)
    found = []
    for _ in range(FRAMES):
        engine.run(BETWEEN)
        found.append(engine.state.positions.numpy().reshape(CHAINS, N, 3).copy())
    return np.concatenate(found)


def p_values(one: np.ndarray, other: np.ndarray) -> dict[str, float]:
    """Kolmogorov and Smirnov of every coordinate; a torsion is turned so that no well lies across its ends."""
    seen = {}
    for k in range(N - 1):
        seen[f"bond {k}"] = [distances(x, np.array([[k, k + 1]]))[:, 0] for x in (one, other)]
    for k in range(N - 2):
        seen[f"angle {k}"] = [bond_angles(x, np.array([[k, k + 1, k + 2]]))[:, 0] for x in (one, other)]
    for k in range(N - 3):
        seen[f"torsion {k}"] = [torsions(x, np.array([[k, k + 1, k + 2, k + 3]]))[:, 0] for x in (one, other)]
    seen["size"] = [np.sqrt(x.var(axis=1).sum(axis=1)) for x in (one, other)]
    return {name: float(stats.ks_2samp(*pair).pvalue) for name, pair in seen.items()}


def test_both_sample_one_ensemble() -> None:
    theirs = there()
    found = p_values(here(), theirs)
    assert min(found.values()) > 1e-3, found
    wrong = p_values(here(twist=0.0), theirs)
    assert min(wrong[f"torsion {k}"] for k in range(N - 3)) < 1e-6  # it can tell
