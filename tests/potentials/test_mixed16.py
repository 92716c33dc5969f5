"""Filter tables in 16 bits: what they cost, and that they are still a potential."""

from __future__ import annotations

from pathlib import Path

import numba
import numpy as np
import pytest
import torch

from mdflash.core.state import Layout, State
from mdflash.engine.engine import Engine
from mdflash.engine.settings import Backend, Dynamics
from mdflash.forcefields.build import build_potential
from mdflash.importers.mlcg import import_mlcg
from mdflash.integrators.langevin import LangevinMiddle
from mdflash.potentials.schnet.arrays import RANGES
from mdflash.potentials.schnet.potential import SchNetPotential
from mdflash.potentials.schnet.tables import force_error, random_sample, tabulate
from mdflash.potentials.schnet.tabulated import FORCE_ERROR, FlashSchNet
from mdflash.testing import BUDGETS, check_potential
from tests.helpers import same_bits
from tests.potentials.random_schnet import random_batch, random_schnet
from tests.potentials.test_flash_schnet import _compact


def test_every_channel_is_rounded_to_a_fraction_of_its_largest_in_a_range() -> None:
    tables = tabulate(random_schnet(3), 128)
    whole, scales = tables.sixteen_bits()
    assert whole.dtype == np.int16 and np.abs(whole).max() == 32767
    assert scales.shape == (2, RANGES + 1, 3, 40)
    off = np.abs(tables.rounded().rows - tables.rows)
    for k in range(RANGES):
        mine = slice(4 * k, 4 * k + 4)
        largest = np.abs(tables.rows[:, mine]).max(axis=1)
        assert (off[:, mine].max(axis=1) <= 0.5000001 * largest / 32767.0).all()


def test_slopes_stay_continuous_at_the_knots() -> None:
    """Forces have no steps: the last coefficient of an interval is made from the rounded slopes of both ends."""
    tables = tabulate(random_schnet(4), 64).rounded()
    knots = torch.arange(1, 64, dtype=torch.float64) * (9.0 / 64)
    for block in range(2):
        sides = []
        for side in (-1e-9, 1e-9):
            d = (knots + side).requires_grad_()
            (slope,) = torch.autograd.grad(tables.filters(block, d)[:, 5].sum(), d)
            sides.append(slope)
        assert float((sides[0] - sides[1]).abs().max()) <= 1e-6 * float(sides[0].abs().max())


def test_conforms() -> None:
    network = random_schnet(5)
    layout, potential, _ = random_batch([network, None], (26, 6), (2, 1), 5, excluded_bonds=1)
    rng = np.random.default_rng(5)
    x = torch.from_numpy(np.concatenate([_compact(26, rng), _compact(26, rng), _compact(6, rng)]))
    flash = FlashSchNet.of(potential, layout, "mixed16")
    assert flash.networks.tables.dtype == np.int16
    check_potential(flash, layout, x, budget=BUDGETS["mixed16"], reference=potential)


def test_a_run_says_what_it_costs_and_keeps_its_bits() -> None:
    """One replica by one thread and by all, among 3 others; the note has the error on the start frame."""
    layout, potential, _ = random_batch([random_schnet(6)], (70,), (4,), 6)
    rng = np.random.default_rng(6)
    x = torch.from_numpy(np.concatenate([_compact(70, rng) for _ in range(4)]))

    def run(count: int) -> Engine:
        few = Layout(layout.systems, (count,))
        state = State.at(few, x[: few.n_beads], 300.0)
        sim = Engine(few, potential, state, Dynamics(LangevinMiddle(0.004), seed=3), Backend(precision="mixed16"))
        sim.draw_velocities()
        sim.run(10)
        return sim

    most = numba.get_num_threads()
    try:
        numba.set_num_threads(1)
        alone = run(1)
    finally:
        numba.set_num_threads(most)
    together, four = run(1), run(4)
    assert same_bits(alone, together) and same_bits(alone, four)
    (note,) = four.notes
    assert note.startswith("'schnet': tables in 16 bits put the forces on the start frame of 'm0_70' off by ")
    assert 0.0 < float(note.split("off by ")[1].split()[0]) <= FORCE_ERROR["mixed16"]


@pytest.mark.parametrize(
    ("model", "data", "key"),
    [
        ("schnet_cln_ca_specialized_model_and_config.pt", "cln_ca_schnet.npz", "SchNet"),
        ("1enh_5b_random_schnet_exp_schnet.pt", "1enh_5b_random_schnet_exp.npz", "SchNet"),
    ],
)
def test_real_models(model: str, data: str, key: str, reference_dir: Path) -> None:
    """Forces within 2e-3 of mlcg's float64; no bias in the energy beyond 1e-3 kT a bead."""
    structures = reference_dir / "mlcg/1enh_5b_configurations.pt" if "1enh" in model else None
    ff = import_mlcg([reference_dir / "mlcg" / model], structures, "model")
    with np.load(reference_dir / data) as npz:
        frames, forces, energy = (npz[k][:4] for k in ("positions", f"F_{key}_f64", f"E_{key}_f64"))
    layout = Layout((ff.systems[0][0],), (len(frames),))
    (potential,) = (t for t in build_potential([ff], layout).terms if isinstance(t, SchNetPotential))
    found = FlashSchNet.of(potential, layout, "mixed16").energy_and_forces(
        torch.from_numpy(frames.reshape(-1, 3)), layout, None
    )
    off = found.forces.numpy().reshape(forces.shape) - forces
    assert np.sqrt((off**2).mean() / (forces**2).mean()) <= FORCE_ERROR["mixed16"] / 2
    shift = found.energy.numpy() - energy.reshape(-1)
    assert abs(shift.mean()) <= 1e-3 * 0.596 * layout.systems[0].n_beads


def test_a_finer_grid_rounds_no_worse() -> None:
    """Steps shrink with the interval as slopes do."""
    network = random_schnet(7)
    sample = random_sample(network)
    coarse, fine = (force_error(network, tabulate(network, k).rounded(), sample) for k in (512, 4096))
    assert fine <= 1.5 * coarse and fine <= FORCE_ERROR["mixed16"] / 2
