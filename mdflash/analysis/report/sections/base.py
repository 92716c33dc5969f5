"""What a section of the page is, and what several of them need."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mdflash.analysis.observables.base import Observable
from mdflash.analysis.report.figure import Figure
from mdflash.analysis.result import BIAS, ENERGY, MoleculeAnalysis
from mdflash.core.types import FloatArray


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Attributes:
        key: its anchor.
        title: its heading.
        want: what one wants to see, in a line.
        figures: of a molecule; none: the section is left out.
    """

    key: str
    title: str
    want: str
    figures: Callable[[MoleculeAnalysis], list[Figure]]


def observables(m: MoleculeAnalysis) -> list[Observable]:
    found = list(m.sample.observables)
    if m.energy is not None:
        title = "potential energy" if m.bias is None else "potential energy without the biases"
        found.append(Observable(ENERGY, title, "kcal/mol", lambda _: None))
    if m.bias is not None:
        found.append(Observable(BIAS, "energy of the biases", "kcal/mol", lambda _: None))
    return found


def label(m: MoleculeAnalysis, state: int) -> str:
    t = m.sample.temperatures
    kelvin = f"{t[state]:.4g} K" if np.isfinite(t[state]) else f"state {state}"
    return kelvin if (t == t[state]).sum() == 1 else f"{kelvin}, state {state}"


def the(o: Observable) -> str:
    """The observable in a sentence."""
    return o.title if o.title.startswith("RMSD") else f"the {o.title}"


def cells(n: int, first: float = -0.5) -> FloatArray:
    """[n + 1] edges of cells of length 1."""
    return np.asarray(first + np.arange(n + 1.0), np.float64)


def cap(text: str) -> str:
    return text[:1].upper() + text[1:]
