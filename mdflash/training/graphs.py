"""Gradients of the loss as captured graphs: a step has about a thousand launches, most shorter than launching them.

A kind of step (how many frames of which molecules) is captured when it comes for the second time; the first time its
kernels are compiled.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor

from mdflash.training.forces import Batch, Forces

MOST = 16
"""Kinds of steps that are captured; others are launched one by one."""

Kind: TypeAlias = tuple[float, tuple[tuple[int, int], ...]]
"""Components, and molecule and frames of each batch."""


class _Captured(NamedTuple):
    graph: torch.cuda.CUDAGraph
    batches: list[Batch]
    squares: Tensor


def _clone(column: Tensor | None) -> Tensor | None:
    return None if column is None else column.clone()


class GraphedForces:
    """`Forces` on a GPU, its `backward` replayed from graphs.

    Gradients are added to the .grad that parameters have: it must stay where it is (`zero_grad(set_to_none=False)`).

    Args:
        forces: forces whose launches do not depend on values, such as `FlashForces`.

    Attributes:
        captured: what is replayed, by kind of step.
    """

    def __init__(self, forces: Forces) -> None:
        self._forces = forces
        self.predict, self.energies = forces.predict, forces.energies
        self.captured: dict[Kind, _Captured] = {}
        self._most = MOST
        self._seen: set[Kind] = set()

    def backward(self, batches: Sequence[Batch], components: float) -> Tensor:
        """As `Forces`; the sum is overwritten by the next step of the same kind."""
        kind = components, tuple((b.molecule, len(b.positions)) for b in batches)
        captured = self._capture(kind, batches) if kind in self._seen else None
        self._seen.add(kind)
        if captured is None:
            return self._forces.backward(batches, components)
        for own, batch in zip(captured.batches, batches, strict=True):
            own.positions.copy_(batch.positions)
            own.forces.copy_(batch.forces)
            if own.energies is not None and batch.energies is not None:
                own.energies.copy_(batch.energies)
            if own.weights is not None and batch.weights is not None:
                own.weights.copy_(batch.weights)
        captured.graph.replay()
        return captured.squares

    def _capture(self, kind: Kind, batches: Sequence[Batch]) -> _Captured | None:
        """The graph of a kind of step; None where there is none (if capturing fails, one message is given)."""
        if kind in self.captured or len(self.captured) >= self._most:
            return self.captured.get(kind)
        own = [
            Batch(b.molecule, b.positions.clone(), b.forces.clone(), _clone(b.energies), _clone(b.weights))
            for b in batches
        ]
        graph = torch.cuda.CUDAGraph()
        try:
            torch.cuda.synchronize()
            with torch.cuda.graph(graph):
                squares = self._forces.backward(own, kind[0])
        except torch.cuda.OutOfMemoryError:
            raise
        except RuntimeError as error:
            warnings.warn(f"CUDA graphs are not available, so kernels are launched one by one: {error}", stacklevel=2)
            self._most = 0
            self.captured.clear()
            return None
        self.captured[kind] = _Captured(graph, own, squares)
        return self.captured[kind]
