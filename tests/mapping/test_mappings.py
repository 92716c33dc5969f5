"""The mappings other than CA: their beads, their lists of interactions, and what they refuse."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mdflash.core.geometry import torsions
from mdflash.errors import InputError
from mdflash.importers.mlcg import import_mlcg
from mdflash.importers.mlcg_structures import read_structures
from mdflash.importers.mlcg_types import type_name
from mdflash.mapping.choices import Reading
from mdflash.mapping.fivebead import five_bead
from mdflash.mapping.interactions import from_bonds
from mdflash.mapping.peptide import build_peptide, parse_sequence, write_pdb
from mdflash.mapping.read import read_structure
from mdflash.mapping.structure import map_structure

CHIGNOLIN = Path(__file__).parents[2] / "systems" / "chignolin.pdb"


@pytest.fixture(scope="module")
def dipeptide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    sequence = parse_sequence("ACE-ALA-NME")
    file = tmp_path_factory.mktemp("ala2") / "ala2.pdb"
    write_pdb(file, *build_peptide(sequence, [(-75.0, 145.0)] * 3))
    return file


def test_interactions_of_a_branched_chain() -> None:
    #     4
    #     |
    # 0-1-2-3
    found = {name: rows.tolist() for name, rows in from_bonds(5, np.array([[1, 0], [1, 2], [3, 2], [2, 4]])).items()}
    assert found == {
        "bonds": [[0, 1], [1, 2], [2, 3], [2, 4]],
        "angles": [[0, 1, 2], [1, 2, 3], [1, 2, 4], [3, 2, 4]],
        "dihedrals": [[0, 1, 2, 3], [0, 1, 2, 4]],
        "impropers": [[1, 3, 4, 2]],
    }


def test_a_ring_has_no_dihedral_of_three_beads() -> None:
    assert "dihedrals" not in from_bonds(3, np.array([[0, 1], [1, 2], [0, 2]]))


def test_heavy_atoms_of_the_dipeptide(dipeptide: Path) -> None:
    system, positions, _ = map_structure(dipeptide, "heavy")
    assert set(system.types) == {
        "ACE-CH3", "ACE-C", "ACE-O", "ALA-N", "ALA-CA", "ALA-CB", "ALA-C", "ALA-O", "NME-N", "NME-C",
    }  # fmt: skip
    assert {name: len(rows) for name, rows in system.interactions.items()} == {
        "bonds": 9, "angles": 11, "dihedrals": 10, "impropers": 3,
    }  # fmt: skip
    bead = {kind: k for k, kind in enumerate(system.types)}
    phi = [bead[k] for k in ("ACE-C", "ALA-N", "ALA-CA", "ALA-C")]
    psi = [bead[k] for k in ("ALA-N", "ALA-CA", "ALA-C", "NME-N")]
    np.testing.assert_allclose(np.degrees(torsions(positions[0], np.array([phi, psi]))), [-75, 145], atol=0.5)


def test_five_beads_as_mlcg_has_them(reference_dir: Path) -> None:
    """Types, order of beads and all fifty lists are those of mlcg's own map of 1ENH."""
    file = reference_dir / "mlcg" / "1enh.pdb"
    theirs = read_structures(reference_dir / "mlcg" / "1enh_5b_configurations.pt")[0]
    ours = five_bead(read_structure(file), "1enh").system
    assert ours.types == tuple(type_name(int(t)) for t in theirs.types)
    lists = {name: rows.tolist() for name, rows in theirs.lists.items() if name != "non_bonded"}
    assert {name: rows.tolist() for name, rows in ours.interactions.items()} == lists


@pytest.mark.parametrize(
    ("prior", "structures", "file"),
    [
        ("prior.pt", "1enh_5b_configurations.pt", "1enh.pdb"),
        ("sparse_prior_cln_ca.pt", "structures_cln_ca.pt", None),
    ],
)
def test_an_imported_force_field_runs_on_a_structure_file(
    reference_dir: Path, prior: str, structures: str, file: str | None
) -> None:
    folder = reference_dir / "mlcg"
    ff = import_mlcg([folder / prior], structures=folder / structures)
    theirs, _ = ff.systems[0]
    ours, positions, _ = map_structure(folder / file if file else CHIGNOLIN, ff.mapping, ff)
    assert ours.types == theirs.types
    np.testing.assert_array_equal(ours.masses, theirs.masses)
    assert set(ours.interactions) == set(theirs.interactions)
    for name, rows in theirs.interactions.items():
        assert sorted(ours.interactions[name].tolist()) == sorted(rows.tolist()), name
    assert positions.shape == (1, ours.n_beads, 3)


def test_five_beads_of_two_chains_have_two_ends(tmp_path: Path) -> None:
    lines = [line for line in CHIGNOLIN.read_text().splitlines() if line.startswith("ATOM")]
    moved = [f"{line[:21]}B{line[22:30]}{float(line[30:38]) + 40:8.3f}{line[38:]}" for line in lines]
    file = tmp_path / "two.pdb"
    file.write_text("\n".join([*lines, "TER", *moved, "TER", "END", ""]))
    system, _, _ = map_structure(file, "five-bead")
    one, _, _ = map_structure(CHIGNOLIN, "five-bead")
    n = one.n_beads
    for name, rows in one.interactions.items():
        assert sorted(system.interactions[name].tolist()) == sorted([*rows.tolist(), *(rows + n).tolist()]), name


def test_five_beads_want_every_atom(tmp_path: Path) -> None:
    file = tmp_path / "cut.pdb"
    lines = CHIGNOLIN.read_text().splitlines()
    file.write_text("\n".join(line for line in lines if line[12:26].split() != ["CB", "TYR", "A", "2"]) + "\n")
    with pytest.raises(InputError, match="TYR 2 of chain A has no CB atom") as error:
        map_structure(file, "five-bead")
    assert str(file) in str(error.value) and "PDBFixer" in str(error.value)


@pytest.mark.parametrize("mapping", ["five-bead", "heavy"])
def test_missing_residues_are_refused(tmp_path: Path, mapping: str) -> None:
    file = tmp_path / "gap.pdb"
    lines = CHIGNOLIN.read_text().splitlines()
    file.write_text("\n".join(line for line in lines if line[22:26].strip() not in ("4", "5")) + "\n")
    with pytest.raises(InputError, match=r"ASP 3 and THR 6 of chain A .*residues are missing"):
        map_structure(file, mapping)
    with pytest.raises(InputError, match=r"ASP 3 C .*THR 6 N .*residues are missing"):
        map_structure(file, mapping, reading=Reading(gaps="bond"))
    system = map_structure(file, mapping, reading=Reading(gaps="break")).system
    whole = map_structure(CHIGNOLIN, mapping).system
    cut = np.isin(whole.residue_index[whole.bonds], (3, 4)).any(axis=1)
    assert len(system.bonds) == len(whole.bonds) - cut.sum()


def test_alternate_locations_are_noted(tmp_path: Path) -> None:
    lines = []
    for line in CHIGNOLIN.read_text().splitlines():
        if line[12:26].split() == ["CA", "TYR", "A", "2"]:
            lines += [f"{line[:16]}A{line[17:]}", f"{line[:16]}B{line[17:30]}{99:8.3f}{line[38:]}"]
        else:
            lines.append(line)
    file = tmp_path / "alt.pdb"
    file.write_text("\n".join(lines) + "\n")
    _, positions, notes = map_structure(file)
    np.testing.assert_allclose(positions, map_structure(CHIGNOLIN).positions)
    assert len(notes) == 1 and "alternate locations of TYR 2 of chain A" in notes[0]


MAPPING = """\
mdflash_mapping: 1
beads:
  GLY: {BB: [N, CA, C, O]}
  "*": {BB: [N, CA, C, O], SC: [rest]}
bonds:
  - [BB, SC]
  - [BB, +BB]
"""


def test_mapping_file(tmp_path: Path) -> None:
    file = tmp_path / "two-bead.yaml"
    file.write_text(MAPPING)
    system, positions, _ = map_structure(CHIGNOLIN, str(file))
    structure = read_structure(CHIGNOLIN)
    assert system.n_beads == 19  # ten residues, one of them glycine
    assert system.types[:2] == ("TYR-BB", "TYR-SC") and "GLY-SC" not in system.types
    assert len(system.bonds) == 9 + 9
    own = structure.residues[0].atoms
    backbone = [own[a] for a in ("N", "CA", "C", "O")]
    side = [row for atom, row in own.items() if atom not in ("N", "CA", "C", "O")]
    x = structure.positions[0]
    np.testing.assert_allclose(positions[0, :2], [x[backbone].mean(axis=0), x[side].mean(axis=0)])
    np.testing.assert_allclose(system.masses[:2], [2 * 12.011 + 14.007 + 15.999, 7 * 12.011 + 15.999])


@pytest.mark.parametrize(
    ("old", "new", "line", "said"),
    [
        ("mdflash_mapping: 1", "mdflash_mapping: 2", 1, "mdflash_mapping: 1"),
        ("bonds:", "bond:", 5, "not a known key"),
        ("GLY:", "GLX:", 3, "'GLX' is not an amino acid"),
        ("SC: [rest]", "SC: rest", 4, "beads with their atoms"),
        ("+BB", "+CC", 7, "'\\+CC' is not a bead"),
        ("[BB, SC]", "[BB]", 6, "expected two beads"),
    ],
)
def test_mapping_file_mistakes(tmp_path: Path, old: str, new: str, line: int, said: str) -> None:
    file = tmp_path / "wrong.yaml"
    file.write_text(MAPPING.replace(old, new))
    with pytest.raises(InputError, match=said) as error:
        map_structure(CHIGNOLIN, str(file))
    assert error.value.line == line


def test_mapping_file_that_leaves_a_residue_out(tmp_path: Path) -> None:
    file = tmp_path / "few.yaml"
    file.write_text("mdflash_mapping: 1\nbeads:\n  TYR: {CA: [CA]}\n")
    with pytest.raises(InputError, match="no beads for residue ASP 3 of chain A"):
        map_structure(CHIGNOLIN, str(file))
    file.write_text('mdflash_mapping: 1\nbeads:\n  "*": {CG: [CG]}\n')
    with pytest.raises(InputError, match="THR 6 of chain A has no CG atom"):
        map_structure(CHIGNOLIN, str(file))


def test_unknown_mapping() -> None:
    with pytest.raises(InputError, match="mapping 'cb' is not known: ca, heavy, five-bead"):
        map_structure(CHIGNOLIN, "cb")
