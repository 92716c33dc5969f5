"""XTC: one compressed file per replica, positions to 0.01 Å.

An XTC file is a plain concatenation of frames. MDTraj encodes a block of frames into a scratch file, and its
bytes are appended to the trajectory: a library's encoder, and appending, which the library does not offer.
"""

from __future__ import annotations

import mmap
import os
import struct
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mdflash.core.files import storage_errors
from mdflash.core.regular import open_input
from mdflash.core.types import Box
from mdflash.errors import StorageError
from mdflash.io.formats.base import Export, Frames, TrajectoryFormat, as_double
from mdflash.io.formats.stream import Scan, StreamWriter
from mdflash.units import NM_PER_ANGSTROM

STEP_MODULUS = 2**31
_MAGIC = (1995, 2023)  # the second has 64-bit byte counts
_INT, _LONG, _TWO_INTS = struct.Struct(">i"), struct.Struct(">q"), struct.Struct(">ii")
_HEADER = 56  # bytes before the coordinates
_COMPRESSED = struct.Struct(">if6ii")  # beads, precision, least and largest coordinates, number of a small range
_SMALL = range(9, 73)
_COMPRESSED_HEADER = 88  # bytes before the byte count, above nine beads


def scan_xtc(path: Path) -> Scan:
    """Walk the frame headers.

    Raises:
        StorageError: not readable, or it does not start like an XTC file.
    """
    with storage_errors(path), open_input(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size == 0:
            return Scan(np.zeros(1, np.int64), 0, 0)
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            if size >= 4 and _INT.unpack_from(data)[0] not in _MAGIC:
                raise StorageError(f"{path}: is not an XTC file")
            offsets, beads = _walk(data, size)
    return Scan(np.array(offsets, np.int64), size, beads)


def _walk(data: mmap.mmap, size: int) -> tuple[list[int], int]:
    """Where the complete frames start and end, and the beads of each."""
    offsets, at, beads = [0], 0, 0
    while at + _HEADER <= size:
        magic, count = _TWO_INTS.unpack_from(data, at)
        again = _INT.unpack_from(data, at + _HEADER - _INT.size)[0]  # in front of the coordinates
        if magic not in _MAGIC or count < 1 or count != again or (beads and count != beads):
            break
        if count <= 9:  # not worth compressing: plain floats
            at += _HEADER + 12 * count
        else:
            length = _LONG if magic == _MAGIC[1] else _INT
            if at + _COMPRESSED_HEADER + length.size > size:
                break
            payload = length.unpack_from(data, at + _COMPRESSED_HEADER)[0]
            if not count <= 8 * payload <= 8 * size or not _is_sound(data, at, count):  # a bead takes a bit at least
                break
            at += _COMPRESSED_HEADER + length.size + (payload + 3) // 4 * 4
        if at > size:
            break
        offsets.append(at)
        beads = count
    return offsets, beads


def _is_sound(data: mmap.mmap, at: int, count: int) -> bool:
    """Whether the head of a compressed frame is one that the library writes; it believes whatever stands there."""
    beads, precision, *limits, small = _COMPRESSED.unpack_from(data, at + 52)
    ranges = [high - low for low, high in zip(limits[:3], limits[3:], strict=True)]
    return beads == count and 0.0 < precision < 1e9 and min(ranges) >= 0 and max(ranges) < 2**31 - 2 and small in _SMALL


def xtc_times(path: Path) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Steps and times (ps) [F] of the complete frames, from their headers.

    Raises:
        StorageError: as `scan_xtc`.
    """
    starts = scan_xtc(path).offsets[:-1]
    heads = np.zeros(len(starts), [("step", ">i4"), ("time", ">f4")])
    with storage_errors(path), open_input(path) as file:
        for k, start in enumerate(starts.tolist()):
            file.seek(start + 8)  # behind the magic number and the number of beads
            heads[k] = np.frombuffer(file.read(8), heads.dtype)[0]
    return _unwrapped(heads["step"].astype(np.int64)), as_double(heads["time"])


def _unwrapped(steps: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Steps [F] of consecutive frames, the first below 2^31, as they were before the file took them modulo 2^31."""
    wraps = np.diff(steps, prepend=steps[:1]) < -STEP_MODULUS // 2
    return steps + STEP_MODULUS * np.cumsum(wraps)


def encode_xtc(
    positions: npt.NDArray[np.float32],
    steps: Sequence[int],
    times: Sequence[float],
    box: Box | None,
) -> bytes:
    """Frames as the bytes of an XTC file.

    XTC holds 32-bit steps and float32 times: steps from 2^31 on are stored modulo 2^31, and found again from those of
    the frames before, while the time stays right to float32.

    Args:
        positions: [F, N, 3] nm.
        steps: [F].
        times: [F] ps.
        box: edges in Å, or None.
    """
    from mdtraj.formats import XTCTrajectoryFile

    vectors: Any = None
    if box is not None:
        edges = np.diag(np.array(box) * NM_PER_ANGSTROM).astype(np.float32)
        vectors = np.repeat(edges[None], len(steps), axis=0)
    with tempfile.TemporaryDirectory(prefix="mdflash-") as folder:
        scratch = Path(folder) / "block.xtc"
        with XTCTrajectoryFile(str(scratch), "w") as file:
            file.write(
                np.ascontiguousarray(positions),
                time=np.array(times, np.float32),
                step=np.array([step % STEP_MODULUS for step in steps], np.int32),
                box=vectors,
            )
        return scratch.read_bytes()


class XtcWriter(StreamWriter):
    """Writes `<system>_<replica id>.xtc` for every replica."""

    suffix = ".xtc"
    scale = NM_PER_ANGSTROM
    encode = staticmethod(encode_xtc)
    scan = staticmethod(scan_xtc)


def read_xtc(path: Path, replica: int | None, chunk: int, first: int, last: int | None) -> Iterator[Frames]:
    """The frames of the file; see `mdflash.io.formats.base.Reader`."""
    offsets = scan_xtc(path).offsets
    real = xtc_times(path)[0]
    total = len(real)
    end = total if last is None else min(last, total)
    for start in range(first, end, chunk):
        stop = min(start + chunk, end)
        with storage_errors(path), open_input(path) as file:
            file.seek(int(offsets[start]))
            data = file.read(int(offsets[stop] - offsets[start]))
        try:
            positions, times, vectors = decode_xtc(data, stop - start)
        except RuntimeError as error:
            raise StorageError(
                f"{path}: one of the frames {start} to {stop - 1} is damaged ({error}); restore it from a copy"
            ) from None
        box: Box | None = None
        if vectors is not None:
            a, b, c = (as_double(np.diag(vectors[0])) / NM_PER_ANGSTROM).tolist()
            box = (a, b, c)
        yield Frames(
            as_double(positions) / NM_PER_ANGSTROM,
            real[start:stop],
            as_double(times),
            box,
        )


def decode_xtc(data: bytes, frames: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], Any]:
    """Positions [F, N, 3] in nm, times [F] in ps and box vectors [F, 3, 3] in nm, or None, of so many frames.

    The decoder writes a few beads beyond a frame that is damaged; so it is asked for one frame more than there are, and
    has room for them.

    Raises:
        RuntimeError: damaged.
        StorageError: no room for the scratch file.
    """
    from mdtraj.formats import XTCTrajectoryFile

    with tempfile.TemporaryDirectory(prefix="mdflash-") as folder:
        scratch = Path(folder) / "block.xtc"
        with storage_errors(scratch):
            scratch.write_bytes(data)
        try:
            with XTCTrajectoryFile(str(scratch)) as file:
                positions, times, _, vectors = file.read(n_frames=frames + 1)
        except OSError as error:
            raise RuntimeError(str(error)) from None
    if len(positions) != frames:
        raise RuntimeError(f"{len(positions)} of {frames} frames can be read")
    return positions, times, vectors


FORMAT = TrajectoryFormat(
    name="xtc",
    suffix=XtcWriter.suffix,
    writer=XtcWriter,
    read=read_xtc,
    times=xtc_times,
    repair=XtcWriter.repair,
    bytes_per_bead=5,
    exact_to=0.0051,
    float32_times=True,
)
EXPORT: Export = XtcWriter.export
