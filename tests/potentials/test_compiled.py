"""The compiled priors against the plain torch reference, and against their own energies' finite differences."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mdflash.core.state import Layout, State
from mdflash.engine.blocks.compiled import CompiledPriors
from mdflash.engine.engine import Engine
from mdflash.engine.settings import Dynamics
from mdflash.errors import UnstableError
from mdflash.forcefields.build import build_potential
from mdflash.forcefields.model import Term
from mdflash.integrators.langevin import LangevinMiddle
from mdflash.neighbors.reference import all_pairs
from mdflash.potentials.base import EnergyForces, Potential, SumPotential
from mdflash.potentials.pack import pack
from mdflash.potentials.priors.term import PriorTerm
from tests.helpers import beads, toy, volume_term, walk
from tests.potentials.random_forms import COUNTS, LISTED, SIZES, batch, random_term


def one_pair(potential: SumPotential) -> tuple[int, int]:
    """Two beads of the first molecule that the one term binds."""
    (term,) = potential.terms
    assert isinstance(term, PriorTerm)
    first, second = term.tables[0][0][0].tolist()
    return first, second


def compiled(potential: SumPotential, layout: Layout, box: tuple[float, float, float] | None = None) -> CompiledPriors:
    packed = pack(potential.terms, layout)
    assert not packed.rest
    return CompiledPriors(packed, box)


def agree(found: EnergyForces, expected: EnergyForces, layout: Layout) -> None:
    """Energies to 1e-12, forces to 1e-11 of the largest, replica by replica.

    Energies of one sign or the other may cancel; how large they are is then told by the forces, which do not all.
    """
    for r in range(layout.n_replicas):
        e, f = float(expected.energy[r]), expected.forces[layout.rows(r)]
        assert abs(float(found.energy[r]) - e) <= 1e-12 * max(abs(e), float(f.abs().sum()), 1.0)
        assert float((found.forces[layout.rows(r)] - f).abs().max()) <= 1e-11 * float(f.abs().max())


def difference(potential: Potential, layout: Layout, x: torch.Tensor, h: float = 1e-3) -> torch.Tensor:
    """-dE/dx by fourth-order differences; one bead of every replica is moved at a time."""
    forces = torch.zeros_like(x)
    for bead in range(max(s.n_beads for s in layout.systems)):
        for k in range(3):
            owners = [r for r, s in enumerate(layout.system_of_replica) if bead < layout.systems[s].n_beads]
            rows = torch.from_numpy(layout.bead_offset[owners] + bead)
            slope = torch.zeros(layout.n_replicas, dtype=torch.float64)
            for move, weight in ((-2, 1), (-1, -8), (1, 8), (2, -1)):
                moved = x.clone()
                moved[rows, k] += move * h
                slope += weight * potential.energy_and_forces(moved, layout, None).energy
            forces[rows, k] = -slope[owners] / (12 * h)
    return forces


@pytest.mark.parametrize("form", LISTED)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_every_form_is_its_reference(form: str, seed: int) -> None:
    layout, potential, x = batch(form, seed)
    agree(compiled(potential, layout).energy_and_forces(x, layout, None), potential.energy_and_forces(x, layout, None),
          layout)  # fmt: skip


def test_bonded_beads_in_one_place_have_energy_and_no_force() -> None:
    layout, potential, x = batch("harmonic_bond", 6)
    first, second = one_pair(potential)
    x[second] = x[first]
    agree(compiled(potential, layout).energy_and_forces(x, layout, None), potential.energy_and_forces(x, layout, None),
          layout)  # fmt: skip


@pytest.mark.parametrize("form", ["repulsion", "contact_12_10"])
def test_repelling_beads_in_one_place_are_a_named_error(form: str) -> None:
    layout, potential, x = batch(form, 7)
    first, second = one_pair(potential)
    x[second] = x[first]
    engine = Engine(layout, potential, State.at(layout, x, 300.0), Dynamics(LangevinMiddle(0.004), seed=1))
    with pytest.raises(UnstableError, match=r"replica 0 .*'term'"):
        engine.run(1)


@pytest.mark.parametrize("form", LISTED)
def test_forces_of_every_form_are_the_gradient_of_its_energy(form: str) -> None:
    layout, potential, x = batch(form, 4)
    twin = compiled(potential, layout)
    forces = twin.energy_and_forces(x, layout, None).forces
    by_difference = difference(twin, layout, x)
    for r in range(layout.n_replicas):
        rows = layout.rows(r)
        assert float((forces[rows] - by_difference[rows]).abs().max()) < 3e-8 * float(forces[rows].abs().max())
        assert float(forces[rows].sum(dim=0).abs().max()) < 1e-12 * float(forces[rows].abs().max()) * len(forces)


def test_all_forms_together_and_systems_that_lack_some() -> None:
    """One batch with tables of different widths, where each molecule has other terms."""
    rng = np.random.default_rng(5)
    forcefields = []
    for n, mine in zip(SIZES, (LISTED, LISTED[::3], LISTED[1::2]), strict=True):
        terms = [random_term(form, n, rng) for form in mine]
        forcefields.append(toy(*(Term(f"t_{t.form}", t.form, "beads", t.keys, t.parameters) for t in terms)))
    layout = Layout(tuple(beads(f"m{n}", n) for n in SIZES), COUNTS)
    x = torch.from_numpy(np.concatenate([walk(n, rng) for n, c in zip(SIZES, COUNTS, strict=True) for _ in range(c)]))
    potential = build_potential(forcefields, layout)
    agree(compiled(potential, layout).energy_and_forces(x, layout, None), potential.energy_and_forces(x, layout, None),
          layout)  # fmt: skip


@pytest.mark.parametrize("box", [None, (25.0, 31.0, 24.5)], ids=["open", "box"])
@pytest.mark.parametrize("n", [90, 430])
def test_excluded_volume(box: tuple[float, float, float] | None, n: int) -> None:
    """Two bead types, pairs near along the chain and contacts excluded, two molecules; small and large systems."""
    rng = np.random.default_rng(n)
    cutoffs, sizes = (12.0, 8.0), (n, 30)
    systems = tuple(beads(f"m{m}", m, types="ABB") for m in sizes)
    forcefields = []
    for cutoff, m in zip(cutoffs, sizes, strict=True):
        i = rng.integers(0, m - 10, 25)
        contacts = np.unique(np.stack([i, i + rng.integers(4, 10, 25)], axis=1), axis=0)
        held = Term("held", "contact_12_10", "beads", contacts,
                    {"epsilon": np.zeros(len(contacts)), "r0": np.ones(len(contacts))})  # fmt: skip
        volume = volume_term(2, cutoff, rng.uniform(0.5, 2, 3), rng.uniform(3, 5, 3),
                             exclude_bonds=3, exclude_terms=("held",))  # fmt: skip
        forcefields.append(toy(held, volume, types="AB"))
    layout = Layout(systems, (2, 3))
    x = np.concatenate([rng.uniform(-40, 40, (m, 3)) for m, count in zip(sizes, (2, 3), strict=True)
                        for _ in range(count)])  # fmt: skip
    if box is None:
        x *= 0.3
    positions = torch.from_numpy(x)
    potential = build_potential(forcefields, layout)
    twin = compiled(potential, layout, box)
    expected = potential.energy_and_forces(positions, layout, all_pairs(positions, layout, 12.0, box))
    found = twin.energy_and_forces(positions, layout, None)
    agree(found, expected, layout)
    assert bool((expected.energy != 0).all())
    if n == 90:  # random beads overlap, and the steep ones drown the others: look at gentle pairs
        spread = torch.from_numpy(np.concatenate([walk(m, rng, 6.0) for m, c in zip(sizes, (2, 3), strict=True)
                                                  for _ in range(c)]))  # fmt: skip
        forces = twin.energy_and_forces(spread, layout, None).forces
        assert float((forces - difference(twin, layout, spread)).abs().max()) < 1e-7 * float(forces.abs().max())


def test_excluded_volume_ends_smoothly_at_the_cutoff() -> None:
    layout = Layout((beads("pair", 2, bonds=False),), (1,))
    twin = compiled(build_potential([toy(volume_term(1, 6.0, 1.0, 5.5))], layout), layout)

    def at(r: float) -> tuple[float, float]:
        energy, forces = twin.energy_and_forces(
            torch.tensor([[0.0, 0.0, 0.0], [0.0, r, 0.0]], dtype=torch.float64), layout, None
        )
        return float(energy[0]), float(forces[1, 1])

    assert at(6.0) == (0.0, 0.0) and at(7.0) == (0.0, 0.0)
    energy, force = at(6.0 - 1e-6)
    curvature = 12 * 13 * (5.5 / 6) ** 12 / 36
    assert force == pytest.approx(curvature * 1e-6, rel=1e-4)
    assert energy == pytest.approx(curvature * 1e-12 / 2, rel=0.05)


def test_a_periodic_image_is_the_same_fluid() -> None:
    """Beads moved by whole edges of the box give the same energy and forces."""
    rng = np.random.default_rng(6)
    n, box = 64, (26.0, 24.0, 30.0)
    layout = Layout((beads("fluid", n, bonds=False),), (1,))
    twin = compiled(build_potential([toy(volume_term(1, 9.0))], layout), layout, box)
    grid = np.stack(np.meshgrid(*[np.arange(4)] * 3), axis=-1).reshape(-1, 3) * np.array(box) / 4
    x = torch.from_numpy(grid + rng.normal(size=(n, 3)) * 0.3)
    moved = x + torch.from_numpy(rng.integers(-3, 4, (n, 3)) * np.array(box))
    a, b = twin.energy_and_forces(x, layout, None), twin.energy_and_forces(moved, layout, None)
    assert float(a.energy[0]) == pytest.approx(float(b.energy[0]), rel=1e-11)
    assert float((a.forces - b.forces).abs().max()) < 1e-11 * float(a.forces.abs().max())


@pytest.mark.parametrize("form", ["harmonic_angle", "fourier_dihedral", "harmonic_improper"])
@pytest.mark.parametrize("direction", [(1.0, 0.0, 0.0), (1.0, 1.0, 1.0), (0.3, -0.7, 0.2)])
def test_straight_angles_pull_nowhere(form: str, direction: tuple[float, float, float]) -> None:
    """Along an axis and, but for rounding, along any line; angles and torsions beside the straight ones still pull."""
    layout = Layout((beads("m", 8),), (1,))
    potential = build_potential([toy(random_term(form, 8, np.random.default_rng(4)))], layout)
    twin = compiled(potential, layout)
    line = np.arange(8)[:, None] * 3.8 * np.array(direction)
    bent = line + np.r_[np.zeros((5, 3)), [[0.5, 2.0, 0.1], [2.0, 1.0, 3.0], [0.1, 4.0, 2.0]]]
    for place, pulled in ((line, False), (bent, True)):
        x = torch.from_numpy(place)
        expected, found = potential.energy_and_forces(x, layout, None), twin.energy_and_forces(x, layout, None)
        assert bool(expected.forces.any()) == pulled
        assert float((found.forces - expected.forces).abs().max()) <= 1e-11 * float(expected.forces.abs().max())
