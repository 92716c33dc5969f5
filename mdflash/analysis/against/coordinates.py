"""What a validation looks at: coordinates of a molecule, from positions [F, N, 3] in Å."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from mdflash.analysis.contacts import fraction as fraction_of_contacts
from mdflash.analysis.measures import rmsd as rmsd
from mdflash.analysis.molecule import trace_of
from mdflash.analysis.tics import tica
from mdflash.core.geometry import bond_angles, distances, torsions
from mdflash.core.system import System
from mdflash.core.types import FloatArray, IntArray
from mdflash.mapping.interactions import from_bonds

CONTACT, NATIVE = 8.0, 1.2
"""Å between CA beads of a native contact; in a frame it is kept where nearer than this times its native length."""
CONTACT_RANGE = 3
"""Residues; native contacts are farther apart in the chain."""
FEWEST_RESIDUES = 6
"""Shorter peptides have no fold to measure a distance from."""
DEGREES = 180.0 / np.pi


@dataclass(frozen=True, eq=False)
class Coordinate:
    """One or two numbers of a frame.

    Attributes:
        name: short; names it in the report.
        labels: of its axes, with units.
        values: positions [F, N, 3] -> [F, axes].
        span: of each axis; None: from the data.
        group: "bonds", "angles", "dihedrals" for the many, "" for what has a picture of its own.
    """

    name: str
    labels: tuple[str, ...]
    values: Callable[[FloatArray], FloatArray]
    span: tuple[float, float] | None = None
    group: str = ""


def coordinates(system: System, native: FloatArray | None) -> list[Coordinate]:
    """What can be looked at in this molecule; `native` [N, 3] is its folded structure, if there is one."""
    found = [Coordinate("Rg", ("radius of gyration / Å",), lambda x: radius_of_gyration(x, system.masses))]
    found += _backbone(system)
    folded = _fold(system, native) if native is not None and system.n_residues >= FEWEST_RESIDUES else []
    return found + (folded or _ends(system)) + _internal(system)


def radius_of_gyration(positions: FloatArray, masses: FloatArray) -> FloatArray:
    """[F, 1] Å, weighted by mass."""
    w = masses / masses.sum()
    centered = positions - np.einsum("n,fnx->fx", w, positions)[:, None]
    rg: FloatArray = np.sqrt(np.einsum("n,fnx->f", w, centered**2))[:, None]
    return rg


def _ends(system: System) -> list[Coordinate]:
    """How far a single chain is stretched, alone and with its size; where there is no fold to measure."""
    if system.n_residues < FEWEST_RESIDUES or len(set(system.chain_ids)) > 1:
        return []
    ends = trace_of(system)[[0, -1]][None]

    def both(x: FloatArray) -> FloatArray:
        return np.concatenate([radius_of_gyration(x, system.masses), distances(x, ends)], axis=1)

    label = "end-to-end distance / Å"
    return [
        Coordinate("Ree", (label,), lambda x: distances(x, ends)),
        Coordinate("Rg, Ree", ("radius of gyration / Å", label), both),
    ]


def _fold(system: System, native: FloatArray) -> list[Coordinate]:
    ca = np.flatnonzero(np.array(system.bead_names) == "CA")
    if len(ca) < FEWEST_RESIDUES:
        return []
    pairs = np.stack(np.triu_indices(len(ca), CONTACT_RANGE + 1), axis=1)
    r0 = distances(native[ca], pairs)
    pairs, r0 = ca[pairs[r0 < CONTACT]], r0[r0 < CONTACT]
    deviation = Coordinate("RMSD", ("RMSD of CA / Å",), lambda x: rmsd(x[:, ca], native[ca])[:, None])
    if not len(pairs):
        return [deviation]

    def both(x: FloatArray) -> FloatArray:
        return np.stack([fraction_of_contacts(x, pairs, r0), rmsd(x[:, ca], native[ca])], axis=1)

    q = Coordinate("Q", ("native contacts Q",), lambda x: fraction_of_contacts(x, pairs, r0)[:, None], span=(0.0, 1.0))
    return [q, deviation, Coordinate("Q, RMSD", ("native contacts Q", "RMSD of CA / Å"), both)]


def backbone_torsions(system: System) -> list[tuple[str, IntArray]]:
    """For every residue whose backbone atoms, and those of its neighbors, are beads: its label, and the beads [2, 4] of
    phi and psi."""
    places = zip(system.residue_index.tolist(), system.bead_names, strict=True)
    at = {place: bead for bead, place in enumerate(places)}
    chain = system.chain_index
    found = []
    for r in range(1, system.n_residues - 1):
        wanted = [(r - 1, "C"), (r, "N"), (r, "CA"), (r, "C"), (r + 1, "N")]
        if all(key in at for key in wanted) and chain[r - 1] == chain[r + 1]:
            beads = [at[key] for key in wanted]
            found.append((f"{system.residue_names[r]} {system.residue_ids[r]}", np.array([beads[:4], beads[1:]])))
    return found


def _backbone(system: System) -> list[Coordinate]:
    return [
        Coordinate(
            f"phi, psi of {label}", ("phi / degrees", "psi / degrees"),
            lambda x, index=index: DEGREES * torsions(x, index), span=(-180.0, 180.0),  # type: ignore[misc]
        )
        for label, index in backbone_torsions(system)
    ]  # fmt: skip


def _internal(system: System) -> list[Coordinate]:
    """Every bond, angle and dihedral."""
    rows = {**from_bonds(system.n_beads, system.bonds)}
    found = []
    for name, measure, unit, factor, span in (
        ("bonds", distances, "Å", 1.0, None),
        ("angles", bond_angles, "degrees", DEGREES, None),
        ("dihedrals", torsions, "degrees", DEGREES, (-180.0, 180.0)),
    ):
        for beads in rows.get(name, np.zeros((0, 2), np.int64)):
            label = "-".join(f"{system.bead_names[b]}{system.residue_ids[system.residue_index[b]]}" for b in beads)
            found.append(
                Coordinate(
                    label, (f"{label} / {unit}",),
                    lambda x, m=measure, b=beads[None], f=factor: f * m(x, b), span, name,  # type: ignore[misc]
                )
            )  # fmt: skip
    return found


class Tica:
    """Time-lagged independent components: the slowest linear combinations of features of a molecule.

    Pérez-Hernández et al., J. Chem. Phys. 139, 015102 (2013). Features are distances of beads more than two bonds apart
    (at most `MOST_PAIRS` of them, evenly picked) and sines and cosines of the dihedrals.

    Args:
        system: the molecule.
        trajectories: [F, N, 3] each, evenly spaced in time.
        lag: frames.
    """

    MOST_PAIRS = 300

    def __init__(self, system: System, trajectories: Sequence[FloatArray], lag: int) -> None:
        rows = from_bonds(system.n_beads, system.bonds)
        far = np.triu(np.ones((system.n_beads,) * 2, bool), 1)
        for name in ("bonds", "angles"):
            ends = np.sort(rows.get(name, np.zeros((0, 2), np.int64))[:, [0, -1]], axis=1)
            far[ends[:, 0], ends[:, 1]] = False
        pairs = np.argwhere(far)
        self._pairs = pairs[np.unique(np.linspace(0, len(pairs) - 1, min(self.MOST_PAIRS, len(pairs))).astype(int))]
        self._dihedrals = rows.get("dihedrals", np.zeros((0, 4), np.int64))
        self._model = tica([self._features(x) for x in trajectories if len(x) > lag], lag)
        self.eigenvalues = self._model.eigenvalues

    @property
    def size(self) -> int:
        """How many features there are."""
        return len(self._model.mean)

    def __call__(self, positions: FloatArray) -> FloatArray:
        """[F, 2] of positions [F, N, 3]."""
        return self._model(self._features(positions))

    def _features(self, x: FloatArray) -> FloatArray:
        phi = torsions(x, self._dihedrals)
        return np.concatenate([distances(x, self._pairs), np.sin(phi), np.cos(phi)], axis=1)
