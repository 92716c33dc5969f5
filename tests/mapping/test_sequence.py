"""Sequences and FASTA files: what is wrong is named with its place; chains start as coils that do not overlap."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mdflash import load_forcefield
from mdflash.errors import InputError
from mdflash.mapping.chain import APART, BOND, chain_of, coils
from mdflash.mapping.peptide import ONE_LETTER
from mdflash.mapping.sequence import named_sequences, read_fasta, read_sequence


def test_every_amino_acid() -> None:
    letters = "ACDEFGHIKLMNPQRSTVWY"
    assert read_sequence(letters) == tuple(ONE_LETTER[a] for a in letters)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is empty"),
        ("MSRXALP", "'X' (any amino acid) at position 4"),
        ("MSRAUP", "'U' (selenocysteine) at position 5"),
        ("MSRA1P", "'1' at position 5"),
        ("MSRA-P", "'-' (a gap) at position 5"),
        ("MSraP", "'r' in lower case at position 3"),
        ("msrap", "write 'MSRAP'"),
        ("MS RAP", "a space or line end at position 3"),
        ("MSRAP*", "'*', a stop, at position 6 (in 'MSRAP*'); remove it"),
        ("MS*RAP", "remove it and what follows"),
        ("MSRÄP", "'Ä' at position 4"),
    ],
)
def test_a_wrong_sequence_is_refused_with_its_place(text: str, says: str) -> None:
    with pytest.raises(ValueError) as error:
        read_sequence(text)
    assert says in str(error.value)


def test_fasta(tmp_path: Path) -> None:
    file = tmp_path / "idrs.fasta"
    file.write_text("; made by hand\n>sp|P60896|SEM1_HUMAN 26S proteasome\nMSRA\nALPS\n\n>DSS 1\r\nGGG\r\n")
    assert read_fasta(file) == [("sp|P60896|SEM1_HUMAN", "MSRAALPS"), ("DSS", "GGG")]
    assert named_sequences(file) == [("SEM1_HUMAN", "MSRAALPS"), ("DSS", "GGG")]


def test_a_stop_at_the_end_and_a_sequence_without_a_name(tmp_path: Path) -> None:
    file = tmp_path / "my idr.fasta"
    file.write_text("MSRA\nALPS*\n")
    assert [sequence for _, sequence in read_fasta(file)] == ["MSRAALPS"]
    assert " " not in named_sequences(file)[0][0]
    file.write_text(">a\nGGG*\n>b\nMSR\n*\n")
    assert read_fasta(file) == [("a", "GGG"), ("b", "MSR")]


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("", None, "holds no sequence"),
        (">a\nMSRA\n>a\nGGG\n", 3, "'a' is the name of two sequences, the other at line 1"),
        (">a\n>b\nGGG\n", 1, "'a' has no sequence"),
        (">a\nGGG\n>b\n", 3, "'b' has no sequence"),
        (">\nGGG\n", 1, "'>' without a name"),
        (">a\nGGG\nGXG\n", 3, "'a': the sequence has 'X'"),
        (">a\nGG G\n", 2, "a space"),
        (">a\nggg\n", 2, "lower case"),
        (">a\nGG*G\n", 2, "a stop"),
        (">a\nGGG*\nMSR\n", 3, "behind the stop '*' of line 2"),
        (">a\n*\n", 1, "has no sequence"),
    ],
)
def test_a_wrong_fasta_is_refused_with_its_line(text: str, line: int | None, says: str, tmp_path: Path) -> None:
    file = tmp_path / "wrong.fasta"
    file.write_text(text)
    with pytest.raises(InputError) as error:
        read_fasta(file)
    assert says in error.value.message
    assert (error.value.file, error.value.line) == (file, line)


def test_names_that_come_to_one_file_name(tmp_path: Path) -> None:
    file = tmp_path / "twins.fasta"
    file.write_text(">a/b\nGGG\n>a:b\nGGG\n")
    with pytest.raises(InputError, match="both become 'a-b'"):
        named_sequences(file)


@pytest.mark.parametrize("n", [1, 2, 3, 25, 180])
def test_coils_are_chains_without_overlaps(n: int) -> None:
    x = coils(n, 3, seed=n)
    assert x.shape == (3, n, 3)
    np.testing.assert_allclose(np.linalg.norm(np.diff(x, axis=1), axis=2), BOND, rtol=1e-12)
    for frame in x:
        apart = np.linalg.norm(frame[:, None] - frame[None], axis=2)
        i, j = np.triu_indices(n, 3)
        assert (apart[i, j] > APART).all()
    if n > 2:
        assert np.abs(x[0] - x[1]).max() > 1.0
    np.testing.assert_array_equal(coils(n, 1, seed=n)[0], x[0])  # whatever the number of frames


def test_a_sequence_needs_a_model_of_one_bead_per_residue() -> None:
    with pytest.raises(InputError, match="one bead for each residue"):
        chain_of("GGG", load_forcefield("ala2"), "x")
