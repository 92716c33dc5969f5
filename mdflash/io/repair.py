"""Repair what a kill or a power cut left of an output file, losing no complete frame or line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mdflash.errors import InputError, StorageError
from mdflash.io.checkpoint import load_checkpoint
from mdflash.io.colvars import ColvarsLog
from mdflash.io.events import repair_events
from mdflash.io.exchange_log import ExchangeLog
from mdflash.io.formats import format_of, suffixes
from mdflash.io.formats.stream import dropped
from mdflash.io.hills import HillsLog
from mdflash.io.log import LogWriter
from mdflash.io.runfolder import FolderLock, is_run_folder, refuse_links_of_run
from mdflash.io.table import Table, changed_tables, recorded_tables
from mdflash.io.walkers import WalkersLog

TABLES: tuple[type[Table], ...] = (LogWriter, ExchangeLog, ColvarsLog, HillsLog, WalkersLog)
EVENTS = "events.jsonl"


@dataclass(frozen=True)
class Repair:
    """What `repair_file` found and did.

    Attributes:
        path: the file.
        kept: complete frames, rows or events, counted in `unit`.
        unit: "frames", "rows" or "events".
        done: what was repaired, as the user reads it; empty if the file was healthy and left untouched.
    """

    path: Path
    kept: int
    unit: str
    done: str


def repair_file(path: Path) -> Repair:
    """Repair one output file of mdflash; a healthy file is not written to.

    Args:
        path: a trajectory, a table or events.jsonl.

    Raises:
        InputError: no such file, or none of these kinds.
        StorageError: beyond repair, or not writable.
    """
    if not path.is_file():
        raise InputError("no such file", file=path)
    format = format_of(path)
    if format is not None:
        kept, done = format.repair(path)
        return Repair(path, kept, "frames", done)
    if path.suffix == ".csv":
        kept, torn = next((table for table in TABLES if table.name == path.name), LogWriter).repair(path)
        return Repair(path, kept, "rows", dropped(torn, "row"))
    if path.suffix == ".jsonl":
        kept, torn = repair_events(path)
        return Repair(path, kept, "events", dropped(torn, "event"))
    names = ", ".join([*(table.name for table in TABLES), EVENTS])
    raise InputError(
        f"is not a file that can be repaired; give a trajectory ({suffixes()}), {names}, or the run folder", file=path
    )


def changed_rows(folder: Path) -> list[str]:
    """The tables of a run folder with other rows than its newest checkpoint recorded; none where it recorded none."""
    try:
        found = load_checkpoint(folder / "checkpoint")
    except StorageError:
        return []
    return [] if found is None else changed_tables(folder, recorded_tables(found.header))


@contextmanager
def lock_around(target: Path) -> Iterator[None]:
    """Hold the lock of the run folder that `target` is or belongs to, if it is part of one.

    Raises:
        StorageError: a live process is writing there, or a file of the run is a symbolic link.
    """
    target = target.resolve()
    folders = [target] if target.is_dir() else [target.parent, target.parent.parent]
    run = next((folder for folder in folders if is_run_folder(folder)), None)
    if run is not None:
        refuse_links_of_run(run)
    lock = FolderLock(run / "lock", run) if run is not None else None
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
    names = [*(table.name for table in TABLES), EVENTS]
    files = [
        *(file for file in (folder / name for name in names) if file.is_file()),
        *sorted(path for path in folder.glob("trajectory/*") if format_of(path) is not None),
    ]
    if not files:
        raise StorageError(f"{folder}: is not a run folder with output; it has no trajectory and no log.csv")
    return files
