"""What several verbs take: a force field, a system of it, a quantity with its unit, a time in words."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mdflash.mapping.choices import AS_IT_IS, Reading

if TYPE_CHECKING:
    from mdflash.core.system import System
    from mdflash.forcefields.model import ForceField


def forcefield_folder(argument: str) -> Path:
    """The folder that `argument` names: a path (of the folder or its forcefield.yaml), or a shipped name.

    Raises:
        ForceFieldError: neither.
    """
    from mdflash.errors import ForceFieldError
    from mdflash.forcefields.shipped import find_shipped, list_shipped

    path = Path(argument)
    folder = path.parent if path.name == "forcefield.yaml" else path
    if (folder / "forcefield.yaml").is_file():
        return folder
    shipped = find_shipped("forcefields", argument)
    if shipped is None:
        problem = "has no forcefield.yaml" if path.is_dir() else "no such folder"
        raise ForceFieldError(f"{problem}; {list_shipped('forcefields', argument)}", file=argument)
    return shipped


def forcefield_system(ff: ForceField, argument: str | None, reading: Reading = AS_IT_IS) -> System:
    """The molecule that `argument` names: one of the force field's, an mdflash system file, or a structure.

    None means the only one that the force field holds.

    Raises:
        InputError: none of these, or a file that cannot be read.
    """
    from mdflash.core.system import load_system
    from mdflash.errors import ForceFieldError

    if argument is None or argument in [s.name for s, _ in ff.systems]:
        try:
            return ff.system(argument)[0]
        except ForceFieldError as error:
            raise ForceFieldError(f"{error}; give --system NAME, a .safetensors system or a structure file") from None
    file = Path(argument)
    if file.suffix == ".safetensors":
        return load_system(file)[0]
    if not file.is_file():
        names = ", ".join(s.name for s, _ in ff.systems) or "none"
        raise ForceFieldError(
            f"--system {argument}: no such file, and the force field's systems are: {names}", file=ff.name
        )
    from mdflash.mapping.structure import map_structure

    return map_structure(file, ff.mapping, ff, reading=reading)[0]


def quantity(option: str, text: str, dimension: str, *, zero: bool = False) -> float:
    """`text` in the units of `mdflash.units`; positive, or 0 where `zero` allows it.

    Raises:
        InputError: names the option.
    """
    from mdflash.errors import InputError
    from mdflash.units import parse

    try:
        value = parse(text, dimension)
    except ValueError as error:
        raise InputError(str(error), key=option) from None
    if value < 0 or (value == 0 and not zero):
        raise InputError(f"must be positive, found '{text}'", key=option)
    return value


def duration(seconds: float) -> str:
    """A stretch of wall time in words."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
