"""Secondary structure: from CA positions alone (P-SEA), or from the whole backbone (DSSP)."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from mdflash.analysis.measures import frames_of
from mdflash.core.types import FloatArray

COIL, HELIX, STRAND = 0, 1, 2
Assigned = npt.NDArray[np.int8]
Mask = npt.NDArray[np.bool_]

SHORTEST_HELIX: Final = 5
SHORTEST_STRAND: Final = 4
PAIRED: Final = 3
"""Residues of a shorter strand that lies beside another."""
BESIDE: Final = (4.2, 5.2)
"""Å between CA atoms of neighboring strands."""
FEWEST_BESIDE: Final = 5


def p_sea(ca: FloatArray) -> Assigned:
    """[F, N] 0 coil, 1 helix, 2 strand, from CA positions [F, N, 3] Å of one chain without gaps.

    Labesse, Colloc'h, Pothier & Mornon, Comput. Appl. Biosci. 13, 291 (1997). A residue may be a helix where
    d3 = 5.3 ± 0.5 and d4 = 6.4 ± 0.6 Å, or its angle is 89 ± 12 and its dihedral 50 ± 20 degrees; a strand where
    d2 = 6.7 ± 0.6, d3 = 9.9 ± 0.9 and d4 = 12.4 ± 1.1 Å, or 124 ± 14 and -170 ± 45 degrees. Distances are from the
    residue before to the second, third and fourth one after it. Helices have 5 residues or more, strands 4, or 3 with
    five CA atoms of other residues at 4.2 to 5.2 Å; both grow by a residue at each end.
    """
    ca = frames_of(ca)
    frames, n = ca.shape[:2]
    out = np.zeros((frames, n), np.int8)
    if n < SHORTEST_HELIX:
        return out
    d2, d3, d4 = (_apart(ca, k) for k in (2, 3, 4))
    angle, dihedral = _angles(ca)
    helix3, strand3 = _near(d3, 5.3, 0.5), _near(d3, 9.9, 0.9)
    bent = _near(angle, 89.0, 12.0)
    helix = (helix3 & _near(d4, 6.4, 0.6)) | (bent & _near(dihedral, 50.0, 20.0))
    turned = (dihedral + 170.0 + 180.0) % 360.0 - 180.0
    strand = (_near(d2, 6.7, 0.6) & strand3 & _near(d4, 12.4, 1.1)) | (
        _near(angle, 124.0, 14.0) & _near(turned, 0, 45.0)
    )
    long = _runs(strand, SHORTEST_STRAND)
    paired = _runs(strand, PAIRED) & ~long
    if paired.any():
        long |= _beside(ca, paired)
    out[_grown(long, strand3)] = STRAND
    out[_grown(_runs(helix, SHORTEST_HELIX), helix3 | bent)] = HELIX
    return out


def _apart(ca: FloatArray, k: int) -> FloatArray:
    """[F, N] Å from the residue before to the k-th after that; NaN where there is none."""
    n = ca.shape[1]
    out = np.full(ca.shape[:2], np.nan)
    out[:, 1 : n - k + 1] = np.linalg.norm(ca[:, k:] - ca[:, : n - k], axis=2)
    return out


def _angles(ca: FloatArray) -> tuple[FloatArray, FloatArray]:
    """[F, N] degrees: the angle at each residue, and the dihedral from the one before to the second after it."""
    from mdflash.core.geometry import bond_angles, torsions

    n = ca.shape[1]
    angle, dihedral = np.full(ca.shape[:2], np.nan), np.full(ca.shape[:2], np.nan)
    first = np.arange(n - 2)
    angle[:, 1:-1] = np.degrees(bond_angles(ca, np.stack([first, first + 1, first + 2], axis=1)))
    first = np.arange(n - 3)
    dihedral[:, 1:-2] = np.degrees(torsions(ca, np.stack([first + k for k in range(4)], axis=1)))
    return angle, dihedral


def _near(values: FloatArray, middle: float, width: float) -> Mask:
    with np.errstate(invalid="ignore"):
        return np.asarray(np.abs(values - middle) <= width)


def _runs(mask: Mask, least: int) -> Mask:
    """Those that stand in a run of `least` or more."""
    n = mask.shape[1]
    out = np.zeros_like(mask)
    if n < least:
        return out
    whole = np.logical_and.reduce([mask[:, k : n - least + 1 + k] for k in range(least)])
    for k in range(least):
        out[:, k : n - least + 1 + k] |= whole
    return out


def _grown(mask: Mask, allowed: Mask) -> Mask:
    """With one more at each end of a run, where it is allowed."""
    beside = np.zeros_like(mask)
    beside[:, :-1] |= mask[:, 1:]
    beside[:, 1:] |= mask[:, :-1]
    return mask | (beside & allowed)


def _beside(ca: FloatArray, short: Mask) -> Mask:
    """Runs of three that lie beside other strands."""
    out = np.zeros_like(short)
    for f in np.flatnonzero(short.any(axis=1)):
        r = np.linalg.norm(ca[f][:, None] - ca[f], axis=2)
        near = ((r >= BESIDE[0]) & (r <= BESIDE[1])).sum(axis=1)
        edges = np.flatnonzero(np.diff(np.concatenate([[0], short[f], [0]])))
        for a, b in zip(edges[::2], edges[1::2], strict=True):
            out[f, a:b] = near[a:b].sum() >= FEWEST_BESIDE
    return out
