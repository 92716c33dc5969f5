"""SIGKILL at random moments: after the repair no flushed frame is missing, and all are right."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from mdflash.errors import StorageError
from mdflash.io.events import EventLog, read_events
from mdflash.io.formats import written_format, written_formats
from mdflash.io.formats.base import FrameWriter
from mdflash.io.formats.hdf5 import complete_frames, reading
from mdflash.io.log import LogWriter
from mdflash.io.read import read_frames
from mdflash.io.repair import repair_file

from .conftest import TOLERANCE, build_system, expected, files_of, fill, new_writer, run_and_kill

KILLS = 10


def check(format, target, at_least):
    """Repair, then compare every frame that is left; returns how many there are in the shortest file."""
    counts = []
    for row, (replica, path) in enumerate(files_of(format, target).items()):
        repair_file(path)
        again = repair_file(path)
        assert again.done == "", "the second repair finds a healthy file"
        assert again.kept >= at_least
        counts.append(again.kept)
        if again.kept:
            positions = read_frames(path, replica).positions
            assert len(positions) == again.kept
            error = np.abs(positions - expected(again.kept, row, len(target.replica_ids), 10)).max()
            assert error < TOLERANCE[format]
    return min(counts)


def write_on(writer: FrameWriter, report) -> None:
    """Append for ever; report what is flushed, now and then in the middle of a block."""
    rng = np.random.default_rng(writer.frames)
    while True:
        fill(writer, writer.frames, writer.frames + int(rng.integers(1, 9)))
        writer.flush(sync=bool(rng.random() < 0.05))
        report(writer.frames)


def test_killed_while_writing_then_resumed(format, target):
    rng = np.random.default_rng(7)
    held = 0
    new_writer(format, target).close()
    for _ in range(KILLS):
        # Go back a little, as a run does that was killed after its last checkpoint.
        start = max(held - int(rng.integers(0, 7)), 0)

        def work(report, start=start):
            write_on(written_format(format).writer.resume(target, start), report)

        reported = run_and_kill(work, float(rng.uniform(0, 0.08)))
        assert reported > start
        held = check(format, target, at_least=reported)


def test_killed_while_resuming(format, target):
    """Resume cuts the file: a kill in the middle of that must not cost the frames before the cut."""
    rng = np.random.default_rng(8)
    writer = new_writer(format, target)
    fill(writer, 0, 9)
    writer.close()

    def work(report):
        report(0)
        while True:
            writer = written_format(format).writer.resume(target, 9)
            fill(writer, 9, 22)
            writer.close()

    for _ in range(KILLS):
        run_and_kill(work, float(rng.uniform(0, 0.06)))
        check(format, target, at_least=9)


def test_killed_while_being_created(format, target, tmp_path):
    rng = np.random.default_rng(9)
    for k in range(5):
        fresh = replace(target, folder=tmp_path / str(k))
        fresh.folder.mkdir()

        def work(report, fresh=fresh):
            report(0)
            write_on(new_writer(format, fresh), lambda n: None)

        run_and_kill(work, float(rng.uniform(0, 0.01)))
        if all(path.exists() for path in files_of(format, fresh).values()):
            try:
                check(format, fresh, at_least=0)
            except StorageError as error:  # the header itself was not complete
                assert format == "dcd" and "is not a" in str(error)


def left_marked(path, target):
    """A file that is marked "open for writing", as the library leaves it: the writer was killed as it opened it."""

    def work(report):
        file = h5py.File(path, "r+", libver=("v110", "v110"))
        file.swmr_mode = True
        report(0)
        time.sleep(60)

    new_writer("hdf5", target).close()
    run_and_kill(work, 0.0)
    with pytest.raises(OSError), h5py.File(path, "r"):
        pass


@pytest.mark.parametrize("marked", [False, True])
def test_a_killed_hdf5_file_opens_everywhere(target, marked):
    """... and the new frames do not land on the old ones: the library leaves a stale end of file."""
    path = target.folder / "pep.h5"
    if marked:
        left_marked(path, target)
    else:
        new_writer("hdf5", target).close()
        run_and_kill(lambda report: write_on(written_format("hdf5").writer.resume(target, 0), report), 0.05)
        with h5py.File(path, "r") as f:
            assert len(f["coordinates"]) > 0
    with reading(path) as f:
        readable = complete_frames(f)
    repaired = repair_file(path)
    assert ("unlocked" in repaired.done) == marked and repaired.kept == readable
    with h5py.File(path, "r+") as f:
        assert f["coordinates"].shape[0] == readable
    writer = written_format("hdf5").writer.resume(target, readable)
    fill(writer, readable, readable + 40)
    writer.close()
    check("hdf5", target, at_least=readable + 40)


def test_log_and_events_survive(tmp_path):
    rng = np.random.default_rng(10)
    log, events = tmp_path / "log.csv", tmp_path / "events.jsonl"
    LogWriter.start(log)

    def work(report):
        writer, journal = LogWriter.resume_rows(log, 0), EventLog(events)
        while True:
            step = writer.rows
            writer.append(step, 0.1 * step, [0, 1], ["a", "a"], np.array([0, 0]), *np.full((4, 2), step / 3))
            writer.flush()
            journal.write(step, "report", note="x" * 50)
            report(step)

    for _ in range(5):
        events.unlink(missing_ok=True)
        last = run_and_kill(work, float(rng.uniform(0, 0.03)))
        rows, journal = repair_file(log), repair_file(events)
        assert rows.kept >= last + 2
        assert len(log.read_bytes().splitlines()) == rows.kept + 1
        assert journal.kept == len(read_events(events)) >= last // 2


@pytest.mark.parametrize("beads", [9, 10])
@pytest.mark.parametrize("format", [format.name for format in written_formats() if not format.many])
def test_every_possible_tear_keeps_the_frames_before_it(format, target, tmp_path, beads):
    small = replace(target, system=build_system(beads), replica_ids=(0,))
    sizes = [0]
    writer = new_writer(format, small)
    path = files_of(format, small)[0]
    header = path.stat().st_size
    for i in range(3):
        fill(writer, i, i + 1)
        writer.flush()
        sizes.append(path.stat().st_size)
    writer.close()
    whole = path.read_bytes()
    torn = tmp_path / f"torn.{format}"
    cuts = {
        *range(header, len(whole), 3),
        *(end + d for end in sizes[1:] for d in (-1, 0, 1) if end + d <= len(whole)),
    }
    for size in sorted(cuts):
        torn.write_bytes(whole[:size])
        complete = sum(end <= size for end in sizes[1:])
        assert repair_file(torn).kept == complete
        assert torn.stat().st_size == (sizes[complete] or header)
    assert torn.read_bytes() == whole


def test_a_healthy_file_is_left_untouched(format, target):
    writer = new_writer(format, target)
    fill(writer, 0, 6)
    writer.close()
    for path in files_of(format, target).values():
        before = (path.read_bytes(), path.stat().st_mtime_ns)
        repaired = repair_file(path)
        assert (repaired.kept, repaired.done) == (6, "")
        assert (path.read_bytes(), path.stat().st_mtime_ns) == before


def test_a_shortened_hdf5_copy_is_refused(target):
    writer = new_writer("hdf5", target)
    fill(writer, 0, 6)
    writer.close()
    path: Path = target.folder / "pep.h5"
    data = path.read_bytes()
    path.write_bytes(data[:-100])
    with pytest.raises(StorageError, match="copy it again"):
        repair_file(path)
    path.write_bytes(data[:30] + bytes([data[30] ^ 1]) + data[31:])
    with pytest.raises(StorageError, match="damaged"):
        repair_file(path)
