"""Structure files become beads, or an error that says what to repair."""

from __future__ import annotations

from pathlib import Path

import mdtraj
import numpy as np
import pytest

from mdflash.errors import ForceFieldError, InputError
from mdflash.forcefields.model import BeadType, ForceField
from mdflash.mapping.choices import Reading
from mdflash.mapping.read import read_structure
from mdflash.mapping.structure import map_structure

Atom = tuple[str, str, str, int, tuple[float, float, float]]


def pdb(atoms: list[Atom], terminate_after: tuple[int, ...] = ()) -> str:
    """Lines of a PDB file; each atom is (name, residue, chain, number, position)."""
    lines = []
    for serial, (name, residue, chain, number, (x, y, z)) in enumerate(atoms, start=1):
        record = "HETATM" if residue in ("HOH", "NA", "HEM") else "ATOM"
        element = "NA" if residue == "NA" else name[0]
        lines.append(
            f"{record:<6}{serial:>5} {name:^4} {residue:>3} {chain}{number:>4}    "
            f"{x:8.3f}{y:8.3f}{z:8.3f}  1.00  0.00          {element:>2}"
        )
        if serial in terminate_after:
            lines.append("TER")
    return "\n".join([*lines, "END", ""])


def residue(name: str, number: int, chain: str = "A", x: float | None = None) -> list[Atom]:
    """N, H, CA, C, O of a residue whose CA is at (3.8 number, 0, 0)."""
    x = 3.8 * number if x is None else x
    places = {"N": (-1.2, 0.8), "H": (-1.1, 1.8), "CA": (0, 0), "C": (1.2, 0.9), "O": (1.2, 2.1)}
    return [(atom, name, chain, number, (x + dx, dy, 0.0)) for atom, (dx, dy) in places.items()]


SEQUENCE = ["TYR", "HIE", "GLY", "SER"]
PEPTIDE = [atom for k, name in enumerate(SEQUENCE, start=1) for atom in residue(name, k)]


@pytest.fixture
def write(tmp_path: Path):  # type: ignore[no-untyped-def]
    def _write(text: str, name: str = "protein.pdb") -> Path:
        (tmp_path / name).write_text(text)
        return tmp_path / name

    return _write


def test_all_atom_pdb(write) -> None:
    system, positions, notes = map_structure(write(pdb(PEPTIDE)))
    assert system.name == "protein"
    assert system.types == ("TYR", "HIS", "GLY", "SER")
    assert system.bead_label(0) == "TYR 1 CA (bead 0)"
    assert system.bonds.tolist() == [[0, 1], [1, 2], [2, 3]]
    np.testing.assert_allclose(positions, [[[3.8 * k, 0, 0] for k in (1, 2, 3, 4)]], atol=2e-6)
    assert positions.dtype == np.float64
    np.testing.assert_allclose(system.masses, [163.18, 137.14, 57.05, 87.08], atol=0.01)
    assert notes == ()


def test_heavy_atoms_leave_out_hydrogen(write) -> None:
    structure = read_structure(write(pdb(PEPTIDE)))
    assert [len(atoms) for atoms in structure.heavy_atoms()] == [4, 4, 4, 4]
    assert not structure.ca_only


def test_ca_only_is_taken_as_it_is(write) -> None:
    file = write(pdb([a for a in PEPTIDE if a[0] == "CA"]))
    assert read_structure(file).ca_only
    np.testing.assert_allclose(map_structure(file).positions, map_structure(write(pdb(PEPTIDE))).positions)


def test_formats_agree(write, tmp_path: Path) -> None:
    file = write(pdb(PEPTIDE))
    expected = map_structure(file)
    mdtraj.load(str(file)).save_gro(str(tmp_path / "protein.gro"), precision=4)
    app = pytest.importorskip("openmm.app", reason="needs OpenMM (pip install 'mdflash[openmm]')")

    source = app.PDBFile(str(file))
    with open(tmp_path / "protein.cif", "w") as out:
        app.PDBxFile.writeFile(source.topology, source.positions, out, keepIds=True)
    for suffix in (".gro", ".cif"):
        found = map_structure(tmp_path / f"protein{suffix}")
        assert found.system == expected.system
        np.testing.assert_allclose(found.positions, expected.positions, atol=2e-6)


def test_models_become_frames(write) -> None:
    models = []
    for shift in (0.0, 5.0):
        moved = [(n, r, c, k, (x, y + shift, z)) for n, r, c, k, (x, y, z) in PEPTIDE]
        models.append(f"MODEL\n{pdb(moved).removesuffix('END' + chr(10))}ENDMDL\n")
    positions = map_structure(write("".join(models) + "END\n")).positions
    assert positions.shape == (2, 4, 3)
    np.testing.assert_allclose(positions[1] - positions[0], np.tile([0, 5, 0], (4, 1)), atol=2e-6)


def test_chains_are_not_bonded_to_each_other(write) -> None:
    second = [atom for k in (1, 2) for atom in residue("LEU", k, "B", 3.8 * k + 30)]
    system = map_structure(write(pdb(PEPTIDE + second, (len(PEPTIDE),)))).system
    assert system.chain_ids == ("A", "A", "A", "A", "B", "B")
    assert system.bonds.tolist() == [[0, 1], [1, 2], [2, 3], [4, 5]]


def test_solvent_is_skipped_and_said(write) -> None:
    water = [("O", "HOH", "B", k, (40.0, 5.0 * k, 0.0)) for k in (1, 2)]
    ion = [("NA", "NA", "C", 1, (50.0, 0.0, 0.0))]
    system, _, notes = map_structure(write(pdb(PEPTIDE + water + ion)))
    assert system.n_beads == 4
    assert notes == ("skipped 2 waters", "skipped 1 ion")


def test_chain_break_is_refused_broken_or_bonded(write) -> None:
    file = write(pdb([*residue("ALA", 1), *residue("ALA", 2), *residue("ALA", 7)]))
    with pytest.raises(InputError, match=r"ALA 2 and ALA 7 of chain A .*19\.0 Å.*--gaps break.*`gaps: bond`"):
        map_structure(file)
    for gaps, bonds in (("break", [[0, 1]]), ("bond", [[0, 1], [1, 2]])):
        system, _, notes = map_structure(file, reading=Reading(gaps=gaps))
        assert system.bonds.tolist() == bonds and system.chain_ids == ("A", "A", "A")
        assert len(notes) == 1
        assert "ALA 2 and ALA 7 of chain A" in notes[0] and "19.0 Å" in notes[0]


def test_residue_without_ca(write) -> None:
    atoms = [a for a in PEPTIDE if (a[0], a[3]) != ("CA", 2)]
    file = write(pdb(atoms))
    with pytest.raises(InputError, match="residue HIS 2 of chain A has no CA atom") as error:
        map_structure(file)
    assert str(file) in str(error.value)


def test_all_unknown_residues_are_named(write) -> None:
    atoms = [*residue("SEP", 1), *residue("ALA", 2), *residue("XYZ", 3), *residue("SEP", 4)]
    with pytest.raises(InputError) as error:
        map_structure(write(pdb(atoms)))
    assert "SEP 1 of chain A (from SER), SEP 4 of chain A (from SER); --modified parent" in str(error.value)
    assert "unknown residues in a chain: XYZ 3 of chain A" in str(error.value)


def test_force_field_may_know_more_residues(write) -> None:
    file = write(pdb([*residue("SEP", 1), *residue("ALA", 2)]))
    ff = ForceField("special", (BeadType("SEP", 0, 167.06), BeadType("ALA", 1)), "ca")
    system = map_structure(file, forcefield=ff).system
    assert system.types == ("SEP", "ALA")
    np.testing.assert_allclose(system.masses, [167.06, 71.08], atol=0.01)


def test_force_field_without_a_needed_type(write) -> None:
    ff = ForceField("poor", (BeadType("TYR", 0, 100.0), BeadType("GLY", 1, 100.0)), "ca")
    with pytest.raises(ForceFieldError, match=r"no bead type 'HIS'.*HIS 2 CA"):
        map_structure(write(pdb(PEPTIDE)), forcefield=ff)


def test_type_without_a_mass(write) -> None:
    ff = ForceField("light", (BeadType("SEP", 0),), "ca")
    with pytest.raises(ForceFieldError, match=r"residue SEP 1 of chain A has no mass.*mass: 110 Da"):
        map_structure(write(pdb(residue("SEP", 1))), forcefield=ff)


def test_no_protein(write) -> None:
    with pytest.raises(InputError, match=r"holds no protein \(found 1 water"):
        map_structure(write(pdb([("O", "HOH", "A", 1, (0.0, 0.0, 0.0))])))


def test_nan_coordinate(write) -> None:
    text = pdb(PEPTIDE).replace(f"{7.6:8.3f}{0:8.3f}", f"{'nan':>8}{0:8.3f}", 1)
    with pytest.raises(InputError, match=r"atom CA of residue HIS 2 of chain A in model 1 is at \[nan"):
        map_structure(write(text))


def test_broken_line_is_named(write) -> None:
    lines = pdb(PEPTIDE).splitlines()
    lines[6] = lines[6][:30] + "   x.yz " + lines[6][38:]
    file = write("\n".join(lines))
    with pytest.raises(InputError, match="line 7: columns 31 to 54"):
        map_structure(file)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("absent.pdb", None, "no such file"),
        ("protein.xyz", "4\n", "'.xyz' is not a structure format"),
        ("empty.pdb", "", "empty.pdb"),
        ("noise.cif", "no mmCIF at all\n", "noise.cif"),
        ("noise.gro", "title\nmany\n", "cannot be read as GRO"),
    ],
)
def test_unreadable_files(write, tmp_path: Path, name: str, text: str | None, message: str) -> None:
    file = tmp_path / name if text is None else write(text, name)
    with pytest.raises(InputError, match=message):
        map_structure(file)


def test_folder_instead_of_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not a file"):
        map_structure(tmp_path)


def test_other_mapping(write) -> None:
    with pytest.raises(InputError, match=r"mapping 'none'.*NAME\.safetensors"):
        map_structure(write(pdb(PEPTIDE)), mapping="none")
