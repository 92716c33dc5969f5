"""The writer thread: order, waiting, and errors that reach the caller."""

from __future__ import annotations

import errno
import threading
import time
from types import SimpleNamespace

import pytest

from mdflash.errors import NoSpaceError, StorageError
from mdflash.io import background
from mdflash.io.background import BackgroundWriter
from tests.helpers import eventually


def test_jobs_run_in_order_and_the_barrier_waits_for_them():
    done: list[int] = []
    with BackgroundWriter(capacity=4) as writer:
        for i in range(100):
            writer.submit(lambda i=i: done.append(i))
        writer.barrier()
        assert done == list(range(100))
        writer.submit(lambda: done.append(100))
    assert done[-1] == 100


def test_the_caller_waits_for_a_slow_disk_and_the_wait_is_counted(monkeypatch: pytest.MonkeyPatch):
    """By a clock that moves while the disk is busy, which it is until somebody waits."""
    gate, now, waits = threading.Event(), 0.0, False

    def clock() -> float:
        if waits:
            gate.set()
        return now

    def slow() -> None:
        nonlocal now
        gate.wait()
        now = 7.0

    monkeypatch.setattr(background, "time", SimpleNamespace(perf_counter=clock, monotonic=time.monotonic))
    with BackgroundWriter(capacity=1) as writer:
        writer.submit(slow)
        writer.submit(lambda: None)
        assert writer.stall_seconds == 0.0
        waits = True
        writer.submit(lambda: None)
        assert writer.stall_seconds == 7.0


def test_a_full_disk_reaches_the_caller_and_nothing_is_written_after_it():
    after: list[int] = []

    def full() -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    writer = BackgroundWriter()
    writer.submit(full)
    with pytest.raises(NoSpaceError, match="No space left"):
        for i in range(1000):
            writer.submit(lambda i=i: after.append(i))
            time.sleep(0.001)
    for attempt in (writer.barrier, writer.close, lambda: writer.submit(lambda: after.append(1))):
        with pytest.raises(StorageError):
            attempt()
    assert after == []


def test_the_error_of_the_caller_is_not_hidden_by_the_error_of_a_job():
    def full() -> None:
        raise StorageError("full")

    with pytest.raises(KeyError), BackgroundWriter() as writer:
        writer.submit(full)
        raise KeyError("the first")


def test_a_mistake_in_a_job_stays_what_it_is():
    writer = BackgroundWriter()
    writer.submit(lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        writer.barrier()


def test_idle_work_is_done_between_jobs_and_while_there_are_none():
    done: list[str] = []

    def both(writer: BackgroundWriter) -> bool:
        writer.submit(lambda: done.append("job"))
        return done.count("idle") >= 3 and done.count("job") > 10

    with BackgroundWriter(idle=lambda: done.append("idle"), every=0.05) as writer:
        eventually(lambda: len(done) >= 3)  # without any job
        done.clear()
        eventually(lambda: both(writer))
    count = len(done)
    time.sleep(0.1)
    assert len(done) == count


def test_an_error_of_idle_work_reaches_the_caller_and_ends_it():
    tries: list[int] = []

    def fail() -> None:
        tries.append(1)
        raise StorageError("the disk is full")

    def said() -> bool:
        try:
            writer.submit(lambda: None)
        except StorageError as error:
            return str(error) == "the disk is full"
        return False

    writer = BackgroundWriter(idle=fail, every=0.02)
    eventually(said)
    time.sleep(0.1)
    with pytest.raises(StorageError, match="disk is full"):
        writer.close()
    assert len(tries) == 1
