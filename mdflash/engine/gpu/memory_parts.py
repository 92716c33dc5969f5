"""A batch on a GPU, in as many parts as its memory makes necessary, one after the other.

The GPU memory of one part is freed before the next is set up. A block of steps takes about half a second, setting up
less.
"""

from __future__ import annotations

import gc
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch

from mdflash.core.gpu import describe, on_device
from mdflash.core.partition import by_memory
from mdflash.core.state import Layout, State
from mdflash.engine.gpu.loop import CudaPropagator
from mdflash.engine.gpu.whole import WholePropagator
from mdflash.errors import InputError


class MemoryParts:
    """Runs a batch with the interface of `CompiledPropagator`; see the module.

    Args:
        layout: the batch.
        make: a propagator of a part's layout.
        device: where it runs.
        note: receives one message if the batch has to be split.
        kernels: how the propagators are called, see `protocols.Propagator`.

    Attributes:
        parts: the batch as it is split now.
    """

    def __init__(
        self,
        layout: Layout,
        make: Callable[[Layout], CudaPropagator | WholePropagator],
        device: torch.device,
        note: Callable[[str], None],
        kernels: str = "cuda",
    ) -> None:
        self.layout, self.gpu, self.note, self.kernels = layout, device, note, kernels
        self._make = make
        self._propagator: CudaPropagator | WholePropagator | None = None
        self.parts = by_memory(layout, 1)

    def evaluate(self, state: State) -> None:
        """Bring energy and forces of the state up to date with its positions.

        Raises:
            InputError: the GPU's memory does not hold one replica.
        """
        self._run(state, 0)

    def advance(self, state: State, steps: int) -> npt.NDArray[np.int64]:
        """Run `steps` steps, in place.

        Returns:
            [R] the step at which a replica's energy stopped being finite (it stays there), or -1.

        Raises:
            InputError: the GPU's memory does not hold one replica.
        """
        failed = self._run(state, steps)
        state.step += steps
        return failed

    def _run(self, state: State, steps: int) -> npt.NDArray[np.int64]:
        while True:
            try:
                with on_device(self.gpu):
                    return self._try(state, steps)
            except torch.cuda.OutOfMemoryError as error:
                reason = " ".join(str(error).split())
            self._split(reason)  # here, where nothing holds on to what the attempt had allocated

    def _try(self, state: State, steps: int) -> npt.NDArray[np.int64]:
        """All parts, or none: the state changes when the last one has arrived."""
        failed = np.full(self.layout.n_replicas, -1)
        arrived = []
        for part in self.parts:
            if len(self.parts) > 1:
                self._forget()
            if self._propagator is None:
                self._propagator = self._make(part.layout)
            own = part.take(state)
            if steps:
                failed[list(part.replicas)] = self._propagator.advance(own, steps)[np.asarray(part.own.replica)]
            else:
                self._propagator.evaluate(own)
            arrived.append(own)
        for part, own in zip(self.parts, arrived, strict=True):
            part.put(state, own)
        return failed

    def _forget(self) -> None:
        """Give the GPU's memory back."""
        self._propagator = None
        gc.collect()  # graphs and buffers refer to each other
        if self.gpu.type == "cuda":
            torch.cuda.empty_cache()

    def _split(self, reason: str) -> None:
        self._forget()
        most = max(self.layout.counts)
        if len(self.parts) >= most:
            raise InputError(
                f"{describe(self.gpu)} has no room for one replica of {self.layout.describe()}: {reason}; "
                "write `device: cpu`",
                key="hardware.device",
            )
        if len(self.parts) == 1:
            self.note(
                f"the memory of {describe(self.gpu)} does not hold all replicas at once, so they run in "
                "parts, one after the other; fewer replicas, or more ranks with a GPU each, are faster"
            )
        self.parts = by_memory(self.layout, min(2 * len(self.parts), most))
