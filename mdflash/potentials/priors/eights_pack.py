"""Neighbor-list terms as searches of eights: which beads take part, and what the forms read of their pairs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain

import numpy as np
import numpy.typing as npt

from mdflash.core.types import FloatArray, IntArray
from mdflash.neighbors.boxes import EIGHT, aligned
from mdflash.potentials.forms import CODES
from mdflash.potentials.priors.eights import COLUMNS, Eights
from mdflash.potentials.priors.neighbor_term import NeighborTable, NeighborTerm


@dataclass
class _Search:
    """One search of one molecule; see `Eights`."""

    cutoff: float
    members: IntArray
    table: NeighborTable
    terms: list[NeighborTerm] = field(default_factory=list)

    def __post_init__(self) -> None:
        mine = self.table.types[self.members]
        self.used, self.types = np.unique(mine, return_inverse=True)
        whole = np.concatenate([self.types, np.zeros(-len(mine) % EIGHT, np.int64)]).reshape(-1, EIGHT)
        self.kinds, eight = np.unique(whole, axis=0, return_inverse=True)
        self.eight = eight.ravel()
        number = np.full(len(self.table.types), -1)
        number[self.members] = np.arange(len(mine))
        pairs = number[self.table.excluded]
        pairs = pairs[(pairs >= 0).all(axis=1)]
        self.excluded = pairs[np.lexsort(pairs.T[::-1])]

    def numbers(self, term: NeighborTerm, system: int) -> FloatArray:
        """[types, kinds, P, 8]"""
        rows = term.form.pair_rows(term.tables[system].parameters, term.cutoff)[np.ix_(self.used, self.used)]
        assert rows.shape[-1] <= COLUMNS
        return np.moveaxis(rows[:, self.kinds], 3, 2)


def _members(term: NeighborTerm, system: int) -> IntArray:
    """The beads that the term acts on: those of types whose strength is not 0 with all types of the molecule."""
    table = term.tables[system]
    used = np.unique(table.types)
    strength = table.parameters[term.form.strength][np.ix_(used, used)]
    return np.flatnonzero(np.isin(table.types, used[(strength != 0.0).any(axis=1)]))


def _searches(terms: Sequence[NeighborTerm], system: int) -> list[_Search]:
    """Terms of one cutoff that act on the same beads share a search; those that act on none have none."""
    found: dict[tuple[float, bytes], _Search] = {}
    for term in terms:
        members = _members(term, system)
        if len(members):
            key = (term.cutoff, members.tobytes())
            if key not in found:
                found[key] = _Search(term.cutoff, members, term.tables[system])
            found[key].terms.append(term)
    return list(found.values())


def pack_eights(terms: Sequence[Sequence[NeighborTerm]]) -> tuple[Eights | None, IntArray]:
    """The searches for the terms of each system, and [systems] how many rows their lists have.

    None without any search: then nothing of it is compiled.
    """
    each = [_searches(mine, s) for s, mine in enumerate(terms)]
    if not any(each):
        return None, np.zeros(len(each), np.int64)
    searches = list(chain.from_iterable(each))
    pairs = [(s, search, term) for s, mine in enumerate(each) for search in mine for term in search.terms]
    numbers = [search.numbers(term, s) for s, search, term in pairs]
    excluded = _offsets(len(s.excluded) for s in searches)
    starts = [
        at + np.searchsorted(s.excluded[:, 0], np.arange(len(s.members) + 1))
        for at, s in zip(excluded, searches, strict=False)
    ]
    eights = Eights(
        search=_offsets(map(len, each)),
        cutoff=np.array([s.cutoff for s in searches], np.float64),
        first=_offsets(len(s.members) for s in searches),
        member=_joined([s.members for s in searches]).astype(np.int32),
        type=_joined([s.types for s in searches]).astype(np.int32),
        exclusion_start=_joined(starts),
        exclusion=_joined([s.excluded[:, 1] for s in searches]),
        eight=_joined([s.eight for s in searches]).astype(np.int32),
        eight_first=_offsets(len(s.eight) for s in searches),
        kinds=np.array([len(s.kinds) for s in searches], np.int64),
        term=_offsets(len(s.terms) for s in searches),
        code=np.array([CODES[term.form.name] for _, _, term in pairs], np.int8),
        width=np.array([n.shape[2] for n in numbers], np.int64),
        table=_offsets(n.size for n in numbers),
        numbers=_aligned(numbers),
    )
    return eights, np.array([sum(len(s.members) + 1 for s in mine) for mine in each], np.int64)


def _aligned(numbers: Sequence[FloatArray]) -> FloatArray:
    """All behind each other, and after them what is read and not used where a form has fewer columns than others."""
    out = aligned(sum(n.size for n in numbers) + COLUMNS * EIGHT)
    out[: -COLUMNS * EIGHT] = np.concatenate([np.zeros(0), *(n.ravel() for n in numbers)])
    return out


def _offsets(sizes: Iterable[int]) -> IntArray:
    return np.cumsum([0, *sizes])


def _joined(arrays: Sequence[npt.NDArray[np.int64]]) -> IntArray:
    return np.concatenate([np.zeros(0, np.int64), *arrays])
