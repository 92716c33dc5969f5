"""`mdflash export` and `mdflash repair`, as functions and on the command line."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import mdtraj
import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from mdflash.cli.export import export
from mdflash.cli.repair import repair
from mdflash.errors import InputError, MdflashError, StorageError
from mdflash.io.claims import claim
from mdflash.io.events import EventLog
from mdflash.io.export import find_replica
from mdflash.io.formats import written_format
from mdflash.io.formats.base import Target
from mdflash.io.log import LogWriter
from mdflash.io.read import read_frames
from mdflash.io.runfolder import RunFolder
from mdflash.io.topology import mdtraj_topology, write_pdb

from .conftest import (
    DT_PS,
    FORMATS,
    INTERVAL,
    TOLERANCE,
    build_system,
    expected,
    files_of,
    fill,
    frame,
    new_writer,
    run_and_kill,
)

COUNT = 11
NAMES = ("pep", "long")


def command(function, *arguments: object) -> str:
    """Run one verb; returns what it printed."""
    app = typer.Typer()
    app.command()(function)
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture
def run(tmp_path: Path, format: str) -> tuple[Path, dict[str, Target]]:
    """A finished run of two systems; 'pep' has the replicas 0-2, 'long' 3 and 4."""
    targets = {}
    with RunFolder.open(tmp_path / "run") as folder:
        for name, beads, ids in (("pep", 10, (0, 1, 2)), ("long", 21, (3, 4))):
            target = Target(folder.trajectory, build_system(beads, name), ids, block=4)
            write_pdb(folder.topology(name, NAMES), target.system, frame(0, 1, beads)[0])
            writer = new_writer(format, target)
            fill(writer, 0, COUNT)
            writer.close()
            targets[name] = target
        log = LogWriter.start(folder.log)
        log.append(0, 0.0, [0], ["pep"], np.array([0]), *np.ones((4, 1)))
        log.flush()
        events = EventLog(folder.events)
        events.write(0, "start")
        events.close()
    return tmp_path / "run", targets


@pytest.mark.parametrize("kind", ["xtc", "dcd", "pdb"])
def test_a_replica_arrives_in_mdtraj(run, format, kind, tmp_path):
    folder, targets = run
    out = tmp_path / f"out.{kind}"
    text = command(export, folder, "--replica", 4, "--out", out)
    assert f"{COUNT} frames of replica 4 of long" in text
    top = None if kind == "pdb" else mdtraj_topology(targets["long"].system)
    traj = mdtraj.load(str(out)) if top is None else mdtraj.load(str(out), top=top)
    error = np.abs(traj.xyz * 10 - expected(COUNT, 1, 2, 21)).max()
    assert error < max(TOLERANCE[format], 5e-4 if kind == "pdb" else 0, TOLERANCE.get(kind, 0)) + 1e-4
    if kind == "pdb":
        assert traj.topology.n_bonds == 20
    if kind == "xtc":
        np.testing.assert_allclose(traj.time, np.arange(COUNT) * INTERVAL * DT_PS, rtol=1e-6)
    assert sorted(p.name for p in tmp_path.iterdir()) == [out.name, "run"]


@pytest.mark.parametrize("kind", ["xtc", "dcd"])
def test_stride_keeps_steps_and_times(run, kind, tmp_path):
    out = tmp_path / "out.trajectory"
    command(export, run[0], "--replica", 1, "--format", kind, "--out", out, "--stride", 3, "--system", "pep")
    frames = read_frames(out.rename(out.with_suffix(f".{kind}")))
    np.testing.assert_array_equal(frames.steps, np.arange(0, COUNT, 3) * INTERVAL)
    np.testing.assert_allclose(frames.times, np.arange(0, COUNT, 3) * INTERVAL * DT_PS, rtol=1e-6)
    assert np.abs(frames.positions - expected(COUNT, 1, 3, 10)[::3]).max() < 0.011


def test_a_box_is_exported(format, tmp_path):
    with RunFolder.open(tmp_path / "run") as folder:
        target = Target(folder.trajectory, build_system(), (0,), box=(50.0, 60.0, 70.0))
        write_pdb(folder.path / "topology.pdb", target.system, frame(0, 1, 10))
        writer = new_writer(format, target)
        fill(writer, 0, 3)
        writer.close()
    for kind in ("xtc", "dcd", "pdb"):
        out = tmp_path / f"out.{kind}"
        command(export, tmp_path / "run", "--out", out, "--force")
        top = {} if kind == "pdb" else {"top": mdtraj_topology(target.system)}
        traj = mdtraj.load(str(out), **top)
        np.testing.assert_allclose(traj.unitcell_lengths[0] * 10, [50, 60, 70], rtol=1e-5)


def test_wrong_requests_say_what_there_is(run, tmp_path):
    folder, _ = run
    out = tmp_path / "o.xtc"
    for arguments, text in (
        ((folder, "--replica", 9, "--out", out), "no replica 9; it has 5 from 0 to 4"),
        (
            (folder, "--replica", 0, "--system", "long", "--out", out),
            "no replica 0 of system 'long'; it has 2",
        ),
        ((folder, "--system", "x", "--out", out), "no system 'x'; its systems are long, pep"),
        ((folder, "--out", tmp_path / "o.gro"), "--format with one of xtc, dcd, pdb"),
        ((folder, "--out", out, "--stride", 0), "--stride must be 1 or more"),
        ((tmp_path / "none", "--out", out), "no such run folder"),
        ((tmp_path, "--out", out), "has no trajectory"),
        ((folder, "--out", tmp_path / "no" / "o.xtc"), "No such file"),
    ):
        with pytest.raises(MdflashError) as caught:
            command(export, *arguments)
        assert text in str(caught.value)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["run"]


def test_an_empty_trajectory_exports_nothing(format, tmp_path):
    with RunFolder.open(tmp_path / "run") as folder:
        new_writer(format, Target(folder.trajectory, build_system(), (0,))).close()
    out = tmp_path / "o.dcd"
    out.write_text("old")
    with pytest.raises(InputError, match="no complete frame"):
        command(export, tmp_path / "run", "--out", out, "--force")
    assert out.read_text() == "old"


def test_the_most_exact_format_is_taken(tmp_path):
    with RunFolder.open(tmp_path / "run") as folder:
        for format in FORMATS:
            writer = new_writer(format, Target(folder.trajectory, build_system(), (0,)))
            fill(writer, 0, 2)
            writer.close()
    assert find_replica(tmp_path / "run", 0).path.suffix == ".h5"
    assert find_replica(tmp_path / "run", None).replica == 0


def test_a_healthy_run_is_left_untouched(run, format):
    folder, _ = run
    before = {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in folder.rglob("*") if p.name != "lock" and p.is_file()}
    text = command(repair, folder)
    lines = text.replace("\n", " ").split("healthy, left as it is")
    assert len(lines) - 1 == 2 + (2 if written_format(format).many else 5)
    assert "1 rows" in text and "1 events" in text and "11 frames" in text
    assert before == {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in before}


def test_a_torn_run_is_mended(run, format):
    folder, targets = run
    (folder / "log.csv").write_bytes((folder / "log.csv").read_bytes() + b"250,1.0,0,pe")
    (folder / "events.jsonl").write_bytes((folder / "events.jsonl").read_bytes() + b'{"time": ')
    torn = files_of(format, targets["pep"])[0]
    if format == "hdf5":

        def work(report):
            writer = written_format("hdf5").writer.resume(targets["pep"], COUNT)
            fill(writer, COUNT, COUNT + 2)
            report(0)
            while True:
                pass

        run_and_kill(work, 0.0)
    else:
        torn.write_bytes(torn.read_bytes()[:-5])
    text = " ".join(command(repair, folder).split())
    assert "log.csv: dropped 12 bytes of an incomplete row at the end; 1 rows" in text
    assert "events.jsonl: dropped 9 bytes of an incomplete event at the end; 1 events" in text
    if format == "hdf5":
        assert "pep.h5: healthy" in text and "12 frames" in text  # a block of 4 was full
    else:
        assert f"{torn.name}: dropped" in text and "10 frames" in text
    assert command(repair, torn).split(": ", 1)[1].startswith("healthy")


def test_a_run_in_use_is_refused(run, format):
    folder, _ = run
    file = next((folder / "trajectory").iterdir())
    claim(folder, "run")
    with RunFolder.open(folder):
        for target in (folder, file, folder / "log.csv"):
            with pytest.raises(StorageError, match="is in use by process"):
                command(repair, target)
    command(repair, file)


def test_repair_names_what_it_cannot_take(tmp_path):
    (tmp_path / "a.txt").write_text("x")
    for target, error, text in (
        (tmp_path / "a.txt", InputError, "not a file that can be repaired"),
        (tmp_path / "none", InputError, "no such file or folder"),
        (tmp_path, StorageError, "not a run folder with output"),
    ):
        with pytest.raises(error, match=text):
            command(repair, target)


def test_the_command_line_files_import_nothing_heavy():
    script = (
        "import sys, mdflash.cli.export, mdflash.cli.repair;"
        "print([m for m in ('torch', 'numba', 'mdtraj', 'openmm', 'h5py', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_files_of_another_block_size_are_continued(format, target):
    writer = new_writer(format, target)
    fill(writer, 0, 6)
    writer.close()
    again = written_format(format).writer.resume(replace(target, block=7), 5)
    fill(again, 5, 20)
    again.close()
    for row, (replica, path) in enumerate(files_of(format, target).items()):
        assert np.abs(read_frames(path, replica).positions - expected(20, row, 3, 10)).max() < TOLERANCE[format]
