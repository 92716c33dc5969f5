"""`mdflash rebuild`: beads become atoms again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mdflash.cli.outputs import Force, may_write


def rebuild(
    beads: Annotated[
        Path,
        typer.Argument(
            help="PDB of CA beads, or of N, CA, CB, C, O; models are frames.", metavar="BEADS", show_default=False
        ),
    ],
    out: Annotated[Path, typer.Option(help="The all-atom PDB file to write, one model per frame.", show_default=False)],
    processes: Annotated[
        int | None, typer.Option("--processes", "-j", min=1, help="Frames at a time.", show_default="one a core")
    ] = None,
    force: Force = False,
) -> None:
    """Rebuild all atoms of coarse-grained frames, relax them, and report clashes.

    Frames are written as they are done; Ctrl-C keeps them. Frames of a run: mdflash export RUN --out beads.pdb --stride
    1000
    """
    import time
    from contextlib import ExitStack

    from mdflash.cli.options import duration
    from mdflash.core.cores import usable_cores
    from mdflash.core.plural import plural
    from mdflash.core.signals import ASKED_TO_STOP
    from mdflash.errors import InputError, Interrupted
    from mdflash.mapping.allatom import openmm_version
    from mdflash.mapping.peptide import PdbModels
    from mdflash.mapping.rebuild import in_one_place, read_beads
    from mdflash.mapping.rebuild import rebuild as rebuild_frames

    if out.suffix.lower() != ".pdb":
        raise InputError(f"--out {out}: a PDB file is written; call it {out.with_suffix('.pdb')}")
    may_write([out], force, [beads])
    if not out.absolute().parent.is_dir():
        raise InputError("no such folder; make it first, or give another --out", file=out.absolute().parent)
    openmm_version()
    structure = read_beads(beads)
    total = len(structure.positions)
    bad = in_one_place(structure)
    if len(bad) == total:
        raise InputError(f"no frame can be rebuilt: in frame 0, {bad[0]}", file=beads)
    for number, why in bad.items():
        typer.echo(f"frame {number} is left out: {why}")
    frames = [number for number in range(total) if number not in bad]
    processes = min(processes or usable_cores(), len(frames))
    typer.echo(
        f"rebuilding {plural(len(frames), 'frame')} of {plural(len(structure.residues), 'residue')}"
        + (f", {processes} at a time" if processes > 1 else "")
    )
    clashes, atoms, began = 0, 0, time.monotonic()
    written: PdbModels | None = None
    with ExitStack() as files:
        try:
            for number, frame in zip(frames, rebuild_frames(structure, frames, processes), strict=True):
                if written is None:
                    written = files.enter_context(PdbModels(out, frame.topology, numbered=total > 1))
                written.add(frame.positions, number + 1)
                atoms, clashes = len(frame.positions), clashes + len(frame.clashes)
                left = (time.monotonic() - began) / written.models * (len(frames) - written.models)
                typer.echo(
                    f"frame {number}: {plural(len(frame.clashes), 'clash')}, beads moved by {frame.moved:.2f} Å"
                    + (f"; about {duration(left)} left" if written.models < len(frames) else "")
                )
                for a, b, distance in frame.clashes[:10]:
                    typer.echo(f"  {a} and {b} are {distance:.2f} Å apart")
                for residue in frame.wrong_hands:
                    typer.echo(f"  {residue} has the chirality of a D amino acid")
        except ASKED_TO_STOP:
            kept = 0 if written is None else written.models
            what = f"{out} holds the first {kept} of them" if kept else "nothing was written"
            raise Interrupted(f"stopped after {kept} of {plural(len(frames), 'frame')}; {what}") from None
    typer.echo(f"wrote {out}: {plural(len(frames), 'frame')} of {atoms} atoms, {plural(clashes, 'clash')}")
    if bad:
        raise InputError(
            f"{len(bad)} of {plural(total, 'frame')} left out, where beads lie in one place; {out} holds the others, "
            "each under its own model number",
            file=beads,
        )
