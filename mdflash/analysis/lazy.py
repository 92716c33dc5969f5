"""Positions that stay on the disk until they are asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mdflash.core.types import FloatArray, IntArray
from mdflash.io.read import iter_frames, read_times

if TYPE_CHECKING:
    import xarray


class LazyPositions:
    """The positions of one replica, [F, N, 3] in Å; indexing reads the frames that are asked for, as a NumPy array.

        x = run.positions[3]  # of replica 3; nothing is read
        x[-1], x[::10], x[100:200, :, 2], np.asarray(x)

    The number of frames is that of the moment it was made: a run that continues has more when it is opened again.

    Args:
        path: a trajectory file.
        replica: global number.
        beads: N.

    Attributes:
        path, replica: where it reads from.
        shape: (F, N, 3).
    """

    dtype = np.dtype(np.float64)
    ndim = 3

    def __init__(self, path: Path, replica: int, beads: int) -> None:
        self.path, self.replica = path, replica
        self.shape = (len(read_times(path)[0]), beads, 3)

    def __len__(self) -> int:
        return self.shape[0]

    def __repr__(self) -> str:
        return f"<positions {list(self.shape)} Å of replica {self.replica} in {self.path.name}>"

    def __getitem__(self, key: Any) -> Any:
        key = key if isinstance(key, tuple) else (key,)
        if any(k is Ellipsis for k in key):
            at = next(i for i, k in enumerate(key) if k is Ellipsis)
            key = (*key[:at], *[slice(None)] * (self.ndim + 1 - len(key)), *key[at + 1 :])
        rows = np.arange(len(self))[key[0] if key else slice(None)]
        if rows.ndim == 0:
            return self._take(rows[None])[0][key[1:]]
        within = (slice(None), *key[1:])
        return self._take(rows)[within]

    def __iter__(self) -> Iterator[FloatArray]:
        for frames in iter_frames(self.path, self.replica, last=len(self)):
            yield from frames.positions

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> npt.NDArray[Any]:
        return np.asarray(self[:], dtype)

    def _take(self, rows: IntArray) -> FloatArray:
        """[rows, N, 3], a part of the file at a time."""
        out = np.empty((len(rows), *self.shape[1:]))
        if not len(rows):
            return out
        at = int(rows.min())
        for frames in iter_frames(self.path, self.replica, first=at, last=int(rows.max()) + 1):
            here = (rows >= at) & (rows < at + len(frames))
            out[here] = frames.positions[rows[here] - at]
            at += len(frames)
        return out


def lazy_variable(positions: Sequence[LazyPositions], dims: Sequence[str], attrs: dict[str, str]) -> xarray.Variable:
    """Replicas of one molecule as one xarray.Variable [R, F, N, 3] that reads what is asked for.

    Replicas of a killed run may differ by a frame; F is that of the shortest.
    """
    import xarray
    from xarray.backends import BackendArray
    from xarray.core import indexing

    class Stack(BackendArray):
        dtype = LazyPositions.dtype
        shape = (len(positions), min(map(len, positions)), *positions[0].shape[1:])

        def __getitem__(self, key: Any) -> Any:
            support = indexing.IndexingSupport.OUTER_1VECTOR
            return indexing.explicit_indexing_adapter(key, self.shape, support, self._read)

        def _read(self, key: tuple[Any, ...]) -> Any:
            replicas = np.arange(self.shape[0])[key[0]]
            within = (np.arange(self.shape[1])[key[1]], *key[2:])
            if replicas.ndim == 0:
                return positions[int(replicas)][within]
            return np.stack([positions[r][within] for r in replicas.tolist()])

    return xarray.Variable(tuple(dims), indexing.LazilyIndexedArray(Stack()), attrs)
