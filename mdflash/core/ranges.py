"""The values that a number may have: written once, where the number is described, and read by whoever checks it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from mdflash.core.types import FloatArray

LARGEST: Final = 1e9
"""No number of a force field is larger, in kcal/mol, Å, radians and Da; beyond it arithmetic loses what matters."""


@dataclass(frozen=True)
class Range:
    """The values from `least` to `most`.

    Attributes:
        least, most: the ends, which belong to it.
        above: whether `least` itself does not.
    """

    least: float = -LARGEST
    most: float = LARGEST
    above: bool = False

    def beyond(self, values: FloatArray) -> npt.NDArray[np.bool_]:
        """[K] whether a row of `values` [K, ...] holds a number outside, one that is not finite included."""
        inside = (values > self.least if self.above else values >= self.least) & (values <= self.most)
        return np.asarray(~inside.all(axis=tuple(range(1, inside.ndim))))

    def problem(self, value: float, unit: str = "") -> str | None:
        """What is wrong with a value, as "must be more than 0 Å, found -1"; None where it is inside."""
        unit = f" {unit}" if unit not in ("", "1") else ""
        if not math.isfinite(value):
            return f"must be a finite number, found {value:g}"
        if value < self.least or (self.above and value == self.least):
            return f"must be {'more than' if self.above else 'at least'} {self.least:g}{unit}, found {value:g}"
        return f"must be at most {self.most:g}{unit}, found {value:g}" if value > self.most else None

    def worst(self, values: FloatArray) -> tuple[int, float] | None:
        """The first row of `values` [K, ...] that holds a number outside, and that number."""
        rows = np.flatnonzero(self.beyond(values))
        if not len(rows):
            return None
        row = int(rows[0])
        own = values[row].reshape(-1)
        return row, float(own[np.flatnonzero(self.beyond(own))[0]])


ANY: Final = Range()
POSITIVE: Final = Range(0.0, above=True)
NOT_NEGATIVE: Final = Range(0.0)
DISTANCE: Final = Range(0.0, 1e5, above=True)
"""Å."""
ANGLE: Final = Range(0.0, math.pi * (1.0 + 1e-6))
"""rad; pi in float32 is a little more than pi."""
TORSION: Final = Range(-ANGLE.most, ANGLE.most)
"""rad."""
COSINE: Final = Range(-1.0 - 1e-6, 1.0 + 1e-6)
MASS: Final = Range(0.1, LARGEST)
"""Da; a hydrogen has 1, a virus 1e8."""
CUTOFF: Final = Range(0.5, 1000.0)
"""Å, of interactions between all near pairs."""
