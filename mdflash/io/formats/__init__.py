"""The list of trajectory formats. A format is the module of its name in this folder; docs/dev/add_a_format.md adds one.

A module in `WRITTEN` has `FORMAT`, a `TrajectoryFormat`. A module in `EXPORTED` has `EXPORT`, a function. Modules are
loaded on first use, so the command line can offer the names without loading numpy.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mdflash.errors import InputError

if TYPE_CHECKING:
    from mdflash.io.formats.base import Export, TrajectoryFormat

WRITTEN: Final = ("hdf5", "xtc", "dcd")
"""What a run can write; the first is the default."""

EXPORTED: Final = ("xtc", "dcd", "pdb")
"""What `mdflash export` can write."""


def written_format(name: str) -> TrajectoryFormat:
    """The format of a name in `WRITTEN`."""
    found: TrajectoryFormat = import_module(f"{__name__}.{name}").FORMAT
    return found


def export_function(name: str) -> Export:
    """What writes an export of a name in `EXPORTED`."""
    found: Export = import_module(f"{__name__}.{name}").EXPORT
    return found


def written_formats() -> tuple[TrajectoryFormat, ...]:
    """Every format that a run can write."""
    return tuple(map(written_format, WRITTEN))


def format_of(path: Path) -> TrajectoryFormat | None:
    """The format of a trajectory file by its suffix, or None where the file is no trajectory."""
    return next((format for format in written_formats() if format.suffix == path.suffix), None)


def suffixes() -> str:
    """The suffixes of all formats, as the user reads them: '.h5, .xtc or .dcd'."""
    *most, last = (format.suffix for format in written_formats())
    return f"{', '.join(most)} or {last}"


def no_trajectory(run: Path) -> InputError:
    """The error of a run folder without trajectories."""
    return InputError(f"has no trajectory: trajectory/ holds no {suffixes()} file", file=run)
