"""Errors the user can fix. Each message states what is wrong, where, and what to do.

The command line prints the message of a `MdflashError` and exits with its `exit_code`. A traceback is
always a bug of mdflash.

=====  ===================================================================
code   meaning
=====  ===================================================================
0      finished
2      bad input, or files that cannot be written (existing files are intact)
3      the simulation became unstable
74     the disk is full, or the quota used up: make room and run the same command again
75     stopped by a signal or a time limit; run the same command again to resume
=====  ===================================================================
"""

from __future__ import annotations


class MdflashError(Exception):
    """Base of every error the user can fix.

    Attributes:
        exit_code: of the command line.
        label: what the command line puts before the message.
    """

    exit_code = 2
    label = "error: "


class InputError(MdflashError):
    """A file, key or value given by the user is wrong.

    Args:
        message: what is wrong, what was expected, and the corrected line where there is one.
        file: the file at fault.
        line: its line (1-based).
        key: the key inside the file, dotted (`dynamics.timestep`).
    """

    def __init__(
        self,
        message: str,
        *,
        file: object | None = None,
        line: int | None = None,
        key: str | None = None,
    ) -> None:
        place = ", ".join(
            part
            for part in (
                str(file) if file is not None else "",
                f"line {line}" if line is not None else "",
                f"key '{key}'" if key else "",
            )
            if part
        )
        super().__init__(f"{place}: {message}" if place else message)
        self.message, self.file, self.line, self.key = message, file, line, key


class ForceFieldError(InputError):
    """A force field folder is damaged or does not fit the system; for example, a bead type is missing."""


class GpuRefused(InputError):
    """A GPU cannot run this batch.

    Args:
        why: a phrase.
        instead: what else to write, beside `device: cpu`.
    """

    def __init__(self, why: str, instead: str = "") -> None:
        super().__init__(f"{why}; write {instead and f'{instead} or '}`device: cpu`", key="hardware.device")
        self.why = why


class UnsafePickleError(InputError):
    """A checkpoint of another program asks for a class or function that the importer does not allow."""


class StorageError(MdflashError):
    """The run folder cannot be written: disk full, no permission, locked by a live process."""


class NoSpaceError(StorageError):
    """The disk is full, or its quota used up; existing files are intact, and the same command goes on with room."""

    exit_code = 74  # EX_IOERR of sysexits.h


class UnstableError(MdflashError):
    """A replica's energy or coordinates became NaN or infinite. Names replica, step, bead and term."""

    exit_code = 3


class Interrupted(MdflashError):
    """Stopped by a signal or `--until`, as asked; a checkpoint was written."""

    exit_code = 75
    label = ""
