"""Slow motions, against deeptime and a process whose timescale is known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import lfilter

from mdflash.analysis.tics import tica
from mdflash.errors import InputError


def trajectories(rng: np.random.Generator) -> list[np.ndarray]:
    """A slow coordinate (correlation time 50 frames) and fast ones, mixed."""
    out, a = [], np.exp(-1 / 50)
    mix = np.linalg.qr(rng.normal(size=(5, 5)))[0] * [0.5, 1.0, 2.0, 3.0, 1.5]
    for _ in range(4):
        x = rng.normal(size=(50_000, 5))
        x[1:, 0] *= np.sqrt(1 - a * a)
        x[:, 0] = lfilter([1.0], [1.0, -a], x[:, 0])
        out.append(x @ mix)
    return out


def test_a_known_timescale() -> None:
    data = trajectories(np.random.default_rng())
    model = tica(data, 5)
    assert model.timescales()[0] == pytest.approx(50, rel=0.25)  # known to 2 %: so many correlation times are 4000
    assert not model.timescales()[1] > 10
    y = np.concatenate([model(x) for x in data])
    assert np.abs(y.std(axis=0) - 1).max() < 0.05 and abs((y[:, 0] * y[:, 1]).mean()) < 0.05
    with pytest.raises(InputError, match="longer than the lag"):
        tica(data, 50_000)


def test_as_deeptime() -> None:
    deeptime = pytest.importorskip("deeptime.decomposition")
    data = trajectories(np.random.default_rng())
    ours = tica(data, 7)
    theirs = deeptime.TICA(lagtime=7, dim=2, scaling=None).fit(data, lagtime=7).fetch_model()
    np.testing.assert_allclose(ours.timescales()[0], theirs.timescales()[0], rtol=0.02)
    a, b = ours(data[0])[:, 0], theirs.transform(data[0])[:, 0]
    assert abs(np.corrcoef(a, b)[0, 1]) > 0.999
