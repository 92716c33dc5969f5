"""Means of forces: their errors, and halves that disagree."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from mdflash.errors import InputError
from mdflash.sampling.means import DISAGREE, MeanForce, mean_force
from mdflash.sampling.trajectory import TrajectoryWriter, open_trajectory

N = 6


@pytest.mark.parametrize("memory", [0.0, 0.6])
def test_errors_are_those_of_runs_that_are_repeated(memory: float) -> None:
    rng = np.random.default_rng()
    size, truth = rng.uniform(0.3, 3.0, (N, 3)), rng.normal(size=(N, 3))
    found = []
    for _ in range(100):
        noise = rng.normal(size=(400, N, 3))
        for k in range(1, 400):
            noise[k] = memory * noise[k - 1] + np.sqrt(1.0 - memory**2) * noise[k]
        found.append(mean_force(truth + size * noise))
    spread = np.std([m.mean for m in found], axis=0, ddof=1)
    stated = np.sqrt(np.mean([m.error**2 for m in found], axis=0))
    assert (stated / spread).mean() == pytest.approx(1.15, abs=0.15)  # scaled up, never down
    assert sum(m.halves.max() > DISAGREE for m in found) <= 5


def test_a_bead_that_jumped_once_is_noticed_and_its_error_covers_the_jump() -> None:
    rng = np.random.default_rng()
    forces, bead = rng.normal(size=(400, N, 3)), int(rng.integers(N))
    quiet = mean_force(forces)
    forces[300:, bead] += 5.0  # away from the middle
    found = mean_force(forces)
    assert found.halves.argmax() == bead and found.halves[bead] > DISAGREE > quiet.halves.max()
    assert (found.error[bead] > 1.0).all()  # half of the halves' difference of 2.5
    others = np.arange(N) != bead
    np.testing.assert_array_equal(found.error[others], quiet.error[others])


def test_forces_that_never_change_have_no_error() -> None:
    found = mean_force(np.ones((40, N, 3)))
    assert (found.mean == 1).all() and (found.error == 0).all() and (found.halves == 0).all()


def test_errors_and_halves_stand_beside_the_frames(tmp_path: Path) -> None:
    rng = np.random.default_rng()
    file, whole = tmp_path / "000.h5", tmp_path / "001.h5"
    means = [mean_force(rng.normal(size=(40, N, 3))) for _ in range(7)]
    x = rng.normal(size=(7, N, 3))
    for path, parts in ((file, (0, 3, 7)), (whole, (0, 7))):
        for first, last in pairwise(parts):
            with TrajectoryWriter(path, N, seed=1, aggregation="basic", frames=first, means=True) as writer:
                for k in range(first, last):
                    writer.append(x[k], means[k].mean, 300.0, 1.0 + k, means=means[k])
                assert open_trajectory(path, "x").n_frames == last  # each is on the disk at once
    frames, other = open_trajectory(file, "x").read(), open_trajectory(whole, "x").read()
    assert frames.force_error is not None and frames.halves is not None
    np.testing.assert_array_equal(frames.force_error, np.array([m.error for m in means], np.float32))
    np.testing.assert_array_equal(frames.halves, np.array([m.halves for m in means], np.float32))
    for a, b in zip(frames, other, strict=True):
        assert a is b is None or (a == b).all()
    bad = MeanForce(means[0].mean, np.full((N, 3), np.nan), means[0].halves)
    with TrajectoryWriter(file, N, seed=1, aggregation="basic", frames=7, means=True) as writer:
        writer.append(x[0], bad.mean, 300.0, 8.0, means=bad)
    with pytest.raises(InputError, match="frame 7: force_error must be finite"):
        open_trajectory(file, "x").read()
