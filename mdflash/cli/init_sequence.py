"""`mdflash init --sequence` and `--fasta`: a run of proteins of which only the sequence is known."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from mdflash.core.files import atomic_write, storage_errors
from mdflash.errors import ForceFieldError, InputError

if TYPE_CHECKING:
    from mdflash.forcefields.forcefield import ForceField


def from_sequences(
    structure: str | None,
    sequence: str | None,
    fasta: Path | None,
    forcefield: str,
    out: Path,
    overrides: Sequence[str],
) -> None:
    """Write a system.yaml at `out`, its folder too.

    Args:
        structure: a mistake beside a sequence.
        sequence: one-letter amino acids.
        fasta: a file of many, instead.
        forcefield: a folder or a shipped name.
        out: the system.yaml.
        overrides: "KEY=VALUE", what to write instead.

    Raises:
        InputError: a sequence, the force field or an override is wrong; says what and where.
        ForceFieldError: the force field belongs to another molecule.
    """
    from mdflash.cli.init import named_model
    from mdflash.cli.options import forcefield_folder
    from mdflash.config.compose import compose
    from mdflash.core.quantity import plain_word
    from mdflash.forcefields.forcefield import load_forcefield
    from mdflash.mapping.chain import linear_system
    from mdflash.mapping.sequence import named_sequences, read_sequence

    if structure is not None or (sequence is not None and fasta is not None):
        raise InputError("give one of a structure, --sequence and --fasta")
    name = plain_word(out.parent.absolute().name if out.name == "system.yaml" else out.stem)
    if fasta is not None:
        found = named_sequences(fasta)
    else:
        assert sequence is not None
        found = [(name, sequence)]
    model, ff = named_model(forcefield, out), load_forcefield(forcefield_folder(forcefield))
    for own, letters in found:
        try:
            residues = read_sequence(letters)
        except ValueError as error:
            raise InputError(f"--sequence: {error}") from None
        if ff.mapping == "ca" and ff.systems and any(term.keyed_by == "beads" for term in ff.terms):
            _check_molecule(ff, residues, own)
        linear_system(residues, ff, own)
    longest = max(len(letters) for _, letters in found)
    folder = "./run" if out.name == "system.yaml" else f"runs/{name}"
    text = compose(
        name, [{"name": own, "sequence": letters} for own, letters in found], longest, ff, out,
        model=model, folder=folder, overrides=overrides,
    )  # fmt: skip
    with storage_errors(out):
        out.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(out, text)
    many = f"{len(found)} sequences, the longest of {longest} residues" if len(found) > 1 else f"{longest} residues"
    typer.echo(f"wrote {out}: {many}\nnext: mdflash check {out}, then mdflash run {out}")


def _check_molecule(ff: ForceField, residues: Sequence[str], name: str) -> None:
    """Refuse a sequence for which a force field that lists its beads one by one was not made."""
    if all(own.types != tuple(residues) for own, _ in ff.systems):
        made_for = ", ".join(f"{own.name}, {own.n_beads} residues" for own, _ in ff.systems)
        raise ForceFieldError(
            f"force field '{ff.name}' belongs to another molecule ({made_for}), not to '{name}', {len(residues)} "
            "residues; for any sequence: --forcefield calvados3"
        )
