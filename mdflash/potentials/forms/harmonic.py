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

import math
from typing import TYPE_CHECKING

from mdflash.compiled.jit import njit
from mdflash.compiled.optional_triton import tl, triton_jit
from mdflash.core.ranges import ANGLE, COSINE, NOT_NEGATIVE, TORSION, Range
from mdflash.core.types import FloatArray
from mdflash.potentials.forms.form import Form

if TYPE_CHECKING:
    from torch import Tensor


def energy(q: Tensor, k: Tensor, x0: Tensor) -> Tensor:
    """u(q), elementwise."""
    return k * (q - x0) ** 2


@njit(cache=True, error_model="numpy")
def value_slope(q: float, p: FloatArray) -> tuple[float, float]:
    """u and du/dq; p = (k, x0)."""
    d = q - p[1]
    return p[0] * d * d, 2.0 * p[0] * d


@njit(cache=True, error_model="numpy")
def value_pull(r2: float, p: FloatArray) -> tuple[float, float]:
    """u and (du/dr) / r from r^2; p = (k, x0)."""
    r = math.sqrt(r2)
    u, du = value_slope(r, p)
    return u, du / r if r > 0.0 else 0.0  # two beads in one place pull each other nowhere


@triton_jit
def gpu_value_slope(q: tl.tensor, p: tl.tuple) -> tuple[tl.tensor, tl.tensor]:
    """u and du/dq."""
    d = q - p[1]
    return p[0] * d * d, 2.0 * p[0] * d


_SOURCE = "CHARMM's convention, without the factor 1/2; mlcg"

FORMS = (
    Form(
        name="harmonic_bond",
        on="distance",
        scalars={"k": "kcal/mol/Å^2", "x0": "Å"},
        ranges={"k": NOT_NEGATIVE, "x0": Range(0.0, 1e5)},  # 0: a Gaussian chain
        equation="k (r - x0)^2",
        source=_SOURCE,
        energy=energy,
        safe=(0.0,),
    ),
    Form(
        name="harmonic_angle_cosine",
        on="angle_cosine",
        scalars={"k": "kcal/mol", "x0": "1"},
        ranges={"k": NOT_NEGATIVE, "x0": COSINE},
        equation="k (cos(theta) - x0)^2",
        source=_SOURCE,
        energy=energy,
        safe=(-1.0, 1.0),
    ),
    Form(
        name="harmonic_angle",
        on="angle",
        scalars={"k": "kcal/mol/rad^2", "x0": "rad"},
        ranges={"k": NOT_NEGATIVE, "x0": ANGLE},
        equation="k (theta - x0)^2",
        source=_SOURCE,
        energy=energy,
    ),
    Form(
        name="harmonic_improper",
        on="dihedral",
        scalars={"k": "kcal/mol/rad^2", "x0": "rad"},
        ranges={"k": NOT_NEGATIVE, "x0": TORSION},
        equation="k (phi - x0)^2",
        source=_SOURCE,
        energy=energy,
    ),
)
