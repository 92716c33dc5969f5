"""Replica exchange: decisions, what a swap changes and what it does not."""

from __future__ import annotations

import math
from itertools import pairwise, permutations

import numpy as np
import pytest
import torch

from mdflash.compiled.philox import LANGEVIN, VELOCITIES, philox4x32
from mdflash.core.state import Layout
from mdflash.engine.engine import Engine
from mdflash.engine.exchange.permute import EXCHANGE, permute
from mdflash.engine.exchange.replica_exchange import ReplicaExchange
from mdflash.errors import InputError
from mdflash.integrators.brownian import Brownian
from mdflash.units import BOLTZMANN
from tests.helpers import go_helix, helix, replica, same_bits, simulate

LADDER = (300.0, 340.0, 390.0, 450.0)


def beta(temperature: float) -> float:
    return 1.0 / (BOLTZMANN * temperature)


def uniform(seed: int, ladder: int, step: int, swap: int, word: int = 0) -> float:
    """The random number that the documentation promises."""
    words = philox4x32(*(np.uint64(v) for v in (step % 2**32, step >> 32, swap, EXCHANGE, seed, ladder)))
    return (float(words[word]) + 0.5) / 2**32


# --- decisions --------------------------------------------------------------------------------------------------


def expected_neighbors(energy, temperatures, labels, active, *, seed, ladder, step, attempt):
    """The rule as the papers write it, one pair of labels after the other."""
    labels = list(labels)
    members = sorted((x for x in range(len(labels)) if active[x]), key=lambda x: labels[x])
    tried, done = set(), set()
    for m in range(attempt % 2 if len(members) > 2 else 0, len(members) - 1, 2):
        a, b = members[m], members[m + 1]
        i, j = labels[a], labels[b]
        tried.add((i, j))
        exponent = (beta(temperatures[i]) - beta(temperatures[j])) * (energy[a] - energy[b])
        if uniform(seed, ladder, step, i) < math.exp(min(exponent, 0.0)):
            labels[a], labels[b] = j, i
            done.add((i, j))
    return labels, tried, done


def pairs(counts: np.ndarray) -> set[tuple[int, int]]:
    return {(int(i), int(j)) for i, j in np.argwhere(counts)}


@pytest.mark.parametrize("frozen", [0, 1, 3])
def test_neighbors_against_the_rule_as_written(frozen: int) -> None:
    rng = np.random.default_rng(frozen)
    attempted = accepted = 0
    for attempt in range(300):
        k = int(rng.integers(4, 9))
        temperatures = np.sort(rng.uniform(250, 600, k))
        energy, labels = rng.normal(size=k) * 5, rng.permutation(k)
        active = np.ones(k, bool)
        active[rng.choice(k, frozen, replace=False)] = False
        where = {"seed": int(rng.integers(2**32)), "ladder": int(rng.integers(100)), "step": 500 * (attempt + 1)}
        reduced = np.array([beta(t) * energy for t in temperatures])
        found = permute(reduced, labels, active, "neighbors", attempt=attempt, **where)
        new, tried, done = expected_neighbors(energy, temperatures, labels, active, attempt=attempt, **where)
        assert found.labels.tolist() == new
        assert (pairs(found.attempted), pairs(found.accepted)) == (tried, done)
        assert found.attempted.sum() == len(tried)
        attempted, accepted = attempted + len(tried), accepted + len(done)
    assert 0.2 < accepted / attempted < 0.8  # both outcomes were seen


def test_even_pairs_come_first_and_alternate() -> None:
    exchange = ReplicaExchange(Layout((go_helix(5)[0],), (4,)), LADDER, every=50)
    tried = [
        pairs(exchange.decide(np.zeros(4), np.arange(4), np.ones(4, bool), 1, step)[1][0])
        for step in (50, 100, 150, 10_000)
    ]
    even, odd = {(0, 1), (2, 3)}, {(1, 2)}
    assert tried == [even, odd, even, odd]
    two = ReplicaExchange(Layout((go_helix(5)[0],), (2,)), LADDER[:2], every=50)
    for step in (50, 100, 150):
        assert two.decide(np.zeros(2), np.arange(2), np.ones(2, bool), 1, step)[1].sum() == 1


def test_equal_energies_always_swap_and_a_gain_is_always_taken() -> None:
    reduced = np.array([[beta(t) * u for u in (0.0, -50.0)] for t in (300.0, 400.0)])
    for step in range(20):
        where = {"seed": 1, "ladder": 0, "step": step, "attempt": 0}
        # the hot replica has the lower energy: it goes to the cold temperature
        assert permute(reduced, np.array([0, 1]), np.ones(2, bool), "neighbors", **where).labels.tolist() == [1, 0]
        # and does not come back
        assert permute(reduced, np.array([1, 0]), np.ones(2, bool), "neighbors", **where).labels.tolist() == [1, 0]


@pytest.mark.parametrize("scheme", ["neighbors", "gibbs"])
def test_the_permutations_are_drawn_from_their_distribution(scheme: str) -> None:
    """Over fixed coordinates, labels are a Markov chain over the 24 permutations with P ~ exp(-sum u[l(x), x])."""
    from scipy import stats

    rng = np.random.default_rng(5)
    reduced = rng.normal(size=(4, 4)) * 0.7  # of any states, not only temperatures
    every = {p: i for i, p in enumerate(permutations(range(4)))}
    weight = np.array([math.exp(-sum(reduced[p[x], x] for x in range(4))) for p in every])
    counts = np.zeros(24)
    labels, active = np.arange(4), np.ones(4, bool)
    for n in range(60_000 if scheme == "neighbors" else 6_000):
        where = {"seed": 9, "ladder": 0, "step": n, "attempt": n}
        labels = permute(reduced, labels, active, scheme, **where).labels  # type: ignore[arg-type]
        if scheme == "gibbs" or n % 12 == 0:  # far enough apart to be independent
            counts[every[tuple(labels.tolist())]] += 1
    assert stats.chisquare(counts, weight / weight.sum() * counts.sum()).pvalue > 0.01


def test_gibbs_mixes_what_neighbors_cannot() -> None:
    """Without energy differences one attempt reaches every permutation; labels of frozen replicas stay."""
    active = np.array([True, True, False, True, True])
    seen = set()
    for step in range(2000):
        where = {"seed": 4, "ladder": 3, "step": step, "attempt": step}
        labels = permute(np.zeros((5, 5)), np.arange(5), active, "gibbs", **where).labels
        assert sorted(labels) == list(range(5)) and labels[2] == 2
        seen.add(tuple(labels.tolist()))
    assert len(seen) == 24


def test_decisions_do_not_depend_on_the_rest_of_the_batch() -> None:
    """A ladder decides the same alone, among others, and whatever the others' energies are."""
    system = go_helix(5)[0]
    both = ReplicaExchange(Layout((system,), (8,)), LADDER, 10, "gibbs")
    alone = ReplicaExchange(Layout((system,), (4,), (4, 5, 6, 7)), LADDER, 10, "gibbs")
    rng = np.random.default_rng(1)
    for step in range(10, 200, 10):
        energy = rng.normal(size=8)
        first = both.decide(energy, np.tile(np.arange(4), 2), np.ones(8, bool), 3, step)[0]
        second = alone.decide(energy[4:], np.arange(4), np.ones(4, bool), 3, step)[0]
        assert first[4:].tolist() == second.tolist()


def test_ladders_decide_independently_of_each_other() -> None:
    """Two ladders with the same energies have random numbers of their own."""
    exchange = ReplicaExchange(Layout((go_helix(5)[0],), (8,)), LADDER, 10)
    energy, labels = np.tile([0.0, 0.3, 0.6, 1.0], 2), np.tile(np.arange(4), 2)
    decided = [exchange.decide(energy, labels, np.ones(8, bool), 3, step)[0] for step in range(10, 1000, 10)]
    alike = np.mean([new[:4].tolist() == new[4:].tolist() for new in decided])
    assert 0.2 < alike < 0.95


def test_random_numbers_are_of_their_own_purpose() -> None:
    assert EXCHANGE not in (LANGEVIN, VELOCITIES)


@pytest.mark.parametrize(
    ("temperatures", "count", "words"),
    [((300.0,), 2, "two or more"), ((300.0, 300.0), 2, "increasing"), ((0.0, 300.0), 2, "above 0 K"),
     (LADDER, 6, "6 replicas of helix do not fill ladders of 4 temperatures; use a multiple of 4, such as 8")],
)  # fmt: skip
def test_bad_ladders_are_refused(temperatures: tuple[float, ...], count: int, words: str) -> None:
    with pytest.raises(InputError, match=words):
        ReplicaExchange(Layout((go_helix(5)[0],), (count,)), temperatures, 10)


# --- in a simulation --------------------------------------------------------------------------------------------


def exchanging(ladders: int = 2, every: int = 20, scheme: str = "neighbors", **options: object) -> Engine:
    system, ff = go_helix(8, epsilon=0.4)
    layout = Layout((system,), (4 * ladders,))
    exchange = ReplicaExchange(layout, LADDER, every, scheme)  # type: ignore[arg-type]
    start = np.tile(helix(8), (4 * ladders, 1))
    temperatures = exchange.start_temperatures.tolist()
    return simulate(layout, [ff], start, options.pop("integrator", None), temperatures, exchange=exchange, **options)  # type: ignore[arg-type]


def test_a_swap_changes_temperature_and_speed_and_nothing_else() -> None:
    simulation = exchanging()
    assert simulation.exchange is not None
    simulation.run(19)  # 20 would attempt
    swapped = 0
    for _ in range(20):
        simulation.run(1)
        before = simulation.state
        old = {n: getattr(before, n).clone() for n in ("positions", "velocities", "forces", "energy", "temperature")}
        labels = simulation.exchange.labels(before)
        after, *_ = simulation.exchange.decide(old["energy"].numpy(), labels, np.ones(8, bool), simulation.seed, 1000)
        before.step, kept = 1000, before.step
        simulation.exchange.attempt(simulation)
        before.step = kept
        for name in ("positions", "forces", "energy"):
            assert torch.equal(getattr(simulation.state, name), old[name]), name
        for r in range(8):
            rows = simulation.layout.rows(r)
            new = LADDER[after[r]]
            assert float(simulation.state.temperature[r]) == new
            factor = math.sqrt(new / float(old["temperature"][r]))
            np.testing.assert_allclose(simulation.state.velocities[rows], factor * old["velocities"][rows], rtol=1e-15)
            swapped += factor != 1.0
        simulation.run(18)
    assert swapped > 20


def test_forces_and_energy_belong_to_the_positions_throughout() -> None:
    simulation = exchanging(every=7)
    for _ in range(10):
        simulation.run(7)
        energy, forces = simulation.state.energy.clone(), simulation.state.forces.clone()
        simulation.evaluate()
        np.testing.assert_allclose(simulation.state.energy, energy, rtol=1e-12)
        np.testing.assert_allclose(simulation.state.forces, forces, rtol=0, atol=1e-10)
    assert simulation.exchange is not None
    assert simulation.exchange.accepted.sum() > 5


def test_attempts_fall_on_multiples_after_the_reports() -> None:
    simulation = exchanging(every=25)
    told: list[tuple[str, int, list[int]]] = []
    assert simulation.exchange is not None
    exchange = simulation.exchange
    exchange.listeners.append(lambda step, time, labels: told.append(("exchange", step, labels.tolist())))

    class Report:
        def next_report(self, step: int) -> int:
            return (step // 25 + 1) * 25

        def report(self, simulation: Engine) -> None:
            told.append(("report", simulation.state.step, exchange.labels(simulation.state).tolist()))

    simulation.reporters.append(Report())
    simulation.run(100)
    simulation.run(25)
    assert [t[:2] for t in told] == [(kind, s) for s in (25, 50, 75, 100, 125) for kind in ("report", "exchange")]
    held = list(range(4)) * 2
    for kind, _, labels in told:
        if kind == "report":
            assert labels == held  # from before the attempt
        held = labels


@pytest.mark.parametrize("scheme", ["neighbors", "gibbs"])
def test_labels_stay_permutations_and_counts_add_up(scheme: str) -> None:
    simulation = exchanging(ladders=3, every=10, scheme=scheme)
    exchange = simulation.exchange
    assert exchange is not None
    seen: list[np.ndarray] = []
    exchange.listeners.append(lambda step, time, labels: seen.append(labels))
    simulation.run(3000)
    for labels in seen:
        for ladder in labels.reshape(3, 4):
            assert sorted(ladder) == [0, 1, 2, 3]
    if scheme == "neighbors":
        history = np.array([np.tile(np.arange(4), 3), *seen])
        swaps = sum(int((a != b).sum()) for a, b in pairwise(history)) // 2
        assert exchange.accepted.sum() == swaps
        assert exchange.attempted.sum() == 3 * (150 * 2 + 150)
    trips = 0
    for r in range(12):  # counted once more, from the labels
        leg, path = 0, [r % 4, *(int(labels[r]) for labels in seen)]
        for label in path:
            if label == 3 and leg == 1:
                leg = 2
            elif label == 0:
                trips += leg == 2
                leg = 1
    assert exchange.round_trips.sum() == trips > 0


@pytest.mark.parametrize("scheme", ["neighbors", "gibbs"])
def test_stopping_and_other_blocks_change_no_bit(scheme: str) -> None:
    whole, parts = exchanging(scheme=scheme), exchanging(scheme=scheme)
    whole.run(1000)
    for steps in (400, 1, 19, 13, 567):
        parts.run(steps)
    assert all(same_bits(whole, parts, r, r) for r in range(8))
    assert torch.equal(whole.state.temperature, parts.state.temperature)
    assert whole.exchange is not None and parts.exchange is not None
    assert np.array_equal(whole.exchange.accepted, parts.exchange.accepted)


def test_systems_exchange_within_themselves() -> None:
    (one, ff1), (two, ff2) = go_helix(8, "one", 0.4), go_helix(6, "two", 0.4)
    layout = Layout((one, two), (4, 8))
    exchange = ReplicaExchange(layout, LADDER, 20)
    start = np.concatenate([np.tile(helix(8), (4, 1)), np.tile(helix(6), (8, 1))])
    mixed = simulate(layout, [ff1, ff2], start, None, exchange.start_temperatures.tolist(), exchange=exchange)
    mixed.run(400)
    assert [ladder.system for ladder in exchange.ladders] == [0, 1, 1]
    single = Layout((two,), (8,), tuple(range(4, 12)))
    lonely = ReplicaExchange(single, LADDER, 20)
    alone = simulate(
        single, [ff2], np.tile(helix(6), (8, 1)), None, lonely.start_temperatures.tolist(), exchange=lonely
    )
    alone.run(400)
    assert all(torch.equal(replica(mixed, 4 + r)[0], replica(alone, r)[0]) for r in range(8))
    assert exchange.attempted.sum(axis=(1, 2)).tolist() == [30, 60]


def test_brownian_replicas_exchange_without_velocities() -> None:
    simulation = exchanging(integrator=Brownian(0.0005, 50.0), draw=False)
    simulation.run(1000)
    assert simulation.exchange is not None and simulation.exchange.accepted.sum() > 20
    assert not simulation.state.velocities.any()


def test_a_temperature_off_the_ladder_is_named() -> None:
    simulation = exchanging()
    simulation.state.temperature[3] = 311.0
    with pytest.raises(InputError, match=r"replica 3 is at 311.0 K"):
        simulation.run(20)
