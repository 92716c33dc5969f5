"""What becomes of one input: taken, refused in a sentence with a place, or a finding."""

from __future__ import annotations

import hashlib
import re
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Literal, NamedTuple

from mdflash.errors import InputError, MdflashError

SLOW = 10.0
"""Seconds."""
Verdict = Literal["taken", "refused", "traceback", "hang", "no place", "touched"]
FINDINGS: tuple[Verdict, ...] = ("traceback", "hang", "no place", "touched")


class Outcome(NamedTuple):
    """Of one input.

    Attributes:
        verdict: what became of it.
        where: for findings, what went wrong and in which line of the package; equal for findings of one kind.
    """

    verdict: Verdict
    where: str = ""


def judge(read: Callable[[Path], object], file: Path, names: tuple[str, ...] = ()) -> Outcome:
    """Read a file and see.

    Args:
        read: the reader.
        file: what it is given.
        names: what a message may name instead of the file (an option, a key).
    """
    try:
        read(file)
    except MdflashError as error:
        said = str(error)
        placed = isinstance(error, InputError) and (error.file is not None or error.key is not None)
        if placed or any(name in said for name in (file.name, str(file.parent), *names)):
            return Outcome("refused")
        return Outcome("no place", re.sub(r"\d+", "#", said)[:120])
    except Exception as error:
        return Outcome("traceback", place_of(error))
    return Outcome("taken")


def place_of(error: BaseException) -> str:
    """The kind of an error and the last line of the package on its way."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "/mdflash/" in f.filename]
    last = frames[-1] if frames else None
    where = "outside" if last is None else f"{last.filename.rpartition('/mdflash/')[2]}:{last.lineno}"
    return f"{type(error).__name__} at {where}: {str(error)[:100]}"


def digest(folder: Path) -> str:
    """Of every name and byte below a folder."""
    h = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        h.update(str(path.relative_to(folder)).encode())
        if path.is_file():
            h.update(path.read_bytes())
    return h.hexdigest()
