"""`mdflash init`: a structure and a force field become a commented system.yaml; or a recipe to fill in."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated, Literal

import typer

from mdflash.cli.init_recipe import recipe_text
from mdflash.core.files import atomic_write
from mdflash.errors import InputError


def init(
    structure: Annotated[
        str | None,
        typer.Argument(
            help="PDB, mmCIF, GRO, or an mdflash system (.safetensors). With --sample: a structure or a sequence; with "
            "--train: a dataset.",
            metavar="STRUCTURE",
            show_default=False,
        ),
    ] = None,
    forcefield: Annotated[
        str | None, typer.Option(help="Folder of a force field, or the name of a shipped one.", show_default=False)
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="The file to write.", show_default="system.yaml, sample.yaml or train.yaml")
    ] = None,
    sample: Annotated[bool, typer.Option("--sample", help="Write a recipe of mdflash sample instead.")] = False,
    train: Annotated[bool, typer.Option("--train", help="Write a recipe of mdflash train instead.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file if it exists.")] = False,
) -> None:
    """Write a system.yaml (or a recipe) with every key, its default and meaning.

    Inside exchange and biases: mdflash schema exchange, mdflash schema biases.
    """
    if sample and train:
        raise InputError("--sample and --train write two files; give one of them")
    verb: Literal["sample", "train"] | None = "sample" if sample else "train" if train else None
    out = out or Path(f"{verb or 'system'}.yaml")
    if out.exists() and not force:
        raise InputError("already exists; give another name with --out, or --force to overwrite it", file=out)
    if verb is not None:
        atomic_write(out, recipe_text(verb, structure, out))
        typer.echo(f"wrote {out}\nnext: mdflash {verb} {out} --dry-run, then mdflash {verb} {out}")
        return
    if structure is None or forcefield is None:
        raise InputError(
            "a system.yaml needs a structure and a force field: mdflash init protein.pdb --forcefield my-forcefield"
        )
    if not Path(structure).is_file():
        raise InputError("no such file; expected a structure (PDB, mmCIF, GRO, .safetensors)", file=structure)
    text = commented_run(Path(structure), forcefield, out)
    atomic_write(out, text)
    if refused := _refusal(out):
        typer.echo(f"wrote {out}, but it cannot run yet: {refused}", err=True)
    else:
        typer.echo(f"wrote {out}\nnext: mdflash check {out}, then mdflash run {out}")


def _refusal(file: Path) -> str:
    """Why the force field does not fit the molecule, as a run would say it; empty where it does."""
    from mdflash.config.load import load_run
    from mdflash.errors import MdflashError
    from mdflash.runs.prepare import prepare

    try:
        prepare(load_run(file))
    except MdflashError as error:
        return str(error)
    return ""


def commented_run(structure: Path, forcefield: str, out: Path) -> str:
    """The text of a system.yaml at `out` that runs `structure` with `forcefield`, at 300 K for 100 ns.

    Raises:
        InputError: no such force field.
    """
    from mdflash.config.load import parse_run
    from mdflash.config.write import commented_yaml, to_data
    from mdflash.core.quantity import plain_word
    from mdflash.forcefields.shipped import find_shipped, list_shipped

    if (Path(forcefield) / "forcefield.yaml").is_file():
        model = os.path.relpath(forcefield, out.parent)
    elif find_shipped("forcefields", forcefield):
        model = forcefield
    else:
        raise InputError(
            f"--forcefield {forcefield}: no folder with a forcefield.yaml; {list_shipped('forcefields', forcefield)}"
        )
    name = plain_word(structure.stem)
    given = {
        "mdflash": 1,
        "name": name,
        "system": {"structure": os.path.relpath(structure, out.parent)},
        "model": {"forcefield": model},
        "dynamics": {"temperature": "300 K", "length": "100 ns"},
    }
    data = to_data(parse_run(json.dumps(given), out))
    data["system"] |= given["system"]
    data["model"] |= given["model"]
    data["output"]["folder"] = f"runs/{name}"
    return commented_yaml(data)
