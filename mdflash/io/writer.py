"""What every trajectory writer does: collect frames, write them in blocks, resume at an exact frame."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from mdflash.core.files import storage_errors, sync_folder
from mdflash.core.system import System
from mdflash.errors import StorageError

Format = Literal["hdf5", "xtc", "dcd"]
Box = tuple[float, float, float]


@dataclass(frozen=True)
class Target:
    """What a trajectory is of, and where it goes.

    Attributes:
        folder: where the files go; it exists.
        system: the molecule.
        replica_ids: [R] global numbers of its replicas, in the order of the rows given to `append`.
        box: edges of the periodic box in Å, or None.
        block: frames that are written together.
    """

    folder: Path
    system: System
    replica_ids: tuple[int, ...]
    box: Box | None = None
    block: int = 16


class FrameWriter(ABC):
    """Writes the frames of all replicas of one system.

    Frames are kept in memory until a block is full or `flush` is called; what was flushed survives a kill of
    the process, and what was flushed with `sync=True` a power cut. Make one with `create` or `resume`.

    Attributes:
        target: what is written.
        frames: frames in the files so far, that is, flushed.
    """

    def __init__(self, target: Target, frames: int) -> None:
        self.target, self.frames = target, frames
        self._positions: list[npt.NDArray[np.float32]] = []
        self._steps: list[int] = []
        self._times: list[float] = []

    @classmethod
    @abstractmethod
    def create(cls, target: Target) -> FrameWriter:
        """Start new files.

        Raises:
            StorageError: a file exists already, or cannot be written; nothing is left behind.
        """

    @classmethod
    @abstractmethod
    def resume(cls, target: Target, frames: int) -> FrameWriter:
        """Repair the files of a killed run, cut them to exactly `frames` frames and go on behind them.

        Raises:
            StorageError: a file is missing, holds fewer complete frames, or belongs to another system.
        """

    @property
    @abstractmethod
    def scale(self) -> float:
        """The file's length unit per Å."""

    @abstractmethod
    def _write(self, positions: npt.NDArray[np.float32], steps: Sequence[int], times: Sequence[float]) -> None:
        """Append `positions` [F, R, N, 3] in the file's unit; all of them, or raise StorageError."""

    @abstractmethod
    def _sync(self) -> None:
        """fsync every file."""

    def append(self, positions: npt.NDArray[np.floating[Any]], step: int, time_ps: float) -> None:
        """Take one frame.

        Args:
            positions: [R, N, 3] in Å; copied.
            step: steps since the start of the run.
            time_ps: time since the start of the run, ps.

        Raises:
            StorageError: the block could not be written.
        """
        expected = (len(self.target.replica_ids), self.target.system.n_beads, 3)
        if positions.shape != expected:
            raise ValueError(f"positions must be {list(expected)}, found {list(positions.shape)}")
        self._positions.append((positions * self.scale).astype(np.float32))
        self._steps.append(step)
        self._times.append(time_ps)
        # Counted from the start of the file, so blocks stay aligned with its chunks after an early flush.
        if (self.frames + len(self._steps)) % self.target.block == 0:
            self.flush()

    def flush(self, sync: bool = False) -> None:
        """Write the frames in memory; with `sync`, wait until they are on the disk.

        Raises:
            StorageError: disk full, for example. The frames flushed before stay good.
        """
        if self._steps:
            self._write(np.stack(self._positions), self._steps, self._times)
            self.frames += len(self._steps)
            self._positions, self._steps, self._times = [], [], []
        if sync:
            self._sync()

    def close(self) -> None:
        """Flush and close. A closed writer takes no more frames."""
        self.flush()


def hdf5_path(folder: Path, system_name: str) -> Path:
    """The HDF5 file of one system: all its replicas."""
    return folder / f"{system_name}.h5"


def replica_path(folder: Path, system_name: str, replica_id: int, suffix: str) -> Path:
    """The file of one replica, for formats that hold one molecule; `suffix` is "xtc" or "dcd"."""
    return folder / f"{system_name}_{replica_id:04d}.{suffix}"


def writer_class(format: Format) -> type[FrameWriter]:
    """The writer of a format."""
    if format == "hdf5":
        from mdflash.io.hdf5 import Hdf5Writer

        return Hdf5Writer
    if format == "xtc":
        from mdflash.io.xtc import XtcWriter

        return XtcWriter
    from mdflash.io.dcd import DcdWriter

    return DcdWriter


def refuse_existing(path: Path) -> None:
    """Raise StorageError if `path` exists."""
    if path.exists():
        raise StorageError(f"{path} exists already; resume the run it belongs to, or start over with --fresh")


def too_few_frames(path: Path, found: int, needed: int) -> StorageError:
    """The error of a file that lost frames which the checkpoint counts on."""
    return StorageError(
        f"{path}: holds {found} complete frames, but the checkpoint was written after {needed}; "
        "the file was cut or replaced since. Put the original back, or start over with --fresh"
    )


def create_files(paths: Sequence[Path], content: bytes = b"") -> None:
    """Create every file with `content`, or none of them.

    Raises:
        StorageError: one exists already, or cannot be written.
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
