"""Near pairs eight at a time: searches among the beads that a term acts on, each up to its own cutoff."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mdflash.core.state import Layout
from mdflash.forcefields.build import build_potential
from mdflash.forcefields.model import Term
from mdflash.integrators.langevin import LangevinMiddle
from mdflash.neighbors.boxes import EIGHT
from mdflash.neighbors.eights import build_eights
from mdflash.neighbors.reference import all_pairs
from mdflash.potentials.pack import pack
from mdflash.potentials.priors.cpu import add_nonbonded, find_near
from mdflash.potentials.priors.eights import REMEMBERED
from tests.helpers import beads, same_bits, simulate, toy, volume_term, walk
from tests.potentials.random_forms import scattered
from tests.potentials.test_compiled import agree

KEYS = np.stack(np.triu_indices(3), axis=1)
BOX = (47.0, 43.0, 41.0)


def sticky(rng: np.random.Generator, cutoff: float = 10.0) -> Term:
    """All of the types A, B and C."""
    low, high = [0.1, 4.0, -0.1], [0.4, 5.0, 1.1]
    columns = dict(zip(("epsilon", "sigma", "lambda"), rng.uniform(low, high, (6, 3)).T.copy(), strict=True))
    return Term("sticky", "ashbaugh_hatch", "neighbors", KEYS, columns, cutoff, exclude_bonds=1)


def charges(rng: np.random.Generator, cutoff: float = 16.0) -> Term:
    """Of B alone, and between B and C; none of A."""
    prefactor = np.where((KEYS == 0).any(axis=1) | (KEYS == 2).all(axis=1), 0.0, rng.uniform(-9.0, 9.0, 6))
    columns = {"prefactor": prefactor, "kappa": np.full(6, 0.13)}
    return Term("charges", "yukawa_shifted", "neighbors", KEYS, columns, cutoff, exclude_bonds=1)


@pytest.mark.parametrize("box", [None, BOX], ids=["open", "box"])
def test_two_cutoffs_and_a_term_of_some_beads(box: tuple[float, float, float] | None) -> None:
    """Of a batch of three molecules: one has all terms, one has pairs one by one too, one has no charged bead."""
    rng = np.random.default_rng()
    layout = Layout((beads("a", 45, types="AABAC"), beads("b", 20, types="BC"), beads("c", 13)), (2, 1, 2))
    near, far = sticky(rng), charges(rng)
    volume = volume_term(3, 8.0, 0.3, 4.0, exclude_bonds=1)
    forcefields = [toy(near, far, types="ABC"), toy(near, far, volume, types="ABC"), toy(near, far, types="ABC")]
    potential = build_potential(forcefields, layout)
    packed = pack(potential.terms, layout)
    assert not packed.rest
    eights = packed.nonbonded.eights
    assert eights is not None
    assert np.diff(eights.search).tolist() == [2, 2, 1]  # no charges in c
    assert np.diff(eights.first).tolist() == [18, 45, 20, 20, 13]  # those of types B and C, and all
    x = torch.from_numpy(np.concatenate([scattered(n, rng) for n in (45, 45, 20, 13, 13)]))
    expected = potential.energy_and_forces(x, layout, all_pairs(x, layout, 16.0, box))
    simulation = simulate(layout, forcefields, x.numpy(), box=box, draw=False)
    simulation.evaluate()
    agree(simulation.state, expected, layout)


@pytest.mark.parametrize("box", [None, BOX], ids=["open", "box"])
def test_the_age_of_a_list_and_the_batch_change_no_bit(box: tuple[float, float, float] | None) -> None:
    rng = np.random.default_rng()
    ff = toy(sticky(rng), charges(rng, 12.0), types="ABC")
    fluid = beads("a", 61, bonds=False, types="AABAC")
    x = scattered(61, rng)
    runs = []
    for skin in (0.3, 1.0, 3.5):
        one = simulate(Layout((fluid,), (1,)), [ff], x, LangevinMiddle(0.002, 1.0), box=box, skin=skin)
        one.run(400)
        runs.append(one)
    assert bool(runs[0].state.energy.isfinite().all())
    assert same_bits(runs[0], runs[1]) and same_bits(runs[0], runs[2])
    other = beads("other", 9, types="C")
    both = Layout((other, fluid), (1, 1))
    crowd = simulate(both, [ff, ff], np.concatenate([walk(9, rng), x]), box=box)
    alone = simulate(Layout((fluid,), (1,)), [ff], x, box=box)
    for simulation in (crowd, alone):
        simulation.evaluate()
    assert torch.equal(crowd.state.forces[both.rows(1)], alone.state.forces)
    assert torch.equal(crowd.state.energy[1:], alone.state.energy)


def test_a_long_list_gives_the_bits_of_a_short_one() -> None:
    """Entries without a near pair are skipped in the short list, and evaluated in the long one."""
    rng = np.random.default_rng()
    n, spacing = 24, 4.5
    lattice = np.stack(np.meshgrid(*[np.arange(n)] * 3, indexing="ij"), axis=-1).reshape(-1, 3) * spacing
    x = lattice[::4] + rng.uniform(-0.4, 0.4, (len(lattice) // 4, 3))
    layout = Layout((beads("a", len(x), bonds=False, types="AABAC"),), (1,))
    ff = toy(sticky(rng), types="ABC")
    nonbonded = pack(build_potential([ff], layout).terms, layout).nonbonded
    start, neighbor = np.zeros(nonbonded.rows[0], np.int64), np.zeros(200 * len(x), np.int64)
    box = np.full(3, n * spacing)
    results = []
    for skin in (0.0, 6.0):
        entries = find_near(nonbonded, 0, skin, box, x, start, neighbor)
        assert (entries < REMEMBERED) == (skin == 0.0) and entries <= len(neighbor)
        forces = np.zeros_like(x)
        results.append((add_nonbonded(nonbonded, 0, box, start, neighbor, x, forces), forces))
    assert results[0][0] == results[1][0] and results[0][1].tobytes() == results[1][1].tobytes()
    assert abs(results[0][1]).max() > 1.0


@pytest.mark.parametrize("n", [1, 7, 8, 9, 63, 300, 450])
@pytest.mark.parametrize("box", [None, BOX], ids=["open", "box"])
def test_a_list_of_eights_holds_the_pairs_within_reach(n: int, box: tuple[float, float, float] | None) -> None:
    rng = np.random.default_rng()
    total = n + n // 2
    member = np.sort(rng.choice(total, n, replace=False)).astype(np.int32)
    x = rng.uniform(-20.0, 20.0, (total, 3))
    excluded = np.unique(np.sort(rng.integers(0, n, (n, 2)), axis=1), axis=0)
    excluded = excluded[excluded[:, 0] < excluded[:, 1]]
    edges = np.zeros(3) if box is None else np.array(box)
    start, neighbor = np.zeros(n + 1, np.int64), np.zeros(n * n // 2 + 1, np.int64)
    rows = np.searchsorted(excluded[:, 0], np.arange(n + 1))
    count = build_eights(x, member, 9.0, edges, rows, np.ascontiguousarray(excluded[:, 1]), start, neighbor)
    found = {
        (i, int(entry >> 8) * EIGHT + lane)
        for i in range(n)
        for entry in neighbor[start[i] : start[i + 1]]
        for lane in range(EIGHT)
        if entry >> lane & 1
    }
    d = x[member][:, None] - x[member]
    if box is not None:
        d -= edges * np.round(d / edges)
    within = np.triu(np.linalg.norm(d, axis=-1) < 9.0, 1)
    within[excluded[:, 0], excluded[:, 1]] = False
    assert count == start[n] and found == set(zip(*(side.tolist() for side in np.nonzero(within)), strict=True))
    entries = [neighbor[start[i] : start[i + 1]] >> 8 for i in range(n)]
    assert all((np.diff(row) > 0).all() for row in entries)  # each eight once, in order


def test_strands_beside_each_other_are_neighbors() -> None:
    """Far along the chain and 7 Å apart: whole windows of beads are near that share no bead's place."""
    n, reach = 256, 9.0
    along = np.concatenate([np.arange(n // 2), np.arange(n // 2)[::-1]]) * 3.8
    x = np.stack([along, np.repeat([0.0, 7.0], n // 2), np.zeros(n)], axis=1)
    x += np.random.default_rng().uniform(-0.3, 0.3, x.shape)
    start, neighbor = np.zeros(n + 1, np.int64), np.zeros(n * n, np.int64)
    nothing = np.zeros(n + 1, np.int64), np.zeros(0, np.int64)
    build_eights(x, np.arange(n, dtype=np.int32), reach, np.zeros(3), *nothing, start, neighbor)
    found = sum(int(entry & 255).bit_count() for entry in neighbor[: start[n]])
    d = np.linalg.norm(x[:, None] - x, axis=-1)
    assert found == np.triu(d < reach, 1).sum() > 3 * n
