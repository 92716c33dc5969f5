"""`mdflash export`: copy one replica of a run into an XTC, DCD or PDB file."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer


class OutFormat(str, Enum):
    """Formats that `mdflash export` writes."""

    xtc = "xtc"
    dcd = "dcd"
    pdb = "pdb"


def export(
    run: Annotated[Path, typer.Argument(help="Run folder.", metavar="RUN")],
    out: Annotated[Path, typer.Option(help="File to write.")],
    replica: Annotated[int, typer.Option(help="Number of the replica.")] = 0,
    format: Annotated[OutFormat | None, typer.Option(help="Left out: the ending of --out decides.")] = None,
    stride: Annotated[int, typer.Option(help="Take every K-th frame.", metavar="K")] = 1,
    system: Annotated[str | None, typer.Option(help="Name of the system, where a run has several.")] = None,
) -> None:
    """Copy one replica of a run into an XTC, DCD or PDB file. The run may still be going on."""
    from mdflash.errors import InputError
    from mdflash.io.export import export as write
    from mdflash.io.export import find_replica

    kinds = [kind.value for kind in OutFormat]
    kind = format.value if format is not None else out.suffix.removeprefix(".")
    if kind not in kinds:
        raise InputError(f"cannot tell the format from '{out.name}'; add --format with one of {', '.join(kinds)}")
    source = find_replica(run, replica, system)
    frames = write(source, OutFormat(kind).value, out, stride)
    typer.echo(f"{out}: {frames} frames of replica {source.replica} of {source.system}, from {source.path}")
