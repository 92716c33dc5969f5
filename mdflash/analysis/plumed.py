"""PLUMED's files, read: HILLS summed to a free energy, as `plumed sum_hills` does; COLVAR as columns.

A file names its columns (`#! FIELDS time d sigma_d height biasf`) and periods (`#! SET min_d -pi`), but no units: those
are what UNITS said in plumed.dat, by default nm, kJ/mol and ps. So numbers here are in the units of the file.

Heights of well-tempered metadynamics are written times gamma / (gamma - 1), so F = -sum of hills. A hill is
h exp(-r), r = sum_d (s_d - s_d(t))^2 / (2 sigma_d^2), and 0 beyond r = 6.25; of kind `stretched-gaussian` it is
stretched to reach 0 there: h (A exp(-r) + B), A = 1 / (1 - exp(-6.25)), B = -A exp(-6.25).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from mdflash.core.files import storage_errors
from mdflash.core.regular import read_input
from mdflash.core.types import FloatArray
from mdflash.errors import InputError

CUTOFF: Final = 6.25
"""r beyond which a hill is 0."""
PER_WIDTH: Final = 5.0
"""Nodes for each width of the narrowest hill."""
MOST: Final = {1: 2_000, 2: 300}
"""Nodes of each axis, by number of axes."""
LARGEST: Final = 1e50
"""Of a number of a hill, and widths are not below its inverse: products and quotients stay finite."""


@dataclass(frozen=True, eq=False)
class HillSum:
    """A free energy from HILLS, in the units of the file.

    Attributes:
        names: of the variables.
        nodes: of each axis.
        energy: [points of each axis] the lowest 0.
        hills: how many.
    """

    names: tuple[str, ...]
    nodes: tuple[FloatArray, ...]
    energy: FloatArray
    hills: int

    @property
    def lowest(self) -> tuple[float, ...]:
        """Where it is 0."""
        at = np.unravel_index(int(self.energy.argmin()), self.energy.shape)
        return tuple(float(n[i]) for n, i in zip(self.nodes, at, strict=True))


def is_hills(file: Path) -> bool:
    """Whether a file begins as PLUMED's HILLS do."""
    if not file.is_file():
        return False
    with storage_errors(file), file.open("rb") as lines:
        words = lines.readline(4096).decode(errors="replace").split()
    return words[:2] == ["#!", "FIELDS"] and "height" in words and any(w.startswith("sigma_") for w in words)


def read_plumed(file: Path) -> tuple[dict[str, FloatArray], dict[str, str]]:
    """The columns of HILLS or COLVAR by name [rows], and what the file sets (periods, kinds of hills).

    Rows of a restart follow a header of their own, which must name the same columns. A torn last row is left out.

    Raises:
        InputError: no such file, or a row that does not fit its header.
    """
    fields: list[str] = []
    given: dict[str, str] = {}
    rows: list[list[float]] = []
    text = read_input(file).decode(errors="replace")
    for number, line in enumerate(text.split("\n")[:-1], 1):
        words = line.split()
        if words[:2] == ["#!", "FIELDS"]:
            if fields and words[2:] != fields:
                raise InputError(f"line {number} names other columns than the first one", file=file)
            fields = words[2:]
        elif words[:2] == ["#!", "SET"] and len(words) == 4:
            given[words[2]] = words[3]
        elif words and not words[0].startswith("#"):
            if not fields:
                raise InputError(f"line {number} stands before the line '#! FIELDS ...'", file=file)
            try:
                row = [float(word) for word in words]
            except ValueError:
                row = []
            if len(row) != len(fields):
                raise InputError(
                    f"line {number} must hold {len(fields)} numbers ({' '.join(fields)}), found '{line.strip()[:60]}'",
                    file=file,
                )
            rows.append(row)
    if not fields:
        raise InputError("has no line '#! FIELDS ...', so it is no file of PLUMED", file=file)
    table = np.array(rows, np.float64).reshape(len(rows), len(fields))
    return {name: table[:, k] for k, name in enumerate(fields)}, given


def sum_hills(file: Path) -> HillSum:
    """The free energy that HILLS add up to: of one or two variables, one width for each and hill.

    Raises:
        InputError: as `read_plumed`; more variables, hills of another kind, or none.
    """
    columns, given = read_plumed(file)
    names = tuple(name.removeprefix("sigma_") for name in columns if name.startswith("sigma_"))
    if given.get("multivariate", "false") != "false" or not set(names) <= set(columns):
        raise InputError("its hills have widths along several variables at once, which are not read", file=file)
    kind = given.get("kerneltype", "gaussian")
    if kind not in ("gaussian", "stretched-gaussian"):
        raise InputError(f"its hills are of kind '{kind}'; gaussian and stretched-gaussian are read", file=file)
    if len(names) not in MOST:
        raise InputError(f"its hills are along {len(names)} variables; one and two are summed", file=file)
    if "height" not in columns:
        raise InputError("has no column 'height', so it holds no hills; '#! FIELDS' names its columns", file=file)
    heights = columns["height"]
    if not len(heights):
        raise InputError("holds no hills", file=file)
    for name in names:
        widths = columns[f"sigma_{name}"]
        sound = (widths >= 1.0 / LARGEST) & (widths <= LARGEST) & (np.abs(columns[name]) <= LARGEST)  # nor NaN
        if not (sound & (np.abs(heights) <= LARGEST)).all():
            raise InputError(f"a hill along {name} has no finite place, width above 0 and height", file=file)
    try:
        axes = [_axis(name, columns, given, MOST[len(names)]) for name in names]
    except ValueError as error:
        raise InputError(f"the period of a variable cannot be read: {error}; expected -pi or 3.14", file=file) from None
    total = np.zeros(tuple(len(nodes) for nodes, _ in axes))
    stretch = 1.0 / (1.0 - math.exp(-CUTOFF)) if kind == "stretched-gaussian" else 1.0
    shift = -stretch * math.exp(-CUTOFF) if kind == "stretched-gaussian" else 0.0
    size = max(1, 4_000_000 // total.size)
    for first in range(0, len(heights), size):
        part = slice(first, first + size)
        r = np.zeros((len(heights[part]), *total.shape))
        for k, (name, (nodes, period)) in enumerate(zip(names, axes, strict=True)):
            away = nodes - columns[name][part, None]
            if period:
                away = away - period * np.rint(away / period)
            x = 0.5 * (away / columns[f"sigma_{name}"][part, None]) ** 2
            r += x.reshape(len(x), *[len(nodes) if d == k else 1 for d in range(len(names))])
        hill = np.where(r < CUTOFF, stretch * np.exp(-r) + shift, 0.0)
        total += np.tensordot(heights[part], hill, axes=1)
    return HillSum(names, tuple(nodes for nodes, _ in axes), np.asarray(total.max() - total), len(heights))


def _axis(
    name: str, columns: Mapping[str, FloatArray], given: Mapping[str, str], most: int
) -> tuple[FloatArray, float]:
    """Nodes of an axis, over its period or over what its hills reach; and the period, 0 for none.

    ValueError where the ends of a period are no increasing numbers.
    """
    sigma = columns[f"sigma_{name}"]
    ends = [given.get(f"{end}_{name}") for end in ("min", "max")]
    periodic = None not in ends
    if periodic:
        low, high = (_number(str(end)) for end in ends)
        if not 0.0 < high - low < math.inf:
            raise ValueError(f"from {ends[0]} to {ends[1]}")
    else:
        q = columns[name]
        low, high = float((q - 3 * sigma).min()), float((q + 3 * sigma).max())
    points = min(most, math.ceil((high - low) / (float(sigma.min()) / PER_WIDTH)) + 1)
    return np.linspace(low, high, points, endpoint=not periodic), high - low if periodic else 0.0


def _number(text: str) -> float:
    """A number, or what PLUMED writes for a period: -pi, pi, 2*pi."""
    sign, body = (-1.0, text[1:]) if text.startswith("-") else (1.0, text)
    times, _, rest = body.rpartition("*")
    return sign * (float(times or 1.0) * math.pi if rest == "pi" else float(rest))
