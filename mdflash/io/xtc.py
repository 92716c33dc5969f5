"""XTC: one compressed file per replica, positions to 0.01 Å.

An XTC file is a plain concatenation of frames. MDTraj encodes a block of frames into a scratch file, and its
bytes are appended to the trajectory: a library's encoder, and appending, which the library does not offer.
"""

from __future__ import annotations

import mmap
import os
import struct
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mdflash.core.files import append_at, storage_errors, sync_file, truncate
from mdflash.errors import StorageError
from mdflash.io.writer import Box, FrameWriter, Target, create_files, replica_path, too_few_frames
from mdflash.units import NM_PER_ANGSTROM

STEP_MODULUS = 2**31
_MAGIC = (1995, 2023)  # the second has 64-bit byte counts
_INT, _LONG, _TWO_INTS = struct.Struct(">i"), struct.Struct(">q"), struct.Struct(">ii")
_HEADER = 56  # bytes before the coordinates
_COMPRESSED_HEADER = 88  # bytes before the byte count, above nine beads


@dataclass(frozen=True)
class XtcScan:
    """What a walk over the frame headers of an XTC file found.

    Attributes:
        offsets: [frames + 1] where each complete frame starts; the last one is the end of the good part.
        size: bytes of the file.
        beads: beads per frame; 0 in an empty file.
    """

    offsets: npt.NDArray[np.int64]
    size: int
    beads: int

    @property
    def frames(self) -> int:
        return len(self.offsets) - 1

    @property
    def torn(self) -> int:
        """Bytes behind the last complete frame."""
        return self.size - int(self.offsets[-1])


def scan_xtc(path: Path) -> XtcScan:
    """Walk the frame headers.

    Raises:
        StorageError: not readable, or it does not start like an XTC file.
    """
    with storage_errors(path), path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size == 0:
            return XtcScan(np.zeros(1, np.int64), 0, 0)
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            if size >= 4 and _INT.unpack_from(data)[0] not in _MAGIC:
                raise StorageError(f"{path}: is not an XTC file")
            offsets, beads = _walk(data, size)
    return XtcScan(np.array(offsets, np.int64), size, beads)


def _walk(data: mmap.mmap, size: int) -> tuple[list[int], int]:
    """Where the complete frames start and end, and the beads of each."""
    offsets, at, beads = [0], 0, 0
    while at + _HEADER <= size:
        magic, count = _TWO_INTS.unpack_from(data, at)
        if magic not in _MAGIC or count < 1 or (beads and count != beads):
            break
        if count <= 9:  # not worth compressing: plain floats
            at += _HEADER + 12 * count
        else:
            length = _LONG if magic == _MAGIC[1] else _INT
            if at + _COMPRESSED_HEADER + length.size > size:
                break
            payload = length.unpack_from(data, at + _COMPRESSED_HEADER)[0]
            at += _COMPRESSED_HEADER + length.size + (payload + 3) // 4 * 4
        if at > size:
            break
        offsets.append(at)
        beads = count
    return offsets, beads


def xtc_times(path: Path) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Steps and times (ps) [F] of the complete frames, from their headers.

    Raises:
        StorageError: as `scan_xtc`.
    """
    starts = scan_xtc(path).offsets[:-1]
    heads = np.zeros(len(starts), [("step", ">i4"), ("time", ">f4")])
    with storage_errors(path), path.open("rb") as file:
        for k, start in enumerate(starts.tolist()):
            file.seek(start + 8)  # behind the magic number and the number of beads
            heads[k] = np.frombuffer(file.read(8), heads.dtype)[0]
    return heads["step"].astype(np.int64), heads["time"].astype(np.float64)


def encode_xtc(
    positions: npt.NDArray[np.float32],
    steps: Sequence[int],
    times: Sequence[float],
    box: Box | None,
) -> bytes:
    """Frames as the bytes of an XTC file.

    XTC holds 32-bit steps and float32 times: steps from 2^31 on are stored modulo 2^31, while the time stays
    right to float32.

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


class XtcWriter(FrameWriter):
    """Writes `<system>_<replica id>.xtc` for every replica.

    Steps from 2^31 on are stored modulo 2^31 and times as float32, for the format has no more room.
    """

    scale = NM_PER_ANGSTROM

    def __init__(self, target: Target, frames: int, sizes: Sequence[int]) -> None:
        super().__init__(target, frames)
        self.paths = _paths(target)
        self._sizes = list(sizes)

    @classmethod
    def create(cls, target: Target) -> XtcWriter:
        paths = _paths(target)
        create_files(paths)
        return cls(target, 0, [0] * len(paths))

    @classmethod
    def resume(cls, target: Target, frames: int) -> XtcWriter:
        scans = [scan_xtc(path) for path in _paths(target)]
        for path, scan in zip(_paths(target), scans, strict=True):
            if scan.frames < frames:
                raise too_few_frames(path, scan.frames, frames)
            if scan.beads not in (0, target.system.n_beads):
                raise StorageError(
                    f"{path}: has {scan.beads} beads per frame, but system '{target.system.name}' has "
                    f"{target.system.n_beads}; start over with --fresh, or choose another folder"
                )
        sizes = [int(scan.offsets[frames]) for scan in scans]
        for path, size in zip(_paths(target), sizes, strict=True):
            truncate(path, size)
        return cls(target, frames, sizes)

    def _write(self, positions: npt.NDArray[np.float32], steps: Sequence[int], times: Sequence[float]) -> None:
        sizes = []
        for r, path in enumerate(self.paths):
            with storage_errors(path):
                data = encode_xtc(positions[:, r], steps, times, self.target.box)
            append_at(path, self._sizes[r], data)
            sizes.append(self._sizes[r] + len(data))
        self._sizes = sizes  # only now: a block that failed halfway is overwritten, not repeated

    def _sync(self) -> None:
        for path in self.paths:
            sync_file(path)


def _paths(target: Target) -> list[Path]:
    return [replica_path(target.folder, target.system.name, i, "xtc") for i in target.replica_ids]


def repair_xtc(path: Path) -> tuple[int, int]:
    """Drop a torn last frame; returns (frames kept, bytes dropped).

    Raises:
        StorageError: not an XTC file, or not writable.
    """
    scan = scan_xtc(path)
    if scan.torn:
        truncate(path, int(scan.offsets[-1]))
    return scan.frames, scan.torn
