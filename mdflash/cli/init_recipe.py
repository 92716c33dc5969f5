"""The recipes that `mdflash init` writes: of `mdflash sample`, `train` and `campaign`, every key with its default."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from mdflash.errors import InputError

CAPS: Final = ("ACE", "NME")
FEWEST: Final = 5
"""Residues: a shorter chain has too few CA beads for a model of one bead each."""


def recipe_text(verb: str, what: str | None, out: Path) -> str:
    """The text of a recipe at `out`.

    Args:
        verb: one of `RECIPES`.
        what: what to sample (a structure file or a sequence), the dataset to train on, or the run to vary; None: an
            example.
        out: where it goes; paths in it are relative to its folder.

    Raises:
        InputError: no such structure, sequence, dataset or run.
    """
    from mdflash.cli.schema import file_model
    from mdflash.config.template import template

    recipe = RECIPES[verb]
    what = recipe.example if what is None else what
    return template(file_model(verb), {} if what is None else recipe.given(what, out))


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


def _run(what: str, out: Path) -> dict[str, Any]:
    from mdflash.config.load import locate

    run = os.path.relpath(what, out.parent) if locate(what) == Path(what) else what
    return {"run": run, "sweep": {"dynamics.temperature": ["300 K", "320 K"], "dynamics.seed": {"from": 1, "to": 4}}}


class Recipe(NamedTuple):
    """A recipe that `mdflash init` writes.

    Attributes:
        file: its name, unless the user gives one.
        command: of mdflash that reads it.
        given: the values that follow from what the user names, by dotted key.
        example: what is named where the user names nothing.
    """

    file: str
    command: str
    given: Callable[[str, Path], dict[str, Any]]
    example: str | None = None


RECIPES: Final[Mapping[str, Recipe]] = MappingProxyType(
    {
        "sample": Recipe("sample.yaml", "sample", _molecule, "ACE-ALA-NME"),
        "train": Recipe("train.yaml", "train", _dataset),
        "campaign": Recipe("sweep.yaml", "campaign plan", _run, "chignolin"),
    }
)
"""By the file's name in `mdflash schema`, and by the option of `mdflash init`."""
