"""`mdflash init --sequence`, `--fasta` and `--count`: a run of proteins by their sequences, or a box of many."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from mdflash.core.files import atomic_write, storage_errors
from mdflash.core.plural import plural
from mdflash.errors import ForceFieldError, InputError
from mdflash.mapping.choices import AS_IT_IS, Reading
from mdflash.units import parse

if TYPE_CHECKING:
    from mdflash.forcefields.model import ForceField


@dataclass(frozen=True)
class Box:
    """A box of many molecules, as asked for.

    Attributes:
        count: copies of each; None: one, or those of a slab.
        edges: "15 nm, 15 nm, 150 nm"; None: the published ones of a slab.
        slab: whether they begin in the middle of the longest edge.
    """

    count: int | None = None
    edges: str | None = None
    slab: bool = False

    @property
    def wanted(self) -> bool:
        return self != Box()


NO_BOX = Box()


def from_sequences(
    structure: str | None,
    sequence: str | None,
    fasta: Path | None,
    forcefield: str,
    out: Path,
    overrides: Sequence[str],
    box: Box = NO_BOX,
    reading: Reading = AS_IT_IS,
) -> None:
    """Write a system.yaml at `out`, its folder too.

    Args:
        structure: of molecules of a box; otherwise a mistake beside a sequence.
        sequence: one-letter amino acids.
        fasta: a file of many, instead.
        forcefield: a folder or a shipped name.
        out: the system.yaml.
        overrides: "KEY=VALUE", what to write instead.
        box: of many copies.
        reading: of the structure.

    Raises:
        InputError: a sequence, the force field or an override is wrong; says what and where.
        ForceFieldError: the force field belongs to another molecule.
    """
    from mdflash.cli.init import named_model
    from mdflash.cli.options import forcefield_folder
    from mdflash.config.compose import compose, of_chain
    from mdflash.core.quantity import plain_word
    from mdflash.forcefields.forcefield import load_forcefield
    from mdflash.mapping.chain import linear_system
    from mdflash.mapping.sequence import named_sequences, read_sequence

    if [structure, sequence, fasta].count(None) != 2:
        raise InputError("give one of a structure, --sequence and --fasta")
    name = plain_word(out.parent.absolute().name if out.name == "system.yaml" else out.stem)
    found = named_sequences(fasta) if fasta is not None else [] if sequence is None else [(name, sequence)]
    model, ff = named_model(forcefield, out), load_forcefield(forcefield_folder(forcefield))
    for own, letters in found:
        try:
            residues = read_sequence(letters)
        except ValueError as error:
            raise InputError(f"--sequence: {error}") from None
        if ff.mapping == "ca" and ff.systems and any(term.keyed_by == "beads" for term in ff.terms):
            _check_molecule(ff, residues, own)
        linear_system(residues, ff, own)
    molecules: list[dict[str, Any]] = [{"name": own, "sequence": letters} for own, letters in found]
    longest = max((len(letters) for _, letters in found), default=0)
    folder = "./run" if out.name == "system.yaml" else f"runs/{name}"
    if box.wanted:
        if structure is not None:
            molecules = [{"structure": os.path.relpath(structure, out.parent), **reading.as_keys()}]
            longest = _residues(Path(structure), ff, reading)
        said, text = _box_of_many(name, molecules, longest, ff, out, model, folder, overrides, box)
    else:
        text = compose(name, molecules, of_chain(longest), ff, out, model=model, folder=folder, overrides=overrides)
        said = f"{len(found)} sequences, the longest of " if len(found) > 1 else ""
        said += plural(longest, "residue")
    with storage_errors(out):
        out.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(out, text)
    typer.echo(f"wrote {out}: {said}\nnext: mdflash check {out}, then mdflash run {out}")


def _box_of_many(
    name: str, molecules: list[dict[str, Any]], longest: int, ff: ForceField, out: Path, model: str, folder: str,
    overrides: Sequence[str], box: Box,
) -> tuple[str, str]:  # fmt: skip
    """What to say of a box of many copies of `molecules`, and the text of its system.yaml, which was tried."""
    from mdflash.config.compose import COMPRESS, COPIES, MANY, compose, slab_box
    from mdflash.config.load import parse_run
    from mdflash.neighbors.verlet import check_box
    from mdflash.runs.prepare import prepare

    if box.edges is None and not box.slab:
        raise InputError(
            "many molecules need a box: --box '15 nm, 15 nm, 15 nm'; or --slab, which brings its own", key="--count"
        )
    edges = slab_box(longest) if box.edges is None else tuple(edge.strip() for edge in box.edges.split(","))
    if len(edges) != 3:
        raise InputError(f"expected three lengths, such as '15 nm, 15 nm, 150 nm', found '{box.edges}'", key="--box")
    for edge in edges:
        try:
            parse(edge, "length")
        except ValueError as error:
            raise InputError(f"{error}; write three lengths, such as '15 nm, 15 nm, 150 nm'", key="--box") from None
    count = box.count or (-(-COPIES // len(molecules)) if box.slab else 1)
    entry: dict[str, Any] = {
        "name": name,
        "molecules": [{**molecule, "count": count} for molecule in molecules],
        **({"geometry": "slab"} if box.slab else {}),
        "compress": COMPRESS,
    }
    written = partial(compose, name, sampling=MANY, forcefield=ff, out=out, model=model, folder=folder, box=edges,
                      overrides=overrides)  # fmt: skip
    text = written([entry])
    prepared = prepare(parse_run(text, out).with_seed())
    if prepared.compression is None:  # nothing asks for it
        del entry["compress"]
        text = written([entry])
    cutoff = prepared.potential.cutoff
    check_box(prepared.config.box, 0.0 if cutoff is None else cutoff + prepared.dynamics().skin)
    beads = prepared.layout.systems[0].n_beads
    where = f"{'slab' if box.slab else 'box'} of {' x '.join(edges)}"
    many = count * len(molecules)
    return f"{plural(many, 'molecule')}, {beads:,} beads, in a {where}", text


def _residues(structure: Path, ff: ForceField, reading: Reading) -> int:
    from mdflash.runs.entries import read_molecule

    return read_molecule(structure, ff.mapping, ff, "molecule", [], reading)[0].n_residues


def _check_molecule(ff: ForceField, residues: Sequence[str], name: str) -> None:
    """Refuse a sequence for which a force field that lists its beads one by one was not made."""
    if all(own.types != tuple(residues) for own, _ in ff.systems):
        made_for = ", ".join(f"{own.name}, {own.n_beads} residues" for own, _ in ff.systems)
        raise ForceFieldError(
            f"force field '{ff.name}' belongs to another molecule ({made_for}), not to '{name}', {len(residues)} "
            "residues; for any sequence: --forcefield calvados3"
        )
