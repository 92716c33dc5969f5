"""Rates and populations from the walkers of a weighted ensemble.

    rate = <weight that arrives in the target at a resampling> / (time between resamplings)
    mean first passage time = 1 / rate       from the start frames to the target, once weights are stationary

Walkers that arrive start again, so the flux grows from nothing to a plateau (Hill's relation holds there). A share of
the run is left out that does not depend on what was seen: a start chosen by the fluxes would drop the few that are
large. Successive fluxes are correlated: walkers have common ancestors. So errors are those of means over ten long
blocks of resamplings (fewer, where blocks would be shorter than 40 resamplings or than twice the statistical
inefficiency of the flux), and the 95 % interval is Student's, of the logarithm of the rate: weights differ by orders of
magnitude. Zuckerman & Chong, Annu. Rev. Biophys. 46, 43 (2017); Mostofian & Zuckerman, J. Chem. Theory Comput. 15, 3499
(2019) on what no error can know: events that have not been seen.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import pandas

from mdflash.analysis.hills import LOW, spread
from mdflash.analysis.open_run import Run
from mdflash.analysis.statistics import Mean, ratio_mean, resample, statistical_inefficiency, student
from mdflash.analysis.verdict import time_text
from mdflash.config.ensemble import WeightedEnsemble
from mdflash.config.load import load_run
from mdflash.core.types import FloatArray, IntArray
from mdflash.errors import MdflashError
from mdflash.potentials.variables import VARIABLES
from mdflash.potentials.variables.base import AXES

LEFT_OUT: Final = 0.25
"""Of the resamplings, before which weights may not be stationary."""
BLOCKS: Final = 10
"""That errors are made from, at most: correlations are weak and long, so short blocks hide them."""
SHORTEST: Final = 40
"""Resamplings of a block, as long as that leaves `LEAST` of them: over shorter times walkers share ancestors whatever
the statistical inefficiency says. On a double well of 6 kT (272 runs of 48 walkers) intervals held the exact rate in
94 % of runs of 125 resamplings, 93 % of 250 and 92 % of 500 and 1000; ten blocks did in 82, 88, 92 and 92 %."""
LEAST: Final = 3
ENOUGH: Final = 8
"""Blocks that an interval should stand on."""
FEWEST: Final = 40
"""Resamplings, below which no plateau can be told."""
BINS: Final = 60
PATHS: Final = 24
"""Lineages that are shown."""


class Interval(NamedTuple):
    """A number with its 95 % interval."""

    value: float
    low: float
    high: float


class Generations(NamedTuple):
    """walkers.csv as arrays of T resamplings of N walkers.

    Attributes:
        times: [T] ps.
        values, weights: [T, N] with which walkers came.
        arrived: [T, N] whether they were in the target.
        parents: [T, N] place of the walker that each holds from then on.
    """

    times: FloatArray
    values: FloatArray
    weights: FloatArray
    arrived: IntArray
    parents: IntArray


class Rate(NamedTuple):
    """A flux, and what it stands on.

    Attributes:
        flux: [T] 1/ps, of each resampling.
        first: resamplings that are left out.
        inefficiency: of the rest: so many successive fluxes are worth one.
        blocks: that the error is made from.
        rate: 1/ps.
        passage: ps, the mean first passage time.
        arrivals: walkers that arrived, after the start that is left out.
        effective: how many of equal weight theirs are worth, (sum of weights)² / (sum of their squares).
        halves: 1/ps, of both halves of what is used, with standard errors.
    """

    flux: FloatArray
    first: int
    inefficiency: float
    blocks: int
    rate: Interval
    passage: Interval
    arrivals: int
    effective: float
    halves: tuple[Mean, Mean]

    @property
    def drift(self) -> float:
        """Difference of the halves in standard errors; NaN where they have none."""
        (a, da), (b, db) = self.halves
        error = math.hypot(da, db)
        return abs(a - b) / error if error > 0 else float("nan")


@dataclass(frozen=True, eq=False)
class Walked:
    """The weighted ensemble of one molecule.

    Attributes:
        name: of its variable.
        variable: in words with its unit, for axes.
        unit: of the variable, "" for none.
        target: both ends, or None.
        kelvin: temperature.
        walkers: how many.
        every: ps between resamplings.
        times: [T] ps.
        first: resamplings that are left out.
        rate: None without a target, or where nothing arrived after the start that is left out.
        edges: [B + 1] of the variable.
        population, errors: [B] weight in each bin, and its standard error.
        blocks: that this error is made from.
        halves: kT, root mean square difference of -ln weight between both halves of what is used, in bins of twice the
            size, over what is low in both; NaN for none.
        ancestors: [T] of how many walkers of each resampling the last ones are copies.
        lineages: (times, values) of walkers that arrived, or of the last ones, back to where they started.
    """

    name: str
    variable: str
    unit: str
    target: tuple[float, float] | None
    kelvin: float
    walkers: int
    every: float
    times: FloatArray
    first: int
    rate: Rate | None
    edges: FloatArray
    population: FloatArray
    errors: FloatArray
    blocks: int
    halves: float
    ancestors: IntArray
    lineages: list[tuple[FloatArray, FloatArray]]


def interval_text(x: Interval, unit: str) -> str:
    """'0.0055 /ps (95 %: 0.0047 to 0.0063)'."""
    return f"{x.value:.3g} {unit} (95 %: {x.low:.3g} to {x.high:.3g})"


def passage_text(rate: Rate) -> str:
    """The mean first passage time with its interval, in the unit that suits it."""
    return (
        f"{time_text(rate.passage.value, 3)} (95 %: "
        + " to ".join(time_text(end, 3) for end in (rate.passage.low, rate.passage.high))
        + ")"
    )


def find_walkers(run: Run, name: str) -> Walked | str | None:
    """The weighted ensemble of one molecule; why it tells nothing yet; or None: it has none."""
    if not (run.folder / "walkers.csv").is_file():
        return None
    try:
        config = load_run(run.folder)
        entry = config.weighted_ensemble
        names = [system.name for system in config.system]
        if entry is None or (entry.system or names[0]) != name:
            return None
        found = generations(run.walkers)
    except MdflashError as error:
        return f"the weighted ensemble could not be analyzed ({error})"
    if len(found.times) < FEWEST:
        return f"{entry.name} was resampled only {len(found.times)} times, and a rate takes {FEWEST}"
    kelvin = config.temperatures[sum(config.counts[: names.index(name)])]
    return _walked(entry, found, kelvin)


def generations(rows: pandas.DataFrame) -> Generations:
    """Every complete resampling of walkers.csv."""
    replicas = np.unique(rows["replica"].to_numpy())
    n = len(replicas)
    whole = len(rows) // n * n  # rows of a resampling are written together, in the order of the replicas

    def table(column: str) -> FloatArray:
        return np.asarray(rows[column].to_numpy(np.float64)[:whole].reshape(-1, n))

    return Generations(
        table("time_ps")[:, 0],
        table("value"),
        table("weight"),
        table("arrived").astype(np.int64),
        np.searchsorted(replicas, table("parent")).astype(np.int64),
    )


def rate_of(arrived: FloatArray, every: float) -> Rate | None:
    """The rate from the weights [T, N] that arrived at each resampling, 0 for walkers that did not; None: nothing did.

    Args:
        arrived: weights.
        every: ps between resamplings.
    """
    flux = arrived.sum(axis=1) / every
    first = int(LEFT_OUT * len(flux))
    used = flux[first:]
    if not used.any():
        return None
    value, error, blocks = _mean(used)
    wide = math.exp(student(0.975, blocks - 1) * error / value) if blocks > 1 else math.inf
    rate = Interval(value, value / wide, value * wide)
    weights = arrived[first:]
    half = len(used) // 2
    halves = [Mean(*_mean(part)[:2]) for part in (used[:half], used[half:])]
    return Rate(
        flux, first, statistical_inefficiency(used), blocks, rate,
        Interval(1.0 / value, 1.0 / rate.high if blocks > 1 else 0.0, 1.0 / rate.low if blocks > 1 else math.inf),
        int((weights > 0).sum()), float(weights.sum() ** 2 / (weights**2).sum()), (halves[0], halves[1]),
    )  # fmt: skip


def _mean(flux: FloatArray) -> tuple[float, float, int]:
    """The mean of a flux, its standard error, and the blocks it is made from."""
    sums, counts = _blocked(flux[:, None], statistical_inefficiency(flux))
    return (*ratio_mean(sums[:, 0], counts), len(counts))


def _blocked(rows: FloatArray, inefficiency: float) -> tuple[FloatArray, FloatArray]:
    """Sums [blocks, columns] and counts [blocks] over long stretches of rows."""
    blocks = max(1, min(BLOCKS, int(len(rows) / (2.0 * inefficiency)), max(LEAST, len(rows) // SHORTEST)))
    edges = np.linspace(0, len(rows), blocks + 1).round().astype(np.int64)
    return np.add.reduceat(rows, edges[:-1], axis=0), np.diff(edges).astype(np.float64)


def _walked(entry: WeightedEnsemble, g: Generations, kelvin: float) -> Walked:
    every = float(g.times[0])
    rate = None if entry.target is None else rate_of(g.weights * g.arrived, every)
    mean = (g.values * g.weights).sum(axis=1)
    first = int(LEFT_OUT * len(mean))
    edges, rows = _populations(g.values[first:], g.weights[first:])
    errors, blocks = _errors(rows, mean[first:])
    variable = VARIABLES[entry.variable]
    axis = AXES[variable.dimension]
    return Walked(
        entry.name, f"{variable.name.replace('_', ' ')} ({entry.name}){axis}", axis.removeprefix(" / "), entry.target,
        kelvin, g.values.shape[1], every, g.times, first, rate, edges, rows.mean(axis=0), errors, blocks,
        _halves(rows), ancestors(g.parents), _lineages(g),
    )  # fmt: skip


def _populations(values: FloatArray, weights: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Edges [B + 1], and the weight [T, B] of each bin at each resampling."""
    edges = np.linspace(float(values.min()), float(values.max()) + 1e-9, BINS + 1)
    bins = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, BINS - 1)
    t = len(values)
    flat = (bins + BINS * np.arange(t)[:, None]).ravel()
    return edges, np.bincount(flat, weights.ravel(), BINS * t).astype(np.float64).reshape(t, BINS)


def _errors(rows: FloatArray, mean: FloatArray) -> tuple[FloatArray, int]:
    """The standard error of the mean of each column, and from how many blocks; by the correlation of a mean [T]."""
    sums, counts = _blocked(rows, statistical_inefficiency(mean))
    drawn = resample(len(counts), 200)
    found = (drawn @ sums / (drawn @ counts)[:, None]).std(axis=0)
    return np.where(len(counts) > 1, found, np.nan), len(counts)


def _halves(rows: FloatArray) -> float:
    """kT by which both halves of the weights [T, B] differ, see `Walked.halves`."""
    half = len(rows) // 2
    with np.errstate(divide="ignore"):
        one, other = (-np.log(part.mean(axis=0).reshape(-1, 2).sum(axis=1)) for part in (rows[:half], rows[half:]))
    low = (one < one.min() + LOW) & (other < other.min() + LOW)
    return spread(one, other, low) if low.sum() > 1 else float("nan")


def ancestors(parents: IntArray) -> IntArray:
    """[T] of how many walkers of each resampling those after the last one are copies, from parents [T, N]."""
    now = np.arange(parents.shape[1])
    found = []
    for parent in parents[::-1]:
        now = np.unique(parent[now])
        found.append(len(now))
    return np.array(found[::-1], np.int64)


def _lineages(g: Generations) -> list[tuple[FloatArray, FloatArray]]:
    """Paths of walkers that arrived, evenly over the run (or of the last ones), back to where they started."""
    where = np.argwhere(g.arrived > 0)
    last = len(g.times) - 1
    ends = where if len(where) else np.array([[last, r] for r in range(g.values.shape[1])])
    chosen = ends[np.unique(np.linspace(0, len(ends) - 1, min(PATHS, len(ends))).round().astype(np.int64))]
    return [_path(g, int(t), int(row)) for t, row in chosen]


def _path(g: Generations, t: int, row: int) -> tuple[FloatArray, FloatArray]:
    times, values = [g.times[t]], [g.values[t, row]]
    while t > 0:
        t, row = t - 1, int(g.parents[t - 1, row])
        if g.arrived[t, row]:  # from where it started again
            break
        times.append(g.times[t])
        values.append(g.values[t, row])
    return np.array(times[::-1]), np.array(values[::-1])
