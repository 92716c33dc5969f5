"""Time-lagged independent components: the slowest linear combinations of features, and their timescales.

Pérez-Hernández et al., J. Chem. Phys. 139, 015102 (2013). The covariances are made symmetric in time, so eigenvalues
are real; tests compare with deeptime.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mdflash.core.types import FloatArray
from mdflash.errors import InputError

SMALLEST = 1e-6
"""Variance, relative to the largest, of a combination of features that is kept."""


@dataclass(frozen=True, eq=False)
class Tics:
    """A fitted model.

    Attributes:
        mean: [D] of the features.
        vectors: [D, dims] with unit variance of the projections.
        eigenvalues: [dims] autocorrelation of each component at the lag, falling.
        lag: frames.
    """

    mean: FloatArray
    vectors: FloatArray
    eigenvalues: FloatArray
    lag: int

    def __call__(self, features: FloatArray) -> FloatArray:
        """[F, dims] of features [F, D]."""
        return np.asarray((features - self.mean) @ self.vectors)

    def timescales(self) -> FloatArray:
        """[dims] frames, -lag / ln(eigenvalue); NaN where the eigenvalue is not between 0 and 1."""
        with np.errstate(divide="ignore", invalid="ignore"):
            t = -self.lag / np.log(self.eigenvalues)
        return np.where((self.eigenvalues > 0) & (self.eigenvalues < 1), t, np.nan)


def tica(features: Sequence[FloatArray], lag: int, dims: int = 2) -> Tics:
    """Fit to features [F, D] of several trajectories, evenly spaced in time.

    Args:
        features: one array for each trajectory.
        lag: frames.
        dims: components.

    Raises:
        InputError: no trajectory is longer than the lag.
    """
    long = [f for f in features if len(f) > lag]
    if not long:
        raise InputError(f"no trajectory is longer than the lag of {lag} frames")
    mean = np.concatenate(long).mean(axis=0)
    c0, ct = covariances(long, lag, mean)
    return solve(c0.sum(axis=0), ct.sum(axis=0), mean, lag, sum(map(len, long)), dims)


def covariances(features: Sequence[FloatArray], lag: int, mean: FloatArray) -> tuple[FloatArray, FloatArray]:
    """[T, D, D] sums over the frames of each trajectory: of the same frame, and of frames a lag apart."""
    same, apart = [], []
    for f in features:
        a, b = f[:-lag] - mean, f[lag:] - mean
        same.append(0.5 * (a.T @ a + b.T @ b))
        apart.append(0.5 * (a.T @ b + b.T @ a))
    return np.array(same), np.array(apart)


def solve(c0: FloatArray, ct: FloatArray, mean: FloatArray, lag: int, frames: int, dims: int = 2) -> Tics:
    """The components of summed covariances over so many frames."""
    values, vectors = np.linalg.eigh(c0)
    large = values > SMALLEST * values.max()
    white = vectors[:, large] / np.sqrt(values[large])
    slow, rotation = np.linalg.eigh(white.T @ ct @ white)
    return Tics(mean, (white @ rotation[:, ::-1][:, :dims]) * np.sqrt(frames), slow[::-1][:dims], lag)
