"""PDB, which only `mdflash export` writes: a MODEL for each frame, with the atoms and bonds of the run's topology."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from mdflash.core.files import storage_errors
from mdflash.core.regular import read_input
from mdflash.core.types import Box
from mdflash.errors import InputError
from mdflash.io.formats.base import Export, Frames, Source
from mdflash.io.topology import cryst1, within_columns


def export_pdb(file: BinaryIO, parts: Iterator[Frames], source: Source) -> None:
    """Write frames; see `mdflash.io.formats.base.Export`.

    Raises:
        InputError: the run has no topology file, or one of another number of beads.
    """
    template = _PdbTemplate(source.topology)
    model = 0
    for part in parts:
        for positions in part.positions:
            model += 1
            file.write(template.model(model, positions, part.box).encode())
    file.write(template.end().encode())


class _PdbTemplate:
    """A run's topology file, to be filled with other coordinates."""

    def __init__(self, path: Path) -> None:
        with storage_errors(path):
            lines = read_input(path).decode(errors="replace").splitlines()
        self.path = path
        self._body = [line for line in lines if line.startswith(("ATOM", "HETATM", "TER"))]
        self._bonds = [line for line in lines if line.startswith("CONECT")]
        self._beads = sum(not line.startswith("TER") for line in self._body)

    def model(self, number: int, positions: npt.NDArray[np.float64], box: Box | None) -> str:
        """One MODEL record; a frame that drifted out of PDB's columns is moved to the origin."""
        if len(positions) != self._beads:
            raise InputError(f"has {self._beads} beads, but the trajectory has {len(positions)}", file=self.path)
        lines = []
        if box is not None and number == 1:
            lines.append(cryst1(box))
        lines.append(f"MODEL     {number % 10_000:4d}")
        rows = iter(within_columns(positions, str(self.path)))
        for line in self._body:
            if line.startswith("TER"):
                lines.append(line)
            else:
                x, y, z = next(rows)
                lines.append(f"{line[:30]}{x:8.3f}{y:8.3f}{z:8.3f}{line[54:]}")
        return "\n".join([*lines, "ENDMDL", ""])

    def end(self) -> str:
        """What follows the last model."""
        return "\n".join([*self._bonds, "END", ""])


EXPORT: Export = export_pdb
