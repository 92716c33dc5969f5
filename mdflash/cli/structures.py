"""The options of every verb that reads a structure file."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Annotated, Any

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


def takes_reading(verb: Callable[..., None]) -> Callable[..., None]:
    """A verb with these options in the place of its parameter `reading`, which is made of them."""
    signature = inspect.signature(verb, eval_str=True)
    options = inspect.signature(_options, eval_str=True).parameters
    own = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in signature.parameters.values() if p.name != "reading"]
    at = list(signature.parameters).index("reading")

    @functools.wraps(verb)
    def with_options(**given: Any) -> None:
        reading = as_reading(**{name: given.pop(name) for name in options})
        verb(**given, reading=reading)

    parameters = [*own[:at], *options.values(), *own[at:]]
    vars(with_options)["__signature__"] = inspect.Signature(parameters)
    with_options.__annotations__ = {p.name: p.annotation for p in parameters}
    return with_options


def _options(
    *,
    model: Model = None,
    chain: Chain = None,
    keep: KeepOption = "all",
    modified: ModifiedOption = "refuse",
    gaps: GapsOption = "refuse",
) -> None:
    """The options, as typer reads them."""
