"""The device's neighbour list against all pairs, while the beads walk."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from mdflash.neighbors.reference import all_pairs
from mdflash.propagate.device import DeviceForces
from mdflash.state import Layout
from tests.gpu.batches import DEVICE, SMALL, TILES, Box, layout_of, network, schnet, tables_of

SKIN = 1.5


def device_list(layout: Layout, rng: np.random.Generator, box: Box) -> DeviceForces:
    small = network(replace(SMALL, blocks=1, filters=16, output=()))
    potential = schnet([small] * len(layout.systems), layout, rng, excluded=True)
    return DeviceForces(layout, [potential], tables_of(potential, 256), "fp64", SKIN, box, DEVICE, TILES)


def near_pairs(forces: DeviceForces) -> list[tuple[int, int]]:
    """(i, j) of the list of near neighbours, row by row, checking that rows are sorted."""
    found = []
    for i, n in enumerate(forces._near_count.tolist()):
        row = forces._near[i, :n].tolist()
        assert row == sorted(row)
        found += [(i, j) for j in row]
    return found


def expected_pairs(x: torch.Tensor, layout: Layout, box: Box) -> list[tuple[int, int]]:
    """Both directions; neighbours along the chain exchange no messages."""
    pairs = all_pairs(x, layout, SMALL.cutoff, box)
    half = [(i, j) for i, j in zip(pairs.first.tolist(), pairs.second.tolist(), strict=True) if j != i + 1]
    return sorted(half + [(j, i) for i, j in half])


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
    x = torch.from_numpy(rng.uniform(-3, 3, (40, 3)))  # everybody is everybody's neighbour
    forces.x.copy_(x)
    forces._make_room(32)
    assert forces.capacity == 32
    forces.launch()
    assert forces.more_room() and forces.capacity >= 39
    forces.evaluate()
    assert near_pairs(forces) == expected_pairs(x, layout, None)
