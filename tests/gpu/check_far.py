"""Filters in two parts on a GPU: tiles, the kernels of far pairs, and the whole of it, against plain torch."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from mdflash.core.state import Layout, State
from mdflash.engine.gpu.forces import DeviceForces, DevicePotential
from mdflash.engine.gpu.loop import CudaPropagator
from mdflash.engine.settings import Dynamics
from mdflash.errors import InputError
from mdflash.forcefields.build import build_potential
from mdflash.integrators.langevin import LangevinMiddle
from mdflash.neighbors import tiles as tile_lists
from mdflash.neighbors.tiles import COLUMNS, NO_PAIR, PairTiles
from mdflash.potentials.backbones.backbone import Backbone
from mdflash.potentials.schnet.network import SchNet
from mdflash.potentials.schnet.potential import SchNetPotential
from mdflash.potentials.schnet.split import SplitFilters, fit_far_field, operand_scales
from mdflash.potentials.schnet.tables import Sample, random_sample, sample_forces, tabulate
from mdflash.potentials.schnet.triton import far, gathered
from mdflash.testing import BUDGETS, check_potential
from tests.gpu.batches import DEVICE, SMALL, TILES, Box, errors, layout_of, network, on_device, reference, schnet, walks
from tests.helpers import toy, volume_term

WIDE = replace(SMALL, cutoff=10.0)


def split_of(model: SchNet, start: float = 4.5, rank: int = 16, middle: float | None = None) -> SplitFilters:
    """No errors measured. `middle`: where cosines begin that end at `start`."""
    scales = operand_scales(model, [random_sample(model, beads=16)])
    between = None if middle is None else fit_far_field(model, middle, 16, stop=start)
    near = tabulate(model, 512, start if middle is None else middle)
    return SplitFilters(near, fit_far_field(model, start, rank), scales, 0.0, 0.0, between)


def dense(tiles: PairTiles, values: Tensor, n: int) -> Tensor:
    """[n, n] what stands in the tiles for each pair of a batch; `NO_PAIR` where there is no tile."""
    whole = torch.full((n + COLUMNS, n + COLUMNS), NO_PAIR, dtype=torch.float64)
    for row, (begin, _, end, _) in enumerate(tiles.rows.tolist()):
        height = min(tiles.height, end - begin)
        for slot in range(int(tiles.count[row])):
            j = int(tiles.tile[row, slot])
            whole[begin : begin + height, j : j + COLUMNS] = values[row, slot, :height].cpu().double()
    return whole[:n, :n]


@pytest.mark.parametrize(("box", "rank"), [(None, 16), ((23.0, 24.0, 25.0), 32)])
def test_tiles_hold_every_far_pair_once(box: Box, rank: int) -> None:
    """Replicas that fill no tile, a pair without messages, more tiles than there is room for at first."""
    rng = np.random.default_rng([31, rank])
    layout = layout_of((37, 5), (2, 1))
    model = network(WIDE)
    potential = schnet([model, model], layout, rng, excluded=True)
    silent = [np.concatenate([e, [[0, 4]]]) for e in potential.excluded]
    potential = SchNetPotential("SchNet", [model, model], [t.numpy() for t in potential.types], silent)
    split = split_of(model, rank=rank)
    usual, tile_lists.FIRST_TILES = tile_lists.FIRST_TILES, 1
    try:
        forces = DeviceForces(layout, [potential], {id(model): split}, "fp32", 1.0, box, DEVICE, TILES)
    finally:
        tile_lists.FIRST_TILES = usual
    x = torch.from_numpy(rng.uniform(-14.0, 14.0, (layout.n_beads, 3)))
    forces.x.copy_(x)
    forces._rebuild.fill_(1)
    (lists,) = forces._far
    assert lists is not None
    lists.update()
    assert lists.more_room() and lists.tiles.capacity == 2
    lists.update()
    lists.place()
    assert not lists.more_room()
    found = dense(lists.tiles, lists.tiles.place, layout.n_beads)
    expected = torch.full_like(found, NO_PAIR)
    for r in range(layout.n_replicas):
        rows = layout.rows(r)
        delta = x[rows][None] - x[rows][:, None]
        if box is not None:
            edges = torch.tensor(box, dtype=torch.float64)
            delta = delta - edges * torch.floor(delta / edges + 0.5)
        d = delta.norm(dim=-1)
        is_far = (d >= split.far.start) & (d < model.hyper.cutoff)
        for i, j in silent[int(layout.system_of_replica[r])]:
            is_far[i, j] = is_far[j, i] = False
        turns = split.far.turns(d.clamp(split.far.start, model.hyper.cutoff).flatten()).reshape(d.shape)
        expected[rows, rows] = torch.where(is_far, turns, NO_PAIR)
    assert torch.equal(found == NO_PAIR, expected == NO_PAIR)
    assert float((found - expected).abs().max()) < 1e-7
    count, tile = lists.tiles.count.cpu(), lists.tiles.tile.cpu()
    for row in range(len(count)):
        assert bool((tile[row, : count[row]].diff() > 0).all())


def made_tiles(n: int, height: int, rng: np.random.Generator) -> tuple[PairTiles, Tensor]:
    """Tiles of one replica of n beads with random places, and these as [n, n]; a tenth of the pairs has none."""
    turns = torch.from_numpy(rng.uniform(0.03, 0.47, (n, n)))
    turns = torch.where(torch.from_numpy(rng.random((n, n)) < 0.1), NO_PAIR, torch.tril(turns) + torch.tril(turns).T)
    turns = torch.maximum(turns, turns.T).fill_diagonal_(NO_PAIR).float()
    columns, rows = -(-n // COLUMNS), -(-n // height)
    padded = torch.full((rows * height, columns * COLUMNS), NO_PAIR)
    padded[:n, :n] = turns
    place = padded.reshape(rows, height, columns, COLUMNS).transpose(1, 2).contiguous()
    tile = (COLUMNS * torch.arange(columns)).repeat(rows, 1)
    owner = torch.tensor([[height * row, 0, n, 0] for row in range(rows)])
    count = torch.full((rows,), columns)
    whole = [t.to(DEVICE, torch.int32) for t in (owner, tile, count)]
    return PairTiles(whole[0], place.to(DEVICE), whole[1], whole[2], columns, height), turns.double()


def halves(x: Tensor, products: int) -> tuple[Tensor, Tensor]:
    """What `far.halve` makes of x, in plain torch."""
    high = x.half()
    return high, (x - high.float()).half() if products == 3 else high


@pytest.mark.parametrize(("products", "bar"), [(1, 2e-3), (3, 5e-6)])
@pytest.mark.parametrize("rank", [16, 32])
def test_sweeps(rank: int, products: int, bar: float) -> None:
    """Every kernel of the far field against sums over [n, n] in float64."""
    rng = np.random.default_rng([32, rank, products])
    n, width, height = 41, 16, 128 // rank
    tiles, turns = made_tiles(n, height, rng)
    h, g = (torch.from_numpy(rng.normal(size=(n, width))).float() for _ in range(2))
    k = torch.arange(rank, dtype=torch.float64)
    c = torch.from_numpy(rng.normal(size=(rank, width))) / (1.0 + k[:, None]) ** 2
    there = (turns < 1.0)[..., None]
    cosines = torch.where(there, torch.cos(2 * torch.pi * k * turns[..., None]), 0.0)
    sines = torch.where(there, -2 * torch.pi * k * torch.sin(2 * torch.pi * k * turns[..., None]), 0.0)
    weight = torch.einsum("ijk,kf->ijf", cosines, c)
    messages = torch.einsum("ijf,jf->if", weight, h.double())
    gradients = torch.einsum("ijf,jf->if", weight, g.double())
    pulls = torch.einsum("ijk,kf,if,jf->ij", sines, c, g.double(), h.double())

    device = [x.to(DEVICE) for x in (*halves(h, products), g, *halves(g, products), c.float(), c.float())]
    orders = (-2 * torch.pi * k).float().to(DEVICE)
    out, gh = (torch.ones(n, width, device=DEVICE) for _ in range(2))
    pull = torch.ones_like(tiles.place)
    constants = {"F": width, "R": rank, "PRODUCTS": products, "ROWS": height, "COLUMNS": COLUMNS, "num_warps": 4}
    placed = (tiles.rows, tiles.place, tiles.tile, tiles.count)
    grid = (len(tiles.rows),)
    far.far_messages[grid](*device[:2], device[5], *placed, out, tiles.capacity, 0, **constants)
    far.far_gradients[grid](
        *device, orders, *placed, gh, pull, tiles.capacity, 0, FEATURES=True, ADD=True, **constants
    )  # fmt: skip
    found = dense(tiles, pull - 1.0, n)
    for name, a, b in (("messages", out - 1.0, messages), ("gradients", gh - 1.0, gradients), ("pulls", found, pulls)):
        assert float((a.cpu().double() - b).norm() / b.norm()) < bar, name


@pytest.mark.parametrize(("products", "bar"), [(1, 2e-3), (3, 5e-6)])
def test_sweeps_of_gathered_rows(products: int, bar: float) -> None:
    """Rows of 0 to 37 neighbors, more than a product takes, against sums over [n, n] in float64."""
    rng = np.random.default_rng([39, products])
    n, width, rank, capacity, first = 41, 16, 32, 64, 3
    listed = np.triu(rng.random((n, n)) < np.linspace(0.0, 1.0, n), 1)
    listed |= listed.T
    turns = np.tril(rng.uniform(0.03, 0.47, (n, n)))
    turns = torch.from_numpy(turns + turns.T).float().double()
    direction = torch.from_numpy(rng.normal(size=(n, n, 3))).float()
    near, place = torch.zeros(n + first, capacity, dtype=torch.int32), torch.full((n + first, capacity), 0.3)
    toward, count = torch.ones(n + first, 3, capacity), torch.zeros(n + first, dtype=torch.int32)
    for i, row in enumerate(listed):
        (j,) = np.nonzero(row)
        near[first + i, : len(j)] = torch.from_numpy(j + first)
        place[first + i, : len(j)], toward[first + i, :, : len(j)] = turns[i, j].float(), direction[i, j].T
        count[first + i] = len(j)
    h, g = (torch.from_numpy(rng.normal(size=(n, width))).float() for _ in range(2))
    k = torch.arange(rank, dtype=torch.float64)
    c = torch.from_numpy(rng.normal(size=(rank, width))) / (1.0 + k[:, None]) ** 2
    there = torch.from_numpy(listed)[..., None]
    cosines = torch.where(there, torch.cos(2 * torch.pi * k * turns[..., None]), 0.0)
    sines = torch.where(there, -2 * torch.pi * k * torch.sin(2 * torch.pi * k * turns[..., None]), 0.0)
    weight = torch.einsum("ijk,kf->ijf", cosines, c)
    messages = torch.einsum("ijf,jf->if", weight, h.double())
    gradients = torch.einsum("ijf,jf->if", weight, g.double())
    pulls = torch.einsum("ijk,kf,if,jf->ij", sines, c, g.double(), h.double())
    expected = torch.einsum("ij,ijx->ix", pulls + pulls.T, direction.double())

    device = [x.to(DEVICE) for x in (*halves(h, products), g, *halves(g, products), *[c.float()] * 3)]
    lists = [x.to(DEVICE) for x in (near, place, toward, count)]
    orders = (-2 * torch.pi * k).float().to(DEVICE)
    out, gh = (torch.ones(n, width, device=DEVICE) for _ in range(2))
    forces = torch.ones(n + first, 3, device=DEVICE)
    constants = {"F": width, "R": rank, "PRODUCTS": products, "E": 16, "num_warps": 4}
    gathered.gathered_messages[(n,)](
        *device[:2], device[5], lists[0], lists[1], lists[3], out, capacity, first, **constants
    )  # fmt: skip
    gathered.gathered_gradients[(n,)](
        *device, orders, *lists, gh, forces, capacity, first, FEATURES=True, **constants
    )  # fmt: skip
    found = {"messages": (out - 1.0, messages), "gradients": (gh - 1.0, gradients),
             "forces": (forces[first:] - 1.0, expected)}  # fmt: skip
    for name, (a, b) in found.items():
        assert float((a.cpu().double() - b).norm() / b.norm()) < bar, name
    assert bool((forces[:first] == 1.0).all())


def test_numbers_beyond_16_bits_become_the_largest() -> None:
    x = torch.tensor([1.0, 1e6, -1e30, 3.0e-5, float("nan")], device=DEVICE)
    high, low = (torch.zeros(5, dtype=torch.float16, device=DEVICE) for _ in range(2))
    scale = torch.full((1,), 2.0, device=DEVICE)
    far.halve[(1,)](x, high, low, scale, 5, PRODUCTS=3, BLOCK=16, num_warps=1)
    assert high.cpu()[:3].tolist() == [2.0, 65504.0, -65504.0] and bool(high[4].isnan())
    assert float((high + low.float())[3]) == pytest.approx(6.0e-5, rel=1e-3)


VARIANTS = {
    "two blocks": (WIDE, 16),
    "one block": (replace(WIDE, blocks=1, features=20), 32),
    "no envelope at the cutoff": (replace(WIDE, basis_envelope="none", filter_envelope="none", filters=5), 32),
    "a backbone with tied blocks": (
        replace(WIDE, blocks=3, backbone=Backbone(rule="geometric", streams=2, mixing="sinkhorn", tied=True)), 16,
    ),
}  # fmt: skip


@pytest.mark.parametrize("middle", [None, 3.0])
@pytest.mark.parametrize(
    ("name", "precision", "bar"), [("two blocks", "mixed16", 2e-3), *((name, "fp32", 1e-5) for name in VARIANTS)]
)
def test_forces_are_those_of_the_split_filters(
    name: str, precision: str, bar: float, middle: float | None
) -> None:  # fmt: skip
    rng = np.random.default_rng([33, *name.encode()])
    hyper, rank = VARIANTS[name]
    model = network(hyper)
    layout = layout_of((10,), (1,))
    potential = schnet([model], layout, rng, excluded=True)
    split = split_of(model, rank=rank, middle=middle)
    x = walks(layout, rng)
    found = on_device(layout, [potential], x, {id(model): split}, precision)  # type: ignore[arg-type]
    sample = Sample(x.numpy(), potential.types[0].numpy(), potential.excluded[0])
    expected = torch.from_numpy(sample_forces(model, split.filters, sample))
    assert float((found.forces - expected).norm() / expected.norm()) < bar


def test_systems_with_different_networks_in_a_box() -> None:
    """One network of two systems, none in the next, another behind it: tiles of either begin where its beads do."""
    rng = np.random.default_rng(34)
    layout = layout_of((5, 4, 3, 6), (1, 1, 1, 1))
    first, second = network(WIDE, seed=1), network(replace(WIDE, cutoff=9.0, filters=40), seed=2)
    potential = schnet([first, first, None, second], layout, rng)
    x = torch.from_numpy(rng.uniform(-15, 15, (layout.n_beads, 3)))
    box = (23.0, 25.0, 24.0)
    splits = {id(first): split_of(first), id(second): split_of(second, 4.0, 32, middle=3.2)}
    found = on_device(layout, [potential], x, splits, "fp32", box=box)
    energy, forces = errors(found, reference(layout, potential, x, box))
    assert energy < 1e-4 and forces < 1e-3


def test_conforms() -> None:
    """Gradients, symmetries, bits in any batch, no neighbors, all neighbors, the cutoff: the kit's own checks."""
    rng = np.random.default_rng(35)
    layout = layout_of((4,), (2,))
    model = network(replace(WIDE, blocks=1, output=()))
    potential = schnet([model], layout, rng)
    splits = {id(model): split_of(model, 3.0, 32, middle=2.0)}

    class OnDevice(SchNetPotential):
        def energy_and_forces(self, positions, layout, pairs):  # type: ignore[no-untyped-def]
            forces = DeviceForces(layout, [potential], splits, "fp32", 0.0, None, DEVICE, TILES)
            return DevicePotential(forces).energy_and_forces(positions, layout, pairs)

    there = OnDevice("far", [model], [t.numpy() for t in potential.types], potential.excluded)
    check_potential(there, layout, walks(layout, rng), budget=BUDGETS["fp32"])


def test_steps_have_the_same_bits_however_they_are_grouped() -> None:
    rng = np.random.default_rng(36)
    layout = layout_of((9,), (2,))
    model = network(replace(WIDE, blocks=1, output=()))
    potential = schnet([model], layout, rng)
    x = walks(layout, rng)
    ends = []
    for part, blocks in ((layout, (3,)), (layout, (1, 2)), (Layout(layout.systems, (1,)), (3,))):
        state = State.at(part, x[: part.n_beads], 300.0)
        carrier = CudaPropagator(
            part, [potential], Dynamics(LangevinMiddle(0.004, 1.0), 7, 0.5), None,
            tables={id(model): split_of(model, middle=3.0)}, precision="mixed16", device=DEVICE, tiles=TILES,
        )  # fmt: skip
        carrier.evaluate(state)
        for steps in blocks:
            assert (carrier.advance(state, steps) == -1).all()
        ends.append(state.positions)
    assert torch.equal(ends[0], ends[1])
    assert torch.equal(ends[0][:9], ends[2])


def test_what_does_not_fit_is_refused() -> None:
    rng = np.random.default_rng(37)
    layout = layout_of((3,), (1,))
    model = network(WIDE)
    potential = schnet([model], layout, rng)
    with pytest.raises(InputError, match="products in 16 bits"):
        on_device(layout, [potential], walks(layout, rng), {id(model): split_of(model)}, "fp64")
    wide = network(replace(WIDE, filters=130))
    potential = schnet([wide], layout, rng)
    with pytest.raises(InputError, match="hold 128 filters, and this network has 130; write `filters: auto`"):
        on_device(layout, [potential], walks(layout, rng), {id(wide): split_of(wide)}, "fp32")


def test_tiles_that_overflow_are_made_anew_and_change_nothing() -> None:
    """Columns are dropped where there is no room; whoever asks for them meanwhile reads of what is there."""
    rng = np.random.default_rng(38)
    layout = layout_of((34,), (1,))
    model = network(replace(WIDE, blocks=1, output=()))
    potential = schnet([model], layout, rng)
    splits = {id(model): split_of(model)}
    x = torch.from_numpy(rng.uniform(-6.0, 6.0, (34, 3)))
    expected = on_device(layout, [potential], x, splits, "fp32")
    usual, tile_lists.FIRST_TILES = tile_lists.FIRST_TILES, 1
    try:
        found = on_device(layout, [potential], x, splits, "fp32")
    finally:
        tile_lists.FIRST_TILES = usual
    assert torch.equal(found.forces, expected.forces) and torch.equal(found.energy, expected.energy)


def test_lists_that_are_made_anew_between_impulses_are_there_at_the_next() -> None:
    """With a prior's list, beads that have moved are noted in a step without networks, and once only."""
    rng = np.random.default_rng(37)
    layout = layout_of((COLUMNS + 6,), (1,))
    model = network(replace(WIDE, blocks=1))
    terms = [schnet([model], layout, rng), *build_potential([toy(volume_term(1, 6.0))], layout).terms]
    forces = DeviceForces(layout, terms, {id(model): split_of(model)}, "fp32", 1.0, None, DEVICE, TILES)
    (lists,) = forces._far
    assert lists is not None
    line = torch.arange(layout.n_beads)[:, None] * torch.tensor([8.0, 0.0, 0.0])
    found = []
    for x in (line, torch.from_numpy(rng.uniform(-6.0, 6.0, (layout.n_beads, 3)))):
        forces.x.copy_(x)
        for times in (0, 0):  # the second has nothing to note
            forces.launch(times)
        lists.place()
        found.append(int(lists.tiles.count.sum()))
    assert found[0] < found[1] == 2 * len(lists.tiles.rows)
