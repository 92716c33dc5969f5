"""Screened electrostatics of Debye & Hückel: u(r) = A exp(-kappa r) / r, as it is or shifted to end at the cutoff.

    u(r) = A [exp(-kappa r) / r - c]   for r < rc, else 0

with c = exp(-kappa rc) / rc where it is shifted (CALVADOS), else 0 (HPS, Mpipi). Debye & Hückel, Phys. Z. 24, 185
(1923). Of two charges q_i and q_j in units of e, A = q_i q_j e^2 N_A / (4 pi epsilon_0 epsilon_r), and 1/kappa is the
Debye length.

| symbol | parameter | unit       |
|--------|-----------|------------|
| r      |           | Å          |
| A      | prefactor | kcal/mol*Å |
| kappa  | kappa     | 1/Å        |
| rc     | the term's cutoff | Å  |

The compiled twins read A, kappa and A c.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from mdflash.compiled.jit import njit
from mdflash.compiled.lanes import Real, exp, sqrt
from mdflash.compiled.optional_triton import tl, triton_jit
from mdflash.core.ranges import NOT_NEGATIVE
from mdflash.core.types import FloatArray
from mdflash.potentials.forms.form import Form

if TYPE_CHECKING:
    from torch import Tensor


def energy(q: Tensor, prefactor: Tensor, kappa: Tensor, cutoff: float) -> Tensor:
    """u(r) with c = 0, elementwise."""
    return prefactor * (-kappa * q).exp() / q


def energy_shifted(q: Tensor, prefactor: Tensor, kappa: Tensor, cutoff: float) -> Tensor:
    """u(r) with c = exp(-kappa rc) / rc, elementwise."""
    return prefactor * ((-kappa * q).exp() / q - (-kappa * cutoff).exp() / cutoff)


def columns(parameters: Mapping[str, FloatArray], cutoff: float) -> tuple[FloatArray, ...]:
    """What the compiled twins read, with c = 0."""
    return parameters["prefactor"], parameters["kappa"], np.zeros_like(parameters["kappa"])


def columns_shifted(parameters: Mapping[str, FloatArray], cutoff: float) -> tuple[FloatArray, ...]:
    """What the compiled twins read, shifted."""
    a, kappa = parameters["prefactor"], parameters["kappa"]
    return a, kappa, a * np.exp(-kappa * cutoff) / cutoff


@njit(cache=True, error_model="numpy")
def value_pull(r2: Real, p: Sequence[Real], cutoff: float) -> tuple[Real, Real]:
    """u and (du/dr) / r from r^2, for r < cutoff; p = `columns`."""
    r = sqrt(r2)
    w = 1.0 / r
    u = p[0] * exp(-1.0 * p[1] * r) * w
    return u - p[2], u * w * (-1.0 * (p[1] + w))


@triton_jit
def gpu_value_slope(r: tl.tensor, p: tl.tuple, cutoff: tl.tensor) -> tuple[tl.tensor, tl.tensor]:
    """u and du/dr for r < cutoff; p = `columns`."""
    w = 1.0 / r
    u = p[0] * tl.exp(-p[1] * r) * w
    return u - p[2], -u * (p[1] + w)


_SOURCE = "Debye & Hückel, Phys. Z. 24, 185 (1923)"
_PARAMETERS = {"prefactor": "kcal/mol*Å", "kappa": "1/Å"}
_RANGES = {"kappa": NOT_NEGATIVE}

FORMS = (
    Form(
        name="yukawa",
        on="pair",
        scalars=_PARAMETERS,
        ranges=_RANGES,
        strength="prefactor",
        equation="prefactor exp(-kappa r)/r",
        source=_SOURCE,
        energy=energy,
        columns=columns,
    ),
    Form(
        name="yukawa_shifted",
        on="pair",
        scalars=_PARAMETERS,
        ranges=_RANGES,
        strength="prefactor",
        equation="prefactor [exp(-kappa r)/r - exp(-kappa cutoff)/cutoff]",
        source=_SOURCE,
        energy=energy_shifted,
        columns=columns_shifted,
    ),
)
