"""Umbrella sampling of two analytic double wells, and free energies by MBAR."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mdflash.core.state import Layout
from mdflash.core.system import System
from mdflash.engine.engine import Engine
from mdflash.forcefields.model import ForceField
from mdflash.integrators.langevin import LangevinMiddle
from mdflash.potentials.bias.bias import Bias
from mdflash.potentials.bias.pack import PackedBiases
from mdflash.potentials.variables.base import Variable
from mdflash.potentials.variables.dihedral import Dihedral
from mdflash.potentials.variables.distance import Distance
from mdflash.units import kT
from tests.helpers import bead_term, beads, simulate, toy

TEMPERATURE = 300.0
KT = kT(TEMPERATURE)


@dataclass(frozen=True)
class Well:
    """A molecule whose free energy along one variable is known.

    Attributes:
        free_energy: exact, of the variable, kcal/mol up to a constant; the Jacobian is in it.
        start: positions [N, 3] Å at a value of the variable.
        centers, force_constant: of the windows.
        edges: of the bins that are compared.
        period: of the variable, or None.
    """

    system: System
    forcefield: ForceField
    variable: Variable
    free_energy: Callable[[np.ndarray], np.ndarray]
    start: Callable[[float], np.ndarray]
    centers: np.ndarray
    force_constant: float
    edges: np.ndarray
    period: float | None = None


def contact() -> Well:
    """Two beads: bound at 6 Å by a contact, or apart at 11 Å by a spring. F(r) = U(r) - 2 kT ln r."""
    epsilon, r0, k, x0 = 10.0, 6.0, 0.4, 11.0
    system = beads("pair", 2, masses=100.0)
    ff = toy(
        bead_term("contact", "contact_12_10", [[0, 1]], epsilon=epsilon, r0=r0),
        bead_term("spring", "harmonic_bond", [[0, 1]], k=k, x0=x0),
    )

    def free_energy(r: np.ndarray) -> np.ndarray:
        well = epsilon * (5 * (r0 / r) ** 12 - 6 * (r0 / r) ** 10)
        return well + k * (r - x0) ** 2 - 2 * KT * np.log(r)

    return Well(
        system, ff, Distance(system, 0, 1), free_energy, lambda r: np.array([[0.0, 0, 0], [r, 0, 0]]),
        np.linspace(5.6, 12.2, 15), 12.0, np.linspace(5.7, 12.0, 31),
    )  # fmt: skip


def torsion() -> Well:
    """Four beads: U = barrier/2 (1 - cos 2 phi) + tilt cos phi, and a torsion has no Jacobian: F = U."""
    barrier, tilt = 8.0, 0.7
    system = beads("torsion", 4, masses=20.0)
    ff = toy(
        bead_term("bonds", "harmonic_bond", [[0, 1], [1, 2], [2, 3]], k=20.0, x0=3.8),
        bead_term("angles", "harmonic_angle", [[0, 1, 2], [1, 2, 3]], k=30.0, x0=1.9),
        bead_term("torsion", "fourier_dihedral", [[0, 1, 2, 3]], v0=barrier / 2, k1=[[0.0, 0.0]],
                  k2=[[tilt, -barrier / 2]]),
    )  # fmt: skip
    c, s = 3.8 * np.cos(1.9), 3.8 * np.sin(1.9)

    def start(phi: float) -> np.ndarray:
        last = [3.8 - c, s * np.cos(phi), s * np.sin(phi)]
        return np.array([[c, s, 0.0], [0.0, 0.0, 0.0], [3.8, 0.0, 0.0], last])

    variable = Dihedral(system, 0, 1, 2, 3)
    return Well(
        system, ff, variable, lambda phi: barrier / 2 * (1 - np.cos(2 * phi)) + tilt * np.cos(phi), start,
        np.linspace(-np.pi, np.pi, 18, endpoint=False), 14.0, np.linspace(-np.pi, np.pi, 31), 2 * np.pi,
    )  # fmt: skip


def windows(well: Well, copies: int, **options: object) -> tuple[Engine, Bias]:
    """Every window `copies` times, each replica started at its center."""
    centers = np.tile(well.centers, copies)
    layout = Layout((well.system,), (len(centers),))
    bias = Bias("window", well.variable, layout, well.force_constant, centers.tolist())
    start = np.concatenate([well.start(center) for center in centers])
    simulation = simulate(
        layout, [well.forcefield], start, LangevinMiddle(0.01, 8.0), TEMPERATURE, extra=[bias], **options
    )
    return simulation, bias


def sample(simulation: Engine, bias: Bias, warm_up: int, every: int, count: int) -> np.ndarray:
    """[count, R] values of the variable."""
    packed = PackedBiases([bias], simulation.layout)
    simulation.run(warm_up)
    found = []
    for _ in range(count):
        simulation.run(every)
        found.append(packed.measure(simulation.state.positions.numpy())[0][:, 0])
    return np.array(found)


def mbar_error(well: Well, values: np.ndarray) -> float:
    """How far the free energy of a bin by MBAR is from the exact one at most, kcal/mol; the best constant is added.

    Args:
        values: [frames, R] of replicas that take the windows in turn.
    """
    from pymbar import MBAR

    k = len(well.centers)
    samples = np.concatenate([values[:, w::k].ravel() for w in range(k)])
    away = samples - well.centers[:, None]
    if well.period is not None:
        away -= well.period * np.rint(away / well.period)
    reduced = 0.5 * well.force_constant * away**2 / KT  # [K, samples]
    counts = np.full(k, len(samples) // k)
    free = MBAR(reduced, counts).f_k
    weight = 1.0 / np.sum(counts[:, None] * np.exp(free[:, None] - reduced), axis=0)
    found = np.histogram(samples, well.edges, weights=weight)[0]
    inside = np.linspace(well.edges[:-1], well.edges[1:], 101)
    exact = np.exp(-well.free_energy(inside) / KT).mean(axis=0)
    off = -KT * np.log(found / exact)
    return float(off.max() - off.min()) / 2
