"""`mdflash go`: a structure becomes a structure-based (Gō) force field."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def go(
    structure: Annotated[
        Path, typer.Argument(help="Native structure: PDB, mmCIF or GRO, all atoms or CA only.", show_default=False)
    ],
    out: Annotated[Path, typer.Option(help="The force field folder to write.", show_default=False)],
    epsilon: Annotated[
        str, typer.Option(help="Depth of a native contact; the folding temperature is proportional to it.")
    ] = "1 kcal/mol",
    contact_distance: Annotated[
        str, typer.Option(help="Residues with heavy atoms at most this far apart are in contact.")
    ] = "4.5 angstrom",
    force: Annotated[bool, typer.Option("--force", help="Overwrite the force field if it exists.")] = False,
) -> None:
    """Build a structure-based (Gō) CA force field whose energy minimum is STRUCTURE."""
    from mdflash.cli.options import quantity
    from mdflash.errors import InputError, StorageError
    from mdflash.forcefields.forcefield import save_forcefield
    from mdflash.importers.go_model import GoParameters, go_from_structure

    parameters = GoParameters(
        epsilon=quantity("--epsilon", epsilon, "energy"),
        contact_distance=quantity("--contact-distance", contact_distance, "length"),
    )
    if (out / "forcefield.yaml").exists() and not force:
        raise InputError("already holds a force field; give another --out, or --force to overwrite it", file=out)
    forcefield, notes = go_from_structure(structure, parameters)
    try:
        save_forcefield(out, forcefield)
    except OSError as error:
        raise StorageError(f"{out} cannot be written: {error.strerror}") from None
    for note in notes:
        typer.echo(f"note: {note}", err=True)
    sizes = ", ".join(f"{len(term.keys)} {term.name}" for term in forcefield.terms if term.keyed_by == "beads")
    typer.echo(
        f"wrote {out}: {forcefield.name}, {forcefield.systems[0][0].n_beads} beads, {sizes}\n"
        f"next: mdflash init {structure} --forcefield {out}"
    )
