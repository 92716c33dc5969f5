"""The recipes that `mdflash init` writes: of `mdflash sample` and `mdflash train`, every key with its default."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final, Literal

from mdflash.errors import InputError

CAPS: Final = ("ACE", "NME")
FEWEST: Final = 5
"""Residues: a shorter chain has too few CA beads for a model of one bead each."""


def recipe_text(verb: Literal["sample", "train"], what: str | None, out: Path) -> str:
    """The text of a recipe at `out`.

    Args:
        verb: which reads it.
        what: what to sample (a structure file or a sequence), or the dataset to train on; None: an example.
        out: where it goes; paths in it are relative to its folder.

    Raises:
        InputError: no such structure, sequence or dataset.
    """
    from mdflash.cli.schema import file_model
    from mdflash.config.template import template

    given: dict[str, Any] = {} if what is None else (_molecule if verb == "sample" else _dataset)(what, out)
    if verb == "sample" and not given:
        given = _molecule("ACE-ALA-NME", out)
    return template(file_model(verb), given)


def _molecule(what: str, out: Path) -> dict[str, str]:
    from mdflash.mapping.peptide import parse_sequence

    if Path(what).is_file():
        return {"molecule.structure": os.path.relpath(what, out.parent)}
    try:
        residues = parse_sequence(what)
    except InputError as error:
        raise InputError(f"is no structure file, and as a sequence: {error.message}", file=what) from None
    short = sum(residue not in CAPS for residue in residues) < FEWEST
    return {"molecule.sequence": what} | ({"mapping": "heavy"} if short else {})


def _dataset(what: str, out: Path) -> dict[str, str]:
    if not (Path(what) / "dataset.yaml").is_file():
        raise InputError("has no dataset.yaml; give a folder that mdflash sample wrote, or nothing", file=what)
    return {"data.dataset": os.path.relpath(what, out.parent)}
