"""Layout (which systems, how many replicas of each) and State (flat arrays of all replicas).

All replicas of all systems of a run are one batch. Kernels use the flat form [B, 3]; writers, priors and
users use dense views [replicas of one system, beads, 3], which share memory with it.

State is float64 throughout: `precision` says in which arithmetic forces are evaluated, and rounding
positions to float32 would cost more than it saves (a protein that drifted 200 Å from the origin has
lost 1e-5 Å in float32).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from mdflash.core.system import System
from mdflash.core.types import Box, FloatArray, IntArray
from mdflash.errors import InputError


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


@dataclass
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

    positions: Tensor
    velocities: Tensor
    forces: Tensor
    energy: Tensor
    temperature: Tensor
    step: int = 0
    box: Box | None = None

    @staticmethod
    def at(
        layout: Layout,
        positions: Tensor | FloatArray,
        temperature: float | Sequence[float] | Tensor,
        box: Box | None = None,
    ) -> State:
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
        return State(
            positions=x,
            velocities=torch.zeros_like(x),
            forces=torch.full_like(x, torch.nan),
            energy=torch.full((layout.n_replicas,), torch.nan, dtype=torch.float64),
            temperature=t,
            box=box,
        )
