"""`mdflash go`: a structure becomes a structure-based (Gō) force field."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import typer

from mdflash.cli.outputs import Force, forcefield_files, may_write
from mdflash.cli.structures import takes_reading
from mdflash.mapping.choices import AS_IT_IS, Reading


@takes_reading
def go(
    structure: Annotated[
        Path,
        typer.Argument(
            help="Native structure: PDB, mmCIF or GRO, all atoms or CA only.", metavar="STRUCTURE", show_default=False
        ),
    ],
    out: Annotated[Path, typer.Option(help="The force field folder to write.", show_default=False)],
    epsilon: Annotated[
        str, typer.Option(help="Depth of a native contact; the folding temperature is proportional to it.")
    ] = "1 kcal/mol",
    contact_distance: Annotated[
        str, typer.Option(help="Residues with heavy atoms at most this far apart are in contact.")
    ] = "4.5 angstrom",
    between_chains: Annotated[
        Literal["native", "none", "symmetric"],
        typer.Option(
            help="Contacts between chains: those that touch, none, or between copies of a molecule as within it too."
        ),
    ] = "native",
    reading: Reading = AS_IT_IS,
    force: Force = False,
) -> None:
    """Build a structure-based (Gō) CA force field whose energy minimum is STRUCTURE."""
    from mdflash.cli.options import quantity
    from mdflash.core.quantity import plain_word
    from mdflash.errors import StorageError
    from mdflash.forcefields.forcefield import save_forcefield
    from mdflash.importers.go_model import GoParameters, go_from_structure

    parameters = GoParameters(
        epsilon=quantity("--epsilon", epsilon, "energy"),
        contact_distance=quantity("--contact-distance", contact_distance, "length"),
        between_chains=between_chains,
    )
    may_write(forcefield_files(out), force, [structure])
    made, notes = go_from_structure(structure, parameters, reading=reading)
    forcefield = replace(made, name=plain_word(out.absolute().name))
    try:
        save_forcefield(out, forcefield)
    except OSError as error:
        raise StorageError(f"{out} cannot be written: {error.strerror}") from None
    for note in notes:
        typer.echo(f"note: {note}", err=True)
    sizes = ", ".join(f"{len(term.keys)} {term.name}" for term in forcefield.terms if term.keyed_by == "beads")
    molecule = out / "systems" / f"{forcefield.systems[0][0].name}.safetensors"
    typer.echo(
        f"wrote {out}: {forcefield.name}, {forcefield.systems[0][0].n_beads} beads, {sizes}\n"
        f"next: mdflash init {molecule} --forcefield {out}"
    )
