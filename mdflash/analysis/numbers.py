"""Means of an observable at every state, with errors, independent samples, halves and agreement of replicas."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mdflash.analysis.sample import Sample
from mdflash.analysis.statistics import (
    BLOCKS,
    Equilibration,
    Mean,
    cut_blocks,
    detect_equilibration,
    gelman_rubin,
    ratio_mean,
    reaches_plateau,
    statistical_inefficiency,
)
from mdflash.core.types import FloatArray, IntArray


@dataclass(frozen=True, eq=False)
class AtState:
    """An observable at one state.

    Attributes:
        mean, deviation: over frames; the mean with its standard error.
        frames: how many.
        effective: independent ones among them.
        halves: means of the first and the second half of the run.
        freedom: degrees of freedom of the error of their difference: blocks of both halves less two.
    """

    mean: Mean
    deviation: float
    frames: int
    effective: float
    halves: tuple[Mean, Mean]
    freedom: int

    @property
    def drift(self) -> float:
        """Difference of the halves in standard errors; NaN where it is not known.

        An error from few blocks is itself uncertain, so the difference is judged by Student's t: the number is that of
        the normal distribution with the same probability.
        """
        (a, da), (b, db) = self.halves
        error = float(np.hypot(da, db))
        if not error > 0:
            return float("nan")
        from scipy.stats import norm, t

        plain = abs(b - a) / error
        return min(plain, float(norm.isf(t.sf(plain, max(self.freedom, 1)))))


@dataclass(frozen=True, eq=False)
class Measured:
    """An observable of a run.

    Attributes:
        name: of the observable.
        states: by state that has frames.
        inefficiency: of a replica's series, frames.
        effective: independent frames of all replicas.
        rhat: largest over groups of replicas that sample the same.
    """

    name: str
    states: dict[int, AtState]
    inefficiency: float
    effective: float
    rhat: float


def equilibration(sample: Sample, names: list[str], until: float = -1.0) -> tuple[Equilibration, int]:
    """The common start of a molecule's equilibrium, in frames and as a step: the latest over observables.

    A relaxation from the start shows best in the mean over replicas, so that is the series looked at. Of its start by
    correlation and the frame at which it reaches the plateau, the later one counts. Frames that are no later than
    `until`, ps, are none of it.
    """
    n = min((len(t) for t in sample.tracks if len(t)), default=0)
    if n == 0:
        return Equilibration(0, 1.0, 0.0), 0
    times, steps = next((t.times[:n], t.steps[:n]) for t in sample.tracks if len(t))
    begin = int((times <= until).sum())
    if n - begin < 20:
        first = 0 if begin == 0 else int(steps[begin]) if begin < n else int(steps[-1]) + 1
        return Equilibration(begin, 1.0, float(n - begin)), first
    found = []
    for name in names:
        table = np.array([values[begin:n] for values in sample.series(name) if len(values)])
        e = detect_equilibration(table.mean(axis=0))
        found.append(e._replace(start=max(e.start, reaches_plateau(table))))
    last = max(found, key=lambda e: e.start)
    return last._replace(start=begin + last.start), int(steps[min(begin + last.start, n - 1)])


def block_ids(
    sample: Sample, first_step: int, inefficiency: FloatArray | None = None
) -> tuple[list[IntArray], IntArray]:
    """For each track the block of each frame from `first_step` on, counted through; and the strata of the blocks.

    Replicas that exchange walk all states, so any block may stand for any other. Others stand for their own state.
    """
    lengths = [int((t.steps >= first_step).sum()) for t in sample.tracks]
    slow = np.ones(len(lengths)) if inefficiency is None else inefficiency
    groups = [list(range(len(lengths)))]
    if not sample.exchanged:  # every state has blocks of its own, as long as it takes to forget there
        groups = [[k for k, t in enumerate(sample.tracks) if len(t) and t.states[0] == s] for s in _states(sample)]
    found = []
    for rows in groups:
        least = 1 if inefficiency is None else max(1, round(2.0 * float(np.max(slow[rows], initial=1.0))))
        found += [(rows[k], a, b) for k, a, b in cut_blocks([lengths[r] for r in rows], least)]
    cuts = np.array(found, np.int64).reshape(-1, 3)
    ids = [np.zeros(n, np.int64) for n in lengths]
    for number, (k, a, b) in enumerate(cuts):
        ids[k][a:b] = number
    strata = [0 if sample.exchanged else int(sample.tracks[k].states[0]) for k, _, _ in cuts]
    return ids, np.array(strata, np.int64)


def _states(sample: Sample) -> list[int]:
    return sorted({int(s) for t in sample.tracks if len(t) for s in t.states[:1]})


def measure(sample: Sample, name: str, first_step: int) -> Measured:
    """An observable from `first_step` on."""
    keep = [t.steps >= first_step for t in sample.tracks]
    series = [s[k] for s, k in zip(sample.series(name), keep, strict=True)]
    states = [t.states[k] for t, k in zip(sample.tracks, keep, strict=True)]
    g = np.array([statistical_inefficiency(s) if len(s) > 1 else 1.0 for s in series])
    ids, _ = block_ids(sample, first_step, g)
    halves = [(np.arange(len(s)) >= len(s) / 2).astype(np.int64) for s in series]
    count = len(sample.temperatures)
    blocks = max((int(i.max(initial=-1)) + 1 for i in ids), default=0)
    shape = (blocks, count, 2)
    sums, squares, counts = np.zeros(shape), np.zeros(shape), np.zeros(shape)
    for x, s, i, h in zip(series, states, ids, halves, strict=True):
        flat = (i * count + s) * 2 + h
        size = blocks * count * 2
        sums += np.bincount(flat, weights=x, minlength=size).reshape(shape)
        squares += np.bincount(flat, weights=x * x, minlength=size).reshape(shape)
        counts += np.bincount(flat, minlength=size).reshape(shape)
    visits = np.array([np.bincount(s, minlength=count) for s in states]).reshape(-1, count)
    independent = np.array([len(s) / x for s, x in zip(series, g, strict=True)])
    found = {}
    for s in np.flatnonzero(counts.sum(axis=(0, 2))).tolist():
        n = counts[:, s].sum()
        mean = ratio_mean(sums[:, s].sum(axis=1), counts[:, s].sum(axis=1))
        variance = max(float(squares[:, s].sum() / n - mean.value**2), 0.0)
        effective = float(np.minimum(visits[:, s], independent).sum())
        a, b = (ratio_mean(sums[:, s, h], counts[:, s, h]) for h in (0, 1))
        deviation = float(np.sqrt(variance))
        if not sample.exchanged:  # with exchange, a replica's correlation is that of its walk over states
            mean, a, b = (
                _at_least(x, deviation, n) for x, n in ((mean, effective), *((h, effective / 2) for h in (a, b)))
            )
        freedom = int((counts[:, s] > 0).sum()) - 2
        found[s] = AtState(mean, deviation, int(n), effective, (a, b), freedom)
    groups: dict[int, list[FloatArray]] = {}
    for x, t in zip(series, sample.tracks, strict=True):
        if len(x):
            groups.setdefault(0 if sample.exchanged else int(t.states[0]), []).append(x)
    known = [r for r in map(gelman_rubin, groups.values()) if np.isfinite(r)]
    total = float(independent.sum())
    frames = sum(map(len, series))
    return Measured(name, found, frames / total if total else 1.0, total, max(known, default=float("nan")))


def _at_least(mean: Mean, deviation: float, effective: float) -> Mean:
    """No error is smaller than that of so many independent samples; few blocks may agree by chance."""
    if effective <= 0 or deviation == 0.0:
        return mean
    return mean._replace(error=float(np.fmax(mean.error, deviation / np.sqrt(effective))))


__all__ = ["BLOCKS", "AtState", "Measured", "block_ids", "equilibration", "measure"]
