"""What reading a file of whatever content may end in, and how that becomes one sentence."""

from __future__ import annotations

import pickle
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from mdflash.errors import InputError

DAMAGE: Final[tuple[type[Exception], ...]] = (
    EOFError, AssertionError, AttributeError, LookupError, TypeError, ValueError, ArithmeticError, MemoryError,
    RuntimeError, SyntaxError, pickle.UnpicklingError, tokenize.TokenError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip
"""Of parsers and of what follows from a number or a word that nobody expected; not of the disk, which is `OSError`."""

UNREADABLE: Final[tuple[type[Exception], ...]] = (OSError, *DAMAGE)


@contextmanager
def reading(file: Path | str, what: str = "is damaged") -> Iterator[None]:
    """Say of which file it is that something inside the block cannot be read.

    Use it where a file is read, not around what mdflash does with it: there such errors are its own.

    Raises:
        InputError: the file, what it is, and what was wrong.
    """
    try:
        yield
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror or error}", file=file) from None
    except DAMAGE as error:
        said = str(error).strip().splitlines()[:1] or [""]
        raise InputError(f"{what}: {type(error).__name__}: {said[0][:200]}", file=file) from error
