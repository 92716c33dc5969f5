"""GRO files of GROMACS, with all their frames.

https://manual.gromacs.org/current/reference-manual/file-formats.html#gro
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mdflash.core.types import FloatArray
from mdflash.errors import InputError
from mdflash.mapping.atoms import Atom, Content, Model, from_nanometers


def read(data: bytes, file: Path) -> Content:
    """What a GRO file holds; residue numbers start again after 99,999, so the waters' are no names.

    Raises:
        InputError: another layout; names the line.
    """
    lines = [line.decode("latin-1") for line in data.splitlines()]
    models: list[Model] = []
    at = 0
    while at < len(lines) and any(line.strip() for line in lines[at:]):
        count = lines[at + 1].strip() if at + 1 < len(lines) else ""
        if not count.isdigit() or int(count) == 0:
            raise InputError(
                f"cannot be read as GRO: the second line of a frame holds the number of atoms, found '{count}'",
                file=file,
                line=at + 2,
            )
        n = int(count)
        if at + 2 + n > len(lines):
            raise InputError(
                f"cannot be read as GRO: {n} atoms are announced, but the file ends after {len(lines) - at - 2}",
                file=file,
                line=at + 2,
            )
        width = _width(lines[at + 2])
        atoms, places = [], []
        for k, line in enumerate(lines[at + 2 : at + 2 + n], start=at + 3):
            atoms.append(_atom(line, file, k))
            places.append(_place(line, width, file, k))
        box = _box(lines[at + 2 + n] if at + 2 + n < len(lines) else "")
        models.append(Model(len(models) + 1, tuple(atoms), from_nanometers(np.array(places)), box))
        at += n + 3
    if not models:
        raise InputError("cannot be read as GRO: it is empty", file=file)
    return Content(tuple(models))


def _width(line: str) -> int:
    """Columns of one coordinate: from one decimal point to the next."""
    first = line.find(".", 20)
    width = line.find(".", first + 1) - first
    return width if first > 0 and width > 0 else 8


def _atom(line: str, file: Path, k: int) -> Atom:
    try:
        number = int(line[:5])
    except ValueError:
        raise InputError(
            f"cannot be read as GRO: columns 1 to 5 must hold a residue number, found '{line[:5]}'", file=file, line=k
        ) from None
    return Atom(line[10:15].strip().upper(), line[5:10].strip().upper(), number)


def _place(line: str, width: int, file: Path, k: int) -> tuple[float, float, float]:
    try:
        x, y, z = (float(line[20 + width * i : 20 + width * (i + 1)]) for i in range(3))
    except ValueError:
        raise InputError(
            f"cannot be read as GRO: columns 21 to {20 + 3 * width} must hold three coordinates in nm",
            file=file,
            line=k,
        ) from None
    return x, y, z


def _box(line: str) -> FloatArray | None:
    try:
        v = [10.0 * float(word) for word in line.split()]
    except ValueError:
        return None
    if len(v) not in (3, 9) or min(v[:3]) < 5.0:
        return None
    v += [0.0] * (9 - len(v))
    return np.array([[v[0], v[3], v[4]], [v[5], v[1], v[6]], [v[7], v[8], v[2]]])
