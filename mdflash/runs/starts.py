"""Start frames of a molecule from a trajectory: which frames are taken, and what is said of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mdflash.config.molecules import StartFrames
from mdflash.core.system import System
from mdflash.core.types import FloatArray
from mdflash.errors import InputError
from mdflash.io.formats.base import Source
from mdflash.io.frames import check_frames, load_frames, own_replicas
from mdflash.io.read import iter_frames, read_times


def start_frames(start: StartFrames, system: System, count: int, notes: list[str]) -> FloatArray:
    """[F, N, 3] Å; replica i starts from frame i of them, cycled.

    Of a trajectory in which mdflash laid many replicas side by side, replica i starts from replica i there: from its
    last frame, where no other is named.

    Args:
        start: the file and the frame.
        system: the molecule.
        count: its replicas.
        notes: gets a sentence on the frames that were taken.

    Raises:
        InputError: not readable, of another molecule, or no such frame.
    """
    file = start.file
    replicas = own_replicas(file)
    if len(replicas) > 1:
        return _by_replica(start, replicas, system, count, notes)
    frames = load_frames(file, system)
    if start.frame == "each":
        if len(frames) > count:
            notes.append(
                f"{system.name}: {file.name} holds {len(frames):,} frames; replica i starts from frame i (from 0), and "
                f"those after the first {count:,} are not used (for the last one: `start: {{file: {file.name}, frame: "
                "last}`)"
            )
        return frames
    k = _number(start, len(frames))
    notes.append(f"{system.name}: every replica starts from frame {k:,} (from 0) of the {len(frames):,} of {file.name}")
    return frames[k : k + 1]


def _by_replica(
    start: StartFrames, replicas: Sequence[Source], system: System, count: int, notes: list[str]
) -> FloatArray:
    file = start.file
    steps, times = read_times(file)
    if not len(steps):
        raise InputError("holds no complete frame yet", file=file)
    k = _number(start, len(steps))
    taken = replicas[:count]
    x = np.concatenate([_one(file, source.replica, k) for source in taken])
    found = check_frames(x, system, file)
    rest = "" if len(replicas) == len(taken) else f"; those after replica {taken[-1].replica} are not used"
    again = f"; its {len(taken)} replicas are taken in turn" if count > len(taken) else ""
    last = ", the last" if k == len(steps) - 1 else ""
    notes.append(
        f"{system.name}: replica i starts from replica i of {file.name}, at its frame {k:,} (from 0{last}; step "
        f"{int(steps[k]):,}, {float(times[k]):g} ps){rest}{again}"
    )
    return found


def _one(file: Path, replica: int, frame: int) -> FloatArray:
    """[1, N, 3] Å."""
    (part,) = iter_frames(file, replica, first=frame, last=frame + 1)
    return part.positions


def _number(start: StartFrames, frames: int) -> int:
    """The frame that is meant, from 0."""
    if not isinstance(start.frame, int):
        return frames - 1
    if start.frame >= frames:
        raise InputError(
            f"has {frames:,} frames, 0 to {frames - 1:,}; there is no frame {start.frame:,}: write `frame: last`, or a "
            "number up to that",
            file=start.file,
            key="system.start.frame",
        )
    return start.frame
