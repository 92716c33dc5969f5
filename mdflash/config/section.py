"""What sections of a YAML file build on: strict, frozen models, and paths relative to the file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import BeforeValidator, ValidationInfo, WithJsonSchema

from mdflash.core.quantity import describe
from mdflash.core.section import Section as Section
from mdflash.forcefields.shipped import find_shipped, list_shipped

MAX_REPLICAS: Final = 1_000_000
MAX_COPIES: Final = 100_000
BESIDE: Final = "./"
"""How a run folder begins that lies beside its YAML file, wherever the command is given."""


def as_list(value: object) -> object:
    """One value as a list of it."""
    return value if isinstance(value, (list, tuple)) else [value]


def as_entries(value: object) -> object:
    """As `as_list`, with nothing, or the word none, for an empty list."""
    return () if value is None or value == "none" else as_list(value)


def _read_version(value: object) -> object:
    if isinstance(value, bool) or value != 1:
        raise ValueError(f"expected the schema version 1, found {describe(value)}; write `mdflash: 1`")
    return 1


def _text_path(value: object, info: ValidationInfo, example: str) -> Path:
    """`value` as an absolute path; relative ones start at the folder of the YAML file.

    Only a run folder starts where the command is given, unless it is written as `./run`.
    """
    if isinstance(value, Path):
        return value
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        raise ValueError(f"expected a path such as '{example}', found {describe(value)}")
    if len(value) > 4096:
        raise ValueError(f"is too long for a path ({len(value)} characters): {describe(value)}")
    folders: dict[str, Path] = info.context or {}
    base = folders["cwd" if info.field_name == "folder" else "folder"]
    if info.field_name == "folder" and value.startswith(BESIDE):
        base = folders.get(BESIDE, base)
    return Path(os.path.abspath(base / os.path.expanduser(value)))


def read_file(value: object, info: ValidationInfo) -> Path:
    """The path of a file that is there; relative ones start at the folder of the YAML file."""
    path = _text_path(value, info, "protein.pdb")
    if os.path.isfile(path):  # unlike Path.is_file, returns False for a name too long for the file system
        return path
    if os.path.isdir(path):
        raise ValueError(f"{path} is a directory; expected a file")
    raise ValueError(f"no such file: {path} (paths are relative to the YAML file){_like(path)}")


def _like(path: Path) -> str:
    """The files beside `path` that it could have meant, as the end of a sentence."""
    try:
        siblings = sorted(name for name in os.listdir(path.parent) if Path(name).suffix == path.suffix)
    except OSError:
        return ""
    return f"; that folder has {', '.join(siblings[:8])}" if siblings else ""


def _read_forcefield(value: object, info: ValidationInfo) -> Path:
    path = _text_path(value, info, "my-forcefield")
    if os.path.isfile(path / "forcefield.yaml"):
        return path
    shipped = find_shipped("forcefields", str(value))
    if shipped is not None:
        return shipped
    problem = "has no forcefield.yaml" if os.path.isdir(path) else "is not a folder"
    raise ValueError(f"no force field {describe(value)}: {path} {problem}; {list_shipped('forcefields', str(value))}")


def _read_folder(value: object, info: ValidationInfo) -> Path:
    return _text_path(value, info, "runs/protein")


def _read_dataset(value: object, info: ValidationInfo) -> Path:
    """The path of a dataset; relative ones start at the folder of the recipe."""
    if isinstance(value, Path):
        return value
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"expected a path, found {describe(value)}; for example `dataset: my-data`")
    context: dict[str, Path] = info.context or {}
    path = Path(os.path.abspath(context["folder"] / os.path.expanduser(value)))
    if not os.path.isfile(path / "dataset.yaml"):  # False for a name too long, which Path.is_file raises
        raise ValueError(f"{path} is not a dataset: it has no dataset.yaml (paths are relative to the recipe)")
    return path


SchemaVersion = Annotated[Literal[1], BeforeValidator(_read_version)]
ExistingFile = Annotated[Path, BeforeValidator(read_file), WithJsonSchema({"type": "string"})]
ForceFieldFolder = Annotated[Path, BeforeValidator(_read_forcefield), WithJsonSchema({"type": "string"})]
Folder = Annotated[Path, BeforeValidator(_read_folder), WithJsonSchema({"type": "string"})]
DatasetFolder = Annotated[Path, BeforeValidator(_read_dataset), WithJsonSchema({"type": "string"})]
