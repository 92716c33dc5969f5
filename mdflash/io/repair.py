"""Repair what a kill or a power cut left of an output file, losing no complete frame or line."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mdflash.core.files import size_text
from mdflash.errors import InputError, StorageError
from mdflash.io.colvars import repair_colvars
from mdflash.io.dcd import repair_dcd
from mdflash.io.events import repair_events
from mdflash.io.exchange_log import repair_exchange
from mdflash.io.log import repair_log
from mdflash.io.runfolder import FolderLock, is_run_folder
from mdflash.io.xtc import repair_xtc

TABLES = ("log.csv", "exchange.csv", "colvars.csv", "events.jsonl")
"""What a run folder may hold besides trajectories."""


@dataclass(frozen=True)
class Repair:
    """What `repair_file` found and did.

    Attributes:
        path: the file.
        kept: complete frames, rows or events, counted in `unit`.
        unit: "frames", "rows" or "events".
        done: what was mended, as a person reads it; empty if the file was healthy and left untouched.
    """

    path: Path
    kept: int
    unit: str
    done: str


def _tail(repair: Callable[[Path], tuple[int, int]], path: Path, unit: str, record: str) -> Repair:
    kept, dropped = repair(path)
    done = f"dropped {size_text(dropped)} of an incomplete {record} at the end" if dropped else ""
    return Repair(path, kept, unit, done)


def repair_file(path: Path) -> Repair:
    """Repair one output file of mdflash; a healthy file is not written to.

    Args:
        path: a trajectory `.h5`, `.xtc` or `.dcd`, `log.csv`, `exchange.csv`, `colvars.csv` or `events.jsonl`.

    Raises:
        InputError: no such file, or none of these kinds.
        StorageError: beyond repair, or not writable.
    """
    if not path.is_file():
        raise InputError("no such file", file=path)
    if path.suffix == ".h5":
        from mdflash.io.hdf5 import repair_hdf5

        kept, done = repair_hdf5(path)
        return Repair(path, kept, "frames", done)
    if path.suffix == ".xtc":
        return _tail(repair_xtc, path, "frames", "frame")
    if path.suffix == ".dcd":
        kept, done = repair_dcd(path)
        return Repair(path, kept, "frames", done)
    if path.name == "exchange.csv":
        return _tail(repair_exchange, path, "rows", "row")
    if path.name == "colvars.csv":
        return _tail(repair_colvars, path, "rows", "row")
    if path.suffix == ".csv":
        return _tail(repair_log, path, "rows", "row")
    if path.suffix == ".jsonl":
        return _tail(repair_events, path, "events", "event")
    raise InputError(
        "is not a file that can be repaired; give a trajectory (.h5, .xtc, .dcd), log.csv, exchange.csv, colvars.csv, "
        "events.jsonl, or the run folder",
        file=path,
    )


@contextmanager
def lock_around(target: Path) -> Iterator[None]:
    """Hold the lock of the run folder that `target` is or belongs to, if it is part of one.

    Raises:
        StorageError: a live process is writing there.
    """
    target = target.resolve()
    folders = [target] if target.is_dir() else [target.parent, target.parent.parent]
    run = next((folder for folder in folders if is_run_folder(folder)), None)
    lock = FolderLock(run / "lock") if run is not None else None
    try:
        yield
    finally:
        if lock is not None:
            lock.release()


def repairable_files(folder: Path) -> list[Path]:
    """The files of a run folder that `repair_file` takes, in a steady order.

    Raises:
        StorageError: the folder holds none.
    """
    files = [
        *(file for file in (folder / name for name in TABLES) if file.is_file()),
        *sorted(path for path in folder.glob("trajectory/*") if path.suffix in (".h5", ".xtc", ".dcd")),
    ]
    if not files:
        raise StorageError(f"{folder}: is not a run folder with output; it has no trajectory and no log.csv")
    return files
