"""`mdflash schema`: every key of a YAML file, its default and meaning; or its JSON schema, for editors."""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Final

import typer

if TYPE_CHECKING:
    from mdflash.core.section import Section

FILES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "run": "system.yaml",
        "sample": "A recipe of mdflash sample",
        "train": "A recipe of mdflash train",
        "campaign": "A sweep of mdflash campaign",
        "experiment": "What was measured, for mdflash analyze --experiment",
    }
)
"""The YAML files that mdflash reads, by the names that `mdflash schema` gives them, with titles."""


def schema(
    what: Annotated[
        str,
        typer.Argument(
            help="run (system.yaml), sample or train (recipes), campaign (its sweep), experiment (of analyze), or a "
            "section: dynamics, biases, output.trajectory, train.network.",
            metavar="[FILE|SECTION]",
        ),
    ] = "run",
    json_: Annotated[bool, typer.Option("--json", help="Print the JSON schema, for editors.")] = False,
) -> None:
    """Print every key of a system.yaml or recipe: its default with its unit, and what it means."""
    section = find_section(what)
    if json_:
        from mdflash.config.schema import json_schema

        title = "system.yaml" if what == "run" else what
        typer.echo(json.dumps(json_schema(section, f"mdflash {title}"), indent=2, ensure_ascii=False))
        return
    from mdflash.config.template import template

    typer.echo(f"# {what}: {section.__doc__ or ''}\n" + template(section).rstrip("\n"))


def file_model(file: str) -> type[Section]:
    """The model of one of the `FILES`."""
    if file == "sample":
        from mdflash.sampling.recipe import SampleRecipe

        return SampleRecipe
    if file == "train":
        from mdflash.training.recipe import Recipe

        return Recipe
    if file == "campaign":
        from mdflash.campaigns.recipe import Campaign

        return Campaign
    if file == "experiment":
        from mdflash.analysis.experiment.file import Experiment

        return Experiment
    from mdflash.config.schema import RunConfig

    return RunConfig


def find_section(what: str) -> type[Section]:
    """The model that `what` names.

    Raises:
        InputError: there is none; the message lists those that are.
    """
    from typing import cast

    from mdflash.config.explain import section_at
    from mdflash.errors import InputError

    file, *rest = what.split(".") if what.split(".")[0] in FILES else ("run", *what.split("."))
    found = section_at(tuple(rest), file_model(file))
    if found is not None:
        return cast("type[Section]", found)
    known = list(_sections(file))
    from difflib import get_close_matches

    near = get_close_matches(what, known, n=1)
    hint = f"did you mean '{near[0]}'? " if near else ""
    raise InputError(f"there is no section '{what}'; {hint}Write one of {', '.join([*FILES, *known])}")


def _sections(file: str) -> list[str]:
    """The sections of one of the `FILES`, as `mdflash schema` takes them."""
    from mdflash.config.explain import section_at

    model = file_model(file)
    above = "" if file == "run" else f"{file}."
    return [f"{above}{key}" for key in model.model_fields if section_at((key,), model) is not None]
