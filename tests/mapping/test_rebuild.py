"""Beads become the atoms they came from, or something close to it, and bad frames are reported."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path

import mdtraj
import numpy as np
import pytest
from typer.testing import CliRunner

from mdflash.cli.app import app
from mdflash.core.types import FloatArray
from mdflash.errors import InputError
from mdflash.io.topology import pdb_text, write_pdb
from mdflash.mapping.backbone import backbone_from_ca
from mdflash.mapping.read import read_structure
from mdflash.mapping.rebuild import read_beads, rebuild
from mdflash.mapping.structure import map_structure

CHIGNOLIN = Path(__file__).parents[2] / "systems" / "chignolin.pdb"


def deviation(atoms: list[dict[str, FloatArray]], file: Path, name: str) -> float:
    """Root mean square distance of an atom from where it was, but for the ends of the chain."""
    structure = read_structure(file)
    x = structure.positions[0]
    off = [own[name] - x[r.atoms[name]] for own, r in zip(atoms, structure.residues, strict=True)][1:-1]
    return float(np.sqrt((np.array(off) ** 2).sum(axis=1).mean()))


def test_backbone_of_a_hairpin_from_its_ca() -> None:
    structure = read_structure(CHIGNOLIN)
    ca = structure.positions[0, [r.ca for r in structure.residues]]
    atoms = backbone_from_ca(ca, [r.name for r in structure.residues])
    assert deviation(atoms, CHIGNOLIN, "N") < 0.2 and deviation(atoms, CHIGNOLIN, "C") < 0.2
    assert deviation(atoms, CHIGNOLIN, "O") < 0.6


def test_backbone_of_a_crystal_structure_from_its_ca(reference_dir: Path) -> None:
    file = reference_dir / "mlcg" / "1enh.pdb"
    structure = read_structure(file)
    ca = structure.positions[0, [r.ca for r in structure.residues]]
    atoms = backbone_from_ca(ca, [r.name for r in structure.residues])
    assert deviation(atoms, file, "N") < 0.2 and deviation(atoms, file, "C") < 0.2
    assert deviation(atoms, file, "O") < 0.6


def test_backbone_turns_and_moves_with_its_ca() -> None:
    structure = read_structure(CHIGNOLIN)
    names = [r.name for r in structure.residues]
    ca = structure.positions[0, [r.ca for r in structure.residues]]
    turn, _ = np.linalg.qr(np.random.default_rng(5).normal(size=(3, 3)))
    turn *= np.sign(np.linalg.det(turn))
    plain, turned = backbone_from_ca(ca, names), backbone_from_ca(ca @ turn.T + 30.0, names)
    for a, b in zip(plain, turned, strict=True):
        for atom in ("N", "C"):  # the grid of rotations starts elsewhere, so not to the last digit
            assert np.linalg.norm(a[atom] @ turn.T + 30.0 - b[atom]) < 0.25


@pytest.mark.parametrize(("mapping", "most"), [("ca", 0.3), ("five-bead", 0.05)])
def test_all_atoms_of_beads(tmp_path: Path, mapping: str, most: float) -> None:
    system, positions, _ = map_structure(CHIGNOLIN, mapping)
    write_pdb(tmp_path / "beads.pdb", system, positions[0])
    result = CliRunner().invoke(
        app, ["rebuild", str(tmp_path / "beads.pdb"), "--out", str(tmp_path / "all.pdb")], catch_exceptions=False
    )
    assert "1 frame of 166 atoms, 0 clashes" in result.output
    found, native = mdtraj.load(str(tmp_path / "all.pdb")), mdtraj.load(str(CHIGNOLIN))
    assert [(a.residue.name, a.element.symbol) for a in found.topology.atoms if a.name == "CA"] == [
        (a.residue.name, a.element.symbol) for a in native.topology.atoms if a.name == "CA"
    ]
    # a trace of CA does not say where the last C=O points
    rows = [t.topology.select("(name N CA C O) and not (resid 9 and name C O)") for t in (found, native)]
    off = (found.xyz[0, rows[0]] - native.xyz[0, rows[1]]) * 10
    assert np.sqrt((off**2).sum(axis=1).mean()) < most


def test_clashes_and_wrong_hands_are_reported(tmp_path: Path) -> None:
    """Mirrored beads are D amino acids; two residues in one place cannot be relaxed away while they are held."""
    system, positions, _ = map_structure(CHIGNOLIN, "five-bead")
    beads = np.flatnonzero(np.array(system.residue_index) == 1)
    crushed = positions[0].copy()
    crushed[beads] += crushed[np.flatnonzero(np.array(system.residue_index) == 7)[1]] - crushed[beads[1]] + 0.3
    write_pdb(tmp_path / "crushed.pdb", system, crushed)
    (frame,) = rebuild(read_beads(tmp_path / "crushed.pdb"), [0])
    assert any(a.startswith("TYR 2 ") and b.startswith("THR 8 ") for a, b, _ in frame.clashes)
    write_pdb(tmp_path / "mirror.pdb", system, positions[0] * (-1, 1, 1))
    (frame,) = rebuild(read_beads(tmp_path / "mirror.pdb"), [0])
    assert len(frame.wrong_hands) == 9  # all but glycine


def test_beads_that_are_no_backbone(tmp_path: Path) -> None:
    lines = [line for line in CHIGNOLIN.read_text().splitlines() if line[12:16].strip() in ("CA", "CB")]
    (tmp_path / "ca-cb.pdb").write_text("\n".join(lines) + "\nEND\n")
    with pytest.raises(InputError, match="residue TYR 1 of chain A has no N"):
        read_beads(tmp_path / "ca-cb.pdb")


@pytest.mark.parametrize("bad", [0, 1])
def test_a_frame_with_beads_in_one_place_is_named_and_left_out(tmp_path: Path, bad: int) -> None:
    system, positions, _ = map_structure(CHIGNOLIN, "ca")
    frames = np.repeat(positions, 2, axis=0)
    frames[bad, 6] = frames[bad, 5]
    models = [pdb_text(system, x[None]).replace("END\n", "") for x in frames]
    text = "".join(f"MODEL {k}\n{model}ENDMDL\n" for k, model in enumerate(models, 1))
    (tmp_path / "beads.pdb").write_text(text + "END\n")
    words = ["rebuild", str(tmp_path / "beads.pdb"), "--out", str(tmp_path / "all.pdb"), "-j", "1"]
    result = CliRunner().invoke(app, words)
    assert isinstance(result.exception, InputError) and "1 of 2 frames left out" in str(result.exception)
    assert f"frame {bad} is left out: CA of THR 6 of chain A and CA of GLY 7 of chain A lie in one" in result.output
    assert [line.split()[1] for line in (tmp_path / "all.pdb").read_text().splitlines() if line[:5] == "MODEL"] == [
        str(2 - bad)
    ]


def test_frames_are_written_as_they_come_and_kept_on_ctrl_c(tmp_path: Path) -> None:
    """The second frame is far from done when the user stops; the first is there, and others can read it."""
    system, positions, _ = map_structure(CHIGNOLIN, "five-bead")
    model = pdb_text(system, positions[:1]).replace("END\n", "")
    (tmp_path / "beads.pdb").write_text("".join(f"MODEL {k}\n{model}ENDMDL\n" for k in range(1, 31)) + "END\n")
    words = ["rebuild", str(tmp_path / "beads.pdb"), "--out", str(tmp_path / "all.pdb"), "-j", "2"]
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "mdflash", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    shown = [process.stdout.readline() for _ in range(2)]
    assert shown[0] == "rebuilding 30 frames of 10 residues, 2 at a time\n"
    assert re.fullmatch(r"frame 0: 0 clashes, beads moved by 0\.\d\d Å; about .* left\n", shown[1])
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=300)
    assert process.returncode == 75
    found = re.fullmatch(r".*stopped after (\d+) of 30 frames; .*all.pdb holds the first \d+ of them\n", error)
    assert found is not None, error
    frames = mdtraj.load(str(tmp_path / "all.pdb"))
    assert len(frames) == int(found[1]) < 30
    assert abs(frames.xyz[0] - frames.xyz[-1]).max() == 0  # each frame by itself, in whichever process
