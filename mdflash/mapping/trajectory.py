"""Map all-atom trajectories to beads, chunk by chunk."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mdflash.core.files import replacing, storage_errors
from mdflash.core.hdf5_check import check_if_hdf5
from mdflash.core.types import FloatArray, IntArray
from mdflash.errors import InputError
from mdflash.mapping.beads import BeadMap

_CHUNK = 500  # frames


class MappedFrames(NamedTuple):
    """Consecutive frames: bead positions [F, N, 3] nm, times [F] ps as the file has them, boxes [F, 3, 3] or None."""

    positions: FloatArray
    times: FloatArray
    boxes: FloatArray | None


def mapped_frames(trajectory: Path, beads: BeadMap, stride: int = 1) -> Iterator[MappedFrames]:
    """The bead positions of an all-atom trajectory, part by part; molecules that its boxes split are made whole.

    Args:
        trajectory: anything that MDTraj reads (XTC, DCD, TRR, HDF5, ...), with the atoms of the structure.
        beads: from `bead_map` of that structure.
        stride: every how many frames.

    Raises:
        InputError: the trajectory cannot be read, has other atoms, or a coordinate that is not finite.
    """
    import mdtraj

    if not trajectory.is_file():
        raise InputError("no such file; expected an all-atom trajectory", file=trajectory)
    with storage_errors(trajectory):
        check_if_hdf5(trajectory)
    frames = 0
    topology = _atoms(beads.weights.shape[1])
    chunks = mdtraj.iterload(str(trajectory), chunk=_CHUNK, top=topology, stride=stride)
    while True:
        try:
            chunk = next(chunks, None)
        except (OSError, ValueError, TypeError, RuntimeError) as error:
            reason = str(error).strip().split("\n")[0]
            atoms = re.search(r"supplied\s*\(\d+, (\d+), 3\)", reason)  # MDTraj speaks of the shape of an array
            if atoms is not None:
                n, hint = int(atoms[1]), ""
                if n == beads.system.n_beads:
                    hint = f"; {n} is the number of its beads, and frames of beads need no structure of atoms"
                raise InputError(
                    f"holds frames of {n} atoms, and the structure has {topology.n_atoms}{hint}", file=trajectory
                ) from None
            raise InputError(
                f"cannot be read with the {topology.n_atoms} atoms of the structure: {reason}", file=trajectory
            ) from None
        if chunk is None:
            return
        positions = beads.positions(np.asarray(chunk.xyz, np.float64))
        bad = np.argwhere(~np.isfinite(positions).all(axis=(1, 2)))
        if len(bad):
            raise InputError(
                f"frame {stride * (frames + int(bad[0, 0]))} holds a coordinate that is not a finite number",
                file=trajectory,
            )
        box = chunk.unitcell_vectors
        if box is not None and beads.atoms is not None:
            _join(positions, beads.system.bonds, np.asarray(box, np.float64))
        yield MappedFrames(positions, np.asarray(chunk.time, np.float64), box)
        frames += len(positions)


def map_trajectory(trajectory: Path, beads: BeadMap, out: Path) -> int:
    """Write the bead positions of an all-atom trajectory as XTC; molecules that its boxes split are made whole.

    Args:
        trajectory: anything that MDTraj reads (XTC, DCD, TRR, HDF5, ...), with the atoms of the structure.
        beads: from `bead_map` of that structure.
        out: the XTC file; replaced if it exists.

    Returns:
        The number of frames.

    Raises:
        InputError: the trajectory cannot be read, has other atoms, or a coordinate that is not finite.
        StorageError: `out` cannot be written.
    """
    from mdtraj.formats import XTCTrajectoryFile

    parts = mapped_frames(trajectory, beads)
    first = next(parts, None)  # a file that cannot be read is found before anything is written
    frames = 0
    with replacing(out) as partial, XTCTrajectoryFile(str(partial), "w") as file:
        for part in () if first is None else itertools.chain([first], parts):
            steps = np.arange(frames, frames + len(part.positions), dtype=np.int32)
            file.write(part.positions.astype(np.float32), time=part.times, step=steps, box=part.boxes)
            frames += len(part.positions)
    return frames


def _join(x: FloatArray, bonds: IntArray, boxes: FloatArray) -> None:
    """Put bonded beads x [F, N, 3] that the box [F, 3, 3] of a frame split next to each other, in place."""
    i, j = bonds.T
    half = np.linalg.norm(boxes, axis=2).min(axis=1) / 2
    torn = np.flatnonzero((np.linalg.norm(x[:, j] - x[:, i], axis=2) > half[:, None]).any(axis=1) & (half > 0))
    if not len(torn):
        return
    own, box = x[torn], boxes[torn]
    inverse = np.linalg.inv(box)
    for a, b in bonds[np.argsort(bonds[:, 1], kind="stable")].tolist():  # each bead after those it is bonded to
        d = own[:, b] - own[:, a]
        own[:, b] -= np.einsum("fk,fkx->fx", np.round(np.einsum("fx,fxk->fk", d, inverse)), box)
    x[torn] = own


def _atoms(count: int) -> Any:
    """An mdtraj.Topology of so many atoms: readers of frames want to know no more."""
    from mdtraj import Topology
    from mdtraj.core.element import carbon

    topology = Topology()
    residue = topology.add_residue("ANY", topology.add_chain())
    for _ in range(count):
        topology.add_atom("C", carbon, residue)
    return topology
