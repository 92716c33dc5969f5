"""Ashbaugh-Hatch potential: a Lennard-Jones potential whose attraction alone is scaled by lambda, shifted to end at rc.

    u(r) = LJ(r) + epsilon (1 - lambda) - lambda LJ(rc)   for r <= 2^(1/6) sigma
           lambda [LJ(r) - LJ(rc)]                        for r < rc, else 0
    LJ(r) = 4 epsilon [(sigma/r)^12 - (sigma/r)^6]

Ashbaugh & Hatch, J. Am. Chem. Soc. 130, 9536 (2008), eqs. 1 and 2, in which HPS (Dignon et al., PLoS Comput. Biol. 14,
e1005941, 2018) and CALVADOS (Tesei et al., PNAS 118, e2111696118, 2021) state how residues stick to each other. The
energy is continuous at rc, the force is not. lambda may be negative, and greater than 1.

| symbol  | parameter  | unit     |
|---------|------------|----------|
| r       |            | Å        |
| epsilon | epsilon    | kcal/mol |
| sigma   | sigma      | Å        |
| lambda  | lambda     | 1        |
| rc      | the term's cutoff, or `own_cutoff`: that of each pair (HPS: 4 sigma) | Å |

The compiled twins read sigma^6, 4 epsilon, 4 epsilon lambda, what is added to the two branches, and rc^2. They tell the
branches by (sigma/r)^6 = 1/2, and need no root.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

import numpy as np

from mdflash.compiled.jit import njit
from mdflash.compiled.lanes import Real, fma, where
from mdflash.compiled.optional_triton import tl, triton_jit
from mdflash.core.ranges import DISTANCE, NOT_NEGATIVE
from mdflash.core.types import FloatArray
from mdflash.potentials.forms.form import Form

if TYPE_CHECKING:
    from torch import Tensor


_MINIMUM: Final[float] = 2.0 ** (1.0 / 6.0)


def energy(q: Tensor, cutoff: float, **p: Tensor) -> Tensor:
    """u(r), elementwise; p: epsilon, sigma, lambda, and own_cutoff where pairs have one."""
    end = p.get("own_cutoff", cutoff)

    def lennard_jones(r: Tensor | float) -> Tensor:
        x = (p["sigma"] / r) ** 6
        return 4 * p["epsilon"] * (x**2 - x)

    near = lennard_jones(q) + p["epsilon"] * (1 - p["lambda"])
    u = near.where(q <= p["sigma"] * _MINIMUM, p["lambda"] * lennard_jones(q))
    return (u - p["lambda"] * lennard_jones(end)).where(q < end, 0.0)


def columns(parameters: Mapping[str, FloatArray], cutoff: float) -> tuple[FloatArray, ...]:
    """What the compiled twins read."""
    epsilon, sigma, scale = (parameters[p] for p in ("epsilon", "sigma", "lambda"))
    end = parameters.get("own_cutoff", np.full_like(sigma, cutoff))
    x = (sigma / end) ** 6
    shift = scale * 4.0 * epsilon * (x * x - x)
    return sigma**6, 4.0 * epsilon, 4.0 * epsilon * scale, epsilon * (1.0 - scale) - shift, -shift, end**2


def minimum(parameters: Mapping[str, FloatArray]) -> FloatArray:
    """Where the two branches meet, Å."""
    return parameters["sigma"] * _MINIMUM


@njit(cache=True, error_model="numpy")
def value_pull(r2: Real, p: Sequence[Real], cutoff: float) -> tuple[Real, Real]:
    """u and (du/dr) / r from r^2; p = `columns`."""
    w = 1.0 / r2
    x = p[0] * w * w * w
    near = x >= 0.5
    scaled = where(near, p[1], p[2]) * x
    u = fma(scaled, x - 1.0, where(near, p[3], p[4]))
    inside = r2 < p[5]
    return where(inside, u, 0.0), where(inside, scaled * w * fma(-12.0, x, 6.0), 0.0)


@triton_jit
def gpu_value_slope(r: tl.tensor, p: tl.tuple, cutoff: tl.tensor) -> tuple[tl.tensor, tl.tensor]:
    """u and du/dr; p = `columns`."""
    w = 1.0 / r
    w2 = w * w
    x = p[0] * w2 * w2 * w2
    near = x >= 0.5
    scaled = tl.where(near, p[1], p[2]) * x
    u = scaled * (x - 1.0) + tl.where(near, p[3], p[4])
    inside = r * r < p[5]
    return tl.where(inside, u, 0.0), tl.where(inside, scaled * w * (6.0 - 12.0 * x), 0.0)


_SOURCE = "Ashbaugh & Hatch, J. Am. Chem. Soc. 130, 9536 (2008), eqs. 1 and 2"
_PARAMETERS = {"epsilon": "kcal/mol", "sigma": "Å", "lambda": "1"}
_RANGES = {"epsilon": NOT_NEGATIVE, "sigma": DISTANCE, "own_cutoff": DISTANCE}
_EQUATION = (
    "u0(r) - lambda LJ(rc); LJ(r) = 4 epsilon [(sigma/r)^12 - (sigma/r)^6]; "
    "u0(r) = LJ(r) + epsilon (1 - lambda) if r <= 2^(1/6) sigma else lambda LJ(r); rc = "
)

FORMS = (
    Form(
        name="ashbaugh_hatch",
        on="pair",
        scalars=_PARAMETERS,
        ranges=_RANGES,
        strength="epsilon",
        equation=f"{_EQUATION}cutoff",
        source=_SOURCE,
        energy=energy,
        columns=columns,
        rough=minimum,
    ),
    Form(
        name="ashbaugh_hatch_own_cutoff",
        on="pair",
        scalars=_PARAMETERS | {"own_cutoff": "Å"},
        ranges=_RANGES,
        strength="epsilon",
        equation=f"{_EQUATION}own_cutoff",
        source=f"{_SOURCE}; Dignon et al., PLoS Comput. Biol. 14, e1005941 (2018)",
        energy=energy,
        columns=columns,
        rough=minimum,
        ends=lambda parameters: parameters["own_cutoff"],
    ),
)
