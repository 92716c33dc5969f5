"""Layout (which systems, how many replicas of each) and State (flat arrays of all replicas).

An array of the state is declared once, in `State`: with its shape per bead or per replica, and whether propagators
compute it. Copies, parts, messages between ranks and checkpoints follow from the declaration.

All replicas of all systems of a run are one batch. Kernels use the flat form [B, 3]; writers, priors and
users use dense views [replicas of one system, beads, 3], which share memory with it.

State is float64 throughout: `precision` is the arithmetic in which forces are evaluated, and rounding
positions to float32 would cost more than it saves (a protein that drifted 200 Å from the origin has
lost 1e-5 Å in float32).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from mdflash.core.system import System
from mdflash.core.types import Box, FloatArray, IntArray, Reals
from mdflash.errors import InputError

if TYPE_CHECKING:
    from typing_extensions import Self


class Rows(NamedTuple):
    """Where some replicas lie in the arrays of a state, by scope: slices, or tensors of numbers or of bools.

    Attributes:
        bead: rows of arrays with one row for each bead.
        replica: rows of arrays with one row for each replica.
    """

    bead: slice | Tensor
    replica: slice | Tensor


@dataclass(frozen=True)
class Layout:
    """Which replicas are in the batch, and where each one's beads lie.

    Replicas are ordered by system: first all of `systems[0]`, then all of `systems[1]`, ...

    Attributes:
        systems: the different molecules.
        counts: replicas of each system.
        replica_ids: [R] global number of each replica; keys its random numbers, so a replica keeps its
            noise in any batch. Default 0..R-1.
    """

    systems: tuple[System, ...]
    counts: tuple[int, ...]
    replica_ids: tuple[int, ...] = field(default=())

    def __post_init__(self) -> None:
        if len(self.systems) != len(self.counts) or not self.systems:
            raise InputError(f"{len(self.systems)} systems but {len(self.counts)} replica counts")
        if min(self.counts) < 1:
            raise InputError(f"every system needs at least one replica, found counts {self.counts}")
        if not self.replica_ids:
            object.__setattr__(self, "replica_ids", tuple(range(sum(self.counts))))
        ids = self.replica_ids
        if len(set(ids)) != self.n_replicas or min(ids) < 0 or max(ids) >= 2**32:
            raise InputError(f"replica ids must be {self.n_replicas} different numbers from 0 to 2^32 - 1")

    @property
    def n_replicas(self) -> int:
        return sum(self.counts)

    @property
    def n_beads(self) -> int:
        """All beads of all replicas, B."""
        return int(self.bead_offset[-1])

    @cached_property
    def system_of_replica(self) -> IntArray:
        """[R] index into `systems`."""
        return np.repeat(np.arange(len(self.systems)), self.counts)

    @cached_property
    def bead_offset(self) -> IntArray:
        """[R + 1] replica r owns the flat rows bead_offset[r]:bead_offset[r + 1]."""
        sizes = np.array([s.n_beads for s in self.systems], np.int64)[self.system_of_replica]
        return np.concatenate(([0], np.cumsum(sizes)))

    @cached_property
    def replica_offset(self) -> IntArray:
        """[systems + 1] system s owns the replicas replica_offset[s]:replica_offset[s + 1]."""
        return np.concatenate(([0], np.cumsum(self.counts)))

    @cached_property
    def masses(self) -> Tensor:
        """[B] in Da."""
        return torch.from_numpy(np.concatenate([self.systems[s].masses for s in self.system_of_replica]))

    def rows(self, replica: int) -> slice:
        """The flat rows of one replica (local number, 0..R-1)."""
        return slice(int(self.bead_offset[replica]), int(self.bead_offset[replica + 1]))

    def where(self, first: int, stop: int) -> Rows:
        """Where the replicas first:stop (local numbers) lie."""
        return Rows(slice(int(self.bead_offset[first]), int(self.bead_offset[stop])), slice(first, stop))

    def view(self, flat: Tensor, system: int) -> Tensor:
        """The rows of one system as [replicas, beads, ...]; shares memory with `flat` [B, ...]."""
        first = int(self.bead_offset[self.replica_offset[system]])
        last = int(self.bead_offset[self.replica_offset[system + 1]])
        n = self.systems[system].n_beads
        return flat[first:last].view(self.counts[system], n, *flat.shape[1:])

    def describe(self) -> str:
        """'8 x chignolin (10 beads), 2 x ntl9 (39 beads)'."""
        return ", ".join(
            f"{count} x {system.name} ({system.n_beads} beads)"
            for system, count in zip(self.systems, self.counts, strict=True)
        )


def per_bead(*shape: int, result: bool = True) -> dict[str, Any]:
    """Declare an array [B, *shape] of a state.

    Args:
        shape: of one bead's entry.
        result: whether propagators compute it; what they only read does not come back from them.
    """
    return {"scope": "bead", "shape": shape, "result": result}


def per_replica(*shape: int, result: bool = True) -> dict[str, Any]:
    """Declare an array [R, *shape] of a state; see `per_bead`."""
    return {"scope": "replica", "shape": shape, "result": result}


@dataclass(kw_only=True)
class State:
    """Everything that changes, as flat arrays over the batch.

    Attributes:
        positions: [B, 3] Å, never wrapped into the box.
        velocities: [B, 3] Å/ps.
        forces: [B, 3] kcal/mol/Å, at `positions`.
        energy: [R] potential energy at `positions`, kcal/mol.
        temperature: [R] target temperature of each replica, K.
        step: steps done since the start of the run (Python int: no 32-bit overflow).
        box: edges of the orthorhombic periodic box [3] in Å, or None.
    """

    positions: Tensor = field(metadata=per_bead(3))
    velocities: Tensor = field(metadata=per_bead(3))
    forces: Tensor = field(metadata=per_bead(3))
    energy: Tensor = field(metadata=per_replica())
    temperature: Tensor = field(metadata=per_replica(result=False))
    step: int = 0
    box: Box | None = None

    @classmethod
    def empty(cls, layout: Layout, device: torch.device | str = "cpu") -> Self:
        """A state of zeros."""
        sizes = {"bead": layout.n_beads, "replica": layout.n_replicas}

        def new(scope: str, shape: tuple[int, ...]) -> Tensor:
            return torch.zeros((sizes[scope], *shape), dtype=torch.float64, device=device)

        arrays: dict[str, Any] = {f.name: new(f.metadata["scope"], f.metadata["shape"]) for f in _declared(cls)}
        return cls(**arrays)

    @classmethod
    def at(
        cls,
        layout: Layout,
        positions: Tensor | FloatArray,
        temperature: float | Sequence[float] | Tensor,
        box: Box | None = None,
    ) -> Self:
        """A state at rest at `positions` [B, 3], forces not yet evaluated (NaN).

        Raises:
            InputError: shapes that do not fit the layout, or a position or temperature that is not finite.
        """
        x = torch.as_tensor(positions, dtype=torch.float64).clone().contiguous()
        if x.shape != (layout.n_beads, 3):
            raise InputError(f"positions must be [{layout.n_beads}, 3], found {list(x.shape)}")
        bad = torch.nonzero(~torch.isfinite(x).all(dim=1)).flatten()
        if len(bad):
            flat = int(bad[0])
            replica = int(np.searchsorted(layout.bead_offset, flat, side="right")) - 1
            system = layout.systems[int(layout.system_of_replica[replica])]
            bead = flat - int(layout.bead_offset[replica])
            raise InputError(
                f"the start position of {system.bead_label(bead)} in replica {layout.replica_ids[replica]} "
                f"is {x[flat].tolist()}; every coordinate must be a finite number"
            )
        t = torch.as_tensor(temperature, dtype=torch.float64)
        t = t.expand(layout.n_replicas).clone() if t.ndim == 0 else t.clone()
        if t.shape != (layout.n_replicas,) or not bool((torch.isfinite(t) & (t >= 0)).all()):
            raise InputError(
                f"temperature must be one number >= 0 K, or one for each of the {layout.n_replicas} replicas; "
                f"found {t.tolist()}"
            )
        state = cls.empty(layout)
        state.box = box
        state.positions.copy_(x)
        state.temperature.copy_(t)
        state.forces.fill_(torch.nan)
        state.energy.fill_(torch.nan)
        return state

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """Every array, in the order of its declaration."""
        return tuple(f.name for f in _declared(cls))

    @classmethod
    def results(cls) -> tuple[str, ...]:
        """The arrays that propagators compute."""
        return tuple(f.name for f in _declared(cls) if f.metadata["result"])

    @classmethod
    def n_numbers(cls, layout: Layout) -> int:
        """How many numbers `flatten` gives for a batch."""
        sizes = {"bead": layout.n_beads, "replica": layout.n_replicas}
        return sum(
            sizes[f.metadata["scope"]] * math.prod(f.metadata["shape"]) for f in _declared(cls) if f.metadata["result"]
        )

    def arrays(self) -> dict[str, Tensor]:
        """Every array by its name."""
        return {name: getattr(self, name) for name in self.names()}

    def copy(self) -> Self:
        """The same state in memory of its own."""
        cloned: dict[str, Any] = {name: array.clone() for name, array in self.arrays().items()}
        return dataclasses.replace(self, **cloned)

    def assign(self, other: State) -> None:
        """Copy the other state into this one, arrays and step; memory stays where it is, on its device."""
        for name, array in self.arrays().items():
            array.copy_(getattr(other, name))
        self.step = other.step

    def load(self, arrays: Mapping[str, Reals]) -> None:
        """Copy NumPy arrays into those of the same names."""
        for name, array in arrays.items():
            getattr(self, name).copy_(torch.from_numpy(array))

    def take(self, rows: Rows) -> Self:
        """Some replicas: a view where `rows` are slices, else a copy."""
        taken = {f.name: getattr(self, f.name)[getattr(rows, f.metadata["scope"])] for f in _declared(type(self))}
        return dataclasses.replace(self, **taken)

    def put(self, rows: Rows, own: State) -> None:
        """Put the results of `own`, a state of these replicas alone, in their place."""
        for f in _declared(type(self)):
            if f.metadata["result"]:
                getattr(self, f.name)[getattr(rows, f.metadata["scope"])] = getattr(own, f.name)

    def flatten(self) -> Tensor:
        """The results as one row of numbers, for `unflatten`."""
        return torch.cat([getattr(self, name).flatten() for name in self.results()])

    def unflatten(self, flat: Tensor) -> None:
        """Copy what `flatten` gave into the results of a state of the same batch."""
        arrays = [getattr(self, name) for name in self.results()]
        for array, values in zip(arrays, torch.split(flat, [array.numel() for array in arrays]), strict=True):
            array.copy_(values.view_as(array))


def _declared(kind: type[State]) -> list[dataclasses.Field[Any]]:
    return [f for f in dataclasses.fields(kind) if "scope" in f.metadata]
