"""Share of the frames in which every residue is in a helix or a strand."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from mdflash.analysis.molecule import Molecule
from mdflash.analysis.observables.base import Profile
from mdflash.analysis.secondary import HELIX, SHORTEST_HELIX, STRAND, Assigned, p_sea
from mdflash.core.types import FloatArray
from mdflash.io.topology import mdtraj_topology
from mdflash.mapping.residues import RESIDUE_MASS
from mdflash.units import NM_PER_ANGSTROM

BACKBONE = frozenset({"N", "CA", "C", "O"})


def has_backbone(m: Molecule) -> bool:
    """Whether every residue has the atoms that hydrogen bonds are told by."""
    s = m.system
    names: list[set[str]] = [set() for _ in range(s.n_residues)]
    for bead, residue in zip(s.bead_names, s.residue_index.tolist(), strict=True):
        names[residue].add(bead)
    return all(n >= BACKBONE for n in names) and all(r in RESIDUE_MASS for r in s.residue_names)


def method(m: Molecule) -> str:
    """How it is assigned."""
    return "DSSP" if has_backbone(m) else "P-SEA, by CA"


def _assign(m: Molecule) -> Callable[[FloatArray], Assigned]:
    if not has_backbone(m):
        rows = [m.trace[r] for _, r in m.chains]
        return lambda x: np.concatenate([p_sea(x[:, r]) for r in rows], axis=1)
    import mdtraj

    topology = mdtraj_topology(m.system)

    def dssp(x: FloatArray) -> Assigned:
        frames = mdtraj.Trajectory((x * NM_PER_ANGSTROM).astype(np.float32), topology)
        letters = mdtraj.compute_dssp(frames, simplified=True)
        return np.where(letters == "H", HELIX, np.where(letters == "E", STRAND, 0)).astype(np.int8)

    return dssp


def _parts(m: Molecule) -> Any:
    beads = np.array(m.system.bead_names)[m.trace]
    if len(m.trace) < SHORTEST_HELIX or not (beads == "CA").all():
        return None
    assign = _assign(m)

    def sums(x: FloatArray) -> dict[str, FloatArray]:
        found = assign(x)
        return {
            "helix": (found == HELIX).sum(axis=0).astype(float),
            "strand": (found == STRAND).sum(axis=0).astype(float),
        }

    return sums


def _result(m: Molecule, means: Mapping[str, FloatArray]) -> dict[str, Any]:
    helix, strand = means["helix"], means["strand"]
    return {
        "helix": helix,
        "strand": strand,
        "helix_fraction": float(helix.mean()),
        "strand_fraction": float(strand.mean()),
        "method": method(m),
    }


SECONDARY = Profile(
    "secondary",
    "secondary structure",
    _parts,
    _result,
    lambda m: (4000 if has_backbone(m) else 1500) * m.system.n_residues,
    source=(
        "secondary structure: DSSP (Kabsch & Sander 1983, by MDTraj) where beads hold the backbone, otherwise P-SEA "
        "(Labesse et al. 1997) by CA positions"
    ),
)
