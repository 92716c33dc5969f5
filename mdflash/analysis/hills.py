"""Free energies from metadynamics and OPES: by what they added, and by frames that are reweighted.

    F(s) = -gamma / (gamma - 1) V(s)                 metadynamics: the scaled bias, on the nodes of its grid
    F(s) = -kT ln P(s)                               OPES: the kernels; -gamma kT ln P(s) with explore
    F(s) = -kT ln sum_t exp((V(s_t) - c(t)) / kT)    rows of colvars.csv, in bins

Both are estimates of the same function, with different errors. What was added has no error of its own: where there are
several groups of walkers, each has built its own, and their spread is the error; of a single one the difference to what
it was at nine tenths of the run is shown instead. See `potentials.bias.metadynamics` for the papers.

A bias on three variables is analyzed as its three pairs: F(s1, s2) = -kT ln sum_s3 exp(-F(s1, s2, s3) / kT), over
nodes that hills are near, and frames in bins of two variables.

Both may settle on something wrong, where walkers have not crossed often. So passages along each variable are counted,
and reweighted frames are compared between the halves of the run, and between two halves of the walkers.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import Final

import numpy as np
import numpy.typing as npt
import pandas

from mdflash.analysis.free_energy import BINS, BINS_2D, Surface, surface
from mdflash.analysis.open_run import Run
from mdflash.analysis.statistics import statistical_inefficiency
from mdflash.analysis.windows import sample_blocks
from mdflash.config.load import load_run
from mdflash.config.metadynamics import HillVariable, Metadynamics
from mdflash.config.untold import untold
from mdflash.core.types import FloatArray, IntArray
from mdflash.errors import MdflashError
from mdflash.io.colvars import column
from mdflash.potentials.bias.kernels_cpu import add_kernels
from mdflash.potentials.variables import VARIABLES
from mdflash.potentials.variables.base import AXES, UNITS
from mdflash.units import kT

METHODS: Final = {"well-tempered": "metadynamics", "opes": "OPES", "opes-explore": "OPES explore"}
"""In words."""
STAGES = 10
"""Parts of the run after which the scaled bias is looked at."""
LOW = 8.0
"""kT above the minimum, up to which free energies are compared: what is higher is hardly visited."""
SETTLED = 0.2
"""Share of the run whose frames are not reweighted: the bias grows too fast there."""
MOST = 200_000
"""Rows of colvars.csv that are reweighted."""
FEWEST = 100
"""Hills, or rows that are reweighted, of a free energy."""
QUARTER = 0.25
"""Of the range of a variable, at both of its ends, between which a walker passes."""
FLOOR = 1e-12
"""Of the highest probability, which places that nobody has seen are given."""


@dataclass(frozen=True)
class Check:
    """What reweighted frames say of how well a free energy is known.

    Attributes:
        trips: from one end of what was visited to the other and back, all walkers together; of the variable that is
            crossed least.
        effective: independent frames that the weights leave.
        halves: kcal/mol, root mean square difference between the free energies of both halves of the run.
        walkers: kcal/mol, likewise between those of every second walker and of the others; NaN for one walker.
    """

    trips: float
    effective: float
    halves: float
    walkers: float


@dataclass(frozen=True, eq=False)
class Filled:
    """One metadynamics bias of one molecule, or what it says of two of its three variables.

    Attributes:
        bias: its name.
        name: likewise, with the two variables in brackets where it has three.
        variables: what it acts on, in words with units, for axes.
        kinds: of each variable, its name in `variable:`.
        method: as in `metadynamics:`.
        hills, groups: how many hills of how many groups of walkers.
        nodes: of each axis of the grid.
        scaled: [points of each axis] kcal/mol, by the scaled bias (or kernels) of all groups, lowest point 0; NaN where
            no hill is within a width.
        scaled_error: of the same shape; NaN: not known.
        inner: of the same shape, whether a node is more than a width from every end of the grid: hills are round, and
            an end is not.
        times: [STAGES] ps.
        stages: [STAGES, points of each axis] kcal/mol, the scaled bias until then.
        reweighted: from frames; None: too few rows.
        check: what else the frames say; None: too few rows.
        kelvin: temperature.
        heights: [hills] kcal/mol, and of each its time in ps.
    """

    bias: str
    name: str
    variables: tuple[str, ...]
    kinds: tuple[str, ...]
    method: str
    hills: int
    groups: int
    nodes: tuple[FloatArray, ...]
    scaled: FloatArray
    scaled_error: FloatArray
    inner: npt.NDArray[np.bool_]
    times: FloatArray
    stages: FloatArray
    reweighted: Surface | None
    check: Check | None
    kelvin: float
    heights: tuple[FloatArray, FloatArray]

    @property
    def key(self) -> str:
        """Its name, for files."""
        return re.sub(r"[^\w.-]+", "-", self.name).strip("-")

    @property
    def visited(self) -> npt.NDArray[np.bool_]:
        """[points of each axis] whether a node is within `LOW` kT of the minimum."""
        with np.errstate(invalid="ignore"):
            return np.asarray(self.scaled < LOW * kT(self.kelvin))

    @property
    def lowest(self) -> tuple[float, ...]:
        """Where it is lowest, of each variable: among places that hills are near, and not where an end distorts it."""
        known = np.where(self.inner, self.scaled, np.nan)
        if not np.isfinite(known).any():
            known = self.scaled
        at = np.unravel_index(int(np.nanargmin(known)), known.shape)
        return tuple(float(n[i]) for n, i in zip(self.nodes, at, strict=True))

    @property
    def drift(self) -> FloatArray:
        """[STAGES - 1] kcal/mol, root mean square difference of each stage to the end, over what is visited."""
        return np.array([spread(stage, self.scaled, self.visited) for stage in self.stages[:-1]])

    @property
    def disagreement(self) -> float:
        """kcal/mol, root mean square difference of the two estimates over what both know; NaN where they share none."""
        if self.reweighted is None:
            return float("nan")
        middles = [0.5 * (e[1:] + e[:-1]) for e in self.reweighted.edges]
        at = np.ix_(*[np.abs(n[:, None] - m).argmin(axis=0) for n, m in zip(self.nodes, middles, strict=True)])
        known = np.asarray(np.isfinite(self.reweighted.energy) & self.visited[at], np.bool_)
        return spread(self.reweighted.energy, self.scaled[at], known)


def spread(one: FloatArray, other: FloatArray, where: npt.NDArray[np.bool_]) -> float:
    """Root mean square difference over some places, up to a constant; NaN for none."""
    d = (one - other)[where]
    return float(d.std()) if len(d) else float("nan")


def find_hills(run: Run, name: str) -> tuple[list[Filled], list[str], list[str]]:
    """Every metadynamics of one molecule; sentences on those without a free energy, and on those with one."""
    if not (run.folder / "hills.csv").is_file():
        return [], [], []
    try:
        config = load_run(run.folder)
        hills, rows = run.hills, run.colvars
    except MdflashError as error:
        return [], [f"metadynamics could not be analyzed ({error})"], []
    begin, kelvin = 0, config.temperatures
    found, lacking, notes = [], [], []
    for entry, count in zip(config.system, config.counts, strict=True):
        if entry.name == name:
            mine = [m for m in config.metadynamics if (m.system or config.system[0].name) == name]
            why = untold(config, name)
            for m in mine:
                if m.name in why:
                    lacking.append(f"{m.name} tells no free energy: {why[m.name]}")
                    continue
                own = hills[hills["bias"] == m.name]
                if len(own) < FEWEST:
                    lacking.append(f"{m.name} has only {len(own)} hills, and a free energy takes {FEWEST}")
                    continue
                t = min(kelvin[begin : begin + count])
                groups = count // (m.walkers or count)
                found += _filled(m, own, groups, rows[rows["system"] == name], float(t))
                if config.exchange is not None and config.exchange.temperatures is not None:
                    notes.append(
                        f"replicas of {m.name} trade temperatures: its scaled bias is no free energy; the reweighted "
                        f"one is that of {t:g} K"
                    )
        begin += count
    return found, lacking, notes


def _filled(
    entry: Metadynamics, hills: pandas.DataFrame, groups: int, rows: pandas.DataFrame, kelvin: float
) -> list[Filled]:
    """The bias along its one or two variables, or along each pair of three."""
    axes = np.array([_axis(v) for v in entry.variables])
    shape = tuple(v.grid[2] for v in entry.variables)
    d = len(shape)
    centers = np.ascontiguousarray(hills[[f"center_{k + 1}" for k in range(d)]].to_numpy(np.float64))
    heights, group = hills["height_kcal_mol"].to_numpy(np.float64), hills["group"].to_numpy(np.int64)
    time = hills["time_ps"].to_numpy(np.float64)
    widths = hills[[f"width_{k + 1}" for k in range(d)]].to_numpy(np.float64)
    rows_of = np.column_stack([centers, widths, heights])
    flat = np.zeros((groups, int(np.prod(shape)) * 2**d))
    ends = np.searchsorted(time, time[-1] * np.arange(1, STAGES + 1) / STAGES, "right")
    sampled = _near_hills(entry, axes, centers)
    views = list(combinations(range(d), 2)) if d > 2 else [tuple(range(d))]
    stages: list[list[FloatArray]] = [[] for _ in views]  # [groups, points of each axis of a view]
    for a, b in pairwise([0, *ends.tolist()]):
        for g in range(groups):
            add_kernels(flat[g], axes, rows_of[a:b][group[a:b] == g])
        each = _free(entry, flat.reshape(groups, *shape, 2**d)[..., 0], kT(kelvin))
        for view, kept in zip(views, stages, strict=True):
            kept.append(projected(each, sampled, view, kT(kelvin)))
    late = _late(entry, rows, kelvin)
    nodes = tuple(row[0] + row[1] * np.arange(n) for row, n in zip(axes, shape, strict=True))
    found = []
    for view, kept in zip(views, stages, strict=True):
        some = tuple(entry.variables[k] for k in view)
        name = entry.name if d < 3 else f"{entry.name} ({' and '.join(v.name for v in some)})"
        seen = np.asarray(sampled.any(axis=tuple(k for k in range(d) if k not in view)))
        part = entry.model_copy(update={"variables": some})
        found.append(_along(part, name, kept, seen, [nodes[k] for k in view], late, kelvin, (time, heights)))
    return found


def projected(free: FloatArray, sampled: npt.NDArray[np.bool_], view: tuple[int, ...], thermal: float) -> FloatArray:
    """[groups, points of the axes in `view`] from [groups, points of each axis], over nodes that were sampled.

    Where none was, it is as high as anywhere.
    """
    other = tuple(1 + k for k in range(sampled.ndim) if k not in view)
    if not other:
        return free
    known = np.where(sampled, free, np.inf)
    least = known.min(axis=other, keepdims=True)
    least = np.where(np.isfinite(least), least, 0.0)
    total = np.exp((least - known) / thermal).sum(axis=other)
    found = np.squeeze(least, other) - thermal * np.log(np.where(total > 0, total, 1.0))
    return np.asarray(np.where(total > 0, found, found[:, sampled.any(axis=tuple(k - 1 for k in other))].max()))


def _along(
    entry: Metadynamics,
    name: str,
    free: Sequence[FloatArray],
    sampled: npt.NDArray[np.bool_],
    nodes: Sequence[FloatArray],
    late: pandas.DataFrame | None,
    kelvin: float,
    heights: tuple[FloatArray, FloatArray],
) -> Filled:
    """What a bias says of one or two variables.

    Args:
        entry: the bias, with these variables alone.
        name: what it is called.
        free: after each part of the run [groups, points of each axis] kcal/mol.
        sampled: [points of each axis] nodes that hills are near.
        nodes: of each axis.
        late: rows that are reweighted.
        kelvin: temperature.
        heights: time and height of each hill.
    """
    each = free[-1]
    groups, shape = len(each), sampled.shape
    stages = [_from_lowest(stage.mean(axis=0)) for stage in free]
    scaled = stages[-1] = np.where(sampled, stages[-1] - stages[-1][sampled].min(), np.nan)
    error = np.full(shape, np.nan)
    if groups > 1:
        aligned = each - each[:, sampled].mean(axis=1).reshape(groups, *[1] * len(shape))
        error = np.where(sampled, aligned.std(axis=0, ddof=1) / np.sqrt(groups), np.nan)
    visited = np.nan_to_num(scaled, nan=np.inf) < LOW * kT(kelvin)
    reweighted = None if late is None else _reweighted(entry, late, kelvin, nodes, visited)
    return Filled(
        entry.name, name, tuple(_label(v) for v in entry.variables), tuple(v.variable for v in entry.variables),
        entry.method, len(heights[0]), groups, tuple(nodes), scaled, error, _inner(entry, nodes),
        heights[0][-1] * np.arange(1, STAGES + 1) / STAGES, np.array(stages), reweighted,
        None if late is None or reweighted is None else _check(entry, late, reweighted, nodes, visited),
        kelvin, heights,
    )  # fmt: skip


def _inner(entry: Metadynamics, nodes: Sequence[FloatArray]) -> npt.NDArray[np.bool_]:
    """[points of each axis] nodes more than a width from every end of the grid; a turn has none."""
    sides = [
        np.full(len(n), True)
        if VARIABLES[v.variable].periodic
        else (n > v.grid[0] + v.width) & (n < v.grid[1] - v.width)
        for v, n in zip(entry.variables, nodes, strict=True)
    ]
    return np.asarray(functools.reduce(np.logical_and.outer, sides))


def _near_hills(entry: Metadynamics, axes: FloatArray, centers: FloatArray) -> npt.NDArray[np.bool_]:
    """[points of each axis] nodes within about one width of a hill: beyond, a grid holds what nobody has seen."""
    shape = tuple(v.grid[2] for v in entry.variables)
    seen = np.zeros(shape, bool)
    at = []
    for k, (n, row) in enumerate(zip(shape, axes, strict=True)):
        place = np.rint((centers[:, k] - row[0]) / row[1]).astype(np.int64)
        at.append(place % n if row[3] else np.clip(place, 0, n - 1))
    seen[tuple(at)] = True
    for k, (v, row) in enumerate(zip(entry.variables, axes, strict=True)):
        nodes = np.flatnonzero(seen.any(axis=tuple(d for d in range(len(shape)) if d != k)))
        if not len(nodes):
            continue
        wide, moved = seen.copy(), np.moveaxis(seen, k, 0)
        out = np.moveaxis(wide, k, 0)
        for shift in range(-max(1, round(v.width / row[1])), max(1, round(v.width / row[1])) + 1):
            to = nodes + shift
            inside = np.ones(len(to), bool) if row[3] else (to >= 0) & (to < shape[k])
            out[to[inside] % shape[k]] |= moved[nodes[inside]]
        seen = wide
    return seen


def _free(entry: Metadynamics, total: FloatArray, thermal: float) -> FloatArray:
    """kcal/mol from the sum of hills or kernels."""
    if entry.barrier is None:
        return np.asarray(-entry.gamma / (entry.gamma - 1.0) * total)
    power = (entry.bias_factor or entry.barrier / thermal) if entry.method == "opes-explore" else 1.0
    return np.asarray(-power * thermal * np.log(np.maximum(total, FLOOR * max(float(total.max()), FLOOR))))


def _from_lowest(energy: FloatArray) -> FloatArray:
    return np.asarray(energy - energy.min())


def _axis(variable: HillVariable) -> list[float]:
    low, high, points = variable.grid
    periodic = VARIABLES[variable.variable].periodic
    return [low, (high - low) / (points if periodic else points - 1), points, periodic]


def _column(variable: HillVariable) -> str:
    return column(variable.name, UNITS[VARIABLES[variable.variable].dimension])


def _label(variable: HillVariable) -> str:
    unit = AXES[VARIABLES[variable.variable].dimension]
    return f"{variable.variable.replace('_', ' ')} ({variable.name}){unit}"


def _late(entry: Metadynamics, rows: pandas.DataFrame, kelvin: float) -> pandas.DataFrame | None:
    """The rows of one temperature, after the first part of the run; None: too few."""
    if not len(rows):
        return None
    late = rows[(rows["step"] >= SETTLED * rows["step"].max()) & (rows["target_K"] - kelvin).abs().lt(1e-6)]
    late = late[np.isfinite(late[f"{entry.name}_rbias_kcal_mol"])]
    steps = np.unique(late["step"].to_numpy())[:: max(1, -(-len(late) // MOST))]  # of all replicas alike
    late = late[late["step"].isin(steps)]
    few = len(late) < FEWEST or any(np.ptp(late[_column(v)].to_numpy(np.float64)) == 0 for v in entry.variables)
    return None if few else late


def _weights(entry: Metadynamics, rows: pandas.DataFrame, kelvin: float) -> FloatArray:
    """[N] normalized exp((V - c(t)) / kT)."""
    log_weight = rows[f"{entry.name}_rbias_kcal_mol"].to_numpy(np.float64) / kT(kelvin)
    weight = np.exp(log_weight - log_weight.max())
    return np.asarray(weight / weight.sum())


def _reweighted(
    entry: Metadynamics,
    rows: pandas.DataFrame,
    kelvin: float,
    nodes: Sequence[FloatArray],
    visited: npt.NDArray[np.bool_],
) -> Surface:
    """From frames: over one variable in bins of its own, over two in cells of whole nodes of the grid."""
    values = [rows[_column(v)].to_numpy(np.float64) for v in entry.variables]
    edges = None
    if len(values) == 2:
        edges = [_cells(n, _range(visited, k, n)) for k, n in enumerate(nodes)]
        for k, v in enumerate(entry.variables):  # a cell may reach beyond the end of a period
            if VARIABLES[v.variable].periodic:
                values[k] = np.where(values[k] >= edges[k][-1], values[k] - 2.0 * np.pi, values[k])
    spans: Sequence[tuple[float, float] | None] = [
        (v.grid[0], v.grid[1]) if VARIABLES[v.variable].periodic else None for v in entry.variables
    ]
    blocks: IntArray = sample_blocks(rows["replica"].to_numpy())
    names = tuple(v.name for v in entry.variables)
    return surface(names, values, kelvin, _weights(entry, rows, kelvin), blocks, spans, BINS, edges)


def node_edges(nodes: FloatArray) -> FloatArray:
    """[points + 1] half way between the nodes of an axis."""
    return np.asarray(np.append(nodes, 2 * nodes[-1] - nodes[-2]) - 0.5 * (nodes[1] - nodes[0]))


def _range(visited: npt.NDArray[np.bool_], k: int, nodes: FloatArray) -> tuple[float, float]:
    """The ends along axis k of what was visited."""
    seen = nodes[visited.any(axis=tuple(d for d in range(visited.ndim) if d != k))]
    return float(seen[0]), float(seen[-1])


def _cells(nodes: FloatArray, seen: tuple[float, float]) -> FloatArray:
    """Edges of cells of whole nodes, `BINS_2D` over what was visited, from the first node of an axis to its last."""
    edges = node_edges(nodes)
    each = max(1, round((seen[1] - seen[0]) / (nodes[1] - nodes[0]) / BINS_2D))
    found = edges[::each]
    return found if found[-1] == edges[-1] else np.append(found, edges[-1])


def _check(
    entry: Metadynamics,
    rows: pandas.DataFrame,
    whole: Surface,
    nodes: Sequence[FloatArray],
    visited: npt.NDArray[np.bool_],
) -> Check:
    """What else the frames say; `whole` is the free energy of all of them."""
    values = [rows[_column(v)].to_numpy(np.float64) for v in entry.variables]
    replica, step = rows["replica"].to_numpy(), rows["step"].to_numpy()
    order = np.argsort(replica, kind="stable")  # rows of a replica stay in the order of time
    cuts = np.flatnonzero(np.diff(replica[order])) + 1
    tracks = np.split(order, cuts)
    trips, independent = [], []
    for k, (v, q) in enumerate(zip(entry.variables, values, strict=True)):
        low, high = _range(visited, k, nodes[k])
        if VARIABLES[v.variable].periodic:  # a turn has no ends: from its lowest place and back
            lowest = _lowest(whole, k)
            seen = visited.any(axis=tuple(d for d in range(len(nodes)) if d != k))
            low, high = 0.0, float(_turn(nodes[k][seen] - lowest).max())
            q = _turn(q - lowest)
        trips.append(0.5 * sum(_passages(q[rows_of], low, high) for rows_of in tracks))
        independent.append(sum(len(t) / statistical_inefficiency(q[t]) for t in tracks))
    weight = _weights(entry, rows, whole.kelvin)
    effective = min(independent) / (len(rows) * float((weight**2).sum()))
    middle = 0.5 * (step.min() + step.max())
    number = np.unique(replica, return_inverse=True)[1]
    parts = [(step <= middle, step > middle), (number % 2 == 0, number % 2 == 1)]
    halves, walkers = (
        _apart(entry, rows, whole, one, other) if one.any() and other.any() else float("nan") for one, other in parts
    )
    return Check(min(trips), effective, halves, walkers)


def _turn(away: FloatArray) -> FloatArray:
    """How far angles are apart, whichever way round."""
    return np.asarray(np.abs((away + np.pi) % (2.0 * np.pi) - np.pi))


def _lowest(s: Surface, k: int) -> float:
    """The value of a variable where a free energy is lowest."""
    at = np.unravel_index(int(np.nanargmin(s.energy)), s.energy.shape)[k]
    return float(0.5 * (s.edges[k][at] + s.edges[k][at + 1]))


def _passages(q: FloatArray, low: float, high: float) -> int:
    """How often a series goes from the lowest quarter of a range to the highest, or back."""
    side = np.where(q <= low + QUARTER * (high - low), -1, np.where(q >= high - QUARTER * (high - low), 1, 0))
    side = side[side != 0]
    return int((np.diff(side) != 0).sum())


def _apart(
    entry: Metadynamics,
    rows: pandas.DataFrame,
    whole: Surface,
    one: npt.NDArray[np.bool_],
    other: npt.NDArray[np.bool_],
) -> float:
    """Root mean square difference of the free energies of two parts of the rows, in bins of twice the size."""
    edges = [e[::2] if len(e) > 16 else e for e in whole.edges]
    found = []
    for part in (one, other):
        some = rows[part]
        values = [some[_column(v)].to_numpy(np.float64) for v in entry.variables]
        found.append(
            surface(whole.names, values, whole.kelvin, _weights(entry, some, whole.kelvin), given=edges).energy
        )
    top = LOW * kT(whole.kelvin)
    with np.errstate(invalid="ignore"):
        return spread(found[0], found[1], (found[0] < top) & (found[1] < top))
