"""Soft repulsion of listed pairs: u(r) = (sigma / r)^6, without cutoff (mlcg's Repulsion).

| symbol | parameter | unit |
|--------|-----------|------|
| r      |           | Å    |
| sigma  | sigma     | Å (kcal/mol is the implied prefactor) |
"""

from __future__ import annotations

from torch import Tensor

from mdflash.compiled.jit import njit


def energy(q: Tensor, sigma: Tensor) -> Tensor:
    """u(r), elementwise."""
    return (sigma / q) ** 6


@njit(cache=True, error_model="numpy")
def value_pull(r2, p):
    """u and (du/dr) / r from r^2; p = (sigma,). There are many of these pairs, and this takes one division."""
    inverse = 1.0 / r2
    x2 = p[0] * p[0] * inverse
    u = x2 * x2 * x2
    return u, -6.0 * u * inverse
