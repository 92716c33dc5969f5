"""Small-angle X-ray scattering."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import numpy as np
from pydantic import BeforeValidator, Field
from scipy.interpolate import CubicSpline

from mdflash.analysis.experiment.data import Data, Kind
from mdflash.analysis.experiment.debye import debye
from mdflash.analysis.experiment.form_factors import LARGEST_Q, form_factors
from mdflash.analysis.molecule import Molecule
from mdflash.config.section import ExistingFile
from mdflash.core.files import storage_errors
from mdflash.core.section import Section
from mdflash.core.types import FloatArray
from mdflash.errors import InputError

GRID: Final = 60
"""Values of q at which a curve is computed; splines lead to those of the data."""
DENSER: Final = 1.5
"""Values of the grid are as powers of this: near q = 0, where a large molecule's curve falls steeply, they are denser.
Splines of single frames of 100 to 1000 residues, from a globule to a rod of Rg 300 Å, are within 0.1 %."""
_DECIMAL_COMMA: Final = re.compile(r"[+-]?\d*,\d+(?:[eE][+-]?\d+)?")
FEWEST: Final = 5
"""Points of a curve."""
LARGE_NM: Final = 0.9
"""A curve whose q goes beyond this must be in 1/nm."""


def _as_file(value: object) -> object:
    return {"file": value} if isinstance(value, (str, Path)) else value


class Saxs(Section):
    """A curve."""

    file: ExistingFile = Field(description="q, intensity and error in three columns", examples=["curve.dat"])
    unit: Literal["/angstrom", "/nm", "auto"] = Field(
        default="auto", description="of q; auto: /nm where q goes beyond 0.9", examples=["/nm"]
    )


def read_curve(path: Path, unit: str = "auto") -> tuple[FloatArray, FloatArray, FloatArray, list[str]]:
    """q (1/Å), intensity and error [M] of a file with three columns, and notes on what was left out.

    Lines that do not begin with three numbers are passed over.

    Raises:
        InputError: fewer than `FEWEST` points with errors, or numbers with decimal commas.
    """
    with storage_errors(path):
        text = path.read_text(encoding="utf-8", errors="replace")
    rows, two = [], 0
    for number, line in enumerate(text.splitlines(), 1):
        if len(parts := line.split()) >= 3 and all(map(_DECIMAL_COMMA.fullmatch, parts[:3])):
            raise InputError(f"has decimal commas, as in '{parts[0]}'; write points", file=path, line=number)
        words = line.replace(",", " ").split()
        try:
            numbers = [float(w) for w in words[:3]]
        except ValueError:
            continue
        if len(numbers) == 3:
            rows.append(numbers)
        two += len(numbers) == 2
    if len(rows) < FEWEST:
        lack = "; lines have two columns, and the errors are missing" if two >= FEWEST else ""
        raise InputError(
            f"holds {len(rows)} points, but a curve needs {FEWEST} or more lines of q, intensity, error{lack}",
            file=path,
        )
    q, intensity, error = np.array(rows).T
    notes = []
    if unit == "auto":
        unit = "/nm" if q.max() > LARGE_NM else "/angstrom"
        notes.append(f"q in {path.name} is taken to be in {unit}; write `saxs: {{file: ..., unit: ...}}` to say so")
    q = q / 10.0 if unit == "/nm" else q
    sound = np.isfinite(q) & np.isfinite(intensity) & np.isfinite(error) & (error > 0) & (q >= 0)
    if not sound.all():
        notes.append(f"{int((~sound).sum())} points of {path.name} without a positive error are left out")
    far = sound & (q > LARGEST_Q)
    if far.any():
        doubt = "; is q in /nm? then write `unit: /nm`" if unit == "/angstrom" and q.max() > LARGE_NM else ""
        notes.append(
            f"{int(far.sum())} of {len(q)} points of {path.name} are beyond {LARGEST_Q} /Å and left out: form factors "
            f"end there{doubt}"
        )
    keep = sound & ~far
    if keep.sum() < FEWEST:
        raise InputError(
            f"holds {int(keep.sum())} points up to {LARGEST_Q} /Å with a positive error, but a curve needs {FEWEST}; "
            "see `unit`",
            file=path,
        )
    order = np.argsort(q[keep], kind="stable")
    return q[keep][order], intensity[keep][order], error[keep][order], notes


def _data(given: Any, m: Molecule) -> Data:
    q, intensity, error, notes = read_curve(given.file, given.unit)
    grid = q if len(q) <= GRID else q[0] + (q[-1] - q[0]) * np.linspace(0.0, 1.0, GRID) ** DENSER
    factors = form_factors(m.system.residue_names, grid)
    share = np.zeros((m.system.n_residues, m.system.n_beads))
    share[m.system.residue_index, np.arange(m.system.n_beads)] = m.system.masses
    share /= share.sum(axis=1, keepdims=True)

    def values(x: FloatArray) -> FloatArray:
        curves = debye(np.matmul(share, x), factors, grid)
        return curves if grid is q else np.asarray(CubicSpline(grid, curves, axis=1)(q))

    return Data(
        "saxs", "SAXS intensity", "", intensity, error, values, len(grid) * m.system.n_residues**2 // 2, "curve",
        "SAXS: Debye's sum over residues at their centers of mass, with form factors of one bead for each in water "
        "(Ballabio et al. 2023), without a layer of hydration; scale and background fitted",
        x=q, x_label="q / Å⁻¹", fitted=True, notes=tuple(notes),
    )  # fmt: skip


SAXS = Kind(
    "saxs", Annotated[Saxs | None, BeforeValidator(_as_file)], "a SAXS curve", "saxs: curve.dat", _data
)  # fmt: skip
