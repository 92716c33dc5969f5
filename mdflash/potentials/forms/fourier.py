"""Fourier series of a torsion: u(phi) = v0 + sum_n [ k1_n sin(n phi) + k2_n cos(n phi) ], n = 1..degree.

| symbol | parameter | unit               |
|--------|-----------|--------------------|
| phi    |           | rad, MDTraj's sign |
| v0     | v0        | kcal/mol           |
| k1_n   | k1        | kcal/mol, [degree] |
| k2_n   | k2        | kcal/mol, [degree] |

The form of mlcg's Dihedral; the 1- and 3-fold cosines of a Gō model are a special case.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from mdflash.compiled.jit import njit
from mdflash.compiled.optional_triton import tl, triton_jit
from mdflash.core.types import FloatArray
from mdflash.potentials.forms.form import Form

if TYPE_CHECKING:
    from torch import Tensor


def energy(q: Tensor, v0: Tensor, k1: Tensor, k2: Tensor) -> Tensor:
    """u(phi); q [..., M], v0 [M], k1 and k2 [M, degree]."""
    import torch

    n = torch.arange(1, k1.shape[-1] + 1, dtype=q.dtype, device=q.device)
    angle = q[..., None] * n  # [..., M, degree]
    return v0 + (k1 * torch.sin(angle) + k2 * torch.cos(angle)).sum(dim=-1)


@njit(cache=True, error_model="numpy")
def value_slope(q: float, p: FloatArray) -> tuple[float, float]:
    """u and du/dphi; p = (v0, k1_1, k2_1, k1_2, k2_2, ...), zero-padded.

    sin(n phi) and cos(n phi) follow from the addition theorem: one sine and one cosine in all.
    """
    s1 = math.sin(q)
    c1 = math.cos(q)
    s, c = s1, c1
    u = p[0]
    du = 0.0
    for n in range(1, (p.shape[0] - 1) // 2 + 1):
        k1 = p[2 * n - 1]
        k2 = p[2 * n]
        u += k1 * s + k2 * c
        du += n * (k1 * c - k2 * s)
        s, c = s * c1 + c * s1, c * c1 - s * s1
    return u, du


@triton_jit
def gpu_value_slope(sine: tl.tensor, cosine: tl.tensor, p: tl.tuple) -> tuple[tl.tensor, tl.tensor]:
    """u and du/dphi from the sine and cosine of phi."""
    s = sine
    c = cosine
    u = p[0]
    du = sine * 0.0
    for n in tl.static_range(1, (len(p) - 1) // 2 + 1):
        k1 = p[2 * n - 1]
        k2 = p[2 * n]
        u += k1 * s + k2 * c
        du += n * (k1 * c - k2 * s)
        turned = s * cosine + c * sine
        c = c * cosine - s * sine
        s = turned
    return u, du


FORMS = (
    Form(
        name="fourier_dihedral",
        on="dihedral",
        scalars={"v0": "kcal/mol"},
        series={"k1": "kcal/mol", "k2": "kcal/mol"},
        constant="v0",
        equation="v0 + sum_n k1_n sin(n phi) + k2_n cos(n phi)",
        source="mlcg, Dihedral",
        energy=energy,
        safe=(math.pi,),
    ),
)
