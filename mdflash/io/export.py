"""Copy one replica, or one temperature, of a run into a file that other programs read: XTC, DCD or PDB."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np
import numpy.typing as npt

from mdflash.core.files import storage_errors
from mdflash.errors import InputError
from mdflash.io.dcd import STEP_MODULUS, DcdHeader, encode_dcd
from mdflash.io.read import Frames, iter_frames
from mdflash.io.topology import cryst1, within_columns
from mdflash.io.writer import Box
from mdflash.io.xtc import encode_xtc
from mdflash.units import NM_PER_ANGSTROM

ExportFormat = Literal["xtc", "dcd", "pdb"]
_REPLICA_FILE = re.compile(r"(.+)_(\d{4,})\.(xtc|dcd)")
_MOST_EXACT_FIRST = {".h5": 0, ".dcd": 1, ".xtc": 2}


@dataclass(frozen=True)
class Source:
    """A trajectory file of a run folder, and one replica in it."""

    path: Path
    system: str
    replica: int


def trajectories(run: Path) -> list[Source]:
    """Every replica of every trajectory file of a run, the most exact format first.

    Raises:
        StorageError: an HDF5 file cannot be read.
    """
    found = []
    for path in sorted(run.glob("trajectory/*")):
        if match := _REPLICA_FILE.fullmatch(path.name):
            found.append(Source(path, match[1], int(match[2])))
        elif path.suffix == ".h5":
            from mdflash.io.hdf5 import reading

            with reading(path) as f:
                found += [Source(path, path.stem, int(i)) for i in f["parameters/replica_ids"][()]]
    return sorted(found, key=lambda s: (_MOST_EXACT_FIRST[s.path.suffix], s.system, s.replica))


def find_replica(run: Path, replica: int, system: str | None = None) -> Source:
    """The file to read a replica from.

    Raises:
        InputError: no run folder, no trajectory, no such system or replica; the text says what there is.
    """
    if not run.is_dir():
        raise InputError("no such run folder", file=run)
    sources = trajectories(run)
    if not sources:
        raise InputError("has no trajectory: trajectory/ holds no .h5, .xtc or .dcd file", file=run)
    systems = sorted({s.system for s in sources})
    if system is not None and system not in systems:
        raise InputError(f"has no system '{system}'; its systems are {', '.join(systems)}", file=run)
    sources = [s for s in sources if system in (None, s.system)]
    for source in sources:
        if source.replica == replica:
            return source
    numbers = sorted({s.replica for s in sources})
    of = f" of system '{system}'" if system else ""
    raise InputError(
        f"has no replica {replica}{of}; it has {len(numbers)} from {numbers[0]} to {numbers[-1]}", file=run
    )


def export(source: Source, format: ExportFormat, out: Path, stride: int = 1) -> int:
    """Write every `stride`-th frame of a replica to `out`; returns the number of frames.

    `out` appears when it is complete: an export that fails leaves nothing behind, and an older file in place.

    Raises:
        InputError: no frames, or (PDB) no topology.
        StorageError: `out` cannot be written.
    """
    _check_stride(stride)
    return write_frames(iter_frames(source.path, source.replica, stride), source, format, out)


def _check_stride(stride: int) -> None:
    if stride < 1:
        raise InputError(f"--stride must be 1 or more, found {stride}")


def write_frames(parts: Iterator[Frames], source: Source, format: ExportFormat, out: Path) -> int:
    """Write frames to `out` as `export` does; `source` is one of the replicas they came from."""
    write = {"xtc": _write_xtc, "dcd": _write_dcd, "pdb": _write_pdb}[format]
    partial = out.with_name(out.name + ".tmp")
    frames = 0

    def counted() -> Iterator[Frames]:
        nonlocal frames
        for part in parts:
            frames += len(part)
            yield part

    try:
        with storage_errors(out), partial.open("wb") as file:
            write(file, counted(), source)
        if frames == 0:
            raise InputError("holds no complete frame yet", file=source.path)
        with storage_errors(out):
            os.replace(partial, out)
    finally:
        partial.unlink(missing_ok=True)
    return frames


def _write_xtc(file: BinaryIO, parts: Iterator[Frames], source: Source) -> None:
    for part in parts:
        positions = (part.positions * NM_PER_ANGSTROM).astype(np.float32)
        file.write(encode_xtc(positions, part.steps.tolist(), part.times.tolist(), part.box))


def _write_dcd(file: BinaryIO, parts: Iterator[Frames], source: Source) -> None:
    header: DcdHeader | None = None
    steps: list[int] = []
    for part in parts:
        if header is None:
            last = len(part) - 1
            header = DcdHeader(
                beads=part.positions.shape[1],
                boxed=part.box is not None,
                first_step=int(part.steps[0]) % STEP_MODULUS,
                interval=int(part.steps[1] - part.steps[0]) % STEP_MODULUS if last else 1,
                timestep=float(part.times[last] / part.steps[last]) if part.steps[last] else 0.0,
            )
            file.write(header.pack())
        steps += part.steps.tolist()
        file.write(encode_dcd(header, part.positions.astype(np.float32), part.box))
    if header is not None:
        file.seek(0)
        file.write(replace(header, frames=len(steps)).pack())


def _write_pdb(file: BinaryIO, parts: Iterator[Frames], source: Source) -> None:
    template = _PdbTemplate(_topology_file(source))
    model = 0
    for part in parts:
        for positions in part.positions:
            model += 1
            file.write(template.model(model, positions, part.box).encode())
    file.write(template.end().encode())


def _topology_file(source: Source) -> Path:
    run = source.path.parent.parent
    for path in (run / f"topology_{source.system}.pdb", run / "topology.pdb"):
        if path.is_file():
            return path
    raise InputError("has no topology.pdb, which a PDB export needs; export to xtc or dcd instead", file=run)


class _PdbTemplate:
    """A run's topology file, to be filled with other coordinates."""

    def __init__(self, path: Path) -> None:
        with storage_errors(path):
            lines = path.read_text().splitlines()
        self.path = path
        self._body = [line for line in lines if line.startswith(("ATOM", "HETATM", "TER"))]
        self._bonds = [line for line in lines if line.startswith("CONECT")]
        self._beads = sum(not line.startswith("TER") for line in self._body)

    def model(self, number: int, positions: npt.NDArray[np.float64], box: Box | None) -> str:
        """One MODEL record; a frame that drifted out of PDB's columns is moved to the origin."""
        if len(positions) != self._beads:
            raise InputError(f"has {self._beads} beads, but the trajectory has {len(positions)}", file=self.path)
        lines = []
        if box is not None and number == 1:
            lines.append(cryst1(box))
        lines.append(f"MODEL     {number % 10_000:4d}")
        rows = iter(within_columns(positions, str(self.path)))
        for line in self._body:
            if line.startswith("TER"):
                lines.append(line)
            else:
                x, y, z = next(rows)
                lines.append(f"{line[:30]}{x:8.3f}{y:8.3f}{z:8.3f}{line[54:]}")
        return "\n".join([*lines, "ENDMDL", ""])

    def end(self) -> str:
        """What follows the last model."""
        return "\n".join([*self._bonds, "END", ""])
