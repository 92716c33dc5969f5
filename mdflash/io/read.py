"""Read frames of one replica back from any trajectory format; made for export and analysis."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mdflash.errors import InputError
from mdflash.io.formats import format_of, suffixes
from mdflash.io.formats.base import Frames, TrajectoryFormat


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
        path: a trajectory of any format.
        replica: global replica number, for a file that holds many; its first replica when left out.

    Raises:
        InputError: unknown format, or the file does not hold this replica.
        StorageError: not readable.
    """
    start = 0
    for frames in _format(path).read(path, replica, chunk, first, last):
        keep = slice(-start % stride, None, stride)
        start += len(frames)
        if len(frames.steps[keep]):
            yield Frames(frames.positions[keep], frames.steps[keep], frames.times[keep], frames.box)


def _format(path: Path) -> TrajectoryFormat:
    found = format_of(path)
    if found is None:
        raise InputError(f"expected a trajectory {suffixes()}, found '{path.suffix}'", file=path)
    return found


def read_times(path: Path) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Steps and times (ps) [F] of every complete frame, without reading the positions.

    Raises:
        InputError: unknown format.
        StorageError: not readable.
    """
    return _format(path).times(path)


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
