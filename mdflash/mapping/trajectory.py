"""Map all-atom trajectories to beads, chunk by chunk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from mdflash.core.files import replacing, storage_errors
from mdflash.core.hdf5_check import check_if_hdf5
from mdflash.core.types import FloatArray, IntArray
from mdflash.errors import InputError
from mdflash.mapping.beads import BeadMap

_CHUNK = 500  # frames


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
    import mdtraj
    from mdtraj.formats import XTCTrajectoryFile

    if not trajectory.is_file():
        raise InputError("no such file; expected an all-atom trajectory", file=trajectory)
    with storage_errors(trajectory):
        check_if_hdf5(trajectory)
    frames = 0
    topology = _atoms(beads.weights.shape[1])
    with replacing(out) as partial, XTCTrajectoryFile(str(partial), "w") as file:
        chunks = mdtraj.iterload(str(trajectory), chunk=_CHUNK, top=topology)
        while True:
            try:
                chunk = next(chunks, None)
            except (OSError, ValueError, TypeError, RuntimeError) as error:
                reason = str(error).strip().split("\n")[0]
                raise InputError(
                    f"cannot be read with the {topology.n_atoms} atoms of the structure: {reason}",
                    file=trajectory,
                ) from None
            if chunk is None:
                break
            positions = beads.positions(np.asarray(chunk.xyz, np.float64))
            bad = np.argwhere(~np.isfinite(positions).all(axis=(1, 2)))
            if len(bad):
                raise InputError(
                    f"frame {frames + int(bad[0, 0])} holds a coordinate that is not a finite number",
                    file=trajectory,
                )
            steps = np.arange(frames, frames + len(positions), dtype=np.int32)
            box = chunk.unitcell_vectors
            if box is not None and beads.atoms is not None:
                _join(positions, beads.system.bonds, np.asarray(box, np.float64))
            file.write(positions.astype(np.float32), time=chunk.time, step=steps, box=box)
            frames += len(positions)
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
