"""Programs that run whole blocks of a small molecule, against plain torch and its integrators."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from mdflash.core.state import Layout, State
from mdflash.core.types import Precision
from mdflash.engine.blocks.plain import PlainPropagator
from mdflash.engine.gpu.whole import WholePropagator, WholeShape
from mdflash.engine.gpu.whole_fits import why_not_whole
from mdflash.engine.settings import Dynamics
from mdflash.forcefields.build import build_potential
from mdflash.forcefields.model import Term
from mdflash.integrators import INTEGRATORS
from mdflash.integrators.base import Integrator
from mdflash.integrators.langevin import LangevinMiddle
from mdflash.integrators.verlet import Verlet
from mdflash.potentials.backbones.backbone import Backbone
from mdflash.potentials.base import EnergyForces, Pairs, Potential, SumPotential
from mdflash.potentials.bias.bias import Bias
from mdflash.potentials.bias.grid_bias import GridBias
from mdflash.potentials.bias.surface import Axis
from mdflash.potentials.bias.term_energy import TermEnergy
from mdflash.potentials.forms import FORMS
from mdflash.potentials.priors.term import PriorTerm
from mdflash.potentials.schnet.network import Hyperparameters
from mdflash.potentials.schnet.potential import SchNetPotential
from mdflash.potentials.schnet.tables import FilterTables
from mdflash.potentials.variables.distance import Distance
from mdflash.potentials.variables.radius_of_gyration import RadiusOfGyration
from tests.gpu.batches import DEVICE, SMALL, layout_of, network, reference, schnet, tables_of, walks
from tests.helpers import go_helix, helix, toy, volume_term

SCHEMES = [scheme.from_settings(0.002, 20.0) for scheme in INTEGRATORS.values()]
MIDDLE = Dynamics(LangevinMiddle(0.004, 1.0), 7)
ONE_BLOCK = replace(SMALL, filters=8, blocks=1, output=(4,))
NETWORKS = {
    "two blocks": SMALL,
    "no hidden output": replace(SMALL, filters=20, output=(), activation="silu"),
}


class OnTables(Potential):
    """Networks in plain torch, with what tables say in place of their filters: forces by autograd, float64."""

    def __init__(self, net: SchNetPotential, tables: Mapping[int, FilterTables]) -> None:
        self.name, self.cutoff, self._net, self._tables = net.name, net.cutoff, net, tables

    def energy_and_forces(self, positions: Tensor, layout: Layout, pairs: Pairs | None) -> EnergyForces:
        energy, forces = torch.zeros(layout.n_replicas, dtype=torch.float64), torch.zeros_like(positions)
        for r, s in enumerate(layout.system_of_replica):
            model = self._net.networks[s]
            assert model is not None
            x = positions[layout.rows(r)].clone().requires_grad_()
            i, j = torch.triu_indices(len(x), len(x), offset=1)
            d = torch.linalg.vector_norm(x[j] - x[i], dim=-1)
            silent = torch.zeros(len(x), len(x), dtype=torch.bool)
            first, second = torch.from_numpy(np.asarray(self._net.excluded[s], np.int64).reshape(-1, 2)).T
            silent[first, second] = silent[second, first] = True
            near = (d < model.hyper.cutoff) & ~silent[i, j]
            filters = [self._tables[id(model)].filters(b, d[near]) for b in range(len(model.blocks))]
            e = model.energies(filters, self._net.types[s], i[near], j[near]).sum()
            (slope,) = torch.autograd.grad(e, x)
            energy[r], forces[layout.rows(r)] = e.detach(), -slope
        return EnergyForces(energy, forces)


def batch_of(
    replicas: Sequence[int], hyper: Hyperparameters = SMALL, beads: int = 6
) -> tuple[Layout, list[Potential], SchNetPotential, Tensor]:
    """Gō helices with all their priors and a network that leaves out bonded beads; replicas by number."""
    system, forcefield = go_helix(beads)
    layout = Layout((system,), (len(replicas),), tuple(replicas))
    net = schnet([network(hyper, seed=3)], layout, np.random.default_rng(11), excluded=True)
    x = np.concatenate([helix(beads) + 0.1 * np.random.default_rng(r).normal(size=(beads, 3)) for r in replicas])
    return layout, [net, *build_potential([forcefield], layout).terms], net, torch.from_numpy(x)


def start(layout: Layout, x: Tensor) -> State:
    state = State.at(layout, x, [300.0 + 10 * r for r in layout.replica_ids])
    for r, number in enumerate(layout.replica_ids):
        v = np.random.default_rng(number).normal(size=(len(x) // layout.n_replicas, 3))
        state.velocities[layout.rows(r)] = torch.from_numpy(v)
    state.step = 4_294_967_290  # crosses 2^32
    return state


def both(
    layout: Layout, terms: Sequence[Potential], net: SchNetPotential, dynamics: Dynamics, precision: Precision = "fp64"
) -> tuple[WholePropagator, PlainPropagator]:
    """A program for each replica, and the reference with the same tables."""
    tables = tables_of(net, 256)
    assert why_not_whole(layout, terms, tables, dynamics, None) is None
    plain = SumPotential([OnTables(net, tables), *(t for t in terms if t is not net)])
    return (
        WholePropagator(layout, terms, dynamics, tables=tables, precision=precision, device=DEVICE),
        PlainPropagator(layout, plain, dynamics, None),
    )


def same(a: State, b: State, tolerance: float) -> None:
    for name in ("positions", "velocities", "forces", "energy"):
        torch.testing.assert_close(getattr(a, name), getattr(b, name), rtol=tolerance, atol=tolerance)
    assert a.step == b.step


@pytest.mark.parametrize("name", NETWORKS)
def test_steps_are_those_of_plain_torch(name: str) -> None:
    layout, terms, net, x = batch_of((5, 3), NETWORKS[name])
    whole, plain = both(layout, terms, net, MIDDLE)
    mine, theirs = start(layout, x), start(layout, x)
    whole.evaluate(mine)
    plain.evaluate(theirs)
    same(mine, theirs, 1e-10)
    assert whole.advance(mine, 3).tolist() == plain.advance(theirs, 3).tolist() == [-1, -1]
    same(mine, theirs, 1e-9)


@pytest.mark.parametrize("remove_com", [False, True], ids=["drift", "com"])
@pytest.mark.parametrize("integrator", SCHEMES, ids=lambda i: i.name)
def test_every_integrator(integrator: Integrator, remove_com: bool) -> None:
    layout, terms, net, x = batch_of((2,), ONE_BLOCK, beads=5)
    whole, plain = both(layout, terms, net, Dynamics(integrator, 2026, remove_com_motion=remove_com))
    mine, theirs = start(layout, x), start(layout, x)
    whole.evaluate(mine)
    plain.evaluate(theirs)
    whole.advance(mine, 2)
    plain.advance(theirs, 2)
    same(mine, theirs, 1e-9)


def test_two_systems_with_every_form_of_near_pairs() -> None:
    """Terms that act in one system only; more beads than a tile has, and a lonely one."""
    layout = layout_of((20, 5), (1, 2))
    rng = np.random.default_rng(13)
    net = schnet([network(seed=1), network(replace(SMALL, blocks=1), seed=2)], layout, rng, excluded=True)
    every = [volume_term(1, 6.0, exclude_bonds=1)]
    for name, form in FORMS.items():
        if form.on == "pair" and name != "excluded_volume":
            columns = {p: np.full(1, {"Å": 2.0, "1/Å": 0.1}.get(unit, 1.0)) for p, unit in form.scalars.items()}
            every.append(Term(name, name, "neighbors", np.zeros((1, 2), int), columns, cutoff=9.0, exclude_bonds=1))
    terms = [net, *build_potential([toy(*every), toy(volume_term(1, 4.0))], layout).terms]
    x = walks(layout, rng)
    x[3] += 100.0
    whole, plain = both(layout, terms, net, MIDDLE)
    mine, theirs = State.at(layout, x, 300.0), State.at(layout, x, 300.0)
    whole.evaluate(mine)
    plain.evaluate(theirs)
    same(mine, theirs, 1e-9)
    assert mine.forces[3].abs().max() == 0.0


@pytest.mark.parametrize("shape", [WholeShape(), WholeShape(16, 16, 4, 16, (32, 32, 16), prior_rows=32)])
def test_a_molecule_as_large_as_programs_take(shape: WholeShape) -> None:
    layout = layout_of((64,), (1,))
    rng = np.random.default_rng(14)
    net = schnet([network(replace(SMALL, blocks=2))], layout, rng, excluded=True)
    terms = [net, *build_potential([toy(volume_term(1, 6.0))], layout).terms]
    tables, x = tables_of(net, 64), walks(layout, rng)
    whole = WholePropagator(layout, terms, MIDDLE, tables=tables, precision="fp64", device=DEVICE, shape=shape)
    state = State.at(layout, x, 300.0)
    whole.evaluate(state)
    expected = reference(layout, SumPotential([OnTables(net, tables), *terms[1:]]), x)
    torch.testing.assert_close(state.forces, expected.forces, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(state.energy, expected.energy, rtol=1e-10, atol=1e-9)


@pytest.mark.parametrize(("precision", "bar"), [("fp32", 1e-5), ("mixed16", 2e-3)])
def test_errors_in_other_arithmetics(precision: Precision, bar: float) -> None:
    layout, _, net, x = batch_of((0, 1))
    tables = tables_of(net, 256)
    state = State.at(layout, x + 300.0, 300.0)
    WholePropagator(layout, [net], MIDDLE, tables=tables, precision=precision, device=DEVICE).evaluate(state)
    expected = OnTables(net, tables).energy_and_forces(x + 300.0, layout, None)
    assert float((state.forces - expected.forces).norm() / expected.forces.norm()) < bar
    torch.testing.assert_close(state.energy, expected.energy, rtol=bar, atol=bar)


def test_neither_grouping_of_steps_nor_batch_changes_a_bit() -> None:
    ends = []
    for numbers, blocks in (((5, 3), (3,)), ((5, 3), (1, 2)), ((3,), (2, 1))):
        layout, terms, net, x = batch_of(numbers, ONE_BLOCK)
        whole = both(layout, terms, net, MIDDLE, "fp32")[0]
        state = start(layout, x)
        whole.evaluate(state)
        for steps in blocks:
            whole.advance(state, steps)
        ends.append(state)
    for name in ("positions", "velocities", "forces", "energy"):
        first, second, alone = (getattr(state, name) for state in ends)
        assert torch.equal(first, second) and torch.equal(first[-len(alone) :], alone)


def test_a_replica_without_finite_energy_stands_still() -> None:
    layout, terms, net, x = batch_of((0, 1, 2), ONE_BLOCK)
    whole, plain = both(layout, terms, net, MIDDLE)
    mine, theirs = start(layout, x), start(layout, x)
    for state, propagator in ((mine, whole), (theirs, plain)):
        propagator.evaluate(state)
        state.velocities[7] = 1e200
    failed = whole.advance(mine, 3)
    assert failed.tolist() == [-1, mine.step - 3, -1]
    plain.advance(theirs, 3)
    for r in (0, 2):
        rows = layout.rows(r)
        torch.testing.assert_close(mine.positions[rows], theirs.positions[rows], rtol=1e-10, atol=1e-10)
    assert whole.advance(mine, 2)[1] == mine.step - 2  # it fails again at once
    assert not torch.isfinite(mine.energy[1]) and torch.isfinite(mine.energy[[0, 2]]).all()


def test_biases_act_inside_and_follow_what_they_become() -> None:
    """A window of each replica, a wall and a grid; parameters and heights change between blocks."""
    layout, terms, net, x = batch_of((4, 6), ONE_BLOCK)
    (system,) = layout.systems
    size = RadiusOfGyration(system, range(6))
    ends = Bias("ends", Distance(system, 0, 4), layout, 3.0, [9.0, 11.0])
    wall = Bias("wall", size, layout, 4.0, 3.0, form="upper-wall")
    grid = GridBias("grid", (Axis("size", size, 1.0, 8.0, 11),), layout)
    whole, plain = both(layout, [*terms, ends, wall, grid], net, MIDDLE)
    mine, theirs = start(layout, x), start(layout, x)
    whole.evaluate(mine)
    plain.evaluate(theirs)
    same(mine, theirs, 1e-9)
    grid.surfaces[...] = np.random.default_rng(5).normal(size=grid.surfaces.shape)
    for state, propagator in ((mine, whole), (theirs, plain)):
        propagator.evaluate(state)
        propagator.advance(state, 2)
    same(mine, theirs, 1e-9)
    alone, its_terms, its_net, y = batch_of((6,), ONE_BLOCK)
    single = Bias("ends", Distance(system, 0, 4), alone, 3.0, [11.0])
    its_wall = Bias("wall", size, alone, 4.0, 3.0, form="upper-wall")
    its_grid = GridBias("grid", (Axis("size", size, 1.0, 8.0, 11),), alone)
    its_grid.surfaces[...] = grid.surfaces
    one = both(alone, [*its_terms, single, its_wall, its_grid], its_net, MIDDLE)[0]
    state = start(alone, y)
    one.evaluate(state)
    one.advance(state, 2)
    assert torch.equal(state.positions, mine.positions[6:])


def test_energy_without_a_bath_stays() -> None:
    """Twenty steps of 1 fs: the sum of both energies moves far less than either."""
    layout, terms, net, x = batch_of((4,), ONE_BLOCK, beads=5)
    whole = both(layout, terms, net, Dynamics(Verlet(0.0005), 7), "fp32")[0]
    state = start(layout, x)
    whole.evaluate(state)
    totals, potentials = [], []
    for _ in range(10):
        whole.advance(state, 2)
        kinetic = 0.5 * (layout.masses[:, None] * state.velocities**2).sum() / 418.4
        totals.append(float(state.energy[0] + kinetic))
        potentials.append(float(state.energy[0]))
    assert np.ptp(totals) < 0.01 * np.ptp(potentials)


def test_who_is_not_taken_is_told_why() -> None:
    layout, terms, net, _ = batch_of((0,))
    tables = tables_of(net, 64)

    def reason(*, more: Sequence[Potential] = (), dynamics: Dynamics = MIDDLE, box: bool = False) -> str | None:
        edges = (50.0, 50.0, 50.0) if box else None
        return why_not_whole(layout, [*terms, *more], tables, dynamics, edges)

    assert reason() is None
    assert reason(box=True) == "the box is periodic"
    assert reason(dynamics=Dynamics(LangevinMiddle(0.004, 1.0), 7, network_every=2)) == (
        "networks are impulses (`network_every`)"
    )
    pull = Bias("pull", Distance(layout.systems[0], 0, 4), layout, 3.0, [5.0])
    assert reason(more=[pull]) is None
    first = next(term for term in terms if isinstance(term, PriorTerm))
    scale = Bias("half", TermEnergy(layout.systems[0], first), layout, -0.5, form="linear")
    assert reason(more=[scale]) == "'half' scales a term"
    two = layout_of((4, 5), (1, 1))
    nets = schnet([network(), network()], two, np.random.default_rng(0))
    held = Bias("held", Distance(two.systems[0], 0, 3), two, 3.0, 5.0)
    assert "several systems" in str(why_not_whole(two, [nets, held], tables_of(nets, 64), MIDDLE, None))
    assert why_not_whole(layout, terms, None, MIDDLE, None) == "filters are exact"
    assert "no network" in str(why_not_whole(layout, terms[1:], {}, MIDDLE, None))
    large = layout_of((65,), (1,))
    big = schnet([network()], large, np.random.default_rng(0))
    assert why_not_whole(large, [big], tables_of(big, 64), MIDDLE, None) == "'m65' has 65 beads, more than 64"
    joined = schnet([network(replace(SMALL, backbone=Backbone(rule="mgt")))], layout, np.random.default_rng(0))
    assert "residual rule" in str(why_not_whole(layout, [joined], tables_of(joined, 64), MIDDLE, None))
    wide = schnet([network(replace(SMALL, features=300))], layout, np.random.default_rng(0))
    assert "300 wide" in str(why_not_whole(layout, [wide], tables_of(wide, 64), MIDDLE, None))
