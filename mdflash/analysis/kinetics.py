"""The slow motions of a run's replicas: TICA on distances between residues, and a Markov model on its components."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mdflash.analysis.free_energy import Surface, surface
from mdflash.analysis.markov import (
    Markov,
    clusters,
    count_matrix,
    largest_connected,
    markov_model,
    reversible,
    spectrum,
    timescales,
)
from mdflash.analysis.open_run import Run
from mdflash.analysis.sample import Sample
from mdflash.analysis.statistics import resample
from mdflash.analysis.tics import Tics, covariances, solve, tica
from mdflash.core.geometry import distances
from mdflash.core.types import FloatArray, IntArray
from mdflash.errors import InputError

MOST_PAIRS = 150
MOST_FRAMES = 20_000
RESAMPLES = 20
FEWEST_STATES, MOST_STATES = 5, 100
"""Clusters of a Markov model."""
MOST_SETS = 4
"""Metastable sets."""
LAGS = (1, 2, 5, 10, 20, 50, 100, 200)
"""Frames."""


@dataclass(frozen=True, eq=False)
class States:
    """A Markov model of clusters in the plane of the two components.

    Attributes:
        model: at the lag of the pictures.
        timescales: [L, 2] ps, of models at every lag.
        values: by observable its mean in each metastable set [M].
    """

    model: Markov
    timescales: FloatArray
    values: dict[str, FloatArray]


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
        states: the Markov model at that lag, or a sentence why there is none.
    """

    model: Tics
    pairs: IntArray
    lags: FloatArray
    timescales: FloatArray
    errors: FloatArray
    map: Surface
    lag: float
    states: States | str

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
    features, used = [], []
    for t in tracks:
        if t.lost:  # frames were left out: those before them are evenly spaced
            continue
        x = run.positions[t.replica]
        first = int(np.searchsorted(t.steps, first_step))
        features.append(distances(x[first : len(t) : stride], pairs))
        used.append((t, first))
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
    parts = np.split(values, np.cumsum([len(f) for f in features])[:-1])
    kept_values = {
        o.name: np.concatenate([t.values[o.name][first : len(t) : stride] for t, first in used])
        for o in sample.observables
    }
    states = _states(parts, lags, lag, ps, kept_values)
    return Kinetics(model, pairs, ps * np.array(lags), np.array(found), np.array(errors), picture, ps * lag, states)


def _states(
    parts: Sequence[FloatArray], lags: Sequence[int], lag: int, ps: float, values: dict[str, FloatArray]
) -> States | str:
    """A Markov model of the frames [F, 2] of each replica; a sentence where there is none."""
    every = np.concatenate(parts)
    number = int(np.clip(round(0.7 * len(every) ** 0.5), FEWEST_STATES, MOST_STATES))
    if not (every.std(axis=0) > 0).all():
        return "no Markov model: the components do not vary"
    of_each = clusters(every, number)
    labels = np.split(of_each, np.cumsum([len(p) for p in parts])[:-1])
    counts = count_matrix(labels, lag, number).sum(axis=0)
    keep = largest_connected(counts)
    if len(keep) < FEWEST_STATES:
        return "no Markov model: too few clusters are visited again and again"
    slow = timescales(spectrum(*reversible(counts[np.ix_(keep, keep)]))[0], lag)
    if not slow[0] > lag:
        return f"no Markov model: the slowest motion is over within its lag of {ps * lag:.4g} ps"
    known = slow[:MOST_SETS][np.isfinite(slow[:MOST_SETS])]
    ratios = known[:-1] / known[1:]
    sets = 2 + int(np.argmax(ratios)) if len(ratios) else 2
    try:
        model = markov_model(labels, lag, number, sets)
    except (InputError, np.linalg.LinAlgError) as error:
        return f"no Markov model: {error}"
    found = []
    for k in lags:
        c = count_matrix(labels, k, number).sum(axis=0)
        rows = largest_connected(c)
        t = timescales(spectrum(*reversible(c[np.ix_(rows, rows)]))[0], k) * ps if len(rows) > 2 else np.full(2, np.nan)
        found.append(t[:2])
    of = np.full(number, -1)
    of[keep] = model.sets
    each = of[of_each]
    means = {n: np.array([v[each == s].mean() if (each == s).any() else np.nan for s in range(sets)])
             for n, v in values.items()}  # fmt: skip
    return States(model, np.array(found), means)
