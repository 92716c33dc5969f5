"""log.csv: energies and temperature of every replica, one row per report and replica.

The text depends on the simulation alone (no wall-clock time): the same run gives the same bytes.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mdflash.core.files import append_at, storage_errors, sync_file, truncate
from mdflash.errors import StorageError
from mdflash.io.writer import create_files

COLUMNS = (
    "step",
    "time_ps",
    "replica",
    "system",
    "potential_kcal_mol",
    "kinetic_kcal_mol",
    "temperature_K",
)
_HEADER = (",".join(COLUMNS) + "\n").encode()
_READ = 1 << 20


def _row_ends(path: Path, rows: int | None) -> tuple[int, int]:
    """(data rows, size in bytes of the header and them), complete lines only, stopping after `rows`."""
    found, size = -1, 0  # the header is a line too
    with storage_errors(path), path.open("rb") as file:
        if file.read(len(_HEADER)) != _HEADER:
            raise StorageError(f"{path}: is not a log.csv of mdflash; its first line must be {','.join(COLUMNS)}")
        file.seek(0)
        at = 0
        while part := file.read(_READ):
            lines = part.count(b"\n")
            if rows is not None and found + lines > rows:
                for _ in range(rows - found):
                    size = part.index(b"\n", max(size - at, 0)) + 1 + at
                return rows, size
            if lines:
                found, size = found + lines, at + part.rindex(b"\n") + 1
            at += len(part)
    return found, size


class LogWriter:
    """Appends rows to log.csv. What was flushed survives a kill.

    Attributes:
        path: the file.
        rows: data rows in the file so far, that is, flushed.
    """

    def __init__(self, path: Path, rows: int, size: int) -> None:
        self.path, self.rows, self._size = path, rows, size
        self._lines: list[str] = []

    @classmethod
    def create(cls, path: Path) -> LogWriter:
        """Start a new log.

        Raises:
            StorageError: it exists already, or cannot be written.
        """
        create_files([path], _HEADER)
        return cls(path, 0, len(_HEADER))

    @classmethod
    def resume(cls, path: Path, rows: int) -> LogWriter:
        """Cut a log to exactly `rows` data rows and go on behind them.

        Raises:
            StorageError: no such file, not such a file, or fewer complete rows.
        """
        found, size = _row_ends(path, rows)
        if found < rows:
            raise StorageError(
                f"{path}: holds {found} complete rows, but the checkpoint was written after {rows}; "
                "the file was cut or edited since. Put the original back, or start over with --fresh"
            )
        truncate(path, size)
        return cls(path, rows, size)

    def append(
        self,
        step: int,
        time_ps: float,
        replica_ids: Sequence[int],
        systems: Sequence[str],
        potential: npt.NDArray[np.float64],
        kinetic: npt.NDArray[np.float64],
        temperature: npt.NDArray[np.float64],
    ) -> None:
        """Take one report: [R] replica ids, system names, energies in kcal/mol, temperatures in K."""
        values = (potential.tolist(), kinetic.tolist(), temperature.tolist())
        for replica, system, u, k, t in zip(replica_ids, systems, *values, strict=True):
            self._lines.append(f"{step},{float(time_ps)!r},{replica},{system},{u!r},{k!r},{t!r}\n")

    def flush(self, sync: bool = False) -> None:
        """Write the rows in memory; with `sync`, wait until they are on the disk.

        Raises:
            StorageError: disk full, for example.
        """
        if self._lines:
            data = "".join(self._lines).encode()
            append_at(self.path, self._size, data)
            self.rows += len(self._lines)
            self._size += len(data)
            self._lines = []
        if sync:
            sync_file(self.path)


def repair_log(path: Path) -> tuple[int, int]:
    """Drop a torn last line; returns (data rows kept, bytes dropped)."""
    rows, size = _row_ends(path, None)
    return rows, drop_tail(path, size)


def drop_tail(path: Path, size: int) -> int:
    """Cut `path` to `size` unless it has this size; returns the bytes dropped."""
    with storage_errors(path):
        torn = os.path.getsize(path) - size
    if torn:
        truncate(path, size)
    return torn
