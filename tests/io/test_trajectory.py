"""Every trajectory format: right in the readers that people use, resumable at an exact frame, safe."""

from __future__ import annotations

import struct
import warnings
from dataclasses import replace
from pathlib import Path

import h5py
import mdtraj
import numpy as np
import pytest

from mdflash.errors import InputError, StorageError
from mdflash.io.formats import written_format
from mdflash.io.formats.base import Target
from mdflash.io.read import iter_frames, read_frames, read_times
from mdflash.io.topology import mdtraj_topology, write_pdb

from .conftest import DT_PS, INTERVAL, TOLERANCE, build_system, expected, files_of, fill, frame, new_writer

COUNT = 11  # not a multiple of the block of 4
other_readers = pytest.mark.parametrize("format", ["hdf5", "xtc", "dcd"])
"""What MDTraj and MDAnalysis read."""


def load_with_mdtraj(path: Path, format: str, target: Target, rows: range) -> mdtraj.Trajectory:
    """One replica as MDTraj opens it; MDTraj reads HDF5 through PyTables."""
    if format == "hdf5":
        pytest.importorskip("tables", reason="MDTraj needs PyTables to read HDF5")
        return mdtraj.load(str(path), atom_indices=rows)
    return mdtraj.load(str(path), top=mdtraj_topology(target.system))


def universe(path: Path, format: str, target: Target, tmp_path: Path):
    """The file as MDAnalysis opens it."""
    MDAnalysis = pytest.importorskip("MDAnalysis", reason="needs MDAnalysis (pip install 'mdflash[dev]')")
    copies = len(target.replica_ids) if format == "hdf5" else 1
    top = tmp_path / "top.pdb"
    write_pdb(top, target.system, frame(0, copies, target.system.n_beads))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return MDAnalysis.Universe(str(top), str(path), format={"hdf5": "H5MD"}.get(format, format.upper()))


@other_readers
@pytest.mark.parametrize("beads", [1, 9, 10, 37])
def test_mdtraj_reads_positions_and_times(format, tmp_path, beads):
    target = Target(tmp_path, build_system(beads), (4, 5, 9), block=4)
    writer = new_writer(format, target)
    fill(writer, 0, COUNT)
    writer.close()
    assert writer.frames == COUNT
    for row, (replica, path) in enumerate(files_of(format, target).items()):
        traj = load_with_mdtraj(path, format, target, range(row * beads, (row + 1) * beads))
        assert traj.n_frames == COUNT
        assert traj.unitcell_lengths is None
        error = np.abs(traj.xyz * 10.0 - expected(COUNT, row, 3, beads)).max()
        assert error < TOLERANCE[format], replica
        if format != "dcd":  # mdtraj numbers the frames of a DCD
            np.testing.assert_allclose(traj.time, np.arange(COUNT) * INTERVAL * DT_PS, rtol=1e-6)


@other_readers
def test_mdanalysis_reads_positions_and_times(format, target, tmp_path):
    writer = new_writer(format, target)
    fill(writer, 0, COUNT)
    writer.close()
    for row, path in enumerate(files_of(format, target).values()):
        u = universe(path, format, target, tmp_path)
        n = target.system.n_beads
        rows = slice(row * n, (row + 1) * n) if format == "hdf5" else slice(None)
        assert len(u.trajectory) == COUNT
        found, times = [], []
        for ts in u.trajectory:
            found.append(ts.positions[rows].copy())
            times.append(ts.time)
        assert np.abs(np.array(found) - expected(COUNT, row, 3, n)).max() < TOLERANCE[format]
        np.testing.assert_allclose(times, np.arange(COUNT) * INTERVAL * DT_PS, rtol=1e-5)


@other_readers
def test_a_run_that_starts_late_keeps_its_times_in_mdanalysis(format, target, tmp_path):
    writer = new_writer(format, target)
    fill(writer, 3, 9)
    writer.close()
    u = universe(next(iter(files_of(format, target).values())), format, target, tmp_path)
    times = [ts.time for ts in u.trajectory]
    np.testing.assert_allclose(times, np.arange(3, 9) * INTERVAL * DT_PS, rtol=1e-5)


@other_readers
def test_the_box_reaches_both_readers(format, target, tmp_path):
    target = replace(target, box=(55.5, 60.25, 71.0))
    writer = new_writer(format, target)
    fill(writer, 0, COUNT)
    writer.close()
    path = files_of(format, target)[4]
    traj = load_with_mdtraj(path, format, target, range(10))
    np.testing.assert_allclose(traj.unitcell_lengths * 10, np.tile(target.box, (COUNT, 1)), rtol=1e-6)
    np.testing.assert_allclose(traj.unitcell_angles, 90.0)
    u = universe(path, format, target, tmp_path)
    for ts in u.trajectory:
        np.testing.assert_allclose(ts.dimensions, [*target.box, 90, 90, 90], rtol=1e-6)
    assert read_frames(path, 4).box == pytest.approx(target.box)


@pytest.mark.parametrize("format", ["hdf5", "dcd"])
def test_resume_refuses_another_kind_of_box(format, target):
    writer = new_writer(format, replace(target, box=(55.5, 60.25, 71.0)))
    fill(writer, 0, 4)
    writer.close()
    with pytest.raises(StorageError, match="box"):
        written_format(format).writer.resume(target, 4)


def test_any_number_of_frames_is_kept(format, target, tmp_path):
    """Blocks are of four frames: one alone, full ones, and what is left of one when the file is closed."""
    for count in range(1, 10):
        folder = tmp_path / f"{count} frames"
        folder.mkdir()
        target = replace(target, folder=folder)
        writer = new_writer(format, target)
        fill(writer, 0, count)
        writer.close()
        assert [len(read_frames(path, replica)) for replica, path in files_of(format, target).items()] == [count] * 3


def test_own_reader_gives_positions_steps_and_times(format, target):
    writer = new_writer(format, target)
    fill(writer, 0, COUNT)
    writer.close()
    for row, (replica, path) in enumerate(files_of(format, target).items()):
        frames = read_frames(path, replica)
        assert np.abs(frames.positions - expected(COUNT, row, 3, 10)).max() < TOLERANCE[format]
        np.testing.assert_array_equal(frames.steps, np.arange(COUNT) * INTERVAL)
        np.testing.assert_allclose(frames.times, np.arange(COUNT) * INTERVAL * DT_PS, rtol=1e-6)
        assert frames.box is None


@pytest.mark.parametrize("stride", [1, 2, 3, 7, 50])
def test_stride_does_not_depend_on_chunks(format, target, stride):
    writer = new_writer(format, target)
    fill(writer, 0, COUNT)
    writer.close()
    path = files_of(format, target)[5]
    for chunk in (1, 2, 3, 5, 100):
        steps = np.concatenate([f.steps for f in iter_frames(path, 5, stride, chunk)])
        np.testing.assert_array_equal(steps, np.arange(0, COUNT, stride) * INTERVAL)


def test_what_was_flushed_is_read_while_the_run_goes_on(format, target):
    writer = new_writer(format, target)
    fill(writer, 0, 6)
    path = files_of(format, target)[9]
    assert writer.frames == 4 and len(read_frames(path, 9)) == 4  # one block
    writer.flush()
    assert writer.frames == 6 and len(read_frames(path, 9)) == 6
    fill(writer, 6, 8)
    frames = read_frames(path, 9)
    assert np.abs(frames.positions - expected(8, 2, 3, 10)).max() < TOLERANCE[format]
    writer.close()


def test_hdf5_can_be_followed_by_another_reader(target):
    writer = new_writer("hdf5", target)
    fill(writer, 0, 4)
    with h5py.File(target.folder / "pep.h5", "r", swmr=True) as f:
        value = f["particles/trajectory/position/value"]
        assert value.shape == (4, 30, 3)
        fill(writer, 4, 12)
        value.refresh()
        assert value.shape == (12, 30, 3)
    writer.close()


@pytest.mark.parametrize("kept", [0, 1, 2, 5, 8, 11])
def test_resume_gives_the_file_of_an_uninterrupted_run(format, target, tmp_path, kept):
    whole = replace(target, folder=tmp_path / "whole")
    whole.folder.mkdir()
    one = new_writer(format, whole)
    fill(one, 0, 17)
    one.close()
    first = new_writer(format, target)
    fill(first, 0, COUNT)
    first.close()
    second = written_format(format).writer.resume(target, kept)
    assert second.frames == kept
    fill(second, kept, 17)
    second.close()
    for replica, path in files_of(format, target).items():
        reference = files_of(format, whole)[replica]
        if format == "hdf5":
            with h5py.File(path) as a, h5py.File(reference) as b:
                names: list[str] = []
                b.visit(names.append)
                for name in names:
                    if isinstance(b[name], h5py.Dataset):
                        assert np.asarray(a[name]).tobytes() == np.asarray(b[name]).tobytes(), name
        else:
            assert path.read_bytes() == reference.read_bytes()


def test_resume_refuses_a_file_with_fewer_frames(format, target):
    writer = new_writer(format, target)
    fill(writer, 0, COUNT)
    writer.close()
    before = {path: path.read_bytes() for path in files_of(format, target).values()}
    with pytest.raises(StorageError, match=f"holds {COUNT} complete frames.*after 12"):
        written_format(format).writer.resume(target, 12)
    assert before == {path: path.read_bytes() for path in before}


def test_resume_refuses_another_molecule(format, target):
    writer = new_writer(format, target)
    fill(writer, 0, 4)
    writer.close()
    other = replace(target, system=build_system(12))
    with pytest.raises(StorageError, match="beads"):
        written_format(format).writer.resume(other, 4)


def test_resume_of_a_missing_file_says_so(format, target):
    with pytest.raises(StorageError, match="pep"):
        written_format(format).writer.resume(target, 0)


def test_create_replaces_nothing(format, target):
    last = list(files_of(format, target).values())[-1]
    last.write_text("mine")
    with pytest.raises(StorageError, match="already exists"):
        new_writer(format, target)
    assert [p.name for p in target.folder.iterdir()] == [last.name]
    assert last.read_text() == "mine"


def test_steps_beyond_32_bits(format, target):
    step = 2**31 + 7
    writer = new_writer(format, target)
    for i in range(5):
        writer.append(frame(i, 3, 10), step + i * 1000, (step + i * 1000) * DT_PS)
    writer.close()
    frames = read_frames(files_of(format, target)[4], 4)
    stored = step % 2**31 if format in ("xtc", "dcd") else step
    np.testing.assert_array_equal(frames.steps, stored + np.arange(5) * 1000)
    if format != "dcd":
        np.testing.assert_allclose(frames.times, (step + np.arange(5) * 1000) * DT_PS, rtol=1e-7)


def test_steps_of_an_xtc_that_passes_32_bits_are_those_of_the_run(target):
    writer = new_writer("xtc", target)
    steps = np.r_[np.arange(4) * 7, 2**31 - 500 + np.arange(6) * 300, np.arange(5, 11) * 2**29]
    for i, step in enumerate(steps.tolist()):
        writer.append(frame(i, 3, 10), step, step * DT_PS)
    writer.close()
    path = files_of("xtc", target)[4]
    np.testing.assert_array_equal(read_frames(path).steps, steps)
    np.testing.assert_array_equal(read_times(path)[0], steps)
    parts = list(iter_frames(path, chunk=2, first=5))
    np.testing.assert_array_equal(np.concatenate([p.steps for p in parts]), steps[5:])


def test_the_number_of_frames_in_a_dcd_header_is_kept_up_to_date(target):
    writer = new_writer("dcd", target)
    path = files_of("dcd", target)[4]
    for last in (4, 8, 12):
        fill(writer, last - 4, last)
        assert struct.unpack_from("<i", path.read_bytes(), 8)[0] == last
    writer.close()


def test_a_wrong_shape_is_refused(format, target):
    writer = new_writer(format, target)
    with pytest.raises(ValueError, match=r"\[3, 10, 3\]"):
        writer.append(frame(0, 2, 10), 0, 0.0)
    writer.close()


def test_reader_names_what_it_cannot_read(target, tmp_path):
    writer = new_writer("hdf5", target)
    fill(writer, 0, 1)
    writer.close()
    with pytest.raises(InputError, match=r"replica 3; it has \[4, 5, 9\]"):
        read_frames(target.folder / "pep.h5", 3)
    for name, text in (("a.xtc", "no xtc"), ("a.dcd", "no dcd"), ("a.h5", "no hdf5"), ("a.xyz", "1")):
        path = tmp_path / name
        path.write_text(text)
        with pytest.raises((InputError, StorageError), match=name):
            read_frames(path)


def test_hdf5_topology_has_a_chain_for_every_copy_and_the_bonds(tmp_path):
    target = Target(tmp_path, build_system(10, chains="AB"), (0, 1))
    writer = new_writer("hdf5", target)
    fill(writer, 0, 1)
    writer.close()
    top = load_with_mdtraj(tmp_path / "pep.h5", "hdf5", target, range(20)).topology
    assert [chain.n_atoms for chain in top.chains] == [5, 5, 5, 5]
    assert [(r.name, r.resSeq) for r in top.residues][10:13] == [("TYR", 5), ("ASP", 6), ("PRO", 7)]
    assert top.n_bonds == 16
    assert {frozenset((b[0].index, b[1].index)) for b in top.bonds} >= {
        frozenset((10, 11)),
        frozenset((15, 16)),
    }
    assert top == mdtraj_topology(target.system, 2)
