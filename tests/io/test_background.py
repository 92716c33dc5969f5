"""The writer thread: order, waiting, and errors that reach the caller."""

from __future__ import annotations

import errno
import threading
import time

import pytest

from mdflash.errors import StorageError
from mdflash.io.background import BackgroundWriter


def test_jobs_run_in_order_and_the_barrier_waits_for_them():
    done: list[int] = []
    with BackgroundWriter(capacity=4) as writer:
        for i in range(100):
            writer.submit(lambda i=i: done.append(i))
        writer.barrier()
        assert done == list(range(100))
        writer.submit(lambda: done.append(100))
    assert done[-1] == 100


def test_the_caller_waits_for_a_slow_disk_and_the_wait_is_counted():
    gate = threading.Event()
    with BackgroundWriter(capacity=1) as writer:
        writer.submit(gate.wait)
        writer.submit(lambda: None)
        threading.Timer(0.1, gate.set).start()
        start = time.perf_counter()
        writer.submit(lambda: None)
        waited = time.perf_counter() - start
        assert 0.05 < writer.stall_seconds <= waited + 0.05


def test_a_full_disk_reaches_the_caller_and_nothing_is_written_after_it():
    after: list[int] = []

    def full() -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    writer = BackgroundWriter()
    writer.submit(full)
    with pytest.raises(StorageError, match="No space left"):
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
    with BackgroundWriter(idle=lambda: done.append("idle"), every=0.05) as writer:
        time.sleep(0.5)
        assert len(done) >= 3  # without any job
        done.clear()
        end = time.monotonic() + 0.5
        while time.monotonic() < end:
            writer.submit(lambda: done.append("job"))
            time.sleep(0.001)
        assert done.count("idle") >= 3 and done.count("job") > 10
    count = len(done)
    time.sleep(0.1)
    assert len(done) == count


def test_an_error_of_idle_work_reaches_the_caller_and_ends_it():
    tries: list[int] = []

    def fail() -> None:
        tries.append(1)
        raise StorageError("the disk is full")

    writer = BackgroundWriter(idle=fail, every=0.02)
    time.sleep(0.3)
    with pytest.raises(StorageError, match="disk is full"):
        writer.submit(lambda: None)
    with pytest.raises(StorageError, match="disk is full"):
        writer.close()
    assert len(tries) == 1
