"""Pack reference priors and biases into the tables that the compiled kernels read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, cast

import numpy as np

from mdflash.core.state import Layout
from mdflash.core.types import FloatArray, IntArray
from mdflash.potentials.base import Potential
from mdflash.potentials.bias.bias import Bias
from mdflash.potentials.bias.grid_bias import GridBias
from mdflash.potentials.bias.pack import PackedBiases
from mdflash.potentials.forms import CODES, ONE_BY_ONE
from mdflash.potentials.forms.form import Coordinate, pad_columns, stack_rows
from mdflash.potentials.priors.cpu import Listed, Nonbonded, Table
from mdflash.potentials.priors.eights_pack import pack_eights
from mdflash.potentials.priors.neighbor_term import NeighborTable, NeighborTerm
from mdflash.potentials.priors.term import PriorTerm
from mdflash.potentials.schnet.arrays import Networks


class Packed(NamedTuple):
    """The compiled share of a sum of potentials, and what is left for Python.

    Attributes:
        listed, nonbonded: tables for `potentials.priors.cpu`.
        biases: for `potentials.bias.cpu`.
        rest: potentials the kernels do not know.
        networks: for `potentials.schnet.cpu`; None where no system has a network (or they are in `rest`).
    """

    listed: Listed
    nonbonded: Nonbonded
    biases: PackedBiases
    rest: tuple[Potential, ...]
    networks: Networks | None = None


def pack(terms: Sequence[Potential], layout: Layout) -> Packed:
    """Sort `terms` into compiled tables and the rest.

    The kernels know every form and every bias; of the neighbor-list terms of one system, those with the exclusions of
    the first.
    """
    listed = [t for t in terms if isinstance(t, PriorTerm)]
    nonbonded: list[list[NeighborTerm]] = [[] for _ in layout.systems]
    biases = [t for t in terms if isinstance(t, (Bias, GridBias))]
    taken: list[Potential] = [*listed, *biases]
    for term in terms:
        if isinstance(term, NeighborTerm):
            active = [s for s, table in enumerate(term.tables) if _acts(table)]
            if all(_same_pairs(term.tables[s], other.tables[s]) for s in active for other in nonbonded[s][:1]):
                taken.append(term)
                for s in active:
                    nonbonded[s].append(term)
    return Packed(
        Listed(*(_table(listed, cast(Coordinate, c), len(layout.systems)) for c in Listed._fields)),
        _nonbonded(nonbonded, layout),
        PackedBiases(biases, layout),
        tuple(t for t in terms if t not in taken),
    )


def _acts(table: NeighborTable) -> bool:
    n = len(table.types)
    return len(table.excluded) < n * (n - 1) // 2


def _same_pairs(one: NeighborTable, other: NeighborTable) -> bool:
    return np.array_equal(one.types, other.types) and np.array_equal(_sorted(one.excluded), _sorted(other.excluded))


def _sorted(pairs: IntArray) -> IntArray:
    return pairs[np.lexsort(pairs.T[::-1])]


def _table(terms: Sequence[PriorTerm], coordinate: Coordinate, n_systems: int) -> Table:
    mine = [t for t in terms if t.form.on == coordinate]
    order = mine[0].form.order if mine else 2
    beads: list[IntArray] = []
    codes, rows, row = [], [], [0]
    for s in range(n_systems):
        for term in mine:
            index, parameters = term.tables[s]
            if len(index):
                beads.append(index)
                codes.append(np.full(len(index), CODES[term.form.name]))
                rows.append(term.form.rows(parameters))
        row.append(sum(map(len, beads)))
    return Table(
        np.concatenate(beads or [np.zeros((0, order), np.int64)]).astype(np.int32),
        np.concatenate(codes or [np.zeros(0)]).astype(np.int8),
        stack_rows(rows),
        np.array(row, np.int64),
    )


def _nonbonded(terms: Sequence[Sequence[NeighborTerm]], layout: Layout) -> Nonbonded:
    sizes = [system.n_beads for system in layout.systems]
    matrices = [
        t.form.pair_rows(t.tables[s].parameters, t.cutoff) for s, mine in enumerate(terms) for t in mine
    ]  # each [T, T, P]
    types, starts, exclusion = [], [], []
    count = 0
    for s, mine in enumerate(terms):
        excluded = _sorted(mine[0].tables[s].excluded) if mine else np.zeros((0, 2), np.int64)
        types.append(mine[0].tables[s].types.astype(np.int32) if mine else np.zeros(sizes[s], np.int32))
        starts.append(count + np.searchsorted(excluded[:, 0], np.arange(sizes[s] + 1)))
        exclusion.append(excluded[:, 1])
        count += len(excluded)
    ordered = [t for mine in terms for t in mine]
    eights, rows = pack_eights([[t for t in mine if t.form.name not in ONE_BY_ONE] for mine in terms])
    return Nonbonded(
        type=np.concatenate(types),
        first=np.concatenate(([0], np.cumsum(sizes))),
        row=np.concatenate(([0], np.cumsum([len(mine) for mine in terms]))),
        code=np.array([CODES[t.form.name] for t in ordered], np.int8),
        reach=np.array([t.cutoff for t in ordered], np.float64),
        parameters=_stack_matrices(matrices),
        one_by_one=np.array([t.form.name in ONE_BY_ONE for t in ordered], np.bool_),
        cutoff=np.array([max((t.cutoff for t in mine), default=0.0) for mine in terms]),
        pair_cutoff=np.array(
            [max((t.cutoff for t in mine if t.form.name in ONE_BY_ONE), default=0.0) for mine in terms]
        ),
        rows=np.array(sizes) + 1 + rows,
        exclusion_start=np.concatenate(starts),
        exclusion=np.concatenate(exclusion),
        eights=eights,
    )


def _stack_matrices(matrices: Sequence[FloatArray]) -> FloatArray:
    """[terms, T, T, P], each padded with zeros to the largest."""
    n_types = max((len(m) for m in matrices), default=1)
    width = max((m.shape[-1] for m in matrices), default=1)
    stacked = np.zeros((len(matrices), n_types, n_types, width))
    for row, m in zip(stacked, matrices, strict=True):
        row[: len(m), : len(m)] = pad_columns(m, width)
    return stacked
