"""Polynomial term: u(q) = v0 + sum_n k_n q^n, n = 1..degree (mlcg's QuarticAngles: degree 4).

| symbol | parameter | unit                            |
|--------|-----------|---------------------------------|
| q      |           | 1 (cos theta) or rad            |
| v0     | v0        | kcal/mol                        |
| k_n    | ks        | kcal/mol per q^n, [degree]      |
"""

from __future__ import annotations

import torch
from torch import Tensor

from mdflash.compiled.jit import njit


def energy(q: Tensor, v0: Tensor, ks: Tensor) -> Tensor:
    """u(q); q [..., M], v0 [M], ks [M, degree]."""
    n = torch.arange(1, ks.shape[-1] + 1, dtype=q.dtype, device=q.device)
    return v0 + (ks * q[..., None] ** n).sum(dim=-1)


@njit(cache=True, error_model="numpy")
def value_slope(q, p):
    """u and du/dq by Horner's rule; p = (v0, k_1, k_2, ...), zero-padded."""
    u = 0.0
    du = 0.0
    for n in range(p.shape[0] - 1, 0, -1):
        u = u * q + p[n]
        du = du * q + n * p[n]
    return u * q + p[0], du
