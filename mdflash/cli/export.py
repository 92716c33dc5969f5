"""`mdflash export`: copy one replica, or one temperature, of a run into a file that other programs read."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mdflash.cli.outputs import Force, may_write
from mdflash.core.plural import plural
from mdflash.io.formats import EXPORTED

if TYPE_CHECKING:
    from mdflash.io.by_state import StateFrames


if TYPE_CHECKING:

    class OutFormat(str, Enum):
        """Formats that `mdflash export` writes."""
else:
    OutFormat = Enum("OutFormat", {name: name for name in (*EXPORTED, "plumed")}, type=str)


class By(str, Enum):
    """What a file holds: one replica through all temperatures, or one temperature through all replicas."""

    replica = "replica"
    temperature = "temperature"


def export(
    run: Annotated[Path, typer.Argument(help="Run folder.", metavar="RUN")],
    out: Annotated[Path, typer.Option(help="File to write; of plumed, a folder.")],
    replica: Annotated[
        int | None, typer.Option(help="Number of the replica; default: the first of the system.", show_default=False)
    ] = None,
    format: Annotated[OutFormat | None, typer.Option(help="Default: from the suffix of --out.")] = None,
    stride: Annotated[int, typer.Option(help="Take every K-th frame.", metavar="K")] = 1,
    system: Annotated[str | None, typer.Option(help="Name of the system, if the run has several.")] = None,
    by: Annotated[By, typer.Option(help="With exchange: follow a replica, or collect a temperature.")] = By.replica,
    temperature: Annotated[
        str | None, typer.Option(help="With --by temperature: which one.", metavar="'300 K'")
    ] = None,
    state: Annotated[
        int | None, typer.Option(help="With --by temperature: its number in the ladder, from 0, instead.")
    ] = None,
    ladder: Annotated[
        int | None, typer.Option(help="With --by temperature: which ladder, where a system has several.")
    ] = None,
    force: Force = False,
) -> None:
    """Copy one replica, or one temperature, of a run to a file for other programs; the run may be in progress.

    --format plumed writes a folder: plumed.dat, HILLS of metadynamics, and COLVAR of every replica.
    """
    from mdflash.errors import InputError
    from mdflash.io.export import export as write
    from mdflash.io.export import find_replica, write_frames

    if format is not None and format.value == "plumed":
        from mdflash.runs.plumed import export_plumed, plumed_files

        may_write(plumed_files(run, out, system), force)
        for file in export_plumed(run, out, system):
            typer.echo(f"wrote {file}")
        return
    kind = format.value if format is not None else out.suffix.removeprefix(".")
    if kind not in EXPORTED:
        raise InputError(f"cannot tell the format from '{out.name}'; add --format with one of {', '.join(EXPORTED)}")
    named = out.suffix.removeprefix(".").lower()
    if named in EXPORTED and named != kind:
        raise InputError(
            f"is called as if it were {named}, but --format is {kind}; call it {out.with_suffix(f'.{kind}')}", file=out
        )
    may_write([out], force)
    if by is By.temperature:
        found = _find_state(run, temperature, state, system, ladder)
        frames = write_frames(found.frames(stride), found.sources[0], kind, out)
        typer.echo(f"{out}: {plural(frames, 'frame')} of state {found.state} of {found.sources[0].system}, from {run}")
        return
    if temperature is not None or state is not None or ladder is not None:
        raise InputError("--temperature, --state and --ladder go with --by temperature")
    source = find_replica(run, replica, system)
    frames = write(source, kind, out, stride)
    typer.echo(f"{out}: {plural(frames, 'frame')} of replica {source.replica} of {source.system}, from {source.path}")


def _find_state(
    run: Path, temperature: str | None, state: int | None, system: str | None, ladder: int | None
) -> StateFrames:
    from mdflash.cli.options import quantity
    from mdflash.errors import InputError
    from mdflash.io.by_state import find_state
    from mdflash.io.runfolder import load_manifest

    exchange = load_manifest(run).get("exchange") if (run / "manifest.json").is_file() else None
    if exchange is None:
        raise InputError("has no replica exchange, so there is nothing to sort by temperature", file=run)
    kelvin = None if temperature is None else quantity("--temperature", temperature, "temperature")
    return find_state(run, exchange["temperatures_K"], state=state, temperature=kelvin, system=system, ladder=ladder)
