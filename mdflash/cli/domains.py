"""`mdflash domains`: find the folded domains of a prediction, and hold them in a model of disordered proteins."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mdflash.cli.outputs import Force, forcefield_files, may_write
from mdflash.cli.structures import takes_reading
from mdflash.core.plural import plural
from mdflash.mapping.choices import AS_IT_IS, Reading


@takes_reading
def domains(
    structure: Annotated[
        Path, typer.Argument(help="PDB, mmCIF or GRO; of a prediction or not.", metavar="STRUCTURE", show_default=False)
    ],
    domains_: Annotated[
        str | None,
        typer.Option("--domains", help="Residue numbers: '11-89, 105-179'; a domain of parts: '287-294+323-466'."),
    ] = None,
    pae: Annotated[
        Path | None, typer.Option(help="Find them by the aligned errors of AlphaFold or ColabFold (JSON).")
    ] = None,
    forcefield: Annotated[str, typer.Option(help="Folder of a force field for any sequence, or a shipped name.")] = (
        "calvados3"
    ),
    out: Annotated[
        Path | None, typer.Option(help="Folder for the run and its force field; none: show the domains only.")
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Write another value: --set environment.pH=6")
    ] = None,
    reading: Reading = AS_IT_IS,
    force: Force = False,
) -> None:
    """Show the folded domains of STRUCTURE; with --out, write a run that holds them and lets the rest move freely."""
    from mdflash.cli.options import forcefield_folder
    from mdflash.errors import InputError
    from mdflash.forcefields.forcefield import load_forcefield
    from mdflash.importers.domains import parse_domains, show_domains
    from mdflash.importers.pae import domains_from_pae, read_pae, read_plddt
    from mdflash.mapping.read import read_structure
    from mdflash.mapping.structure import fit_system, map_to_ca

    if (domains_ is None) == (pae is None):
        raise InputError(
            "give the domains, `--domains '11-89, 105-179'`, or the errors to find them by, `--pae x.json`"
        )
    if out is not None:
        may_write([out / "system.yaml", *forcefield_files(out / "forcefield")], force, [structure])
    ff = load_forcefield(forcefield_folder(forcefield))
    read = read_structure(structure, frozenset(t.name for t in ff.bead_types), reading)
    system, positions, notes = map_to_ca(read, ff)
    system = fit_system(system, ff, "ca")
    plddt = None
    if pae is None:
        assert domains_ is not None
        found = parse_domains(domains_, system)
    else:
        errors, own = read_pae(pae)
        if len(errors) != system.n_beads:
            raise InputError(f"has {len(errors)} residues, but {structure} has {system.n_beads}", file=pae)
        plddt = read_plddt(structure, read) if own is None else own
        found = domains_from_pae(errors, plddt)
    for note in notes:
        typer.echo(f"note: {note}", err=True)
    if not found:
        typer.echo(f"{system.name}: no folded domain was found; mdflash init {structure} --forcefield {forcefield}")
        return
    typer.echo(f"{system.name}: {system.n_beads} residues, {plural(len(found), 'folded domain')}")
    for beads in found:
        sure = "" if plddt is None else f", mean pLDDT {plddt[beads].mean():.0f}"
        typer.echo(f"  {show_domains([beads], system)}: {plural(len(beads), 'residue')}{sure}")
    text = show_domains(found, system)
    if out is None:
        choices = "".join(
            f" --{key} {','.join(value) if isinstance(value, list) else value}"
            for key, value in reading.as_keys().items()
        )
        again = f"mdflash domains {structure} --domains '{text}' --forcefield {forcefield}{choices} --out {system.name}"
        typer.echo(f"next (change them as you like): {again}")
        return
    from mdflash.config.compose import compose, of_chain
    from mdflash.core.files import atomic_write
    from mdflash.core.quantity import plain_word
    from mdflash.forcefields.forcefield import save_forcefield
    from mdflash.importers.domains import place_beads, restrain

    x = place_beads(read, positions[0], found)
    held = restrain(ff, system, x, found)
    entry = {"structure": f"forcefield/systems/{system.name}.safetensors", "name": system.name}
    file = out / "system.yaml"
    save_forcefield(out / "forcefield", held)
    atomic_write(file, compose(
        plain_word(out.absolute().name), [entry], of_chain(system.n_beads), held, file, model="forcefield",
        folder="./run", overrides=set_ or [],
    ))  # fmt: skip
    typer.echo(f"wrote {out}: {held.provenance['restraints']}\nnext: mdflash check {file}, then mdflash run {file}")
