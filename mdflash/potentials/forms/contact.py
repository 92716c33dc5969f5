"""Native contact of a structure-based model: u(r) = epsilon [ 5 (r0/r)^12 - 6 (r0/r)^10 ].

Clementi, Nymeyer & Onuchic, J. Mol. Biol. 298, 937 (2000), eq. 1. The minimum is -epsilon at r = r0.

| symbol  | parameter | unit     |
|---------|-----------|----------|
| r       |           | Å        |
| epsilon | epsilon   | kcal/mol |
| r0      | r0        | Å, distance in the native structure |
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mdflash.compiled.jit import njit
from mdflash.compiled.optional_triton import tl, triton_jit
from mdflash.core.ranges import DISTANCE, NOT_NEGATIVE
from mdflash.core.types import FloatArray
from mdflash.potentials.forms.form import Form

if TYPE_CHECKING:
    from torch import Tensor


def energy(q: Tensor, epsilon: Tensor, r0: Tensor) -> Tensor:
    """u(r), elementwise."""
    x2 = (r0 / q) ** 2
    return epsilon * (5 * x2**6 - 6 * x2**5)


@njit(cache=True, error_model="numpy")
def value_pull(r2: float, p: FloatArray) -> tuple[float, float]:
    """u and (du/dr) / r from r^2; p = (epsilon, r0)."""
    inverse = 1.0 / r2
    x2 = p[1] * p[1] * inverse
    x10 = x2 * x2 * x2 * x2 * x2
    return p[0] * x10 * (5.0 * x2 - 6.0), 60.0 * p[0] * x10 * (1.0 - x2) * inverse


@triton_jit
def gpu_value_slope(r: tl.tensor, p: tl.tuple) -> tuple[tl.tensor, tl.tensor]:
    """u and du/dr."""
    x = p[1] / r
    x2 = x * x
    x10 = x2 * x2 * x2 * x2 * x2
    return p[0] * x10 * (5.0 * x2 - 6.0), 60.0 * p[0] * x10 * (1.0 - x2) / r


FORMS = (
    Form(
        name="contact_12_10",
        on="distance",
        scalars={"epsilon": "kcal/mol", "r0": "Å"},
        ranges={"epsilon": NOT_NEGATIVE, "r0": DISTANCE},
        equation="epsilon [5 (r0/r)^12 - 6 (r0/r)^10]",
        source="Clementi, Nymeyer & Onuchic, J. Mol. Biol. 298, 937 (2000), eq. 1",
        energy=energy,
    ),
)
