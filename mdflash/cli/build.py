"""`mdflash build`: a start structure from a sequence."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mdflash.cli.outputs import Force, may_write
from mdflash.core.plural import plural


def build(
    sequence: Annotated[
        str, typer.Option(help="One-letter (YYDPETGTWY) or three-letter with caps (ACE-ALA-NME).", show_default=False)
    ],
    out: Annotated[Path, typer.Option(help="The PDB file to write.", show_default=False)],
    conformation: Annotated[
        str, typer.Option(help="extended | helix | phi,psi in degrees | one phi,psi per residue, with semicolons.")
    ] = "extended",
    force: Force = False,
) -> None:
    """Build a peptide with all its atoms from its sequence, and relax it (ff14SB, implicit solvent)."""
    import numpy as np

    from mdflash.core.files import storage_errors
    from mdflash.errors import InputError
    from mdflash.mapping.allatom import create_system, openmm_version, relax
    from mdflash.mapping.peptide import build_peptide, parse_conformations, parse_sequence, write_pdb

    residues = parse_sequence(sequence)
    dihedrals = parse_conformations(conformation, residues)
    if out.suffix.lower() != ".pdb":
        raise InputError(f"--out {out}: a PDB file is written; call it {out.with_suffix('.pdb')}")
    may_write([out], force)
    openmm_version()
    topology, positions = build_peptide(residues, dihedrals)
    backbone = [a.index for a in topology.atoms() if a.name in ("N", "CA", "C")]
    positions = relax(create_system(topology), positions, hold=np.array(backbone))
    with storage_errors(out):
        write_pdb(out, topology, positions)
    typer.echo(
        f"wrote {out}: {plural(len(residues), 'residue')}, {plural(len(positions), 'atom')}\nnext: mdflash map {out}"
    )
