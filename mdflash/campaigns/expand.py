"""The runs of a campaign: every combination of what varies, each with a name and the run that it describes."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from mdflash.campaigns.recipe import MOST_RUNS, Axis, Campaign
from mdflash.config.load import load_run, locate, parse_run
from mdflash.config.molecules import SystemEntry
from mdflash.config.schema import RunConfig
from mdflash.config.write import resolved_yaml, scalar
from mdflash.core.words import LONGEST, plain_word
from mdflash.core.yamlfile import Document
from mdflash.errors import InputError
from mdflash.mapping.formats import bare_name

NOTHING: Final[Mapping[str, dict[str, str]]] = MappingProxyType({})


class Planned(NamedTuple):
    """One run of a campaign.

    Attributes:
        name: a plain word, its own in the campaign.
        values: by dotted key, as YAML writes them on one line.
        config: what runs; its folder is not the one that it gets.
        molecules: where several share the run, the values of each, by the name of its system.
    """

    name: str
    values: dict[str, str]
    config: RunConfig
    molecules: Mapping[str, dict[str, str]] = NOTHING


def expand(campaign: Campaign, document: Document) -> Iterator[Planned]:
    """Every run, axes that were written first changing slowest.

    Args:
        campaign: the plan.
        document: its file, whose lines are named in errors.

    Raises:
        InputError: the run file is no system.yaml, or a combination is no valid run.
    """
    file = _base(campaign, document)
    count = math.prod(len(next(iter(axis.values()))) for axis in campaign.axes)
    if count > MOST_RUNS:
        raise InputError(
            f"{count:,} runs, and a campaign has at most {MOST_RUNS:,}; sweep fewer values, or plan several campaigns",
            file=document.file,
            key="sweep",
        )
    labeled = [(axis, list(zip(_labels(axis), _rows(axis), strict=True))) for axis in campaign.axes]
    apart = [values for axis, values in labeled if not campaign.shared(axis)]
    within = [values for axis, values in labeled if campaign.shared(axis)]
    taken: set[str] = set()
    seen: dict[str, dict[str, str]] = {}
    for combination in product(*apart):
        values = _texts(combination)
        name = _name(_joined(combination) or campaign.name, values, taken)
        same = {**_texts([("", campaign.set)]), **values}
        if not within:
            config = _load(file, same, document)
            _refuse_again(seen, values, config, document)
            yield Planned(name, values, config)
            continue
        members = [(_joined(choice), _texts(choice)) for choice in product(*within)]
        alone = [(label, given, _load(file, {**same, **given}, document)) for label, given in members]
        for _, given, config in alone:
            _refuse_again(seen, {**values, **given}, config, document)
        yield Planned(name, values, *_as_one(alone, document))


def _refuse_again(
    seen: dict[str, dict[str, str]], values: dict[str, str], config: RunConfig, document: Document
) -> None:
    """InputError where other words have described the same run, as 10 fs and 0.01 ps do."""
    before = seen.setdefault(hashlib.sha256(repr(config).encode()).hexdigest(), values)
    if before is not values:
        changed = [key for key in values if before[key] != values[key]]
        one, other = (", ".join(f"{key}: {given[key]}" for key in changed) for given in (before, values))
        raise InputError(
            f"{one} and {other} are the same run; leave one of them out",
            file=document.file,
            line=document.line(("sweep",)) or document.line(("together",)),
            key=", ".join(changed),
        )


def _texts(chosen: Sequence[tuple[str, Mapping[str, Any]]]) -> dict[str, str]:
    """Values as YAML on one line, of chosen (label, values by key)."""
    return {key: scalar(value) for _, row in chosen for key, value in row.items()}


def _joined(chosen: Sequence[tuple[str, Mapping[str, Any]]]) -> str:
    return "_".join(label for label, _ in chosen)


def _as_one(
    members: Sequence[tuple[str, dict[str, str], RunConfig]], document: Document
) -> tuple[RunConfig, dict[str, dict[str, str]]]:
    """Runs (label, values, run) that differ in their systems as one with all, and the values of each system."""
    first = members[0][2]
    entries: dict[str, SystemEntry] = {}
    molecules, taken = {}, set[str]()
    for label, values, config in members:
        for entry in config.system:
            name = _name(label if len(config.system) == 1 else plain_word(f"{label}_{entry.name}"), values, taken)
            forcefield = entry.forcefield or config.model.forcefield
            entries[name] = entry.model_copy(update={"name": name, "forcefield": forcefield})
            molecules[name] = values
    text = resolved_yaml(first.model_copy(update={"system": tuple(entries.values())}))
    try:
        return parse_run(text, document.file), molecules
    except InputError as error:
        raise InputError(
            f"these systems cannot share a run: {error.message}; write `share: none`",
            file=document.file,
            line=document.line(("share",)),
            key=error.key,
        ) from None


def _base(campaign: Campaign, document: Document) -> Path:
    """The system.yaml that all runs start from."""
    beside = document.file.parent / campaign.run
    try:
        return locate(beside if beside.exists() else campaign.run)
    except InputError as error:
        raise InputError(
            f"{error.message} (looked for it beside {document.file})",
            file=document.file,
            line=document.line(("run",)),
            key="run",
        ) from None


def _load(file: Path, values: dict[str, str], document: Document) -> RunConfig:
    """One combination as a run; an error in a value names its line in the sweep."""
    overrides = [f"{key}={value}" for key, value in values.items()]
    try:
        return load_run(file, overrides)
    except InputError as error:
        given = next((text for text in overrides if error.file == f"--set {text}"), None)
        if given is None:
            raise InputError(f"{error.message} (with {', '.join(overrides)})", file=error.file, line=error.line,
                             key=error.key) from None  # fmt: skip
        line = next((n for path, n in document.lines.items() if path and path[-1] == given.partition("=")[0]), None)
        raise InputError(
            f"{error.message} (in the run with {given})", file=document.file, line=line, key=error.key
        ) from None


def _rows(axis: Axis) -> list[dict[str, Any]]:
    return [dict(zip(axis, row, strict=True)) for row in zip(*axis.values(), strict=True)]


def _labels(axis: Axis) -> list[str]:
    """A short word for each value of an axis, of all its keys: it stays when values are added."""
    by_key = [[_label(key, value, i) for i, value in enumerate(values, 1)] for key, values in axis.items()]
    labels = ["_".join(words) for words in zip(*by_key, strict=True)]
    seen: dict[str, int] = {}
    found = []
    for label in labels:
        seen[label.casefold()] = seen.get(label.casefold(), 0) + 1
        again = seen[label.casefold()]
        found.append(label if again == 1 else f"{label}.{again}")
    return found


def _label(key: str, value: Any, number: int) -> str:
    """'villin' for a path to villin.pdb, '300K' for a quantity, 'seed1' for a number."""
    last = next((word for word in reversed(key.split(".")) if not word.isdigit()), key)
    if isinstance(value, (dict, list)):
        return plain_word(f"{last}{number}")
    if not isinstance(value, str) or value == "none":
        return plain_word(f"{last}{scalar(value)}")
    if last in ("structure", "start", "file", "reference"):
        return _short(plain_word(bare_name(Path(value))))
    return _short(plain_word(Path(value.replace(" ", "")).name))


def _short(word: str) -> str:
    """A word as it is, or the beginning of a long one, such as a sequence, told from others by a digest."""
    return word if len(word) <= 24 else f"{word[:15]}-{_digest(word)}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _name(name: str, values: dict[str, str], taken: set[str]) -> str:
    """A word that no run before has."""
    if len(name) > LONGEST or name.casefold() in taken:
        name = f"{name[: LONGEST - 9]}-{_digest(repr(values))}"
    taken.add(name.casefold())
    return name
