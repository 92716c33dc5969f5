"""Whose files are in a folder: the mark by which mdflash knows what an earlier start put there.

A file is not mdflash's because it has a name that mdflash uses. A run, a training, a sampling or a campaign writes only
into a folder where none of its names is taken, or that an earlier one has claimed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Literal

from mdflash.core.files import TEMPORARY, atomic_write_json, storage_errors
from mdflash.core.regular import parse_json, read_input, read_json, refuse_link
from mdflash.core.words import is_word
from mdflash.errors import InputError, StorageError

MARK = ".mdflash"
"""The file that marks a folder; written before anything else."""

Kind = Literal["run", "training", "sampling", "campaign"]

_SHOWN = 8


def claim(folder: Path, kind: Kind, names: Iterable[str] = ()) -> None:
    """Mark the folder as one that mdflash fills, before anything else is written or deleted there.

    Args:
        folder: exists.
        kind: what fills it.
        names: what is part of file names there, such as the systems of a run.

    Raises:
        StorageError: it cannot be written.
    """
    atomic_write_json(folder / MARK, {"mdflash": kind, "names": sorted(set(names))})


def claimed(folder: Path, kind: Kind) -> frozenset[str] | None:
    """The names of a claim, plain words; None where mdflash did not claim the folder for this kind of work."""
    try:
        found = read_json(folder / MARK)
        return frozenset(filter(is_word, found["names"])) if found["mdflash"] == kind else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def refuse_campaign(folder: Path) -> None:
    """Raise InputError where a folder in the place of a run's is a campaign; it says where the runs are."""
    if claimed(folder, "campaign") is not None or ((folder / "runs.csv").is_file() and (folder / "runs").is_dir()):
        found = sorted(path.parent for path in folder.glob("runs/*/run/manifest.json"))
        each = found[0] if found else folder / "runs" / "NAME" / "run"
        raise InputError(
            f"is a campaign, and no run; each of its runs has a folder, such as {each}. "
            f"`mdflash campaign run {folder}` works on all of them, `campaign status` shows where they stand, and "
            "`campaign table` writes one table",
            file=folder,
        )


def refuse_in_the_way(folder: Path, files: Iterable[Path], kind: Kind, key: str) -> None:
    """Raise StorageError where one of these exists, and list them.

    Args:
        folder: not claimed.
        files: what would be replaced.
        kind: what would do so.
        key: the setting that names another folder.
    """
    found = sorted({str(file.relative_to(folder)) for file in files if file.exists() or file.is_symlink()})
    if found:
        listed = ", ".join(found[:_SHOWN]) + (f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else "")
        raise StorageError(
            f"{folder}: no {kind} was started here before, and this one would replace {listed}; "
            f"choose another folder with {key}, or move them away. Nothing was written"
        )


def refuse_links(folder: Path, names: Iterable[str]) -> None:
    """Raise StorageError where one of these names in a folder of mdflash is a symbolic link."""
    for name in (MARK, *names):
        with storage_errors(folder / name):
            refuse_link(folder / name)


def unfinished(folder: Path) -> Iterator[Path]:
    """What atomic writes left behind in a folder when they were killed; for whoever holds its lock."""
    yield from (file for file in folder.glob(".*") if re.fullmatch(TEMPORARY, file.name) and file.is_file())


def drop_unfinished(folders: Iterable[Path]) -> None:
    """Delete what atomic writes left behind in folders when they were killed; for whoever holds the lock."""
    for folder in folders:
        for file in unfinished(folder):
            with suppress(OSError):
                file.unlink()


def is_lock(path: Path) -> bool:
    """Whether a file can be a lock of mdflash: empty, or with a process id."""
    try:
        if path.is_symlink() or not path.is_file():
            return False
        text = read_input(path, 1000)
        return not text or "pid" in parse_json(text)
    except (OSError, ValueError, TypeError):
        return False
