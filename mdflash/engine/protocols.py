"""What the parts of the engine know of each other."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import torch

from mdflash.core.state import Layout, State
from mdflash.core.types import IntArray
from mdflash.engine.settings import Backend, Dynamics
from mdflash.potentials.base import Potential


class Propagator(Protocol):
    """Advances a state; see `blocks.compiled`, `blocks.plain`, `blocks.ranks` and `gpu.memory_parts`."""

    @property
    def kernels(self) -> str:
        """ "compiled", "python", "cuda" or "whole"."""

    @property
    def gpu(self) -> torch.device | None:
        """Where forces are computed; None: on the CPU."""

    def evaluate(self, state: State) -> None:
        """Bring energy and forces of the state up to date with its positions."""

    def advance(self, state: State, steps: int) -> npt.NDArray[np.int64]:
        """Run `steps` steps, in place.

        Returns:
            [R] the step at which a replica's energy stopped being finite (it stays there), or -1.
        """


class Chosen(NamedTuple):
    """A propagator, and messages for the user about what it could not do as asked."""

    propagator: Propagator
    notes: tuple[str, ...] = ()


Choose = Callable[[State, Dynamics, Backend], Chosen]
"""Chooses a propagator for a batch that starts at a state; its layout and potential are settled."""


class Changing(Protocol):
    """Changes temperatures, biases or walkers at fixed steps, between blocks.

    See `annealing`, `steering`, `deposits` and `ensemble`.
    """

    moves_forces: bool
    """Whether energy and forces of the state are old after a change."""

    def next_change(self, step: int) -> int:
        """The first change after `step`."""

    def change(self, engine: Running, /) -> None:
        """Change what is due at this step."""

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """What a checkpoint must hold to continue with the same bits."""

    def restore(self, arrays: Mapping[str, npt.NDArray[Any]], step: int) -> None:
        """Continue from a checkpoint's arrays, at its step."""


class Running(Protocol):
    """What guards and exchange see of an engine."""

    @property
    def layout(self) -> Layout: ...

    @property
    def potential(self) -> Potential: ...

    @property
    def state(self) -> State: ...

    @property
    def dynamics(self) -> Dynamics: ...

    @property
    def propagator(self) -> Propagator: ...

    @property
    def frozen(self) -> npt.NDArray[np.bool_]:
        """[R] replicas that no longer move."""

    @property
    def time(self) -> float:
        """Simulated time in ps."""

    def replaced(self, rows: IntArray) -> None:
        """Note that these replicas have been given other coordinates, which are sound."""

    def choose(self, state: State, dynamics: Dynamics) -> Propagator:
        """A propagator of the same batch from another state, under other dynamics."""
