"""The device's neighbor list against all pairs, while the beads walk."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from mdflash.core.state import Layout
from mdflash.core.types import Precision
from mdflash.engine.gpu import forces as device
from mdflash.engine.gpu.forces import DeviceForces
from mdflash.neighbors import triton as neighbors
from mdflash.neighbors.reference import all_pairs
from mdflash.potentials.schnet.triton.network import DeviceSchNet, Tiles
from tests.gpu.batches import DEVICE, SMALL, Box, layout_of, network, schnet, tables_of

SKIN = 1.5
WIDE = Tiles(channels=16, edges=64, exact_edges=64)
"""The network is not what is checked here: the interpreter takes as long for a tile of 64 edges as for one of 8."""


@pytest.fixture
def lists_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks read the lists and leave them as they are, so they need not run."""
    monkeypatch.setattr(DeviceSchNet, "run", lambda *arguments: None)


def device_list(layout: Layout, rng: np.random.Generator, box: Box, precision: Precision = "fp64") -> DeviceForces:
    small = network(replace(SMALL, blocks=1, filters=16, output=()))
    potential = schnet([small] * len(layout.systems), layout, rng, excluded=True)
    return DeviceForces(layout, [potential], tables_of(potential, 256), precision, SKIN, box, DEVICE, WIDE)


def near_pairs(forces: DeviceForces) -> list[tuple[int, int]]:
    """(i, j) of the list of near neighbors, row by row, checking that rows are sorted."""
    found = []
    for i, n in enumerate(forces._near_count.tolist()):
        row = forces._near[i, :n].tolist()
        assert row == sorted(row)
        found += [(i, j) for j in row]
    return found


def expected_pairs(x: torch.Tensor, layout: Layout, box: Box) -> list[tuple[int, int]]:
    """Both directions; neighbors along the chain exchange no messages."""
    pairs = all_pairs(x, layout, SMALL.cutoff, box)
    half = [(i, j) for i, j in zip(pairs.first.tolist(), pairs.second.tolist(), strict=True) if j != i + 1]
    return sorted(half + [(j, i) for i, j in half])


@pytest.mark.usefixtures("lists_alone")
@pytest.mark.parametrize("box", [None, (20.0, 22.0, 25.0)], ids=["open", "box"])
def test_random_walk(box: Box) -> None:
    rng = np.random.default_rng(31)
    layout = layout_of((16, 6), (1, 2))
    forces = device_list(layout, rng, box)
    x = torch.from_numpy(rng.uniform(-12, 12, (layout.n_beads, 3)))
    x[16:22] += 150.0
    builds = 0
    for _ in range(5):
        forces.x.copy_(x)
        forces.evaluate()
        builds += int(forces._rebuild.sum())
        assert near_pairs(forces) == expected_pairs(x, layout, box)
        x = x + 0.25 * torch.from_numpy(rng.normal(size=x.shape))
    assert layout.n_replicas < builds < 5 * layout.n_replicas  # neither never nor always


@pytest.mark.usefixtures("lists_alone")
@pytest.mark.parametrize(("precision", "unit"), [("fp64", 1.0), ("fp32", SMALL.cutoff / 2**31)])
@pytest.mark.parametrize("box", [None, (20.0, 22.0, 25.0)], ids=["open", "box"])
def test_how_far_and_which_way(precision: Precision, unit: float, box: Box) -> None:
    """Far from the origin, where float32 positions would be off by 1e-4 Å; beads that coincide have no direction."""
    rng = np.random.default_rng(36)
    layout = layout_of((14,), (1,))
    forces = device_list(layout, rng, box, precision)
    x = torch.from_numpy(rng.uniform(-6, 6, (14, 3)) + 1000.0)
    x[9] = x[4]
    forces.x.copy_(x)
    forces.evaluate()
    assert (4, 9) in near_pairs(forces)
    edges = None if box is None else torch.tensor(box, dtype=torch.float64)
    for i, n in enumerate(forces._near_count.tolist()):
        apart = x[forces._near[i, :n].cpu()] - x[i]
        if edges is not None:
            apart -= edges * (apart / edges).round()
        d = forces._place[i, :n].cpu().double() * unit
        assert float((d - apart.norm(dim=1)).abs().max()) < 1e-8
        assert float((d[:, None] * forces._toward[i, :, :n].T.cpu() - apart).abs().max()) < (
            1e-12 if unit == 1 else 2e-6
        )


@pytest.mark.usefixtures("lists_alone")
def test_only_replicas_that_moved_are_built_again() -> None:
    rng = np.random.default_rng(32)
    layout = layout_of((6,), (3,))
    forces = device_list(layout, rng, None)
    x = torch.from_numpy(rng.uniform(-6, 6, (layout.n_beads, 3)))
    forces.x.copy_(x)
    forces.evaluate()
    assert forces._rebuild.tolist() == [1, 1, 1]
    x[7, 1] += 0.51 * SKIN
    x[13, 2] += 0.49 * SKIN
    forces.x.copy_(x)
    forces.launch()
    assert forces._rebuild.tolist() == [0, 1, 0]
    assert near_pairs(forces) == expected_pairs(x, layout, None)


def test_a_row_that_is_too_short_is_noticed_and_made_longer() -> None:
    rng = np.random.default_rng(33)
    layout = layout_of((40,), (1,))
    forces = device_list(layout, rng, None)
    x = torch.from_numpy(rng.uniform(-3, 3, (40, 3)))  # everybody is everybody's neighbor
    forces.x.copy_(x)
    forces._make_room(32)
    assert forces.capacity == 32
    forces.launch()
    assert forces.more_room() and forces.capacity >= 39
    forces.evaluate()
    assert near_pairs(forces) == expected_pairs(x, layout, None)


@pytest.mark.parametrize("box", [None, (20.0, 22.0, 25.0)], ids=["open", "box"])
def test_boxes_find_the_same_list(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    """Chains of more than two boxes, one that ends with a full box, in a batch of several replicas."""
    rng = np.random.default_rng(34)
    layout = layout_of((70, 32), (1, 2))
    x = torch.from_numpy(np.cumsum(rng.normal(scale=2.0, size=(layout.n_beads, 3)), axis=0))
    lists = []
    for least in (1, 1000):
        monkeypatch.setattr(device, "BOXES_FROM", least)
        forces = device_list(layout, rng, box)
        forces.x.copy_(x)
        neighbors.prepare[(layout.n_replicas,)](
            forces.x, forces._built_at, forces.bead_offset, forces._rebuild, LIMIT=0.0, BLOCK=256
        )
        forces._build_lists()
        rows = zip(forces._neighbor.tolist(), forces._count.tolist(), strict=True)
        lists.append([row[:n] for row, n in rows])
    assert lists[0] == lists[1]
    assert sum(map(len, lists[0])) > layout.n_beads
