"""The biases of a batch on a GPU: their tables, what is brought up to date before a block of steps, the launches."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mdflash.core.types import FloatArray, IntArray
from mdflash.potentials.base import Potential
from mdflash.potentials.bias.bias import Bias
from mdflash.potentials.bias.cpu import Biases
from mdflash.potentials.bias.grid_bias import GridBias
from mdflash.potentials.bias.pack import PackedBiases
from mdflash.potentials.bias.term_energy import TermEnergy
from mdflash.potentials.bias.triton import measure, push
from mdflash.potentials.pack import pack
from mdflash.potentials.priors.device import Batch, DevicePriors, Near
from mdflash.potentials.priors.term import PriorTerm
from mdflash.potentials.variables.base import Variable
from mdflash.potentials.variables.triton import ON_GPU
from mdflash.potentials.variables.triton.entries import Variables

WARPS = 4
"""As many threads as a block of entries has: the tree of a sum does not depend on what a kernel is compiled for."""
MOST_AXES = 3
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
        axes: [n] int32 of the grid that the variable belongs to; 0: a bias of a form.
        along: [n] int32 which of them it is.
        axis: [n, 4] float64, as in `cpu.Biases`.
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
    along: Tensor
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
    """The biases of a batch on the device.

    Args:
        packed: the biases, at least one; parameters and grids are read from them by `refresh`.
        device: where the kernels run.

    Attributes:
        copies: how often grids were copied to the device.
    """

    def __init__(self, packed: PackedBiases, device: torch.device) -> None:
        arrays, layout = packed.arrays(), packed.layout
        assert arrays is not None
        self._packed, self._device = packed, device
        self._variables = [variable for bias in packed.biases for variable in bias.variables]
        own, entries = np.diff(arrays.row), np.diff(arrays.first[arrays.row])  # of each system
        of_replica = layout.system_of_replica
        self._mine = _ranges(arrays.row[of_replica], own[of_replica])  # variable and replica of each value
        self._replica = np.repeat(np.arange(layout.n_replicas), own[of_replica])
        counts = [len(bias.variables) for bias in packed.biases]
        self._along = np.concatenate([np.arange(count) for count in counts])
        axes = np.repeat([len(bias.axes) if isinstance(bias, GridBias) else 0 for bias in packed.biases], counts)
        self._tables = self._make_tables(arrays, axes)
        self._terms = [self._alone(s, v) for s, v in zip(np.repeat(range(len(own)), own), self._variables, strict=True)
                       if isinstance(v, TermEnergy)]  # fmt: skip
        values, terms, beads = len(self._mine), len(self._terms), layout.n_beads if self._terms else 0
        self._work = BiasWork(
            at=self._put(np.cumsum([0, *own[of_replica]])[:-1], torch.int64),
            gradient_at=self._put(np.cumsum([0, *entries[of_replica]])[:-1], torch.int64),
            parameters=self._new(values, 3),
            place=self._new(values, dtype=torch.int64),
            surface=self._new(max(len(arrays.surface), 1)),
            value=self._new(values),
            slope=self._new(values),
            gradient=self._new(int(entries[of_replica].sum()), 3),
            term_energy=self._new(max(terms, 1), max(beads, 1)),
            term_forces=self._new(max(terms, 1), max(beads, 1), 3),
        )
        self._grids = sum(1 << count for count in set(axes.tolist()) if count)
        self._occur = sum({_code(variable) for variable in self._variables})
        self._most = int(own.max())
        self._surface: FloatArray = np.zeros(0)
        self.copies = 0
        self.refresh()

    def _put(self, array: npt.ArrayLike, dtype: torch.dtype = torch.int32) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self._device, dtype)

    def _new(self, *shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
        return torch.zeros(shape, dtype=dtype, device=self._device)

    def _alone(self, system: int, variable: TermEnergy) -> DevicePriors:
        """The kernel of priors with nothing but the term of one system."""
        layout, term = self._packed.layout, variable.term
        index, parameters = term.tables[variable.number]
        nothing = (index[:0], {name: values[:0] for name, values in parameters.items()})
        tables = [(index, parameters) if s == system else nothing for s in range(len(layout.systems))]
        packed = pack([PriorTerm(term.name, term.form, tables)], layout)
        sizes = [system.n_beads for system in layout.systems]
        return DevicePriors(packed.listed, sizes, torch.float64, self._device)

    def _make_tables(self, arrays: Biases, axes: IntArray) -> BiasTables:
        put, terms = self._put, itertools.count()
        pushed = _pushed(arrays)
        return BiasTables(
            row=put(arrays.row),
            code=put([_code(variable) for variable in self._variables]),
            term=put([next(terms) if isinstance(variable, TermEnergy) else -1 for variable in self._variables]),
            periodic=put(arrays.periodic.astype(np.int64)),
            form=put(arrays.form),
            axes=put(axes),
            along=put(self._along),
            axis=put(arrays.axis, torch.float64),
            variables=Variables(
                first=put(arrays.first),
                beads=put(arrays.beads),
                weight=put(arrays.weight, torch.float64),
                reference=put(arrays.reference, torch.float64),
                start=put(arrays.start),
                constant_at=put(np.arange(len(arrays.constants)) * arrays.constants.shape[1]),
                constants=put(arrays.constants, torch.float64),
            ),
            bead_row=put(pushed.bead_row),
            bead=put(pushed.bead),
            entry_start=put(pushed.entry_start),
            entry=put(pushed.entry),
            owner=put(pushed.owner),
            most=put(pushed.most),
        )

    def refresh(self) -> None:
        """Bring parameters to what they are now, and grids, if they have changed since the last time."""
        arrays, work = self._packed.arrays(), self._work
        assert arrays is not None
        first = self._mine - self._along[self._mine]  # a grid is noted at the first of its variables
        work.parameters.copy_(torch.from_numpy(arrays.parameters[self._replica, self._mine]))
        work.place.copy_(torch.from_numpy(arrays.place[self._replica, first]))
        if not np.array_equal(arrays.surface, self._surface):
            self._surface = arrays.surface.copy()
            work.surface.copy_(torch.from_numpy(self._surface))
            self.copies += 1

    def whole(self) -> tuple[BiasTables, BiasWork, dict[str, Any]]:
        """What a program reads that calls `triton.measure_one` and `push_one` itself, and what it is compiled for."""
        constants = {"VARIABLES": self._most, "VARIABLE_OCCUR": self._occur, "GRIDS": self._grids}
        return self._tables, self._work, constants

    def run(self, batch: Batch, near: Near, bead_offset: Tensor, energy: Tensor, forces: Tensor) -> None:
        """Add the energy of each replica's biases to its first bead's share [B], and their forces to [B, 3]."""
        work, replicas = self._work, len(batch.system)
        for term, mine, theirs in zip(self._terms, work.term_energy, work.term_forces, strict=False):
            term.run(batch, near, 0, mine, theirs)
        measure[(replicas, self._most)](
            batch.x, bead_offset, batch.system, self._tables, work, len(batch.x), OCCUR=self._occur,
            TERMS=bool(self._terms), num_warps=WARPS, enable_fp_fusion=False,
        )  # fmt: skip
        push[(replicas,)](
            bead_offset, batch.system, self._tables, work, energy, forces, GRIDS=self._grids, num_warps=WARPS,
            enable_fp_fusion=False,
        )  # fmt: skip


def _code(variable: Variable) -> int:
    """By which kernels know a variable."""
    return 0 if isinstance(variable, TermEnergy) else ON_GPU[variable.name]


class _Pushed(NamedTuple):
    """The beads on which biases act; see `BiasTables`."""

    bead_row: IntArray
    bead: IntArray
    entry_start: IntArray
    entry: IntArray
    owner: IntArray
    most: IntArray


def _pushed(arrays: Biases) -> _Pushed:
    ends = arrays.first[arrays.row]  # of the entries of each system
    beads, counts, entries = [], [], []
    for first, stop in itertools.pairwise(ends.tolist()):
        bead, count = np.unique(arrays.beads[first:stop], return_counts=True)
        beads.append(bead)
        counts.append(count)
        entries.append(np.argsort(arrays.beads[first:stop], kind="stable"))
    system = np.repeat(np.arange(len(entries)), np.diff(ends))
    entry = np.concatenate(entries)
    owner = np.repeat(np.arange(len(arrays.variable)), np.diff(arrays.first))[ends[system] + entry]
    return _Pushed(
        bead_row=np.cumsum([0, *map(len, beads)]),
        bead=np.concatenate(beads),
        entry_start=np.cumsum([0, *np.concatenate(counts)]),
        entry=entry,
        owner=owner - arrays.row[system],
        most=np.array([count.max(initial=0) for count in counts]),
    )


def _ranges(first: IntArray, count: IntArray) -> IntArray:
    """first[r], first[r] + 1, ... count[r] of them, for each r in turn."""
    return np.repeat(first - np.concatenate(([0], np.cumsum(count)[:-1])), count) + np.arange(count.sum())
