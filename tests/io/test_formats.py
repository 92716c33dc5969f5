"""Every trajectory format of the list: created, killed, torn, resumed, read, repaired, exported, found everywhere.

A format that joins the list is tested here as it stands.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from mdflash.cli.export import OutFormat
from mdflash.config.schema import RunConfig, Trajectory
from mdflash.errors import InputError, StorageError
from mdflash.io.export import export, find_replica, trajectories
from mdflash.io.formats import EXPORTED, WRITTEN, export_function, format_of, suffixes, written_format, written_formats
from mdflash.io.formats.base import Target
from mdflash.io.read import iter_frames, read_frames, read_times
from mdflash.io.repair import repair_file, repairable_files
from mdflash.io.runfolder import RunFolder

from .conftest import DT_PS, INTERVAL, TOLERANCE, build_system, expected, files_of, fill, new_writer, run_and_kill

COUNT = 11  # not a multiple of the block of 4
KILLS = 4


def check(format: str, target: Target, count: int) -> None:
    """Every file holds the first `count` frames, and those only."""
    for row, (replica, path) in enumerate(files_of(format, target).items()):
        frames = read_frames(path, replica)
        assert len(frames) == count
        assert np.abs(frames.positions - expected(count, row, 3, 10)).max() < TOLERANCE[format]
        for steps, times in ((frames.steps, frames.times), read_times(path)):
            np.testing.assert_array_equal(steps, np.arange(count) * INTERVAL)
            np.testing.assert_allclose(times, np.arange(count) * INTERVAL * DT_PS, rtol=1e-6)


def write(format: str, target: Target, count: int = COUNT) -> None:
    writer = new_writer(format, target)
    fill(writer, 0, count)
    writer.close()


def test_the_list_names_its_modules() -> None:
    formats = written_formats()
    assert tuple(format.name for format in formats) == WRITTEN
    assert len({format.suffix for format in formats}) == len(formats)
    assert all(format.suffix.startswith(".") and format.suffix in suffixes() for format in formats)
    assert all(callable(export_function(name)) for name in EXPORTED)


def test_settings_reporters_and_command_line_offer_the_list() -> None:
    assert get_args(Trajectory.model_fields["format"].annotation) == (*WRITTEN, "none")
    assert RunConfig.model_fields["output"].default.trajectory.format == WRITTEN[0]
    text = Trajectory.model_fields["format"].description
    assert text is not None and all(name in text for name in (*WRITTEN, "none"))
    assert tuple(choice.value for choice in OutFormat) == (*EXPORTED, "plumed")


@pytest.mark.parametrize("box", [None, (55.5, 60.25, 71.0)])
def test_what_is_written_is_read(format: str, target: Target, box: tuple[float, float, float] | None) -> None:
    target = replace(target, box=box)
    write(format, target)
    check(format, target, COUNT)
    for replica, path in files_of(format, target).items():
        assert read_frames(path, replica).box == (None if box is None else pytest.approx(box))
        parts = list(iter_frames(path, replica, stride=2, chunk=3, first=2, last=9))
        np.testing.assert_array_equal(np.concatenate([p.steps for p in parts]), np.arange(2, 9, 2) * INTERVAL)


def test_the_estimate_of_disk_space_is_about_right(format: str, tmp_path: Path) -> None:
    sizes = []
    for count in (64, 192):
        target = Target(tmp_path, build_system(100, f"of{count}"), (0,), block=16)
        write(format, target, count)
        sizes.append(files_of(format, target)[0].stat().st_size)
    per_bead = (sizes[1] - sizes[0]) / (128 * 100)
    assert 0.4 < written_format(format).bytes_per_bead / per_bead < 2.5


def test_a_killed_writer_is_resumed(format: str, target: Target) -> None:
    rng = np.random.default_rng(3)
    write(format, target, 0)
    held = 0
    for _ in range(KILLS):

        def work(report, start: int = held) -> None:
            writer = written_format(format).writer.resume(target, start)
            while True:
                fill(writer, writer.frames, writer.frames + int(rng.integers(1, 9)))
                writer.flush()
                report(writer.frames)

        held = run_and_kill(work, float(rng.uniform(0, 0.05)))
        writer = written_format(format).writer.resume(target, held)
        assert writer.frames == held
        writer.close()
        check(format, target, held)


def test_a_torn_file_is_repaired(format: str, target: Target) -> None:
    write(format, target)
    path = next(iter(files_of(format, target).values()))
    if written_format(format).many:  # complete frames are what its layout says; see test_kill
        assert repair_file(path).done == ""
        return
    whole = path.read_bytes()
    for lost in (1, 7, 60):
        path.write_bytes(whole[:-lost])
        with_tear = len(read_frames(path, target.replica_ids[0]))
        repaired = repair_file(path)
        assert repaired.done and repaired.unit == "frames" and repaired.kept == with_tear < COUNT
        assert repair_file(path) == replace(repaired, done="")
    path.write_bytes(b"something else\n" * 20)
    with pytest.raises(StorageError, match=path.name):
        repair_file(path)


def test_resume_needs_the_frames_of_the_checkpoint(format: str, target: Target) -> None:
    write(format, target)
    writer = written_format(format).writer
    with pytest.raises(StorageError, match=f"holds {COUNT} complete frames.*after 12"):
        writer.resume(target, 12)
    with pytest.raises(StorageError, match="beads"):
        writer.resume(replace(target, system=build_system(12)), 4)
    with pytest.raises(StorageError, match="already exists"):
        writer.create(target)
    again = writer.resume(target, 5)
    fill(again, 5, 8)
    again.close()
    check(format, target, 8)


def test_a_run_folder_knows_its_files(format: str, tmp_path: Path) -> None:
    with RunFolder.open(tmp_path / "run") as run:
        target = Target(run.trajectory, build_system(), (4, 5, 9), block=4)
        run.fresh([target.system.name])
        write(format, target)
        files = set(files_of(format, target).values())
        mine = run.trajectory / f"mine{written_format(format).suffix}"
        mine.write_text("mine")
        if not written_format(format).many:  # the name alone says that it is another file
            assert [s.replica for s in trajectories(run.path)] == [4, 5, 9]
        assert files <= set(repairable_files(run.path))
        assert set(run.own_files()) == {*files, run.path / ".mdflash"}
        mine.unlink()
        assert find_replica(run.path, 5).system == "pep"
        assert all(format_of(path) is written_format(format) for path in files)


@pytest.mark.parametrize("kind", [name for name in EXPORTED if name in WRITTEN])
def test_an_export_is_read_back(format: str, tmp_path: Path, kind: str) -> None:
    with RunFolder.open(tmp_path / "run") as run:
        write(format, Target(run.trajectory, build_system(), (4, 5, 9), block=4))
    out = tmp_path / f"out{written_format(kind).suffix}"
    assert export(find_replica(tmp_path / "run", 5), kind, out, stride=2) == 6
    frames = read_frames(out)
    np.testing.assert_array_equal(frames.steps, np.arange(0, COUNT, 2) * INTERVAL)
    error = np.abs(frames.positions - expected(COUNT, 1, 3, 10)[::2]).max()
    assert error < TOLERANCE[format] + TOLERANCE[kind]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([out.name, "run"])


def test_a_missing_replica_is_named(target: Target) -> None:
    for format in written_formats():
        if format.many:
            write(format.name, target)
            with pytest.raises(InputError, match=r"replica 3; it has \[4, 5, 9\]"):
                read_frames(format.file(target, 4), 3)
