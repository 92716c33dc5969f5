"""The loop over many ranks: each runs its share of the replicas, and all know where every replica is.

A share is a contiguous range of the batch's replicas, so its rows of the state are contiguous too and change in place.
Noise is keyed by the replica's global number, and replicas never meet inside a block: which rank runs a replica changes
no bit of it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from mdflash.core.partition import Part
from mdflash.core.state import State
from mdflash.engine.devices import common, seating, seats_of
from mdflash.engine.distributed import Ranks
from mdflash.engine.protocols import Choose, Chosen, Propagator
from mdflash.engine.settings import Backend, Dynamics


class RankPropagator:
    """Runs the replicas of this rank, and brings in those of the others; a propagator of the whole batch.

    Args:
        ranks: who shares the work.
        parts: the batch as they share it, from `core.partition.by_rank`.
        own: a propagator of this rank's part.

    Attributes:
        seconds: how long the slowest rank took for the last block, the same number on every rank.
    """

    def __init__(self, ranks: Ranks, parts: tuple[Part, ...], own: Propagator) -> None:
        self.ranks, self.parts, self.own = ranks, parts, own
        self.kernels, self.gpu = own.kernels, own.gpu
        self.seconds = 0.0
        self._part = parts[ranks.rank]

    def evaluate(self, state: State) -> None:
        """Bring energy and forces of the state up to date with its positions."""
        self.own.evaluate(self._part.take(state))
        self._share(state, np.full(len(self._part.replicas), -1), 0.0)

    def advance(self, state: State, steps: int) -> npt.NDArray[np.int64]:
        """Run `steps` steps, in place; returns [R] failed step or -1."""
        began = time.perf_counter()
        failed = self.own.advance(self._part.take(state), steps)
        seconds = time.perf_counter() - began
        state.step += steps
        return self._share(state, failed, seconds)

    def _share(self, state: State, failed: npt.NDArray[np.int64], seconds: float) -> npt.NDArray[np.int64]:
        """Send the others the own replicas, and put theirs into the state; returns [R] failed of all."""
        own = torch.cat(
            [
                torch.tensor([seconds], dtype=torch.float64),
                torch.from_numpy(failed).double(),  # exact: steps are below 2^53
                self._part.take(state).flatten(),
            ]
        )
        longest = max(1 + len(part.replicas) + state.n_numbers(part.layout) for part in self.parts)
        message = torch.zeros(longest, dtype=torch.float64)
        message[: len(own)] = own
        received = [torch.empty_like(message) for _ in self.parts]
        self.ranks.share(state.step, message, received)
        self.seconds = max(float(each[0]) for each in received)
        return np.concatenate([_unpack(state, *each) for each in zip(self.parts, received, strict=True)])


def _unpack(state: State, part: Part, received: torch.Tensor) -> npt.NDArray[np.int64]:
    """Put what a rank sent into the state; returns its failed steps."""
    n = len(part.replicas)
    part.take(state).unflatten(received[1 + n : 1 + n + state.n_numbers(part.layout)])
    failed: npt.NDArray[np.int64] = received[1 : 1 + n].long().numpy()
    return failed


def across_ranks(ranks: Ranks, parts: tuple[Part, ...], choose_own: Choose) -> Choose:
    """Propagators of a whole batch, from those of this rank's part of it; of one kind on all ranks.

    Every rank has the same notes: those of the first rank that has a system, and where the ranks compute.
    """

    def choose(state: State, dynamics: Dynamics, backend: Backend) -> Chosen:
        mine = parts[ranks.rank].take(state)
        own = choose_own(mine, dynamics, backend)
        agreed, note = common(backend, ranks.all(own.propagator.kernels))
        if agreed != backend:
            own = choose_own(mine, dynamics, agreed)
        notes = [note] if note else []
        notes += _first_to_say(parts, ranks.all(list(own.notes)))
        notes += seating(seats_of(ranks, own.propagator.gpu))
        return Chosen(RankPropagator(ranks, parts, own.propagator), tuple(notes))

    return choose


def _first_to_say(parts: tuple[Part, ...], said: Sequence[Sequence[str]]) -> list[str]:
    """The notes of each rank that has a system which no rank before it has."""
    known: set[int] = set()
    notes: dict[str, None] = {}
    for part, own in zip(parts, said, strict=True):
        if not known.issuperset(part.systems):
            notes |= dict.fromkeys(own)
        known |= set(part.systems)
    return list(notes)
