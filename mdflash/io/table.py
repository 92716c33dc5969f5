"""A CSV table that grows during a run: created with a header, resumed at an exact row, repaired after a kill."""

from __future__ import annotations

import os
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from mdflash.core.files import append_at, create_files, storage_errors, sync_file, truncate
from mdflash.core.regular import open_input
from mdflash.errors import StorageError

if TYPE_CHECKING:
    from typing_extensions import Self

_READ = 1 << 20


class Table:
    """Appends lines to a file. What was flushed survives a kill.

    A subclass sets what its file is called (`name`) and how its first line begins (`header`; with a newline at its end,
    that is the whole line). `older` are the first lines of earlier versions: such a file keeps its columns.

    Attributes:
        path: the file.
        size: bytes of the header and the rows that were flushed.
        rows: rows that were flushed, since the start of the file, or since `resume` where that was given a size.
        columns: those of the file, whatever version started it.
        checksum: CRC-32 of the first `size` bytes.
    """

    name: ClassVar[str]
    header: ClassVar[str]
    older: ClassVar[tuple[str, ...]] = ()

    def __init__(self, path: Path, size: int, rows: int = 0) -> None:
        self.path, self.size, self.rows = path, size, rows
        with storage_errors(path), open_input(path) as file:
            self.columns = tuple(file.readline().decode(errors="replace").rstrip("\n").split(","))
        self.checksum = checksum(path, size)
        self._lines: list[str] = []

    @classmethod
    def start(cls, path: Path, header: str = "") -> Self:
        """Start a new file with its first line; default: the class's own.

        Raises:
            StorageError: it already exists, or cannot be written.
        """
        data = (header or cls.header).encode()
        create_files([path], data)
        return cls(path, len(data))

    @classmethod
    def resume(cls, path: Path, size: int) -> Self:
        """Cut the file to its first `size` bytes (as `size` was at a checkpoint) and continue behind them.

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

    @classmethod
    def resume_rows(cls, path: Path, rows: int) -> Self:
        """Cut the file to its first `rows` rows and continue behind them.

        Raises:
            StorageError: no such file, not such a file, or fewer complete rows.
        """
        found, size = cls._complete(path, rows)
        if found < rows:
            raise StorageError(
                f"{path}: holds {found} complete rows, but the checkpoint was written after {rows}; "
                "the file was cut or edited since. Put the original back, or start over with --fresh"
            )
        truncate(path, size)
        return cls(path, size, rows)

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
            self.checksum = zlib.crc32(data, self.checksum)
            self.rows += len(self._lines)
            self._lines = []
        if sync:
            sync_file(self.path)

    @classmethod
    def repair(cls, path: Path) -> tuple[int, int]:
        """Drop an incomplete last line; returns (rows kept, bytes dropped).

        Raises:
            StorageError: not such a file, or not writable.
        """
        rows, size = cls._complete(path)
        with storage_errors(path):
            torn = os.path.getsize(path) - size
        if torn:
            truncate(path, size)
        return rows, torn

    @classmethod
    def _complete(cls, path: Path, rows: int | None = None) -> tuple[int, int]:
        """(rows, size in bytes of the header and them), complete lines only, stopping after `rows`."""
        found, size = -1, 0  # the header is a line too
        with storage_errors(path), open_input(path) as file:
            first = file.readline()
            ours = any(first.startswith(header.encode()) for header in (cls.header, *cls.older))
            file.seek(0)
            at = 0
            while ours and (part := file.read(_READ)):
                lines = part.count(b"\n")
                if rows is not None and found + lines > rows:
                    for _ in range(rows - found):
                        size = part.index(b"\n", max(size - at, 0)) + 1 + at
                    return rows, size
                if lines:
                    found, size = found + lines, at + part.rindex(b"\n") + 1
                at += len(part)
        if found < 0:
            due = cls.header.strip() + ("" if cls.header.endswith("\n") else "...")
            article = "an" if cls.name[0] in "aeiou" else "a"
            raise StorageError(f"{path}: is not {article} {cls.name} of mdflash; its first line must be {due}")
        return found, size


def checksum(path: Path, size: int) -> int:
    """CRC-32 of the first `size` bytes.

    Raises:
        StorageError: not readable.
    """
    found = 0
    with storage_errors(path), open_input(path) as file:
        while size > 0 and (part := file.read(min(size, _READ))):
            found = zlib.crc32(part, found)
            size -= len(part)
    return found


def written(tables: list[Table]) -> dict[str, dict[str, int]]:
    """What a checkpoint records of tables: by name, how many bytes of it are written, and their CRC-32."""
    return {table.name: {"bytes": table.size, "crc32": table.checksum} for table in tables}


def recorded_tables(header: Mapping[str, Any]) -> Mapping[str, Any]:
    """What the header of a checkpoint says of tables; nothing where it is of a version before 0.2, or made by hand."""
    found = header.get("written")
    sound = isinstance(found, dict) and all(
        isinstance(w, dict) and type(w.get("bytes")) is int and type(w.get("crc32")) is int for w in found.values()
    )
    return found if sound and isinstance(found, dict) else {}


def changed_tables(folder: Path, recorded: Mapping[str, Any]) -> list[str]:
    """The tables of a folder whose bytes are not those that `written` recorded; not those that are shorter."""
    found = []
    for name, what in recorded.items():
        file = folder / name
        whole = file.is_file() and file.stat().st_size >= what["bytes"]
        if whole and checksum(file, what["bytes"]) != what["crc32"]:
            found.append(name)
    return found


def cut_tables(folder: Path, recorded: Mapping[str, Any]) -> list[str]:
    """The tables of a folder that are shorter than `written` recorded."""
    return [
        name
        for name, what in recorded.items()
        if (folder / name).is_file() and (folder / name).stat().st_size < what["bytes"]
    ]


def last_row(path: Path) -> str | None:
    """The last complete row of a table that may still be written; None: only its first line is there.

    Raises:
        StorageError: not readable.
    """
    with storage_errors(path), open_input(path) as file:
        size = file.seek(0, os.SEEK_END)
        back = 4096
        while True:
            file.seek(max(size - back, 0))
            lines = file.read(min(size, back)).split(b"\n")[:-1]  # what follows the last newline is not complete
            if len(lines) > 2 or back >= size:
                return lines[-1].decode(errors="replace") if len(lines) > 1 else None
            back *= 16
