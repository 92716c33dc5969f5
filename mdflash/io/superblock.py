"""Mend the head of an HDF5 file whose writer was killed: what `h5clear --status --increment` does.

Such a file stays marked "open for writing", which every reader refuses, and its superblock still holds the
end of file of the moment it was opened. A writer that trusted this address would put new data over the frames
behind it. Both are mended here; nothing else in the file is touched.

Format: HDF5 File Format Specification 3.0, section II.A, superblock versions 2 and 3.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path

from mdflash.errors import StorageError
from mdflash.io.files import storage_errors

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


def mend(path: Path) -> bool:
    """Make a file that was killed while written readable and writable again; says whether it had to.

    Raises:
        StorageError: no such file, not HDF5, or cut short (by an interrupted copy, say).
    """
    with storage_errors(path), path.open("r+b" if os.access(path, os.W_OK) else "rb") as file:
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
        fields[4], fields[7] = 0, max(size, end)
        mended = _SUPERBLOCK.pack(*fields)[:-4]
        file.truncate(fields[7])
        file.seek(0)
        file.write(mended + struct.pack("<I", lookup3(mended)))
        file.flush()
        os.fsync(file.fileno())
    return True


def trim(path: Path) -> None:
    """Cut what a closed file has behind its end: space that was claimed and not used.

    Raises:
        StorageError: not readable or not writable.
    """
    with storage_errors(path), path.open("r+b") as file:
        fields = _SUPERBLOCK.unpack(file.read(_SUPERBLOCK.size))
        if not fields[4] and os.fstat(file.fileno()).st_size > fields[7]:
            file.truncate(fields[7])
