"""`mdflash init`: a structure and a force field become a commented system.yaml; or a recipe to fill in."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from mdflash.cli.init_recipe import RECIPES, recipe_text
from mdflash.cli.init_sequence import Box, from_sequences
from mdflash.cli.outputs import Force, may_write
from mdflash.cli.structures import takes_reading
from mdflash.core.files import atomic_write, storage_errors
from mdflash.errors import InputError
from mdflash.mapping.choices import AS_IT_IS, Reading


@takes_reading
def init(
    structure: Annotated[
        str | None,
        typer.Argument(
            help="PDB, mmCIF, GRO, or an mdflash system (.safetensors). With --sample: a structure or a sequence; with "
            "--train: a dataset; with --campaign: a system.yaml.",
            metavar="STRUCTURE",
            show_default=False,
        ),
    ] = None,
    forcefield: Annotated[
        str | None, typer.Option(help="Folder of a force field, or the name of a shipped one.", show_default=False)
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="The file to write, or a folder for it and its run (a name without .yaml).",
            show_default="system.yaml, sample.yaml, train.yaml or sweep.yaml",
        ),
    ] = None,
    sequence: Annotated[
        str | None, typer.Option(help="Instead of a structure: one-letter amino acids.", show_default=False)
    ] = None,
    fasta: Annotated[
        Path | None, typer.Option(help="Instead of a structure: many sequences, one batch.", show_default=False)
    ] = None,
    count: Annotated[
        int | None, typer.Option(min=1, help="Copies of each molecule, in a periodic box.", show_default=False)
    ] = None,
    box: Annotated[
        str | None, typer.Option(help="Edges of the box: '15 nm, 15 nm, 150 nm'.", show_default=False)
    ] = None,
    slab: Annotated[
        bool,
        typer.Option("--slab", help="A condensate beside its dilute phase: 100 copies in the middle of a long box."),
    ] = False,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Write another value: --set environment.pH=6")
    ] = None,
    sample: Annotated[bool, typer.Option("--sample", help="Write a recipe of mdflash sample instead.")] = False,
    train: Annotated[bool, typer.Option("--train", help="Write a recipe of mdflash train instead.")] = False,
    campaign: Annotated[bool, typer.Option("--campaign", help="Write a sweep of mdflash campaign instead.")] = False,
    reading: Reading = AS_IT_IS,
    force: Force = False,
) -> None:
    """Write a system.yaml (or a recipe) with every key, its default and meaning.

    Inside exchange and biases: mdflash schema exchange, mdflash schema biases.
    """
    verbs = [recipe for recipe, wanted in zip(RECIPES, (sample, train, campaign), strict=True) if wanted]
    if len(verbs) > 1:
        raise InputError(f"{' and '.join(f'--{verb}' for verb in verbs)} write several files; give one of them")
    verb = verbs[0] if verbs else None
    out = out or Path("system.yaml" if verb is None else RECIPES[verb].file)
    many = Box(count, box, slab)
    transferable = sequence is not None or fasta is not None or many.wanted
    own_folder = verb is None and out.suffix not in (".yaml", ".yml")
    if own_folder:
        out = out / "system.yaml"
    inputs = [*([] if structure is None else [Path(structure)]), *([] if fasta is None else [fasta])]
    may_write([out], force, inputs if verb is None else [])
    if verb is not None:
        atomic_write(out, recipe_text(verb, structure, out))
        command = f"mdflash {RECIPES[verb].command} {out}"
        typer.echo(f"wrote {out}\nnext: {command} --dry-run, then {command}")
        return
    if transferable and forcefield is not None:
        from_sequences(structure, sequence, fasta, forcefield, out, set_ or [], many, reading)
        return
    if structure is None or forcefield is None:
        raise InputError(
            "a system.yaml needs a structure and a force field: mdflash init protein.pdb --forcefield my-forcefield; "
            "or a sequence: mdflash init --sequence MSRAALPSLENL --forcefield calvados2 --out dss1"
        )
    if not Path(structure).is_file():
        raise InputError("no such file; expected a structure (PDB, mmCIF, GRO, .safetensors)", file=structure)
    text = commented_run(Path(structure), forcefield, out, reading, "./run" if own_folder else None, set_ or [])
    _check_run(text, out)
    if own_folder:
        with storage_errors(out):
            out.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(out, text)
    typer.echo(f"wrote {out}\nnext: mdflash check {out}, then mdflash run {out}")


def _check_run(text: str, out: Path) -> None:
    """Refuse what could not start: a force field that does not fit the molecule, a structure with open questions.

    Args:
        text: of a system.yaml.
        out: where it will be.

    Raises:
        MdflashError: as a run would say it.
    """
    from mdflash.config.load import parse_run
    from mdflash.runs.prepare import prepare

    prepare(parse_run(text, out).with_seed())


def commented_run(
    structure: Path,
    forcefield: str,
    out: Path,
    reading: Reading = AS_IT_IS,
    folder: str | None = None,
    overrides: Sequence[str] = (),
) -> str:
    """The text of a system.yaml at `out` that runs `structure` with `forcefield`, at 300 K for 100 ns or as suggested.

    Args:
        structure: a structure file, or an mdflash system.
        forcefield: a folder or a shipped name.
        out: the file that will hold the text; names the run, a system.yaml by its structure.
        reading: of the structure.
        folder: of the run; None: below runs/.
        overrides: "KEY=VALUE", what to write instead.

    Raises:
        InputError: no such force field.
    """
    from mdflash.cli.options import forcefield_folder
    from mdflash.config.load import parse_run
    from mdflash.config.overrides import apply_overrides
    from mdflash.config.write import commented_yaml, to_data
    from mdflash.core.quantity import plain_word
    from mdflash.forcefields.forcefield import suggested_dynamics
    from mdflash.mapping.formats import bare_name

    model = named_model(forcefield, out)
    name = plain_word(out.parent.absolute().name if folder else out.stem)
    if out.name == "system.yaml" and folder is None:
        name = plain_word(bare_name(structure))
    dynamics = {"temperature": "300 K", "length": "100 ns"}
    given: dict[str, Any] = {
        "mdflash": 1,
        "name": name,
        "system": {"structure": os.path.relpath(structure, out.parent), **reading.as_keys()},
        "model": {"forcefield": model},
        "dynamics": {**dynamics, **suggested_dynamics(forcefield_folder(forcefield))},
    }
    data = to_data(parse_run(json.dumps(given), out, overrides))
    given, changes = apply_overrides(given, overrides)
    data["system"] |= given["system"]
    data["model"] |= given["model"]
    if ("output", "folder") not in {change.path for change in changes}:
        data["output"]["folder"] = folder or f"runs/{data['name']}"
    return commented_yaml(data)


def named_model(forcefield: str, out: Path) -> str:
    """How a system.yaml at `out` names a force field.

    Raises:
        InputError: no such force field.
    """
    from mdflash.forcefields.shipped import find_shipped, list_shipped

    if (Path(forcefield) / "forcefield.yaml").is_file():
        return os.path.relpath(forcefield, out.parent)
    if find_shipped("forcefields", forcefield):
        return forcefield
    raise InputError(
        f"--forcefield {forcefield}: no folder with a forcefield.yaml; {list_shipped('forcefields', forcefield)}"
    )
