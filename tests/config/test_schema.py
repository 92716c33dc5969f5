from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mdflash.config.exchange import Exchange
from mdflash.config.schema import json_schema
from mdflash.core.yamlfile import load_yaml


def leaves(data: dict[str, Any], schema: dict[str, Any], root: dict[str, Any]) -> list[tuple[Any, dict[str, Any]]]:
    found = []
    for key, value in data.items():
        below = resolve(schema, root)["properties"][key]
        if isinstance(value, dict):
            found += leaves(value, below, root)
        else:
            found.append((value, below))
    return found


def resolve(schema: dict[str, Any], root: dict[str, Any]) -> dict[str, Any]:
    for option in (schema, *schema.get("anyOf", ())):
        if "$ref" in option:
            return dict(root["$defs"][option["$ref"].rsplit("/", 1)[1]])
    return schema


def accepts(value: Any, schema: dict[str, Any]) -> bool:
    if "anyOf" in schema:
        return any(accepts(value, option) for option in schema["anyOf"])
    if "enum" in schema or "const" in schema:
        return value in schema.get("enum", [schema.get("const")])
    kinds = {"string": str, "integer": int, "boolean": bool, "array": list, "null": type(None)}
    if not isinstance(value, kinds[schema["type"]]) or (schema["type"] == "integer" and isinstance(value, bool)):
        return False
    if isinstance(value, str):
        return re.search(schema.get("pattern", ""), value) is not None
    if isinstance(value, int):
        return bool(schema.get("minimum", value) <= value <= schema.get("maximum", value))
    return True


def test_an_editor_accepts_a_right_file_and_sees_wrong_ones() -> None:
    schema = json_schema()
    data = load_yaml(Path(__file__).parent / "files" / "full.yaml").data
    found = leaves(data, schema, schema)
    assert len(found) >= 30
    for value, below in found:
        assert accepts(value, below), (value, below)
    dynamics = schema["$defs"]["Dynamics"]
    assert not accepts("4", dynamics["properties"]["timestep"])
    assert not accepts(4, dynamics["properties"]["timestep"])
    assert not accepts(-1, dynamics["properties"]["seed"])
    assert "required" not in dynamics  # the temperature may come from the ladder of exchange
    assert "required" not in schema["$defs"]["Exchange"]  # temperatures or biases
    assert dynamics["additionalProperties"] is False


def test_defaults_and_texts_are_those_of_the_file() -> None:
    schema = json_schema()
    assert schema["$defs"]["Dynamics"]["properties"]["timestep"]["default"] == "4 fs"
    assert schema["$defs"]["Checkpoint"]["properties"]["interval"]["default"] == "5 min"
    for section in (schema, *schema["$defs"].values()):
        for key, below in section["properties"].items():
            assert below.get("description") or "$ref" in below or "allOf" in below, key


def test_the_spelling_of_older_files_is_read() -> None:
    assert Exchange(temperatures=["300 K", "320 K"], scheme="neighbours").scheme == "neighbors"  # type: ignore[arg-type]
