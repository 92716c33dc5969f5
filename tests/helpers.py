"""Small systems, force fields and simulations that several tests build."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from mdflash.core.state import Layout, State
from mdflash.core.system import System
from mdflash.engine.engine import Engine
from mdflash.engine.settings import Backend, Dynamics
from mdflash.forcefields.build import build_potential
from mdflash.forcefields.model import BeadType, ForceField, Term
from mdflash.importers.go_model import GoParameters, build_go
from mdflash.integrators.base import Integrator
from mdflash.integrators.langevin import LangevinMiddle
from mdflash.potentials.base import EnergyForces, Pairs, Potential, SumPotential


def eventually(happens: Callable[[], bool], seconds: float = 300.0) -> None:
    """Wait until it happens, however busy the machine is.

    Raises:
        AssertionError: it does not, for as long as that.
    """
    end = time.monotonic() + seconds
    while not happens():
        assert time.monotonic() < end, f"it did not happen within {seconds:g} s"
        time.sleep(0.01)


def evenly(n: int, rng: np.random.Generator) -> np.ndarray:
    """[n] numbers from 0 to 1 in random order, one in each n-th of that range, at a place that is new each time.

    Averages over them are those over all numbers from 0 to 1, but for O(1/n): there is no luck in them.
    """
    return rng.permutation((np.arange(n) + rng.random()) / n)


def beads(name: str, n: int, bonds: bool = True, masses: Sequence[float] | float = 100.0, types: str = "A") -> System:
    """A chain (or, without bonds, a fluid) of n residues of one bead; `types` is repeated along it."""
    return System(
        name=name,
        types=tuple(types[i % len(types)] for i in range(n)),
        bead_names=("CA",) * n,
        residue_index=np.arange(n),
        residue_names=("ALA",) * n,
        residue_ids=tuple(range(1, n + 1)),
        chain_ids=("A",) * n,
        masses=np.broadcast_to(np.asarray(masses, float), n).copy(),
        bonds=np.array([[i, i + 1] for i in range(n - 1)] if bonds else []).reshape(-1, 2),
    )


def walk(n: int, rng: np.random.Generator, step: float = 3.8) -> np.ndarray:
    """[n, 3] a random chain without straight or folded-back angles, consecutive beads `step` Å apart."""
    x = np.zeros((n, 3))
    previous = np.array([1.0, 0.0, 0.0])
    for i in range(1, n):
        while True:
            u = rng.normal(size=3)
            u /= np.linalg.norm(u)
            if -0.6 < u @ previous < 0.8:
                break
        x[i], previous = x[i - 1] + step * u, u
    return x


def helix(n: int) -> np.ndarray:
    """[n, 3] CA atoms of an alpha helix, Å."""
    angle = np.radians(100.0) * np.arange(n)
    return np.stack([2.3 * np.cos(angle), 2.3 * np.sin(angle), 1.5 * np.arange(n)], axis=1)


def go_helix(n: int, name: str = "helix", epsilon: float = 1.0) -> tuple[System, ForceField]:
    """A Gō model that folds to a helix: bonds, angles, dihedrals, contacts and excluded volume."""
    system = beads(name, n)
    return system, build_go(system, helix(n), None, GoParameters(epsilon=epsilon))


def bead_term(name: str, form: str, index: Sequence[Sequence[int]] | np.ndarray, **parameters: object) -> Term:
    """A term over listed beads; a scalar parameter holds for all of them."""
    rows = np.asarray(index, np.int64)
    columns = {
        p: np.asarray(v, float) if np.ndim(v) else np.full(len(rows), float(v))  # type: ignore[arg-type]
        for p, v in parameters.items()
    }
    return Term(name, form, "beads", rows, columns)


def volume_term(types: int, cutoff: float, epsilon: object = 1.0, sigma: object = 4.0, **exclude: object) -> Term:
    """Excluded volume between all types; epsilon and sigma are numbers or arrays over the pairs of types."""
    keys = np.stack(np.triu_indices(types), axis=1)
    columns = {p: np.broadcast_to(np.asarray(v, float), len(keys)).copy() for p, v in
               {"epsilon": epsilon, "sigma": sigma}.items()}  # fmt: skip
    return Term("volume", "excluded_volume", "neighbors", keys, columns, cutoff=cutoff, **exclude)  # type: ignore[arg-type]


def toy(*terms: Term, types: str = "A") -> ForceField:
    """A force field of these terms."""
    return ForceField("toy", tuple(BeadType(t, i, 100.0) for i, t in enumerate(types)), terms=terms)


class Rest(Potential):
    """A user's potential that acts on nothing: it only sends the simulation through the plain loop."""

    name = "rest"

    def energy_and_forces(self, positions: torch.Tensor, layout: Layout, pairs: Pairs | None) -> EnergyForces:
        return EnergyForces(positions.new_zeros(layout.n_replicas), torch.zeros_like(positions))


def simulate(
    layout: Layout,
    forcefields: Sequence[ForceField],
    positions: np.ndarray,
    integrator: Integrator | None = None,
    temperature: float | Sequence[float] = 300.0,
    *,
    extra: Sequence[Potential] = (),
    box: tuple[float, float, float] | None = None,
    draw: bool = True,
    seed: int = 2026,
    **options: Any,
) -> Engine:
    """An Engine at `positions` (any shape with all beads), velocities drawn.

    `options` are fields of `Dynamics` and `Backend`, and keywords of `Engine`.
    """
    potential = SumPotential([*build_potential(forcefields, layout).terms, *extra])
    state = State.at(layout, positions.reshape(-1, 3), temperature, box)
    mine = {kind: {f.name: options.pop(f.name) for f in dataclasses.fields(kind) if f.name in options} for kind in
            (Dynamics, Backend)}  # fmt: skip
    dynamics = Dynamics(integrator or LangevinMiddle(0.004, 1.0), seed, **mine[Dynamics])
    simulation = Engine(layout, potential, state, dynamics, Backend(**mine[Backend]), **options)
    if draw:
        simulation.draw_velocities()
    return simulation


def replica(simulation: Engine, r: int) -> tuple[torch.Tensor, ...]:
    """Positions, velocities, forces and energy of one replica."""
    state, rows = simulation.state, simulation.layout.rows(r)
    return state.positions[rows], state.velocities[rows], state.forces[rows], state.energy[r]


def same_bits(a: Engine, b: Engine, r: int = 0, s: int = 0) -> bool:
    """Whether replica r of a and replica s of b agree to the last bit (and are finite)."""
    pairs = list(zip(replica(a, r), replica(b, s), strict=True))
    return all(bool(torch.isfinite(p).all()) and torch.equal(p, q) for p, q in pairs)
