"""Formats whose file is the frames of one replica and nothing else: what their writers, repair and export share."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, ClassVar

import numpy as np
import numpy.typing as npt

from mdflash.core.files import append_at, create_files, size_text, storage_errors, sync_file, truncate
from mdflash.core.types import Box
from mdflash.errors import StorageError
from mdflash.io.formats.base import Frames, FrameWriter, Source, Target, too_few_frames

if TYPE_CHECKING:
    from typing_extensions import Self


@dataclass(frozen=True)
class Scan:
    """Where the frames of a file are.

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


class StreamWriter(FrameWriter):
    """Writes `<system>_<replica id><suffix>` for every replica, given how frames are encoded and found again."""

    suffix: ClassVar[str]

    @staticmethod
    @abstractmethod
    def encode(
        positions: npt.NDArray[np.float32], steps: Sequence[int], times: Sequence[float], box: Box | None
    ) -> bytes:
        """Frames as bytes: positions [F, N, 3] in the file's unit, steps [F], times [F] in ps, the box in Å."""

    @staticmethod
    @abstractmethod
    def scan(path: Path) -> Scan:
        """Find the complete frames of a file.

        Raises:
            StorageError: not readable, or it does not start like a file of this format.
        """

    def __init__(self, target: Target, frames: int, sizes: Sequence[int]) -> None:
        super().__init__(target, frames)
        self.paths = target.replica_files(self.suffix)
        self._sizes = list(sizes)

    @classmethod
    def create(cls, target: Target) -> Self:
        paths = target.replica_files(cls.suffix)
        create_files(paths)
        return cls(target, 0, [0] * len(paths))

    @classmethod
    def resume(cls, target: Target, frames: int) -> Self:
        paths = target.replica_files(cls.suffix)
        scans = [cls.scan(path) for path in paths]
        for path, scan in zip(paths, scans, strict=True):
            if scan.frames < frames:
                raise too_few_frames(path, scan.frames, frames)
            if scan.beads not in (0, target.system.n_beads):
                raise StorageError(
                    f"{path}: has {scan.beads} beads per frame, but system '{target.system.name}' has "
                    f"{target.system.n_beads}; start over with --fresh, or choose another folder"
                )
        sizes = [int(scan.offsets[frames]) for scan in scans]
        for path, size in zip(paths, sizes, strict=True):
            truncate(path, size)
        return cls(target, frames, sizes)

    def _write(self, positions: npt.NDArray[np.float32], steps: Sequence[int], times: Sequence[float]) -> None:
        sizes = []
        for r, path in enumerate(self.paths):
            with storage_errors(path):
                data = self.encode(positions[:, r], steps, times, self.target.box)
            append_at(path, self._sizes[r], data)
            sizes.append(self._sizes[r] + len(data))
        self._sizes = sizes  # only now: a block that failed halfway is overwritten, not repeated

    def _sync(self) -> None:
        for path in self.paths:
            sync_file(path)

    @classmethod
    def repair(cls, path: Path) -> tuple[int, str]:
        """Drop an incomplete last frame; see `mdflash.io.formats.base.Repair`."""
        scan = cls.scan(path)
        if scan.torn:
            truncate(path, int(scan.offsets[-1]))
        return scan.frames, dropped(scan.torn)

    @classmethod
    def export(cls, file: BinaryIO, parts: Iterator[Frames], source: Source) -> None:
        """Write frames; see `mdflash.io.formats.base.Export`."""
        for part in parts:
            positions = (part.positions * cls.scale).astype(np.float32)
            file.write(cls.encode(positions, part.steps.tolist(), part.times.tolist(), part.box))


def dropped(size: int, record: str = "frame") -> str:
    """What a repair did that cut `size` bytes of an incomplete record, as the user reads it; "" for none."""
    return f"dropped {size_text(size)} of an incomplete {record} at the end" if size else ""
