"""Harmonic term: u(q) = k (q - q0)^2, without the factor 1/2 (as in mlcg and CHARMM).

| symbol | parameter | unit                          |
|--------|-----------|-------------------------------|
| q      |           | Å, 1 (a cosine) or rad        |
| k      | k         | kcal/mol per unit of q squared |
| q0     | x0        | unit of q                     |

Used for bonds (q = distance), angles (q = cos theta, mlcg's choice, or theta) and impropers (q = phi; the
torsion is not periodic here: q0 should lie well inside (-pi, pi]).
"""

from __future__ import annotations

from torch import Tensor

from mdflash.compiled.jit import njit


def energy(q: Tensor, k: Tensor, x0: Tensor) -> Tensor:
    """u(q), elementwise."""
    return k * (q - x0) ** 2


@njit(cache=True, error_model="numpy")
def value_slope(q, p):
    """u and du/dq; p = (k, x0)."""
    d = q - p[1]
    return p[0] * d * d, 2.0 * p[0] * d
