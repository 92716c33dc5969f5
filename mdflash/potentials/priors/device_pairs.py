"""The neighbor-list terms of a batch on a GPU: their searches, their tables, and the launches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from mdflash.core.state import Layout
from mdflash.core.types import FloatArray, IntArray
from mdflash.neighbors.clusters import ClusterLists, Search, in_columns
from mdflash.potentials.forms import CODES
from mdflash.potentials.priors.neighbor_term import NeighborTerm
from mdflash.potentials.priors.triton_pairs import near_pairs


class PairTerms(NamedTuple):
    """The terms of all searches, and what they read of the members.

    Attributes:
        kind: [slots] int32 row of each member in the parameter matrices.
        size: [S] int32 rows of a search's matrices.
        layer: [S] int32 which of its system's searches it is.
        row: [S + 1] int32; search s owns the terms row[s]:row[s + 1].
        code: [terms] int32, 1 << the form's number.
        cutoff: [terms] REAL Å.
        table: [terms] int32 where its matrices begin.
        numbers: REAL, for each term [P, size, size], the form's `pair_rows`; equal ones are there once.
        beads: beads of the batch, in round numbers.
    """

    kind: Tensor
    size: Tensor
    layer: Tensor
    row: Tensor
    code: Tensor
    cutoff: Tensor
    table: Tensor
    numbers: Tensor
    beads: int


def _members(term: NeighborTerm, system: int) -> IntArray:
    """Beads of types whose strength is not 0 with all types of the molecule."""
    table = term.tables[system]
    used = np.unique(table.types)
    strength = table.parameters[term.form.strength][np.ix_(used, used)]
    return np.flatnonzero(np.isin(table.types, used[(strength != 0.0).any(axis=1)]))


def _searches(terms: Sequence[NeighborTerm], system: int, chain: IntArray) -> list[tuple[Search, list[NeighborTerm]]]:
    """Terms of one cutoff that act on the same pairs share a search; those that act on none have none."""
    found: dict[Any, tuple[Search, list[NeighborTerm]]] = {}
    for term in terms:
        members, table = _members(term, system), term.tables[system]
        excluded = table.excluded[np.isin(table.excluded, members).all(axis=1)]
        if len(excluded) == len(members) * (len(members) - 1) // 2:
            continue
        key = (term.cutoff, members.tobytes(), np.unique(excluded, axis=0).tobytes(), table.types.tobytes())
        if key not in found:
            found[key] = Search(term.cutoff, in_columns(members, chain), excluded), []
        found[key][1].append(term)
    return list(found.values())


class DevicePairs:
    """All neighbor-list terms of a batch on the device.

    Args:
        terms: the terms.
        layout: the batch.
        skin: Å.
        dtype: float64 or float32.
        device: where the kernels run.

    Attributes:
        layers: the most searches that a system has; 0: nothing acts.
        cutoff: Å, the largest.
        forms: of each search.
        energy, forces: [layers, B] and [layers, B, 3] of that dtype: to be added up, in this order.
    """

    def __init__(
        self, terms: Sequence[NeighborTerm], layout: Layout, skin: float, dtype: torch.dtype, device: torch.device
    ) -> None:
        each = [
            _searches(terms, s, system.chain_index[system.residue_index]) for s, system in enumerate(layout.systems)
        ]
        every = [(s, search, mine) for s, found in enumerate(each) for search, mine in found]
        self.layers = max(map(len, each))
        self.cutoff = max((search.cutoff for _, search, _ in every), default=0.0)
        self.forms = [[term.form.name for term in mine] for _, _, mine in every]
        beads = -(-layout.n_beads // 16) * 16
        self._split = dtype == torch.float32
        self.energy = torch.zeros(max(self.layers, 1), beads, dtype=dtype, device=device)
        self.forces = torch.zeros(max(self.layers, 1), beads, 3, dtype=dtype, device=device)
        if not every:
            return
        self.lists = ClusterLists([[search for search, _ in found] for found in each], layout, skin, dtype, device)
        flat = [(s, term) for s, _, mine in every for term in mine]
        rows = [term.form.pair_rows(term.tables[s].parameters, term.cutoff) for s, term in flat]
        tables, numbers = _tables(rows)

        def put(array: Any, kind: torch.dtype = torch.int32) -> Tensor:
            return torch.from_numpy(np.ascontiguousarray(array)).to(device, kind)

        self._terms = PairTerms(
            put(np.concatenate([np.where(search.bead < 0, 0, mine[0].tables[s].types[search.bead])
                                for s, search, mine in every])),
            put([len(mine[0].tables[s].parameters[mine[0].form.strength]) for s, _, mine in every]),
            put(np.concatenate([np.arange(len(found)) for found in each])),
            put(np.cumsum([0, *(len(mine) for _, _, mine in every)])),
            put([1 << CODES[term.form.name] for _, term in flat]),
            put([term.cutoff for _, term in flat], dtype),
            put(tables), put(numbers, dtype), beads,
        )  # fmt: skip
        self._occur = tuple(
            sorted(
                {1 << CODES[term.form.name]: row.shape[-1] for (_, term), row in zip(flat, rows, strict=True)}.items()
            )
        )

    def launch(self, x: Tensor, rebuild: Tensor, box: Tensor, periodic: bool) -> None:
        """Energy and forces at x [B, 3] float64, behind a `triton.prepare` of the same step."""
        self.lists.launch(x, rebuild, box, periodic)
        lists = self.lists
        near_pairs[(lists.rows,)](
            lists.places, box, lists.members, lists.groups, lists.columns, self._terms, self.energy, self.forces,
            OCCUR=self._occur, PERIODIC=periodic, SPLIT=self._split, num_warps=1, enable_fp_fusion=False,
        )  # fmt: skip


def _tables(rows: Sequence[FloatArray]) -> tuple[IntArray, FloatArray]:
    """Where each term's matrices [T, T, P] begin among all, and all of them as [P, T, T]; equal ones once."""
    place: dict[tuple[tuple[int, ...], bytes], int] = {}
    found: list[FloatArray] = []
    tables, end = [], 0
    for matrix in rows:
        turned = np.ascontiguousarray(np.moveaxis(matrix, 2, 0))
        key = turned.shape, turned.tobytes()
        if key not in place:
            place[key], end = end, end + turned.size
            found.append(turned.ravel())
        tables.append(place[key])
    return np.array(tables), np.concatenate(found)
