"""Walkers over processes, least advanced first, until every one has its frames.

Each process runs one walker for a segment and ends, so a crash or a kill costs at most the frames since the
walker's last checkpoint, and a dataset in the making is balanced over its walkers.
"""

from __future__ import annotations

import multiprocessing as mp
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any, Protocol

from mdflash.core.signals import ASKED_TO_STOP, handling
from mdflash.errors import Interrupted, MdflashError

SEGMENT = 60.0
"""Seconds for which a process runs one walker before another one may have its turn."""


class Task(Protocol):
    """A walker as this file knows it: hashable, and sent to a process."""

    @property
    def label(self) -> str:
        """For people."""

    def frames(self) -> int:
        """Frames that are safely on the disk."""

    def advance(self, frames: int, seconds: float, report: Callable[[int], None]) -> None:
        """Run until there are `frames`, or to the first time that frames are safe after `seconds`; report these."""


@dataclass(frozen=True)
class Progress:
    """Where sampling stands.

    Attributes:
        walker: the one that advanced.
        frames: its frames.
        done: frames of all walkers.
        total: frames that the recipe asks for.
        new: frames since this command began.
        seconds: wall time since this command began.
    """

    walker: Task
    frames: int
    done: int
    total: int
    new: int
    seconds: float

    @property
    def seconds_left(self) -> float:
        return (self.total - self.done) * self.seconds / self.new


def carry_out(todo: Mapping[Task, int], processes: int, watch: Callable[[Progress], None]) -> None:
    """Run every walker until it has its frames.

    Args:
        todo: the walkers, and how many frames each is to have.
        processes: how many are at work at a time.
        watch: called after every block of frames.

    Raises:
        Interrupted: stopped by SIGTERM or Ctrl-C; the same call resumes.
        MdflashError: what stopped a walker.
    """
    frames = {walker: min(walker.frames(), target) for walker, target in todo.items()}
    before, began = sum(frames.values()), time.monotonic()
    running: dict[Connection, tuple[Task, Any]] = {}
    total = sum(todo.values())

    def start_next() -> None:
        busy = {walker for walker, _ in running.values()}
        free = [walker for walker, target in todo.items() if frames[walker] < target and walker not in busy]
        if free:
            walker = min(free, key=lambda w: frames[w])
            connection, process = _start(walker, todo[walker])
            running[connection] = (walker, process)

    with _stopping(running):
        for _ in range(processes):
            start_next()
        while running:
            ready = wait(list(running))
            for connection in [c for c in running if c in ready]:
                walker, process = running[connection]
                try:
                    message: int | MdflashError = connection.recv()
                except EOFError:
                    process.join()
                    del running[connection]
                    if process.exitcode:
                        raise MdflashError(
                            f"{walker.label}: its process exited with {process.exitcode} (killed, or out of memory); "
                            "run the same command to resume"
                        ) from None
                    start_next()
                    continue
                if isinstance(message, MdflashError):
                    raise message
                frames[walker] = message
                done = sum(frames.values())
                watch(Progress(walker, message, done, total, done - before, time.monotonic() - began))


def _start(walker: Task, target: int) -> tuple[Connection, Any]:
    """A process that runs a walker for a segment, and the pipe that reports its progress."""
    server = mp.get_context("forkserver")
    server.set_forkserver_preload([__name__, type(walker).__module__])  # so that no segment imports it again
    mine, theirs = server.Pipe(duplex=False)
    process = server.Process(target=_work, args=(walker, target, theirs), daemon=True)
    # Ctrl-C reaches the whole group, but what it means is decided here. The process inherits this.
    with handling(signal.SIG_IGN, signal.SIGINT):
        process.start()
    theirs.close()
    return mine, process


@contextmanager
def _stopping(running: dict[Connection, tuple[Task, Any]]) -> Iterator[None]:
    """End the processes on the way out; SIGTERM and Ctrl-C become `Interrupted`."""

    def stop(signum: int, frame: object) -> None:
        raise KeyboardInterrupt

    try:
        with handling(stop, signal.SIGTERM):
            yield
    except ASKED_TO_STOP:
        raise Interrupted(
            "stopped; frames up to each walker's last block are kept. Run the same command to resume"
        ) from None
    finally:
        for _, process in running.values():
            process.terminate()
        for _, process in running.values():
            process.join()


def is_wanted() -> bool:
    """Whether the program that started this process is there; true where none did.

    Its parent is no sign of that: the fork server stays for as long as one of its processes.
    """
    parent = mp.parent_process()
    return parent is None or parent.is_alive()


def _work(walker: Task, frames: int, connection: Connection) -> None:
    try:
        walker.advance(frames, SEGMENT, connection.send)
    except MdflashError as error:
        connection.send(error)
