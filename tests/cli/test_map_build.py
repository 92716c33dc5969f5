"""`mdflash build` and `mdflash map`: from a sequence, or a structure, to something that runs."""

from __future__ import annotations

from pathlib import Path

import mdtraj
import numpy as np
import pytest
from typer.testing import CliRunner

from mdflash.cli.app import app
from mdflash.config.load import load_run
from mdflash.core.system import load_system
from mdflash.errors import InputError
from mdflash.mapping.structure import map_structure

CHIGNOLIN = Path(__file__).parents[2] / "systems" / "chignolin.pdb"


def call(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    if result.exception is not None:
        raise result.exception
    return result.output


def test_from_sequence_to_beads(tmp_path: Path) -> None:
    pdb = tmp_path / "start.pdb"
    said = call("build", "--sequence", "YYDPETGTWY", "--conformation", "helix", "--out", pdb)
    assert "10 residues, 166 atoms" in said
    built = mdtraj.load(str(pdb))
    psi = np.degrees(mdtraj.compute_psi(built)[1][0])
    assert (np.abs(psi + 47) < 10).all()  # relaxed with its backbone held
    heavy = built.xyz[0, [a.index for a in built.topology.atoms if a.element.symbol != "H"]] * 10
    apart = np.linalg.norm(heavy[:, None] - heavy[None], axis=-1)[np.triu_indices(len(heavy), 1)]
    assert apart.min() > 1.15  # the shortest bond, C=O, is 1.2 Å
    call("map", pdb, "--mapping", "five-bead", "--out", tmp_path / "cg")
    system, start = load_system(tmp_path / "cg" / "start.safetensors")
    expected = map_structure(pdb, "five-bead")
    assert system == expected.system and start is not None
    np.testing.assert_array_equal(start, expected.positions)
    assert mdtraj.load(str(tmp_path / "cg" / "start-beads.pdb")).n_atoms == 49


def test_map_writes_a_run_that_can_be_read(tmp_path: Path) -> None:
    said = call("map", CHIGNOLIN, "--forcefield", "go-chignolin", "--out", tmp_path, "--name", "cln")
    assert "mdflash run" in said
    config = load_run(tmp_path / "cln.yaml")
    assert config.system[0].structure == tmp_path / "cln.safetensors"


def test_map_a_trajectory(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    atoms = mdtraj.load(str(CHIGNOLIN))
    many = mdtraj.join([atoms] * 1203)  # more than two chunks
    many.xyz = many.xyz + rng.normal(0, 0.1, many.xyz.shape).astype(np.float32)
    many.time = 2.0 * np.arange(1203)
    many.save_dcd(str(tmp_path / "long.dcd"))
    said = call("map", CHIGNOLIN, "--trajectory", tmp_path / "long.dcd", "--out", tmp_path)
    assert "1,203 frames" in said
    found = mdtraj.load(str(tmp_path / "long-chignolin.xtc"), top=str(tmp_path / "chignolin-beads.pdb"))
    ca = [a.index for a in many.topology.atoms if a.name == "CA"]
    np.testing.assert_allclose(found.xyz, many.xyz[:, ca], atol=6e-4)  # XTC keeps 0.001 nm


def test_a_trajectory_of_other_atoms(tmp_path: Path) -> None:
    atoms = mdtraj.load(str(CHIGNOLIN))
    atoms.atom_slice(range(50)).save_xtc(str(tmp_path / "other.xtc"))
    with pytest.raises(InputError, match=r"other\.xtc: holds frames of \d+ atoms, and the structure has 166"):
        call("map", CHIGNOLIN, "--trajectory", tmp_path / "other.xtc", "--out", tmp_path)
    assert not list(tmp_path.glob("*chignolin.xtc*"))


def test_nothing_is_overwritten_unasked(tmp_path: Path) -> None:
    pdb = tmp_path / "a.pdb"
    call("build", "--sequence", "GG", "--out", pdb)
    with pytest.raises(InputError, match=r"a\.pdb: already exists"):
        call("build", "--sequence", "GG", "--out", pdb)
    call("map", pdb, "--out", tmp_path)
    with pytest.raises(InputError, match=r"a\.safetensors: already exists"):
        call("map", pdb, "--out", tmp_path)
    call("map", pdb, "--out", tmp_path, "--force")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--sequence", "YYB"), "found 'B' at position 3"),
        (("--sequence", "YY", "--conformation", "beta"), "expected extended, helix"),
        (("--sequence", "YY", "--out", "x.gro"), r"call it x\.pdb"),
    ],
)
def test_build_mistakes(tmp_path: Path, options: tuple[str, ...], said: str) -> None:
    with pytest.raises(InputError, match=said):
        call("build", *options, *(() if "--out" in options else ("--out", tmp_path / "x.pdb")))
