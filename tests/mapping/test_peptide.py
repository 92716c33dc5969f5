"""Peptides from their sequence have the dihedrals, hands and hydrogens they should."""

from __future__ import annotations

import random
from pathlib import Path

import mdtraj
import numpy as np
import pytest

from mdflash.errors import InputError
from mdflash.mapping.peptide import (
    ONE_LETTER,
    build_peptide,
    parse_conformation,
    parse_conformations,
    parse_sequence,
    write_pdb,
)


def test_sequences() -> None:
    assert parse_sequence("yyd") == ("TYR", "TYR", "ASP")
    assert parse_sequence("ACE-ALA-NME") == ("ACE", "ALA", "NME")
    assert parse_sequence("ALA") == ("ALA",)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("YYX", "found 'X' at position 3"),
        ("", "found nothing"),
        ("ALA-ACE-NME", "'ACE' at position 2"),
        ("ACE-ALX-NME", "'ALX' at position 2"),
        ("ACE-NME", "no amino acid between its caps"),
    ],
)
def test_sequences_that_are_none(text: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        parse_sequence(text)


def test_conformations() -> None:
    assert parse_conformation("-75, 145") == (-75.0, 145.0)
    assert parse_conformations("helix", ("ALA", "ALA")) == [parse_conformation("helix")] * 2
    assert parse_conformations("-60,-30; 50,40", ("ALA", "ALA")) == [(-60.0, -30.0), (50.0, 40.0)]
    with pytest.raises(InputError, match="extended, helix, or phi and psi"):
        parse_conformation("sheet")
    with pytest.raises(InputError, match="3 are given, but 2 residues"):
        parse_conformations("helix;helix;helix", ("ALA", "ALA"))


def test_every_amino_acid_with_the_dihedrals_asked_for(tmp_path: Path) -> None:
    sequence = ("ACE", *ONE_LETTER.values(), "NME")
    rng = np.random.default_rng(3)
    # of a loose helix, so that the chain does not run into itself
    asked = np.stack([rng.uniform(-85, -65, len(sequence)), rng.uniform(-30, -10, len(sequence))], axis=1)
    topology, positions = build_peptide(sequence, [(float(a), float(b)) for a, b in asked])
    file = tmp_path / "all.pdb"
    write_pdb(file, topology, positions)
    found = mdtraj.load(str(file))
    assert tuple(r.name for r in found.topology.residues) == sequence
    proline = sequence.index("PRO")
    expected = asked[1:-1].copy()
    expected[proline - 1, 0] = -65.0
    np.testing.assert_allclose(np.degrees(mdtraj.compute_phi(found)[1][0]), expected[:, 0], atol=0.2)
    np.testing.assert_allclose(np.degrees(mdtraj.compute_psi(found)[1][0]), expected[:, 1], atol=0.2)
    hands = 0
    for residue in found.topology.residues:
        row = {a.name: a.index for a in residue.atoms}
        if "CB" in row:
            n, c, cb = (positions[row[a]] - positions[row["CA"]] for a in ("N", "C", "CB"))
            assert np.dot(np.cross(n, c), cb) > 1.5, residue  # Å^3; negative for D
            hands += 1
    assert hands == 19
    symbols = [a.element.symbol for a in found.topology.atoms]
    assert symbols.count("H") > symbols.count("C")


def test_the_same_peptide_each_time() -> None:
    state = random.getstate()
    first, second = (build_peptide(("ACE", "TYR", "NME"), [(-120.0, 130.0)] * 3)[1] for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert random.getstate() == state
