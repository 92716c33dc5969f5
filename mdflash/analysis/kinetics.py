"""The slow motions of a run's replicas: TICA on distances between residues, with errors and a free energy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mdflash.analysis.free_energy import Surface, surface
from mdflash.analysis.open_run import Run
from mdflash.analysis.sample import Sample
from mdflash.analysis.statistics import resample
from mdflash.analysis.tica import Tics, covariances, solve, tica
from mdflash.core.geometry import distances
from mdflash.core.types import FloatArray, IntArray

MOST_PAIRS = 150
MOST_FRAMES = 20_000
RESAMPLES = 20
LAGS = (1, 2, 5, 10, 20, 50, 100, 200)
"""Frames."""


@dataclass(frozen=True, eq=False)
class Kinetics:
    """The slow motions of replicas at one state.

    Attributes:
        model: at the lag used for pictures.
        pairs: [P, 2] beads whose distances are the features.
        lags: [L] ps.
        timescales, errors: [L, 2] ps.
        map: the free energy over the two components.
        lag: ps, of the model.
    """

    model: Tics
    pairs: IntArray
    lags: FloatArray
    timescales: FloatArray
    errors: FloatArray
    map: Surface
    lag: float

    def project(self, positions: FloatArray) -> FloatArray:
        """[F, 2] of positions [F, N, 3] Å."""
        return self.model(distances(positions, self.pairs))


def kinetics(run: Run, sample: Sample, state: int, first_step: int) -> Kinetics | str:
    """TICA of the replicas that keep `state`; a sentence where it makes no sense."""
    if sample.exchanged:
        return "slow motions (TICA) are not computed: exchange changes the kinetics of a replica"
    tracks = [t for t in sample.tracks if len(t) and t.states[0] == state]
    kept = [t.steps[t.steps >= first_step] for t in tracks]
    total = sum(map(len, kept))
    stride = max(1, -(-total // MOST_FRAMES))
    beads = sample.molecule.trace
    if min(map(len, kept), default=0) // stride < 100 or len(beads) < 4:
        return "slow motions (TICA) are not computed: there are too few frames"
    i, j = np.triu_indices(len(beads), 3)
    pick = np.unique(np.linspace(0, len(i) - 1, min(MOST_PAIRS, len(i))).astype(int))
    pairs = np.stack([beads[i[pick]], beads[j[pick]]], axis=1)
    features = []
    for t in tracks:
        if t.lost:  # frames were left out: those before them are evenly spaced
            continue
        x = run.positions[t.replica]
        first = int(np.searchsorted(t.steps, first_step))
        features.append(distances(x[first : len(t) : stride], pairs))
    if not features:
        return "slow motions (TICA) are not computed: every replica has frames that are left out"
    shortest = min(map(len, features))
    lags = [lag for lag in LAGS if lag <= shortest // 5] or [1]
    ps = sample.interval * stride
    mean = np.concatenate(features).mean(axis=0)
    found, errors = [], []
    for lag in lags:
        c0, ct = covariances(features, lag, mean)
        found.append(solve(c0.sum(axis=0), ct.sum(axis=0), mean, lag, total).timescales() * ps)
        drawn = [
            solve(np.tensordot(n, c0, 1), np.tensordot(n, ct, 1), mean, lag, total).timescales() * ps
            for n in (resample(len(features), RESAMPLES) if len(features) > 3 else [])
        ]
        known = np.isfinite(drawn).all(axis=0) if drawn else np.zeros(2, bool)
        spread = np.full(2, np.nan)
        if known.any():
            spread[known] = np.array(drawn)[:, known].std(axis=0, ddof=1)
        errors.append(spread)
    lag = lags[len(lags) // 2]
    model = tica(features, lag)
    values = np.concatenate([model(f) for f in features])
    blocks = np.repeat(np.arange(len(features)), [len(f) for f in features])
    picture = surface(("tic1", "tic2"), (values[:, 0], values[:, 1]), float(sample.temperatures[state]), None, blocks)
    return Kinetics(model, pairs, ps * np.array(lags), np.array(found), np.array(errors), picture, ps * lag)
