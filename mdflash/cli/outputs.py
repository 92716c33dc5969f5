"""What `--out` and `--force` mean, for every verb that has them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated

import typer

Force = Annotated[bool, typer.Option("--force", help="Overwrite what exists.")]


def may_write(targets: Iterable[Path], force: bool, inputs: Sequence[Path] = (), option: str = "--out") -> None:
    """Whether all of these files may be written; called before the first of them is.

    Args:
        targets: the files.
        force: whether files that exist are replaced.
        inputs: what the verb reads, which no target may be.
        option: what names the targets.

    Raises:
        InputError: a file exists and `force` is not given; or it is a file of a run, an input, a folder or a device.
    """
    from mdflash.core.files import storage_errors
    from mdflash.errors import InputError
    from mdflash.io.runfolder import run_around

    for target in targets:
        with storage_errors(target):
            taken = os.path.lexists(target)
        if (run := run_around(target)) is not None:
            raise InputError(
                f"belongs to the run in {run}, and only the run writes it; give another {option}", file=target
            )
        if not taken:
            _refuse_below_a_file(target, option)
            continue
        if target.exists() and not target.is_file():
            what = "a folder" if target.is_dir() else "a device"
            raise InputError(f"is {what}, not a file; give another {option}", file=target)
        if any(file.exists() and target.exists() and file.samefile(target) for file in inputs):
            raise InputError(f"is read here, so it is not written; give another {option}", file=target)
        if not force:
            raise InputError(f"already exists; give another {option}, or --force to overwrite it", file=target)


def _refuse_below_a_file(target: Path, option: str) -> None:
    from mdflash.errors import InputError

    nearest = next((folder for folder in target.parents if os.path.lexists(folder)), None)
    if nearest is not None and not nearest.is_dir():
        raise InputError(f"already exists and is no folder, so {target} cannot be; give another {option}", file=nearest)


def forcefield_files(folder: Path) -> list[Path]:
    """What makes a folder that of a force field; a new one may not be mixed with it."""
    return [folder / "forcefield.yaml", folder / "weights.safetensors"]
