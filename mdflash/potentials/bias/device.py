"""The biases of a batch on a GPU: their tables, what is brought up to date before a block of steps, the launches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from mdflash.core.state import Layout
from mdflash.core.types import FloatArray, IntArray
from mdflash.potentials.base import Potential
from mdflash.potentials.bias.bias import Bias
from mdflash.potentials.bias.cpu import Biases
from mdflash.potentials.bias.grid_bias import GridBias
from mdflash.potentials.bias.pack import PackedBiases
from mdflash.potentials.bias.term_energy import TermEnergy
from mdflash.potentials.bias.triton import SECOND, measure, push
from mdflash.potentials.pack import pack
from mdflash.potentials.priors.device import Batch, DevicePriors, Near
from mdflash.potentials.priors.term import PriorTerm
from mdflash.potentials.variables.base import Variable
from mdflash.potentials.variables.triton import ON_GPU
from mdflash.potentials.variables.triton.entries import Variables

MOST_AXES = 2
"""Of a grid that kernels know."""


def unsupported_bias(terms: Sequence[Potential]) -> str | None:
    """Why the kernels cannot evaluate one of the biases among these terms; None if they can."""
    for bias in terms:
        if not isinstance(bias, (Bias, GridBias)):
            continue
        unknown = [v.name for v in bias.variables if not isinstance(v, TermEnergy) and v.name not in ON_GPU]
        if unknown:
            return f"bias '{bias.name}' acts on the variable '{unknown[0]}', which has no GPU kernel"
        if len(bias.variables) > MOST_AXES:
            return f"bias '{bias.name}' has a grid of {len(bias.variables)} variables, and GPU kernels take {MOST_AXES}"
    return None


class BiasTables(NamedTuple):
    """What does not change; n variables in all, M entries.

    Attributes:
        row: [systems + 1] int32; system s owns the variables row[s]:row[s + 1].
        code: [n] int32 by which kernels know a variable; 0 of the energy of a term.
        term: [n] int32 number of that term; -1 of other variables.
        periodic, form: [n] int32, as in `cpu.Biases`.
        axes: [n] int32, as there, or `triton.SECOND`.
        axis: [n, 4] float64, as there.
        variables: the entries of each.
        bead_row: [systems + 1] int32; biases act on the beads bead[bead_row[s]:bead_row[s + 1]] of system s.
        bead: int32, counted within the molecule.
        entry_start: int32; bead k of these has the entries entry[entry_start[k]:entry_start[k + 1]].
        entry: [M] int32, counted from the first of the system.
        owner: [M] int32 the variable of each of these, counted from the first of the system.
        most: [systems] int32 entries of a bead, at most.
    """

    row: Tensor
    code: Tensor
    term: Tensor
    periodic: Tensor
    form: Tensor
    axes: Tensor
    axis: Tensor
    variables: Variables
    bead_row: Tensor
    bead: Tensor
    entry_start: Tensor
    entry: Tensor
    owner: Tensor
    most: Tensor


class BiasWork(NamedTuple):
    """What changes: V variables of all replicas, those of one replica behind each other.

    Attributes:
        at: [R] int64 the first variable of each replica.
        gradient_at: [R] int64 the first row of its gradients.
        parameters: [V, 3], place: [V] int64, surface: as in `cpu.Biases`.
        value, slope: [V] float64 of the variables, and of the bias by them.
        gradient: [rows, 3] float64 of each entry.
        term_energy, term_forces: [terms, B], [terms, B, 3] float64.
    """

    at: Tensor
    gradient_at: Tensor
    parameters: Tensor
    place: Tensor
    surface: Tensor
    value: Tensor
    slope: Tensor
    gradient: Tensor
    term_energy: Tensor
    term_forces: Tensor


class DeviceBiases:
    """All biases of a batch on the device.

    Args:
        packed: the biases; parameters and grids are read from them by `refresh`.
        device: where the kernels run.

    Attributes:
        copies: how often grids were copied to the device.
    """

    def __init__(self, packed: PackedBiases, device: torch.device) -> None:
        self._packed, self._device = packed, device
        self._variables = [variable for bias in packed.biases for variable in bias.variables]
        self.copies = 0
        arrays = packed.arrays()
        if arrays is None:
            return
        layout = packed.layout
        own = np.diff(arrays.row)[layout.system_of_replica]
        self._mine = _concatenated(arrays.row[layout.system_of_replica], own)
        self._replica = np.repeat(np.arange(layout.n_replicas), own)
        entries = np.diff(arrays.first[arrays.row])
        rows = entries[layout.system_of_replica]
        self._priors = [self._alone(s, v) for s, v in self._terms(arrays)]
        self._tables = self._make_tables(arrays, layout)
        beads = layout.n_beads if self._priors else 1
        self._surface: FloatArray = np.zeros(0)
        self._work = BiasWork(
            self._put(np.cumsum([0, *own])[:-1], torch.int64),
            self._put(np.cumsum([0, *rows])[:-1], torch.int64),
            self._new(len(self._mine), 3),
            self._put(np.zeros(len(self._mine)), torch.int64),
            self._new(max(len(arrays.surface), 1)),
            self._new(len(self._mine)),
            self._new(len(self._mine)),
            self._new(int(rows.sum()), 3),
            self._new(max(len(self._priors), 1), beads),
            self._new(max(len(self._priors), 1), beads, 3),
        )
        axes = set(arrays.axes.tolist())
        self._grids = (1 if 1 in axes else 0) + (2 if 2 in axes else 0)
        self._occur = sum({self._code(v) for v in self._variables})
        self._most = int(np.diff(arrays.row).max())
        self.refresh()

    def _put(self, array: IntArray | FloatArray, dtype: torch.dtype = torch.int32) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self._device, dtype)

    def _new(self, *shape: int) -> Tensor:
        return torch.zeros(shape, dtype=torch.float64, device=self._device)

    @staticmethod
    def _code(variable: Variable) -> int:
        return 0 if isinstance(variable, TermEnergy) else ON_GPU[variable.name]

    def _terms(self, arrays: Biases) -> list[tuple[int, TermEnergy]]:
        """The variables that are energies of terms, and the system of each."""
        system = np.repeat(np.arange(len(arrays.row) - 1), np.diff(arrays.row)).tolist()
        return [(s, v) for s, v in zip(system, self._variables, strict=True) if isinstance(v, TermEnergy)]

    def _alone(self, system: int, variable: TermEnergy) -> DevicePriors:
        """The kernel of priors with nothing but the term of one system."""
        layout, term = self._packed.layout, variable.term
        index, parameters = term.tables[variable.number]
        nothing = (index[:0], {name: values[:0] for name, values in parameters.items()})
        tables = [(index, parameters) if s == system else nothing for s in range(len(layout.systems))]
        packed = pack([PriorTerm(term.name, term.form, tables)], layout)
        sizes = [system.n_beads for system in layout.systems]
        return DevicePriors(packed.listed, packed.nonbonded, sizes, self._device)

    def _make_tables(self, arrays: Biases, layout: Layout) -> BiasTables:
        terms = iter(range(len(self._variables)))
        axes = np.where(np.append(0, arrays.axes[:-1]) == 2, SECOND, arrays.axes)
        beads, starts, entries, most, before = [], [np.zeros(1, np.int64)], [], [], 0
        for first, stop in zip(arrays.first[arrays.row[:-1]], arrays.first[arrays.row[1:]], strict=True):
            mine = arrays.beads[first:stop]
            bead, count = np.unique(mine, return_counts=True)
            beads.append(bead)
            entries.append(np.argsort(mine, kind="stable"))
            starts.append(before + np.cumsum(count))
            most.append(count.max(initial=0))
            before += len(mine)
        variable = np.repeat(np.arange(len(self._variables)), np.diff(arrays.first))
        system = np.repeat(np.arange(len(layout.systems)), np.diff(arrays.first[arrays.row]))
        entry = np.concatenate(entries)
        owner = variable[arrays.first[arrays.row[system]] + entry] - arrays.row[system]
        put = self._put
        return BiasTables(
            row=put(arrays.row),
            code=put(np.array([self._code(v) for v in self._variables])),
            term=put(np.array([next(terms) if isinstance(v, TermEnergy) else -1 for v in self._variables])),
            periodic=put(arrays.periodic.astype(np.int64)),
            form=put(arrays.form),
            axes=put(axes),
            axis=put(arrays.axis, torch.float64),
            variables=Variables(
                put(arrays.first), put(arrays.beads), put(arrays.weight, torch.float64),
                put(arrays.reference, torch.float64), put(arrays.start),
                put(np.arange(len(self._variables)) * arrays.constants.shape[1]), put(arrays.constants, torch.float64),
            ),
            bead_row=put(np.cumsum([0, *map(len, beads)])),
            bead=put(np.concatenate(beads)),
            entry_start=put(np.concatenate(starts)),
            entry=put(entry),
            owner=put(owner),
            most=put(np.array(most)),
        )  # fmt: skip

    def refresh(self) -> None:
        """Bring parameters to what they are now, and grids, if they have changed since the last time."""
        arrays = self._packed.arrays()
        if arrays is None:
            return
        work = self._work
        work.parameters.copy_(torch.from_numpy(arrays.parameters[self._replica, self._mine]))
        work.place.copy_(torch.from_numpy(arrays.place[self._replica, self._mine]))
        if not np.array_equal(arrays.surface, self._surface):
            self._surface = arrays.surface.copy()
            work.surface.copy_(torch.from_numpy(self._surface))
            self.copies += 1

    def run(self, batch: Batch, near: Near, box: Tensor, bead_offset: Tensor, energy: Tensor, forces: Tensor) -> None:
        """Add the energy of each replica's biases to its first bead's share [B], and their forces to [B, 3]."""
        if not self._variables:
            return
        work = self._work
        for prior, mine, theirs in zip(self._priors, work.term_energy, work.term_forces, strict=False):
            prior.run(batch, near, box, False, mine, theirs)
        replicas = len(batch.system)
        measure[(replicas, self._most)](
            batch.x, bead_offset, batch.system, self._tables, work, len(batch.x), OCCUR=self._occur,
            TERMS=bool(self._priors), num_warps=4, enable_fp_fusion=False,
        )  # fmt: skip
        push[(replicas,)](
            bead_offset, batch.system, self._tables, work, energy, forces, GRIDS=self._grids, num_warps=4,
            enable_fp_fusion=False,
        )  # fmt: skip


def _concatenated(first: IntArray, count: IntArray) -> IntArray:
    """first[r], first[r] + 1, ... count[r] of them, for each r in turn."""
    return np.repeat(first - np.concatenate(([0], np.cumsum(count)[:-1])), count) + np.arange(count.sum())
