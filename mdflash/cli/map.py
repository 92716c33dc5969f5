"""`mdflash map`: an all-atom structure, and its trajectories, become beads."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mdflash.cli.outputs import Force, may_write
from mdflash.cli.structures import takes_reading
from mdflash.core.plural import plural
from mdflash.mapping.choices import AS_IT_IS, Reading


@takes_reading
def map_(
    structure: Annotated[
        Path, typer.Argument(help="All-atom structure: PDB, mmCIF or GRO.", metavar="STRUCTURE", show_default=False)
    ],
    mapping: Annotated[str, typer.Option(help="ca | heavy | five-bead | a mapping file (.yaml)")] = "ca",
    out: Annotated[Path, typer.Option(help="Folder for what is written.")] = Path(),
    name: Annotated[str, typer.Option(help="Name of the molecule; default: the structure's file name.")] = "",
    forcefield: Annotated[
        str | None, typer.Option(help="Use its masses and interactions, and write a system.yaml that runs it.")
    ] = None,
    trajectory: Annotated[
        list[Path] | None, typer.Option(help="Map this trajectory of the structure too, into an XTC file; repeatable.")
    ] = None,
    reading: Reading = AS_IT_IS,
    force: Force = False,
) -> None:
    """Map an all-atom structure to beads: NAME.safetensors to run, NAME-beads.pdb to look at."""
    from mdflash.cli.init import commented_run
    from mdflash.core.files import atomic_write, storage_errors
    from mdflash.core.system import save_system
    from mdflash.errors import InputError
    from mdflash.forcefields.forcefield import load_forcefield
    from mdflash.io.topology import beyond_pdb, cif_text, pdb_text
    from mdflash.mapping.read import read_structure
    from mdflash.mapping.structure import bead_map, known_types
    from mdflash.mapping.trajectory import map_trajectory

    ff = load_forcefield(forcefield) if forcefield is not None else None
    read = read_structure(structure, known_types(ff, mapping), reading)
    beads = bead_map(read, mapping, ff, name)
    positions = beads.positions(read.positions)
    system = beads.system
    run_file, molecule, picture = (out / f"{system.name}{end}" for end in (".yaml", ".safetensors", "-beads.pdb"))
    mapped = [(path, out / f"{path.stem}-{system.name}.xtc") for path in trajectory or ()]
    whole = picture.with_suffix(".cif")
    what = beyond_pdb(system)
    targets = [molecule, picture, *([run_file] if forcefield else []), *([whole] if what else [])]
    may_write([*targets, *(target for _, target in mapped)], force, [structure, *(path for path, _ in mapped)])
    if len({target for _, target in mapped}) < len(mapped):
        raise InputError("two trajectories have one name, so their beads would; rename one", key="--trajectory")
    text = pdb_text(system, positions[:1])  # refuses what PDB cannot hold, before anything is written
    with storage_errors(out):
        out.mkdir(parents=True, exist_ok=True)
    frames: dict[Path, int] = {}
    try:
        for source, target in mapped:
            frames[target] = map_trajectory(source, beads, target)
    except BaseException:
        for target in frames:
            target.unlink()
        raise
    with storage_errors(out):
        save_system(molecule, system, positions)
    atomic_write(picture, text)
    notes = list(beads.notes)
    if what is not None:
        atomic_write(whole, cif_text(system, positions[0]))
        notes.append(f"PDB files have no columns for {what}; {whole} has it in full")
    for note in notes:
        typer.echo(f"note: {note}", err=True)
    typer.echo(
        f"wrote {molecule}, {picture}: {plural(system.n_beads, 'bead')} of "
        f"{plural(len(set(system.types)), 'type')}, {plural(len(positions), 'frame')}"
    )
    for target, count in frames.items():
        typer.echo(f"wrote {target}: {plural(count, 'frame')}")
    if forcefield is not None:
        atomic_write(run_file, commented_run(molecule, forcefield, run_file))
        typer.echo(f"wrote {run_file}\nnext: mdflash check {run_file}, then mdflash run {run_file}")
    else:
        typer.echo(f"next: mdflash init {molecule} --forcefield FORCEFIELD")
