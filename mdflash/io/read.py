"""Read frames of one replica back from any trajectory format; made for export and analysis."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mdflash.errors import InputError
from mdflash.io.dcd import scan_dcd
from mdflash.io.writer import Box
from mdflash.io.xtc import scan_xtc, xtc_times
from mdflash.units import NM_PER_ANGSTROM


@dataclass(frozen=True)
class Frames:
    """Frames of one replica.

    Attributes:
        positions: [F, N, 3] Å, as exact as the file (float32; XTC: 0.01 Å).
        steps: [F].
        times: [F] ps.
        box: edges of the periodic box in Å, or None.
    """

    positions: npt.NDArray[np.float64]
    steps: npt.NDArray[np.int64]
    times: npt.NDArray[np.float64]
    box: Box | None

    def __len__(self) -> int:
        return len(self.steps)


def iter_frames(
    path: Path,
    replica: int | None = None,
    stride: int = 1,
    chunk: int = 1000,
    first: int = 0,
    last: int | None = None,
) -> Iterator[Frames]:
    """Read every `stride`-th complete frame from `first` up to, not including, `last`; `chunk` frames at a time.

    The file may still be written, or torn by a kill: only complete frames are read.

    Args:
        path: `.h5`, `.xtc` or `.dcd`.
        replica: global replica number, for `.h5`; its first replica when left out.

    Raises:
        InputError: unknown format, or the file does not hold this replica.
        StorageError: not readable.
    """
    readers = {".h5": _iter_hdf5, ".xtc": _iter_xtc, ".dcd": _iter_dcd}
    _check_suffix(path)
    start = 0
    for frames in readers[path.suffix](path, replica, chunk, first, last):
        keep = slice(-start % stride, None, stride)
        start += len(frames)
        if len(frames.steps[keep]):
            yield Frames(frames.positions[keep], frames.steps[keep], frames.times[keep], frames.box)


def _check_suffix(path: Path) -> None:
    if path.suffix not in (".h5", ".xtc", ".dcd"):
        raise InputError(f"expected a trajectory .h5, .xtc or .dcd, found '{path.suffix}'", file=path)


def read_times(path: Path) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Steps and times (ps) [F] of every complete frame, without reading the positions.

    Raises:
        InputError: unknown format.
        StorageError: not readable.
    """
    _check_suffix(path)
    if path.suffix == ".xtc":
        return xtc_times(path)
    if path.suffix == ".dcd":
        scan = scan_dcd(path)
        steps = scan.header.first_step + scan.header.interval * np.arange(scan.frames, dtype=np.int64)
        return steps, steps.astype(np.float64) * scan.header.timestep
    from mdflash.io.hdf5 import complete_frames, reading

    with reading(path) as f:
        position, total = f["particles/trajectory/position"], complete_frames(f)
        return position["step"][:total], position["time"][:total]


def read_frames(path: Path, replica: int | None = None, stride: int = 1) -> Frames:
    """All frames that `iter_frames` gives, as one.

    Raises:
        InputError: as `iter_frames`, or the file holds no complete frame.
    """
    parts = list(iter_frames(path, replica, stride))
    if not parts:
        raise InputError("holds no complete frame yet", file=path)
    return Frames(
        np.concatenate([p.positions for p in parts]),
        np.concatenate([p.steps for p in parts]),
        np.concatenate([p.times for p in parts]),
        parts[0].box,
    )


def _iter_hdf5(path: Path, replica: int | None, chunk: int, start: int, stop: int | None) -> Iterator[Frames]:
    import h5py

    from mdflash.io.hdf5 import complete_frames, reading

    with reading(path) as f:
        ids = f["parameters/replica_ids"][()].tolist()
        if replica is not None and replica not in ids:
            raise InputError(f"does not hold replica {replica}; it has {ids}", file=path)
        row = 0 if replica is None else ids.index(replica)
        position = f["particles/trajectory/position"]
        n = position["value"].shape[1] // len(ids)
        box: Box | None = None
        total = complete_frames(f)
        edges = f.get("cell_lengths")
        if isinstance(edges, h5py.Dataset) and total:
            a, b, c = (edges[0].astype(np.float64) / NM_PER_ANGSTROM).tolist()
            box = (a, b, c)
        end = total if stop is None else min(stop, total)
        for first in range(start, end, chunk):
            rows = slice(first, min(first + chunk, end))
            yield Frames(
                position["value"][rows, row * n : (row + 1) * n].astype(np.float64) / NM_PER_ANGSTROM,
                position["step"][rows],
                position["time"][rows],
                box,
            )


def _iter_xtc(path: Path, replica: int | None, chunk: int, start: int, stop: int | None) -> Iterator[Frames]:
    from mdtraj.formats import XTCTrajectoryFile

    total = scan_xtc(path).frames
    end = total if stop is None else min(stop, total)
    if start >= end:
        return
    with XTCTrajectoryFile(str(path)) as file:
        if start:
            file.seek(start)
        for first in range(start, end, chunk):
            positions, times, steps, vectors = file.read(n_frames=min(chunk, end - first))
            box: Box | None = None
            if vectors is not None:
                a, b, c = (np.diag(vectors[0]).astype(np.float64) / NM_PER_ANGSTROM).tolist()
                box = (a, b, c)
            yield Frames(
                positions.astype(np.float64) / NM_PER_ANGSTROM,
                steps.astype(np.int64),
                times.astype(np.float64),
                box,
            )


def _iter_dcd(path: Path, replica: int | None, chunk: int, start: int, stop: int | None) -> Iterator[Frames]:
    scan = scan_dcd(path)
    header = scan.header
    if scan.frames == 0:
        return
    data = np.memmap(path, header.frame, "r", header.size, (scan.frames,))
    box: Box | None = None
    if header.boxed:
        a, b, c = (float(data[0]["cell"][i]) for i in (0, 2, 5))
        box = (a, b, c)
    end = scan.frames if stop is None else min(stop, scan.frames)
    for first in range(start, end, chunk):
        part = data[first : min(first + chunk, end)]
        steps = header.first_step + header.interval * np.arange(first, first + len(part), dtype=np.int64)
        yield Frames(
            np.stack([part["x"], part["y"], part["z"]], axis=-1).astype(np.float64),
            steps,
            steps.astype(np.float64) * header.timestep,
            box,
        )
