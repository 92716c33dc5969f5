"""Energies on grids: the compiled twin against plain NumPy and torch, exact gradients, and biases made of them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from mdflash.core.state import Layout
from mdflash.engine.blocks.compiled import CompiledPriors
from mdflash.errors import InputError
from mdflash.potentials.bias import surface, surface_cpu
from mdflash.potentials.bias.grid_bias import GridBias
from mdflash.potentials.bias.metadynamics import Metadynamics
from mdflash.potentials.bias.surface import Axis
from mdflash.potentials.pack import pack
from mdflash.potentials.variables.base import Variable
from mdflash.potentials.variables.dihedral import Dihedral
from mdflash.potentials.variables.distance import Distance
from mdflash.testing import check_potential
from tests.helpers import beads, helix

N = 8
CHAIN = beads("chain", N)
ENDS, TWIST = Distance(CHAIN, 0, N - 1), Dihedral(CHAIN, 0, 2, 5, 7)
HALF = Distance(CHAIN, 1, 4)


def line(rng: np.random.Generator, name: str = "q") -> Axis:
    low = float(rng.uniform(-2.0, 2.0))
    return Axis(name, ENDS, low, low + float(rng.uniform(3.0, 9.0)), int(rng.integers(20, 60)))


def ring(rng: np.random.Generator, name: str = "phi") -> Axis:
    return Axis(name, TWIST, -math.pi, math.pi, int(rng.integers(20, 60)))


KINDS = {"line": (line,), "ring": (ring,), "plane": (line, line), "cylinder": (line, ring), "torus": (ring, ring),
         "box": (line, line, line), "tube": (ring, line, line), "turns": (line, ring, ring)}  # fmt: skip


def filled(axes: tuple[Axis, ...], rng: np.random.Generator, hills: int = 30) -> tuple[np.ndarray, np.ndarray, list]:
    """A surface by the compiled function, the same by the plain one, and the hills; some lie beyond the ends."""
    mine, plain = surface.empty_surface(axes), surface.empty_surface(axes)
    made = []
    for _ in range(hills):
        center = np.array([rng.uniform(a.low - 0.5, a.high + 0.5) for a in axes])
        width = np.array([a.spacing * rng.uniform(2.0, 6.0) for a in axes])
        made.append((center, width, float(rng.uniform(0.1, 1.0))))
        surface_cpu.add_gaussian(mine.reshape(-1), surface_cpu.as_rows(axes), *made[-1])
        surface.add_gaussian(plain, axes, *made[-1])
    return mine, plain, made


def compiled(values: np.ndarray, axes: tuple[Axis, ...], q: np.ndarray) -> tuple[float, ...]:
    """u and its slopes at q [D]."""
    rows, flat = surface_cpu.as_rows(axes), values.reshape(-1)
    if len(axes) == 1:
        return surface_cpu.on_line(flat, rows[0], float(q[0]))
    if len(axes) == 2:
        return surface_cpu.on_plane(flat, rows[0], rows[1], float(q[0]), float(q[1]))
    return surface_cpu.on_space(flat, rows, *map(float, q))


def places(axes: tuple[Axis, ...], rng: np.random.Generator) -> np.ndarray:
    """[n, D] nodes, both ends, between nodes, and beyond."""
    columns = []
    for a in axes:
        inside = rng.uniform(a.low, a.high, 12)
        columns.append(np.concatenate([rng.permutation(np.concatenate([rng.choice(a.nodes, 4), inside])),
                                       [a.low, a.high, a.low - 0.7, a.high + 0.7]]))  # fmt: skip
    return np.stack(columns, axis=1)


@pytest.mark.parametrize("kind", KINDS)
def test_compiled_is_plain(kind: str, rng_seed: int = 0) -> None:
    """Hills and interpolation, to the last digits; the slopes are those of autograd and of finite differences."""
    rng = np.random.default_rng([list(KINDS).index(kind), rng_seed])
    axes = tuple(make(rng) for make in KINDS[kind])
    mine, plain, _ = filled(axes, rng)
    np.testing.assert_allclose(mine, plain, rtol=1e-11, atol=1e-13)
    q = places(axes, rng)
    at = torch.from_numpy(q).requires_grad_()
    truth = surface.interpolate(torch.from_numpy(plain).expand(len(q), *plain.shape), axes, at)
    (slope,) = torch.autograd.grad(truth.sum(), at)
    found = np.array([compiled(mine, axes, each) for each in q])
    np.testing.assert_allclose(found[:, 0], truth.detach(), rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(found[:, 1:], slope, rtol=1e-9, atol=1e-10)
    h = 1e-6
    for each, row in zip(q, found, strict=True):
        for d, axis in enumerate(axes):
            if axis.inside(each[d : d + 1] - h).all() and axis.inside(each[d : d + 1] + h).all():
                step = h * np.eye(len(axes))[d]
                numerical = (compiled(mine, axes, each + step)[0] - compiled(mine, axes, each - step)[0]) / (2 * h)
                assert row[1 + d] == pytest.approx(numerical, abs=2e-7)
    # beyond an end of a line: the energy of the edge, no force
    for d, axis in enumerate(axes):
        if not axis.periodic:
            beyond = q[-1].copy()
            edge = np.array([axis.high if k == d else x for k, x in enumerate(beyond)])
            assert compiled(mine, axes, beyond)[0] == compiled(mine, axes, edge)[0]
            assert compiled(mine, axes, beyond)[1 + d] == 0.0


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_interpolated_is_the_sum_of_hills(kind: str) -> None:
    """To (h / sigma)^4 times 3/384 of the heights; periodic variables have images."""
    rng = np.random.default_rng(11)
    axes = tuple(make(rng) for make in KINDS[kind])
    mine, _, hills = filled(axes, rng)
    q = np.stack([rng.uniform(a.low, a.high, 40) for a in axes], axis=1)
    total = np.zeros(len(q))
    for center, width, height in hills:
        factor = np.full(len(q), height)
        for d, a in enumerate(axes):
            images = np.arange(-3, 4) * 2 * math.pi if a.periodic else np.zeros(1)
            away = (q[:, d, None] - center[d] + images) / width[d]
            factor *= np.exp(-0.5 * away**2).sum(axis=1)
        total += factor
    coarsest = max(a.spacing / w for _, width, _ in hills for a, w in zip(axes, width, strict=True))
    off = np.abs(np.array([compiled(mine, axes, each)[0] for each in q]) - total).max()
    assert off < 2.0 * 3 / 384 * coarsest**4 * sum(height for *_, height in hills)


def test_what_is_not_finite_stays_so() -> None:
    axes = (Axis("r", ENDS, 0.0, 5.0, 20), Axis("phi", TWIST, -math.pi, math.pi, 20))
    for bad in (math.nan, math.inf, -math.inf):
        assert math.isnan(compiled(np.ones((20, 2)), axes[:1], np.array([bad]))[0])
        assert math.isnan(compiled(np.ones((20, 20, 4)), axes, np.array([1.0, bad]))[0])
        assert math.isnan(compiled(np.ones((20, 20, 20, 8)), (*axes, axes[0]), np.array([1.0, 1.0, bad]))[0])


def bias(axes: tuple[Axis, ...], layout: Layout, walkers: int | None = None) -> Metadynamics:
    widths = [2.0 * a.spacing for a in axes]
    return Metadynamics("meta", axes, layout, widths, 0.5, 8.0, 10, 0.6, walkers)


@pytest.mark.parametrize("variables", [(ENDS,), (TWIST,), (ENDS, TWIST), (ENDS, TWIST, HALF)])
def test_a_bias_conforms(variables: tuple[Variable, ...]) -> None:
    """Reference and compiled twin: finite differences, symmetries, independence of replicas, the same forces."""
    rng = np.random.default_rng(len(variables))
    layout = Layout((CHAIN,), (4,))
    points = 30 if len(variables) == 3 else 90
    axes = tuple(
        Axis("phi", v, -math.pi, math.pi, 40) if v.periodic else Axis("r", v, 0.0, 30.0, points) for v in variables
    )
    meta, grouped = bias(axes, layout), bias(axes, layout, walkers=2)
    for _ in range(40):
        centers = np.array([[rng.uniform(a.low, a.high) for a in axes] for _ in range(4)])
        for each in (meta, grouped):
            each.deposit(each.group, centers, np.full(4, 0.5))
    assert (meta.hills.tolist(), grouped.hills.tolist()) == ([160], [80, 80])
    x = torch.from_numpy((helix(N) + rng.normal(size=(4, N, 3))).reshape(-1, 3))
    twin = CompiledPriors(pack([meta], layout))
    check_potential(meta, layout, x)
    check_potential(twin, layout, x)
    twin = CompiledPriors(pack([grouped], layout))
    truth, found = grouped.energy_and_forces(x, layout, None), twin.energy_and_forces(x, layout, None)
    torch.testing.assert_close(found.energy, truth.energy, rtol=1e-11, atol=1e-12)
    torch.testing.assert_close(found.forces, truth.forces, rtol=1e-9, atol=1e-11)
    same = torch.cat([x[:N], x[:N], x[:N], x[:N]])
    energy = grouped.energy_and_forces(same, layout, None).energy
    assert energy[0] == energy[1] != energy[2] == energy[3], "groups have surfaces of their own"


def test_heights_and_offset() -> None:
    """By their equations; the surface is uniform after a uniform bias, whose c(t) is that bias."""
    layout = Layout((CHAIN,), (2,))
    meta = bias((Axis("r", ENDS, 0.0, 10.0, 50),), layout, walkers=1)
    np.testing.assert_allclose(
        meta.heights(np.array([0.0, 4.2]), np.array([0, 1])), 0.5 * np.exp(-np.array([0.0, 4.2]) / (0.6 * 7.0))
    )
    meta.surfaces[1, :, 0] = 3.0
    np.testing.assert_allclose(meta.offsets(), [0.0, 3.0], atol=1e-12)
    meta.surfaces[..., 0] = np.random.default_rng(2).uniform(0.0, 5.0, meta.surfaces.shape[:-1])
    v = meta.surfaces[..., 0] / 0.6
    expected = 0.6 * np.log(np.exp(8.0 / 7.0 * v).sum(axis=1) / np.exp(v / 7.0).sum(axis=1))
    np.testing.assert_allclose(meta.offsets(), expected, rtol=1e-12)


def test_wrong_grids_are_refused() -> None:
    layout = Layout((CHAIN,), (4,))
    with pytest.raises(InputError, match=r"does not resolve hills of width 0\.1; use 201 points or more"):
        Metadynamics("m", [Axis("r", ENDS, 0.0, 10.0, 50)], layout, [0.1], 0.5, 8.0, 10, 0.6)
    with pytest.raises(InputError, match="do not fill groups of 3 walkers"):
        GridBias("m", [Axis("r", ENDS, 0.0, 10.0, 50)], layout, walkers=3)
    with pytest.raises(InputError, match="whole period"):
        Axis("phi", TWIST, 0.0, 3.0, 50)
    with pytest.raises(InputError, match="two ends, the lower one first"):
        Axis("r", ENDS, 3.0, 3.0, 50)
