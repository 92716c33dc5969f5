"""HDF5 files of unknown origin are first opened by another process, which can be given up.

The library may never return from a damaged file, or take the process down, and nothing interrupts it, Ctrl-C neither.
The process that looks starts with the first such file (in about 0.2 s), and serves for all others.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import weakref
from contextlib import suppress
from pathlib import Path
from typing import Final

from mdflash.core import hdf5_look
from mdflash.core.regular import open_input
from mdflash.errors import StorageError

SECONDS: Final = 8
_STARTS_WITHIN: Final = 60.0
_SIGNATURE: Final = b"\x89HDF\r\n\x1a\n"

_known: set[tuple[int, ...]] = set()
"""Files that were looked at, as they were then, and files that this process writes."""


def check_hdf5(path: Path) -> None:
    """Refuse a file that the library does not read in a few seconds, or that leads to other files.

    Raises:
        StorageError: it is damaged; says how.
        OSError: there is no such file.
    """
    now = _now(path)
    if now in _known or now[:2] in _known:
        return
    answer = _Helper.current().ask(path)
    if answer is not None:
        raise StorageError(f"{path}: {answer}; restore it from a copy")
    _known.add(now)


def check_if_hdf5(path: Path) -> None:
    """As `check_hdf5`, where a file of whatever format begins as HDF5 does.

    Raises:
        StorageError: as `check_hdf5`.
        OSError: it cannot be read.
    """
    with open_input(path) as file:
        begins = file.read(len(_SIGNATURE)) == _SIGNATURE
    if begins:
        check_hdf5(path)


def is_own(path: Path) -> None:
    """Note that this process writes the file, so that what it changes there is not looked at again."""
    _known.add(_now(path)[:2])


def _now(path: Path) -> tuple[int, ...]:
    found = os.stat(path)
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


class _Helper:
    """The process that looks."""

    _one: _Helper | None = None

    def __init__(self) -> None:
        self._owner = os.getpid()
        code = Path(hdf5_look.__file__).read_text(encoding="utf-8")
        # Isolated, and with the path of this process: nothing is imported from the folder where a user happens to be.
        first = "import sys; sys.path[:] = sys.argv[1].split('\\n')\n"
        paths = "\n".join(p for p in sys.path if p)
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-c", f"{first}exec(compile({code!r}, 'hdf5_look', 'exec'))", paths, str(SECONDS)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True,
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        self._leave = weakref.finalize(self, _leave, self._process, self._owner)
        self._read(_STARTS_WITHIN)

    @classmethod
    def current(cls) -> _Helper:
        """The one of this process."""
        if cls._one is None or cls._one._owner != os.getpid() or cls._one._process.poll() is not None:
            cls._one = cls()
        return cls._one

    def ask(self, path: Path) -> str | None:
        """What is wrong with a file, or None."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(os.path.abspath(path)).encode() + b"\n")
            self._process.stdin.flush()
            said = self._read(SECONDS + 1.0)
        except BrokenPipeError:
            said = b""
        except BaseException:
            self._end()
            raise
        if said:
            found: str | None = json.loads(said)
            return found
        self._end()
        return f"HDF5 does not read it within {SECONDS} s, or breaks down over it: it is damaged"

    def _read(self, seconds: float) -> bytes:
        """A line; empty where none comes."""
        assert self._process.stdout is not None
        if not select.select([self._process.stdout], [], [], seconds)[0]:
            return b""
        return self._process.stdout.readline()

    def _end(self) -> None:
        type(self)._one = None
        self._leave()


def _leave(process: subprocess.Popen[bytes], owner: int) -> None:
    """End the process and close its pipes; one that was forked from the owner only closes its own ends of them."""
    if os.getpid() == owner:
        with suppress(OSError):
            process.kill()
            process.wait()
    for pipe in (process.stdin, process.stdout):
        with suppress(OSError):
            if pipe is not None:
                pipe.close()
