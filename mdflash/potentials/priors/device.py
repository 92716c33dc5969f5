"""The priors of a batch on a GPU: their tables, each interaction listed for every bead it acts on, and the launch."""

# mypy: allow-untyped-defs, allow-untyped-calls, allow-untyped-decorators

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from mdflash.potentials.priors.cpu import Listed, Nonbonded, Table
from mdflash.potentials.priors.triton import priors

BLOCKS: Final = {"distance": 64, "angle_cosine": 16, "angle": 16, "dihedral": 16}  # of one bead, taken at a time


@dataclass(frozen=True)
class Incidence:
    """The interactions of one coordinate, listed once for each bead they act on.

    Attributes:
        start: [T + 1] int32 rows of the beads of all systems.
        beads: [order, M] int32 local beads of the interaction.
        role: [M] int32 which of them the row's bead is.
        code: [M] int32, parameters: [P, M] float64, as in `cpu.Table`.
        forms: bit mask of the codes that occur; 0: no such interaction.
    """

    start: Tensor
    beads: Tensor
    role: Tensor
    code: Tensor
    parameters: Tensor
    forms: int

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

        def put(array: Any, dtype: torch.dtype = torch.int32) -> Tensor:
            filled = array if array.size else np.zeros((*array.shape[:-1], 1))
            return torch.from_numpy(np.ascontiguousarray(filled)).to(device, dtype)

        return Incidence(
            put(start), put(table.beads[row].T), put(role), put(table.code[row]),
            put(table.parameters[row].T, torch.float64), sum(1 << int(c) for c in np.unique(table.code)),
        )  # fmt: skip


class DevicePriors:
    """All packed priors of a batch on the device.

    Args:
        listed, nonbonded: their tables (`pack.pack`).
        sizes: beads of each system.
        device: where the kernel runs.

    Attributes:
        with_list: whether there is a neighbour-list prior.
        cutoffs: [systems] float64 Å, its cutoffs.
    """

    def __init__(self, listed: Listed, nonbonded: Nonbonded, sizes: list[int], device: torch.device) -> None:
        self._tables = [Incidence.of(table, sizes, device) for table in listed]
        self.with_list = bool(nonbonded.cutoff.any())
        self.cutoffs = torch.from_numpy(np.ascontiguousarray(nonbonded.cutoff)).to(device)
        self._nonbonded = tuple(
            torch.from_numpy(np.ascontiguousarray(a)).to(device)
            for a in (nonbonded.type, nonbonded.epsilon, nonbonded.sigma, nonbonded.cutoff)
        )
        self._types = nonbonded.epsilon.shape[-1]
        shape: dict[str, Any] = {}
        for suffix, coordinate, t in zip(("2", "3C", "3", "4"), Listed._fields, self._tables, strict=True):
            shape[f"FORMS{suffix}"], shape[f"P{suffix}"] = t.forms, t.parameters.shape[0]
            shape[f"B{suffix}"] = BLOCKS[coordinate]
        self._shape = shape

    def run(
        self, x: Tensor, replica: Tensor, system: Tensor, template: Tensor, origin: Tensor, box: Tensor,
        periodic: bool, neighbor: Tensor, count: Tensor, energy: Tensor, forces: Tensor,
    ) -> None:  # fmt: skip
        """Write the energy share of each bead [B] and the forces [B, 3] at x [B, 3], all float64.

        Args:
            replica, template, origin: [B] int32; see `neighbors.triton.build`; `origin`: its replica's first bead.
            system: [R] int32.
            neighbor, count: near neighbours, as `neighbors.triton.select_nonbonded` leaves them.
        """
        listed: list[Any] = []
        for t in self._tables:
            listed += [t.start, t.beads, t.role, t.code, t.parameters, t.role.shape[0]]
        priors[(len(x),)](
            x, replica, system, template, origin, *listed, *self._nonbonded, self._types, box, neighbor, count,
            neighbor.shape[1], energy, forces,
            **self._shape, NONBONDED=self.with_list, PERIODIC=periodic, num_warps=1,
            enable_fp_fusion=False,
        )  # fmt: skip
