"""A run against experiments: averages over its frames, chi², and weights that agree with what was measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from mdflash.analysis.experiment.bme import Fit, Reweighting, bme, chosen_theta, fit
from mdflash.analysis.experiment.data import Data
from mdflash.analysis.experiment.file import KINDS, Experimental
from mdflash.analysis.molecule import Molecule
from mdflash.analysis.numbers import block_ids
from mdflash.analysis.open_run import Run
from mdflash.analysis.sample import Progress, Sample
from mdflash.analysis.statistics import ratio_mean
from mdflash.core.types import FloatArray, IntArray
from mdflash.errors import InputError
from mdflash.io.read import read_times

MOST_FRAMES: Final = 3000
"""Frames that are compared and reweighted; of more, evenly picked ones."""
MOST_NUMBERS: Final = 6e9
"""Numbers that the data may take to compute; a larger molecule has fewer frames looked at."""
FEWEST: Final = 20
"""Frames that are worth a comparison."""
FAR: Final = 5.0
"""K between measurement and simulation from which a note says so."""


@dataclass(frozen=True, eq=False)
class Against:
    """One kind of data.

    Attributes:
        data: what was measured.
        before, after: the average as simulated, and reweighted.
        errors: [M] standard errors of the simulated average, as it is shown.
        frames: [F] of each frame, as it is shown, where one number was measured; else empty.
    """

    data: Data
    before: Fit
    after: Fit
    errors: FloatArray
    frames: FloatArray


@dataclass(frozen=True, eq=False)
class ExperimentResult:
    """A molecule against everything that was measured of it.

    Attributes:
        state: the state whose frames are compared.
        kelvin: its temperature.
        kinds: by kind of data.
        chi2: over all points, as simulated.
        found: the scan over theta, from large to small.
        chosen: which of it is used.
        given: whether theta was given.
        replicas, steps: [F] of the frames.
        observables: by name the mean as simulated and reweighted, of the same frames.
        values: by name [F], of the observables.
        notes: in sentences.
    """

    state: int
    kelvin: float
    kinds: tuple[Against, ...]
    chi2: float
    found: tuple[Reweighting, ...]
    chosen: int
    given: bool
    replicas: IntArray
    steps: IntArray
    observables: dict[str, tuple[float, float]]
    values: dict[str, FloatArray]
    notes: tuple[str, ...]

    @property
    def used(self) -> Reweighting:
        """The chosen weights."""
        return self.found[self.chosen]


def collect_data(experiment: Experimental, molecule: Molecule) -> list[Data]:
    """Everything that was measured, for this molecule.

    Raises:
        InputError: data that does not fit the molecule.
    """
    return [k.data(value, molecule) for k in KINDS if (value := getattr(experiment, k.name)) != k.nothing]


def compare(
    run: Run, sample: Sample, experiment: Experimental, first_step: int, focus: int, progress: Progress
) -> ExperimentResult | str:
    """The frames of one state from `first_step` on against what was measured; a sentence where there are too few.

    Args:
        run: where the frames are.
        sample: of the molecule that was measured.
        experiment: what was measured.
        first_step: of equilibrium.
        focus: the state to look at where the experiment has no temperature.
        progress: called with what is done.

    Raises:
        InputError: data that does not fit the molecule.
    """
    every = collect_data(experiment, sample.molecule)
    state, notes = _state(sample, experiment, focus)
    rows = [np.flatnonzero((t.steps >= first_step) & (t.states == state)) for t in sample.tracks]
    total = sum(map(len, rows))
    if total < FEWEST:
        return f"{total} frames at the temperature of the experiment are too few to compare with it"
    limit = max(FEWEST, min(MOST_FRAMES, int(MOST_NUMBERS / max(sum(d.cost for d in every), 1))))
    stride = -(-total // limit)
    rows = [r[::stride] for r in rows]
    if stride > 1:
        notes.append(f"every {stride}th of {total:,} frames is compared with the experiments")
    values = _values(run, sample, rows, every, progress)
    blocks = _blocks(sample, first_step, rows)
    linear = [d.points(v) for v, d in zip(values, every, strict=True)]
    progress("reweighting to the experiments", 0, 1)
    if experiment.theta is None:
        found, chosen = chosen_theta(linear)
    else:
        found, chosen = (bme(linear, experiment.theta),), 0
    kinds = []
    even = np.full(sum(map(len, rows)), 1.0 / sum(map(len, rows)))
    for k, (d, p) in enumerate(zip(every, linear, strict=True)):
        before = fit(p, even)
        spread = before.scale * _errors(p.calculated, blocks)
        shown = np.abs(d.slope(np.maximum(d.shown(before.average), 1e-300)))
        frames = d.shown(p.calculated[:, 0]) if d.look == "number" else np.zeros(0)
        kinds.append(Against(d, before, found[chosen].fits[k], spread / shown, frames))
        if (
            len(frames)
            and not np.any(np.abs(frames - d.measured) <= d.errors)
            and (d.measured[0] < frames.min() or d.measured[0] > frames.max())
        ):
            notes.append(
                f"the {d.title[0].lower()}{d.title[1:]} was measured as {d.measured[0]:.4g} {d.unit}, and frames have "
                f"{frames.min():.4g} to {frames.max():.4g} {d.unit}, so no weights reach it; is its unit right?"
            )
    chi2 = float(np.average([a.before.chi2 for a in kinds], weights=[len(a.data.measured) for a in kinds]))
    series = {
        o.name: np.concatenate([t.values[o.name][r] for t, r in zip(sample.tracks, rows, strict=True)])
        for o in sample.observables
    }
    w = found[chosen].weights
    return ExperimentResult(
        state, float(sample.temperatures[state]), tuple(kinds), chi2, found, chosen, experiment.theta is not None,
        np.concatenate([np.full(len(r), t.replica) for t, r in zip(sample.tracks, rows, strict=True)]),
        np.concatenate([t.steps[r] for t, r in zip(sample.tracks, rows, strict=True)]),
        {name: (float(x.mean()), float(w @ x)) for name, x in series.items()}, series,
        (*notes, *(n for d in every for n in d.notes)),
    )  # fmt: skip


def _state(sample: Sample, experiment: Experimental, focus: int) -> tuple[int, list[str]]:
    """The state nearest in temperature to the measurement."""
    kelvin = sample.temperatures
    wanted = experiment.temperature
    if wanted is None or not np.isfinite(kelvin).any():
        return focus, []
    state = int(np.nanargmin(np.abs(kelvin - wanted)))
    if abs(kelvin[state] - wanted) <= FAR:
        return state, []
    return state, [
        f"the experiment was at {wanted:.4g} K, and the frames that it is compared with are at {kelvin[state]:.4g} K"
    ]


def _values(
    run: Run, sample: Sample, rows: Sequence[IntArray], every: Sequence[Data], progress: Progress
) -> list[FloatArray]:
    """[F, M] of each kind of data, over the frames `rows` of each track."""
    positions = run.positions
    found: list[list[FloatArray]] = [[] for _ in every]
    for done, (track, mine) in enumerate(zip(sample.tracks, rows, strict=True)):
        progress("computing what was measured", done, len(rows))
        if not len(mine):
            continue
        x = positions[track.replica]
        at = mine if not track.lost else np.searchsorted(read_times(x.path)[0], track.steps[mine])
        frames = x[at]
        for parts, data in zip(found, every, strict=True):
            parts.append(data.values(frames))
    return [np.concatenate(parts) for parts in found]


def _blocks(sample: Sample, first_step: int, rows: Sequence[IntArray]) -> IntArray:
    """[F] the independent block of each frame."""
    ids, _ = block_ids(sample, first_step)
    found = []
    for t, mine, own in zip(sample.tracks, rows, ids, strict=True):
        settled = int(np.searchsorted(t.steps, first_step))
        found.append(own[mine - settled])
    return np.unique(np.concatenate(found), return_inverse=True)[1]


def _errors(values: FloatArray, blocks: IntArray) -> FloatArray:
    """[M] standard errors of the mean of values [F, M] over blocks [F]."""
    counts = np.bincount(blocks).astype(np.float64)
    sums = [np.bincount(blocks, weights=column).astype(np.float64) for column in values.T]
    return np.array([ratio_mean(s, counts).error for s in sums])


def molecule_of(experiment: Experimental, names: Sequence[str]) -> str:
    """The molecule that was measured.

    Raises:
        InputError: there are several and the experiment names none of them.
    """
    if experiment.molecule in names or (experiment.molecule is None and len(names) == 1):
        return experiment.molecule or names[0]
    what = "no molecule is named" if experiment.molecule is None else f"there is no '{experiment.molecule}'"
    raise InputError(f"{what}; write `molecule: {names[0]}` (there are {', '.join(names)})", key="molecule")
