"""What describes an observable: a number of each frame, or a table that is averaged over frames."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from mdflash.analysis.molecule import Molecule
from mdflash.core.types import FloatArray

Values = Callable[[FloatArray], FloatArray]
"""positions [F, N, 3] Å -> one number of each frame [F], or one array of each frame [F, ...]."""


@dataclass(frozen=True, eq=False)
class Observable:
    """A number of each frame.

    Attributes:
        name: of its column; a word.
        title: for people, without unit.
        unit: "Å", "kcal/mol/Å", or "" for a plain number.
        values: for a molecule, the function of positions; None: this molecule does not have it.
        span: of its axis; None: from the data.
        source: the definition, for the methods paragraph.
        levels: for a molecule, values that mean something, each with what it means.
    """

    name: str
    title: str
    unit: str
    values: Callable[[Molecule], Values | None]
    span: tuple[float, float] | None = None
    source: str = ""
    levels: Callable[[Molecule], tuple[tuple[str, float], ...]] = lambda m: ()

    @property
    def label(self) -> str:
        """Title and unit, for an axis."""
        return f"{self.title} / {self.unit}" if self.unit else self.title


@dataclass(frozen=True, eq=False)
class Profile:
    """An array that is averaged over frames, such as a contact map.

    Attributes:
        name: a word.
        title: for people.
        parts: for a molecule, the function of positions to summed arrays: [F, N, 3] -> {name: array summed over F};
            None: this molecule does not have it.
        result: molecule and means of the parts -> arrays and numbers by name.
        cost: numbers computed for each frame, by which frames are thinned.
        source: the definition, for the methods paragraph.
    """

    name: str
    title: str
    parts: Callable[[Molecule], Callable[[FloatArray], dict[str, FloatArray]] | None]
    result: Callable[[Molecule, Mapping[str, FloatArray]], dict[str, Any]]
    cost: Callable[[Molecule], int]
    source: str = ""
