"""Opening files that somebody else may have prepared.

What is read is an ordinary file of a bounded size: never a pipe, which may never say anything, nor a device, which may
never end. What is changed in place, and every folder that is filled, is never reached through a symbolic link: in a
folder that a stranger made, a link leads to a file of whoever uses it. Every refusal is an OSError whose `strerror` is
a phrase that follows the name of the file.
"""

from __future__ import annotations

import errno
import json
import os
import stat
from pathlib import Path
from typing import Any, BinaryIO, Final, Literal, NoReturn, cast

MOST: Final = 4 << 30
"""Bytes that any input read as a whole may have."""
MOST_TEXT: Final = 64 << 20
"""Bytes of a file that people write or read."""

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}


def _refuse(path: Path, number: int, text: str) -> NoReturn:
    raise OSError(number, text, str(path))


def _opened(path: Path, flags: int) -> int:
    """A file descriptor of an ordinary file; a pipe or a device is not waited for."""
    try:
        handle = os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
    except OSError as error:
        if error.errno == errno.ELOOP:
            refuse_link(path)
        if error.errno in (errno.ENXIO, errno.ENODEV):
            _refuse(path, errno.EINVAL, "is a pipe or a device; expected an ordinary file")
        raise
    kind = stat.S_IFMT(os.fstat(handle).st_mode)
    if kind != stat.S_IFREG:
        os.close(handle)
        _refuse(path, errno.EINVAL, f"is {_KINDS.get(kind, 'no file')}; expected an ordinary file")
    return handle


def open_input(path: Path | str) -> BinaryIO:
    """An ordinary file, for reading; links are followed.

    Raises:
        OSError: there is none, or it is no ordinary file.
    """
    return os.fdopen(_opened(Path(path), os.O_RDONLY), "rb")


def read_input(path: Path | str, most: int = MOST) -> bytes:
    """All that an ordinary file holds.

    Args:
        path: the file; links are followed.
        most: bytes that it may have.

    Raises:
        OSError: there is none, it is no ordinary file, or it is larger.
    """
    with open_input(path) as file:
        size = os.fstat(file.fileno()).st_size
        data = b"" if size > most else file.read(most + 1)  # files of /proc state no size
    if size > most or len(data) > most:
        _refuse(Path(path), errno.EFBIG, f"is too large: {max(size, len(data)):,} bytes, and at most {most:,} are read")
    return data


def read_text(path: Path | str, most: int = MOST_TEXT) -> str:
    """As `read_input`, of UTF-8.

    Raises:
        OSError: as `read_input`.
        UnicodeDecodeError: it is no such text.
    """
    return read_input(path, most).decode("utf-8")


def read_json(path: Path | str, most: int = MOST_TEXT) -> Any:
    """As `read_text`, of JSON.

    Raises:
        OSError: as `read_input`.
        ValueError: it is no JSON, or nested too deeply.
    """
    return parse_json(read_input(path, most))


def parse_json(text: bytes | str) -> Any:
    """As `json.loads`.

    Raises:
        ValueError: it is no JSON, or nested too deeply.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("is nested too deeply") from None


def open_own(path: Path, mode: Literal["change", "append", "create"]) -> int:
    """A file descriptor of a file of a folder of mdflash, to write to; never through a symbolic link.

    Args:
        path: the file.
        mode: "change": what is there, for reading and writing; "append": at its end, created where missing; "create":
            for reading and writing, created where missing.

    Raises:
        OSError: it is a link or no ordinary file, there is none, no permission.
    """
    flags = {
        "change": os.O_RDWR,
        "append": os.O_WRONLY | os.O_CREAT | os.O_APPEND,
        "create": os.O_RDWR | os.O_CREAT,
    }
    return _opened(path, flags[mode] | os.O_NOFOLLOW)


def change(path: Path) -> BinaryIO:
    """A file of a folder of mdflash, to be changed in place, unbuffered; see `open_own`."""
    return cast(BinaryIO, os.fdopen(open_own(path, "change"), "r+b", buffering=0))


def refuse_link(path: Path) -> None:
    """Raise OSError where `path` is a symbolic link; for files and folders that mdflash is going to write to."""
    if path.is_symlink():
        _refuse(
            path,
            errno.ELOOP,
            f"is a symbolic link (to {os.readlink(path)}), and nothing is written through links inside a folder; put "
            "what it points to in its place, or remove it",
        )


def own_folder(path: Path) -> None:
    """Create a folder inside one of mdflash's, or take the one that is there.

    Raises:
        OSError: it is a link or a file; it cannot be created.
    """
    refuse_link(path)
    path.mkdir(exist_ok=True)
    refuse_link(path)
