"""What describes a trajectory format, and what every writer does: collect frames, write blocks, resume at a frame."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, TypeAlias

import numpy as np
import numpy.typing as npt

from mdflash.core.system import System
from mdflash.core.types import Box
from mdflash.errors import InputError, StorageError


@dataclass(frozen=True)
class Frames:
    """Frames of one replica.

    Attributes:
        positions: [F, N, 3] Å, as exact as the file.
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


@dataclass(frozen=True)
class Source:
    """A trajectory file of a run folder, and one replica in it."""

    path: Path
    system: str
    replica: int

    @property
    def topology(self) -> Path:
        """The PDB file of the system.

        Raises:
            InputError: the run has none.
        """
        run = self.path.parent.parent
        for path in (run / f"topology_{self.system}.pdb", run / "topology.pdb"):
            if path.is_file():
                return path
        raise InputError("has no topology.pdb, which this export needs; choose another format", file=run)


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

    def system_file(self, suffix: str) -> Path:
        """The file of all replicas, for formats that hold many."""
        return self.folder / f"{self.system.name}{suffix}"

    def replica_files(self, suffix: str) -> list[Path]:
        """The file of each replica, for formats that hold one."""
        return [self.folder / f"{self.system.name}_{replica:04d}{suffix}" for replica in self.replica_ids]


class FrameWriter(ABC):
    """Writes the frames of all replicas of one system.

    Frames are kept in memory until a block is full or `flush` is called; what was flushed survives a kill of
    the process, and what was flushed with `sync=True` a power cut. Make one with `create` or `resume`.

    Attributes:
        target: what is written.
        frames: frames in the files so far, that is, flushed.
        scale: the file's length unit per Å.
    """

    scale: ClassVar[float]

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
            StorageError: a file already exists, or cannot be written; nothing is left behind.
        """

    @classmethod
    @abstractmethod
    def resume(cls, target: Target, frames: int) -> FrameWriter:
        """Repair the files of a killed run, cut them to exactly `frames` frames and continue behind them.

        Raises:
            StorageError: a file is missing, holds fewer complete frames, or belongs to another system.
        """

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
        with np.errstate(over="ignore"):  # of a replica that has become unstable, of which the guard tells
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


Reader: TypeAlias = Callable[[Path, int | None, int, int, int | None], Iterator[Frames]]
"""(path, replica, chunk, first, last): the complete frames from first up to, not including, last, `chunk` at a time.

`replica` is a global number, or None for the first; a file of one replica ignores it. Raises StorageError for a file
that cannot be read, InputError for a replica that it does not hold.
"""
Times: TypeAlias = Callable[[Path], tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]]
"""(path): steps and times (ps) [F] of the complete frames, without their positions. Raises StorageError."""
Repair: TypeAlias = Callable[[Path], tuple[int, str]]
"""(path): drops an incomplete frame and returns (frames kept, what was done). "" is a file that was healthy, and was
not written to. Raises StorageError for a file that is beyond repair or of another kind."""
Export: TypeAlias = Callable[[BinaryIO, Iterator[Frames], Source], None]
"""(file, frames, source): writes all frames to an empty file; source is one of the replicas that they are of."""


@dataclass(frozen=True)
class ManyReplicas:
    """What a format adds whose file holds all replicas of a system.

    Attributes:
        replica_ids: (path) -> global numbers of the replicas in the file; raises StorageError.
        is_ours: (path) -> whether mdflash wrote the file; raises nothing.
    """

    replica_ids: Callable[[Path], Sequence[int]]
    is_ours: Callable[[Path], bool]


@dataclass(frozen=True)
class TrajectoryFormat:
    """Everything there is to know of a file format; `mdflash.io.formats` lists them.

    Attributes:
        name: in system.yaml and on the command line.
        suffix: suffix of its files, with the dot.
        writer: creates and resumes its files.
        read, times, repair: see `Reader`, `Times` and `Repair`.
        bytes_per_bead: about how much a frame takes on the disk.
        exact_to: Å by which a coordinate of up to 100 Å may change when it is stored.
        float32_times: whether times are so stored, and equal for near frames of a long run.
        many: given where a file NAME<suffix> holds all replicas of a system; None: a file NAME_0000<suffix> for each.
    """

    name: str
    suffix: str
    writer: type[FrameWriter]
    read: Reader
    times: Times
    repair: Repair
    bytes_per_bead: float
    exact_to: float
    float32_times: bool = False
    many: ManyReplicas | None = None

    @property
    def holds(self) -> str:
        """What one file is of: "system" or "replica"."""
        return "system" if self.many else "replica"

    def file(self, target: Target, replica: int) -> Path:
        """The file of one of the target's replicas."""
        if self.many:
            return target.system_file(self.suffix)
        return target.replica_files(self.suffix)[target.replica_ids.index(replica)]

    def sources(self, path: Path) -> list[Source]:
        """Every replica in a file of this suffix; none where its name is not one that mdflash gives.

        Raises:
            StorageError: it cannot be read.
        """
        if self.many:
            return [Source(path, path.stem, int(replica)) for replica in self.many.replica_ids(path)]
        named = self._named(path)
        return [Source(path, named[1], int(named[2]))] if named else []

    def owns(self, path: Path, systems: Collection[str]) -> bool:
        """Whether a run of these systems gives this name to a file in its trajectory folder."""
        if self.many is not None:
            return path.suffix == self.suffix and path.stem in systems
        named = self._named(path)
        return named is not None and named[1] in systems

    def _named(self, path: Path) -> re.Match[str] | None:
        return re.fullmatch(rf"(.+)_(\d{{4,}}){re.escape(self.suffix)}", path.name)


def as_double(numbers: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Numbers of a file as float64. A signaling NaN, as a damaged file may hold, is a NaN without a warning: whoever
    reads the frame tells the user of it."""
    with np.errstate(invalid="ignore"):
        return numbers.astype(np.float64)


def too_few_frames(path: Path, found: int, needed: int) -> StorageError:
    """The error of a file that lost frames which the checkpoint counts on."""
    return StorageError(
        f"{path}: holds {found} complete frames, but the checkpoint was written after {needed}; "
        "the file was cut or replaced since. Put the original back, or start over with --fresh"
    )
