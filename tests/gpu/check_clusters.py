"""The lists of near pairs as tiles against all pairs, while the beads walk."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from mdflash.core.state import Layout
from mdflash.core.system import System
from mdflash.core.types import IntArray, Precision
from mdflash.engine.gpu.forces import DeviceForces
from mdflash.forcefields.build import build_potential
from mdflash.neighbors.clusters import COLUMN, ROW, ClusterLists, Search, in_columns
from mdflash.neighbors.reference import all_pairs
from tests.gpu.batches import DEVICE, Box, layout_of
from tests.helpers import toy, volume_term

SKIN = 1.5
BOX = (20.0, 22.0, 25.0)


def volume(layout: Layout, box: Box, precision: Precision = "fp64", skin: float = SKIN) -> DeviceForces:
    """Soft beads, so that those on top of each other have numbers."""
    fields = [toy(volume_term(1, 6.0, epsilon=0.1, sigma=2.0, exclude_bonds=2)) for _ in layout.systems]
    return DeviceForces(layout, build_potential(fields, layout).terms, None, precision, skin, box, DEVICE)


def listed(lists: ClusterLists, bead: IntArray) -> list[tuple[int, int]]:
    """(i, j) of one group whose slots hold these beads, with every row's columns in order."""
    found = []
    for row in range(len(bead) // ROW):
        n = int(lists.columns.length[row])
        columns = lists.columns.column[row, :n].tolist()
        assert columns == sorted(set(columns))
        for column, acts in zip(columns, lists.columns.acts[row, :n].tolist(), strict=True):
            bits = [k for k in range(ROW * COLUMN) if acts >> k & 1]
            assert bits  # no column for nothing
            found += [(int(bead[ROW * row + k // COLUMN]), int(bead[COLUMN * column + k % COLUMN])) for k in bits]
    return sorted(found)


@pytest.mark.parametrize("box", [None, BOX], ids=["open", "box"])
def test_random_walk(box: Box) -> None:
    """Some of the beads, with holes between two chains, and pairs that do not act."""
    rng = np.random.default_rng()
    layout = layout_of((50,), (1,))
    members = np.sort(rng.choice(50, 33, replace=False))
    bead = in_columns(members, np.arange(50) // 17)
    excluded = np.array([(i, j) for i in members for j in members if i < j <= i + 3])
    lists = ClusterLists(
        [[Search(6.0, bead, excluded)]], layout, SKIN, torch.float64, torch.device(DEVICE)
    )  # fmt: skip
    apart = {(int(i), int(j)) for i, j in excluded} | {(int(j), int(i)) for i, j in excluded}
    x = torch.from_numpy(rng.uniform(-12, 12, (50, 3)))
    edges = torch.tensor(box or (0.0, 0.0, 0.0), dtype=torch.float64, device=DEVICE)
    for rebuild in (1, 0):
        lists.launch(x.to(DEVICE), torch.tensor([rebuild], dtype=torch.int32, device=DEVICE), edges, box is not None)
        assert not lists.more_room()
        if rebuild:
            pairs = all_pairs(x, layout, 6.0 + SKIN, box)
            both = [(i, j) for i, j in zip(pairs.first.tolist(), pairs.second.tolist(), strict=True)]
            expected = sorted((i, j) for a, b in both for i, j in ((a, b), (b, a))
                              if {i, j} <= set(members.tolist()) and (i, j) not in apart)  # fmt: skip
        assert listed(lists, bead) == expected  # and the list holds where nothing is built
        x = x + 100.0


def test_a_row_that_is_too_short_is_noticed_and_made_longer() -> None:
    """Everybody is everybody's neighbor."""
    rng = np.random.default_rng(33)
    layout = layout_of((40,), (1,))
    x = torch.from_numpy(rng.uniform(-1.5, 1.5, (40, 3))).to(DEVICE)
    search = Search(6.0, in_columns(np.arange(40), np.zeros(40, np.int64)), np.zeros((0, 2), np.int64))
    lists = ClusterLists([[search]], layout, SKIN, torch.float32, torch.device(DEVICE))
    whole = lists.columns
    lists.columns = whole._replace(column=whole.column[:, :2].clone(), acts=whole.acts[:, :2].clone(), capacity=2)
    arguments = (x, torch.ones(1, dtype=torch.int32, device=DEVICE), torch.zeros(3, device=DEVICE).double(), False)
    lists.launch(*arguments)
    assert lists.columns.length.tolist() == [2] * 10 and lists.columns.need.tolist() == [5] * 10
    assert lists.more_room() and lists.columns.capacity >= 5
    lists.launch(*arguments)
    assert not lists.more_room() and lists.columns.length.tolist() == [5] * 10


def test_lists_that_are_too_short_are_built_again_by_whoever_asks_for_forces() -> None:
    layout = layout_of((20,), (1,))
    forces = volume(layout, None)
    forces.x.copy_(torch.from_numpy(np.random.default_rng(34).uniform(-5, 5, (20, 3))))
    forces.evaluate()
    before, columns = forces.f.clone(), forces._pairs.lists.columns
    columns.length.fill_(0)
    columns.need.fill_(columns.capacity + 1)  # as if rows had been longer
    assert forces.more_room()
    forces.evaluate()
    assert torch.equal(forces.f, before) and before.any()


@pytest.mark.parametrize("precision", ["fp64", "fp32"])
def test_neither_the_age_of_a_list_nor_the_batch_changes_a_bit(precision: Precision) -> None:
    rng = np.random.default_rng(35)
    layout = layout_of((20, 11), (1, 2))
    old = volume(layout, BOX, precision, 4.0)
    x = torch.from_numpy(rng.uniform(-9, 9, (layout.n_beads, 3)))
    old.x.copy_(x)
    old.evaluate()
    x = x + 0.3 * torch.from_numpy(rng.normal(size=x.shape))
    new, alone = volume(layout, BOX, precision, 0.0), volume(layout_of((11,), (1,)), BOX, precision)
    for forces, at in ((old, x), (new, x), (alone, x[31:])):
        forces.x.copy_(at)
        forces.evaluate()
    assert old._rebuild.tolist() == [0, 0, 0]
    old_acts, new_acts = (forces._pairs.lists.columns.acts.cpu() for forces in (old, new))
    assert not torch.equal(old_acts, new_acts)
    assert torch.equal(old.f, new.f) and torch.equal(old.energy, new.energy)
    assert torch.equal(new.f[31:], alone.f) and torch.equal(new.energy[2:], alone.energy)


def test_where_the_molecules_are_costs_no_precision() -> None:
    """Molecules that have drifted apart by many boxes, and all of them far from the origin."""
    rng = np.random.default_rng(36)
    layout = layout_of((16,), (1,))
    exact, rounded = volume(layout, BOX), volume(layout, BOX, "fp32")
    x = torch.from_numpy(rng.uniform(-7, 7, (16, 3)))
    drift = torch.from_numpy(rng.integers(-3000, 3000, (16, 3))) * torch.tensor(BOX, dtype=torch.float64)
    for at in (x, x + drift):
        for forces in (exact, rounded):
            forces.x.copy_(at)
            forces.evaluate()
        assert float((rounded.f - exact.f).norm() / exact.f.norm()) < 1e-6
        assert float((rounded.energy - exact.energy).abs() / exact.energy.abs()) < 1e-6


def chains(sizes: list[int]) -> System:
    system = layout_of((sum(sizes),), (1,)).systems[0]
    letters = tuple(letter for letter, n in zip("ABCDEFGH", sizes, strict=False) for _ in range(n))
    return replace(system, chain_ids=letters)


@pytest.mark.parametrize(
    ("sizes", "slots"),
    [([13], 16), ([13, 13], 32), ([9, 8], 24), ([2, 2, 2, 2], 16), ([5, 5, 5], 24), ([8, 8], 16)],
)
def test_a_chain_begins_a_column_where_that_leaves_little_empty(sizes: list[int], slots: int) -> None:
    n = sum(sizes)
    found = in_columns(np.arange(n), np.repeat(np.arange(len(sizes)), sizes))
    assert len(found) == slots and found[found >= 0].tolist() == list(range(n))
