"""A CSV table that grows while a run goes on; a checkpoint remembers how many bytes it had."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from mdflash.core.files import append_at, storage_errors, sync_file, truncate
from mdflash.errors import StorageError
from mdflash.io.writer import create_files

if TYPE_CHECKING:
    from typing_extensions import Self


class Table:
    """Appends lines to a file. What was flushed survives a kill.

    Attributes:
        path: the file.
        size: bytes of the header and the rows that were flushed.
    """

    def __init__(self, path: Path, size: int) -> None:
        self.path, self.size = path, size
        self._lines: list[str] = []

    @classmethod
    def start(cls, path: Path, header: bytes) -> Self:
        """Start a new file.

        Raises:
            StorageError: it exists already, or cannot be written.
        """
        create_files([path], header)
        return cls(path, len(header))

    @classmethod
    def resume(cls, path: Path, size: int) -> Self:
        """Cut the file to its first `size` bytes (as `size` was at a checkpoint) and go on behind them.

        Raises:
            StorageError: no such file, or shorter.
        """
        with storage_errors(path):
            found = os.path.getsize(path)
        if found < size:
            raise StorageError(
                f"{path}: has {found} bytes, but had {size} when the checkpoint was written; the file was cut or "
                "edited since. Put the original back, or start over with --fresh"
            )
        truncate(path, size)
        return cls(path, size)

    def add(self, line: str) -> None:
        """Take one row, without its newline."""
        self._lines.append(line + "\n")

    def flush(self, sync: bool = False) -> None:
        """Write the rows in memory; with `sync`, wait until they are on the disk.

        Raises:
            StorageError: disk full, for example.
        """
        if self._lines:
            data = "".join(self._lines).encode()
            append_at(self.path, self.size, data)
            self.size += len(data)
            self._lines = []
        if sync:
            sync_file(self.path)
