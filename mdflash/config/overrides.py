"""`--set a.b=c`: values from the command line replace those of the file."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any, NamedTuple

from mdflash.core.yamlfile import parse_yaml
from mdflash.errors import InputError

_INSTEAD = {("dynamics", "steps"): "length", ("dynamics", "length"): "steps"}


class Override(NamedTuple):
    """One `--set`, as given and as it applies."""

    text: str
    path: tuple[str | int, ...]
    value: Any


def apply_overrides(data: Any, overrides: Sequence[str]) -> tuple[Any, tuple[Override, ...]]:
    """A copy of `data` with `overrides` put in, later ones winning, and what they are.

    Setting `dynamics.steps` takes the place of the file's `dynamics.length`, and the other way round.

    Raises:
        InputError: no '=', a value that is not YAML, or a key below something that is no mapping.
    """
    data = deepcopy(data)
    given: list[Override] = []
    for text in overrides:
        override = _parse(text, data)
        _put(data, override)
        given.append(override)
    paths = {override.path for override in given}
    for path, other in _INSTEAD.items():
        if path in paths and ("dynamics", other) not in paths:
            data["dynamics"].pop(other, None)
    return data, tuple(given)


def _parse(text: str, data: Any) -> Override:
    dotted, equals, value = text.partition("=")
    words = [word.strip() for word in dotted.split(".")]
    if not equals or not all(words):
        raise InputError("expected key=value, for example --set 'dynamics.timestep=2 fs'", file=f"--set {text}")
    path: list[str | int] = []
    for word in words:
        if isinstance(data, dict) and word == "0":
            continue  # system.0.replicas, where one system stands without a list
        if isinstance(data, list):
            if not word.isdigit() or int(word) >= len(data):
                expected = f"expected a number from 0 to {len(data) - 1}, found '{word}'"
                if not data:
                    expected = f"set the whole list, for example --set '{'.'.join(map(str, path))}=[{{...}}]'"
                raise InputError(
                    f"'{'.'.join(map(str, path))}' is a list of {len(data)}; {expected}", file=f"--set {text}"
                )
            path.append(int(word))
            data = data[int(word)]
        else:
            path.append(word)
            data = data.get(word) if isinstance(data, dict) else None
    try:
        parsed = parse_yaml(value, Path()).data
    except InputError as error:
        raise InputError(error.message, file=f"--set {text}", key=dotted) from None
    return Override(text, tuple(path), parsed)


def _put(data: Any, override: Override) -> None:
    *above, last = override.path
    for depth, part in enumerate(above, start=1):
        if isinstance(data, dict):
            if data.get(part) in (None, "none"):  # `exchange: none` has no keys yet, and may get some
                data[part] = {}
            data = data[part]
        elif isinstance(data, list):
            data = data[int(part)]
        if not isinstance(data, (dict, list)):
            place = ".".join(map(str, above[:depth]))
            raise InputError(f"'{place}' holds no keys, so nothing can be set below it", file=f"--set {override.text}")
    if isinstance(data, (dict, list)):
        data[last] = override.value  # type: ignore[index]
