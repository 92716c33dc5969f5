"""`mdflash import`: models and inputs of other programs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mdflash.cli.outputs import Force, may_write

if TYPE_CHECKING:
    from mdflash.forcefields.model import ForceField

app = typer.Typer(help="Import a model, or biases, of another program.", no_args_is_help=True)


@app.callback()
def _programs() -> None:
    pass


@app.command()
def mlcg(
    files: Annotated[
        list[Path],
        typer.Argument(
            help="Checkpoints (.pt, .ckpt), which are summed; or one simulation input (.yaml).",
            metavar="FILES...",
            show_default=False,
        ),
    ],
    out: Annotated[Path, typer.Option(help="The folder (for a .yaml: the file) to write.", show_default=False)],
    structures: Annotated[
        Path | None,
        typer.Option(help="A file with a list of AtomicData: molecules and start frames.", show_default=False),
    ] = None,
    name: Annotated[str | None, typer.Option(help="Default: the name of --out.", show_default=False)] = None,
    force: Force = False,
) -> None:
    """Turn mlcg / CGSchNet checkpoints into a force field folder, with systems and a ready system.yaml.

    Neither mlcg nor torch_geometric is needed, and nothing inside the files is run.
    """
    from mdflash.core.files import atomic_write
    from mdflash.core.quantity import plain_word
    from mdflash.errors import InputError

    inputs = [f for f in files if f.suffix in (".yaml", ".yml")]
    if inputs:
        from mdflash.importers.mlcg_yaml import translate

        if len(files) > 1 or structures is not None:
            raise InputError("translate a simulation input by itself: mdflash import mlcg input.yaml --out system.yaml")
        may_write([out], force, files)
        atomic_write(out, translate(files[0]))
        typer.echo(f"wrote {out}: its first lines show how to make the force field it names")
        return

    from mdflash.importers.mlcg import import_mlcg

    _new(out)
    ff = import_mlcg(files, structures, name or plain_word(out.resolve().name))
    write_folder(out, ff)
    typer.echo(summary(out, ff))


@app.command()
def smog(
    files: Annotated[
        list[Path],
        typer.Argument(
            help="A model of SMOG 2 or OpenSMOG: its .top, its .xml where it has one, and its .gro.",
            metavar="FILES...",
            show_default=False,
        ),
    ],
    out: Annotated[Path, typer.Option(help="The force field folder to write.", show_default=False)],
    epsilon: Annotated[
        str, typer.Option(help="SMOG's unit of energy; the folding temperature is proportional to it.")
    ] = "1 kJ/mol",
    name: Annotated[str | None, typer.Option(help="Default: the name of --out.", show_default=False)] = None,
) -> None:
    """Turn a structure-based C-alpha model of SMOG 2 into a force field folder with a ready system.yaml."""
    from mdflash.cli.options import quantity
    from mdflash.core.quantity import plain_word
    from mdflash.importers.smog import import_smog

    _new(out)
    ff, notes = import_smog(files, name or plain_word(out.resolve().name), quantity("--epsilon", epsilon, "energy"))
    write_folder(out, ff)
    for note in notes:
        typer.echo(f"note: {note}", err=True)
    typer.echo(summary(out, ff))


@app.command()
def plumed(
    file: Annotated[
        Path, typer.Argument(help="A plumed.dat, whose atoms are beads: atom 1 is bead 0.", metavar="FILE")
    ],
    out: Annotated[Path, typer.Option(help="The YAML file to write.", show_default=False)],
    timestep: Annotated[
        str | None, typer.Option(help="Of the run: what steps are counted in (PACE, STEP).", show_default=False)
    ] = None,
    grid: Annotated[
        list[str] | None,
        typer.Option(
            help="Ends of the grid of a variable, 'LABEL=2 angstrom:30 angstrom', where the file has none; repeatable.",
            metavar="LABEL=MIN:MAX",
            show_default=False,
        ),
    ] = None,
    force: Force = False,
) -> None:
    """Turn a plumed.dat into the sections biases, metadynamics and monitor of a system.yaml.

    Actions and keywords that mdflash does not have are refused, with their line.
    """
    from mdflash.cli.options import quantity
    from mdflash.core.files import atomic_write
    from mdflash.errors import InputError
    from mdflash.importers.plumed import translate_plumed

    ends = {}
    for text in grid or ():
        label, _, span = text.partition("=")
        low, colon, high = span.partition(":")
        if not colon:
            raise InputError(f"--grid {text}: expected for example 'ends=2 angstrom:30 angstrom'")
        ends[label.strip()] = (low.strip(), high.strip())
    may_write([out], force, [file])
    found = translate_plumed(file, None if timestep is None else quantity("--timestep", timestep, "time"), ends)
    atomic_write(out, found.text(file))
    for note in found.notes:
        typer.echo(f"note: {note}", err=True)
    sections = (("biases", found.biases), ("metadynamics", found.metadynamics), ("monitor", found.monitor))
    told = ", ".join(f"{name} ({len(entries)})" for name, entries in sections if entries)
    typer.echo(f"wrote {out}: {told}; copy these sections into a system.yaml")


def _new(out: Path) -> None:
    """Refuse a folder that holds something: it is not mixed with another, --force or not."""
    from mdflash.errors import StorageError

    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise StorageError(f"{out} already exists; give another name with --out, or remove it first")


def write_folder(out: Path, ff: ForceField) -> None:
    """The force field's folder with its system.yaml, complete or not at all.

    Raises:
        StorageError: it cannot be written; nothing is left behind.
    """
    from mdflash.core.files import new_folder
    from mdflash.forcefields.forcefield import save_forcefield
    from mdflash.importers.run_file import ready_run

    with new_folder(out) as partial:
        save_forcefield(partial, ff)
        if ff.systems:
            (partial / "system.yaml").write_text(ready_run(ff), encoding="utf-8")


def summary(out: Path, ff: ForceField) -> str:
    """What was written, and what to type next."""
    from mdflash.core.plural import plural

    counts = ((ff.bead_types, "bead type"), (ff.terms, "prior"), (ff.networks, "network"))
    lines = [f"wrote {out}: {', '.join(plural(len(items), word) for items, word in counts)}"]
    for system, start in ff.systems:
        frames = 0 if start is None else len(start)
        sizes = ((system.n_beads, "bead"), (system.n_residues, "residue"), (frames, "start frame"))
        lines.append(f"  {system.name}: {', '.join(plural(count, word) for count, word in sizes)}")
    lines.append(f"next: mdflash info {out}")
    if ff.systems:
        lines.append(f"      mdflash run {out / 'system.yaml'} --set replicas.count=8 --steps 1000")
    else:
        lines.append("      import again with --structures to get its molecules and a system.yaml")
    return "\n".join(lines)
