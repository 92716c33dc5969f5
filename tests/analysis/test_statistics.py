"""Errors and correlation times, against pymbar and against series whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from pymbar import timeseries
from scipy.signal import lfilter

from mdflash.analysis.numbers import AtState, measure
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
    noise = rng.normal(size=frames)
    noise[1:] *= np.sqrt(1 - a * a)
    return np.asarray(lfilter([1.0], [1.0, -a], noise))


def test_inefficiency_is_pymbars() -> None:
    rng = np.random.default_rng()
    for tau in (0.3, 5.0, 40.0):
        x = correlated(2000, tau, rng)
        assert statistical_inefficiency(x) == pytest.approx(timeseries.statistical_inefficiency(x), rel=1e-6)
    # each is 2.5 % high in the mean, and spreads by 7 %: 0.2 is ten standard errors away
    several = [statistical_inefficiency(correlated(60_000, 10.0, rng)) for _ in range(16)]
    assert np.mean(several) == pytest.approx(1 / np.tanh(0.05), rel=0.2)
    assert statistical_inefficiency(np.ones(50)) == 50
    assert statistical_inefficiency(np.ones(1)) == 1


def test_frames_without_a_value_are_worth_nothing() -> None:
    rng = np.random.default_rng()
    x = correlated(20_000, 8.0, rng)
    worth = len(x) / statistical_inefficiency(x)
    some = np.where(rng.random(len(x)) < 0.3, np.nan, x)  # neighbors know what is missing
    assert len(x) / statistical_inefficiency(some) == pytest.approx(worth, rel=0.25)
    cut = np.where(np.arange(len(x)) < 12_000, x, np.inf)
    alone = 12_000 / statistical_inefficiency(x[:12_000])
    assert len(x) / statistical_inefficiency(cut) == pytest.approx(alone, rel=1e-6)
    for few in ([np.nan] * 6, [1.0] + [np.nan] * 5, [1.0, np.nan, 1.0, np.nan, 1.0, 1.0]):
        assert statistical_inefficiency(np.array(few)) == 6


def test_a_relaxation_is_left_out() -> None:
    """The inefficiency of so many frames is known to 4 %; a start that is found too late would take 25 % off it."""
    rng, n = np.random.default_rng(), 20_000
    x = correlated(n, 1.0, rng) + 8.0 * np.exp(-np.arange(n) / 1000.0)
    assert 1000 < detect_equilibration(x).start < 8000
    assert detect_equilibration(correlated(n, 1.0, rng)).start < 6000
    assert detect_equilibration(np.zeros(0)).effective == 0


def test_replicas_that_leave_one_structure_together() -> None:
    """Sixteen whose mean and spread are exactly known at every frame, though each of them is new."""
    rng, n = np.random.default_rng(), 3000
    each = rng.normal(size=(16, n))
    each -= each.mean(axis=0)
    each /= each.std(axis=0, ddof=1)
    height, tau = rng.uniform(4.0, 8.0), rng.uniform(30.0, 60.0)
    drift = height * np.exp(-np.arange(n) / tau)
    left = drift - drift[n // 2 :].mean()
    first = int(np.argmax(left < 2.0 / np.sqrt(16.0)))  # two standard errors
    assert 50 < first < 400 and reaches_plateau(each + drift) == first
    assert reaches_plateau(each) == 0
    assert reaches_plateau((each + drift)[:2]) == 0


def test_the_error_is_that_of_repeated_runs() -> None:
    """The mean square of the error of one set of replicas is the variance of means over all sets.

    Both are sums of squares of Gaussian numbers, so their means are sums over the columns of a root of the covariance.
    """
    tau, frames, replicas = float(np.random.default_rng().uniform(2.0, 6.0)), 400, 4
    t = np.arange(frames)
    root = np.linalg.cholesky(np.exp(-np.abs(t[:, None] - t) / tau))
    blocks = cut_blocks([frames] * replicas, 30)
    counts = (blocks[:, 2] - blocks[:, 1]).astype(float)
    variance = square = 0.0
    for k in range(replicas):
        parts = np.array([root[a:b].sum(axis=0) if row == k else np.zeros(frames) for row, a, b in blocks])
        for sums in parts.T:
            found = ratio_mean(sums, counts)
            variance += found.value**2
            square += found.error**2
    # blocks of 100 frames know nothing of what reaches from one to the next: 2 tau of 100 frames at most
    assert 1.0 - 2.0 * tau / 100.0 < square / variance < 1.0
    assert np.isnan(ratio_mean(np.zeros(3), np.zeros(3)).value)
    assert np.isnan(ratio_mean(np.ones(1), np.ones(1)).error)


def test_a_slow_state_does_not_spoil_the_errors_of_others() -> None:
    """Means of single replicas, each at a state of its own, miss the true mean by their errors."""
    rng = np.random.default_rng()
    frames, quick, steps = 400, 40, np.arange(400)
    kelvin = np.full(quick + 1, 300.0)

    def measured(series: list[np.ndarray]) -> dict[int, AtState]:
        tracks = [Track(r, steps, steps.astype(float), np.full(frames, r), {"x": x}) for r, x in enumerate(series)]
        return measure(Sample(None, kelvin, False, (), tracks), "x", 0).states  # type: ignore[arg-type]

    off, drifts = [], []
    for _ in range(12):
        series = [correlated(frames, 2.0, rng) for _ in range(quick)]
        found = measured([*series, correlated(frames, 100.0, rng)])
        alone = measured(series)
        for r in range(quick):
            np.testing.assert_allclose(found[r].mean, alone[r].mean, rtol=1e-9, atol=1e-12)
            off.append(found[r].mean.value / found[r].mean.error)
            drifts.append(found[r].drift)
        assert all(s.mean.error >= 0.99 * s.deviation / np.sqrt(s.effective) for s in found.values())
    # 480 draws of a ratio whose errors come from 16 blocks: 1.00, with a standard error of 0.04
    assert 0.7 < np.std(off) < 1.4
    assert np.mean(np.array(drifts) > 3.0) < 0.03  # one of 2400 at most


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
