"""Beads as PDB and MDTraj topologies."""

from __future__ import annotations

import warnings

import mdtraj
import numpy as np
import pytest

from mdflash.core.system import System
from mdflash.errors import InputError
from mdflash.io.topology import mdtraj_topology, write_pdb

from .conftest import build_system, frame


@pytest.mark.parametrize("copies", [1, 3])
@pytest.mark.parametrize("chains", ["A", "AB"])
def test_mdtraj_reads_the_pdb(tmp_path, copies, chains):
    system = build_system(12, chains=chains)
    x = frame(0, copies, 12)
    write_pdb(tmp_path / "t.pdb", system, x)
    traj = mdtraj.load(str(tmp_path / "t.pdb"))
    assert np.abs(traj.xyz[0] * 10 - x.reshape(-1, 3)).max() < 6e-4
    top, reference = traj.topology, mdtraj_topology(system, copies)
    assert [c.n_atoms for c in top.chains] == [12 // len(chains)] * (copies * len(chains))
    for a, b in zip(top.atoms, reference.atoms, strict=True):
        assert (a.name, a.element.symbol) == (b.name, "C")
        assert (a.residue.name, a.residue.resSeq) == (b.residue.name, b.residue.resSeq)
    pairs = {tuple(sorted((i.index, j.index))) for i, j in top.bonds}
    assert pairs == {(int(i) + 12 * c, int(j) + 12 * c) for c in range(copies) for i, j in system.bonds}


def test_mdanalysis_reads_the_pdb(tmp_path):
    import MDAnalysis

    system = build_system(12, chains="AB")
    write_pdb(tmp_path / "t.pdb", system, frame(0, 2, 12), box=(50.0, 60.0, 70.0))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        u = MDAnalysis.Universe(str(tmp_path / "t.pdb"))
    assert list(u.residues.resnames[:12]) == list(system.residue_names)
    assert list(u.residues.resids[:12]) == list(system.residue_ids)
    assert list(u.segments.segids) == ["0000", "0001"]
    assert len(u.bonds) == 20
    np.testing.assert_allclose(u.dimensions, [50, 60, 70, 90, 90, 90])
    assert np.abs(u.atoms.positions - frame(0, 2, 12).reshape(-1, 3)).max() < 6e-4


def test_one_chain_keeps_its_letter(tmp_path):
    write_pdb(tmp_path / "t.pdb", build_system(4, chains="QX"), frame(0, 1, 4)[0])
    atoms = [line for line in (tmp_path / "t.pdb").read_text().splitlines() if line.startswith("ATOM")]
    assert [line[21] for line in atoms] == list("QQXX")


def test_residues_of_several_beads(tmp_path):
    system = System(
        "multi", ("N", "CA", "CB", "CA"), ("N", "CA", "CB", "CA"), np.array([0, 0, 0, 1]),
        ("ALA", "GLY"), (1, 2), ("A", "A"), np.ones(4), np.array([[0, 1], [1, 2], [1, 3]]),
    )  # fmt: skip
    write_pdb(tmp_path / "t.pdb", system, frame(0, 1, 4))
    top = mdtraj.load(str(tmp_path / "t.pdb")).topology
    assert [[a.name for a in r.atoms] for r in top.residues] == [["N", "CA", "CB"], ["CA"]]


def test_a_molecule_that_drifted_far_is_moved_to_the_origin(tmp_path):
    system, x = build_system(5), frame(0, 1, 5)[0]
    write_pdb(tmp_path / "t.pdb", system, x + np.array([25_000.0, -3_000.0, 0.0]))
    traj = mdtraj.load(str(tmp_path / "t.pdb"))
    found = traj.xyz[0] * 10
    assert np.abs((found - found.mean(0)) - (x - x.mean(0))).max() < 2e-3


def test_what_does_not_fit_is_refused(tmp_path):
    system = build_system(5)
    x = frame(0, 1, 5)[0]
    for bad, text in ((np.where(x == x[2], np.nan, x), "finite"), (x * 1e5, "columns"), (x[:4], r"\[5, 3\]")):
        with pytest.raises(InputError, match=text):
            write_pdb(tmp_path / "t.pdb", system, bad)
    assert list(tmp_path.iterdir()) == []


def test_more_than_99999_beads(tmp_path):
    system, copies = build_system(500), 201
    x = frame(0, copies, 500)
    write_pdb(tmp_path / "t.pdb", system, x)
    lines = (tmp_path / "t.pdb").read_text().splitlines()
    atoms = [line for line in lines if line.startswith("ATOM")]
    assert len(atoms) == 100_500 and lines.count("TER") == copies and not any("CONECT" in x for x in lines)
    assert {len(line) for line in atoms} == {80}
    found = np.array([[line[30:38], line[38:46], line[46:54]] for line in atoms], np.float64)
    assert np.abs(found - x.reshape(-1, 3)).max() < 6e-4
