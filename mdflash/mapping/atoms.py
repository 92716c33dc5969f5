"""What a structure file holds, as it is written there: atoms in the file's order, model by model."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from mdflash.core.types import FloatArray


class Atom(NamedTuple):
    """One line of atoms.

    Attributes:
        name: of the atom.
        residue: name of its residue, in capitals.
        number: of the residue, as in the file.
        code: the residue's insertion code, or "".
        chain: chain id, or "".
        segment: what tells chains apart beside the id: PDB's segment id, mmCIF's label_asym_id.
        part: how many TER lines stand before it.
        alternate: letter of the alternate location, or "".
        occupancy: of that location.
        sequence: the residue's place in the full sequence (mmCIF's label_seq_id), or None.
        hetero: whether the file says HETATM.
        b_factor: Å^2, or the pLDDT of a prediction; NaN where the file has none.
    """

    name: str
    residue: str
    number: int
    code: str = ""
    chain: str = ""
    segment: str = ""
    part: int = 0
    alternate: str = ""
    occupancy: float = 1.0
    sequence: int | None = None
    hetero: bool = False
    b_factor: float = math.nan


@dataclass(frozen=True)
class Model:
    """One model of a file.

    Attributes:
        number: as the file numbers it.
        atoms: in the file's order.
        positions: [atoms, 3] Å.
        box: [3, 3] Å, the edges of the periodic box, or None.
        by_end: whether only an END line sets it apart from the one before.
    """

    number: int
    atoms: tuple[Atom, ...]
    positions: FloatArray
    box: FloatArray | None
    by_end: bool = False


@dataclass(frozen=True)
class Content:
    """What a reader finds in a file.

    Attributes:
        models: at least one, each with at least one atom.
        parents: modified residue -> the amino acid that the file says it comes from.
        bonds: pairs of rows of the first model's atoms that the file lists as bonded.
    """

    models: tuple[Model, ...]
    parents: Mapping[str, str] = field(default_factory=dict)
    bonds: tuple[tuple[int, int], ...] = ()


def from_nanometers(nm: FloatArray) -> FloatArray:
    """Positions in Å as nanometers in single precision hold them: the bits that a file has always given here."""
    return np.asarray(nm, np.float32).astype(np.float64) * 10.0


def box_vectors(lengths: tuple[float, float, float], angles: tuple[float, float, float]) -> FloatArray | None:
    """[3, 3] the edges of a cell in Å, from its lengths and its angles in degrees; None where it is no cell."""
    a, b, c = lengths
    if not all(np.isfinite([*lengths, *angles])) or min(lengths) < 5.0:  # PDB's 1 x 1 x 1 says: none
        return None
    alpha, beta, gamma = np.cos(np.radians(angles))
    sine = np.sqrt(max(1.0 - gamma**2, 0.0))
    if sine < 1e-3:
        return None
    y = (alpha - beta * gamma) / sine
    z = 1.0 - beta**2 - y**2
    if z <= 0.0:
        return None
    return np.array([[a, 0.0, 0.0], [b * gamma, b * sine, 0.0], [c * beta, c * y, c * np.sqrt(z)]])
