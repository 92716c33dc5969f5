"""Free energies from metadynamics and OPES: by what they added, and by frames that are reweighted.

    F(s) = -gamma / (gamma - 1) V(s)                 metadynamics: the scaled bias, on the nodes of its grid
    F(s) = -kT ln P(s)                               OPES: the kernels; -gamma kT ln P(s) with explore
    F(s) = -kT ln sum_t exp((V(s_t) - c(t)) / kT)    rows of colvars.csv, in bins

Both are estimates of the same function, with different errors. What was added has no error of its own: where there are
several groups of walkers, each has built its own, and their spread is the error; of a single one the difference to what
it was at nine tenths of the run is shown instead. See `potentials.bias.metadynamics` for the papers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
import pandas

from mdflash.analysis.free_energy import BINS, BINS_2D, Surface, surface
from mdflash.analysis.open_run import Run
from mdflash.analysis.windows import sample_blocks
from mdflash.config.load import load_run
from mdflash.config.metadynamics import HillVariable, Metadynamics
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
FLOOR = 1e-12
"""Of the highest probability, which places that nobody has seen are given."""


@dataclass(frozen=True, eq=False)
class Filled:
    """One metadynamics bias of one molecule.

    Attributes:
        name: of the bias.
        variables: what it acts on, in words with units, for axes.
        kinds: of each variable, its name in `variable:`.
        method: as in `metadynamics:`.
        hills, groups: how many hills of how many groups of walkers.
        nodes: of each axis of the grid.
        scaled: [points of each axis] kcal/mol, by the scaled bias (or kernels) of all groups, lowest point 0.
        scaled_error: of the same shape; NaN: not known.
        times: [STAGES] ps.
        stages: [STAGES, points of each axis] kcal/mol, the scaled bias until then.
        reweighted: from frames; None: too few rows.
        kelvin: temperature.
        heights: [hills] kcal/mol, and of each its time in ps.
    """

    name: str
    variables: tuple[str, ...]
    kinds: tuple[str, ...]
    method: str
    hills: int
    groups: int
    nodes: tuple[FloatArray, ...]
    scaled: FloatArray
    scaled_error: FloatArray
    times: FloatArray
    stages: FloatArray
    reweighted: Surface | None
    kelvin: float
    heights: tuple[FloatArray, FloatArray]

    @property
    def visited(self) -> FloatArray:
        """[points of each axis] whether a node is within `LOW` kT of the minimum."""
        return np.asarray(self.scaled < LOW * kT(self.kelvin))

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
        known = np.isfinite(self.reweighted.energy) & self.visited[at]
        return spread(self.reweighted.energy, self.scaled[at], known)


def spread(one: FloatArray, other: FloatArray, where: FloatArray) -> float:
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
            for m in mine:
                own = hills[hills["bias"] == m.name]
                if len(own) < FEWEST:
                    lacking.append(f"{m.name} has only {len(own)} hills, and a free energy takes {FEWEST}")
                    continue
                t = min(kelvin[begin : begin + count])
                groups = count // (m.walkers or count)
                found.append(_filled(m, own, groups, rows[rows["system"] == name], float(t)))
                if config.exchange is not None and config.exchange.temperatures is not None:
                    notes.append(
                        f"replicas of {m.name} trade temperatures: its scaled bias is no free energy; the reweighted "
                        f"one is that of {t:g} K"
                    )
        begin += count
    return found, lacking, notes


def _filled(entry: Metadynamics, hills: pandas.DataFrame, groups: int, rows: pandas.DataFrame, kelvin: float) -> Filled:
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
    stages = []
    for a, b in pairwise([0, *ends.tolist()]):
        for g in range(groups):
            add_kernels(flat[g], axes, rows_of[a:b][group[a:b] == g])
        each = _free(entry, flat.reshape(groups, *shape, 2**d)[..., 0], kT(kelvin))
        stages.append(_from_lowest(each.mean(axis=0)))
    scaled = stages[-1]
    error = np.full(shape, np.nan)
    if groups > 1:
        aligned = each - each.reshape(groups, -1).mean(axis=1).reshape(groups, *[1] * d)
        error = aligned.std(axis=0, ddof=1) / np.sqrt(groups)
    return Filled(
        entry.name, tuple(_label(v) for v in entry.variables), tuple(v.variable for v in entry.variables),
        entry.method, len(hills), groups,
        tuple(row[0] + row[1] * np.arange(n) for row, n in zip(axes, shape, strict=True)),
        scaled, error, time[-1] * np.arange(1, STAGES + 1) / STAGES, np.array(stages),
        _reweighted(entry, rows, kelvin), kelvin, (time, heights),
    )  # fmt: skip


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


def _reweighted(entry: Metadynamics, rows: pandas.DataFrame, kelvin: float) -> Surface | None:
    """From the rows of one temperature, after the first part of the run."""
    if not len(rows):
        return None
    late = rows[(rows["step"] >= SETTLED * rows["step"].max()) & (rows["target_K"] - kelvin).abs().lt(1e-6)]
    late = late[np.isfinite(late[f"{entry.name}_rbias_kcal_mol"])]
    late = late.iloc[:: max(1, -(-len(late) // MOST))]
    values = [late[_column(v)].to_numpy(np.float64) for v in entry.variables]
    if len(late) < FEWEST or any(np.ptp(v) == 0 for v in values):
        return None
    log_weight = late[f"{entry.name}_rbias_kcal_mol"].to_numpy(np.float64) / kT(kelvin)
    weight = np.exp(log_weight - log_weight.max())
    spans: Sequence[tuple[float, float] | None] = [
        (v.grid[0], v.grid[1]) if VARIABLES[v.variable].periodic else None for v in entry.variables
    ]
    blocks: IntArray = sample_blocks(late["replica"].to_numpy())
    most = BINS if len(values) == 1 else BINS_2D
    names = tuple(v.name for v in entry.variables)
    return surface(names, values, kelvin, weight / weight.sum(), blocks, spans, most)
