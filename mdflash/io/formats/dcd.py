"""DCD: one file per replica, float32 positions in Å, in the CHARMM/NAMD layout that every tool reads.

A DCD file is a header (number of frames, first step, steps between frames, time step) and frames of one size.
The frames behind the header decide; the number in it is brought up to date at every flush.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from mdflash.core.files import append_at, create_files, patch_head, storage_errors, sync_file, truncate
from mdflash.core.regular import open_input
from mdflash.core.types import Box
from mdflash.errors import StorageError
from mdflash.io.formats.base import (
    Export,
    Frames,
    FrameWriter,
    Source,
    Target,
    TrajectoryFormat,
    as_double,
    too_few_frames,
)
from mdflash.io.formats.stream import dropped

AKMA_PS = 0.04888821
"""CHARMM's unit of time (Å, kcal/mol, Da) in ps, as the readers of DCD have it."""

_SUFFIX = ".dcd"
_STEP_MODULUS = 2**31
_TITLE = b"written by mdflash, positions in angstrom".ljust(80)
_CONTROL = struct.Struct("<i4s9if10ii")  # 84, "CORD", 9 integers, time step, 10 integers, 84
_TITLES = struct.Struct("<ii80si")
_BEADS = struct.Struct("<iii")


@dataclass(frozen=True)
class DcdHeader:
    """The header of a DCD file.

    Attributes:
        beads: beads per frame.
        boxed: whether each frame has a unit cell.
        frames: frames according to the header.
        first_step: step of the first frame, modulo 2^31.
        interval: steps between frames.
        timestep: ps; 0 while unknown (a single frame at step 0).
        size: bytes of the header.
    """

    beads: int
    boxed: bool
    frames: int = 0
    first_step: int = 0
    interval: int = 1
    timestep: float = 0.0
    size: int = _CONTROL.size + _TITLES.size + _BEADS.size

    @property
    def frame(self) -> np.dtype[np.void]:
        """The layout of one frame: Fortran records, each between its lengths."""
        n = self.beads
        axes = [f for a in "xyz" for f in ((f"{a}_head", "<i4"), (a, "<f4", (n,)), (f"{a}_tail", "<i4"))]
        cell = [("cell_head", "<i4"), ("cell", "<f8", (6,)), ("cell_tail", "<i4")]
        return np.dtype([*cell, *axes] if self.boxed else axes)

    def pack(self) -> bytes:
        """The header as bytes."""
        last = (self.first_step + self.interval * max(self.frames - 1, 0)) % _STEP_MODULUS
        numbers = (self.frames, self.first_step, self.interval, last, 0, 0, 0, 0, 0)
        delta = self.timestep / AKMA_PS
        # The last number is CHARMM's version: it tells readers that this is not an X-PLOR file.
        control = _CONTROL.pack(84, b"CORD", *numbers, delta, int(self.boxed), *(0,) * 8, 24, 84)
        return control + _TITLES.pack(84, 1, _TITLE, 84) + _BEADS.pack(4, self.beads, 4)


def encode_dcd(header: DcdHeader, positions: npt.NDArray[np.float32], box: Box | None) -> bytes:
    """Frames [F, N, 3] in Å as the bytes that follow the header."""
    rows = np.zeros(len(positions), header.frame)
    for axis, name in enumerate("xyz"):
        rows[f"{name}_head"] = rows[f"{name}_tail"] = 4 * header.beads
        rows[name] = positions[..., axis]
    if box is not None:
        rows["cell_head"] = rows["cell_tail"] = 48
        a, b, c = box
        rows["cell"] = (a, 90.0, b, 90.0, 90.0, c)  # a, gamma, b, beta, alpha, c
    return rows.tobytes()


@dataclass(frozen=True)
class DcdScan:
    """What a DCD file holds. `frames`: complete frames; `end`: bytes of header and complete frames."""

    header: DcdHeader
    frames: int
    end: int
    size: int

    @property
    def torn(self) -> int:
        """Bytes behind the last complete frame."""
        return self.size - self.end


def scan_dcd(path: Path) -> DcdScan:
    """Read the header and count the complete frames.

    Raises:
        StorageError: not readable, or not a little-endian DCD with fixed-size frames.
    """
    with storage_errors(path), open_input(path) as file:
        size = os.fstat(file.fileno()).st_size
        control = file.read(_CONTROL.size)
        if len(control) < _CONTROL.size or control[:8] != struct.pack("<i4s", 84, b"CORD"):
            raise StorageError(f"{path}: is not a (little-endian) DCD file")
        frames, first, interval, _, _, _, _, _, fixed, delta, boxed = _CONTROL.unpack(control)[2:13]
        titles = int.from_bytes(file.read(4), "little")
        file.seek(titles + 4, os.SEEK_CUR)
        tail = file.read(_BEADS.size)
        start = file.tell()
    if len(tail) < _BEADS.size or fixed:
        raise StorageError(f"{path}: is a DCD file, but its header is cut short or has fixed atoms")
    beads = _BEADS.unpack(tail)[1]
    if not 0 < beads <= size:
        raise StorageError(f"{path}: is a DCD file, but damaged: its header counts {beads} beads")
    header = DcdHeader(beads, bool(boxed), frames, first, interval, delta * AKMA_PS, start)
    whole = (size - start) // header.frame.itemsize
    return DcdScan(header, whole, start + whole * header.frame.itemsize, size)


class DcdWriter(FrameWriter):
    """Writes `<system>_<replica id>.dcd` for every replica.

    DCD has one 32-bit first step and one interval for all frames; a first step from 2^31 on is stored
    modulo 2^31.
    """

    scale = 1.0

    def __init__(self, target: Target, frames: int, header: DcdHeader) -> None:
        super().__init__(target, frames)
        self.paths = target.replica_files(_SUFFIX)
        self._header = header

    @classmethod
    def create(cls, target: Target) -> DcdWriter:
        header = DcdHeader(target.system.n_beads, target.box is not None)
        create_files(target.replica_files(_SUFFIX), header.pack())
        return cls(target, 0, header)

    @classmethod
    def resume(cls, target: Target, frames: int) -> DcdWriter:
        header = DcdHeader(target.system.n_beads, target.box is not None)
        for path in target.replica_files(_SUFFIX):
            scan = scan_dcd(path)
            if scan.frames < frames:
                raise too_few_frames(path, scan.frames, frames)
            if (scan.header.beads, scan.header.boxed, scan.header.size) != (
                header.beads,
                header.boxed,
                header.size,
            ):
                raise StorageError(
                    f"{path}: has {scan.header.beads} beads per frame (box: {scan.header.boxed}), but system "
                    f"'{target.system.name}' has {header.beads} (box: {header.boxed}); start over with "
                    "--fresh, or choose another folder"
                )
            if frames:
                header = replace(scan.header, frames=frames)
        for path in target.replica_files(_SUFFIX):
            truncate(path, header.size + frames * header.frame.itemsize)
            patch_head(path, header.pack())
        return cls(target, frames, header)

    def _write(self, positions: npt.NDArray[np.float32], steps: Sequence[int], times: Sequence[float]) -> None:
        header = self._described(steps, times)
        offset = header.size + self.frames * header.frame.itemsize
        for r, path in enumerate(self.paths):
            append_at(path, offset, encode_dcd(header, positions[:, r], self.target.box))
            patch_head(path, header.pack())
        self._header = header

    def _described(self, steps: Sequence[int], times: Sequence[float]) -> DcdHeader:
        """The header after these frames; the first two frames of a file settle first step and interval."""
        header = replace(self._header, frames=self.frames + len(steps))
        for frame, step in enumerate(steps[:2], start=self.frames):
            if frame == 0:
                header = replace(header, first_step=step % _STEP_MODULUS)
            if frame == 1:
                header = replace(header, interval=(step - header.first_step) % _STEP_MODULUS)
            if frame < 2 and step > 0:
                header = replace(header, timestep=times[frame - self.frames] / step)
        return header

    def _sync(self) -> None:
        for path in self.paths:
            sync_file(path)


def read_dcd(path: Path, replica: int | None, chunk: int, first: int, last: int | None) -> Iterator[Frames]:
    """The frames of the file; see `mdflash.io.formats.base.Reader`."""
    scan = scan_dcd(path)
    header = scan.header
    if scan.frames == 0:
        return
    data = np.memmap(path, header.frame, "r", header.size, (scan.frames,))
    box: Box | None = None
    if header.boxed:
        a, b, c = (float(data[0]["cell"][i]) for i in (0, 2, 5))
        box = (a, b, c)
    end = scan.frames if last is None else min(last, scan.frames)
    for start in range(first, end, chunk):
        part = data[start : min(start + chunk, end)]
        steps = header.first_step + header.interval * np.arange(start, start + len(part), dtype=np.int64)
        yield Frames(
            as_double(np.stack([part["x"], part["y"], part["z"]], axis=-1)),
            steps,
            steps.astype(np.float64) * header.timestep,
            box,
        )


def dcd_times(path: Path) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Steps and times (ps) [F] of the complete frames, from the header.

    Raises:
        StorageError: as `scan_dcd`.
    """
    scan = scan_dcd(path)
    steps = scan.header.first_step + scan.header.interval * np.arange(scan.frames, dtype=np.int64)
    return steps, steps.astype(np.float64) * scan.header.timestep


def repair_dcd(path: Path) -> tuple[int, str]:
    """Drop a torn last frame and correct the header; returns (frames kept, what was done, or "").

    Raises:
        StorageError: not a DCD file, or not writable.
    """
    scan = scan_dcd(path)
    done = []
    if scan.torn:
        truncate(path, scan.end)
        done.append(dropped(scan.torn))
    if scan.header.frames != scan.frames:
        patch_head(path, struct.pack("<i4si", 84, b"CORD", scan.frames))
        done.append(f"corrected the number of frames in the header from {scan.header.frames}")
    return scan.frames, "; ".join(done)


def export_dcd(file: BinaryIO, parts: Iterator[Frames], source: Source) -> None:
    """Write frames; see `mdflash.io.formats.base.Export`."""
    header: DcdHeader | None = None
    frames = 0
    for part in parts:
        if header is None:
            last = len(part) - 1
            header = DcdHeader(
                beads=part.positions.shape[1],
                boxed=part.box is not None,
                first_step=int(part.steps[0]) % _STEP_MODULUS,
                interval=int(part.steps[1] - part.steps[0]) % _STEP_MODULUS if last else 1,
                timestep=float(part.times[last] / part.steps[last]) if part.steps[last] else 0.0,
            )
            file.write(header.pack())
        frames += len(part)
        file.write(encode_dcd(header, part.positions.astype(np.float32), part.box))
    if header is not None:
        file.seek(0)
        file.write(replace(header, frames=frames).pack())


FORMAT = TrajectoryFormat(
    name="dcd",
    suffix=_SUFFIX,
    writer=DcdWriter,
    read=read_dcd,
    times=dcd_times,
    repair=repair_dcd,
    bytes_per_bead=12,
    exact_to=1e-5,
)
EXPORT: Export = export_dcd
