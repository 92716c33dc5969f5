"""HDF5 files that grow, and are read meanwhile.

A write that fails inside HDF5 leaves it unable to close the file, and it crashes at exit. So files are made in memory
(`create`), and disk space is claimed before the library needs it (`claim`).
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mdflash.core.files import atomic_write, free_bytes, reserve, size_text, storage_errors
from mdflash.core.hdf5_check import check_hdf5, is_own
from mdflash.core.hdf5_look import DRIVER, register_driver
from mdflash.core.regular import change
from mdflash.errors import NoSpaceError, StorageError
from mdflash.io.superblock import admit_readers, refuse_cut

if TYPE_CHECKING:
    import h5py
    import numpy as np
    import numpy.typing as npt

VERSION: Final = ("v110", "v110")
"""Of the file format: the first that others may read while it is written."""
METADATA_BYTES: Final = 128_000
"""Enough for the indices of the chunks of a block of frames, and for the next chunks of its series of numbers."""
_SMALLEST_FREE: Final = 1_000_000


@contextmanager
def hdf5_errors(path: Path) -> Iterator[None]:
    """The library reports a full disk as OSError or RuntimeError, often without its number; make it a StorageError.

    Raises:
        StorageError: names the file and what to do.
    """
    try:
        with storage_errors(path):
            yield
    except (RuntimeError, StorageError) as error:
        with suppress(OSError):
            free = free_bytes(path.parent)
            if free < _SMALLEST_FREE:
                raise NoSpaceError(
                    f"{path}: the disk is full ({size_text(free)} free); make room and run the same command again"
                ) from error
        if isinstance(error, StorageError):
            raise
        raise StorageError(f"{path}: HDF5 cannot write: {error}") from error


def create(path: Path, fill: Callable[[h5py.File], None]) -> None:
    """Write the file that `fill` makes of an empty one.

    Raises:
        StorageError: it cannot be written; nothing is left behind.
    """
    import h5py

    image = io.BytesIO()
    with h5py.File(image, "w", libver=VERSION) as file:
        fill(file)
    atomic_write(path, image.getvalue())
    is_own(path)


def claim(file: h5py.File, path: Path, need: int) -> None:
    """Claim `need` bytes behind the end of a file open for writing, and count them as its own for whoever reads it.

    As much again is claimed for the next time: a reader asks for the length of the file first and then for what counts,
    and the first may not be less.

    Raises:
        StorageError: there is not so much space; the file is as it was.
    """
    end = file.id.get_filesize()  # as the library sees it, whatever was claimed behind it
    with storage_errors(path), change(path) as disk:
        try:
            reserve(disk.fileno(), end, 2 * need)
        except OSError:
            admit_readers(path, end)
            disk.truncate(end)
            raise
    admit_readers(path, end + need)


def open_file(path: Path, mode: str, **options: Any) -> h5py.File:
    """`h5py.File`, whoever has the file open.

    The library's lock would let a reader that came first, such as a notebook, keep out the run that the file belongs
    to. It is not needed: the lock of the run folder keeps out a second writer. Yet it is taken where it is free, since
    within one process all must treat it alike.

    Raises:
        StorageError: it is damaged, or leads to other files.
        OSError: the library cannot open it.
    """
    import h5py

    check_hdf5(path)
    register_driver()
    try:
        return h5py.File(path, mode, locking="best-effort", driver=DRIVER, **options)
    except BlockingIOError:
        return h5py.File(path, mode, locking=False, driver=DRIVER, **options)


def open_to_write(path: Path) -> h5py.File:
    """Open a file that others may read meanwhile, to append to it.

    Raises:
        OSError: the library cannot open it, or it is a link or no ordinary file.
    """
    change(path).close()  # the library follows links
    file = open_file(path, "r+", libver=VERSION)
    is_own(path)
    return file


def open_to_read(path: Path) -> h5py.File:
    """Open a file for reading: finished, being written, or left by a killed process.

    Raises:
        StorageError: cut short, or there is no such file.
        OSError: the library cannot read it.
    """
    refuse_cut(path)
    try:
        return open_file(path, "r", swmr=True)
    except OSError as error:
        # The library refuses a second kind of access in a process that has the file open for plain reading.
        try:
            return open_file(path, "r")
        except OSError:
            raise error from None


def written_rows(written: npt.NDArray[np.bool_]) -> int:
    """How many rows there are before the first that was not written."""
    return len(written) if written.all() else int(written.argmin())
