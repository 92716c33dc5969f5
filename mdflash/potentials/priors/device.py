"""The priors of a batch on a GPU: their tables, each interaction listed for every bead it acts on, and the launch."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from mdflash.core.types import FloatArray
from mdflash.potentials.priors.cpu import Listed, Nonbonded, Table
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
    """The pairs that neighbor-list terms act on, as `neighbors.triton.select_nonbonded` leaves them."""

    neighbor: Tensor
    number: Tensor
    capacity: int


class Incidence(NamedTuple):
    """The interactions of one coordinate, listed once for each bead they act on.

    Attributes:
        start: [T + 1] int32 rows of the beads of all systems.
        beads: [order, stride] int32 local beads of the interaction.
        role: [stride] int32 which of them the row's bead is.
        code: [stride] int32, 1 << the form's number.
        parameters: [P, stride] float64, as in `cpu.Table`.
        stride: how many there are, in round numbers.
    """

    start: Tensor
    beads: Tensor
    role: Tensor
    code: Tensor
    parameters: Tensor
    stride: int

    @staticmethod
    def of(table: Table, sizes: list[int], device: torch.device) -> Incidence:
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
            put(table.parameters[row].T, torch.float64), stride,
        )  # fmt: skip


class ListedTables(NamedTuple):
    """The interactions of the four coordinates of listed beads."""

    distance: Incidence
    angle_cosine: Incidence
    angle: Incidence
    dihedral: Incidence


class PairTable(NamedTuple):
    """The neighbor-list terms; see `cpu.Nonbonded`.

    Attributes:
        kind: [T] int32 row of each bead of all systems in the parameter matrices.
        row: [systems + 1] int32; system s owns the terms row[s]:row[s + 1].
        code: [terms] int32, 1 << the form's number.
        reach: [terms] float64 Å.
        parameters: [terms, P, types, types] float64.
        types: size of the matrices.
    """

    kind: Tensor
    row: Tensor
    code: Tensor
    reach: Tensor
    parameters: Tensor
    types: int

    @staticmethod
    def of(nonbonded: Nonbonded, device: torch.device) -> PairTable:
        parameters: FloatArray = nonbonded.parameters.transpose(0, 3, 1, 2)
        if not len(parameters):
            parameters = np.zeros((1, *parameters.shape[1:]))
        return PairTable(
            _put(nonbonded.type, device), _put(nonbonded.row, device, torch.int32),
            _put(1 << np.append(nonbonded.code, 0).astype(int), device, torch.int32),
            _put(np.append(nonbonded.reach, 0.0), device), _put(parameters, device), parameters.shape[-1],
        )  # fmt: skip


def _put(array: Any, device: torch.device, dtype: torch.dtype | None = None) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array)).to(device, dtype)


def _occurring(codes: Any) -> int:
    """Sum of 1 << code."""
    return sum(1 << int(c) for c in np.unique(codes))


class DevicePriors:
    """All packed priors of a batch on the device.

    Args:
        listed, nonbonded: their tables (`pack.pack`).
        sizes: beads of each system.
        device: where the kernel runs.

    Attributes:
        tables: the listed terms.
        with_list: whether there is a neighbor-list prior.
        cutoffs: [systems] float64 Å, its cutoffs.
    """

    def __init__(self, listed: Listed, nonbonded: Nonbonded, sizes: list[int], device: torch.device) -> None:
        self.tables = ListedTables(*(Incidence.of(table, sizes, device) for table in listed))
        self._pairs = PairTable.of(nonbonded, device)
        self.with_list = bool(nonbonded.cutoff.any())
        self.cutoffs = _put(nonbonded.cutoff, device)
        self._shape: dict[str, Any] = {
            "OCCUR": (*(_occurring(t.code) for t in listed), _occurring(nonbonded.code)),
            "WIDTH": (*(t.parameters.shape[1] for t in listed), nonbonded.parameters.shape[-1]),
            "TERMS": int(np.diff(nonbonded.row).max()),
        }

    def run(self, batch: Batch, near: Near, box: Tensor, periodic: bool, energy: Tensor, forces: Tensor) -> None:
        """Write the energy share of each bead [B] and the forces [B, 3], float64; `box`: [3] Å."""
        priors[(len(batch.x),)](
            batch, self.tables, self._pairs, near, box, energy, forces,
            **self._shape, PERIODIC=periodic, num_warps=1, enable_fp_fusion=False,
        )  # fmt: skip
