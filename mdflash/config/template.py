"""The keys of a YAML file as YAML: every key with its default (and unit), and what it means behind it.

`mdflash schema` prints these lines, and `mdflash init` writes recipes of them; all of it comes from the models. A key
that must be given shows its example. What is absent by default stands there with `#` before each line.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from mdflash.config.explain import section_at
from mdflash.config.schema import TextDefaults
from mdflash.config.write import scalar, with_comment

_OFF: Final = "# "


def template(section: type[BaseModel], given: Mapping[str, Any] | None = None) -> str:
    """The keys of a file, or of a section of it, as text.

    Args:
        section: their model.
        given: values that replace defaults, by dotted key.
    """
    text = ""
    for field in section.model_fields:
        lines = list(_lines(section, field, given or {}, ""))
        text += "\n" * (len(lines) > 1) + "".join(with_comment(*line) for line in lines)
    return text


def _lines(section: type[BaseModel], key: str, given: Mapping[str, Any], above: str) -> Iterator[tuple[str, str]]:
    """The lines of one key of a section, not indented, each with its comment."""
    field, below, name = section.model_fields[key], section_at((key,), section), above + key
    about = field.description or ((below.__doc__ or "").rstrip(".") if below else "")
    if name in given:
        yield f"{key}: {scalar(given[name])}", about
    elif field.default == "":
        yield f"{_OFF}{key}:", about  # the comment says where its default comes from
    elif below is None:
        yield f"{key}: {_value(section, key)}", about + _example(field)
    else:
        absent = not field.is_required() and not isinstance(field.default, BaseModel)
        mark = _OFF if absent else ""
        yield f"{mark}{key}:", about
        for inner in below.model_fields:
            for line, comment in _lines(below, inner, given, f"{name}."):
                yield f"{mark}  {line}", comment


def _must_be_given(field: FieldInfo) -> bool:
    """Also where a validator asks for it, because what it means depends on other keys."""
    return field.is_required() or (field.validate_default is True and bool(field.examples))


def _value(section: type[BaseModel], key: str) -> str:
    field = section.model_fields[key]
    if _must_be_given(field):
        return str((field.examples or [""])[0])
    known = section.model_json_schema(schema_generator=TextDefaults)["properties"][key]
    return scalar(known.get("default"))


def _example(field: FieldInfo) -> str:
    """The end of the comment of a key whose default is no value."""
    empty = field.default is None or field.default in ("", (), {})
    return f"; for example {field.examples[0]}" if field.examples and empty and not _must_be_given(field) else ""
