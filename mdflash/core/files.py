"""Writing files so that a full disk or a kill never leaves half of one: the small tools the others share."""

from __future__ import annotations

import errno
import json
import os
import secrets
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from mdflash.core.regular import change
from mdflash.errors import NoSpaceError, StorageError

FULL: Final = (errno.ENOSPC, errno.EDQUOT)
"""Errors of a disk, or a quota, without room."""


def size_text(n_bytes: float) -> str:
    """A number of bytes as text: '1.5 GB'."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if n_bytes < 1000:
            return f"{n_bytes:.0f} {unit}" if unit == "bytes" else f"{n_bytes:.1f} {unit}"
        n_bytes /= 1000
    return f"{n_bytes:.1f} TB"


def free_bytes(path: Path) -> int:
    """Free space on the disk that holds `path` (which need not exist yet)."""
    while not path.exists() and path != path.parent:
        path = path.parent
    return shutil.disk_usage(path).free


def explain(path: Path, error: OSError) -> StorageError:
    """An error of the system about `path`, and what to do."""
    if error.errno in FULL:
        what = "the disk is full" if error.errno == errno.ENOSPC else "the disk quota is used up"
        with suppress(OSError):
            what += f" ({size_text(free_bytes(path.parent))} free)"
        return NoSpaceError(f"{path}: {what}; make room and run the same command again")
    if error.errno in (errno.EACCES, errno.EPERM) and os.path.exists(path) and not os.access(path, os.R_OK):
        return StorageError(f"{path}: no permission to read it ({error.strerror}); its owner can give it with chmod")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return StorageError(
            f"{path}: no permission to write ({error.strerror}); choose another folder with output.folder"
        )
    if error.errno == errno.ENAMETOOLONG:
        short = str(path) if len(str(path)) <= 80 else f"{str(path)[:60]}..."
        return StorageError(
            f"{short}: this path is longer than the file system allows ({len(str(path))} characters, its longest "
            f"name {max(map(len, path.parts))}); choose a shorter one"
        )
    return StorageError(f"{path}: {error.strerror or error}")


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn any OSError inside into a StorageError that names `path` and what to do."""
    try:
        yield
    except OSError as error:
        raise explain(path, error) from error


def sync_folder(folder: Path) -> None:
    """Make renames and new files in `folder` survive a power cut."""
    _fsync(folder)


def _fsync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


TEMPORARY = r"\.mdflash-[0-9a-f]{16}\.tmp"
"""The names of files that are being written, as a regular expression; nobody else's file has such a name."""


def _temporary(path: Path) -> Path:
    """A name beside `path` that nobody can have prepared."""
    return path.with_name(f".mdflash-{secrets.token_hex(8)}.tmp")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A name beside `path` to write a file to, which takes the place of `path` at the end; after an error `path` stays.

    Raises:
        StorageError: disk full, no permission, no such folder, or `path` is a folder or a device; nothing is left
            behind.
    """
    if not path.parent.is_dir():
        raise StorageError(f"{path} cannot be written: {path.parent}: {os.strerror(errno.ENOENT)}")
    if path.exists() and not path.is_file():
        raise StorageError(f"{path} is no ordinary file, so it is not replaced; choose another name")
    partial = _temporary(path)
    with storage_errors(path):
        os.close(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
        try:
            yield partial
            _fsync(partial)
            os.replace(partial, path)
        except BaseException:
            with suppress(OSError):
                partial.unlink()
            raise
        sync_folder(path.parent)


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A folder beside `path` to fill, which becomes `path` at the end; after an error there is none.

    Raises:
        StorageError: disk full, no permission, `path` is a file or a folder that is not empty; nothing is left behind.
    """
    partial = _temporary(path)
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.mkdir()
        try:
            yield partial
            os.replace(partial, path)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        sync_folder(path.parent)


def atomic_write(path: Path, content: bytes | str) -> None:
    """Replace `path` by `content`: afterwards it holds all of the new content or all of the old.

    Raises:
        StorageError: disk full, no permission; nothing is left behind.
    """
    with replacing(path) as partial:
        partial.write_bytes(content.encode() if isinstance(content, str) else content)


def atomic_write_json(path: Path, value: Any) -> None:
    """As `atomic_write`, of `value` as indented JSON."""
    atomic_write(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def append_at(path: Path, offset: int, data: bytes) -> None:
    """Put `data` behind the first `offset` bytes, the good part of `path`.

    When that fails, the file is cut back to `offset`, so it never ends in half a record.

    Raises:
        StorageError: disk full, no permission, file gone.
    """
    with storage_errors(path), change(path) as file:
        try:
            file.seek(offset)
            rest = memoryview(data)
            while rest:
                rest = rest[file.write(rest) :]
        except OSError:
            with suppress(OSError):
                file.truncate(offset)
            raise


def patch_head(path: Path, data: bytes) -> None:
    """Replace the first bytes of `path`; the rest stays.

    Raises:
        StorageError: no permission, file gone.
    """
    with storage_errors(path), change(path) as file:
        file.write(data)


def reserve(fd: int, offset: int, size: int) -> None:
    """Claim `size` bytes of disk behind `offset`, where the system and the file system can.

    Raises:
        OSError: disk full, quota used up, file too large.
    """
    if not hasattr(os, "posix_fallocate"):
        return
    try:
        os.posix_fallocate(fd, offset, size)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):
            raise


def sync_file(path: Path) -> None:
    """fsync a file that was written through other handles.

    Raises:
        StorageError: the disk refuses.
    """
    with storage_errors(path):
        _fsync(path)


def truncate(path: Path, size: int) -> None:
    """Cut `path` to `size` bytes, on the disk when it returns.

    Raises:
        StorageError: no permission, file gone.
    """
    with storage_errors(path), change(path) as file:
        file.truncate(size)
        os.fsync(file.fileno())


def refuse_existing(path: Path) -> None:
    """Raise StorageError if `path` exists."""
    if path.exists():
        raise StorageError(f"{path} already exists; resume the run it belongs to, or start over with --fresh")


def create_files(paths: Sequence[Path], content: bytes = b"") -> None:
    """Create every file with `content`, or none of them.

    Raises:
        StorageError: one already exists, or cannot be written.
    """
    for path in paths:
        refuse_existing(path)
    made: list[Path] = []
    try:
        for path in paths:
            with storage_errors(path), path.open("xb") as file:
                made.append(path)
                file.write(content)
    except StorageError:
        for path in made:
            path.unlink(missing_ok=True)
        raise
    for folder in {path.parent for path in paths}:
        sync_folder(folder)
