"""Pack biases into the flat arrays that the compiled kernels read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

import numpy as np

from mdflash.potentials.bias import cpu
from mdflash.potentials.bias.bias import Bias, Form
from mdflash.potentials.bias.cpu import Biases
from mdflash.potentials.bias.variables import Kind, Variable
from mdflash.state import Layout
from mdflash.system import FloatArray, IntArray

KINDS: Final[Mapping[Kind, int]] = MappingProxyType(
    {
        "distance": cpu.DISTANCE,
        "angle": cpu.ANGLE,
        "dihedral": cpu.DIHEDRAL,
        "position": cpu.POSITION,
        "rmsd": cpu.RMSD,
        "radius_of_gyration": cpu.GYRATION,
        "native_contacts": cpu.CONTACTS,
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
        self._fixed = _arrays([bias.variable for bias in self.biases])
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
