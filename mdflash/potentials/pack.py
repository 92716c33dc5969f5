"""Pack reference priors and biases into the tables that the compiled kernels read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, cast

import numpy as np

from mdflash.core.state import Layout
from mdflash.core.system import IntArray
from mdflash.potentials.base import Potential
from mdflash.potentials.bias.bias import Bias
from mdflash.potentials.bias.pack import PackedBiases
from mdflash.potentials.priors.cpu import CODES, Listed, Nonbonded, Table
from mdflash.potentials.priors.forms import Coordinate, stack_rows
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

    The kernels know every listed form, every bias, and one neighbour-list term in each system.
    """
    listed = [t for t in terms if isinstance(t, PriorTerm) and t.form.name in CODES]
    nonbonded: list[NeighborTerm | None] = [None] * len(layout.systems)
    biases = [t for t in terms if isinstance(t, Bias)]
    taken: list[Potential] = [*listed, *biases]
    for term in terms:
        if isinstance(term, NeighborTerm):
            active = [s for s, table in enumerate(term.tables) if _acts(table)]
            if all(nonbonded[s] is None for s in active):
                taken.append(term)
                for s in active:
                    nonbonded[s] = term
    return Packed(
        Listed(*(_table(listed, cast(Coordinate, c), len(layout.systems)) for c in Listed._fields)),
        _nonbonded(nonbonded, layout),
        PackedBiases(biases, layout),
        tuple(t for t in terms if t not in taken),
    )


def _acts(table: NeighborTable) -> bool:
    n = len(table.types)
    return len(table.excluded) < n * (n - 1) // 2


def _table(terms: Sequence[PriorTerm], coordinate: Coordinate, n_systems: int) -> Table:
    mine = [t for t in terms if t.form.coordinate == coordinate]
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


def _nonbonded(terms: Sequence[NeighborTerm | None], layout: Layout) -> Nonbonded:
    sizes = [system.n_beads for system in layout.systems]
    n_types = max((len(t.tables[s].parameters["sigma"]) for s, t in enumerate(terms) if t), default=1)
    epsilon = np.zeros((len(terms), n_types, n_types))
    sigma = np.zeros_like(epsilon)
    types, starts, exclusion = [], [], []
    count = 0
    for s, term in enumerate(terms):
        excluded = np.zeros((0, 2), np.int64)
        types.append(np.zeros(sizes[s], np.int32))
        if term is not None:
            table = term.tables[s]
            n = len(table.parameters["sigma"])
            epsilon[s, :n, :n] = table.parameters["epsilon"]
            sigma[s, :n, :n] = table.parameters["sigma"]
            types[s][:] = table.types
            excluded = table.excluded[np.lexsort(table.excluded.T[::-1])]
        starts.append(count + np.searchsorted(excluded[:, 0], np.arange(sizes[s] + 1)))
        exclusion.append(excluded[:, 1])
        count += len(excluded)
    return Nonbonded(
        np.concatenate(types),
        np.concatenate(([0], np.cumsum(sizes))),
        epsilon,
        sigma,
        np.array([0.0 if t is None else t.cutoff for t in terms]),
        np.concatenate(starts),
        np.concatenate(exclusion),
    )
