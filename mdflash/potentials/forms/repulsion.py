"""Soft repulsion of listed pairs: u(r) = (sigma / r)^6, without cutoff (mlcg's Repulsion).

| symbol | parameter | unit |
|--------|-----------|------|
| r      |           | Å    |
| sigma  | sigma     | Å (kcal/mol is the implied prefactor) |
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mdflash.compiled.jit import njit
from mdflash.compiled.optional_triton import tl, triton_jit
from mdflash.core.ranges import DISTANCE
from mdflash.core.types import FloatArray
from mdflash.potentials.forms.form import Form

if TYPE_CHECKING:
    from torch import Tensor


def energy(q: Tensor, sigma: Tensor) -> Tensor:
    """u(r), elementwise."""
    return (sigma / q) ** 6


@njit(cache=True, error_model="numpy")
def value_pull(r2: float, p: FloatArray) -> tuple[float, float]:
    """u and (du/dr) / r from r^2; p = (sigma,). There are many of these pairs, and this takes one division."""
    inverse = 1.0 / r2
    x2 = p[0] * p[0] * inverse
    u = x2 * x2 * x2
    return u, -6.0 * u * inverse


@triton_jit
def gpu_value_slope(r: tl.tensor, p: tl.tuple) -> tuple[tl.tensor, tl.tensor]:
    """u and du/dr."""
    x = p[0] / r
    u = x * x * x * x * x * x
    return u, -6.0 * u / r


FORMS = (
    Form(
        name="repulsion",
        on="distance",
        scalars={"sigma": "Å"},
        ranges={"sigma": DISTANCE},
        equation="(sigma / r)^6",
        source="mlcg, Repulsion",
        energy=energy,
    ),
)
