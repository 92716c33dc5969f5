"""The listed priors of a batch on a GPU: tables with each interaction for every bead it acts on, and the launch."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
import triton.language as tl
from torch import Tensor

from mdflash.potentials.priors.cpu import Listed, Table
from mdflash.potentials.priors.triton import priors

WHOLE = 16
"""Rows of the tables are padded to multiples of this: Triton compiles a kernel again for a stride of another kind."""


class Batch(NamedTuple):
    """Where the beads of a batch are and what they are.

    Attributes:
        x: [B, 3] float64 Å.
        replica: [B] int32.
        system: [R] int32.
        template: [B] int32, the bead's number in the tables of all systems; see `neighbors.triton.build`.
        origin: [B] int32, its replica's first bead.
    """

    x: Tensor
    replica: Tensor
    system: Tensor
    template: Tensor
    origin: Tensor


class Near(NamedTuple):
    """What the neighbor-list terms have left, see `device_pairs.DevicePairs`.

    Attributes:
        energy, forces: [layers, beads] and [layers, beads, 3], float64 or float32.
        beads: of a layer.
    """

    energy: Tensor
    forces: Tensor
    beads: int


class Incidence(NamedTuple):
    """The interactions of one coordinate, listed once for each bead they act on.

    Attributes:
        start: [T + 1] int32 rows of the beads of all systems.
        beads: [order, stride] int32 local beads of the interaction.
        role: [stride] int32 which of them the row's bead is.
        code: [stride] int32, 1 << the form's number.
        parameters: [P, stride] float64 or float32, as in `cpu.Table`.
        stride: how many there are, in round numbers.
    """

    start: Tensor
    beads: Tensor
    role: Tensor
    code: Tensor
    parameters: Tensor
    stride: int

    @staticmethod
    def of(table: Table, sizes: list[int], dtype: torch.dtype, device: torch.device) -> Incidence:
        """`sizes`: beads of each system."""
        order = table.beads.shape[1]
        first = np.concatenate(([0], np.cumsum(sizes)))
        system = np.repeat(np.arange(len(sizes)), np.diff(table.row))  # [rows of the table]
        owner = (first[system][:, None] + table.beads).ravel()  # [rows * order]
        row = np.repeat(np.arange(len(system)), order)
        sort = np.argsort(owner, kind="stable")
        row, role = row[sort], np.tile(np.arange(order), len(system))[sort]
        start = np.searchsorted(owner[sort], np.arange(first[-1] + 1))
        stride = -(-max(len(row), 1) // WHOLE) * WHOLE

        def put(array: Any, dtype: torch.dtype = torch.int32) -> Tensor:
            padded = np.pad(array, [(0, 0)] * (array.ndim - 1) + [(0, stride - array.shape[-1])])
            return _put(padded, device, dtype)

        return Incidence(
            _put(start, device, torch.int32), put(table.beads[row].T), put(role), put(1 << table.code[row].astype(int)),
            put(table.parameters[row].T, dtype), stride,
        )  # fmt: skip


class ListedTables(NamedTuple):
    """The interactions of the four coordinates of listed beads."""

    distance: Incidence
    angle_cosine: Incidence
    angle: Incidence
    dihedral: Incidence


def _put(array: Any, device: torch.device, dtype: torch.dtype | None = None) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array)).to(device, dtype)


def _occurring(codes: Any) -> int:
    """Sum of 1 << code."""
    return sum(1 << int(c) for c in np.unique(codes))


class DevicePriors:
    """All listed priors of a batch on the device.

    Args:
        listed: their tables (`pack.pack`).
        sizes: beads of each system.
        dtype: their arithmetic, float64 or float32.
        device: where the kernel runs.

    Attributes:
        tables: the terms.
        occurring: which forms there are, and how many parameters they have, see `triton.priors`.
    """

    def __init__(self, listed: Listed, sizes: list[int], dtype: torch.dtype, device: torch.device) -> None:
        self.tables = ListedTables(*(Incidence.of(table, sizes, dtype, device) for table in listed))
        self.occurring: dict[str, Any] = {
            "OCCUR": tuple(_occurring(t.code) for t in listed),
            "WIDTH": tuple(t.parameters.shape[1] for t in listed),
        }
        self._shape = self.occurring | {"REAL": tl.float32 if dtype == torch.float32 else tl.float64}

    def run(self, batch: Batch, near: Near, layers: int, energy: Tensor, forces: Tensor) -> None:
        """Write the energy share of each bead [B] and the forces [B, 3], float64, with `layers` of near pairs."""
        priors[(len(batch.x),)](
            batch, self.tables, near, energy, forces, **self._shape, LAYERS=layers, num_warps=1, enable_fp_fusion=False
        )
