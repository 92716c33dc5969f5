"""Errors and correlation times, against pymbar and against series whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from pymbar import timeseries

from mdflash.analysis.numbers import measure
from mdflash.analysis.sample import Sample, Track
from mdflash.analysis.statistics import (
    cut_blocks,
    detect_equilibration,
    gelman_rubin,
    ratio_mean,
    reaches_plateau,
    resample,
    statistical_inefficiency,
)


def correlated(frames: int, tau: float, rng: np.random.Generator) -> np.ndarray:
    """An autoregressive series with correlation exp(-t/tau), mean 0, variance 1."""
    a = np.exp(-1.0 / tau)
    noise = rng.normal(0, np.sqrt(1 - a * a), frames)
    x = np.empty(frames)
    x[0] = rng.normal()
    for k in range(1, frames):
        x[k] = a * x[k - 1] + noise[k]
    return x


def test_inefficiency_is_pymbars() -> None:
    rng = np.random.default_rng()
    for tau in (0.3, 5.0, 40.0):
        x = correlated(2000, tau, rng)
        assert statistical_inefficiency(x) == pytest.approx(timeseries.statistical_inefficiency(x), rel=1e-6)
    several = [statistical_inefficiency(correlated(10_000, 10.0, rng)) for _ in range(10)]
    assert np.mean(several) == pytest.approx(1 / np.tanh(0.05), rel=0.2)
    assert statistical_inefficiency(np.ones(50)) == 50
    assert statistical_inefficiency(np.ones(1)) == 1


def test_a_relaxation_is_left_out() -> None:
    rng = np.random.default_rng()
    x = correlated(4000, 5.0, rng) + 8.0 * np.exp(-np.arange(4000) / 200.0)
    found = detect_equilibration(x)
    assert 200 < found.start < 1600
    assert detect_equilibration(correlated(4000, 5.0, rng)).start < 1200
    assert detect_equilibration(np.zeros(0)).effective == 0


def test_replicas_that_leave_one_structure_together() -> None:
    rng = np.random.default_rng()
    series = np.array([correlated(3000, 50.0, rng) for _ in range(16)]) + 6.0 * np.exp(-np.arange(3000) / 40.0)
    assert 50 < reaches_plateau(series) < 400
    assert reaches_plateau(np.array([correlated(3000, 5.0, rng) for _ in range(16)])) < 30
    assert reaches_plateau(series[:2]) == 0


def test_the_error_is_that_of_repeated_runs() -> None:
    """The standard error of one set of replicas is the spread of means over many sets."""
    rng = np.random.default_rng()
    means, errors = [], []
    for _ in range(60):
        series = [correlated(400, 6.0, rng) for _ in range(4)]
        blocks = cut_blocks([400] * 4, 30)
        sums = np.array([series[k][a:b].sum() for k, a, b in blocks])
        found = ratio_mean(sums, (blocks[:, 2] - blocks[:, 1]).astype(float))
        means.append(found.value)
        errors.append(found.error)
    assert np.mean(errors) == pytest.approx(np.std(means), rel=0.35)
    assert np.isnan(ratio_mean(np.zeros(3), np.zeros(3)).value)
    assert np.isnan(ratio_mean(np.ones(1), np.ones(1)).error)


def test_a_slow_state_does_not_spoil_the_errors_of_others() -> None:
    """Means of single replicas, each at a state of its own, miss the true mean by their errors."""
    rng = np.random.default_rng()
    frames, quick = 400, 40
    off, drifts = [], []
    for _ in range(5):
        tracks = []
        for r in range(quick + 1):
            x = correlated(frames, 100.0 if r == 0 else 2.0, rng)
            steps = np.arange(frames)
            tracks.append(Track(r, steps, steps.astype(np.float64), np.full(frames, r), {"x": x}))
        kelvin = np.full(quick + 1, 300.0)
        found = measure(Sample(None, kelvin, False, (), tracks), "x", 0)  # type: ignore[arg-type]
        off += [found.states[r].mean.value / found.states[r].mean.error for r in range(1, quick + 1)]
        drifts += [found.states[r].drift for r in range(1, quick + 1)]
        assert all(s.mean.error >= 0.99 * s.deviation / np.sqrt(s.effective) for s in found.states.values())
    assert np.std(off) < 1.4  # 200 draws of a ratio whose errors come from 16 blocks
    assert np.mean(np.array(drifts) > 3.0) < 0.03


def test_blocks_cover_every_frame_once() -> None:
    lengths = [100, 0, 37, 5]
    seen = [np.zeros(n, int) for n in lengths]
    for k, a, b in cut_blocks(lengths, 3):
        seen[k][a:b] += 1
    assert all((s == 1).all() for s in seen)


def test_replicas_that_disagree() -> None:
    rng = np.random.default_rng()
    same = [rng.normal(size=500) for _ in range(5)]
    assert gelman_rubin(same) < 1.02
    assert gelman_rubin([*same[:4], same[4] + 3.0]) > 1.2
    assert np.isnan(gelman_rubin(same[:1])) and np.isnan(gelman_rubin([np.zeros(3)] * 4))


def test_bootstrap_stays_in_its_strata() -> None:
    strata = np.array([0, 0, 1, 1, 1])
    drawn = resample(5, 30, strata)
    assert (drawn[:, :2].sum(axis=1) == 2).all() and (drawn[:, 2:].sum(axis=1) == 3).all()
    assert (resample(5, 30).sum(axis=1) == 5).all()
