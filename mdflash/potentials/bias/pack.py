"""Pack biases into the flat arrays that the compiled kernels read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

import numpy as np
import numpy.typing as npt

from mdflash.core.state import Layout
from mdflash.core.system import FloatArray, IntArray
from mdflash.potentials.bias import cpu
from mdflash.potentials.bias.bias import Bias, Form
from mdflash.potentials.bias.cpu import Biases
from mdflash.potentials.bias.variables import Kind, Variable
from mdflash.potentials.forms import CODES
from mdflash.potentials.forms.form import stack_rows
from mdflash.potentials.priors.cpu import Listed

KINDS: Final[Mapping[Kind, int]] = MappingProxyType(
    {
        "distance": cpu.DISTANCE,
        "angle": cpu.ANGLE,
        "dihedral": cpu.DIHEDRAL,
        "position": cpu.POSITION,
        "rmsd": cpu.RMSD,
        "radius_of_gyration": cpu.GYRATION,
        "native_contacts": cpu.CONTACTS,
        "energy": cpu.ENERGY,
    }
)
FORMS: Final[Mapping[Form, int]] = MappingProxyType({"harmonic": cpu.HARMONIC, "linear": cpu.LINEAR})


class PackedBiases:
    """The biases of a batch, sorted by system and otherwise in the order given.

    Attributes:
        layout: the batch.
        biases: in the order of the packed arrays.
    """

    def __init__(self, biases: Sequence[Bias], layout: Layout) -> None:
        self.layout = layout
        owned: list[list[tuple[Bias, IntArray]]] = [[] for _ in layout.systems]
        for bias in biases:
            rows = bias.rows(layout)
            for s in np.unique(layout.system_of_replica[rows >= 0]):
                owned[s].append((bias, rows))
        ordered = [pair for pairs in owned for pair in pairs]
        self.biases = tuple(bias for bias, _ in ordered)
        self._rows = [rows for _, rows in ordered]
        variables = [bias.variable for bias in self.biases]
        self._fixed = (*_arrays(variables), *_terms(variables))
        self._row = np.cumsum([0, *map(len, owned)])
        self._form = np.array([FORMS[bias.form] for bias in self.biases], np.int64)

    def of(self, layout: Layout) -> PackedBiases:
        """The same biases for another batch of these systems."""
        return self if layout is self.layout else PackedBiases(self.biases, layout)

    def arrays(self) -> Biases:
        """What the kernels read, with the parameters as they are now."""
        parameters = np.zeros((self.layout.n_replicas, len(self.biases), 3))
        for b, (bias, rows) in enumerate(zip(self.biases, self._rows, strict=True)):
            parameters[rows >= 0, b] = bias.parameters[rows[rows >= 0]]
        return Biases(self._row, self._fixed[0], self._form, *self._fixed[1:], parameters)

    def measure(self, positions: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Values and energies [R, n] of every bias at positions [B, 3]; NaN where a replica has no such bias."""
        layout = self.layout
        value, energy = (np.empty((layout.n_replicas, len(self.biases))) for _ in range(2))
        cpu.measure(self.arrays(), layout.system_of_replica, layout.bead_offset, positions, value, energy)
        return value, energy


def _arrays(
    variables: Sequence[Variable],
) -> tuple[IntArray, IntArray, IntArray, FloatArray, FloatArray, FloatArray]:
    """kind, member, beads, weight, reference, shape of `Biases`."""
    kind = np.array([KINDS[v.kind] for v in variables], np.int64)
    member = np.zeros((len(variables), 5), np.int64)
    beads, weights, references = [np.zeros(0, np.int64)], [np.zeros(0)], [np.zeros((0, 3))]
    total = 0
    for b, v in enumerate(variables):
        sizes = [len(g) for g in v.groups] + [0] * (4 - len(v.groups))
        member[b] = total + np.cumsum([0, *sizes])
        total = int(member[b, 4])
        beads += v.groups
        weights += v.weights
        references.append(v.reference if len(v.reference) else np.zeros((sum(sizes), 3)))
    shape = np.array([(v.beta, v.stretch) for v in variables], np.float64).reshape(-1, 2)
    return kind, member, np.concatenate(beads), np.concatenate(weights), np.concatenate(references), shape


def _terms(variables: Sequence[Variable]) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int8], FloatArray, IntArray]:
    """term_beads, term_code, term_parameters, term_row of `Biases`."""
    beads, codes, rows, row = [np.zeros((0, 4), np.int32)], [np.zeros(0, np.int8)], [], [0]
    for variable in variables:
        for coordinate in Listed._fields:
            count = 0
            if variable.term is not None and variable.term[0].form.on == coordinate:
                term, system = variable.term
                index, parameters = term.tables[system]
                count = len(index)
                beads.append(np.pad(index, ((0, 0), (0, 4 - index.shape[1]))).astype(np.int32))
                codes.append(np.full(count, CODES[term.form.name], np.int8))
                rows.append(term.form.rows(parameters))
            row.append(row[-1] + count)
    joined = np.ascontiguousarray(np.concatenate(beads))
    return joined, np.concatenate(codes), stack_rows(rows), np.array(row, np.int64)
