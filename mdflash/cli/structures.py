"""The options of every verb that reads a structure file."""

from __future__ import annotations

from typing import Annotated

import typer

from mdflash.mapping.choices import Gaps, Keep, Modified, Reading

Model = Annotated[int | None, typer.Option("--model", help="Number of the model to read; default: all.")]
Chain = Annotated[list[str] | None, typer.Option("--chain", help="Id of the chain to read; repeatable, or A,B.")]
KeepOption = Annotated[
    Keep,
    typer.Option(
        "--keep",
        help="protein: leave out ligands and nucleic acids; all: refuse them.",
    ),
]
ModifiedOption = Annotated[
    Modified,
    typer.Option(
        "--modified",
        help="parent: read modified amino acids as those they come from (MSE as MET).",
    ),
]
GapsOption = Annotated[
    Gaps,
    typer.Option(
        "--gaps",
        help="Missing residues. break: no bond across; bond: bonded as if none were missing.",
    ),
]


def as_reading(model: int | None, chain: list[str] | None, keep: Keep, modified: Modified, gaps: Gaps) -> Reading:
    """These options as one value."""
    chains = tuple(c for text in chain or () for c in text.split(",") if c)
    return Reading(model, chains, keep, modified, gaps)
