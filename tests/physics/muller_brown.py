"""The Müller-Brown surface as the free energy of two distances: Theor. Chim. Acta 53, 75 (1979).

Two pairs of beads, far from each other, at distances r and s. Their energy is E(x, y) + 2 kT ln r + 2 kT ln s, with
x = (r - 14 Å) / 3 Å, y = (s - 9 Å) / 3 Å, and E the surface times 0.045 kcal/mol: three basins, barriers up to 5
kcal/mol. What the volume at a distance adds, -2 kT ln r, cancels, so the free energy along r and s is E.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from mdflash.core.state import Layout
from mdflash.engine.engine import Engine
from mdflash.integrators.langevin import LangevinMiddle
from mdflash.potentials.base import Potential
from mdflash.potentials.bias.grid_bias import GridBias
from mdflash.potentials.bias.surface import Axis
from mdflash.potentials.variables.distance import Distance
from mdflash.units import kT
from tests.helpers import bead_term, beads, simulate, toy

KELVIN = 300.0
KT = kT(KELVIN)
SYSTEM = beads("muller-brown", 4, masses=20.0)
VARIABLES = (Distance(SYSTEM, 0, 1), Distance(SYSTEM, 2, 3))
ENDS = ((5.0, 19.1), (4.5, 18.9))
"""Å, of the grids; the energy there is 10 kcal/mol and more."""
BASINS = np.array([[-0.558, 1.442], [0.623, 0.028], [-0.05, 0.467]])
_ORIGIN, _UNIT = np.array([14.0, 9.0]), 3.0


def exact(r: np.ndarray, s: np.ndarray) -> np.ndarray:
    """kcal/mol, up to a constant."""
    x, y = ((q[..., None] - origin) / _UNIT for q, origin in zip((r, s), _ORIGIN, strict=True))
    dx, dy = x - np.array([1.0, 0.0, -0.5, -1.0]), y - np.array([0.0, 0.5, 1.5, 1.0])
    a, b = np.array([-1.0, -1.0, -6.5, 0.7]), np.array([0.0, 0.0, 11.0, 0.6])
    c = np.array([-10.0, -10.0, -6.5, 0.7])
    return np.asarray(
        0.045 * (np.array([-200.0, -100.0, -170.0, 15.0]) * np.exp(a * dx**2 + b * dx * dy + c * dy**2)).sum(axis=-1)
    )


def axes(points: Sequence[int]) -> list[Axis]:
    """Of both distances."""
    return [
        Axis(name, variable, *ends, n)
        for name, variable, ends, n in zip(("r", "s"), VARIABLES, ENDS, points, strict=True)
    ]


def potential(layout: Layout, points: int = 300) -> GridBias:
    """The energy, on a grid that is fine enough to be exact to 0.001 kcal/mol."""
    found = GridBias("surface", axes([points, points]), layout)
    (r, s), (h, k) = np.meshgrid(*(a.nodes for a in found.axes), indexing="ij"), (a.spacing for a in found.axes)
    d = 1e-4

    def energy(r: np.ndarray, s: np.ndarray) -> np.ndarray:
        return np.asarray(exact(r, s) + 2.0 * KT * (np.log(r) + np.log(s)))

    found.surfaces[..., 0] = energy(r, s)
    found.surfaces[..., 1] = h * (energy(r + d, s) - energy(r - d, s)) / (2 * d)
    found.surfaces[..., 2] = k * (energy(r, s + d) - energy(r, s - d)) / (2 * d)
    corners = energy(r + d, s + d) - energy(r - d, s + d) - energy(r + d, s - d) + energy(r - d, s - d)
    found.surfaces[..., 3] = h * k * corners / (4 * d * d)
    return found


def simulation(places: np.ndarray, biases: Callable[[Layout], Sequence[Potential]], seed: int = 3) -> Engine:
    """Replicas that start at places [R, 2] (x, y) of the surface, 10 fs a step."""
    layout = Layout((SYSTEM,), (len(places),))
    start = np.zeros((len(places), 4, 3))
    start[:, 1, 0], start[:, 3, 0] = (_ORIGIN + _UNIT * places).T
    start[:, 2:, 1] = 30.0
    nothing = toy(bead_term("together", "harmonic_bond", [[0, 2]], k=0.001, x0=30.0))  # the pairs drift apart otherwise
    return simulate(
        layout, [nothing], start.reshape(-1, 3), LangevinMiddle(0.01, 8.0), KELVIN,
        extra=[potential(layout), *biases(layout)], seed=seed,
    )  # fmt: skip


def off(r: np.ndarray, s: np.ndarray, weights: np.ndarray, top: float, bins: int = 36) -> tuple[float, float]:
    """Of weighted samples: root mean square deviation up to `top` kcal/mol, and the share of the cells they have."""
    edges = [np.linspace(*ends, bins + 1) for ends in ENDS]
    found = np.histogram2d(r, s, bins=edges, weights=weights)[0]
    x, y = (np.linspace(e[:-1], e[1:], 9) for e in edges)
    mean = np.exp(-exact(x[:, :, None, None], y[None, None]) / KT).mean(axis=(0, 2))
    free = -KT * np.log(np.maximum(mean, 1e-300))
    low = free < free.min() + top
    known = low & (found > 0)
    return float((-KT * np.log(found[known]) - free[known]).std()), float(known.sum() / low.sum())
