"""Python in a process of its own that starts at once: forked from one that has imported the large libraries.

A process that imports torch, numba and h5py takes 3 s of a processor before it does anything, and the tests start some
two hundred. Here a server imports them; `python` and `Process` fork it and go on as the interpreter would: with the
arguments (`-c` or `-m`), environment, folder and files of their own, signals as always, and the interpreter's own end.
What looks at imports, at variables that numba or torch read when they are imported (save NUMBA_CACHE_DIR), or at a
terminal needs `subprocess`.
"""

from __future__ import annotations

import atexit
import ctypes
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import types
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cache, partial
from pathlib import Path
from typing import Any, NoReturn

ROOT = Path(__file__).parents[1]
LIBRARIES = (
    *("torch", "numba.np.arrayobj", "numba.experimental.structref", "h5py", "pydantic.json_schema", "pydantic.types"),
    *("scipy.optimize", "safetensors.numpy", "typer", "mdtraj", "MDAnalysis", "openmm.app", "pytest"),
)
"""Not triton: whether it interprets is settled at its import."""
PACKAGE = ("mdflash.runs.execute", "mdflash.cli.app")
"""What most of the tests' processes import of mdflash, and all that it imports."""

_STARTING = threading.Lock()


class Process:
    """As `subprocess.Popen([sys.executable, *arguments], stdout=PIPE, stderr=PIPE, text=True)`.

    Args:
        arguments: of the interpreter: `-c CODE` or `-m MODULE`, and what follows.
        env: the environment; default: that of the tests.
        cwd: default: that of the tests.
        bare: without mdflash, for a copy of it that has changed.
    """

    def __init__(
        self,
        *arguments: str | Path,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        bare: bool = False,
    ) -> None:
        self.args = [str(word) for word in arguments]
        self.returncode: int | None = None
        handles, self._said = zip(*(tempfile.mkstemp(prefix="mdflash-test-") for _ in range(2)), strict=True)
        request = {
            "arguments": self.args,
            "env": dict(os.environ if env is None else env),
            "cwd": str(cwd or Path.cwd()),
            "files": self._said,
        }
        self._server = socket.socket(socket.AF_UNIX)
        with _STARTING:
            self._server.connect(_server(LIBRARIES if bare else LIBRARIES + PACKAGE))
        self._server.sendall(json.dumps(request).encode() + b"\n")
        self._answers = self._server.makefile("r")
        self.pid = int(self._answers.readline())
        for handle in handles:
            os.close(handle)

    def poll(self) -> int | None:
        """The exit status, negative for a signal; None while it runs."""
        if self.returncode is None and select.select([self._server], [], [], 0.0)[0]:
            self.returncode = int(self._answers.readline())
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """The exit status.

        Raises:
            subprocess.TimeoutExpired: it runs for longer.
        """
        if self.returncode is None and not select.select([self._server], [], [], timeout)[0]:
            assert timeout is not None
            raise subprocess.TimeoutExpired(self.args, timeout)
        status = self.poll()
        assert status is not None
        return status

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """What it said on stdout and stderr, when it has ended; see `wait`."""
        self.wait(timeout)
        self._server.close()
        self._answers.close()
        out, err = self.said()
        for file in self._said:
            Path(file).unlink(missing_ok=True)
        return out, err

    def said(self) -> tuple[str, str]:
        """What it said so far on stdout and stderr."""
        out, err = (Path(file).read_text(encoding="utf-8") for file in self._said)
        return out, err

    def send_signal(self, number: int) -> None:
        """Nothing where it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)


def python(
    *arguments: str | Path,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    timeout: float | None = None,
    check: bool = False,
    bare: bool = False,
) -> subprocess.CompletedProcess[str]:
    """As `subprocess.run([sys.executable, *arguments], capture_output=True, text=True)`; see `Process`."""
    process = Process(*arguments, env=env, cwd=cwd, bare=bare)
    try:
        out, err = process.communicate(timeout)
    except BaseException:
        process.kill()
        raise
    done = subprocess.CompletedProcess(process.args, process.wait(), out, err)
    if check:
        done.check_returncode()
    return done


@cache
def _server(imported: tuple[str, ...]) -> str:
    """The socket of this process's server; it ends with this process, which holds the other end of its stdin."""
    place = f"{tempfile.mkdtemp(prefix='mdflash-test-')}/door"
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.processes", place, *imported],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert server.stdout is not None
    assert server.stdout.readline() == b"open\n"
    return place


def _serve(place: str, *imported: str) -> NoReturn:
    """Fork for every request, until stdin ends."""
    for module in imported:
        with suppress(ImportError):
            importlib.import_module(module)
    if set(PACKAGE) <= set(imported):  # numba's own tables, for the processor that mdflash has chosen
        from numba.core.registry import cpu_target

        cpu_target.typing_context.refresh()
        cpu_target.target_context.refresh()
    gc.freeze()  # a collection in a forked process would touch, and so copy, all of that
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # watchers are not waited for
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(place)
        door.listen(64)
        print("open", flush=True)
        while True:
            if sys.stdin in select.select([door, sys.stdin], [], [])[0]:
                os.unlink(place)
                os.rmdir(os.path.dirname(place))
                os._exit(0)
            guest, _ = door.accept()
            if os.fork() == 0:
                break
            guest.close()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    request = json.loads(guest.makefile("r").readline())
    pid = os.fork()
    if pid:
        _watch(guest, pid)
    guest.close()
    _end(partial(_become, **request))


def _watch(guest: socket.socket, pid: int) -> NoReturn:
    """Tell the test the process and, at its end, its exit status."""
    with suppress(OSError):
        guest.sendall(f"{pid}\n".encode())
    _, status = os.waitpid(pid, 0)
    with suppress(OSError):  # a test that does not ask
        guest.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())
    os._exit(0)


def _become(arguments: list[str], env: dict[str, str], cwd: str, files: list[str]) -> None:
    """What an interpreter does with its command line."""
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    for number, file in enumerate([os.devnull, *files]):
        handle = os.open(file, os.O_RDWR | os.O_APPEND)
        os.dup2(handle, number)
        os.close(handle)
    sys.stdout, sys.stderr = (os.fdopen(n, "w", encoding="utf-8", closefd=False) for n in (1, 2))
    own = [path for path in env.get("PYTHONPATH", "").split(os.pathsep) if path]
    sys.path[:] = ["" if arguments[0] == "-c" else cwd, *own, *(p for p in sys.path if p not in ("", str(ROOT)))]
    sys.modules.pop("tests.processes", None)
    sys.modules.pop("tests", None)
    numba: Any = sys.modules["numba"]
    numba.config.CACHE_DIR = env.get("NUMBA_CACHE_DIR", "")
    kind, what, *sys.argv[1:] = arguments
    if kind == "-m":
        runpy.run_module(what, run_name="__main__", alter_sys=True)
        return
    main: Any = types.ModuleType("__main__")
    sys.modules["__main__"], sys.argv[0] = main, "-c"
    exec(compile(what, "<string>", "exec"), vars(main))


def _end(work: Callable[[], None]) -> NoReturn:
    """Work, and leave as the interpreter does, but for taking all modules apart, which takes a second."""
    status, interrupted = 0, False
    try:
        work()
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except BaseException as error:
        status, interrupted = 1, isinstance(error, KeyboardInterrupt)
        sys.excepthook(type(error), error, error.__traceback__)
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    if interrupted:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    ctypes.PyDLL(None).exit(status)  # with what C libraries have to do; HDF5 crashes there if it was left in disorder
    raise AssertionError("exit returned")


if __name__ == "__main__":
    _serve(*sys.argv[1:])
