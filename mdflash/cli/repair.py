"""`mdflash repair`: repair the output files that a kill or a power cut left torn."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def repair(
    target: Annotated[Path, typer.Argument(help="Run folder, or one file of it.", metavar="RUN|FILE")],
) -> None:
    """Repair output files that a kill or a power cut left torn. No complete frame is lost.

    `mdflash run` does this by itself when it resumes; use `repair` to look at the files before that.
    """
    from mdflash.errors import InputError
    from mdflash.io.repair import changed_rows, lock_around, repair_file, repairable_files

    if not target.exists():
        raise InputError("no such file or folder", file=target)
    with lock_around(target):
        files = repairable_files(target) if target.is_dir() else [target]
        for file in files:
            result = repair_file(file)
            verdict = result.done or "healthy, left as it is"
            typer.echo(f"{file}: {verdict}; {result.kept} {result.unit}")
        for name in changed_rows(target) if target.is_dir() else ():
            typer.echo(
                f"{target / name}: rows were changed since they were written; `mdflash run` writes what it can again"
            )
