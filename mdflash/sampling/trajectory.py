"""One trajectory of a dataset: positions and mapped forces, compressed, appended to in blocks.

    /positions   [F, N, 3] float32 Å
    /forces      [F, N, 3] float32 kcal/mol/Å
    /temperature [F] float32 K
    /replica     [F] int32, only where replicas exchanged temperatures
    /energy      [F] float64 kcal/mol, only where a coarse-grained model made the frames
    /potential   [F] float64 kcal/mol, that of all atoms, where all atoms were simulated
    /force_error [F, N, 3] float32 kcal/mol/Å, standard errors of the forces, only where these are means at held beads
    /halves      [F, N] float32, see `mdflash.sampling.means`, only beside /force_error
    /time        [F] float64 ps
    attributes   mdflash_data = 1, aggregation ("basic" or "optimised"), seed, biased (how often a frame comes says
                 nothing: held in an umbrella window, or chosen), chosen (sampled around frames that a committee chose,
                 or at configurations that were held: no weight undoes that), window (what held it: keys of `biases:`
                 as JSON; /window_reference [N, 3] Å is its structure, if any)

Other columns [F] of real numbers may stand beside these, such as weights that another program computed.

Positions are centered and rounded to 1/1024 Å, forces to 1/128 kcal/mol/Å: far below the noise of mapped forces, and it
halves the file. `time` is written last and reads as NaN where it was never written, so frames that have a
time are complete, whenever the writer was killed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, cast, get_args

import numpy as np
import numpy.typing as npt

from mdflash.core.damage import UNREADABLE
from mdflash.core.files import sync_file
from mdflash.core.types import FloatArray
from mdflash.errors import InputError, StorageError
from mdflash.io.hdf5_space import METADATA_BYTES, claim, create, hdf5_errors, open_to_read, open_to_write, written_rows
from mdflash.io.superblock import admit_readers, trim, unlock
from mdflash.sampling.means import MeanForce
from mdflash.sampling.restraint import Restraint, read_restraint

if TYPE_CHECKING:
    import h5py

VERSION = 1
BLOCK = 256
"""Frames per chunk; the writer adds whole chunks, since a compressed chunk that grows would be written twice."""
POSITION_STEPS, FORCE_STEPS = 1024.0, 128.0
COLUMNS = ("positions", "forces", "temperature", "replica", "energy", "potential", "force_error", "halves", "time")
"""In the order in which they are written: time last, see the module."""
AXES = {"positions": 3, "forces": 3, "force_error": 3, "halves": 2}
"""Of the columns that have more than one."""
REFERENCE = "window_reference"
Float32 = npt.NDArray[np.float32]
Aggregation = Literal["basic", "optimised"]


class Frames(NamedTuple):
    """Consecutive frames: positions, forces and their errors [F, N, 3], halves [F, N], the rest [F].

    What comes after `time` may be None.
    """

    positions: Float32
    forces: Float32
    temperature: Float32
    time: FloatArray
    replica: npt.NDArray[np.int32] | None
    energy: FloatArray | None
    potential: FloatArray | None = None
    force_error: Float32 | None = None
    halves: Float32 | None = None


@dataclass(frozen=True)
class Trajectory:
    """A trajectory file that was looked at; frames are read when asked for.

    Attributes:
        file: its path.
        molecule: name of its molecule.
        n_frames: complete frames.
        n_beads: beads per frame.
        aggregation: how atom forces became bead forces.
        seed: of the simulation that made it.
        biased: whether it was held in a window or chosen, so the frequency of a frame has no meaning; its forces are
            unbiased.
        restraint: what held it; None where nothing did, or the file does not say.
        chosen: whether it was sampled around a frame that was chosen, or at such frames: then it has no weight.
    """

    file: Path
    molecule: str
    n_frames: int
    n_beads: int
    aggregation: Aggregation
    seed: int
    biased: bool
    restraint: Restraint | None = None
    chosen: bool = False

    def read(self, start: int = 0, stop: int | None = None, stride: int = 1) -> Frames:
        """Read frames start:stop:stride.

        Raises:
            InputError: a number that is not finite, a temperature that is not positive; names file and frame.
        """
        part = slice(start, self.n_frames if stop is None else min(stop, self.n_frames), stride)
        with _reading(self.file) as f:
            frames = Frames(
                f["positions"][part],
                f["forces"][part],
                f["temperature"][part],
                f["time"][part],
                *(f[name][part] if name in f else None for name in Frames._fields[4:]),
            )
        for name in ("positions", "forces", "temperature", "energy", "potential", "force_error"):
            values = getattr(frames, name)
            if values is None:
                continue
            bad = ~np.isfinite(values).all(axis=tuple(range(1, values.ndim)))
            if name == "temperature":
                bad |= values <= 0
            if bad.any():
                frame = start + stride * int(np.argmax(bad))
                raise InputError(
                    f"frame {frame}: {name} must be {'positive' if name == 'temperature' else 'finite numbers'}, "
                    f"found {_first_bad(values[int(np.argmax(bad))])}; leave this trajectory out or sample it again",
                    file=self.file,
                )
        return frames

    def column(self, name: str) -> FloatArray:
        """[F] the numbers of a column, whatever they are.

        Raises:
            InputError: there is no such column, or it has fewer rows than there are frames.
        """
        with _reading(self.file) as f:
            if name not in f:
                known = ", ".join(key for key in f if key not in COLUMNS and key != REFERENCE) or "none beside its own"
                raise InputError(f"has no column /{name}; its columns: {known}", file=self.file)
            _check_column(f, self.file, name)
            found: FloatArray = f[name][: self.n_frames].astype(np.float64)
        if len(found) < self.n_frames:
            raise InputError(f"column /{name} has {len(found)} rows for {self.n_frames} frames", file=self.file)
        return found


def _first_bad(values: Float32) -> str:
    flat = np.atleast_1d(values).reshape(len(np.atleast_1d(values)), -1)
    row = int(np.argmax(~np.isfinite(flat).all(axis=1)))
    shown = ", ".join(f"{v:g}" for v in flat[row])
    return f"{shown} (bead {row})" if values.ndim else shown


def open_trajectory(file: Path, molecule: str) -> Trajectory:
    """Look at a trajectory without reading its frames.

    Raises:
        InputError: not such a file, another version, no forces, columns that do not fit each other.
    """
    with _reading(file) as f:
        version = _number(f, file, "mdflash_data", None)
        if version != VERSION:
            raise InputError(
                "is an HDF5 file, but not a trajectory of a dataset (attribute mdflash_data is missing)"
                if version is None
                else f"expected attribute mdflash_data = {VERSION}, found {version}; other versions are not read",
                file=file,
            )
        if "forces" not in f:
            raise InputError(
                "frames without forces: dataset /forces is missing. Force matching needs the mapped force of "
                "every frame, which cannot be recovered from positions; sample again with `mdflash sample`",
                file=file,
            )
        for name in ("positions", "temperature", "time"):
            if name not in f:
                raise InputError(f"dataset /{name} is missing", file=file)
        for name in COLUMNS:
            _check_column(f, file, name)
        shape = f["positions"].shape
        if shape[2] != 3 or f["forces"].shape[1:] != shape[1:]:
            raise InputError(
                f"/positions is {shape} and /forces {f['forces'].shape}; expected [frames, beads, 3] of both", file=file
            )
        for name in ("force_error", "halves"):
            if name in f and f[name].shape[1:] != shape[1 : AXES[name]]:
                raise InputError(f"/{name} is {f[name].shape}, and /positions {shape}; their beads differ", file=file)
        return Trajectory(
            file=file,
            molecule=molecule,
            n_frames=_complete(f, file),
            n_beads=int(shape[1]),
            aggregation=_aggregation(f, file),
            seed=_number(f, file, "seed", 0) or 0,
            biased=bool(_number(f, file, "biased", 0)),
            restraint=_restraint(f, file),
            chosen=bool(_number(f, file, "chosen", 0)),
        )


def _number(f: h5py.File, file: Path, name: str, default: int | None) -> int | None:
    """A whole number among the attributes."""
    found = f.attrs.get(name, default)
    if found is not None and (np.ndim(found) or np.asarray(found).dtype.kind not in "iub"):
        raise InputError(f"attribute {name}: expected a whole number, found {str(found)[:60]}", file=file)
    return None if found is None else int(found)


def _restraint(f: h5py.File, file: Path) -> Restraint | None:
    words = f.attrs.get("window")
    if words is None:
        return None
    if not isinstance(words, str):
        raise InputError(f"attribute window: expected text, found {str(words)[:60]}", file=file)
    reference = None
    if REFERENCE in f:
        shape = getattr(f[REFERENCE], "shape", None)
        if shape != f["positions"].shape[1:] or f[REFERENCE].dtype.kind != "f":
            raise InputError(f"dataset /{REFERENCE}: expected real numbers [beads, 3], found {shape}", file=file)
        reference = f[REFERENCE][:].astype(np.float64)
    return read_restraint(words, reference, file)


def _aggregation(f: h5py.File, file: Path) -> Aggregation:
    found = f.attrs.get("aggregation", "basic")
    if isinstance(found, str) and found in get_args(Aggregation):
        return cast(Aggregation, found)
    known = ", ".join(get_args(Aggregation))
    raise InputError(f"attribute aggregation: expected one of {known}, found {str(found)[:60]}", file=file)


def _check_column(f: h5py.File, file: Path, name: str) -> None:
    import h5py

    if name not in f:
        return
    column, axes = f[name], AXES.get(name, 1)
    shape = column.shape if isinstance(column, h5py.Dataset) else None  # that of an empty dataset is None too
    if shape is None or column.dtype.kind not in "fiu" or len(shape) != axes:
        found = "a group, or nothing" if shape is None else f"{column.dtype} {list(shape)}"
        wanted = ("[frames]", "[frames, beads]", "[frames, beads, 3]")[axes - 1]
        raise InputError(f"dataset /{name}: expected real numbers {wanted}, found {found}", file=file)


def _complete(f: h5py.File, file: Path) -> int:
    """Frames that have a time; every other column was written before it."""
    timed = written_rows(np.isfinite(f["time"][:]))
    for name in COLUMNS:
        if name in f and len(f[name]) < timed:
            raise InputError(f"dataset /{name} has {len(f[name])} rows, but {timed} frames have a time", file=file)
    return timed


def complete_frames(file: h5py.File) -> int:
    """Frames whose every column was written."""
    columns = [file[name] for name in COLUMNS if name in file]
    return written_rows(np.isfinite(file["time"][: min(int(column.shape[0]) for column in columns)]))


@contextmanager
def _reading(file: Path) -> Iterator[h5py.File]:
    """The file, also while it is written or after its writer was killed."""
    if not file.is_file():
        raise InputError("no such file", file=file)
    try:
        opened = open_to_read(file)
    except OSError as error:
        raise InputError(f"cannot be read as HDF5: {error}", file=file) from None
    with opened:
        try:
            yield opened
        except UNREADABLE as error:
            raise InputError(f"is damaged: {error}", file=file) from None


class TrajectoryWriter:
    """Append frames to a trajectory file; a killed writer loses at most what it had not flushed.

    Args:
        file: created, or cut to `frames` and continued.
        n_beads: beads per frame.
        seed, aggregation: noted in the file.
        frames: how many frames to keep of an existing file.
        replica, energy, potential: whether each of these is stored with each frame; an old file keeps its columns.
        means: whether forces are means, with errors and halves, of which each frame is written by itself.
        biased: noted in the file.
        restraint: what held it, if anything did.
        chosen: noted in the file; such a trajectory is biased, whatever `biased` says.

    Raises:
        StorageError: the file has fewer frames than `frames` or another number of beads; it cannot be written.
    """

    def __init__(
        self,
        file: Path,
        n_beads: int,
        *,
        seed: int,
        aggregation: Aggregation,
        frames: int = 0,
        replica: bool = False,
        energy: bool = False,
        potential: bool = False,
        means: bool = False,
        biased: bool = False,
        restraint: Restraint | None = None,
        chosen: bool = False,
    ) -> None:
        self.file, self.n_beads, self._block = file, n_beads, 1 if means else BLOCK
        self._pending: list[tuple[Any, ...]] = []
        if not frames:
            held = biased or chosen or restraint is not None
            attributes: dict[str, Any] = {"seed": seed, "aggregation": aggregation, "biased": held}
            attributes |= {"chosen": True} if chosen else {}
            more = {"replica": replica, "energy": energy, "potential": potential}
            more |= {"force_error": means, "halves": means}
            names = tuple(name for name, wanted in more.items() if wanted)
            create(file, lambda empty: _lay_out(empty, n_beads, attributes, names, restraint))
        with hdf5_errors(file):
            if frames:
                unlock(file)
            self._h5 = open_to_write(file)
            if frames:
                found = complete_frames(self._h5)
                if found < frames or self._h5["positions"].shape[1] != n_beads:
                    beads = self._h5["positions"].shape[1]
                    self._h5.close()
                    raise StorageError(
                        f"{file}: holds {found} frames of {beads} beads, but the checkpoint counted {frames} of "
                        f"{n_beads}; remove the folder to start over"
                    )
            self._names = [name for name in COLUMNS if name in self._h5]
            self._columns = [self._h5[name] for name in self._names]
            claim(self._h5, file, METADATA_BYTES)
            for column in self._columns:
                column.resize(frames, axis=0)
            self._h5.swmr_mode = True
        admit_readers(file, file.stat().st_size)
        self._written = frames

    @property
    def frames(self) -> int:
        """Frames so far, those not yet flushed included."""
        return self._written + len(self._pending)

    def append(
        self, positions: FloatArray, forces: FloatArray, temperature: float, time: float, replica: int | None = None,
        energy: float | None = None, potential: float | None = None, means: MeanForce | None = None,
    ) -> None:  # fmt: skip
        """Add a frame: positions and forces [N, 3] in Å and kcal/mol/Å, temperature in K, time in ps.

        With a replica, and an energy and a potential in kcal/mol, where the writer was made with these. `means` are
        what the forces are the mean of.
        """
        x = np.round((positions - positions.mean(axis=0)) * POSITION_STEPS) / POSITION_STEPS
        f = np.round(forces * FORCE_STEPS) / FORCE_STEPS
        more: dict[str, Any] = {"replica": replica, "energy": energy, "potential": potential}
        if means is not None:
            more |= {"force_error": means.error, "halves": means.halves}
        own = (more[name] for name in self._names if name in more)
        self._pending.append((x, f, temperature, *own, time))
        if (self._written + len(self._pending)) % self._block == 0:
            self._write()

    def flush(self) -> None:
        """Put everything on the disk."""
        self._write()
        sync_file(self.file)

    def _write(self) -> None:
        if not self._pending:
            return
        last = self._written + len(self._pending)
        rows = (last // self._block - self._written // self._block + 1) * self._block
        row = (24 if self._block == BLOCK else 40) * self.n_beads + 24  # uncompressed, so more than enough
        with hdf5_errors(self.file):
            claim(self._h5, self.file, rows * row + METADATA_BYTES)
            for column, values in zip(self._columns, zip(*self._pending, strict=True), strict=True):
                column.resize(last, axis=0)
                column[self._written : last] = np.array(values, column.dtype)
                column.flush()
        self._written, self._pending = last, []

    def close(self) -> None:
        """Write what is left and close."""
        try:
            self._write()
        finally:
            with hdf5_errors(self.file):
                self._h5.close()
            trim(self.file)

    def __enter__(self) -> TrajectoryWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def _lay_out(
    file: h5py.File,
    n_beads: int,
    attributes: Mapping[str, Any],
    more: Collection[str],
    restraint: Restraint | None,
) -> None:
    packed: dict[str, Any] = {"shuffle": True, "compression": "gzip", "compression_opts": 6}
    block = 1 if "halves" in more else BLOCK  # frames that are minutes apart are written one by one
    for name in ("positions", "forces", *(name for name in AXES if name in more)):
        shape = (n_beads, 3)[: AXES[name] - 1]
        file.create_dataset(
            name,
            (0, *shape),
            np.float32,
            maxshape=(None, *shape),
            chunks=(block, *shape),
            fillvalue=np.nan,
            **packed,
        )
    series: dict[str, Any] = {"shape": (0,), "maxshape": (None,), "chunks": (8 * BLOCK,)}
    file.create_dataset("temperature", dtype=np.float32, fillvalue=np.nan, **series, **packed)
    if "replica" in more:
        file.create_dataset("replica", dtype=np.int32, fillvalue=-1, **series, **packed)
    for name in ("energy", "potential"):
        if name in more:
            file.create_dataset(name, dtype=np.float64, fillvalue=np.nan, **series)
    file.create_dataset("time", dtype=np.float64, fillvalue=np.nan, **series)
    file.attrs["mdflash_data"] = VERSION
    for name, value in attributes.items():
        file.attrs[name] = value
    if restraint is not None:
        file.attrs["window"] = restraint.words
        if restraint.reference is not None:
            file.create_dataset(REFERENCE, data=restraint.reference)
