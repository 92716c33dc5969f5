"""Write a run as YAML: resolved.yaml (every default spelled out) and the commented file of `mdflash init`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from mdflash.config.explain import section_at
from mdflash.config.schema import RunConfig
from mdflash.core.yamlfile import parse_yaml

_COMMENT_COLUMN = 40


def resolved_yaml(config: RunConfig) -> str:
    """`config` as YAML with every default written out; `load_run` of it gives an equal config."""
    return plain_yaml(to_data(config))


def plain_yaml(data: dict[str, Any]) -> str:
    """`data` (as from `to_data`, or some sections of it) as YAML without comments."""
    return "".join(f"{line}\n" for line, _ in _lines(data, ()))


def commented_yaml(data: dict[str, Any]) -> str:
    """`data` (as from `to_data`) as YAML with a comment behind every key."""
    text = ""
    for line, about in _lines(data, ()):
        if line.endswith(":") and not line.startswith(" "):
            text += "\n"
        text += with_comment(line, about)
    return text


def with_comment(line: str, about: str) -> str:
    """A line of YAML with a comment behind it."""
    return f"{line:<{_COMMENT_COLUMN}} # {about}\n" if about else f"{line}\n"


def to_data(config: RunConfig) -> dict[str, Any]:
    """`config` as plain dicts and lists, quantities as text with units."""
    data = config.model_dump(mode="json")
    for section, key in ((data["dynamics"], "temperature"), (data, "system")):
        if section[key] is not None and len(section[key]) == 1:
            section[key] = section[key][0]
    for section, key in (
        (data, "box"), (data, "exchange"), (data, "biases"), (data, "metadynamics"), (data, "weighted_ensemble"),
        (data, "monitor"),
        (data["dynamics"], "temperature"), (data["dynamics"], "annealing"), (data["guards"], "max_force"),
        (data["guards"], "spread"),
    ):  # fmt: skip
        section[key] = section[key] or "none"
    if config.exchange is not None:
        data["exchange"]["scale"] = data["exchange"]["scale"] or "none"
    for entry in [data["system"]] if isinstance(data["system"], dict) else data["system"]:
        for key in ("start", "molecules", "box"):
            entry[key] = entry[key] or "none"
    hills = [
        variable for entry in (data["metadynamics"] if config.metadynamics else ()) for variable in entry["variables"]
    ]
    walkers = [] if config.weighted_ensemble is None else [data["weighted_ensemble"]]
    monitored = data["monitor"] if config.monitor else ()
    for bias in [*(data["biases"] if config.biases else ()), *hills, *walkers, *monitored]:
        bias.update({key: "none" for key, value in bias.items() if value is None})
    return data


def scalar(value: Any) -> str:
    """A value as YAML on one line."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return f"[{', '.join(scalar(item) for item in value)}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{scalar(key)}: {scalar(item)}' for key, item in value.items())}}}"
    text = str(value)
    if not isinstance(value, str):
        return text
    plain = not set(text) & set(",[]{}#&*!|>'\"%@`:\n\\") and parse_yaml(f"k: {text}", Path()).data == {"k": text}
    return text if plain else yaml.safe_dump(text, default_style='"', allow_unicode=True, width=2**20).strip()


def _lines(data: dict[str, Any], path: tuple[str, ...]) -> list[tuple[str, str]]:
    """The lines of the mapping at `path`, not indented, each with what its key means."""
    section = section_at(path)
    lines: list[tuple[str, str]] = []
    for key, value in data.items():
        field = section.model_fields[key] if section else None
        below = section_at((*path, key))
        about = (field.description if field else None) or (below.__doc__ if below else None) or ""
        if below is None or not isinstance(value, (dict, list)):
            lines.append((f"{key}: {scalar(value)}", about))
            continue
        lines.append((f"{key}:", about.rstrip(".")))
        for item in value if isinstance(value, list) else [value]:
            bullet = "- " if isinstance(value, list) else ""
            for i, (row, comment) in enumerate(_lines(item, (*path, key))):
                lines.append(("  " + (bullet if i == 0 else " " * len(bullet)) + row, comment))
    return lines
