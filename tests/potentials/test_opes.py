"""OPES: kernels merged as by a plain reading of the rule, and the bias of their sum."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from mdflash.core.state import Layout
from mdflash.errors import InputError
from mdflash.potentials.bias.kernels_cpu import add_kernels, merge_kernels
from mdflash.potentials.bias.opes import Opes
from mdflash.potentials.bias.surface import Axis, empty_surface
from mdflash.potentials.bias.surface_cpu import as_rows
from mdflash.potentials.variables.dihedral import Dihedral
from mdflash.potentials.variables.distance import Distance
from tests.helpers import beads

CHAIN = beads("chain", 8)
ENDS = Axis("r", Distance(CHAIN, 0, 7), 0.0, 20.0, 120)
TWIST = Axis("phi", Dihedral(CHAIN, 0, 2, 5, 7), -math.pi, math.pi, 80)
HALF = Axis("half", Distance(CHAIN, 1, 4), 3.0, 12.0, 24)
BOX = (Axis("r", ENDS.variable, 0.0, 20.0, 44), Axis("phi", TWIST.variable, -math.pi, math.pi, 40), HALF)
LAYOUT = Layout((CHAIN,), (4,))


def apart(a: np.ndarray, b: np.ndarray, axes: tuple[Axis, ...]) -> np.ndarray:
    turn = np.array([2 * math.pi if axis.periodic else math.inf for axis in axes])
    d = b - a
    return d - np.where(np.isfinite(turn), turn, 0.0) * np.rint(d / turn)


def merged(kernels: list[np.ndarray], new: np.ndarray, axes: tuple[Axis, ...]) -> list[np.ndarray]:
    """Take in one kernel: into its nearest within one width, and again, until none is near."""
    d = len(axes)

    def near(kernel: np.ndarray, others: list[np.ndarray]) -> int:
        norms = [(((apart(k[:d], kernel[:d], axes)) / k[d : 2 * d]) ** 2).sum() for k in others]
        best = int(np.argmin(norms)) if norms else -1
        return best if norms and norms[best] < 1 else -1

    def both(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        share, away = b[-1] / (a[-1] + b[-1]), apart(a[:d], b[:d], axes)
        center = a[:d] + share * away
        for k, axis in enumerate(axes):
            if axis.periodic:
                center[k] = (center[k] + math.pi) % (2 * math.pi) - math.pi
        width = np.sqrt((1 - share) * a[d:-1] ** 2 + share * b[d:-1] ** 2 + share * (1 - share) * away**2)
        return np.array([*center, *width, a[-1] + b[-1]])

    kernels = list(kernels)
    while (at := near(new, kernels)) >= 0:
        new = both(kernels.pop(at), new)
    return [*kernels, new]


@pytest.mark.parametrize("axes", [(ENDS,), (TWIST,), (ENDS, TWIST), BOX])
def test_kernels_merge_by_the_rule(axes: tuple[Axis, ...]) -> None:
    rng = np.random.default_rng(len(axes) + int(axes[0].periodic))
    d = len(axes)
    fresh = np.column_stack(
        [
            *(rng.uniform(a.low, a.high, 60) for a in axes),
            *(rng.uniform(0.1, 0.5, 60) * (3.0 if d == 3 else 1.0) for _ in axes),
            rng.random(60),
        ]
    )
    room = np.zeros((60, 2 * d + 1))
    kept, again = (empty_surface(axes).reshape(-1) for _ in range(2))
    count = merge_kernels(room, 0, fresh[:25], as_rows(axes), kept)
    count = merge_kernels(room, count, fresh[25:], as_rows(axes), kept)
    add_kernels(again, as_rows(axes), room[:count])
    np.testing.assert_allclose(kept, again, atol=1e-12)
    plain: list[np.ndarray] = []
    for kernel in fresh:
        plain = merged(plain, kernel, axes)
    assert count == len(plain) < 60
    mine, theirs = (k[np.argsort(k[:, 0])] for k in (room[:count], np.array(plain)))
    np.testing.assert_allclose(mine, theirs, rtol=1e-9, atol=1e-9)
    assert room[:count, -1].sum() == pytest.approx(fresh[:, -1].sum())


@pytest.mark.parametrize("explore", [False, True])
@pytest.mark.parametrize("axes", [(ENDS,), (ENDS, TWIST), BOX])
def test_the_bias_is_that_of_the_kernels(axes: tuple[Axis, ...], explore: bool) -> None:
    """At the nodes by its equation, between them to what the grid resolves; never below minus the barrier."""
    rng = np.random.default_rng(3)
    d = len(axes)
    bias = Opes("o", axes, LAYOUT, [1.0, 0.6, 1.0][:d], 6.0, 10, 0.6, explore=explore)
    first = bias.energies(torch.tensor([[a.low + 1.0 for a in axes]]), np.zeros(1, np.int64))
    assert float(first) == pytest.approx(-6.0)
    for _ in range(30):
        centers = np.column_stack(
            [rng.normal(a.low + 0.4 * (a.high - a.low), 0.15 * (a.high - a.low), 4) for a in axes]
        )
        energies = bias.energies(torch.from_numpy(centers), np.zeros(4, np.int64)).numpy()
        added = bias.grow(np.zeros(4, np.int64), centers, energies)
    assert bias.hills.tolist() == [120] and 1 < len(bias.kernels[0]) < (120 if d == 3 else 60)
    assert (added.widths < bias.widths * (math.sqrt(10.0) if explore else 1.0)).all()
    gamma = 6.0 / 0.6
    factor = 0.6 * (gamma - 1.0 if explore else 1.0 - 1.0 / gamma)
    kernels = bias.kernels[0]

    def density(q: np.ndarray) -> np.ndarray:
        total = np.tile(kernels[:, -1], (len(q), 1))
        for k, axis in enumerate(axes):
            images = 2 * math.pi * np.arange(-3, 4) if axis.periodic else np.zeros(1)
            away = (q[:, k, None, None] - kernels[:, k, None] + images) / kernels[:, d + k, None]
            total *= np.exp(-0.5 * away**2).sum(axis=2)
        return total.sum(axis=1)

    q = np.stack([rng.choice(a.nodes, 30) for a in axes], axis=1)
    expected = factor * np.log(density(q) / density(kernels[:, :d]).mean() + math.exp(-6.0 / factor))
    found = bias.energies(torch.from_numpy(q), np.zeros(30, np.int64)).numpy()
    np.testing.assert_allclose(found, expected, atol=0.01)
    q = np.stack([rng.uniform(a.low, a.high, 30) for a in axes], axis=1)
    expected = factor * np.log(density(q) / density(kernels[:, :d]).mean() + math.exp(-6.0 / factor))
    found = bias.energies(torch.from_numpy(q), np.zeros(30, np.int64)).numpy()
    assert np.abs(found - expected).max() < 0.1
    assert (bias.surfaces[..., 0] > -6.0 - 1e-9).all()


def test_nodes_hold_all_derivatives_of_the_bias() -> None:
    """Over three variables a node has eight numbers: those of V = factor ln(P / Z + epsilon), by autograd."""
    rng = np.random.default_rng(5)
    axes = (Axis("r", ENDS.variable, 0.0, 20.0, 40), Axis("s", ENDS.variable, 0.0, 10.0, 30), HALF)
    bias = Opes("o", axes, LAYOUT, [2.5, 1.5, 1.0], 6.0, 10, 0.6)
    for _ in range(5):
        centers = np.column_stack([rng.uniform(a.low + 2.0, a.high - 2.0, 4) for a in axes])
        bias.grow(np.zeros(4, np.int64), centers, np.zeros(4))
    kernels = torch.from_numpy(bias.kernels[0])

    def density(q: torch.Tensor) -> torch.Tensor:
        away = (q[:, None] - kernels[:, :3]) / kernels[:, 3:6]
        return (torch.exp(-0.5 * away**2).prod(dim=2) * kernels[:, 6]).sum(dim=1)

    z = bias.density[0, ..., 0]
    nodes = [np.unravel_index(k, z.shape) for k in rng.choice(np.flatnonzero(z > 0.3 * z.max()), 20)]
    spacing = torch.tensor([a.spacing for a in axes])
    number = torch.tensor(np.array(nodes), dtype=torch.float64, requires_grad=True)
    values = torch.tensor([a.low for a in axes]) + spacing * number
    # Z is read from the grid between nodes: what it is follows from one of them
    at = tuple(np.array(nodes).T)
    ratio = np.exp(bias.surfaces[0][(*at, 0)] / bias.factor[0] / 0.6) - bias.epsilon[0]
    norm = float((density(values).detach().numpy() / ratio).mean())
    found = 0.6 * bias.factor[0] * torch.log(density(values) / norm + bias.epsilon[0])
    for place in range(8):
        expected = found
        for d in range(3):
            if place >> d & 1:
                expected = torch.autograd.grad(expected.sum(), number, create_graph=True)[0][:, d]
        np.testing.assert_allclose(bias.surfaces[0][(*at, place)], expected.detach(), rtol=1e-6, atol=1e-6)


def test_a_copy_and_a_checkpoint_continue_alike() -> None:
    rng = np.random.default_rng(8)
    bias = Opes("o", (ENDS,), LAYOUT, [1.0], 6.0, 10, 0.6, walkers=2)
    group = np.array([0, 0, 1, 1])

    def grow(target: Opes, centers: np.ndarray) -> None:
        target.grow(group, centers, target.energies(torch.from_numpy(centers), group).numpy())

    for _ in range(10):
        grow(bias, rng.uniform(2.0, 15.0, (4, 1)))
    other, third = bias.copy(), Opes("o", (ENDS,), LAYOUT, [1.0], 6.0, 10, 0.6, walkers=2)
    third.restore({name: array.copy() for name, array in bias.state().items()})
    last = rng.uniform(2.0, 15.0, (4, 1))
    for each in (bias, other, third):
        grow(each, last)
    assert np.array_equal(bias.surfaces, other.surfaces) and np.array_equal(bias.surfaces, third.surfaces)
    assert bias.hills.tolist() == third.hills.tolist() == [22, 22]


def test_wrong_settings_are_refused() -> None:
    with pytest.raises(InputError, match="a barrier above 2 kT"):
        Opes("o", (ENDS,), LAYOUT, [1.0], 1.0, 10, 0.6)
