"""One HDF5 file for all replicas of a system: H5MD 1.1 and MDTraj HDF5 at once, readable while written by any reader.

    /particles/trajectory/position/value [F, R*N, 3] float32 nm   = /coordinates
    /particles/trajectory/position/time  [F] float64 ps           = /time
    /particles/trajectory/position/step  [F] int64
    /particles/trajectory/box/edges/value [F, 3] nm               = /cell_lengths   (periodic runs)
    /topology                            R copies of the molecule, MDTraj's JSON
    /parameters/replica_ids              [R] global replica numbers

Replica r owns the rows r*N:(r+1)*N. The equal signs are hard links: H5MD (P. de Buyl, P. H. Colberg and
F. Höfling, Comput. Phys. Commun. 185, 1546 (2014)) names the left side, MDTraj the right.

Frames are written in the order positions, box, time, step, and a step that was never written reads as -1: so
the frames that have a step are complete, whatever moment the process was killed at.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mdflash.core.damage import UNREADABLE
from mdflash.core.damage import reading as damaged
from mdflash.core.files import refuse_existing, sync_file
from mdflash.core.types import Box
from mdflash.errors import InputError, StorageError
from mdflash.io.formats.base import (
    Frames,
    FrameWriter,
    ManyReplicas,
    Target,
    TrajectoryFormat,
    as_double,
    too_few_frames,
)
from mdflash.io.hdf5_space import (
    METADATA_BYTES,
    claim,
    create,
    hdf5_errors,
    open_file,
    open_to_read,
    open_to_write,
    written_rows,
)
from mdflash.io.superblock import admit_readers, refuse_cut, trim, unlock
from mdflash.io.topology import topology_json
from mdflash.units import NM_PER_ANGSTROM

if TYPE_CHECKING:
    import h5py

_SUFFIX = ".h5"
_POSITION = "particles/trajectory/position"
_ENTRIES_PER_CHUNK = 1024  # of step and time
_BOXED = {True: "in a box", False: "without a box"}


def _lay_out(f: h5py.File, target: Target) -> None:
    """All datasets, without frames; they cannot be added once readers may look on (SWMR)."""
    beads = len(target.replica_ids) * target.system.n_beads
    h5md = f.create_group("h5md")
    h5md.attrs["version"] = np.array([1, 1], np.int32)
    h5md.create_group("author").attrs["name"] = "mdflash"
    creator = h5md.create_group("creator")
    creator.attrs["name"], creator.attrs["version"] = "mdflash", "1"

    position = f.create_group(_POSITION)
    value = position.create_dataset(
        "value",
        (0, beads, 3),
        np.float32,
        maxshape=(None, beads, 3),
        chunks=(target.block, target.system.n_beads, 3),
        fillvalue=np.nan,
    )
    series = {"maxshape": (None,), "chunks": (_ENTRIES_PER_CHUNK,)}
    step = position.create_dataset("step", (0,), np.int64, fillvalue=-1, **series)
    time = position.create_dataset("time", (0,), np.float64, fillvalue=np.nan, **series)
    # Two vocabularies: H5MD's unit is text, MDTraj's units are fixed-length bytes.
    value.attrs["unit"], time.attrs["unit"] = "nm", "ps"
    value.attrs["units"], time.attrs["units"] = np.bytes_("nanometers"), np.bytes_("picoseconds")
    f["coordinates"], f["time"] = value, time

    box = f["particles/trajectory"].create_group("box")
    box.attrs["dimension"] = np.int32(3)
    box.attrs["boundary"] = np.array(["none" if target.box is None else "periodic"] * 3, "S8")
    if target.box is not None:
        cell = {"maxshape": (None, 3), "chunks": (_ENTRIES_PER_CHUNK, 3), "fillvalue": np.nan}
        edges = box.create_group("edges")
        lengths = edges.create_dataset("value", (0, 3), np.float32, **cell)
        edges["step"], edges["time"] = step, time
        angles = f.create_dataset("cell_angles", (0, 3), np.float32, **cell)
        lengths.attrs["unit"], lengths.attrs["units"] = "nm", np.bytes_("nanometers")
        angles.attrs["units"] = np.bytes_("degrees")
        f["cell_lengths"] = lengths

    f.create_dataset("topology", data=np.array([topology_json(target.system, len(target.replica_ids))]))
    f.create_dataset("parameters/replica_ids", data=np.array(target.replica_ids, np.int64))
    for name, text in {"conventions": "Pande", "conventionVersion": "1.1", "program": "mdflash"}.items():
        f.attrs[name] = np.bytes_(text)


def _short(ids: Sequence[int]) -> str:
    return ", ".join(map(str, ids)) if len(ids) < 6 else f"{ids[0]}, {ids[1]}, ..., {ids[-1]}"


class Hdf5Writer(FrameWriter):
    """Writes `<system>.h5`; see the module for the layout. Other programs may read it meanwhile."""

    scale = NM_PER_ANGSTROM

    def __init__(self, target: Target, frames: int) -> None:
        super().__init__(target, frames)
        self.path = target.system_file(_SUFFIX)
        with hdf5_errors(self.path):
            self._file = open_to_write(self.path)
            self._file.swmr_mode = True
            position = self._file[_POSITION]
            self._value, self._time, self._step = position["value"], position["time"], position["step"]
            self._edges = self._file.get("cell_lengths")
            self._angles = self._file.get("cell_angles")
        admit_readers(self.path, self.path.stat().st_size)

    @classmethod
    def create(cls, target: Target) -> Hdf5Writer:
        path = target.system_file(_SUFFIX)
        refuse_existing(path)
        create(path, partial(_lay_out, target=target))
        return cls(target, 0)

    @classmethod
    def resume(cls, target: Target, frames: int) -> Hdf5Writer:
        path = target.system_file(_SUFFIX)
        unlock(path)
        with reading(path) as f:
            found = complete_frames(f)
            beads = f[_POSITION]["value"].shape[1]
            ids = tuple(f["parameters/replica_ids"][()].tolist())
            periodic = "cell_lengths" in f
        expected = len(target.replica_ids) * target.system.n_beads
        if beads != expected or ids != target.replica_ids or periodic != (target.box is not None):
            raise StorageError(
                f"{path}: holds {beads} beads of the replicas {_short(ids)} {_BOXED[periodic]}, but this run "
                f"has {expected} of {_short(target.replica_ids)} {_BOXED[target.box is not None]}; "
                "start over with --fresh, or choose another folder"
            )
        if found < frames:
            raise too_few_frames(path, found, frames)
        cut(path, frames)
        return cls(target, frames)

    def _write(self, positions: npt.NDArray[np.float32], steps: Sequence[int], times: Sequence[float]) -> None:
        first, last = self.frames, self.frames + len(steps)
        self._reserve(last)
        with hdf5_errors(self.path):
            columns: list[tuple[h5py.Dataset, Any]] = [(self._value, positions.reshape(len(steps), -1, 3))]
            if self.target.box is not None:
                columns += [(self._edges, np.array(self.target.box) * self.scale), (self._angles, 90.0)]
            for dataset, rows in (*columns, (self._time, times), (self._step, steps)):
                dataset.resize(last, axis=0)
                dataset[first:last] = rows
                dataset.flush()

    def _sync(self) -> None:
        sync_file(self.path)

    def _reserve(self, frames: int) -> None:
        """Claim the disk space of the frames up to `frames`."""
        block, rows = self.target.block, self._value.shape[1]
        new = -(-frames // block) - -(-self.frames // block)
        need = new * block * rows * 12 + METADATA_BYTES + 64 * len(self.target.replica_ids)
        claim(self._file, self.path, need)

    def close(self) -> None:
        if self._file:
            try:
                super().close()
            finally:
                with hdf5_errors(self.path):
                    self._file.close()
                trim(self.path)


def complete_frames(file: h5py.File) -> int:
    """Frames whose every part was written; see the module."""
    columns = [file[_POSITION][name] for name in ("value", "time", "step")]
    columns += [file[name] for name in ("cell_lengths", "cell_angles") if name in file]
    shortest = min(int(column.shape[0]) for column in columns)
    return written_rows(file[_POSITION]["step"][:shortest] >= 0)


@contextmanager
def reading(path: Path) -> Iterator[h5py.File]:
    """The file, for reading: finished, being written, or left by a killed process.

    Raises:
        StorageError: not readable, or not such a file.
    """
    if not path.is_file():
        raise StorageError(f"{path}: no such file")
    try:
        file = open_to_read(path)
    except OSError as error:
        raise StorageError(f"{path}: cannot be read ({error}); try mdflash repair {path}") from error
    with file:
        try:
            if _POSITION not in file or "parameters/replica_ids" not in file:
                raise StorageError(f"{path}: is an HDF5 file, but not a trajectory that mdflash wrote")
            yield file
        except UNREADABLE as error:
            reason = " ".join(str(error).split())
            raise StorageError(f"{path}: is damaged ({reason}); restore it from a copy") from error


def cut(path: Path, frames: int) -> bool:
    """Shorten every dataset of an unlocked file to `frames`; returns whether there was anything to cut."""
    names = [f"{_POSITION}/{name}" for name in ("step", "time", "value")] + ["cell_lengths", "cell_angles"]
    with hdf5_errors(path):
        with open_file(path, "r") as f, damaged(path):
            long = [name for name in names if name in f and f[name].shape[0] != frames]
        if long:
            with open_to_write(path) as f, damaged(path):
                for name in long:
                    f[name].resize(frames, axis=0)
    return bool(long)


def is_ours(path: Path) -> bool:
    """Whether `path` is an HDF5 trajectory that mdflash wrote."""
    try:
        refuse_cut(path)
        with open_file(path, "r", swmr=True) as f:
            return bool(f["h5md/creator"].attrs["name"] == "mdflash")
    except StorageError:
        return False
    except UNREADABLE:
        return False


def repair_hdf5(path: Path) -> tuple[int, str]:
    """Unlock a file whose writer was killed and drop an incomplete frame.

    Returns:
        (frames kept, what was done, or "").

    Raises:
        StorageError: not such a file, or not writable.
    """
    done = ["unlocked it"] if unlock(path) else []
    with reading(path) as f:
        frames = complete_frames(f)
    if cut(path, frames):
        done.append("dropped an incomplete frame at the end")
    return frames, "; ".join(done)


def replica_ids(path: Path) -> Sequence[int]:
    """The global numbers of the replicas in the file.

    Raises:
        StorageError: as `reading`.
    """
    with reading(path) as f:
        found = np.asarray(f["parameters/replica_ids"][()])
        if found.ndim != 1 or found.dtype.kind not in "iu" or not len(found):
            raise ValueError(f"replica_ids are {found.dtype} {list(found.shape)}")
    return [int(number) for number in found]


def read_hdf5(path: Path, replica: int | None, chunk: int, first: int, last: int | None) -> Iterator[Frames]:
    """The frames of one replica; see `mdflash.io.formats.base.Reader`."""
    with reading(path) as f:
        ids = f["parameters/replica_ids"][()].tolist()
        if replica is not None and replica not in ids:
            raise InputError(f"does not hold replica {replica}; it has {ids}", file=path)
        row = 0 if replica is None else ids.index(replica)
        position = f[_POSITION]
        n = position["value"].shape[1] // len(ids)
        box: Box | None = None
        total = complete_frames(f)
        if "cell_lengths" in f and total:
            a, b, c = (as_double(f["cell_lengths"][0]) / NM_PER_ANGSTROM).tolist()
            box = (a, b, c)
        end = total if last is None else min(last, total)
        for start in range(first, end, chunk):
            rows = slice(start, min(start + chunk, end))
            yield Frames(
                as_double(position["value"][rows, row * n : (row + 1) * n]) / NM_PER_ANGSTROM,
                position["step"][rows],
                position["time"][rows],
                box,
            )


def hdf5_times(path: Path) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Steps and times (ps) [F] of the complete frames.

    Raises:
        StorageError: as `reading`.
    """
    with reading(path) as f:
        position, total = f[_POSITION], complete_frames(f)
        return position["step"][:total], position["time"][:total]


FORMAT = TrajectoryFormat(
    name="hdf5",
    suffix=_SUFFIX,
    writer=Hdf5Writer,
    read=read_hdf5,
    times=hdf5_times,
    repair=repair_hdf5,
    bytes_per_bead=12,
    exact_to=1e-5,
    many=ManyReplicas(replica_ids, is_ours),
)
