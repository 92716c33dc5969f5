"""From which checkpoint a run goes on: the newest that is whole, is of this run, and fits the tables beside it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import numpy.typing as npt

from mdflash.errors import StorageError
from mdflash.io.checkpoint import Checkpoint, load_checkpoint
from mdflash.io.runfolder import RunFiles
from mdflash.io.table import changed_tables, cut_tables, recorded_tables
from mdflash.runs.identity import changed, check_identity, check_same_run, identity_of, other_starts
from mdflash.runs.prepare import Prepared
from mdflash.runs.writers import misfit


def resume_from(files: RunFiles, prepared: Prepared) -> Checkpoint | None:
    """The checkpoint to resume from, or None where the folder holds none: a fresh start. Nothing is written.

    Args:
        files: of the run folder.
        prepared: the run.

    Raises:
        InputError: the folder belongs to a different run.
        StorageError: its checkpoints are gone or damaged.
    """
    checkpoint = load_checkpoint(files.checkpoint, lambda arrays, header: _misfit(files, prepared, arrays, header))
    if checkpoint is None:
        if files.manifest.exists():
            raise StorageError(
                f"{files.path}: holds a run, but its checkpoints are gone; restore the folder "
                f"'checkpoint', or start over with --fresh (which deletes its trajectory)"
            )
        return None
    if files.resolved.is_file():
        check_same_run(files, prepared.config)
    check_identity(files, checkpoint, prepared)
    checkpoint = _before_changed_rows(files, prepared, checkpoint)
    return dataclasses.replace(checkpoint, notes=(*checkpoint.notes, *other_starts(files, prepared)))


def _misfit(
    files: RunFiles, prepared: Prepared, arrays: Mapping[str, npt.NDArray[Any]], header: Mapping[str, Any]
) -> str | None:
    """Why the run cannot go on from a checkpoint of its own; of another run, that is said later."""
    if any(header.get(kind) != now for kind, now in identity_of(prepared).items()):
        return None
    if files.resolved.is_file() and any(changed(files.path, prepared.config)):
        return None
    return misfit(prepared, arrays, header)


def _before_changed_rows(files: RunFiles, prepared: Prepared, newest: Checkpoint) -> Checkpoint:
    """An older checkpoint where rows between it and the newest were changed or cut off since they were written."""
    tables = recorded_tables(newest.header)
    altered, cut = changed_tables(files.path, tables), cut_tables(files.path, tables)
    if not (altered or cut):
        return newest
    names = ", ".join([*altered, *cut])
    what = "changed" if altered else "cut off"
    with suppress(StorageError):
        older = load_checkpoint(
            files.checkpoint,
            lambda arrays, header: _misfit(files, prepared, arrays, header) or _rows(files, header),
        )
        if older is not None:
            why = f"{names}: rows before {newest.path.name} were {what} since they were written; the run goes on "
            return dataclasses.replace(
                older, notes=(*newest.notes, f"{why}from {older.path.name} and writes them again")
            )
    if cut:
        return newest  # which no file fits; opening it says so
    why = f"{names}: rows were changed since they were written, before every checkpoint that is left; "
    return dataclasses.replace(newest, notes=(*newest.notes, f"{why}the run goes on behind them, as they are"))


def _rows(files: RunFiles, header: Mapping[str, Any]) -> str | None:
    """Why the tables in the folder are not what they were at a checkpoint."""
    tables = recorded_tables(header)
    sound = not (changed_tables(files.path, tables) or cut_tables(files.path, tables))
    return None if sound else "rows"
