"""Filter tables: exact at the knots, as fine as asked for, refused where that cannot be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from mdflash.errors import ForceFieldError
from mdflash.forcefields.networks import load_schnet
from mdflash.importers.mlcg import import_mlcg
from mdflash.potentials.schnet.network import ACTIVATIONS
from mdflash.potentials.schnet.tables import (
    Sample,
    filter_tables,
    filter_values,
    force_error,
    random_sample,
    tabulate,
)
from tests.potentials.random_schnet import random_schnet

SMOOTH = sorted(set(ACTIVATIONS) - {"relu", "elu"})  # elu has a jump in its second derivative


@pytest.mark.parametrize("basis", ["gaussian", "expnormal"])
@pytest.mark.parametrize("activation", SMOOTH)
def test_slopes_are_the_derivative(basis: str, activation: str) -> None:
    network = random_schnet(1, basis=basis, activation=activation)
    d = np.random.default_rng(1).uniform(0.5, 8.9, 50)
    h = 1e-4
    _, slope = filter_values(network, 1, d)
    values = {k: filter_values(network, 1, d + k * h)[0] for k in (-2, -1, 1, 2)}
    found = (8 * (values[1] - values[-1]) - (values[2] - values[-2])) / (12 * h)
    assert np.abs(found - slope).max() <= 1e-9 * np.abs(slope).max()


def test_tables_pass_through_the_knots_with_the_right_slope() -> None:
    network = random_schnet(2)
    tables = tabulate(network, 64)
    knots = np.arange(64) * (9.0 / 64)
    for block in range(2):
        d = torch.from_numpy(knots).requires_grad_()
        w = tables.filters(block, d)
        value, slope = filter_values(network, block, knots)
        assert np.abs(w.detach().numpy() - value).max() <= 1e-14
        for channel in (0, 17, 39):
            (found,) = torch.autograd.grad(w[:, channel].sum(), d, retain_graph=True)
            assert np.abs(found.numpy() - slope[:, channel]).max() <= 1e-11


def test_the_error_falls_with_the_third_power_of_the_interval() -> None:
    network, sample = random_schnet(3), random_sample(random_schnet(3), seed=5)
    coarse, fine = (force_error(network, tabulate(network, k), sample) for k in (512, 2048))
    assert 30 < coarse / fine < 300  # 4^3 = 64 in the limit; 4^4 where values dominate


@pytest.mark.parametrize("activation", [*SMOOTH, "elu"])
def test_a_tolerance_is_met_on_conformations_it_was_not_made_for(activation: str) -> None:
    network = random_schnet(4, activation=activation)
    tables = filter_tables(network, 1e-6)
    assert tables.force_error <= 1e-6
    assert force_error(network, tables, random_sample(network, seed=77)) <= 4e-6


def test_a_single_precision_network_gets_the_tables_of_its_weights() -> None:
    network = random_schnet(6).float()
    found = filter_tables(network, 1e-5)
    assert network.embedding.dtype == torch.float32
    assert np.array_equal(found.rows, filter_tables(network.double(), 1e-5).rows)


def test_a_filter_with_kinks_is_refused() -> None:
    network = random_schnet(5, activation="relu")
    with pytest.raises(ForceFieldError, match=r"cannot be tabulated: with 65536 intervals .* 'relu'.*`filters: exact`"):
        filter_tables(network, 1e-9)


def test_beads_without_neighbors_need_no_fine_table() -> None:
    network = random_schnet(7)
    x = np.arange(4)[:, None] * np.array([[50.0, 0.0, 0.0]])
    far = Sample(x, np.zeros(4, np.int64), np.zeros((0, 2), np.int64))
    assert filter_tables(network, 1e-6, [far]).force_error == 0.0


@pytest.mark.parametrize(
    ("model", "data"),
    [
        ("1enh_5b_random_schnet_exp_schnet.pt", "1enh_5b_random_schnet_exp.npz"),
        ("schnet_cln_ca_specialized_model_and_config.pt", "cln_ca_schnet.npz"),
    ],
)
def test_real_models_meet_the_tolerance_on_real_frames(model: str, data: str, reference_dir: Path) -> None:
    """The grid is chosen on a random chain; what counts is the error on real conformations."""
    network = load_schnet(import_mlcg([reference_dir / "mlcg" / model], None, "model").networks[0])
    with np.load(reference_dir / data) as npz:
        frames, types = npz["positions"], npz["types"]
    tables = filter_tables(network, 5e-7)
    for frame in frames[[0, 5]]:
        assert force_error(network, tables, Sample(frame, types, np.zeros((0, 2), np.int64))) <= 1e-6
