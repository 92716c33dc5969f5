"""Copy one replica, or one temperature, of a run into a file that other programs read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from mdflash.core.files import replacing
from mdflash.errors import InputError
from mdflash.io.formats import export_function, no_trajectory, written_formats
from mdflash.io.formats.base import Frames, Source
from mdflash.io.read import iter_frames


def trajectories(run: Path) -> list[Source]:
    """Every replica of every trajectory file of a run, the most exact format first.

    Raises:
        StorageError: a file cannot be read.
    """
    found: list[Source] = []
    for format in sorted(written_formats(), key=lambda f: f.exact_to):  # equal ones stay in the order of the list
        here = [source for path in run.glob(f"trajectory/*{format.suffix}") for source in format.sources(path)]
        found += sorted(here, key=lambda source: (source.system, source.replica))
    return found


def find_replica(run: Path, replica: int | None, system: str | None = None) -> Source:
    """The file to read a replica from; None: the first of the system, or of all.

    Raises:
        InputError: no run folder, no trajectory, no such system or replica; the message lists what there is.
    """
    if not run.is_dir():
        raise InputError("no such run folder", file=run)
    sources = trajectories(run)
    if not sources:
        raise no_trajectory(run)
    systems = sorted({s.system for s in sources})
    if system is not None and system not in systems:
        raise InputError(f"has no system '{system}'; its systems are {', '.join(systems)}", file=run)
    sources = [s for s in sources if system in (None, s.system)]
    for source in sources:
        if replica in (None, source.replica):
            return source
    numbers = sorted({s.replica for s in sources})
    of = f" of system '{system}'" if system else ""
    raise InputError(
        f"has no replica {replica}{of}; it has {len(numbers)} from {numbers[0]} to {numbers[-1]}", file=run
    )


def export(source: Source, format: str, out: Path, stride: int = 1) -> int:
    """Write every `stride`-th frame of a replica to `out`; returns the number of frames.

    `format` is one of `mdflash.io.formats.EXPORTED`. `out` appears when it is complete: an export that fails leaves
    nothing behind, and an older file in place.

    Raises:
        InputError: no frames, or no topology where the format needs one.
        StorageError: `out` cannot be written.
    """
    _check_stride(stride)
    return write_frames(iter_frames(source.path, source.replica, stride), source, format, out)


def _check_stride(stride: int) -> None:
    if stride < 1:
        raise InputError(f"--stride must be 1 or more, found {stride}")


def write_frames(parts: Iterator[Frames], source: Source, format: str, out: Path) -> int:
    """Write frames to `out` as `export` does; `source` is one of the replicas they came from."""
    write = export_function(format)
    frames = 0

    def counted() -> Iterator[Frames]:
        nonlocal frames
        for part in parts:
            frames += len(part)
            yield part

    with replacing(out) as partial:
        with partial.open("wb") as file:
            write(file, counted(), source)
        if frames == 0:
            raise InputError("holds no complete frame yet", file=source.path)
    return frames
