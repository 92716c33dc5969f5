"""The loop over many ranks: each carries its share of the replicas, and all know where every replica is.

A share is a contiguous range of the batch's replicas, so its rows of the state are contiguous too and are carried in
place. Noise is keyed by the replica's global number, and replicas never meet inside a block: who carries a replica
changes no bit of it.
"""

from __future__ import annotations

import dataclasses
import time
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from mdflash.core.state import Layout, State
from mdflash.engine.distributed import Ranks
from mdflash.errors import InputError

if TYPE_CHECKING:
    from mdflash.engine.engine import Engine


def split(layout: Layout, size: int) -> tuple[range, ...]:
    """The replicas (local numbers) of each of `size` ranks: contiguous ranges with about equal numbers of beads.

    Raises:
        InputError: more ranks than replicas.
    """
    n = layout.n_replicas
    if size > n:
        raise InputError(
            f"{size} ranks for {n} replica{'s' if n > 1 else ''}: every rank needs one; start {n} ranks or fewer, or "
            f"write `count: {size}` under `replicas:`"
        )
    cuts = [0]
    for rank in range(1, size):
        share = layout.n_beads * rank / size
        nearest = int(np.abs(layout.bead_offset - share).argmin())
        cuts.append(min(max(nearest, cuts[-1] + 1), n - (size - rank)))
    return tuple(range(a, b) for a, b in zip(cuts, [*cuts[1:], n], strict=True))


def part(layout: Layout, replicas: range) -> tuple[Layout, tuple[int, ...]]:
    """The layout of a range of replicas, and which of the systems it has."""
    owner = layout.system_of_replica[replicas.start : replicas.stop]
    systems = tuple(np.unique(owner).tolist())
    own = Layout(
        tuple(layout.systems[s] for s in systems),
        tuple(int((owner == s).sum()) for s in systems),
        layout.replica_ids[replicas.start : replicas.stop],
    )
    return own, systems


def view(state: State, layout: Layout, replicas: range) -> State:
    """The state of a range of replicas; shares memory with `state`."""
    rows = slice(int(layout.bead_offset[replicas.start]), int(layout.bead_offset[replicas.stop]))
    own = slice(replicas.start, replicas.stop)
    return dataclasses.replace(
        state,
        positions=state.positions[rows],
        velocities=state.velocities[rows],
        forces=state.forces[rows],
        energy=state.energy[own],
        temperature=state.temperature[own],
    )


class SharedPropagator:
    """Carries the replicas of this rank, and brings in those of the others; a propagator of the whole batch.

    Args:
        ranks: who shares the work.
        layout: the whole batch.
        own: an engine of this rank's replicas, `part(layout, split(layout, ranks.size)[ranks.rank])`.

    Attributes:
        seconds: how long the slowest rank took for the last block, the same number on every rank.
    """

    def __init__(self, ranks: Ranks, layout: Layout, own: Engine) -> None:
        self.ranks, self.layout, self.own = ranks, layout, own
        self.kernels = own.propagator.kernels
        self.seconds = 0.0
        self._replicas = split(layout, ranks.size)
        longest = max(self._size(replicas) for replicas in self._replicas)
        self._mine = torch.zeros(longest, dtype=torch.float64)
        self._everyone = [torch.zeros_like(self._mine) for _ in self._replicas]

    def _size(self, replicas: range) -> int:
        """Numbers that one rank tells: time, energy and failure of each replica, nine of each bead."""
        beads = int(self.layout.bead_offset[replicas.stop] - self.layout.bead_offset[replicas.start])
        return 1 + 2 * len(replicas) + 9 * beads

    def evaluate(self, state: State) -> None:
        """Bring energy and forces of the state up to date with its positions."""
        own = self._replicas[self.ranks.rank]
        self.own.propagator.evaluate(view(state, self.layout, own))
        self._share(state, np.full(len(own), -1), 0.0)

    def advance(self, state: State, steps: int) -> npt.NDArray[np.int64]:
        """Carry the state through `steps` steps, in place; returns [R] failed step or -1."""
        began = time.perf_counter()
        failed = self.own.propagator.advance(view(state, self.layout, self._replicas[self.ranks.rank]), steps)
        seconds = time.perf_counter() - began
        state.step += steps
        return self._share(state, failed, seconds)

    def sibling(self, state: State, halvings: int, seed: int) -> SharedPropagator:
        """The same ranks from another state of the whole batch; see `Engine.sibling`."""
        own = view(state, self.layout, self._replicas[self.ranks.rank])
        return SharedPropagator(self.ranks, self.layout, self.own.sibling(own, halvings, seed))

    def _share(self, state: State, failed: npt.NDArray[np.int64], seconds: float) -> npt.NDArray[np.int64]:
        """Tell the others about the own replicas, and put theirs into the state; returns [R] failed of all."""
        mine = view(state, self.layout, self._replicas[self.ranks.rank])
        told = torch.cat(
            [
                torch.tensor([seconds], dtype=torch.float64),
                torch.from_numpy(failed).double(),  # exact: steps are below 2^53
                mine.energy,
                *(getattr(mine, name).flatten() for name in ("positions", "velocities", "forces")),
            ]
        )
        self._mine[: len(told)] = told
        self.ranks.share(state.step, self._mine, self._everyone)
        self.seconds = max(float(heard[0]) for heard in self._everyone)
        return np.concatenate([self._take(state, k) for k in range(self.ranks.size)])

    def _take(self, state: State, rank: int) -> npt.NDArray[np.int64]:
        """Put what rank `rank` told into the state; returns its failed steps."""
        replicas = self._replicas[rank]
        theirs = view(state, self.layout, replicas)
        n, beads = len(replicas), 3 * len(theirs.positions)
        heard = self._everyone[rank][1 : self._size(replicas)]
        failed, energy, x, v, f = heard.split([n, n, beads, beads, beads])
        theirs.energy.copy_(energy)
        for target, source in ((theirs.positions, x), (theirs.velocities, v), (theirs.forces, f)):
            target.copy_(source.view(-1, 3))
        steps: npt.NDArray[np.int64] = failed.long().numpy()
        return steps
