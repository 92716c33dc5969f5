"""Weighted ensemble: resampling exact in law, noise of copies, rates of a well that is known, the same bits."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch

from mdflash.analysis.walkers import rate_of
from mdflash.compiled.noise import normals
from mdflash.compiled.philox import LANGEVIN
from mdflash.core.state import Layout
from mdflash.engine.engine import Engine
from mdflash.engine.ensemble.bins import Bins
from mdflash.engine.ensemble.ensemble import Generation, Target, WeightedEnsemble
from mdflash.engine.ensemble.resample import Scheme, place, uniforms
from mdflash.engine.ensemble.revo import Revo
from mdflash.engine.guards import Guard
from mdflash.errors import InputError, UnstableError
from mdflash.integrators.brownian import Brownian
from mdflash.potentials.bias.bias import Bias
from mdflash.potentials.variables.distance import Distance
from mdflash.units import kT
from tests.helpers import bead_term, beads, go_helix, helix, same_bits, simulate, toy

SCHEMES: list[Scheme] = [Bins((0.2, 0.5, 0.7)), Revo(0.3), Revo(0.5, 2 * np.pi)]
PAIR = beads("pair", 2, masses=100.0)
HELIX, GO = go_helix(10, epsilon=0.4)


class Forks:
    """Random numbers whose comparisons take every way in turn, each with its probability: means without sampling."""

    def __init__(self) -> None:
        self.ways: list[bool] = []
        self.asked, self.probability = 0, 1.0

    def next(self) -> bool:
        """Go back to the last comparison whose other outcome was not tried; False where there is none."""
        while self.ways and not self.ways[-1]:
            self.ways.pop()
        if self.ways:
            self.ways[-1] = False
        self.asked, self.probability = 0, 1.0
        return bool(self.ways)

    def below(self, chance: float) -> bool:
        if self.asked == len(self.ways):
            self.ways.append(True)
        way = self.ways[self.asked]
        self.asked += 1
        self.probability *= chance if way else 1.0 - chance
        return way


class Uniform(float):
    """A number between 0 and `scale` that is not drawn: a comparison asks `forks`."""

    forks: Forks
    scale: float

    def __new__(cls, forks: Forks, scale: float = 1.0) -> Uniform:
        self = super().__new__(cls, np.nan)
        self.forks, self.scale = forks, scale
        return self

    def __mul__(self, factor: float) -> Uniform:
        return Uniform(self.forks, self.scale * factor)

    def __lt__(self, limit: float) -> bool:
        return self.forks.below(float(limit / self.scale))


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("spread", [0.3, 2.0])
def test_the_expected_weight_of_a_walker_is_what_it_was(scheme: Scheme, spread: float) -> None:
    """The sum of the copies of each walker, averaged over every way a resampling can go."""
    rng, n = np.random.default_rng(), 12
    for _ in range(4):
        values = rng.random(n)
        weights = np.exp(spread * rng.standard_normal(n))
        weights /= weights.sum()
        forks, mean, total, more = Forks(), np.zeros(n), 0.0, True
        while more:
            parents, after = place(scheme.shares(values, weights, partial(Uniform, forks)))
            assert abs(after.sum() - 1.0) < 1e-14 and (after > 0).all() and len(after) == n
            kept = parents == np.arange(n)
            assert set(parents[~kept]) <= set(parents[kept])  # whoever has copies keeps its row
            mean += forks.probability * np.bincount(parents, weights=after, minlength=n)
            total += forks.probability
            more = forks.next()
        assert abs(total - 1.0) < 1e-12
        np.testing.assert_allclose(mean, weights, rtol=1e-9)


def test_bins_share_the_walkers_evenly() -> None:
    rng = np.random.default_rng()
    values, weights = np.repeat([0.1, 0.4, 0.6, 0.9], [13, 1, 1, 1]), rng.random(16)
    shares = Bins((0.2, 0.5, 0.7)).shares(values, weights, uniforms(1, 0, 0))
    counts = [len(share) for share in shares]
    assert sum(counts[:13]) == 4 and counts[13:] == [4, 4, 4]
    equal = Bins((0.5,)).shares(np.full(8, 0.1), np.full(8, 0.125), uniforms(1, 0, 0))
    assert equal == [[0.125]] * 8  # nothing to do


def test_revo_spreads_walkers_out() -> None:
    values = np.append(np.linspace(0.0, 0.05, 39), 1.0)
    counts = [len(share) for share in Revo(0.1).shares(values, np.full(40, 1 / 40), uniforms(1, 0, 0))]
    assert sum(counts) == 40 and counts[-1] > 1
    apart = [len(share) for share in Revo(0.001).shares(values, np.full(40, 1 / 40), uniforms(1, 0, 0))]
    assert apart == [1] * 40  # nobody is near enough to be merged


def ensemble(
    layout: Layout, beads: tuple[int, int], scheme: Scheme, every: int, target: Target | None = None
) -> WeightedEnsemble:
    variable = Distance(layout.systems[0], *beads)
    return WeightedEnsemble(layout, Bias("r", variable, layout, 0.0), every, scheme, target)


def walk(replicas: int = 8, target: Target | None = None, every: int = 50, **options: Any) -> Engine:
    """A helix whose ends part at 600 K."""
    layout = Layout((HELIX,), (replicas,))
    walkers = ensemble(layout, (0, 9), Bins(tuple(np.linspace(13.0, 20.0, 5))), every, target)
    start = np.tile(helix(10), (replicas, 1))
    return simulate(layout, [GO], start, temperature=600.0, ensemble=walkers, **options)


def generations(engine: Engine) -> list[Generation]:
    found: list[Generation] = []
    assert engine.ensemble is not None
    engine.ensemble.generation_listeners.append(lambda step, time, generation: found.append(generation))
    return found


def test_copies_have_the_noise_of_their_rows() -> None:
    """Free beads: whatever was copied where, the displacement of a row is that of its own noise, each used once."""
    dt, friction, every, n = 0.01, 2.0, 5, 6
    layout = Layout((PAIR,), (n,))
    walkers = ensemble(layout, (0, 1), Bins((3.0, 4.0, 5.0)), every)
    start = np.concatenate([[[0.0, 0, 0], [r, 0, 0]] for r in np.linspace(2.5, 5.5, n)])
    engine = simulate(layout, [toy()], start, Brownian(dt, friction), ensemble=walkers, seed=4, draw=False)
    found = generations(engine)
    size = np.sqrt(2.0 * dt / friction * kT(300.0) * 418.4 / 100.0)
    x = engine.state.positions.view(n, 2, 3)
    copied = 0
    for block in range(16):
        before = x.clone().numpy()
        if block:
            copied += (found[-1].parents != np.arange(n)).sum()
        engine.run(every)
        moved = np.array([
            sum(normals(4, row, every * block + k, 2, LANGEVIN) for k in range(every)) for row in range(n)
        ])  # fmt: skip
        came = before + size * moved
        np.testing.assert_allclose(np.linalg.norm(came[:, 0] - came[:, 1], axis=1), found[-1].values, rtol=1e-12)
        np.testing.assert_allclose(x.numpy(), came[found[-1].parents], rtol=0, atol=1e-12)
    assert copied >= 3


def exact(epsilon: float, start: float = 6.0, end: float = 11.0) -> float:
    """Mean first passage time in ps along r: 1 / D int exp(F / kT) int exp(-F / kT), F with the Jacobian."""
    r = np.linspace(5.0, end, 60_001)
    free = epsilon * (5 * (6.0 / r) ** 12 - 6 * (6.0 / r) ** 10) + 0.4 * (r - 11.0) ** 2 - 2 * kT(300.0) * np.log(r)
    free = (free - free.min()) / kT(300.0)
    h, diffusion = r[1] - r[0], 2.0 * kT(300.0) * 418.4 / (100.0 * 8.0)
    f = np.exp(free) * np.cumsum(np.exp(-free)) * h
    return float(f[r >= start].sum() * h / diffusion)


WELL = Bins((6.1, 6.25, 6.4, 6.55, 6.7, 6.85, 7.0, 7.15, 7.3, 7.6, 8.5))


@pytest.mark.parametrize(("scheme", "epsilon"), [(WELL, 12.0), (Revo(0.15), 10.0)])
def test_passage_time_of_a_well_that_is_known(scheme: Scheme, epsilon: float) -> None:
    """Two beads leave a contact over a barrier of some kT, overdamped: within the 95 % interval of the exact time."""
    ff = toy(
        bead_term("contact", "contact_12_10", [[0, 1]], epsilon=epsilon, r0=6.0),
        bead_term("spring", "harmonic_bond", [[0, 1]], k=0.4, x0=11.0),
    )
    n, every, dt = 48, 100, 0.002
    layout = Layout((PAIR,), (n,))
    walkers = ensemble(layout, (0, 1), scheme, every, Target(11.0, np.inf))
    start = np.tile([[0.0, 0, 0], [6.0, 0, 0]], (n, 1))
    engine = simulate(layout, [ff], start, Brownian(dt, 8.0), ensemble=walkers, seed=6, draw=False)
    assert engine.propagator.kernels == "compiled"
    found = generations(engine)
    engine.run(50_000)
    rate = rate_of(np.array([g.weights * g.arrived for g in found]), every * dt)
    assert rate is not None and abs(walkers.weights.sum() - 1.0) < 1e-13
    assert rate.passage.low < exact(epsilon) < rate.passage.high < 4 * rate.passage.low
    assert walkers.arrivals[0] >= rate.arrivals > 50
    assert walkers.flux[0] == pytest.approx(rate.flux.sum() * every * dt)


def test_blocks_change_no_bit() -> None:
    """However a run is split, and with a target that walkers start again from."""
    one, other = walk(target=Target(17.0, np.inf)), walk(target=Target(17.0, np.inf))
    found = generations(one)
    one.run(1000)
    for steps in (1, 49, 150, 33, 267, 500):
        other.run(steps)
    assert one.ensemble is not None and other.ensemble is not None
    assert np.array_equal(one.ensemble.weights, other.ensemble.weights) and one.ensemble.arrivals[0] > 0
    assert all(same_bits(one, other, r, r) for r in range(8))
    assert any(len(set(g.parents)) < 8 for g in found)


def test_what_starts_again_has_new_velocities_and_is_at_a_start_frame() -> None:
    engine = walk(target=Target(16.5, np.inf), every=100)
    assert engine.ensemble is not None
    found = generations(engine)
    while not (found and found[-1].arrived.any()):
        engine.run(100)
    begun = np.flatnonzero(np.isin(found[-1].parents, np.flatnonzero(found[-1].arrived)))
    x, v = (a.view(8, 10, 3) for a in (engine.state.positions, engine.state.velocities))
    assert len(begun) and (x[begun] == torch.from_numpy(helix(10))).all()
    assert 100.0 < float(engine.instantaneous_temperature()[begun].mean()) < 1500.0
    fresh = walk().state.velocities.view(8, 10, 3)
    assert not any(torch.equal(v[r], fresh[k]) for r in begun for k in range(8))


def test_a_lost_walker_is_replaced_by_the_nearest() -> None:
    layout = Layout((HELIX,), (8,))
    engine = walk(guard=Guard(layout, "freeze"))
    told: list[dict[str, Any]] = []
    assert engine.ensemble is not None
    engine.ensemble.listeners.append(lambda step, event, **fields: told.append({"event": event, **fields}))
    engine.run(60)
    engine.state.velocities[layout.rows(3)] *= 1e9
    engine.run(440)
    assert [(e["event"], e["replica"]) for e in told] == [("walker lost", 3)] and told[0]["replaced_by"] != 3
    assert not engine.frozen.any() and engine.ensemble.weights.sum() == pytest.approx(1.0, abs=1e-14)
    assert (engine.instantaneous_temperature() < 3000.0).all()


def test_walkers_that_are_all_lost_end_the_run() -> None:
    engine = walk(guard=Guard(Layout((HELIX,), (8,)), "freeze"))
    engine.run(10)
    assert engine.ensemble is not None
    engine.guard.frozen_since[:] = 10
    with pytest.raises(UnstableError, match=r"every walker of .* is frozen at step 10"):
        engine.ensemble.change(engine)


def test_a_target_that_walkers_start_in_is_refused() -> None:
    with pytest.raises(InputError, match=r"replica 0 starts in the target: its r is 1"):
        walk(target=Target(0.0, 40.0)).run(1)


def test_draws_are_those_of_their_step_and_run() -> None:
    def series(*key: int) -> list[float]:
        draw: Callable[[], float] = uniforms(*key)
        return [draw() for _ in range(200)]

    assert series(1, 2, 3) == series(1, 2, 3)
    assert len({number for key in ((1, 2, 3), (1, 2, 4), (1, 3, 3), (2, 2, 3)) for number in series(*key)}) == 800
    assert abs(np.mean(series(7, 0, 1)) - 0.5) < 0.1
