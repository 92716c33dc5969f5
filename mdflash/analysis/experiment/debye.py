"""Scattering of beads by Debye's sum."""

from __future__ import annotations

from typing import Final

import numpy as np
import torch

from mdflash.core.types import FloatArray

AT_ONCE: Final = 4_000_000
"""Distances of pairs that are held at once."""


def debye(positions: FloatArray, factors: FloatArray, q: FloatArray) -> FloatArray:
    """[F, Q] intensities: I(q) = sum over beads i, j of F_i F_j sin(q r_ij) / (q r_ij).

    Debye, Ann. Phys. 351, 809 (1915). Sines are in single precision, sums in double.

    Args:
        positions: [F, N, 3] Å.
        factors: [Q, N] form factors.
        q: [Q] 1/Å.
    """
    frames, beads = positions.shape[:2]
    i, j = np.triu_indices(beads, 1)
    own = (factors**2).sum(axis=1)
    both = torch.from_numpy(2.0 * factors[:, i] * factors[:, j])  # [Q, P]
    out = np.empty((frames, len(q)))
    step = max(1, AT_ONCE // max(len(i), 1))
    for at in range(0, frames, step):
        x = torch.from_numpy(np.ascontiguousarray(positions[at : at + step]))
        r = (x[:, j] - x[:, i]).norm(dim=2).to(torch.float32)
        for k, value in enumerate(q.tolist()):
            # torch's sinc(x) is sin(pi x) / (pi x)
            wave = torch.sinc(r * (value / np.pi))
            out[at : at + step, k] = own[k] + (wave.to(torch.float64) @ both[k]).numpy()
    return out
