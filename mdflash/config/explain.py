"""Validation errors in plain words: which key, what was found, what to write."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import ErrorDetails, ValidationError

from mdflash.config.rules import Problem
from mdflash.config.schema import RunConfig
from mdflash.core.quantity import describe

Key = tuple[str | int, ...]
_SHOWN = 50
"""Problems of a file, at most."""
_NUMBERS = {
    "float_type": "a number",
    "float_parsing": "a number",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
}
"""What was expected, by the kind of the error."""


def explain(error: ValidationError, data: Any, root: type[BaseModel] = RunConfig) -> list[Problem]:
    """The problems of `data` (the YAML as plain dicts and lists) as a `root`, unknown keys first.

    A required key whose misspelling was found is not reported as missing too.
    """
    details = error.errors(include_url=False)
    if len(details) > _SHOWN:  # a file of another kind: nobody reads thousands of lines
        details = sorted(details, key=lambda detail: detail["type"] != "extra_forbidden")[:_SHOWN]
    found = [(detail, _path(detail["loc"], data)) for detail in details]
    unknown = {path for detail, path in found if detail["type"] == "extra_forbidden"}
    meant = {(*path[:-1], _nearest(path, root)) for path in unknown}
    result = [
        Problem(path, _message(detail, path, root))
        for detail, path in found
        if not (detail["type"] == "missing" and path in meant)
    ]
    return sorted(result, key=lambda problem: problem.path not in unknown)


def _path(loc: Sequence[str | int], data: Any) -> Key:
    """`loc` without the index that stands for "the one value given where a list may stand"."""
    path: list[str | int] = []
    for part in loc:
        if isinstance(part, int) and not isinstance(data, list):
            continue
        path.append(part)
        if isinstance(data, Mapping):
            data = data.get(str(part))
        elif isinstance(data, list) and isinstance(part, int) and part < len(data):
            data = data[part]
        else:
            data = None
    return tuple(path)


def section_at(path: Key, root: type[BaseModel] = RunConfig) -> type[BaseModel] | None:
    """The model of the mapping at `path`, None if there is none."""
    section: type[BaseModel] | None = root
    for part in path:
        if isinstance(part, int) or (isinstance(part, str) and part.isdigit()):
            continue
        field = section.model_fields.get(part) if section else None
        candidates = () if field is None else (field.annotation, *get_args(field.annotation))
        section = next((c for c in candidates if _is_section(c)), None)
    return section


def _is_section(candidate: Any) -> bool:
    plain = get_origin(candidate) is None and isinstance(candidate, type)
    return plain and issubclass(candidate, BaseModel)


def _nearest(path: Key, root: type[BaseModel]) -> str:
    """The known key most like the last one of `path`; "" if none is."""
    section = section_at(path[:-1], root)
    known = list(section.model_fields) if section else []
    near = get_close_matches(str(path[-1]).lower(), known, n=1, cutoff=0.6)
    return near[0] if near else ""


def _unknown(path: Key, root: type[BaseModel]) -> str:
    near = _nearest(path, root)
    if near:
        return f"is not a known key; did you mean '{near}'?"
    elsewhere = _places_of(str(path[-1]), root, (), root)
    if len(elsewhere) == 1:  # of several, one would be a guess
        return f"does not belong here; write it as '{elsewhere[0]}'"
    section = section_at(path[:-1], root)
    return f"is not a known key; known here: {', '.join(section.model_fields if section else ())}"


def _places_of(key: str, section: type[BaseModel], above: tuple[str, ...], root: type[BaseModel]) -> list[str]:
    """Dotted paths at which `key` is known."""
    places = [".".join((*above, key))] if key in section.model_fields else []
    for name in section.model_fields:
        below = section_at((*above, name), root)
        if below is not None:
            places += _places_of(key, below, (*above, name), root)
    return places


def _initials(word: str) -> str:
    return "".join(part[:1] for part in word.split("_") if part != "of")


def _message(detail: ErrorDetails, path: Key, root: type[BaseModel]) -> str:
    kind, value, context = detail["type"], detail["input"], detail.get("ctx", {})
    section = section_at(path[:-1], root)
    field = section.model_fields.get(str(path[-1])) if section and path else None
    example = str(field.examples[0]) if field and field.examples else ""
    found = describe(value)
    if kind == "extra_forbidden":
        return _unknown(path, root)
    if kind == "missing":
        return f"is missing; add for example `{path[-1]}: {example}`"
    if kind == "value_error":
        return str(context["error"])
    if kind == "literal_error":
        known = [str(word) for word in get_args(field.annotation if field else None)]
        near = get_close_matches(str(value).lower(), known, n=1)
        near += [word for word in known if _initials(word) == str(value).lower()]  # rg, for radius_of_gyration
        hint = f"; write {'' if near else 'for example '}`{path[-1]}: {(near or known)[0]}`"
        return f"expected one of {', '.join(known)}, found {found}{hint}"
    if kind == "model_type":
        below = section_at(path, root)
        keys = ", ".join(below.model_fields) if below else ""
        return f"expected a mapping with the keys {keys}; found {found}"
    if kind in ("bool_type", "bool_parsing"):
        return f"expected true or false, found {found}"
    if kind in _NUMBERS:
        return f"expected {_NUMBERS[kind]}, found {found}" + (
            f"; for example `{path[-1]}: {example}`" if example else ""
        )
    if kind.startswith(("greater_than", "less_than")):
        wanted = detail["msg"].removeprefix("Input should be ")
        return f"expected a number {wanted}, found {found}" + (
            f"; for example `{path[-1]}: {example}`" if example else ""
        )
    return f"found {found}: {detail['msg']}"
