"""Soft repulsion of listed pairs: u(r) = (sigma / r)^6, without cutoff (mlcg's Repulsion).

| symbol | parameter | unit |
|--------|-----------|------|
| r      |           | Å    |
| sigma  | sigma     | Å (kcal/mol is the implied prefactor) |
"""

from __future__ import annotations

from torch import Tensor

from mdflash.kernels import njit


def energy(q: Tensor, sigma: Tensor) -> Tensor:
    """u(r), elementwise."""
    return (sigma / q) ** 6


@njit(cache=True, error_model="numpy")
def value_slope(q, p):
    """u and du/dr; p = (sigma,)."""
    x = p[0] / q
    x2 = x * x
    u = x2 * x2 * x2
    return u, -6.0 * u / q
