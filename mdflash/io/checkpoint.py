"""Checkpoints: everything needed to resume, as plain arrays that numpy alone can read.

    checkpoint/step_<step, 15 digits>.npz    arrays by name, and "header": JSON text in a 0-d array

The same content gives the same bytes. The header holds the digest of everything else, so bytes that were changed since
are found, by whatever they were changed; checkpoints of versions before 0.2 have none. A checkpoint appears under its
name only when it is complete and on the disk, so a kill or a power cut costs at most the newest one; the one before is
still there.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import re
import zipfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from mdflash.core.damage import UNREADABLE
from mdflash.core.files import atomic_write, storage_errors
from mdflash.core.regular import open_input, parse_json
from mdflash.core.words import is_word
from mdflash.errors import StorageError

_NAME = re.compile(r"step_(\d{15,})\.npz")
_EPOCH = (1980, 1, 1, 0, 0, 0)  # zip's first date; a real one would make equal checkpoints differ


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that was read.

    Attributes:
        arrays: by name.
        header: the JSON part; `header["step"]` is the step.
        path: its file.
        notes: messages for the user: newer checkpoints that were damaged and passed over.
    """

    arrays: dict[str, npt.NDArray[Any]]
    header: dict[str, Any]
    path: Path
    notes: tuple[str, ...]


DIGEST = "sha256"
Fits = Callable[[Mapping[str, npt.NDArray[Any]], Mapping[str, Any]], "str | None"]
"""What is wrong with the arrays and the header of a checkpoint; None where a run can go on from them."""


def _digest(arrays: Mapping[str, npt.NDArray[Any]], header: Mapping[str, Any]) -> str:
    """SHA-256 of a checkpoint's content, hexadecimal."""
    h = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
    for name, array in sorted(arrays.items()):
        array = np.asarray(array)
        h.update(f"{name}{array.shape}{array.dtype.str}".encode())
        h.update(array.tobytes())
    return h.hexdigest()


def _pack(arrays: Mapping[str, npt.NDArray[Any]], header: Mapping[str, Any]) -> bytes:
    buffer = io.BytesIO()
    text = np.array(json.dumps({**header, DIGEST: _digest(arrays, header)}, sort_keys=True))
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, array in [("header", text), *sorted(arrays.items())]:
            entry = zipfile.ZipInfo(f"{name}.npy", _EPOCH)
            with archive.open(entry, "w", force_zip64=True) as file:
                np.lib.format.write_array(file, np.asarray(array), allow_pickle=False)
    return buffer.getvalue()


def _files(folder: Path) -> list[Path]:
    """The checkpoints of a folder, newest first."""
    with storage_errors(folder):  # a folder that cannot be read is not one without checkpoints
        names = os.listdir(folder) if os.path.lexists(folder) else []
    found = [(int(m[1]), folder / name) for name in names if (m := _NAME.fullmatch(name))]
    return [path for _, path in sorted(found, reverse=True)]


def save_checkpoint(
    folder: Path, arrays: Mapping[str, npt.NDArray[Any]], header: Mapping[str, Any], keep: int = 2
) -> Path:
    """Write a checkpoint and remove all but the newest `keep`.

    Args:
        folder: the `checkpoint` folder of a run.
        arrays: plain arrays (no objects) by name; "header" is taken.
        header: JSON values; `step` is required and names the file.
        keep: how many to keep, this one included.

    Raises:
        StorageError: disk full, no permission; the older checkpoints stay.
    """
    if "header" in arrays:
        raise ValueError("an array cannot be called 'header'")
    path = folder / f"step_{int(header['step']):015d}.npz"
    atomic_write(path, _pack(arrays, header))
    for old in _files(folder)[max(keep, 1) :]:
        with suppress(OSError):  # one too many does no harm
            old.unlink()
    return path


def drop_newer(folder: Path, step: int) -> None:
    """Remove checkpoints of later steps, which were passed over: the run writes them again."""
    for path in _files(folder):
        if int(path.stem.removeprefix("step_")) > step:
            with suppress(OSError):
                path.unlink()


def _array(data: bytes) -> npt.NDArray[Any]:
    """An array of a .npy file; its header is believed only where it fits what follows."""
    file = io.BytesIO(data)
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, by_columns, dtype = read(file)
    if dtype.hasobject or math.prod(shape) * dtype.itemsize != len(data) - file.tell():
        raise ValueError("an array has not the size that it states")
    order: Literal["C", "F"] = "F" if by_columns else "C"
    array: npt.NDArray[Any] = np.ndarray(shape, dtype, data, file.tell(), order=order).copy()
    return array


def _read(path: Path) -> tuple[dict[str, npt.NDArray[Any]], dict[str, Any]]:
    arrays = {}
    with open_input(path) as file, zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
        size = os.fstat(file.fileno()).st_size
        if any(e.compress_type != zipfile.ZIP_STORED for e in entries) or sum(e.file_size for e in entries) > size:
            raise ValueError("mdflash does not compress checkpoints, and this one is")
        for entry in entries:
            arrays[entry.filename.removesuffix(".npy")] = _array(archive.read(entry))  # checks its CRC
    header = parse_json(str(arrays.pop("header")))
    if not isinstance(header, dict) or type(header.get("step")) is not int or header["step"] < 0:
        raise ValueError("its header has no step")
    if header.pop(DIGEST, None) not in (None, _digest(arrays, header)):
        raise ValueError("its content was changed since it was written")
    return arrays, header


def load_checkpoint(folder: Path, fits: Fits = lambda arrays, header: None) -> Checkpoint | None:
    """The newest checkpoint that can be read, or None where there is none.

    Args:
        folder: the `checkpoint` folder of a run.
        fits: whether a run can go on from it.

    Raises:
        StorageError: there are checkpoints, but every one is damaged.
    """
    notes: list[str] = []
    for path in _files(folder):
        try:
            arrays, header = _read(path)
            if (what := fits(arrays, header)) is not None:
                raise ValueError(what)
        except UNREADABLE as error:
            notes.append(f"{path.name} is damaged ({error}) and was passed over")
        else:
            return Checkpoint(arrays, header, path, tuple(notes))
    if notes:
        raise StorageError(
            f"{folder}: no checkpoint can be read: {'; '.join(notes)}. Restore one from a copy, "
            "or start over with --fresh"
        )
    return None


def checkpoint_systems(folder: Path) -> frozenset[str] | None:
    """The names of the systems of a run, by its newest checkpoint; None where none can be read."""
    with suppress(StorageError):
        found = load_checkpoint(folder)
        if found is not None:
            return frozenset(filter(is_word, found.header.get("systems", ())))
    return None
