"""What the shape of a molecule is measured by: functions on positions [F, N, 3] in Å.

Definitions are those of the numbers published with coarse-grained models, such as CALVADOS (Tesei & Lindorff-Larsen,
Open Research Europe 2, 94 (2023)) and the IDRome (Tesei et al., Nature 626, 897 (2024)).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from numpy.typing import ArrayLike

from mdflash.core.arrays import as_array
from mdflash.core.geometry import distances
from mdflash.core.types import FloatArray, IntArray
from mdflash.errors import InputError

NATIVE = 1.2
"""A native contact is kept where it is shorter than this times its native length: Clementi et al. (2000)."""
CONTACT = 8.0
"""Å between CA beads of a native contact, where a structure and no force field defines it."""
CONTACT_RANGE = 3
"""Residues; native contacts are farther apart in the chain."""
SCALING_RANGE = 5
"""Residues; the scaling exponent is fitted to pairs farther apart than this."""


def frames_of(positions: ArrayLike) -> FloatArray:
    """Positions [F, N, 3] as an array.

    Raises:
        InputError: another shape, or no real numbers.
    """
    x = as_array(positions)
    if x.dtype.kind not in "fiu" or x.ndim != 3 or x.shape[2] != 3:
        one = "; of one frame write x[None]" if x.ndim == 2 and x.shape[1] == 3 else ""
        raise InputError(f"positions must be numbers [F, N, 3] in Å, found {_shown(x)}{one}")
    return x


def one_of(reference: ArrayLike, beads: int) -> FloatArray:
    """A reference [N, 3] for frames of `beads` beads.

    Raises:
        InputError: another shape or number of beads, or not finite numbers.
    """
    x = as_array(reference)
    if x.dtype.kind not in "fiu" or x.shape != (beads, 3):
        one = "; of a list of frames give one, for example x[0]" if x.ndim == 3 else ""
        raise InputError(f"the reference must be numbers [{beads}, 3] in Å, found {_shown(x)}{one}")
    if not np.isfinite(x).all():
        raise InputError("the reference has coordinates that are not finite numbers")
    return x


def _shown(x: npt.NDArray[Any]) -> str:
    return f"{list(x.shape)}" if x.dtype.kind in "fiu" else f"{list(x.shape)} of type {x.dtype}"


def _superposable(positions: ArrayLike, reference: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Frames and a reference of as many beads, all of them finite."""
    x = frames_of(positions)
    bad = np.flatnonzero(~np.isfinite(x).all(axis=(1, 2)))
    if len(bad):
        raise InputError(f"frame {bad[0]} has coordinates that are not finite numbers; leave such frames out")
    return x, one_of(reference, x.shape[1])


def radius_of_gyration(positions: FloatArray, masses: FloatArray | None = None) -> FloatArray:
    """[F] Å, weighted by masses [N], or every bead alike."""
    positions = frames_of(positions)
    w = np.full(positions.shape[-2], 1.0) if masses is None else np.asarray(masses, np.float64)
    w = w / w.sum()
    square = np.einsum("fnx,fnx->fn", positions, positions) @ w
    center = np.einsum("fnx,n->fx", positions, w)
    return np.asarray(np.sqrt(np.maximum(square - (center**2).sum(axis=1), 0.0)))


def gyration_moments(positions: FloatArray, masses: FloatArray | None = None) -> FloatArray:
    """[F, 3] Å², the eigenvalues of the gyration tensor, rising; their sum is the square of the radius of gyration."""
    positions = frames_of(positions)
    w = np.full(positions.shape[-2], 1.0) if masses is None else np.asarray(masses, np.float64)
    w = w / w.sum()
    x = positions - np.einsum("fnx,n->fx", positions, w)[:, None]
    tensor = np.matmul((x * w[:, None]).transpose(0, 2, 1), x)
    return np.asarray(np.maximum(np.linalg.eigvalsh(tensor), 0.0))


def asphericity(moments: FloatArray) -> FloatArray:
    """[F] 0 for a sphere to 1 for a rod: 3/2 Tr(Q²) / (Tr T)², Q the traceless part of the gyration tensor T.

    Aronovitz & Nelson, J. Phys. (France) 47, 1445 (1986). `moments` [F, 3] is from `gyration_moments`.
    """
    above, below = asphericity_parts(moments).T
    return np.asarray(np.divide(above, below, out=np.zeros_like(above), where=below > 0))


def asphericity_parts(moments: FloatArray) -> FloatArray:
    """[F, 2] numerator and denominator of `asphericity`; published averages are taken of each on its own."""
    trace = moments.sum(axis=1)
    deviation = moments - trace[:, None] / 3.0
    return np.stack([1.5 * (deviation**2).sum(axis=1), trace**2], axis=1)


def end_to_end(positions: FloatArray, first: int = 0, last: int = -1) -> FloatArray:
    """[F] Å between two beads."""
    positions = frames_of(positions)
    return np.asarray(np.linalg.norm(positions[:, last] - positions[:, first], axis=1))


def superpose(positions: FloatArray, reference: FloatArray) -> FloatArray:
    """positions [F, N, 3] moved and turned onto reference [N, 3] with the least RMSD.

    Kabsch, Acta Cryst. A 34, 827 (1978). Reflections are not allowed.
    """
    positions, reference = _superposable(positions, reference)
    center = reference.mean(axis=0)
    a = positions - positions.mean(axis=1, keepdims=True)
    u, _, vt = np.linalg.svd(np.matmul(a.transpose(0, 2, 1), reference - center))
    u[:, :, 2] *= np.sign(np.linalg.det(np.matmul(u, vt)))[:, None]
    return np.asarray(np.matmul(a, np.matmul(u, vt)) + center)


def rmsd(positions: FloatArray, reference: FloatArray) -> FloatArray:
    """[F] Å after the best superposition (Kabsch) of positions [F, N, 3] on reference [N, 3]; all beads count alike."""
    positions, reference = _superposable(positions, reference)
    a = positions - positions.mean(axis=1, keepdims=True)
    b = reference - reference.mean(axis=0)
    covariance = np.matmul(a.transpose(0, 2, 1), b)
    singular = np.linalg.svd(covariance, compute_uv=False)
    singular[:, 2] *= np.sign(np.linalg.det(covariance))
    square = np.einsum("fnx,fnx->f", a, a) + (b**2).sum() - 2.0 * singular.sum(axis=1)
    return np.asarray(np.sqrt(np.maximum(square, 0.0) / len(reference)))


def rmsf(positions: FloatArray, reference: FloatArray | None = None) -> FloatArray:
    """[N] Å about the mean structure, after superposition on `reference` [N, 3] (default: the first frame)."""
    x = superpose(positions, positions[0] if reference is None else reference)
    return np.asarray(np.sqrt(((x - x.mean(axis=0)) ** 2).sum(axis=2).mean(axis=0)))


def fraction_of_contacts(positions: FloatArray, pairs: IntArray, r0: FloatArray) -> FloatArray:
    """[F] Q, the fraction of native contacts (pairs [C, 2], native lengths r0 [C] Å) with r < 1.2 r0.

    Clementi, Nymeyer & Onuchic, J. Mol. Biol. 298, 937 (2000).
    """
    return np.asarray((distances(frames_of(positions), pairs) < NATIVE * r0).mean(axis=1))


def native_contacts(native: FloatArray, residues: IntArray) -> tuple[IntArray, FloatArray]:
    """Pairs [C, 2] of rows of `native` [N, 3] that touch, and their lengths [C] Å.

    Beads of residues more than `CONTACT_RANGE` apart in the chain and nearer than `CONTACT` Å.

    Args:
        native: CA positions, Å.
        residues: [N] numbers of their residues along the chain.
    """
    native = one_of(native, len(residues))
    pairs = np.stack(np.triu_indices(len(native), 1), axis=1)
    r = distances(native, pairs)
    keep = (np.abs(residues[pairs[:, 1]] - residues[pairs[:, 0]]) > CONTACT_RANGE) & (r < CONTACT)
    return pairs[keep].astype(np.int64), r[keep]


def hydrodynamic_radius(inverse_distance: float, beads: int) -> float:
    """Å, Kirkwood's estimate 1 / [(1 - 1/N) <1/r_ij>] from the mean of 1/r over all pairs (1/Å) of N beads.

    Kirkwood, J. Polym. Sci. 12, 1 (1954); a proxy, since the size of the beads is left out.
    """
    return 1.0 / ((1.0 - 1.0 / beads) * inverse_distance)


class Scaling(NamedTuple):
    """R_ij = prefactor |i - j|^exponent: the exponent nu (0.33 globule, 0.5 ideal, 0.59 swollen), and R0 in Å."""

    exponent: float
    prefactor: float


def scaling_exponent(separation: FloatArray, distance: FloatArray) -> Scaling:
    """Least squares of R0 |i - j|^nu to sqrt(<R_ij²>) [S] Å over the separations |i - j| [S] above 5.

    Raises:
        InputError: fewer than three separations above 5.
    """
    from scipy.optimize import curve_fit

    far = separation > SCALING_RANGE
    if far.sum() < 3:
        raise InputError(f"a scaling exponent needs pairs of residues {SCALING_RANGE + 3} apart; the chain is shorter")
    x, y = separation[far], distance[far]
    guess = (y[0] / x[0] ** 0.5, 0.5)
    (r0, nu), _ = curve_fit(lambda s, r0, nu: r0 * s**nu, x, y, p0=guess, maxfev=10_000)
    return Scaling(float(nu), float(r0))
