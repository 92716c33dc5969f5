"""The SchNet kernels against the torch reference: tables and exact filters, every precision and activation."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from mdflash.core.state import Layout
from mdflash.errors import InputError
from mdflash.potentials.backbones import RULES
from mdflash.potentials.backbones.backbone import Backbone
from mdflash.potentials.schnet.network import ACTIVATIONS, Hyperparameters
from mdflash.potentials.schnet.tables import Sample, sample_forces, tabulate
from tests.gpu.batches import SMALL, errors, layout_of, network, on_device, reference, schnet, tables_of, walks

VARIANTS = {
    "small": SMALL,
    "one-block": replace(SMALL, blocks=1),
    "no-output-layer": replace(SMALL, output=(), output_bias=True),
    "gaussian-bias": replace(SMALL, basis="gaussian", filter_bias=True, blocks=3),
    "lower": replace(SMALL, lower=1.0, basis_lower=0.5, filter_cutoff=7.0),
    "bare-basis": replace(SMALL, basis_envelope="none", features=20, filters=5),
} | {name: replace(SMALL, activation=name, blocks=1) for name in sorted(ACTIVATIONS)}
BACKBONES = {
    name: Backbone(rule=name, streams=3 if rule.streamed else 1, mixing="identity") for name, rule in RULES.items()
} | {"tied": Backbone(rule="geometric", streams=2, mixing="sinkhorn", tied=True, accumulate=True)}


@pytest.mark.parametrize("name", VARIANTS)
def test_exact_filters(name: str) -> None:
    rng = np.random.default_rng([21, *name.encode()])
    layout = layout_of((7,), (2,))
    potential = schnet([network(VARIANTS[name])], layout, rng)
    x = walks(layout, rng)
    energy, forces = errors(on_device(layout, [potential], x, None), reference(layout, potential, x))
    assert energy < 1e-9 and forces < 1e-9  # torch's softplus is linear from 20 on


@pytest.mark.parametrize("name", ["small", "gaussian-bias", "bare-basis"])
def test_tables_are_interpolated_exactly(name: str) -> None:
    """Not only close to the network: the very numbers that the tables' own interpolation gives."""
    rng = np.random.default_rng(22)
    model = network(VARIANTS[name])
    tables = tabulate(model, 256)
    layout = layout_of((9,), (1,))
    potential = schnet([model], layout, rng)
    x = walks(layout, rng)
    found = on_device(layout, [potential], x, {id(model): tables})
    sample = Sample(x.numpy(), potential.types[0].numpy(), np.zeros((0, 2), np.int64))
    expected = torch.from_numpy(sample_forces(model, tables.filters, sample))
    assert float((found.forces - expected).norm() / expected.norm()) < 1e-12


@pytest.mark.parametrize(
    ("precision", "exact", "bar"),
    [("fp64", False, 1e-6), ("fp32", False, 1e-5), ("fp32", True, 1e-5), ("mixed16", False, 2e-3)],
)
def test_precisions(precision: str, exact: bool, bar: float) -> None:
    rng = np.random.default_rng(23)
    layout = layout_of((12,), (2,))
    potential = schnet([network()], layout, rng, excluded=True)
    x = walks(layout, rng)
    tables = None if exact else tables_of(potential, 2048)
    energy, forces = errors(
        on_device(layout, [potential], x, tables, precision),  # type: ignore[arg-type]
        reference(layout, potential, x),
    )
    assert energy < bar and forces < bar


@pytest.mark.parametrize("rule", BACKBONES)
def test_backbones(rule: str) -> None:
    """Every residual rule, streams and tied blocks among them; features that fill no tile."""
    rng = np.random.default_rng([29, *rule.encode()])
    layout = layout_of((6,), (2,))
    model = network(replace(SMALL, blocks=3, backbone=BACKBONES[rule]))
    potential = schnet([model], layout, rng)
    x = walks(layout, rng)
    energy, forces = errors(on_device(layout, [potential], x, None), reference(layout, potential, x))
    assert energy < 1e-9 and forces < 1e-9
    tables = tables_of(potential, 2048)
    energy, forces = errors(on_device(layout, [potential], x, tables, "fp32"), reference(layout, potential, x))
    assert energy < 1e-5 and forces < 3e-5


def test_systems_with_different_networks_or_none_in_a_box() -> None:
    rng = np.random.default_rng(24)
    layout = layout_of((6, 5, 4, 7), (2, 1, 1, 1))
    first, second = network(seed=1), network(replace(SMALL, cutoff=7.0, filters=40), seed=2)
    potential = schnet([first, first, None, second], layout, rng)
    x = torch.from_numpy(rng.uniform(-15, 15, (layout.n_beads, 3)))
    box = (19.0, 21.0, 20.0)
    energy, forces = errors(
        on_device(layout, [potential], x, tables_of(potential, 4096), box=box), reference(layout, potential, x, box)
    )
    assert energy < 1e-8 and forces < 1e-7


def test_a_replica_has_the_same_bits_in_any_batch() -> None:
    rng = np.random.default_rng(25)
    layout = layout_of((6,), (3,))
    model = network()
    potential = schnet([model], layout, rng)
    tables = tables_of(potential, 256)
    x = walks(layout, rng)
    many = on_device(layout, [potential], x, tables, "fp32")
    for r in (0, 2):
        one = on_device(Layout(layout.systems, (1,)), [potential], x[layout.rows(r)], tables, "fp32")
        assert torch.equal(one.forces, many.forces[layout.rows(r)])
        assert torch.equal(one.energy, many.energy[r : r + 1])


@pytest.mark.parametrize("exact", [False, True])
def test_no_neighbors_and_beads_on_top_of_each_other(exact: bool) -> None:
    rng = np.random.default_rng(26)
    layout = layout_of((3,), (2,))
    potential = schnet([network()], layout, rng)
    x = torch.zeros(6, 3, dtype=torch.float64)
    x[:3, 0] = torch.arange(3) * 100.0
    x[5] = torch.tensor([1.0, 2.0, 3.0])  # beads 3 and 4 coincide
    found = on_device(layout, [potential], x, None if exact else tables_of(potential, 256))
    assert torch.isfinite(found.energy).all() and torch.isfinite(found.forces).all()
    assert not found.forces[:3].any()
    assert float(found.forces[3:].sum(dim=0).abs().max()) < 1e-10 * float(found.forces.abs().max())


@pytest.mark.parametrize("exact", [False, True])
def test_forces_are_the_gradient_of_the_energy(exact: bool) -> None:
    """The derivatives of envelope and basis included; 256 intervals, so that the table is far from the network."""
    rng = np.random.default_rng(27)
    layout = layout_of((4,), (1,))
    potential = schnet([network()], layout, rng)
    tables = None if exact else tables_of(potential, 256)
    x = walks(layout, rng)
    forces = on_device(layout, [potential], x, tables).forces
    for bead, k in ((0, 0), (3, 2)):
        slope, h = 0.0, 1e-4
        for move, weight in ((-2, 1), (-1, -8), (1, 8), (2, -1)):
            moved = x.clone()
            moved[bead, k] += move * h
            slope += weight * float(on_device(layout, [potential], moved, tables).energy) / (12 * h)
        assert abs(-slope - float(forces[bead, k])) < 1e-6 * float(forces.abs().max())


def test_networks_that_do_not_fit_are_refused() -> None:
    rng = np.random.default_rng(28)
    layout = layout_of((3,), (1,))
    two_hidden = schnet([network(replace(SMALL, filter_hidden=(9, 9)))], layout, rng)
    with pytest.raises(InputError, match="one hidden layer"):
        on_device(layout, [two_hidden], walks(layout, rng), None)
    potential = schnet([network()], layout, rng)
    with pytest.raises(InputError, match="300 intervals: the GPU kernels take powers of two"):
        on_device(layout, [potential], walks(layout, rng), tables_of(potential, 300), "fp32")
    wide = schnet([network(Hyperparameters(cutoff=5.0, types=4, features=2048))], layout, rng)
    with pytest.raises(InputError, match="2048 wide"):
        on_device(layout, [wide], walks(layout, rng), {})
