"""The loss with weight on torsions: what turns, by how much it counts, and that both ways to its gradient agree."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mdflash.core.system import System
from mdflash.training.forces import Batch, FlashForces, PlainForces, Topology
from mdflash.training.torsions import TorsionWeight
from tests.training.networks import loss_gradient, small_network

RING_AND_TAIL = [[0, 1], [1, 2], [2, 0], [2, 3], [3, 4], [4, 5], [4, 6]]


def _molecule(bonds: list[list[int]], beads: int) -> System:
    names = ("X",) * beads
    residue = np.zeros(beads, np.int64)
    return System("test", names, names, residue, ("RES",), (1,), ("A",), np.ones(beads), np.array(bonds))


def _rotated(x: torch.Tensor, first: int, second: int, moved: list[int], angle: float) -> torch.Tensor:
    """Beads turned about first -> second by Rodrigues' formula."""
    axis = x[second] - x[first]
    axis = axis / axis.norm()
    d = x[moved] - x[second]
    turned = x.clone()
    turned[moved] = x[second] + d * np.cos(angle) + torch.linalg.cross(axis.expand_as(d), d) * np.sin(angle)
    turned[moved] += torch.outer(d @ axis, axis) * (1.0 - np.cos(angle))
    return turned


def test_what_turns_and_how_much_it_counts() -> None:
    """Bonds of the ring and ends turn nothing; 2-3 and 3-4 turn their shorter side, here by finite rotations."""
    generator = torch.Generator().manual_seed(1)
    x, r = torch.randn(2, 5, 7, 3, generator=generator, dtype=torch.float64)
    weight, step = 7.0, 1e-5
    expected = r.square().sum(dim=(1, 2))
    for first, second, moved in ((3, 2, [0, 1]), (3, 4, [5, 6])):
        for frame in range(5):
            ends = [_rotated(x[frame], first, second, moved, s * step) for s in (1, -1)]
            w = (ends[0] - ends[1]) / (ends[0] - ends[1]).norm()
            expected[frame] += weight * (w * r[frame]).sum() ** 2
    found = (r * (r + TorsionWeight(_molecule(RING_AND_TAIL, 7), weight)(x, r))).sum(dim=(1, 2))
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=0.0)


def test_weights_do_not_turn_with_the_molecule() -> None:
    generator = torch.Generator().manual_seed(2)
    x, r = torch.randn(2, 5, 7, 3, generator=generator, dtype=torch.float64)
    turn = torch.linalg.qr(torch.randn(3, 3, generator=generator, dtype=torch.float64))[0]
    weight = TorsionWeight(_molecule(RING_AND_TAIL, 7), 3.0)
    torch.testing.assert_close(weight(x @ turn + 4.0, r @ turn), weight(x, r) @ turn)


def test_beads_in_line_turn_nothing() -> None:
    x = torch.zeros(1, 4, 3)
    x[0, :, 0] = torch.arange(4.0)
    r = torch.ones(1, 4, 3)
    assert not TorsionWeight(_molecule([[0, 1], [1, 2], [2, 3]], 4), 5.0)(x, r).any()


def test_both_ways_to_the_gradient_agree() -> None:
    model, topologies, batches = small_network(5)
    weighed = []
    for own, batch in zip(topologies, batches, strict=True):
        beads = batch.positions.shape[1]
        chain = _molecule([[i, i + 1] for i in range(beads - 1)], beads)
        weighed.append(Topology(own.types, own.pairs, (TorsionWeight(chain, 20.0),)))
    components = sum(b.forces.numel() for b in batches)
    found = []
    for forces in (PlainForces(model, weighed), FlashForces(model, weighed, 0.0, 30.0), PlainForces(model, topologies)):
        model.zero_grad()
        squares = float(forces.backward(batches, components))
        found.append((squares, loss_gradient(model)))
    (a, expected), (b, fast), (c, unweighed) = found
    assert b == pytest.approx(a, rel=1e-5)
    assert a == pytest.approx(c, rel=1e-12)  # what is logged stays the plain loss
    assert (fast - expected).norm() < 1e-3 * expected.norm()
    assert (unweighed - expected).norm() > 0.1 * expected.norm()


def test_torques_are_learned_before_the_rest() -> None:
    """A network far too small for its forces: with the weight, less of its error is left in torques."""
    model, topologies, batches = small_network(9, blocks=1, features=4, filters=4)
    batch = batches[1]
    chain = _molecule([[i, i + 1] for i in range(8)], 9)
    weight = TorsionWeight(chain, 20.0)
    start = {name: value.clone() for name, value in model.state_dict().items()}
    left = []
    for chosen in ((), (weight,)):
        model.load_state_dict(start)
        forces = PlainForces(model, [Topology(topologies[1].types, topologies[1].pairs, chosen)])
        optimizer = torch.optim.Adam(model.parameters(), 3e-2)
        own = Batch(0, batch.positions, batch.forces)
        for _ in range(200):
            optimizer.zero_grad()
            forces.backward([own], batch.forces.numel())
            optimizer.step()
        r = forces.predict(0, batch.positions) - batch.forces
        left.append(float((r * weight(batch.positions, r)).sum()))
    assert left[1] < 0.8 * left[0]
