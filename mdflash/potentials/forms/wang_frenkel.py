"""Wang-Frenkel potential with nu = 1: a well of any width that ends at rc = 3 sigma with its slope.

    u(r) = epsilon a [(sigma/r)^(2 mu) - 1] [(rc/r)^(2 mu) - 1]^2   for r < rc, else 0
    a = 2 (rc/sigma)^(2 mu) {3 / [2 (rc/sigma)^(2 mu) - 2]}^3

Wang, Ramirez-Hinestrosa, Dobnikar & Frenkel, Phys. Chem. Chem. Phys. 22, 10624 (2020), eqs. 1 and 2, as in Mpipi
(Joseph et al., Nat. Comput. Sci. 1, 732, 2021). Its minimum is -epsilon; the greater mu, the narrower is the well.

| symbol  | parameter | unit     |
|---------|-----------|----------|
| r       |           | Å        |
| epsilon | epsilon   | kcal/mol |
| sigma   | sigma     | Å        |
| mu      | mu        | 1, a whole number from 1 to 15 |

The compiled twins read sigma^2, epsilon a, mu and 9^mu. A power of at most 15 is made of four squares.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from mdflash.compiled.jit import njit
from mdflash.compiled.lanes import Real, where
from mdflash.compiled.optional_triton import tl, triton_jit
from mdflash.core.ranges import DISTANCE, NOT_NEGATIVE
from mdflash.core.types import FloatArray
from mdflash.potentials.forms.form import Form

if TYPE_CHECKING:
    from torch import Tensor


def energy(q: Tensor, epsilon: Tensor, sigma: Tensor, mu: Tensor, cutoff: float) -> Tensor:
    """u(r), elementwise."""
    end = 9.0**mu
    a = 2 * end * (3 / (2 * (end - 1))) ** 3
    u = epsilon * a * ((sigma / q) ** (2 * mu) - 1) * ((3 * sigma / q) ** (2 * mu) - 1) ** 2
    return u.where(q < 3 * sigma, 0.0)


def columns(parameters: Mapping[str, FloatArray], cutoff: float) -> tuple[FloatArray, ...]:
    """What the compiled twins read."""
    end = 9.0 ** parameters["mu"]
    a = 2.0 * end * (3.0 / (2.0 * (end - 1.0))) ** 3
    return parameters["sigma"] ** 2, parameters["epsilon"] * a, parameters["mu"], end


@njit(cache=True, error_model="numpy")
def value_pull(r2: Real, p: Sequence[Real], cutoff: float) -> tuple[Real, Real]:
    """u and (du/dr) / r from r^2; p = `columns`."""
    w = 1.0 / r2
    x = p[0] * w
    x2 = x * x
    x4 = x2 * x2
    left = p[2]
    y = where(left >= 8.0, x4 * x4, 1.0)
    left = where(left >= 8.0, left - 8.0, left)
    y = where(left >= 4.0, y * x4, y)
    left = where(left >= 4.0, left - 4.0, left)
    y = where(left >= 2.0, y * x2, y)
    left = where(left >= 2.0, left - 2.0, left)
    y = where(left >= 1.0, y * x, y)
    near, far = y - 1.0, p[3] * y - 1.0
    inside = 9.0 * x > 1.0
    u = where(inside, p[1] * near * far * far, 0.0)
    return u, where(inside, -2.0 * p[1] * p[2] * w * far * y * (far + 2.0 * p[3] * near), 0.0)


@triton_jit
def gpu_value_slope(r: tl.tensor, p: tl.tuple, cutoff: tl.tensor) -> tuple[tl.tensor, tl.tensor]:
    """u and du/dr; p = `columns`."""
    w = 1.0 / r
    x = p[0] * w * w
    x2 = x * x
    x4 = x2 * x2
    left = p[2]
    y = tl.where(left >= 8.0, x4 * x4, 1.0)
    left = tl.where(left >= 8.0, left - 8.0, left)
    y = tl.where(left >= 4.0, y * x4, y)
    left = tl.where(left >= 4.0, left - 4.0, left)
    y = tl.where(left >= 2.0, y * x2, y)
    left = tl.where(left >= 2.0, left - 2.0, left)
    y = tl.where(left >= 1.0, y * x, y)
    near = y - 1.0
    far = p[3] * y - 1.0
    inside = 9.0 * x > 1.0
    u = tl.where(inside, p[1] * near * far * far, 0.0)
    return u, tl.where(inside, -2.0 * p[1] * p[2] * w * far * y * (far + 2.0 * p[3] * near), 0.0)


FORMS = (
    Form(
        name="wang_frenkel",
        on="pair",
        scalars={"epsilon": "kcal/mol", "sigma": "Å", "mu": "1"},
        whole={"mu": range(1, 16)},
        ranges={"epsilon": NOT_NEGATIVE, "sigma": DISTANCE},
        strength="epsilon",
        equation="epsilon a [(sigma/r)^(2 mu) - 1] [(3 sigma/r)^(2 mu) - 1]^2 for r < 3 sigma; minimum -epsilon",
        source="Wang et al., Phys. Chem. Chem. Phys. 22, 10624 (2020), eqs. 1 and 2, nu = 1, rc = 3 sigma",
        energy=energy,
        columns=columns,
        ends=lambda parameters: 3.0 * parameters["sigma"],
    ),
)
