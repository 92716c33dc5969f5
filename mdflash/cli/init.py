"""`mdflash init`: a structure and a force field become a commented system.yaml."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated

import typer

from mdflash.cli.structures import Chain, GapsOption, KeepOption, Model, ModifiedOption, as_reading
from mdflash.core.files import atomic_write
from mdflash.errors import InputError
from mdflash.mapping.choices import AS_IT_IS, Reading


def init(
    structure: Annotated[
        Path, typer.Argument(help="PDB, mmCIF, GRO, or an mdflash system (.safetensors).", show_default=False)
    ],
    forcefield: Annotated[
        str, typer.Option(help="Folder of a force field, or the name of a shipped one.", show_default=False)
    ],
    out: Annotated[Path, typer.Option(help="The file to write.")] = Path("system.yaml"),
    model: Model = None,
    chain: Chain = None,
    keep: KeepOption = "all",
    modified: ModifiedOption = "refuse",
    gaps: GapsOption = "refuse",
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file if it exists.")] = False,
) -> None:
    """Write a system.yaml with every key, its default and meaning (inside exchange and biases: mdflash schema)."""
    if not structure.is_file():
        raise InputError("no such file; expected a structure (PDB, mmCIF, GRO, .safetensors)", file=structure)
    if out.exists() and not force:
        raise InputError("already exists; give another name with --out, or --force to overwrite it", file=out)
    text = commented_run(structure, forcefield, out, as_reading(model, chain, keep, modified, gaps))
    atomic_write(out, text)
    typer.echo(f"wrote {out}\nnext: mdflash check {out}, then mdflash run {out}")


def commented_run(structure: Path, forcefield: str, out: Path, reading: Reading = AS_IT_IS) -> str:
    """The text of a system.yaml at `out` that runs `structure` with `forcefield`, at 300 K for 100 ns.

    Raises:
        InputError: no such force field.
    """
    from mdflash.config.load import parse_run
    from mdflash.config.write import commented_yaml, to_data
    from mdflash.core.quantity import plain_word
    from mdflash.forcefields.shipped import find_shipped, list_shipped
    from mdflash.mapping.formats import bare_name

    if (Path(forcefield) / "forcefield.yaml").is_file():
        model = os.path.relpath(forcefield, out.parent)
    elif find_shipped("forcefields", forcefield):
        model = forcefield
    else:
        raise InputError(
            f"--forcefield {forcefield}: no folder with a forcefield.yaml; {list_shipped('forcefields', forcefield)}"
        )
    name = plain_word(bare_name(structure))
    given = {
        "mdflash": 1,
        "name": name,
        "system": {"structure": os.path.relpath(structure, out.parent), **reading.as_keys()},
        "model": {"forcefield": model},
        "dynamics": {"temperature": "300 K", "length": "100 ns"},
    }
    data = to_data(parse_run(json.dumps(given), out))
    data["system"] |= given["system"]
    data["model"] |= given["model"]
    data["output"]["folder"] = f"runs/{name}"
    return commented_yaml(data)
