"""The head of an HDF5 file that is being written, or whose writer was killed.

The library marks such a file "open for writing", which every reader but those of SWMR refuses, and leaves in its
superblock the end of file of the moment it was opened: readers refuse what lies behind it, and a writer that trusted
it would put new data over the last frames. `admit_readers` keeps both right while a file is written. `unlock` does so
after a kill, as `h5clear --status --increment` does. Nothing else in the file is touched.

Format: HDF5 File Format Specification 3.0, section II.A, superblock versions 2 and 3.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import Any, BinaryIO

from mdflash.core.files import storage_errors
from mdflash.core.regular import change, open_input
from mdflash.errors import StorageError

_SIGNATURE = b"\x89HDF\r\n\x1a\n"
# signature; version, size of offsets, size of lengths, flags; base, extension, end of file, root; checksum
_SUPERBLOCK = struct.Struct("<8s4B4QI")


def _rotate(x: int, k: int) -> int:
    return ((x << k) | (x >> (32 - k))) & 0xFFFFFFFF


def _words(data: bytes, at: int) -> tuple[int, int, int]:
    x, y, z = struct.unpack_from("<III", data, at)
    return x, y, z


def lookup3(data: bytes) -> int:
    """Bob Jenkins' lookup3 hash, HDF5's checksum of metadata (H5_checksum_lookup3, initial value 0)."""
    mask = 0xFFFFFFFF
    a = b = c = (0xDEADBEEF + len(data)) & mask
    at = 0
    while len(data) - at > 12:
        x, y, z = _words(data, at)
        a, b, c = (a + x) & mask, (b + y) & mask, (c + z) & mask
        for shift in (4, 6, 8, 16, 19, 4):
            a = ((a - c) & mask) ^ _rotate(c, shift)
            c = (c + b) & mask
            a, b, c = b, c, a
        at += 12
    if at == len(data):
        return c
    x, y, z = _words(data[at:].ljust(12, b"\0"), 0)
    a, b, c = (a + x) & mask, (b + y) & mask, (c + z) & mask
    for shift in (14, 11, 25, 16, 4, 14, 24):
        c = ((c ^ b) - _rotate(b, shift)) & mask
        a, b, c = b, c, a
    return b


def admit_readers(path: Path, end: int) -> None:
    """Let any reader open a file while a writer in SWMR mode appends to it within the first `end` bytes.

    Such a writer puts nothing on the disk that points to what is not there yet, so a reader that comes at any moment
    sees a whole file: what was flushed before. The mark only keeps out a second writer, which is the lock's business.

    Raises:
        StorageError: not readable or not writable.
    """
    with storage_errors(path), change(path) as file:
        fields = list(_SUPERBLOCK.unpack(file.read(_SUPERBLOCK.size)))
        if os.fstat(file.fileno()).st_size < end:
            file.truncate(end)
        _rewrite(file, fields, end)


def _rewrite(file: BinaryIO, fields: list[Any], end: int) -> None:
    """Write the superblock without the mark, and with another end of file."""
    fields[4], fields[7] = 0, end
    head = _SUPERBLOCK.pack(*fields)[:-4]
    file.seek(0)
    file.write(head + struct.pack("<I", lookup3(head)))


def unlock(path: Path) -> bool:
    """Make a file that was killed while written readable and writable again; returns whether it had to.

    Raises:
        StorageError: no such file, not HDF5, or cut short (for example by an interrupted copy).
    """
    with storage_errors(path), change(path) if os.access(path, os.W_OK) else open_input(path) as file:
        head = file.read(_SUPERBLOCK.size)
        size = os.fstat(file.fileno()).st_size
        if len(head) < _SUPERBLOCK.size or not head.startswith(_SIGNATURE):
            raise StorageError(f"{path}: is not an HDF5 file")
        fields = list(_SUPERBLOCK.unpack(head))
        version, sizes, flags, end = fields[1], fields[2:4], fields[4], fields[7]
        if version not in (2, 3) or sizes != [8, 8]:
            raise StorageError(f"{path}: is an HDF5 file, but not one that mdflash wrote (superblock {version})")
        if lookup3(head[:-4]) != fields[-1]:
            raise StorageError(f"{path}: the first {len(head)} bytes are damaged; restore it from a copy")
        if not flags:
            if size < end:
                raise StorageError(f"{path}: is {size} bytes long, but was {end} when it was closed; copy it again")
            return False
        file.truncate(max(size, end))
        _rewrite(file, fields, max(size, end))
        file.flush()
        os.fsync(file.fileno())
    return True


def refuse_cut(path: Path) -> None:
    """Refuse a file that is shorter than its superblock states: the library may search for the missing part forever.

    Raises:
        StorageError: it is; or it cannot be read.
    """
    for _ in range(2):  # a writer that closes it at this moment may have changed one of the two
        with storage_errors(path), open_input(path) as file:
            head, size = file.read(_SUPERBLOCK.size), os.fstat(file.fileno()).st_size
        if len(head) < _SUPERBLOCK.size or not head.startswith(_SIGNATURE):
            return  # the library reports it
        *_, flags, _, _, end, _, checksum = _SUPERBLOCK.unpack(head)
        if lookup3(head[:-4]) != checksum or flags or size >= end:
            return
    raise StorageError(f"{path}: is {size} bytes long, but was {end} when it was closed; copy it again")


def trim(path: Path) -> None:
    """Cut what a closed file has behind its end: space that was claimed and not used.

    Raises:
        StorageError: not readable or not writable.
    """
    with storage_errors(path), change(path) as file:
        fields = _SUPERBLOCK.unpack(file.read(_SUPERBLOCK.size))
        if not fields[4] and os.fstat(file.fileno()).st_size > fields[7]:
            file.truncate(fields[7])
