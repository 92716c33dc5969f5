"""Native contact as a Gaussian well.

    u(r) = epsilon { [1 + (sigma/r)^12] [1 - g(r)] - 1 },   g(r) = exp(-(r - r0)^2 / 2 w^2)

Lammert, Schug & Onuchic, Proteins 77, 881 (2009), eq. 4: the minimum is -epsilon at r = r0 whatever the size of the
beads, which repel as epsilon (sigma/r)^12 outside of the well.

| symbol  | parameter | unit     |
|---------|-----------|----------|
| r       |           | Å        |
| epsilon | epsilon   | kcal/mol |
| r0      | r0        | Å, distance in the native structure |
| w       | width     | Å        |
| sigma   | sigma     | Å        |
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mdflash.compiled.jit import njit
from mdflash.compiled.lanes import exp, sqrt
from mdflash.compiled.optional_triton import tl, triton_jit
from mdflash.core.ranges import DISTANCE, NOT_NEGATIVE
from mdflash.core.types import FloatArray
from mdflash.potentials.forms.form import Form

if TYPE_CHECKING:
    from torch import Tensor


def energy(q: Tensor, epsilon: Tensor, r0: Tensor, width: Tensor, sigma: Tensor) -> Tensor:
    """u(r), elementwise."""
    well = (-0.5 * ((q - r0) / width) ** 2).exp()
    return epsilon * ((1 + (sigma / q) ** 12) * (1 - well) - 1)


@njit(cache=True, error_model="numpy")
def value_pull(r2: float, p: FloatArray) -> tuple[float, float]:
    """u and (du/dr) / r from r^2; p = (epsilon, r0, width, sigma)."""
    r = sqrt(r2)
    away = (r - p[1]) / p[2]
    well = exp(-0.5 * away * away)
    s2 = p[3] * p[3] / r2
    repulsion = s2 * s2 * s2 * s2 * s2 * s2
    slope = (1.0 + repulsion) * well * away / p[2] - 12.0 * repulsion / r * (1.0 - well)
    return p[0] * ((1.0 + repulsion) * (1.0 - well) - 1.0), p[0] * slope / r


@triton_jit
def gpu_value_slope(r: tl.tensor, p: tl.tuple) -> tuple[tl.tensor, tl.tensor]:
    """u and du/dr."""
    away = (r - p[1]) / p[2]
    well = tl.exp(-0.5 * away * away)
    s2 = (p[3] / r) * (p[3] / r)
    repulsion = s2 * s2 * s2 * s2 * s2 * s2
    slope = (1.0 + repulsion) * well * away / p[2] - 12.0 * repulsion / r * (1.0 - well)
    return p[0] * ((1.0 + repulsion) * (1.0 - well) - 1.0), p[0] * slope


FORMS = (
    Form(
        name="contact_gaussian",
        on="distance",
        scalars={"epsilon": "kcal/mol", "r0": "Å", "width": "Å", "sigma": "Å"},
        ranges={"epsilon": NOT_NEGATIVE, "r0": DISTANCE, "width": DISTANCE, "sigma": DISTANCE},
        equation="epsilon {[1 + (sigma/r)^12] [1 - exp(-(r - r0)^2 / (2 width^2))] - 1}",
        source="Lammert, Schug & Onuchic, Proteins 77, 881 (2009), eq. 4",
        energy=energy,
    ),
)
