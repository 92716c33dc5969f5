"""`mdflash rebuild`: beads become atoms again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def rebuild(
    beads: Annotated[
        Path, typer.Argument(help="PDB of CA beads, or of N, CA, CB, C, O; models are frames.", show_default=False)
    ],
    out: Annotated[Path, typer.Option(help="The all-atom PDB file to write, one model per frame.", show_default=False)],
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file if it exists.")] = False,
) -> None:
    """Rebuild all atoms of coarse-grained frames, relax them, and report clashes.

    Frames of a run: mdflash export RUN --out beads.pdb --stride 1000
    """
    from mdflash.errors import InputError
    from mdflash.mapping.allatom import openmm_version
    from mdflash.mapping.peptide import write_pdb
    from mdflash.mapping.rebuild import rebuild as rebuild_frames

    if out.suffix.lower() != ".pdb":
        raise InputError(f"--out {out}: a PDB file is written; call it {out.with_suffix('.pdb')}")
    if out.exists() and not force:
        raise InputError("already exists; give another --out, or --force to overwrite it", file=out)
    if not out.absolute().parent.is_dir():
        raise InputError("no such folder; make it first, or give another --out", file=out.absolute().parent)
    openmm_version()
    frames, clashes = [], 0
    for number, frame in enumerate(rebuild_frames(beads)):
        frames.append(frame)
        clashes += len(frame.clashes)
        typer.echo(f"frame {number}: {len(frame.clashes)} clashes, beads moved by {frame.moved:.2f} Å")
        for a, b, distance in frame.clashes[:10]:
            typer.echo(f"  {a} and {b} are {distance:.2f} Å apart")
        for residue in frame.wrong_hands:
            typer.echo(f"  {residue} has the chirality of a D amino acid")
    write_pdb(out, frames[0].topology, *(frame.positions for frame in frames))
    typer.echo(f"wrote {out}: {len(frames)} frames of {len(frames[0].positions)} atoms, {clashes} clashes")
