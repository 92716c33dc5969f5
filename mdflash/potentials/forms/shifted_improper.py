"""Harmonic improper around trans: u(phi) = k (s(phi) - phi0)^2 with s(phi) = phi + pi for phi < 0, phi - pi otherwise.

mlcg's ShiftedPeriodicHarmonicImpropers: the jump of the torsion at +-pi is moved to 0, so that an improper near
180 degrees sees no discontinuity.

| symbol | parameter | unit            |
|--------|-----------|-----------------|
| phi    |           | rad             |
| k      | k         | kcal/mol/rad^2  |
| phi0   | x0        | rad, shifted    |
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from mdflash.compiled.jit import njit
from mdflash.compiled.optional_triton import constexpr, tl, triton_jit
from mdflash.core.ranges import NOT_NEGATIVE, TORSION
from mdflash.core.types import FloatArray
from mdflash.potentials.forms.form import Form

if TYPE_CHECKING:
    from torch import Tensor

_PI = constexpr(math.pi)


def energy(q: Tensor, k: Tensor, x0: Tensor) -> Tensor:
    """u(phi), elementwise."""
    import torch

    return k * (torch.where(q < 0, q + math.pi, q - math.pi) - x0) ** 2


@njit(cache=True, error_model="numpy")
def value_slope(q: float, p: FloatArray) -> tuple[float, float]:
    """u and du/dphi; p = (k, x0)."""
    d = (q + math.pi if q < 0.0 else q - math.pi) - p[1]
    return p[0] * d * d, 2.0 * p[0] * d


@triton_jit
def gpu_value_slope(q: tl.tensor, p: tl.tuple) -> tuple[tl.tensor, tl.tensor]:
    """u and du/dphi."""
    d = tl.where(q < 0, q + _PI, q - _PI) - p[1]
    return p[0] * d * d, 2.0 * p[0] * d


FORMS = (
    Form(
        name="shifted_harmonic_improper",
        on="dihedral",
        scalars={"k": "kcal/mol/rad^2", "x0": "rad"},
        ranges={"k": NOT_NEGATIVE, "x0": TORSION},
        equation="k (phi -+ pi - x0)^2",
        source="mlcg, ShiftedPeriodicHarmonicImpropers",
        energy=energy,
        safe=(math.pi,),
    ),
)
