"""Variables of `biases:`, `metadynamics:` and `monitor:`: names, columns and systems that are theirs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from mdflash.config.biases import VariableEntry
from mdflash.config.exchange import scale_name
from mdflash.config.rules.problem import Problem, system_is_known
from mdflash.config.schema import RunConfig
from mdflash.io.colvars import column, columns
from mdflash.potentials.variables import VARIABLES
from mdflash.potentials.variables.base import UNITS


def variable_rules(config: RunConfig) -> Iterator[Problem]:
    """What biases and monitored variables have in common: names of columns, and a system."""
    lists: list[tuple[tuple[str | int, ...], Sequence[VariableEntry]]] = [(("biases",), config.biases)]
    lists += [(("metadynamics", k, "variables"), entry.variables) for k, entry in enumerate(config.metadynamics)]
    lists.append((("monitor",), config.monitor))
    names = Counter(entry.name for _, entries in lists for entry in entries)
    names.update(entry.name for entry in config.metadynamics)
    names.update(scale_name(term) for term in (config.exchange.scale if config.exchange is not None else ()))
    systems = [entry.name for entry in config.system]
    what = "biases and monitored variables" if config.monitor else "biases"
    for section, entries in lists:
        for i, entry in enumerate(entries):
            if names[entry.name] > 1:
                message = f"'{entry.name}' is the name of {names[entry.name]} {what}; give each its own"
                yield Problem((*section, i, "name"), f"{message}, for example `name: {entry.name}-{i + 1}`")
            if not system_is_known(entry, systems):
                wrong = "is missing" if entry.system is None else f"there is no system '{entry.system}'"
                example = f"one of {', '.join(systems)}: write for example `system: {systems[0]}`"
                yield Problem((*section, i, "system"), f"{wrong}; name {example}")
    if max(names.values(), default=1) == 1:
        yield from _columns(config, lists)


def _columns(
    config: RunConfig, lists: Sequence[tuple[tuple[str | int, ...], Sequence[VariableEntry]]]
) -> Iterator[Problem]:
    """Columns of colvars.csv that two entries would share, though their names differ."""

    def named(entries: Sequence[VariableEntry]) -> list[tuple[str, str]]:
        return [(entry.name, UNITS[VARIABLES[entry.variable].dimension]) for entry in entries]

    grids = [(entry.name, named(entry.variables)) for entry in config.metadynamics]
    moving = [bias.name for bias in config.biases if bias.moving is not None]
    count = Counter(columns(named(config.biases), named(config.monitor), grids, moving))
    for section, entries in lists:
        for i, (name, unit) in enumerate(named(entries)):
            for own in (column(name, unit), *([f"{name}_kcal_mol"] if section == ("biases",) else [])):
                if count[own] > 1:
                    text = f"'{name}' has the column {own} of colvars.csv, which another entry has too; write another"
                    yield Problem((*section, i, "name"), f"{text}, for example `name: {name}-{i + 1}`")
                    return
