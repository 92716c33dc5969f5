"""Umbrella windows: what colvars.csv holds, the energy of every window at every sample, the free energy."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas

from mdflash.analysis.free_energy import BINS, Surface, surface
from mdflash.analysis.open_run import Run
from mdflash.analysis.reweight import RESAMPLES
from mdflash.analysis.sample import States
from mdflash.analysis.statistics import resample, statistical_inefficiency
from mdflash.config.biases import BiasEntry
from mdflash.config.exchange import scale_name
from mdflash.config.load import load_run
from mdflash.config.untold import biases_on, untold
from mdflash.core.mbar import log_mixture, mbar, overlap_matrix, weights
from mdflash.core.types import FloatArray, IntArray
from mdflash.errors import MdflashError
from mdflash.potentials.bias.energy import bias_energy
from mdflash.potentials.variables import VARIABLES
from mdflash.units import BOLTZMANN

MOST = 20_000
"""Samples."""
STRETCHES = 6
"""Of a replica that keeps its window, taken as independent."""


@dataclass(frozen=True, eq=False)
class Windows:
    """Umbrella sampling of one molecule along one variable.

    Attributes:
        name: of the bias.
        variable: what it acts on, in words.
        unit: "Å", "rad" or "".
        centers, constants: [K] of the states.
        form: of the bias.
        values, states: [N] of the samples.
        profile: the free energy along the variable without the bias.
        overlap: [K, K].
        free: [K] kT, of the windows.
        halves: [2, bins] kcal/mol, the free energy from the first and the second half of the samples of each window.
        effective: [K] independent samples of the variable in each window.
    """

    name: str
    variable: str
    unit: str
    centers: FloatArray
    constants: FloatArray
    form: str
    values: FloatArray
    states: IntArray
    profile: Surface
    overlap: FloatArray
    free: FloatArray
    halves: FloatArray
    effective: FloatArray

    @property
    def difference(self) -> float:
        """kT, root mean square difference of the free energies of both halves; NaN where they share no bins."""
        d = (self.halves[1] - self.halves[0])[np.isfinite(self.profile.energy)]
        d = d[np.isfinite(d)]
        return float(d.std()) / (BOLTZMANN * self.profile.kelvin) if len(d) > 1 else float("nan")

    @property
    def weakest(self) -> float:
        """The least overlap of two windows that are next to each other."""
        order = np.argsort(self.centers, kind="stable")
        return min((float(self.overlap[a, b]) for a, b in itertools.pairwise(order)), default=1.0)


def bias_energies(run: Run, name: str) -> dict[int, tuple[IntArray, FloatArray]]:
    """By replica of a molecule: steps of colvars.csv, and the energy of all biases then, kcal/mol; {}: not recorded."""
    try:
        config, table = load_run(run.folder), run.colvars
    except (MdflashError, OSError):
        return {}
    names = [b.name for b in config.biases if (b.system or config.system[0].name) == name]
    names += [m.name for m in config.metadynamics if (m.system or config.system[0].name) == name]
    names += [] if config.exchange is None else [scale_name(term) for term in config.exchange.scale]
    columns = [f"{n}_kcal_mol" for n in names]
    if not columns or not set(columns) <= set(table.columns):
        return {}
    rows = table[table["system"] == name]
    return {
        int(r): (g["step"].to_numpy(np.int64), g[columns].sum(axis=1, skipna=False).to_numpy(np.float64))
        for r, g in rows.groupby("replica")
    }


def find_windows(run: Run, name: str, states: States, first_step: int) -> tuple[list[Windows], list[str]]:
    """Of one molecule: every bias with several windows; and what could not be done, in sentences."""
    if not (run.folder / "colvars.csv").is_file():
        return [], []
    try:
        config = load_run(run.folder)
        table = run.colvars
    except MdflashError as error:
        return [], [f"the windows of the biases could not be read ({error})"]
    rows = table[(table["system"] == name) & (table["step"] >= first_step)]
    mine = [b for b in biases_on(config, name) if b.moving is None]
    why = untold(config, name)
    kelvin = states.temperatures.get(name, np.zeros(0))
    if not len(rows) or not len(mine):
        return [], [f"colvars.csv has no row of '{name}' from step {first_step:,} on"] if len(mine) else []
    if without := [b.name for b in mine if b.name in why]:
        return [], [f"the windows of {b} are not joined into a free energy: {why[b]}" for b in without]
    if config.exchange is not None and any(
        len(set(b.center)) > 1 and b.name not in config.exchange.biases for b in mine
    ):
        return [], ["windows that do not take part in the exchange are not analyzed"]
    if config.dynamics.annealing:
        return [], ["windows are not joined into a free energy while the temperature moves"]
    if len({round(float(t), 6) for t in kelvin}) > 1:
        return [], ["windows at several temperatures are not joined into one free energy"]
    order = _first_replicas(run, name, states, len(kelvin))
    if order is None:
        return [], ["not every state has a replica, so windows and states cannot be matched"]
    stride = max(1, len(rows) // MOST)
    rows = rows.iloc[::stride]
    state = rows["state"].to_numpy().astype(np.int64)
    beta = 1.0 / (BOLTZMANN * float(kelvin[0]))
    reduced = np.zeros((len(kelvin), len(rows)))
    for entry in mine:
        q = rows[_column(table, entry.name)].to_numpy(dtype=np.float64)
        periodic = VARIABLES[entry.variable].periodic
        for k, r in enumerate(order):
            constant = entry.force_constant[r % len(entry.force_constant)]
            center = entry.center[r % len(entry.center)]
            reduced[k] += beta * bias_energy(q, constant, center, entry.width, entry.form, periodic)
    for term, scales in (config.exchange.scale if config.exchange is not None else {}).items():
        whole = rows[_column(table, scale_name(term))].to_numpy(dtype=np.float64)
        reduced += beta * (np.array(scales)[order, None] - 1.0) * whole  # freed of too: at its full strength
    found = [
        _windows(entry, rows[_column(table, entry.name)].to_numpy(dtype=np.float64), state, order, reduced,
                 rows["replica"].to_numpy(), states.exchange is not None, float(kelvin[0]))
        for entry in mine if len(set(entry.center)) > 1
    ]  # fmt: skip
    return found, []


def _first_replicas(run: Run, name: str, states: States, count: int) -> list[int] | None:
    """For each state the place, among the replicas of its system, of the one that started in it."""
    first = 0
    for entry in run.manifest["systems"]:
        if entry["name"] == name:
            break
        first += entry["replicas"]
    if states.exchange is not None:
        return list(range(count))
    place: dict[int, int] = {}
    for replica, state in sorted(states.fixed.items()):
        if first <= replica < first + entry["replicas"]:
            place.setdefault(state, replica - first)
    return [place[k] for k in range(count)] if all(k in place for k in range(count)) else None


def _column(table: pandas.DataFrame, name: str) -> str:
    """That of the variable of a bias, or of the term that a scale acts on: it stands before the energy."""
    columns = list(table.columns)
    return str(columns[columns.index(f"{name}_kcal_mol") - 1])


def _windows(
    entry: BiasEntry,
    q: FloatArray,
    state: IntArray,
    order: list[int],
    reduced: FloatArray,
    replica: IntArray,
    exchanged: bool,
    kelvin: float,
) -> Windows:
    counts = np.bincount(state, minlength=len(reduced)).astype(np.float64)
    free = mbar(reduced, counts)
    zero = np.zeros(len(q))
    w = weights(zero, log_mixture(reduced, counts, free))
    dimension = VARIABLES[entry.variable].dimension
    profile = surface((entry.name,), (q,), kelvin, w, most=BINS)
    blocks, strata = _blocks(replica, exchanged)
    drawn = []
    for often in resample(int(blocks.max(initial=0)) + 1, RESAMPLES, strata) if len(blocks) else []:
        times = often[blocks].astype(np.float64)
        n = np.bincount(state, weights=times, minlength=len(reduced)).astype(np.float64)
        f = mbar(reduced, n, free, times)
        wb = weights(zero, log_mixture(reduced, n, f), times)
        p = np.histogram(q, profile.edges[0], weights=wb)[0]
        with np.errstate(divide="ignore"):
            e = -BOLTZMANN * kelvin * np.log(p)
        drawn.append(e)
    if drawn:  # a bin that not every bootstrap sample has is a guess
        errors = _spread(np.array(drawn), profile.energy)
        energy = np.where(np.isfinite(errors), profile.energy, np.nan)
        profile = Surface(profile.names, profile.edges, energy - np.nanmin(energy, initial=np.inf), errors, kelvin)
    second = _second_halves(state)
    parts = [_profile(q[at], state[at], reduced[:, at], free, profile.edges[0], kelvin) for at in (~second, second)]
    return Windows(
        entry.name, entry.variable.replace("_", " "), {"length": "Å", "angle": "rad", None: ""}[dimension],
        np.array([entry.center[r % len(entry.center)] for r in order]),
        np.array([entry.force_constant[r % len(entry.force_constant)] for r in order]),
        entry.form, q, state, profile, overlap_matrix(reduced, counts, free), free,
        np.array(parts), _independent(q, state, replica, exchanged, len(reduced)),
    )  # fmt: skip


def _second_halves(state: IntArray) -> npt.NDArray[np.bool_]:
    """[N] whether a sample is in the later half of its window's; samples are in the order of time."""
    second = np.zeros(len(state), bool)
    for k in np.unique(state):
        rows = np.flatnonzero(state == k)
        second[rows[len(rows) // 2 :]] = True
    return second


def _profile(
    q: FloatArray, state: IntArray, reduced: FloatArray, guess: FloatArray, edges: FloatArray, kelvin: float
) -> FloatArray:
    """[bins] kcal/mol from some of the samples; NaN in bins without any."""
    if not len(q):  # one sample of each window has no earlier half
        return np.full(len(edges) - 1, np.nan)
    counts = np.bincount(state, minlength=len(reduced)).astype(np.float64)
    w = weights(np.zeros(len(q)), log_mixture(reduced, counts, mbar(reduced, counts, guess)))
    with np.errstate(divide="ignore"):
        f = -BOLTZMANN * kelvin * np.log(np.histogram(q, edges, weights=w)[0])
    return np.where(np.isfinite(f), f, np.nan)


def _independent(q: FloatArray, state: IntArray, replica: IntArray, exchanged: bool, count: int) -> FloatArray:
    """[K] n / g of the series of each window, or of each replica that keeps its window."""
    found = np.zeros(count)
    groups = state if exchanged else replica
    for group in np.unique(groups):
        rows = np.flatnonzero(groups == group)
        found[state[rows[0]]] += len(rows) / statistical_inefficiency(q[rows])
    return found


def sample_blocks(replica: IntArray) -> IntArray:
    """[N] the block of each sample, in the order of time: each replica's are cut into stretches of equal length."""
    return _blocks(replica, False)[0]


def _blocks(replica: IntArray, exchanged: bool) -> tuple[IntArray, IntArray | None]:
    """The block of each sample, and the strata of the blocks: replicas that exchange are blocks, others are cut."""
    _, at = np.unique(replica, return_inverse=True)
    if exchanged and at.max(initial=0) >= STRETCHES:
        return at.astype(np.int64), None
    order = np.zeros(len(at), np.int64)
    for r in range(int(at.max(initial=-1)) + 1):
        rows = np.flatnonzero(at == r)
        order[rows] = np.arange(len(rows)) * STRETCHES // max(len(rows), 1)
    blocks = at * STRETCHES + order
    return blocks.astype(np.int64), np.arange(int(blocks.max(initial=-1)) + 1) // STRETCHES


def _spread(drawn: FloatArray, energy: FloatArray) -> FloatArray:
    """Standard error of profiles [T, bins], each moved onto the mean: a constant has no meaning."""
    seen = np.isfinite(drawn).all(axis=0) & np.isfinite(energy)
    errors = np.full(len(energy), np.nan)
    if seen.any():
        shift = (drawn[:, seen] - energy[seen]).mean(axis=1, keepdims=True)
        errors[seen] = (drawn[:, seen] - shift).std(axis=0, ddof=1)
    return errors
