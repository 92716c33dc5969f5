"""The compiled SchNet against the plain torch reference, and its bits in any company."""

from __future__ import annotations

from pathlib import Path

import numba
import numpy as np
import pytest
import torch

from mdflash.core.state import Layout, State
from mdflash.engine.engine import Engine
from mdflash.engine.settings import Backend, Dynamics
from mdflash.errors import ForceFieldError, InputError, UnstableError
from mdflash.forcefields.build import build_potential
from mdflash.importers.mlcg import import_mlcg
from mdflash.integrators.langevin import LangevinMiddle
from mdflash.integrators.verlet import Verlet
from mdflash.neighbors.reference import all_pairs
from mdflash.potentials.base import EnergyForces, Potential, SumPotential
from mdflash.potentials.schnet.arrays import CHUNK, WHOLE
from mdflash.potentials.schnet.network import ACTIVATIONS, SchNet
from mdflash.potentials.schnet.potential import SchNetPotential
from mdflash.potentials.schnet.tabulated import FlashSchNet, together
from tests.helpers import Rest, bead_term, beads, same_bits, toy, volume_term, walk
from tests.potentials.random_schnet import random_batch, random_schnet


def evaluate(potential: Potential, layout: Layout, x: torch.Tensor, box: tuple[float, float, float] | None = None):  # type: ignore[no-untyped-def]
    assert potential.cutoff is not None or isinstance(potential, FlashSchNet)
    pairs = None if potential.cutoff is None else all_pairs(x, layout, potential.cutoff, box)
    return potential.energy_and_forces(x, layout, pairs)


def agree(found: EnergyForces, expected: EnergyForces, layout: Layout, tolerance: float) -> None:
    """Forces of each replica to `tolerance` of their rms, energies likewise."""
    for r in range(layout.n_replicas):
        f, wanted = found.forces[layout.rows(r)], expected.forces[layout.rows(r)]
        assert (f - wanted).square().mean().sqrt() <= tolerance * wanted.square().mean().sqrt()
        e = float(expected.energy[r])
        assert abs(float(found.energy[r]) - e) <= tolerance * max(1.0, abs(e))


VARIANTS = [
    *({"activation": a} for a in sorted(set(ACTIVATIONS) - {"relu"})),
    {"basis": "gaussian", "filter_bias": True, "output_bias": True},
    {"basis_envelope": "none"},
    {"features": 16, "filters": 70, "blocks": 1, "output": ()},
    {"features": 65, "filters": 8, "blocks": 4, "output": (5,)},
    {"output": (33, 20, 7), "filter_hidden": (10, 30)},
    {"cutoff": 5.0, "basis_lower": 1.0, "basis_alpha": 0.7, "filter_hidden": ()},
    {"filter_cutoff": 8.0},
    {"features": 300, "filters": 270, "blocks": 2, "output": (130,)},
]


@pytest.mark.parametrize("precision", ["fp64", "fp32"])
def test_every_variant_gives_the_reference_s_forces(precision: str) -> None:
    """All in one batch, beside a molecule without a network."""
    networks: list[SchNet | None] = [random_schnet(k, **variant) for k, variant in enumerate(VARIANTS)]
    sizes = (*(21 + 2 * k for k in range(len(networks))), 9)
    layout, potential, _ = random_batch([*networks, None], sizes, (2,) * len(sizes), 1, excluded_bonds=2)
    rng = np.random.default_rng(1)
    x = torch.from_numpy(np.concatenate([_compact(n, rng) for n in sizes for _ in range(2)]))
    found = evaluate(FlashSchNet.of(potential, layout, precision), layout, x)  # type: ignore[arg-type]
    agree(found, evaluate(potential, layout, x), layout, 1e-6 if precision == "fp64" else 1e-5)


def test_a_periodic_box() -> None:
    box = (21.0, 19.0, 24.0)
    layout, potential, x = random_batch([random_schnet(3)], (25,), (2,), 3)
    x = x % torch.tensor(box, dtype=torch.float64)
    found = evaluate(FlashSchNet.of(potential, layout, "fp64", box=box), layout, x)
    agree(found, evaluate(potential, layout, x, box), layout, 1e-6)


def test_far_from_the_origin_nothing_is_lost() -> None:
    """Distances are taken in float64, whatever the precision."""
    layout, potential, x = random_batch([random_schnet(3)], (25,), (2,), 3)
    flash = FlashSchNet.of(potential, layout, "fp32")
    here, there = evaluate(flash, layout, x), evaluate(flash, layout, x + 1000.0)
    assert float((here.forces - there.forces).abs().max()) <= 1e-6 * float(here.forces.abs().max())


@pytest.mark.parametrize("precision", ["fp64", "fp32"])
def test_the_published_size_on_a_real_protein(precision: str, reference_dir: Path) -> None:
    """1ENH, 128 features, 4 blocks: force errors of the issue's table."""
    ff = import_mlcg([reference_dir / "mlcg/1enh_5b_random_schnet_exp_schnet.pt"],
                     reference_dir / "mlcg/1enh_5b_configurations.pt", "1enh")  # fmt: skip
    with np.load(reference_dir / "1enh_5b_random_schnet_exp.npz") as data:
        frames, forces = data["positions"][[0, 4]], data["F_SchNet_f64"][[0, 4]]
    layout = Layout((ff.systems[0][0],), (2,))
    (potential,) = build_potential([ff], layout).terms
    assert isinstance(potential, SchNetPotential)
    x = torch.from_numpy(frames.reshape(-1, 3))
    found = evaluate(FlashSchNet.of(potential, layout, precision), layout, x)  # type: ignore[arg-type]
    for f, wanted in zip(found.forces.reshape(2, -1, 3).numpy(), forces, strict=True):
        error = np.sqrt(((f - wanted) ** 2).mean() / (wanted**2).mean())
        assert error <= {"fp64": 1e-6, "fp32": 1e-5}[precision]


def long_chain(counts: tuple[int, ...], seed: int) -> tuple[Layout, SumPotential, torch.Tensor]:
    """80 compact beads (so that threads can share one) with bonds, excluded volume and a network; and 12 beads."""
    sizes = (80, 12)[: len(counts)]
    rng = np.random.default_rng(seed)
    network = random_schnet(8, output_bias=True)
    layout, schnet, _ = random_batch([network] * len(sizes), sizes, counts, 8, excluded_bonds=1)
    bonded = [bead_term("bonds", "harmonic_bond", [(i, i + 1) for i in range(n - 1)], k=50.0, x0=3.8) for n in sizes]
    priors = build_potential([toy(b, volume_term(1, 7.0, exclude_bonds=2)) for b in bonded], layout)
    x = np.concatenate([_compact(n, rng) for n, count in zip(sizes, counts, strict=True) for _ in range(count)])
    return layout, SumPotential([schnet, *priors.terms]), torch.from_numpy(x)


def _compact(n: int, rng: np.random.Generator) -> np.ndarray:
    """A chain that goes back and forth in layers."""
    i = np.arange(n)
    row, column = i // 4, i % 4
    column = np.where(row % 2 == 0, column, 3 - column)
    return 3.8 * np.stack([column, row % 5, row // 5], axis=1) + 0.2 * rng.normal(size=(n, 3))


def simulation(
    counts: tuple[int, ...], steps: int, x: torch.Tensor | None = None, precision: str = "fp32", extra: bool = False
) -> Engine:
    layout, potential, start = long_chain(counts, 5)
    if extra:
        potential = SumPotential([*potential.terms, Rest()])
    state = State.at(layout, start if x is None else x, 300.0)
    sim = Engine(layout, potential, state, Dynamics(LangevinMiddle(0.004), seed=3), Backend(precision=precision))  # type: ignore[arg-type]
    sim.draw_velocities()
    sim.run(steps)
    return sim


@pytest.mark.parametrize("precision", ["fp64", "fp32"])
def test_same_bits_for_any_number_of_threads_and_replicas(precision: str) -> None:
    """One replica by one thread or by all, and among 7 or 64 others."""
    layout, _, x = long_chain((64, 1), 5)
    first = x[: layout.rows(0).stop]
    before, most = numba.get_num_threads(), numba.config.NUMBA_NUM_THREADS
    try:
        numba.set_num_threads(1)
        alone = simulation((1,), 25, first, precision)
        numba.set_num_threads(most)
        together = simulation((1,), 25, first, precision)
        seven = simulation((7,), 25, x[: layout.rows(6).stop], precision)
        many = simulation((64, 1), 25, x, precision)
    finally:
        numba.set_num_threads(before)
    assert same_bits(alone, together)
    assert same_bits(alone, seven)
    assert same_bits(alone, many)
    assert same_bits(seven, many, 6, 6)


def test_the_plain_loop_gives_the_same_bits() -> None:
    """A user's potential beside the network sends the run through Python."""
    compiled, plain = simulation((2, 1), 12), simulation((2, 1), 12, extra=True)
    assert (compiled.propagator.kernels, plain.propagator.kernels) == ("compiled", "python")
    assert all(same_bits(compiled, plain, r, r) for r in range(3))


def test_blocks_and_skin_leave_no_trace() -> None:
    layout, potential, x = long_chain((2,), 5)

    def run(skin: float, parts: tuple[int, ...]) -> Engine:
        sim = Engine(layout, potential, State.at(layout, x, 300.0), Dynamics(LangevinMiddle(0.004), seed=3, skin=skin))
        sim.draw_velocities()
        for steps in parts:
            sim.run(steps)
        return sim

    assert same_bits(run(2.0, (30,)), run(0.4, (1, 7, 22)))


def crowd(counts: tuple[int, ...]) -> tuple[Layout, Potential, torch.Tensor]:
    """420 beads on a lattice (lists by cells), and 80, with a network and excluded volume; positions [B, 3]."""
    sizes = (420, 80)[: len(counts)]
    layout, schnet, _ = random_batch(
        [random_schnet(9, cutoff=7.0, features=16, filters=16)] * len(sizes), sizes, counts, 9
    )
    rng = np.random.default_rng(9)
    grid = np.stack(np.meshgrid(*[range(8)] * 3), axis=-1).reshape(-1, 3) * 5.0
    x = [grid[:n] + rng.normal(size=(n, 3)) * 0.3 for n, count in zip(sizes, counts, strict=True) for _ in range(count)]
    volume = build_potential([toy(volume_term(1, 6.0))] * len(sizes), layout)
    return layout, SumPotential([schnet, *volume.terms]), torch.from_numpy(np.concatenate(x))


def crowded(counts: tuple[int, ...], *, skin: float = 1.0, every: int = 1) -> Engine:
    layout, potential, x = crowd(counts)
    dynamics = Dynamics(LangevinMiddle(0.01, 1.0), seed=4, skin=skin, network_every=every)
    sim = Engine(layout, potential, State.at(layout, x, 600.0), dynamics)
    sim.draw_velocities()
    return sim


@pytest.mark.parametrize("every", [1, 3])
def test_lists_that_live_from_block_to_block_leave_no_trace(every: int) -> None:
    """One block of 90 steps, 30 of three, and another skin, while lists are built anew many times."""
    whole, single, other = crowded((1,), every=every), crowded((1,), every=every), crowded((1,), skin=0.2, every=every)
    start = whole.state.positions.clone()
    for sim in (whole, single, other):
        sim.evaluate()
    whole.propagator.advance(whole.state, 90)
    other.propagator.advance(other.state, 90)
    for _ in range(30):
        single.propagator.advance(single.state, 3)
    farthest = float((whole.state.positions - start).norm(dim=1).max())
    assert farthest > 6 * 0.5  # several times half the skin
    assert same_bits(whole, single) and same_bits(whole, other)


def test_positions_from_outside_between_blocks() -> None:
    """A jump of all beads, of one bead, no finite position and back again: as in an engine that begins there."""
    sim = crowded((1,))
    sim.run(4)
    good = sim.state.positions.clone()
    rng = np.random.default_rng(11)
    jumped, one = good.clone(), good.clone()
    jumped = jumped.flip(0) + torch.from_numpy(rng.normal(size=jumped.shape))
    one[7] += torch.tensor([4.0, -3.0, 5.0])
    for x in (jumped, one, torch.full_like(good, torch.nan), good):
        fresh = crowded((1,))
        for engine in (sim, fresh):
            engine.state.positions.copy_(x)
            engine.state.velocities.zero_()
            engine.state.step = 17
            engine.evaluate()
        if x.isnan().any():
            assert sim.state.energy.isnan().all()
            continue
        for engine in (sim, fresh):
            engine.run(5)
        assert same_bits(sim, fresh)


def test_replicas_that_all_threads_carry_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two systems, three replicas: each has its own lists, and replicas of a system share the arrays of evaluations."""
    each = crowded((2, 1))
    each.run(40)
    monkeypatch.setattr("mdflash.engine.blocks.compiled.together", lambda layout: True)
    one_by_one = crowded((2, 1))
    for steps in (1, 7, 1, 31):
        one_by_one.run(steps)
    assert all(same_bits(each, one_by_one, r, r) for r in range(3))


def test_a_list_that_outgrows_its_array_inside_a_block() -> None:
    """A cloud that collapses within one compiled block, against blocks of one step."""
    n = 80
    layout, schnet, _ = random_batch([random_schnet(8)], (n,), (1,), 8)
    pull = toy(bead_term("pull", "harmonic_bond", [(0, i) for i in range(1, n)], k=0.5, x0=6.0))
    potential = SumPotential([schnet, *build_potential([pull], layout).terms])
    start = torch.from_numpy(np.random.default_rng(16).uniform(-25, 25, (n, 3)))

    def run(parts: int) -> Engine:
        sim = Engine(layout, potential, State.at(layout, start, 50.0), Dynamics(LangevinMiddle(0.004, 2.0), seed=3))
        sim.evaluate()
        for _ in range(parts):
            assert sim.propagator.advance(sim.state, 240 // parts).tolist() == [-1]
        return sim

    whole = run(1)
    before, after = (len(all_pairs(x, layout, 11.0).first) for x in (start, whole.state.positions))
    assert after > 2 * before + 64  # far beyond what the first list had room for
    assert same_bits(whole, run(240))


def test_energy_is_conserved_as_by_the_reference() -> None:
    """NVE, 0.3 ps from a minimum: the compiled fp32 drifts no more than plain torch in float64."""
    layout, potential, x = long_chain((1,), 5)
    start = Engine(layout, potential, State.at(layout, x, 150.0), Dynamics(Verlet(0.001), seed=3))
    start.minimize(300)
    drift, slosh = {}, 0.0
    for kernels, precision in (("reference", "fp64"), ("auto", "fp32")):
        state, backend = State.at(layout, start.state.positions, 150.0), Backend(precision, kernels)  # type: ignore[arg-type]
        sim = Engine(layout, potential, state, Dynamics(Verlet(0.0025), seed=3), backend)
        sim.draw_velocities()
        sim.evaluate()
        total, kinetic = [], []
        for _ in range(20):
            sim.run(6)
            kinetic.append(float(sim.kinetic_energy()[0]))
            total.append(float(sim.state.energy[0]) + kinetic[-1])
        drift[kernels], slosh = np.ptp(total), np.ptp(kinetic)
    assert slosh > 3.0  # kcal/mol that went to and fro
    assert drift["reference"] < 0.01 * slosh
    assert drift["auto"] <= drift["reference"] + 1e-3


def test_a_box_too_small_for_the_cutoff_and_a_molecule_without_beads() -> None:
    layout, potential, _ = random_batch([random_schnet(3)], (12,), (1,), 3)
    with pytest.raises(InputError, match=r"at least twice cutoff \+ skin = 18 Å"):
        FlashSchNet.of(potential, layout, "fp64", box=(40.0, 17.9, 40.0))
    with pytest.raises(InputError, match="system 'nothing': has no beads"):
        beads("nothing", 0)


def test_two_beads_in_one_place_have_finite_energy() -> None:
    layout, potential, x = random_batch([random_schnet(3)], (12,), (1,), 3)
    x[5] = x[4]
    found = evaluate(FlashSchNet.of(potential, layout, "fp32"), layout, x)
    assert torch.isfinite(found.energy).all() and torch.isfinite(found.forces).all()
    x[5] += 1e-9
    near = evaluate(FlashSchNet.of(potential, layout, "fp32"), layout, x)
    assert abs(float(near.energy[0] - found.energy[0])) <= 1e-5 * abs(float(found.energy[0]))


def test_a_replica_that_breaks_is_named() -> None:
    """Infinite coordinates have no neighbors; they must not pass for a bead alone in space."""
    layout, potential, x = random_batch([random_schnet(3)], (12,), (3,), 3)
    sim = Engine(layout, potential, State.at(layout, x, 300.0), Dynamics(LangevinMiddle(0.004), seed=3))
    sim.state.velocities[layout.rows(1)] = torch.inf
    with pytest.raises(UnstableError, match=r"replica 1 .* became unstable at step"):
        sim.run(5)
    sim.state.positions[:] = x
    sim.state.positions[layout.rows(2).start] = torch.nan
    with pytest.raises(UnstableError, match="replica 2"):
        sim.run(1)


def test_no_beads_in_reach() -> None:
    layout, potential, x = random_batch([random_schnet(3)], (6,), (2,), 3)
    far = x * 100.0
    flash = FlashSchNet.of(potential, layout, "fp64")
    agree(evaluate(flash, layout, far), evaluate(potential, layout, far), layout, 1e-9)


def test_one_bead() -> None:
    layout, potential, x = random_batch([random_schnet(3)], (1,), (2,), 3)
    found = evaluate(FlashSchNet.of(potential, layout, "fp64"), layout, x)
    assert torch.allclose(found.energy, evaluate(potential, layout, x).energy, rtol=1e-12)
    assert not found.forces.any()


def engine(layout: Layout, potential: Potential, x: torch.Tensor, **options: object) -> Engine:
    state = State.at(layout, x, 300.0)
    return Engine(layout, potential, state, Dynamics(LangevinMiddle(0.004), seed=3), Backend(**options))  # type: ignore[arg-type]


def test_what_the_kernels_do_not_take_falls_back_with_one_note() -> None:
    layout, potential, x = random_batch([random_schnet(3, activation="relu")], (12,), (2,), 3)
    sim = engine(layout, potential, x)
    (note,) = sim.notes
    assert note.startswith("'schnet' runs in plain torch, which is much slower: the filters")
    assert "cannot be tabulated" in note and "activation 'relu'" in note and "slopes jump" in note
    assert sim.propagator.kernels == "python"
    with pytest.raises(ForceFieldError, match=r"cannot be tabulated.*`filters: exact`"):
        engine(layout, potential, x, filters="table")

    layout, first, x = random_batch([random_schnet(3)], (12,), (2,), 3)
    second = SchNetPotential("second", [random_schnet(4)], [t.numpy() for t in first.types], first.excluded)
    both = SumPotential([first, second])
    sim = engine(layout, both, x)
    (note,) = sim.notes
    assert note.startswith("'second' runs in plain torch") and "system 'm0_12' has a second network" in note
    sim.evaluate()
    agree(EnergyForces(sim.state.energy, sim.state.forces), evaluate(both, layout, x), layout, 1e-6)


def test_exact_filters_are_the_network_s_own() -> None:
    layout, potential, x = random_batch([random_schnet(3)], (12,), (2,), 3)
    expected = evaluate(potential, layout, x)
    exact, table = (engine(layout, potential, x, filters=kind) for kind in ("exact", "table"))
    for sim in (exact, table):
        sim.evaluate()
    assert exact.notes == ("'schnet' runs in plain torch: only that has the exact filters on a CPU",)
    assert torch.equal(exact.state.forces, expected.forces)
    assert table.notes == () and table.propagator.kernels == "compiled"
    assert 0.0 < float((table.state.forces - expected.forces).abs().max()) <= 1e-6 * float(expected.forces.abs().max())


def test_the_reference_has_no_tables() -> None:
    layout, potential, x = random_batch([random_schnet(3)], (12,), (2,), 3)
    sim = engine(layout, potential, x, kernels="reference")
    sim.evaluate()
    assert sim.notes == ()
    assert torch.equal(sim.state.forces, evaluate(potential, layout, x).forces)
    for options in ({"filters": "table"}, {"precision": "mixed16"}):
        with pytest.raises(InputError, match=r"needs filter tables.*write `kernels: auto`"):
            engine(layout, potential, x, kernels="reference", **options)


def test_large_molecules_are_sorted_in_chunks() -> None:
    """More beads than `WHOLE`: forces of the reference, with and without a box, by one thread or several."""
    n = WHOLE + CHUNK // 2 + 3
    edge = 4.2 * n ** (1 / 3)
    network = random_schnet(5, features=8, filters=8, output=(4,), filter_hidden=(6,), cutoff=7.0)
    layout, potential, _ = random_batch([network], (n,), (1,), 2, excluded_bonds=1)
    grid = np.stack(np.meshgrid(*[np.arange(12)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    rng = np.random.default_rng(2)
    x = torch.from_numpy((rng.permutation(grid)[:n] + 0.3 * rng.random((n, 3))) * edge / 12)
    most = numba.get_num_threads()
    for box in (None, (edge, edge, edge)):
        expected = evaluate(potential, layout, x, box)
        flash = FlashSchNet.of(potential, layout, "fp64", box=box)
        found = evaluate(flash, layout, x)
        agree(found, expected, layout, 1e-6)
        try:
            numba.set_num_threads(1)
            assert not together(layout)
            alone = evaluate(flash, layout, x)
        finally:
            numba.set_num_threads(most)
        assert torch.equal(alone.forces, found.forces) and torch.equal(alone.energy, found.energy)


def test_random_walks_many_sizes() -> None:
    """Every size around a tile, a panel and a part of rows."""
    network = random_schnet(9)
    sizes = (2, 3, 4, 5, 15, 16, 17, 63, 64, 65, 70)
    layout, potential, x = random_batch([network] * len(sizes), sizes, (1,) * len(sizes), 4)
    x += torch.from_numpy(walk(len(x), np.random.default_rng(1)) * 1e-3)
    agree(evaluate(FlashSchNet.of(potential, layout, "fp64"), layout, x), evaluate(potential, layout, x), layout, 1e-6)
