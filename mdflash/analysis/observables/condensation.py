"""How much of the mass is in one place along the longest edge of a periodic box."""

from __future__ import annotations

import numpy as np

from mdflash.analysis.molecule import Molecule
from mdflash.analysis.observables.base import Observable, Values
from mdflash.core.geometry import long_axis
from mdflash.core.types import FloatArray


def _values(m: Molecule) -> Values | None:
    if not m.many or m.box is None:
        return None
    axis = long_axis(m.box)
    turn, share = 2j * np.pi / m.box[axis], m.system.masses / m.system.masses.sum()

    def values(x: FloatArray) -> FloatArray:
        order: FloatArray = np.abs(np.exp(turn * x[:, :, axis]) @ share)
        return order

    return values


CONDENSATION = Observable(
    "condensation",
    "condensation along the longest edge",
    "",
    _values,
    span=(0.0, 1.0),
    source="condensation: |sum of m exp(2 pi i z/L)| / sum of m along the longest edge L; 0 where the density is the "
    "same everywhere, 1 where all is in one plane",
)
