"""Filters in two parts: nothing jumps where they meet, forces are right, and who may ask for them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from mdflash.core.state import Layout, State
from mdflash.core.types import IN_PARTS, FilterKind
from mdflash.engine.choose import choose_propagator
from mdflash.engine.settings import Backend, Dynamics
from mdflash.errors import ForceFieldError, InputError
from mdflash.integrators.langevin import LangevinMiddle
from mdflash.potentials.schnet.network import Hyperparameters, SchNet
from mdflash.potentials.schnet.potential import SchNetPotential
from mdflash.potentials.schnet.split import SplitFilters, fit_far_field, split_filters
from mdflash.potentials.schnet.tables import (
    FilterTables,
    exact_filters,
    filter_values,
    force_error,
    random_sample,
    tabulate,
)
from tests.helpers import beads, walk

HYPER = Hyperparameters(cutoff=12.0, types=4, features=8, filters=10, blocks=2, basis_size=24, filter_hidden=(12,),
                        output=(6,))  # fmt: skip
HYPERS = {
    "cosine": HYPER,
    "quintic": replace(HYPER, filter_envelope="quintic"),
    "none": replace(HYPER, basis_envelope="none", filter_envelope="none"),
}


def network(hyper: Hyperparameters, seed: int) -> SchNet:
    torch.manual_seed(seed)
    return SchNet(hyper).double().requires_grad_(False)


@pytest.mark.parametrize("name", HYPERS)
@pytest.mark.parametrize("rank", [16, 32])
def test_value_and_slope_are_the_exact_ones_at_both_ends(name: str, rank: int) -> None:
    rng = np.random.default_rng([7, rank, *name.encode()])
    model, start = network(HYPERS[name], int(rng.integers(1000))), float(rng.uniform(3.0, 6.0))
    far = fit_far_field(model, start, rank)
    ends = np.array([start, 12.0 * (1.0 - 1e-12)])
    for block in range(2):
        w, dw = filter_values(model, block, ends)
        scale = np.abs(filter_values(model, block, np.linspace(start, 11.9, 50))[1]).max()
        d = torch.from_numpy(ends).requires_grad_()
        found = far.filters(block, d)
        np.testing.assert_allclose(found.detach().numpy(), w, rtol=0, atol=1e-9 * max(1.0, scale))
        for channel in (0, 9):
            (slope,) = torch.autograd.grad(found[:, channel].sum(), d, retain_graph=True)
            np.testing.assert_allclose(slope.numpy(), dw[:, channel], rtol=0, atol=1e-7 * max(1.0, scale))


def test_angles_grow_from_a_little_above_0_to_a_little_below_a_half_turn() -> None:
    far = fit_far_field(network(HYPER, 1), 4.0, 16)
    turns = far.turns(torch.linspace(4.0, 12.0, 5000, dtype=torch.float64))
    assert bool((turns.diff() > 0).all())
    assert 0.02 < float(turns[0]) < 0.05 and 0.45 < float(turns[-1]) < 0.48


@pytest.mark.parametrize("tolerance", [2e-4, 5e-6])
def test_forces_are_as_good_as_asked_for(tolerance: float) -> None:
    """On the chain they were chosen on, and on one that they have not seen."""
    model = network(HYPER, 2)
    chain = random_sample(model, seed=3, beads=40)
    split = split_filters(model, tolerance, (chain,))
    assert split.force_error <= tolerance
    assert split.near.cutoff == split.far.start and split.far.rank in (16, 32)
    assert force_error(model, split, chain) == pytest.approx(split.force_error)
    assert force_error(model, split, random_sample(model, seed=4, beads=40)) <= 3.0 * tolerance
    assert np.log2(split.scales) == pytest.approx(np.round(np.log2(split.scales)))


@pytest.mark.parametrize("tolerance", [2e-4, 5e-6])
def test_a_middle_field_ends_where_the_far_one_begins(tolerance: float) -> None:
    """There nothing jumps; forces are as good as without it, and no more pairs are left for the tables."""
    model = network(HYPER, 2)
    chain = random_sample(model, seed=3, beads=40)
    two, three = (split_filters(model, tolerance, (chain,), middle=middle) for middle in (0, 32))
    assert two.middle is None and three.middle is not None
    assert three.near.cutoff == three.middle.start < three.middle.cutoff == three.far.start
    assert three.near_fraction <= two.near_fraction
    assert force_error(model, three, chain) == pytest.approx(three.force_error) and three.force_error <= tolerance
    assert force_error(model, three, random_sample(model, seed=4, beads=40)) <= 3.0 * tolerance
    for end in (three.middle.start, three.far.start):
        d = torch.tensor([end - 1e-10, end + 1e-10], dtype=torch.float64).requires_grad_()
        w = three.filters(1, d)
        (slope,) = torch.autograd.grad(w[:, 3].sum(), d)
        exact, exact_slope = filter_values(model, 1, np.array([end]))
        np.testing.assert_allclose(w.detach().numpy(), exact.repeat(2, axis=0), rtol=0, atol=1e-6)
        np.testing.assert_allclose(slope.numpy(), exact_slope[0, 3].repeat(2), rtol=0, atol=1e-4)


def test_more_cosines_and_a_later_start_are_better() -> None:
    model = network(HYPER, 5)
    chain = random_sample(model, beads=30)
    errors = {}
    for start, rank in ((4.0, 12), (4.0, 24), (7.0, 12)):
        near = tabulate(model, 2048, start)
        split = SplitFilters(near, fit_far_field(model, start, rank), np.ones((2, 2)), 0.0, 0.0)
        errors[start, rank] = force_error(model, split, chain)
    assert errors[4.0, 24] < errors[4.0, 12] > errors[7.0, 12]


def test_a_table_may_end_before_the_cutoff() -> None:
    model = network(HYPER, 6)
    near: FilterTables = tabulate(model, 1024, 5.0)
    d = torch.linspace(0.5, 5.0, 77, dtype=torch.float64)
    assert near.cutoff == 5.0
    torch.testing.assert_close(near.filters(1, d), exact_filters(model)(1, d), rtol=0, atol=1e-7)


def test_filters_that_are_rough_everywhere_are_refused() -> None:
    rough = network(replace(HYPER, activation="relu"), 8)
    with pytest.raises(ForceFieldError, match=r"not smooth enough for `filters: split`.* write `filters: table`"):
        split_filters(rough, 1e-9, (random_sample(rough, beads=20),))


@pytest.mark.parametrize("filters", IN_PARTS)
def test_a_cpu_has_no_such_kernels(filters: FilterKind) -> None:
    model = network(HYPER, 9)
    layout = Layout((beads("m", 5),), (1,))
    potential = SchNetPotential("SchNet", [model], [np.zeros(5, int)], [np.zeros((0, 2), int)])
    x = torch.from_numpy(walk(5, np.random.default_rng(9)))
    with pytest.raises(InputError, match="for the kernels of a GPU") as caught:
        choose_propagator(
            layout, potential, State.at(layout, x, 300.0), Dynamics(LangevinMiddle(0.004, 1.0), 1),
            Backend(precision="fp32", filters=filters),
        )  # fmt: skip
    assert caught.value.key == "model.filters"
