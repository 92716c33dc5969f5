"""`mdflash map`: an all-atom structure, and its trajectories, become beads."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def map_(
    structure: Annotated[Path, typer.Argument(help="All-atom structure: PDB, mmCIF or GRO.", show_default=False)],
    mapping: Annotated[str, typer.Option(help="ca | heavy | five-bead | a mapping file (.yaml)")] = "ca",
    out: Annotated[Path, typer.Option(help="Folder for what is written.")] = Path(),
    name: Annotated[str, typer.Option(help="Name of the molecule; default: the structure's file name.")] = "",
    forcefield: Annotated[
        str | None, typer.Option(help="Use its masses and interactions, and write a system.yaml that runs it.")
    ] = None,
    trajectory: Annotated[
        list[Path] | None, typer.Option(help="Map this trajectory of the structure too, into an XTC file; repeatable.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite files that exist.")] = False,
) -> None:
    """Map an all-atom structure to beads: NAME.safetensors to run, NAME-beads.pdb to look at."""
    from mdflash.cli.init import commented_run
    from mdflash.core.files import atomic_write, storage_errors
    from mdflash.core.system import save_system
    from mdflash.errors import InputError
    from mdflash.forcefields.forcefield import load_forcefield
    from mdflash.io.topology import pdb_text
    from mdflash.mapping.read import read_structure
    from mdflash.mapping.structure import bead_map, chain_breaks
    from mdflash.mapping.trajectory import map_trajectory

    ff = load_forcefield(forcefield) if forcefield is not None else None
    read = read_structure(structure)
    beads = bead_map(read, mapping, ff, name)
    positions = beads.positions(read.positions)
    system = beads.system
    run_file, model, picture = (out / f"{system.name}{end}" for end in (".yaml", ".safetensors", "-beads.pdb"))
    mapped = [(path, out / f"{path.stem}-{system.name}.xtc") for path in trajectory or ()]
    for file in (model, picture, *([run_file] if forcefield else []), *(target for _, target in mapped)):
        if file.exists() and not force:
            raise InputError("already exists; give another --out or --name, or --force to overwrite it", file=file)
    with storage_errors(out):
        out.mkdir(parents=True, exist_ok=True)
        save_system(model, system, positions)
    atomic_write(picture, pdb_text(system, positions[:1]))
    for note in (*beads.notes, *chain_breaks(system, positions)):
        typer.echo(f"note: {note}", err=True)
    typer.echo(
        f"wrote {model}, {picture}: {system.n_beads} beads of {len(set(system.types))} types, {len(positions)} frames"
    )
    for source, target in mapped:
        typer.echo(f"wrote {target}: {map_trajectory(source, structure, beads, target)} frames")
    if forcefield is not None:
        atomic_write(run_file, commented_run(model, forcefield, run_file))
        typer.echo(f"wrote {run_file}\nnext: mdflash check {run_file}, then mdflash run {run_file}")
    else:
        typer.echo(f"next: mdflash init {model} --forcefield FORCEFIELD")
