"""Excluded volume of all near pairs: u(r) = epsilon (sigma/r)^12, force-shifted to end at the cutoff.

    u_c(r) = u(r) - u(rc) - (r - rc) u'(rc)   for r < rc, else 0

so that energy and force are both continuous at rc. The non-native repulsion of Clementi, Nymeyer & Onuchic,
J. Mol. Biol. 298, 937 (2000), eq. 1, evaluated through the neighbor list.

| symbol  | parameter | unit     |
|---------|-----------|----------|
| r       |           | Å        |
| epsilon | epsilon   | kcal/mol |
| sigma   | sigma     | Å        |
| rc      | the term's cutoff | Å |
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mdflash.compiled.jit import njit
from mdflash.compiled.lanes import Real, sqrt
from mdflash.compiled.optional_triton import tl, triton_jit
from mdflash.core.ranges import DISTANCE, NOT_NEGATIVE
from mdflash.potentials.forms.form import Form

if TYPE_CHECKING:
    from torch import Tensor


def energy(q: Tensor, epsilon: Tensor, sigma: Tensor, cutoff: float) -> Tensor:
    """u_c(r) for r < cutoff, elementwise."""
    at_cutoff = epsilon * (sigma / cutoff) ** 12
    return epsilon * (sigma / q) ** 12 - at_cutoff + (q - cutoff) * 12 * at_cutoff / cutoff


@njit(cache=True, error_model="numpy")
def value_pull(r2: Real, p: Sequence[Real], cutoff: float) -> tuple[Real, Real]:
    """u_c and (du_c/dr) / r from r^2, for r < cutoff; p = (epsilon, sigma)."""
    r = sqrt(r2)
    x = p[1] / r
    x2 = x * x
    u = p[0] * x2 * x2 * x2 * x2 * x2 * x2
    y = p[1] / cutoff
    y2 = y * y
    slope = 12.0 * p[0] * y2 * y2 * y2 * y2 * y2 * y2 / cutoff
    return u - slope * cutoff / 12.0 + (r - cutoff) * slope, (slope - 12.0 * u / r) / r


@triton_jit
def gpu_value_slope(r: tl.tensor, p: tl.tuple, cutoff: tl.tensor) -> tuple[tl.tensor, tl.tensor]:
    """u_c and du_c/dr for r < cutoff."""
    x = p[1] / r
    x2 = x * x
    u = p[0] * x2 * x2 * x2 * x2 * x2 * x2
    y = p[1] / cutoff
    y2 = y * y
    slope = 12.0 * p[0] * y2 * y2 * y2 * y2 * y2 * y2 / cutoff
    return u - slope * cutoff / 12.0 + (r - cutoff) * slope, slope - 12.0 * u / r


FORMS = (
    Form(
        name="excluded_volume",
        on="pair",
        scalars={"epsilon": "kcal/mol", "sigma": "Å"},
        ranges={"epsilon": NOT_NEGATIVE, "sigma": DISTANCE},
        strength="epsilon",
        equation="epsilon (sigma/r)^12, force-shifted at the cutoff",
        source="Clementi, Nymeyer & Onuchic, J. Mol. Biol. 298, 937 (2000), eq. 1",
        energy=energy,
    ),
)
