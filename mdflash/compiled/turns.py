"""Taking turns: of processes that need the same function, one compiles it, and the others find it on the disk.

Runs that start together, as those of a campaign, would otherwise compile the same in each of them. A lock of the
operating system ends with its process, however that ends. Where the file system has none nobody waits, and nobody waits
for long on a process that stands still.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Final

from numba.core import event

WAIT: Final = "mdflash:wait"
"""The kind of numba's event that lasts as long as a wait."""
LONGEST: Final = 300.0
"""Seconds."""


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Hold what is written to `path`: another process waits here until the block has ended, or this process has.

    Functions call none of their callers, so two processes that hold one each never wait for each other. A lock is a
    byte of one file of the folder, so none is left behind.
    """
    byte = int.from_bytes(hashlib.sha256(path.name.encode()).digest()[:7], "little")
    try:
        locks = _locks(path.parent)
        held = _take(locks, byte) or _wait(locks, byte)
    except OSError:  # a folder that cannot be written, or a file system without locks
        held = False
    try:
        yield
    finally:
        if held:
            with suppress(OSError):
                fcntl.lockf(locks, fcntl.LOCK_UN, 1, byte)


def _take(locks: int, byte: int) -> bool:
    try:
        fcntl.lockf(locks, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, byte)
    except (BlockingIOError, PermissionError):  # systems differ in what they call a byte that another holds
        return False
    return True


def _wait(locks: int, byte: int) -> bool:
    """Whether the byte was given back in time."""
    end = time.monotonic() + LONGEST
    with event.trigger_event(WAIT):
        while time.monotonic() < end:
            time.sleep(0.02)
            if _take(locks, byte):
                return True
    return False


@lru_cache
def _locks(folder: Path) -> int:
    """The file of locks, open as long as the process lives: it would give all of them back when it closes the file."""
    folder.mkdir(parents=True, exist_ok=True)
    return os.open(folder / ".turns", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
