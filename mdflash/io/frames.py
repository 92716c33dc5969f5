"""Frames of one molecule from whatever file holds them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mdflash.core.damage import UNREADABLE
from mdflash.core.files import storage_errors
from mdflash.core.hdf5_check import check_if_hdf5
from mdflash.core.system import System
from mdflash.core.types import FloatArray
from mdflash.errors import InputError
from mdflash.io.formats import format_of
from mdflash.io.formats.base import Source
from mdflash.io.read import read_frames
from mdflash.io.topology import mdtraj_topology
from mdflash.units import NM_PER_ANGSTROM


def load_frames(file: Path, system: System) -> FloatArray:
    """[F, N, 3] in Å from a .npy file (Å) or anything MDTraj reads (XTC, DCD, PDB, HDF5, ...).

    Raises:
        InputError: not readable, another number of beads, no frames, several replicas, or a coordinate that is not
            finite.
    """
    if not file.is_file():
        raise InputError("no such file", file=file)
    if file.suffix == ".npy":
        frames = _from_npy(file)
    elif replicas := own_replicas(file):
        if len(replicas) > 1:
            raise InputError(
                f"holds {len(replicas)} replicas, {replicas[0].replica} to {replicas[-1].replica}; write one of them "
                f"into a file: mdflash export RUN --replica {replicas[0].replica} --out FILE.xtc",
                file=file,
            )
        frames = read_frames(file).positions
    elif file.suffix == ".xtc":  # as MDTraj has it, from a reader that damaged frames do not take down
        frames = read_frames(file).positions
    else:
        frames = _from_trajectory(file, system)
    return check_frames(frames, system, file)


def own_replicas(file: Path) -> list[Source]:
    """The replicas in a file where mdflash lays many side by side; none for any other file."""
    format = format_of(file)
    return format.sources(file) if format is not None and format.many and format.many.is_ours(file) else []


def check_frames(frames: FloatArray, system: System, file: Path) -> FloatArray:
    """`frames` of a file as [F, N, 3] Å.

    Raises:
        InputError: another number of beads, no frames, or a coordinate that is not finite.
    """
    if frames.ndim == 2:
        frames = frames[None]
    if frames.ndim != 3 or frames.shape[1:] != (system.n_beads, 3):
        raise InputError(
            f"holds an array {list(frames.shape)}; system '{system.name}' needs [frames, {system.n_beads}, 3] in Å",
            file=file,
        )
    if not len(frames):
        raise InputError("holds no frames", file=file)
    bad = np.argwhere(~np.isfinite(frames).all(axis=2))
    if len(bad):
        frame, bead = map(int, bad[0])
        raise InputError(
            f"frame {frame}: the position of {system.bead_label(bead)} is {frames[frame, bead].tolist()}; "
            "every coordinate must be a finite number",
            file=file,
        )
    return np.ascontiguousarray(frames)


def _from_npy(file: Path) -> FloatArray:
    try:
        array = np.load(file, "r", allow_pickle=False)  # mapped: a shape that the file has no room for is refused
        return np.array(array, np.float64)
    except UNREADABLE as error:
        why = "it holds Python objects, which are never read" if "allow_pickle" in str(error) else error
        raise InputError(f"cannot be read as a .npy array of numbers: {why}", file=file) from None


def _from_trajectory(file: Path, system: System) -> FloatArray:
    import mdtraj

    with storage_errors(file):
        check_if_hdf5(file)
    own_topology = file.suffix in (".pdb", ".h5", ".gro", ".cif", ".pdb.gz")
    try:
        trajectory = mdtraj.load(str(file), **({} if own_topology else {"top": mdtraj_topology(system)}))
    except Exception as error:  # MDTraj raises whatever its many readers meet
        raise InputError(f"MDTraj cannot read it: {error}", file=file) from None
    return np.asarray(trajectory.xyz, np.float64) / NM_PER_ANGSTROM
