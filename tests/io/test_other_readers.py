"""Every file that mdflash writes, in the readers of MDTraj, MDAnalysis and OpenMM: finished, running, and mended.

What is read while a run writes it is read in another process, as a user would.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mdflash.io.formats import written_format
from mdflash.io.formats.base import Target
from mdflash.io.repair import repair_file
from mdflash.io.topology import write_pdb
from tests.processes import python

from .conftest import TOLERANCE, build_system, expected, files_of, fill, frame, new_writer, run_and_kill

BEADS, REPLICAS = 10, 3

MDTRAJ = """
import json, sys, mdtraj
path, top, first, last = sys.argv[1:5]
rows = range(int(first), int(last))
t = mdtraj.load(path, atom_indices=rows) if path.endswith("h5") else mdtraj.load(path, top=top)
print(json.dumps((t.xyz * 10.0).tolist()))
"""

MDANALYSIS = """
import json, sys, warnings, MDAnalysis
warnings.simplefilter("ignore")
path, top, first, last = sys.argv[1:5]
rows = slice(int(first), int(last)) if path.endswith("h5") else slice(None)
u = MDAnalysis.Universe(top, path, **({"format": "H5MD"} if path.endswith("h5") else {}))
print(json.dumps([ts.positions[rows].tolist() for ts in u.trajectory]))
"""


def read(script: str, path: Path, top: Path, row: int) -> np.ndarray:
    """[F, N, 3] Å of the replica in row `row`, read by a program of its own."""
    first, last = row * BEADS, (row + 1) * BEADS
    words = [str(path), str(top), str(first), str(last)]
    done = python("-c", script, *words)
    assert done.returncode == 0, done.stderr
    return np.array(json.loads(done.stdout.splitlines()[-1]))  # MDTraj's DCD plugin talks before


def topology(target: Target, format: str, folder: Path) -> Path:
    copies = REPLICAS if format == "hdf5" else 1
    write_pdb(folder / "top.pdb", target.system, frame(0, copies, BEADS))
    return folder / "top.pdb"


def check(format: str, target: Target, top: Path, frames: int) -> None:
    """The last replica, in each reader that can."""
    row, path = REPLICAS - 1, list(files_of(format, target).values())[-1]
    for script in (MDTRAJ, MDANALYSIS):
        found = read(script, path, top, row)
        assert len(found) == frames
        error = np.abs(found - expected(frames, row, REPLICAS, BEADS)).max()
        assert error < TOLERANCE[format] + 1e-5, script


def test_finished_and_running(format: str, target: Target, tmp_path: Path) -> None:
    top = topology(target, format, tmp_path)
    writer = new_writer(format, target)
    fill(writer, 0, 6)
    writer.flush()
    check(format, target, top, 6)
    fill(writer, 6, 9)
    writer.close()
    check(format, target, top, 9)


READ_OFTEN = """
import sys, h5py, numpy
torn = 0
for _ in range(60):
    try:
        with h5py.File(sys.argv[1], "r") as f:  # plainly, as MDTraj and MDAnalysis do
            steps = f["particles/trajectory/position/step"][:]
            assert numpy.isfinite(f["coordinates"][:len(steps)]).all()
    except OSError as error:  # in the very moment that a part of the file was written
        torn += 1
        assert "checksum" in str(error) and torn < 3, error
print(len(steps))
"""


def test_an_hdf5_file_is_whole_at_any_moment(target: Target) -> None:
    writer = new_writer("hdf5", target)
    fill(writer, 0, 4)
    path = target.folder / "pep.h5"
    reader = subprocess.Popen([sys.executable, "-c", READ_OFTEN, str(path)], stdout=subprocess.PIPE, text=True)
    while reader.poll() is None:
        fill(writer, writer.frames, writer.frames + 4)
    assert reader.returncode == 0
    assert 4 < int(reader.communicate()[0]) <= writer.frames
    writer.close()


def test_killed_and_mended(format: str, target: Target, tmp_path: Path) -> None:
    top = topology(target, format, tmp_path)
    new_writer(format, target).close()

    def work(report) -> None:
        writer = written_format(format).writer.resume(target, 0)
        while True:
            fill(writer, writer.frames, writer.frames + 3)
            writer.flush()
            report(writer.frames)

    reported = run_and_kill(work, 0.05)
    kept = {repair_file(path).kept for path in files_of(format, target).values()}
    # XTC and DCD have a file for each replica, so the kill may fall between two of them
    assert min(kept) >= reported
    last = list(files_of(format, target).values())[-1]
    check(format, target, top, repair_file(last).kept)


def test_openmm_reads_every_pdb(tmp_path: Path) -> None:
    app = pytest.importorskip("openmm.app")
    from openmm import unit

    system = build_system(12, chains="AB")
    x = frame(3, 2, 12)
    write_pdb(tmp_path / "t.pdb", system, x, box=(50.0, 60.0, 70.0))
    pdb = app.PDBFile(str(tmp_path / "t.pdb"))
    found = np.array(pdb.getPositions(asNumpy=True).value_in_unit(unit.angstrom))
    assert np.abs(found - x.reshape(-1, 3)).max() < 6e-4
    assert [r.name for r in pdb.topology.residues()] == list(system.residue_names) * 2
    assert [r.id for r in pdb.topology.residues()] == [str(i) for i in system.residue_ids] * 2
    assert pdb.topology.getNumChains() == 4
    edges = pdb.topology.getUnitCellDimensions().value_in_unit(unit.angstrom)
    np.testing.assert_allclose(list(edges), [50.0, 60.0, 70.0])


def test_openmm_reads_an_exported_pdb(tmp_path: Path) -> None:
    app = pytest.importorskip("openmm.app")
    from openmm import unit

    from mdflash.io.export import export, find_replica
    from mdflash.io.runfolder import RunFolder

    with RunFolder.open(tmp_path / "run") as folder:
        target = Target(folder.trajectory, build_system(), (0,), block=4)
        write_pdb(folder.path / "topology.pdb", target.system, frame(0, 1, BEADS))
        writer = new_writer("hdf5", target)
        fill(writer, 0, 3)
        writer.close()
    export(find_replica(tmp_path / "run", 0), "pdb", tmp_path / "out.pdb")
    pdb = app.PDBFile(str(tmp_path / "out.pdb"))
    assert pdb.getNumFrames() == 3
    found = np.array([pdb.getPositions(asNumpy=True, frame=f).value_in_unit(unit.angstrom) for f in range(3)])
    assert np.abs(found - expected(3, 0, 1, BEADS)).max() < 6e-4
