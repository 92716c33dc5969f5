"""A thread that writes while the simulation continues, and reports to it what could not be written."""

from __future__ import annotations

import math
import queue
import threading
import time
from collections.abc import Callable
from types import TracebackType

from mdflash.core.files import FULL
from mdflash.errors import MdflashError, NoSpaceError, StorageError


class BackgroundWriter:
    """Runs jobs one after the other in a thread of its own.

    The queue is bounded, so a slow disk slows the simulation down instead of filling the memory. After a job
    failed, the jobs behind it are dropped: nothing may be written after a gap.

    Args:
        capacity: jobs that may wait.
        idle: done between jobs, about every `every` seconds, also while there are none.
        every: seconds; infinite: never.

    Attributes:
        stall_seconds: how long callers have waited for the queue so far.
    """

    def __init__(
        self, capacity: int = 64, *, idle: Callable[[], object] = lambda: None, every: float = math.inf
    ) -> None:
        self.stall_seconds = 0.0
        self._idle, self._every = idle, every
        self._jobs: queue.Queue[Callable[[], object] | None] = queue.Queue(capacity)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="mdflash-writer", daemon=True)
        self._thread.start()

    def _work(self) -> None:
        due = time.monotonic() + self._every
        while True:
            if time.monotonic() >= due:
                self._do(self._idle)
                due = time.monotonic() + self._every
            try:
                job = self._jobs.get(timeout=None if math.isinf(due) else max(due - time.monotonic(), 0.0))
            except queue.Empty:
                continue
            try:
                if job is None:
                    return
                self._do(job)
            finally:
                self._jobs.task_done()

    def _do(self, job: Callable[[], object]) -> None:
        try:
            if self._error is None:
                job()
        except BaseException as error:  # handed to the caller, who alone can act on it
            self._error = error

    def _raise(self) -> None:
        error = self._error
        if error is None:
            return
        if isinstance(error, MdflashError):
            raise error
        if isinstance(error, OSError):
            kind = NoSpaceError if error.errno in FULL else StorageError
            raise kind(f"output could not be written: {error}") from error
        raise error

    def submit(self, job: Callable[[], object]) -> None:
        """Hand over a job; waits while the queue is full.

        Raises:
            StorageError: an earlier job could not write.
        """
        self._raise()
        start = time.perf_counter()
        self._jobs.put(job)
        self.stall_seconds += time.perf_counter() - start

    def barrier(self) -> None:
        """Wait until everything handed over is done.

        Raises:
            StorageError: a job could not write.
        """
        start = time.perf_counter()
        self._jobs.join()
        self.stall_seconds += time.perf_counter() - start
        self._raise()

    def close(self) -> None:
        """Do what is left and end the thread. Raises as `barrier` does."""
        if self._thread.is_alive():
            self._jobs.put(None)
            self._thread.join()
        self._raise()

    def __enter__(self) -> BackgroundWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.close()
        except Exception:
            if error is None:  # else the error on its way is more precise
                raise
