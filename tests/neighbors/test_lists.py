"""Neighbor lists against brute force: random walks, boxes, both ways of building, and the awkward cases."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mdflash.core.state import Layout
from mdflash.errors import InputError
from mdflash.integrators.langevin import LangevinMiddle
from mdflash.neighbors import cpu
from mdflash.neighbors.cpu import CELLS_FROM, build_half_list, rebuild, rebuild_together
from mdflash.neighbors.reference import all_pairs
from mdflash.neighbors.verlet import VerletList
from mdflash.potentials.base import Pairs
from tests.helpers import bead_term, beads, same_bits, simulate, toy, volume_term

Box = tuple[float, float, float] | None


def near(pairs: Pairs, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The listed pairs that are within the cutoff, in the list's order."""
    keep = torch.linalg.vector_norm(pairs.displacements(x), dim=-1) < pairs.cutoff
    return pairs.first[keep], pairs.second[keep]


def check(found: Pairs, x: torch.Tensor, layout: Layout, box: Box) -> None:
    expected = all_pairs(x, layout, found.cutoff, box)
    first, second = near(found, x)
    assert torch.equal(first, expected.first) and torch.equal(second, expected.second)
    key = found.first * layout.n_beads + found.second
    assert bool((key[1:] > key[:-1]).all())  # rows sorted, each pair once
    assert bool((found.second > found.first).all())
    replica = np.searchsorted(layout.bead_offset, np.stack([found.first, found.second]), side="right")
    assert np.array_equal(*replica)  # never between replicas


sizes = st.one_of(
    st.integers(1, 40), st.sampled_from([CELLS_FROM - 1, CELLS_FROM, CELLS_FROM + 1]), st.integers(CELLS_FROM, 520)
)


@settings(max_examples=40, database=None)
@given(
    n=sizes,
    seed=st.integers(0, 2**32 - 1),
    cutoff=st.floats(3.0, 9.0),
    skin=st.sampled_from([0.0, 0.5, 2.0, 6.0]),
    stretch=st.none() | st.tuples(*[st.floats(1.0, 2.5)] * 3),
    spacing=st.floats(1.5, 5.0),
)
def test_every_step_of_a_random_walk(
    n: int, seed: int, cutoff: float, skin: float, stretch: tuple[float, float, float] | None, spacing: float
) -> None:
    """With and without a box (2 to 5 cells an edge), two sizes of system, strides from tiny to beyond the skin."""
    rng = np.random.default_rng(seed)
    box = None if stretch is None else tuple(2 * (cutoff + skin) * s for s in stretch)
    layout = Layout((beads("a", n, bonds=False), beads("b", 7, bonds=False)), (1, 2))
    edge = spacing * n ** (1 / 3) if box is None else np.array(box)
    x = torch.from_numpy(rng.uniform(-1.5, 1.5, (layout.n_beads, 3)) * edge)
    verlet = VerletList(layout, cutoff, skin, box)
    for stride in rng.uniform(0, 0.3, 6) * max(skin, 1.0):
        check(verlet.pairs(x), x, layout, box)
        x += torch.from_numpy(rng.normal(size=x.shape)) * stride


def test_one_fast_bead_is_enough_to_rebuild() -> None:
    """One bead walks through a fluid at rest, each stride just under or over half the skin."""
    rng = np.random.default_rng(12)
    layout = Layout((beads("a", 120, bonds=False),), (1,))
    x = torch.from_numpy(rng.uniform(0, 20, (120, 3)))
    verlet = VerletList(layout, 5.0, 2.0)
    for _ in range(60):
        x[17] += torch.from_numpy(rng.normal(size=3)) * 0.6
        check(verlet.pairs(x), x, layout, None)
    assert 5 < verlet.builds < 60


def test_beads_at_rest_are_not_rebuilt() -> None:
    rng = np.random.default_rng(13)
    layout = Layout((beads("a", 50, bonds=False),), (3,))
    x = torch.from_numpy(rng.uniform(0, 15, (150, 3)))
    verlet = VerletList(layout, 5.0, 2.0)
    verlet.pairs(x)
    assert verlet.builds == 3
    verlet.pairs(x + 0.57)  # |shift| = 0.987 < skin/2
    assert verlet.builds == 3
    x[70] += 0.6
    verlet.pairs(x)  # only its own replica
    assert verlet.builds == 4


@pytest.mark.parametrize("edge", [7, 8])  # 343 beads: all pairs; 512: cells
@pytest.mark.parametrize("periodic", [False, True])
@pytest.mark.parametrize("skin", [0.0, 1.0])
def test_beads_exactly_at_the_cutoff(edge: int, periodic: bool, skin: float) -> None:
    """A lattice, where many distances are exactly the cutoff and beads sit exactly on the cells' faces."""
    grid = np.stack(np.meshgrid(*[np.arange(edge)] * 3, indexing="ij"), axis=-1).reshape(-1, 3).astype(float)
    layout = Layout((beads("a", len(grid), bonds=False),), (1,))
    box = (float(edge),) * 3 if periodic else None
    for cutoff in (1.0, 2.0, 2.5) if periodic else (1.0, 2.0, 3.0, 5.0):
        for origin in (0.0, -3.0, 100.0):
            x = torch.from_numpy(grid + origin)
            check(VerletList(layout, cutoff, skin, box).pairs(x), x, layout, box)


@pytest.mark.parametrize("n", [50, 500])
@pytest.mark.parametrize("far", [1e6, 1e15, 1e200])
def test_a_bead_that_flew_away(n: int, far: float) -> None:
    rng = np.random.default_rng(14)
    layout = Layout((beads("a", n, bonds=False),), (1,))
    x = torch.from_numpy(rng.uniform(0, 30, (n, 3)))
    x[n // 3] = torch.tensor([far, -far, 3.0])
    verlet = VerletList(layout, 6.0, 1.5)
    check(verlet.pairs(x), x, layout, None)


@pytest.mark.parametrize("n", [2, 3, CELLS_FROM])
def test_beads_on_one_spot_and_on_a_line(n: int) -> None:
    layout = Layout((beads("a", n, bonds=False),), (1,))
    check(VerletList(layout, 3.0, 1.0).pairs(torch.zeros(n, 3, dtype=torch.float64)), torch.zeros(n, 3), layout, None)
    line = torch.zeros(n, 3, dtype=torch.float64)
    line[:, 2] = torch.arange(n) * 0.7
    check(VerletList(layout, 3.0, 1.0).pairs(line), line, layout, None)


def test_a_box_that_is_too_small_is_refused() -> None:
    layout = Layout((beads("a", 5, bonds=False),), (1,))
    ff = toy(volume_term(1, 10.0))
    with pytest.raises(InputError, match=r"at least twice cutoff \+ skin = 24 Å"):
        VerletList(layout, 10.0, 2.0, (30.0, 23.9, 30.0))
    VerletList(layout, 10.0, 2.0, (24.0, 24.0, 24.0))
    x = np.random.default_rng(0).uniform(0, 20, (5, 3))
    with pytest.raises(InputError, match="too small"):
        simulate(layout, [ff], x, box=(30.0, 30.0, 23.9))
    with pytest.raises(InputError, match="half the box's shortest edge"):
        all_pairs(torch.from_numpy(x), layout, 10.0, (19.0, 40.0, 40.0))


@pytest.mark.parametrize("n", [60, 450])
def test_exclusions_are_left_out_and_nothing_else(n: int) -> None:
    rng = np.random.default_rng(n)
    x = rng.uniform(0, 2.5 * n ** (1 / 3), (n, 3))
    layout = Layout((beads("a", n, bonds=False),), (1,))
    whole = all_pairs(torch.from_numpy(x), layout, 6.0)
    pairs = set(zip(whole.first.tolist(), whole.second.tolist(), strict=True))
    excluded = np.array([*sorted(p for p in pairs if rng.random() < 0.3), (n - 2, n - 1)])
    excluded = np.unique(excluded, axis=0)
    start, neighbor = np.empty(n + 1, np.int64), np.empty(len(pairs), np.int64)
    exclusion_start = np.searchsorted(excluded[:, 0], np.arange(n + 1))
    count = build_half_list(x, 6.0, np.zeros(3), exclusion_start, excluded[:, 1].copy(), start, neighbor)
    found = set(zip(np.repeat(np.arange(n), np.diff(start)).tolist(), neighbor[:count].tolist(), strict=True))
    assert len(found) == count
    assert found == pairs - set(map(tuple, excluded.tolist()))


@pytest.mark.parametrize("n", [100, 500])
def test_too_little_capacity_is_reported_and_respected(n: int) -> None:
    x = np.random.default_rng(n).uniform(0, 2.0 * n ** (1 / 3), (n, 3))
    nothing = np.zeros(n + 1, np.int64), np.empty(0, np.int64)
    start, guarded = np.empty(n + 1, np.int64), np.full(64, -7, np.int64)
    count = build_half_list(x, 5.0, np.zeros(3), *nothing, start, guarded[:40])
    assert count > 40 and start[n] == count
    assert (guarded[40:] == -7).all()
    room = np.empty(count, np.int64)
    assert build_half_list(x, 5.0, np.zeros(3), *nothing, start, room) == count
    layout = Layout((beads("a", n, bonds=False),), (1,))
    assert np.array_equal(room, all_pairs(torch.from_numpy(x), layout, 5.0).second.numpy())


@pytest.mark.parametrize("box", [None, (40.0, 31.0, 35.0)])
def test_all_threads_build_the_list_that_one_builds(box: Box) -> None:
    """Again and again, into the array of the list before: beads that move a little, that gather and that scatter."""
    rng = np.random.default_rng(17)
    n, edges = CELLS_FROM + 57, np.zeros(3) if box is None else np.array(box)
    exclusion_start, exclusion = np.arange(n + 1), np.arange(1, n + 1)  # the next bead of the chain
    ours, other = np.zeros(n + 1, np.int64), np.zeros(n + 1, np.int64)
    mine = alone = np.empty(0, np.int64)
    x = rng.uniform(0, 40, (n, 3))
    for scale in (1.0, 1.0, 0.6, 0.6, 1.7, 0.1, 3.0, 1.0):
        x = x * scale + rng.normal(size=(n, 3))
        x[n // 2 :] += rng.normal(size=3) * 5.0 * abs(scale - 1.0)  # rows of some shares grow, of others shrink
        mine = rebuild_together(x, 9.0, edges, exclusion_start, exclusion, ours, mine)
        alone = rebuild(x, 9.0, edges, exclusion_start, exclusion, other, alone)
        assert np.array_equal(ours, other) and ours[n] > 0
        assert np.array_equal(mine[: ours[n]], alone[: ours[n]])


@pytest.mark.parametrize("n", [60, 420])
def test_capacity_grows_inside_a_block(n: int) -> None:
    """A cloud that collapses within one compiled block, against blocks of one step, which begin with fresh lists."""
    rng = np.random.default_rng(15)
    system = beads("cloud", n, bonds=False)
    center = [[0, i] for i in range(1, n)]
    ff = toy(bead_term("pull", "harmonic_bond", center, k=0.3, x0=1.0), volume_term(1, 6.0, 0.02, 2.0))
    layout = Layout((system,), (1,))
    start = rng.uniform(-1, 1, (n, 3)) * 5.0 * n ** (1 / 3)
    whole, single = (simulate(layout, [ff], start, LangevinMiddle(0.004, 2.0), 50.0) for _ in range(2))

    def listed(x: torch.Tensor) -> int:
        return len(all_pairs(x, layout, 8.0).first)

    before = listed(whole.state.positions)
    whole.evaluate()
    assert whole.propagator.advance(whole.state, 400).tolist() == [-1]
    assert listed(whole.state.positions) > 4 * before + 64  # far beyond what the first list had room for
    for _ in range(400):
        single.run(1)
    assert same_bits(whole, single)


def test_work_per_bead_does_not_grow_with_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    """Distances computed by a build at constant density, counted in the uncompiled function: O(N)."""
    measured = 0

    def counting(a: np.ndarray, b: np.ndarray, box: np.ndarray) -> float:
        nonlocal measured
        measured += 1
        return float(((b - a) ** 2).sum())

    monkeypatch.setattr(cpu, "squared_distance", counting)
    for name in ("_by_cells", "_find_rows"):
        monkeypatch.setattr(cpu, name, getattr(cpu, name).py_func)
    rng = np.random.default_rng(16)
    reach, spacing = 6.0, 4.5
    for n in (CELLS_FROM, 1000, 3000):
        x = rng.uniform(0, spacing * n ** (1 / 3), (n, 3))
        start, neighbor = np.empty(n + 1, np.int64), np.empty(60 * n, np.int64)
        nothing = np.zeros(n + 1, np.int64), np.empty(0, np.int64)
        measured = 0
        count = cpu.build_half_list.py_func(x, reach, np.zeros(3), *nothing, start, neighbor)
        # 27 cells, each up to (1 + 1/cells)^3 larger than reach^3; half of the pairs
        cells = int(spacing * n ** (1 / 3) / reach)
        assert count < measured < n * 27 / 2 * (reach / spacing) ** 3 * (1 + 1 / cells) ** 3
        assert count == len(all_pairs(torch.from_numpy(x), Layout((beads("a", n, bonds=False),), (1,)), reach).first)
