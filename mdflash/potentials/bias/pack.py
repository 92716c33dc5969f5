"""Pack biases into the flat arrays that the compiled kernels read."""

from __future__ import annotations

import operator
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from mdflash.core.state import Layout
from mdflash.core.types import FloatArray, IntArray
from mdflash.potentials.bias import cpu
from mdflash.potentials.bias.bias import Bias
from mdflash.potentials.bias.bias_form import NUMBERS
from mdflash.potentials.bias.cpu import Biases
from mdflash.potentials.bias.grid_bias import GridBias
from mdflash.potentials.bias.surface_cpu import as_rows
from mdflash.potentials.bias.term_energy import TermEnergy
from mdflash.potentials.forms import CODES
from mdflash.potentials.forms.form import stack_rows
from mdflash.potentials.priors.cpu import Listed
from mdflash.potentials.variables import VARIABLES
from mdflash.potentials.variables.base import Variable


class PackedBiases:
    """The biases of a batch, sorted by system and otherwise in the order given.

    Attributes:
        layout: the batch.
        biases: in the order of the packed arrays.
        column: [biases + 1] bias b has the variables column[b]:column[b + 1] of the packed arrays.
    """

    def __init__(self, biases: Sequence[Bias | GridBias], layout: Layout) -> None:
        self.layout = layout
        owned: list[list[tuple[Bias | GridBias, IntArray]]] = [[] for _ in layout.systems]
        for bias in biases:
            rows = bias.rows(layout)
            for s in np.unique(layout.system_of_replica[rows >= 0]):
                owned[s].append((bias, rows))
        ordered = [pair for pairs in owned for pair in pairs]
        self.biases = tuple(bias for bias, _ in ordered)
        self._rows = [rows for _, rows in ordered]
        self.column: list[int] = np.cumsum([0, *(len(bias.variables) for bias in self.biases)]).tolist()
        ends = np.cumsum([0, *map(len, owned)])
        fixed = _fixed(self.biases, np.array([self.column[end] for end in ends], np.int64))
        parameters = np.zeros((layout.n_replicas, self.column[-1], 3))
        self._arrays = fixed._replace(place=self._place(), parameters=parameters)
        self._grids = [bias for bias in self.biases if isinstance(bias, GridBias)]
        self._surfaces: Sequence[FloatArray | None] = [None] * len(self._grids)  # those that `_arrays` reads
        self._formed = [
            (b, bias, np.flatnonzero(rows >= 0), rows[rows >= 0])
            for b, bias, rows in zip(self.column, self.biases, self._rows, strict=False)
            if not isinstance(bias, GridBias)
        ]

    def of(self, layout: Layout) -> PackedBiases:
        """The same biases for another batch of these systems."""
        return self if layout is self.layout else PackedBiases(self.biases, layout)

    def arrays(self) -> Biases | None:
        """What the kernels read, with the parameters and grids as they are now; None without biases: no code for them.

        The same tuple again, brought up to date, unless the grids are other arrays now.
        """
        if not self.biases:
            return None
        for b, bias, acts, rows in self._formed:
            self._arrays.parameters[acts, b] = bias.parameters[rows]
        surfaces = [bias.surfaces for bias in self._grids]
        if not all(map(operator.is_, surfaces, self._surfaces)):
            flat = [surface.reshape(-1) for surface in surfaces]
            surface = flat[0] if len(flat) == 1 else np.concatenate([np.zeros(0), *flat])
            self._arrays, self._surfaces = self._arrays._replace(surface=surface), surfaces
        elif surfaces and not (len(surfaces) == 1 and surfaces[0].flags.c_contiguous):
            np.concatenate([surface.reshape(-1) for surface in surfaces], out=self._arrays.surface)
        return self._arrays

    def _place(self) -> IntArray:
        """[R, n] as in `Biases`."""
        place, begin = np.zeros((self.layout.n_replicas, self.column[-1]), np.int64), 0
        for b, bias, rows in zip(self.column, self.biases, self._rows, strict=False):
            if isinstance(bias, GridBias):
                acts = rows >= 0
                place[acts, b] = begin + bias.group[rows[acts]] * bias.surfaces[0].size
                begin += bias.surfaces.size
        return place

    def measure(self, positions: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Values and energies [R, n] of every variable at positions [B, 3]; NaN where a replica has no such bias.

        The energy of a bias stands at its first variable.
        """
        layout = self.layout
        value, energy = (np.empty((layout.n_replicas, self.column[-1])) for _ in range(2))
        arrays = self.arrays()
        if arrays is not None:
            cpu.measure(arrays, layout.system_of_replica, layout.bead_offset, positions, value, energy)
        return value, energy


def _number(variable: Variable) -> int:
    """By which kernels know a variable."""
    return cpu.TERM_ENERGY if isinstance(variable, TermEnergy) else list(VARIABLES).index(variable.name)


def _fixed(biases: Sequence[Bias | GridBias], row: IntArray) -> Biases:
    """All arrays but the parameters and grids; `row` as in `Biases`."""
    variables = [variable for bias in biases for variable in bias.variables]
    form, axes, axis = [], [], [np.zeros((0, 4))]
    for bias in biases:
        count = len(bias.variables)
        form += [0 if isinstance(bias, GridBias) else NUMBERS[bias.form]] * count
        axes += [count, *[0] * (count - 1)] if isinstance(bias, GridBias) else [0]
        axis.append(as_rows(bias.axes) if isinstance(bias, GridBias) else np.zeros((1, 4)))
    beads, weights, references = [np.zeros(0, np.int64)], [np.zeros(0)], [np.zeros((0, 3))]
    start = np.zeros((len(variables), 5), np.int64)
    constants = np.zeros((len(variables), max([3, *(len(v.constants) for v in variables)])))
    for b, v in enumerate(variables):
        ends = np.cumsum([len(group) for group in v.groups])
        start[b, 1:] = ends[-1]
        start[b, 1 : 1 + len(ends)] = ends
        constants[b, : len(v.constants)] = v.constants
        beads += v.groups
        weights += v.weights
        references.append(v.reference if len(v.reference) else np.zeros((ends[-1], 3)))
    term_beads, term_code, term_parameters, term_row = _terms(variables)
    return Biases(
        row=row,
        variable=np.array([_number(v) for v in variables], np.int64),
        periodic=np.array([v.periodic for v in variables], np.bool_),
        form=np.array(form, np.int64),
        axes=np.array(axes, np.int64),
        axis=np.concatenate(axis),
        first=np.cumsum([0, *start[:, 4]]),
        beads=np.concatenate(beads),
        weight=np.concatenate(weights),
        reference=np.concatenate(references),
        start=start,
        constants=constants,
        term_beads=term_beads,
        term_code=term_code,
        term_parameters=term_parameters,
        term_row=term_row,
        parameters=np.zeros((0, len(variables), 3)),
        surface=np.zeros(0),
        place=np.zeros((0, len(variables)), np.int64),
    )


def _terms(variables: Sequence[Variable]) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int8], FloatArray, IntArray]:
    """term_beads, term_code, term_parameters, term_row of `Biases`."""
    beads, codes, rows, row = [np.zeros((0, 4), np.int32)], [np.zeros(0, np.int8)], [], [0]
    for variable in variables:
        for coordinate in Listed._fields:
            count = 0
            if isinstance(variable, TermEnergy) and variable.term.form.on == coordinate:
                form = variable.term.form
                index, parameters = variable.term.tables[variable.number]
                count = len(index)
                beads.append(np.pad(index, ((0, 0), (0, 4 - index.shape[1]))).astype(np.int32))
                codes.append(np.full(count, CODES[form.name], np.int8))
                rows.append(form.rows(parameters))
            row.append(row[-1] + count)
    joined = np.ascontiguousarray(np.concatenate(beads))
    return joined, np.concatenate(codes), stack_rows(rows), np.array(row, np.int64)
