"""The files and folders that a run reads, found in its settings."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel


def input_paths(value: Any) -> Iterator[Path]:
    """Every path in the settings of a run but its own folder."""
    if isinstance(value, Path):
        yield value
    elif isinstance(value, BaseModel):
        yield from (file for key, part in value if key != "folder" for file in input_paths(part))
    elif isinstance(value, (list, tuple)):
        yield from (file for part in value for file in input_paths(part))
    elif isinstance(value, dict):
        yield from (file for part in value.values() for file in input_paths(part))
