"""Restricted bending: u(theta) = a c^4 + b c^3 + c c^2 + d c + k / sin^2(theta) + v0, with c = cos(theta).

mlcg's RestrictedQuartic, after Bulacu et al., J. Chem. Theory Comput. 9, 3282 (2013): the last term keeps an
angle away from 0 and pi, where the torsions that share it lose their meaning.

| symbol     | parameter     | unit     |
|------------|---------------|----------|
| theta      |               | rad      |
| a, b, c, d | a, b, c, d    | kcal/mol |
| k          | k             | kcal/mol |
| v0         | v0            | kcal/mol |
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from mdflash.compiled.jit import njit
from mdflash.compiled.optional_triton import tl, triton_jit
from mdflash.core.ranges import NOT_NEGATIVE
from mdflash.core.types import FloatArray
from mdflash.potentials.forms.form import Form

if TYPE_CHECKING:
    from torch import Tensor


def energy(q: Tensor, a: Tensor, b: Tensor, c: Tensor, d: Tensor, k: Tensor, v0: Tensor) -> Tensor:
    """u(theta), elementwise."""
    import torch

    x = torch.cos(q)
    return a * x**4 + b * x**3 + c * x**2 + d * x + k / torch.sin(q) ** 2 + v0


@njit(cache=True, error_model="numpy")
def value_slope(q: float, p: FloatArray) -> tuple[float, float]:
    """u and du/dtheta; p = (a, b, c, d, k, v0)."""
    x = math.cos(q)
    s = math.sin(q)
    u = (((p[0] * x + p[1]) * x + p[2]) * x + p[3]) * x + p[4] / (s * s) + p[5]
    dudx = ((4.0 * p[0] * x + 3.0 * p[1]) * x + 2.0 * p[2]) * x + p[3]
    return u, -s * dudx - 2.0 * p[4] * x / (s * s * s)


@triton_jit
def gpu_value_slope(x: tl.tensor, s: tl.tensor, p: tl.tuple) -> tuple[tl.tensor, tl.tensor]:
    """u and du/dtheta from the cosine x and the sine s of theta."""
    u = (((p[0] * x + p[1]) * x + p[2]) * x + p[3]) * x + p[4] / (s * s) + p[5]
    dudx = ((4.0 * p[0] * x + 3.0 * p[1]) * x + 2.0 * p[2]) * x + p[3]
    return u, -s * dudx - 2.0 * p[4] * x / (s * s * s)


FORMS = (
    Form(
        name="restricted_quartic_angle",
        on="angle",
        scalars=dict.fromkeys(("a", "b", "c", "d", "k", "v0"), "kcal/mol"),
        ranges={"k": NOT_NEGATIVE},
        constant="v0",
        equation="a cos^4 + b cos^3 + c cos^2 + d cos + k / sin^2 + v0 of theta",
        source="mlcg, RestrictedQuartic; Bulacu et al., J. Chem. Theory Comput. 9, 3282 (2013)",
        energy=energy,
    ),
)
