"""A disk that takes no more: one clear sentence, and what was written before stays good."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mdflash.core.files import append_at, atomic_write
from mdflash.errors import StorageError
from mdflash.io.checkpoint import load_checkpoint, save_checkpoint
from mdflash.io.events import EventLog
from mdflash.io.formats import written_format
from mdflash.io.log import LogWriter
from mdflash.io.read import read_frames
from mdflash.io.repair import repair_file
from mdflash.io.superblock import unlock

from .conftest import TOLERANCE, expected, files_of, fill, new_writer


@contextmanager
def no_file_larger_than(size: int) -> Iterator[None]:
    """The system refuses to let any file grow beyond `size` (EFBIG), inside C libraries too."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 600 kB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", str(disk)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("mounting a small tmpfs needs root")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def fill_until_refused(writer) -> tuple[int, StorageError]:
    with pytest.raises(StorageError) as caught:
        for i in range(100_000):
            fill(writer, i, i + 1)
    return writer.frames, caught.value


def check_and_go_on(format, target, frames) -> None:
    """With room again: every flushed frame is there, and the run goes on behind them."""
    for path in files_of(format, target).values():
        assert repair_file(path).kept >= frames
    writer = written_format(format).writer.resume(target, frames)
    fill(writer, frames, frames + 5)
    writer.close()
    for row, (replica, path) in enumerate(files_of(format, target).items()):
        positions = read_frames(path, replica).positions
        assert np.abs(positions - expected(frames + 5, row, 3, 10)).max() < TOLERANCE[format]


def test_a_file_that_may_not_grow(format, target):
    writer = new_writer(format, target)
    with no_file_larger_than(400_000 if format == "hdf5" else 30_000):
        frames, error = fill_until_refused(writer)
        assert "pep" in str(error) and "File too large" in str(error)
        if format == "hdf5":
            assert not unlock(target.folder / "pep.h5"), "other readers find a whole file"
        with pytest.raises(StorageError):
            writer.flush()
        with pytest.raises(StorageError):
            writer.close()
    assert frames > 0
    check_and_go_on(format, target, frames)


def test_a_block_that_failed_can_be_written_again(format, target):
    writer = new_writer(format, target)
    with no_file_larger_than(400_000 if format == "hdf5" else 30_000):
        frames, _ = fill_until_refused(writer)
    writer.flush()
    kept = writer.frames
    writer.close()
    assert kept > frames
    for path in files_of(format, target).values():
        assert repair_file(path) == replace(repair_file(path), kept=kept, done="")
    check_and_go_on(format, target, kept)


def test_a_full_disk_names_itself(format, target, tiny_disk):
    target = replace(target, folder=tiny_disk)
    writer = new_writer(format, target)
    frames, error = fill_until_refused(writer)
    assert "the disk is full" in str(error) and "run the same command again" in str(error)
    with pytest.raises(StorageError, match="the disk is full"):
        writer.close()
    for path in files_of(format, target).values():
        assert repair_file(path).kept >= frames > 0


def test_a_process_that_met_a_full_disk_still_ends_in_order(tiny_disk):
    """HDF5 crashes at exit when a write failed inside it."""
    script = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from conftest import *; from mdflash.errors import StorageError\n"
        "writer = new_writer('hdf5', Target(Path(sys.argv[2]), build_system(), (0, 1), block=4))\n"
        "try:\n  fill(writer, 0, 100_000)\nexcept StorageError as error:\n  sys.exit(str(error))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(Path(__file__).parent), str(tiny_disk)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.returncode == 1 and "the disk is full" in done.stderr


def test_nothing_is_left_of_a_trajectory_that_could_not_be_created(format, target):
    with no_file_larger_than(100):
        try:
            new_writer(format, target).close()
        except StorageError:
            assert list(target.folder.iterdir()) == []
        else:
            assert all(path.stat().st_size == 0 for path in files_of(format, target).values())  # a format without head


def test_append_takes_half_a_record_back(tmp_path):
    path = tmp_path / "f"
    path.write_bytes(b"x" * 100)
    with no_file_larger_than(150), pytest.raises(StorageError, match="File too large"):
        append_at(path, 100, b"y" * 100)
    assert path.read_bytes() == b"x" * 100


def test_atomic_write_keeps_the_old_file(tmp_path):
    path = tmp_path / "manifest.json"
    path.write_text("old")
    with no_file_larger_than(1000), pytest.raises(StorageError, match=r"manifest\.json"):
        atomic_write(path, "n" * 5000)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_checkpoint_log_and_events(tmp_path):
    arrays = {"positions": np.arange(900.0)}
    save_checkpoint(tmp_path, arrays, {"step": 1})
    log, events = LogWriter.start(tmp_path / "log.csv"), EventLog(tmp_path / "events.jsonl")
    one = np.ones(1)
    for step in range(200):
        log.append(step, 0.1, [0], ["a"], np.array([0]), one, one, one, one)
    with no_file_larger_than(1000):
        with pytest.raises(StorageError, match="step_0"):
            save_checkpoint(tmp_path, arrays, {"step": 2})
        with pytest.raises(StorageError, match="log"):
            log.flush()
        with pytest.raises(StorageError, match="events"):
            for step in range(100):
                events.write(step, "report")
    loaded = load_checkpoint(tmp_path)
    assert loaded is not None and loaded.header["step"] == 1 and loaded.notes == ()
    log.flush()
    assert repair_file(log.path).kept == 200 == log.rows
    repaired = repair_file(events.path)
    EventLog(events.path).write(7, "after")
    assert repair_file(events.path).kept == repaired.kept + 1


def test_the_text_says_full_or_quota_or_permission(tmp_path, monkeypatch):
    for number, text in (
        (errno.ENOSPC, "the disk is full"),
        (errno.EDQUOT, "quota"),
        (errno.EACCES, "no permission"),
    ):

        def fail(fd: int, number: int = number) -> None:
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(os, "fsync", fail)
        with pytest.raises(StorageError, match=text):
            atomic_write(tmp_path / "f", "x")
        assert not (tmp_path / "f.tmp").exists()
