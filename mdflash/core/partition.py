"""A batch in parts: one for each of many ranks, or as many as a GPU's memory makes necessary.

A replica's bits do not depend on what else is in the batch, so how it is divided changes none of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from mdflash.core.plural import plural
from mdflash.core.state import Layout, Rows, State
from mdflash.errors import InputError


@dataclass(frozen=True)
class Part:
    """Some replicas of a batch, as a batch of their own.

    Attributes:
        layout: layout of the part.
        systems: which of the whole batch's systems it has.
        replicas: local numbers in the whole batch of those that belong to the part.
        rows: where in the whole batch the replicas of `layout` lie.
        own: which of its replicas belong to it; the others are lent, and their results are dropped.
        home: where in the whole batch its own replicas lie.
    """

    layout: Layout
    systems: tuple[int, ...]
    replicas: tuple[int, ...]
    rows: Rows
    own: Rows
    home: Rows

    def take(self, state: State) -> State:
        """The part of a state of the whole batch: a view of it for `by_rank`, a copy for `by_memory`."""
        return state.take(self.rows)

    def put(self, state: State, part: State) -> None:
        """Put the results of the part's own replicas into the state of the whole batch."""
        state.put(self.home, part.take(self.own))


def by_rank(layout: Layout, size: int) -> tuple[Part, ...]:
    """One part for each of `size` ranks: neighbors in the batch, with about equal numbers of beads.

    Raises:
        InputError: more ranks than replicas.
    """
    n = layout.n_replicas
    if size > n:
        raise InputError(
            f"{size} ranks for {plural(n, 'replica')}: every rank needs one; start {n} ranks or fewer, or "
            f"write `count: {size}` under `replicas:`"
        )
    cuts = [0]
    for rank in range(1, size):
        share = layout.n_beads * rank / size
        nearest = int(np.abs(layout.bead_offset - share).argmin())
        cuts.append(min(max(nearest, cuts[-1] + 1), n - (size - rank)))
    return tuple(_adjacent(layout, a, b) for a, b in zip(cuts, [*cuts[1:], n], strict=True))


def _adjacent(layout: Layout, first: int, stop: int) -> Part:
    owner = layout.system_of_replica[first:stop]
    systems = tuple(np.unique(owner).tolist())
    own = Layout(
        tuple(layout.systems[s] for s in systems),
        tuple(int((owner == s).sum()) for s in systems),
        layout.replica_ids[first:stop],
    )
    where = layout.where(first, stop)
    return Part(own, systems, tuple(range(first, stop)), where, Rows(slice(None), slice(None)), where)


def by_memory(layout: Layout, count: int) -> tuple[Part, ...]:
    """`count` parts, each with about the same share of every system.

    A system with fewer replicas than there are parts lends its first one where it has none, as potentials and kernels
    are made for all systems.
    """
    return tuple(_scattered(layout, k, count) for k in range(count))


def _scattered(layout: Layout, k: int, count: int) -> Part:
    chosen, own, counts = [], [], []
    for first, n in zip(layout.replica_offset.tolist(), layout.counts, strict=False):
        begin, end = n * k // count, n * (k + 1) // count
        mine = list(range(first + begin, first + end))
        chosen += mine or [first]
        own += [True] * len(mine) or [False]
        counts.append(max(len(mine), 1))
    sizes = np.diff(layout.bead_offset)[chosen]
    beads = torch.from_numpy(np.concatenate([np.arange(layout.n_beads)[layout.rows(r)] for r in chosen]))
    replicas = torch.tensor(chosen)
    belongs = Rows(torch.from_numpy(np.repeat(own, sizes)), torch.tensor(own))
    return Part(
        Layout(layout.systems, tuple(counts), tuple(layout.replica_ids[r] for r in chosen)),
        tuple(range(len(layout.systems))),
        tuple(r for r, mine in zip(chosen, own, strict=True) if mine),
        Rows(beads, replicas),
        belongs,
        Rows(beads[belongs.bead], replicas[belongs.replica]),
    )
