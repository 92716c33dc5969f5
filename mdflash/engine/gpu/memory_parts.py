"""A batch on a GPU, in as many parts as its memory makes necessary, carried one after the other.

A replica's bits do not depend on what else is in the batch, so how it is split changes none of them. What lies on the
GPU for one part is given up before the next is set up: blocks of steps take about half a second, setting up less.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mdflash.core.gpu import describe
from mdflash.core.state import Layout, State
from mdflash.engine.gpu.loop import CudaPropagator
from mdflash.errors import InputError

_ARRAYS = ("positions", "velocities", "forces", "energy", "temperature")


@dataclass(frozen=True)
class Part:
    """Some replicas of each system of a batch.

    A system with fewer replicas than there are parts lends its first one where it has none, as potentials and kernels
    are made for all systems; the result is thrown away.

    Attributes:
        layout: of the part.
        replicas, beads: numbers in the whole batch, of those that belong to the part and those that are lent.
        own_replicas, own_beads: which of them belong to the part, bool.
    """

    layout: Layout
    replicas: Tensor
    beads: Tensor
    own_replicas: Tensor
    own_beads: Tensor

    def take(self, state: State) -> State:
        """A copy of the part's replicas."""
        x, v, f, energy, temperature = (
            getattr(state, name)[self.beads if name in _ARRAYS[:3] else self.replicas] for name in _ARRAYS
        )
        return State(x, v, f, energy, temperature, state.step, state.box)

    def give(self, own: State, state: State) -> None:
        """Put the part's replicas where they belong in `state`."""
        for name in _ARRAYS[:4]:
            per_bead = name in _ARRAYS[:3]
            mine = self.own_beads if per_bead else self.own_replicas
            where = self.beads if per_bead else self.replicas
            getattr(state, name)[where[mine]] = getattr(own, name)[mine]


def cut(layout: Layout, count: int) -> tuple[Part, ...]:
    """The batch in `count` parts, each with about the same share of every system."""
    return tuple(_part(layout, k, count) for k in range(count))


def _part(layout: Layout, k: int, count: int) -> Part:
    chosen, own, counts = [], [], []
    for first, n in zip(layout.replica_offset.tolist(), layout.counts, strict=False):
        begin, end = n * k // count, n * (k + 1) // count
        mine = list(range(first + begin, first + end))
        chosen += mine or [first]
        own += [True] * len(mine) or [False]
        counts.append(max(len(mine), 1))
    sizes = np.diff(layout.bead_offset)[chosen]
    beads = np.concatenate([np.arange(layout.rows(r).start, layout.rows(r).stop) for r in chosen])
    return Part(
        Layout(layout.systems, tuple(counts), tuple(layout.replica_ids[r] for r in chosen)),
        torch.tensor(chosen),
        torch.from_numpy(beads),
        torch.tensor(own),
        torch.from_numpy(np.repeat(own, sizes)),
    )


class InParts:
    """Carries a batch with the interface of `CompiledPropagator`; see the module.

    Args:
        layout: the batch.
        make: a propagator of a part's layout.
        device: where it runs.
        said: told once that the batch had to be split.

    Attributes:
        parts: the batch as it is split now.
    """

    kernels = "cuda"

    def __init__(
        self,
        layout: Layout,
        make: Callable[[Layout], CudaPropagator],
        device: torch.device,
        said: Callable[[str], None],
    ) -> None:
        self.layout, self.device, self.said = layout, device, said
        self._make = make
        self._carrier: CudaPropagator | None = None
        self.parts = cut(layout, 1)

    def evaluate(self, state: State) -> None:
        """Bring energy and forces of the state up to date with its positions.

        Raises:
            InputError: the GPU's memory does not hold one replica.
        """
        self._carry(state, 0)

    def advance(self, state: State, steps: int) -> npt.NDArray[np.int64]:
        """Carry the state through `steps` steps, in place.

        Returns:
            [R] the step at which a replica's energy stopped being finite (it stays there), or -1.

        Raises:
            InputError: the GPU's memory does not hold one replica.
        """
        failed = self._carry(state, steps)
        state.step += steps
        return failed

    def _carry(self, state: State, steps: int) -> npt.NDArray[np.int64]:
        while True:
            try:
                with self._on_device():
                    return self._try(state, steps)
            except torch.cuda.OutOfMemoryError as error:
                reason = " ".join(str(error).split())
            self._split(reason)  # here, where nothing holds on to what the attempt had allocated

    def _on_device(self) -> AbstractContextManager[object]:
        return torch.cuda.device(self.device) if self.device.type == "cuda" else nullcontext()

    def _try(self, state: State, steps: int) -> npt.NDArray[np.int64]:
        """All parts, or none: the state changes when the last one has arrived."""
        failed = np.full(self.layout.n_replicas, -1)
        arrived = []
        for part in self.parts:
            if len(self.parts) > 1:
                self._forget()
            if self._carrier is None:
                self._carrier = self._make(part.layout)
            own = part.take(state)
            if steps:
                mine = part.own_replicas.numpy()
                failed[part.replicas.numpy()[mine]] = self._carrier.advance(own, steps)[mine]
            else:
                self._carrier.evaluate(own)
            arrived.append(own)
        for part, own in zip(self.parts, arrived, strict=True):
            part.give(own, state)
        return failed

    def _forget(self) -> None:
        """Give the GPU's memory back."""
        self._carrier = None
        gc.collect()  # graphs and buffers refer to each other
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def _split(self, reason: str) -> None:
        self._forget()
        most = max(self.layout.counts)
        if len(self.parts) >= most:
            raise InputError(
                f"{describe(self.device)} has no room for one replica of {self.layout.describe()}: {reason}; "
                "write `device: cpu`",
                key="hardware.device",
            )
        if len(self.parts) == 1:
            self.said(
                f"the memory of {describe(self.device)} does not hold all replicas at once, so they are carried in "
                "parts, one after the other; fewer replicas, or more ranks with a GPU each, are faster"
            )
        self.parts = cut(self.layout, min(2 * len(self.parts), most))
