"""A lock for file systems that have none: a file that one process alone can create, with who created it.

The system does not take it back when its owner ends. On the owner's host it is seen whether the owner still runs; from
another host it is not, and the user must say.
"""

from __future__ import annotations

import errno
import json
import os
import socket
from contextlib import suppress
from pathlib import Path
from typing import Any

from mdflash.core.files import storage_errors
from mdflash.core.regular import parse_json, read_input
from mdflash.errors import StorageError

NO_LOCKS = frozenset((errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP))
"""Errors of `flock` where the file system, or its server, has no locks."""


def hold(path: Path) -> None:
    """Create the file, or take over that of a process of this host that has ended.

    Raises:
        StorageError: a live process has it, or one of another host; or it cannot be written.
    """
    with storage_errors(path):
        for _ in range(3):
            try:
                fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
            except FileExistsError:
                _remove_dead(path)
                continue
            with os.fdopen(fd, "w") as file:
                json.dump(_who(os.getpid()), file)
            return
    raise StorageError(f"{path.parent} is being taken by other processes; try again")


def _remove_dead(path: Path) -> None:
    """Remove the file of an owner that has ended; returns where it is gone."""
    try:
        found = read_input(path, 10_000)
        owner = parse_json(found)
        pid, host = int(owner["pid"]), str(owner["host"])
    except FileNotFoundError:
        return
    except (ValueError, KeyError, TypeError):
        raise StorageError(
            f"{path.parent} is in use by another process, or {path} is left over from one; if none runs here, "
            f"delete {path}"
        ) from None
    if host != socket.gethostname():
        raise StorageError(
            f"{path.parent} is in use by process {pid} on host {host}, or was when that ended: its file system has no "
            f"locks, so this cannot be seen from here; if that process has ended, delete {path}"
        )
    if _who(pid) == owner:
        raise StorageError(
            f"{path.parent} is in use by process {pid} on host {host}; wait for it, stop it, or choose another folder"
        )
    mine = path.with_name(f"{path.name}.{os.getpid()}")
    with suppress(FileNotFoundError):
        path.rename(mine)  # of several who found it dead, one gets it
        if read_input(mine, 10_000) != found:  # it was another's by then
            with suppress(FileExistsError):
                os.link(mine, path)
        mine.unlink()


def _who(pid: int) -> dict[str, Any]:
    """A process, told from a later one of the same number by when it started."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return {}
    except PermissionError:
        pass
    started = None
    with suppress(OSError, IndexError):
        started = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    return {"pid": pid, "host": socket.gethostname(), "started": started}
