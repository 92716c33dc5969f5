"""Polynomial term: u(q) = v0 + sum_n k_n q^n, n = 1..degree (mlcg's QuarticAngles: degree 4).

| symbol | parameter | unit                            |
|--------|-----------|---------------------------------|
| q      |           | 1 (cos theta) or rad            |
| v0     | v0        | kcal/mol                        |
| k_n    | ks        | kcal/mol per q^n, [degree]      |
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mdflash.compiled.jit import njit
from mdflash.compiled.optional_triton import tl, triton_jit
from mdflash.core.types import FloatArray
from mdflash.potentials.forms.form import Form

if TYPE_CHECKING:
    from torch import Tensor


def energy(q: Tensor, v0: Tensor, ks: Tensor) -> Tensor:
    """u(q); q [..., M], v0 [M], ks [M, degree]."""
    import torch

    n = torch.arange(1, ks.shape[-1] + 1, dtype=q.dtype, device=q.device)
    return v0 + (ks * q[..., None] ** n).sum(dim=-1)


@njit(cache=True, error_model="numpy")
def value_slope(q: float, p: FloatArray) -> tuple[float, float]:
    """u and du/dq by Horner's rule; p = (v0, k_1, k_2, ...), zero-padded."""
    u = 0.0
    du = 0.0
    for n in range(p.shape[0] - 1, 0, -1):
        u = u * q + p[n]
        du = du * q + n * p[n]
    return u * q + p[0], du


@triton_jit
def gpu_value_slope(q: tl.tensor, p: tl.tuple) -> tuple[tl.tensor, tl.tensor]:
    """u and du/dq by Horner's rule."""
    u = q * 0.0
    du = q * 0.0
    for back in tl.static_range(0, len(p) - 1):
        u = u * q + p[len(p) - 1 - back]
        du = du * q + (len(p) - 1 - back) * p[len(p) - 1 - back]
    return u * q + p[0], du


FORMS = (
    Form(
        name="polynomial_angle_cosine",
        on="angle_cosine",
        scalars={"v0": "kcal/mol"},
        series={"ks": "kcal/mol"},
        constant="v0",
        equation="v0 + sum_n ks_n cos(theta)^n",
        source="mlcg, QuarticAngles",
        energy=energy,
        safe=(-1.0, 1.0),
    ),
    Form(
        name="polynomial_angle",
        on="angle",
        scalars={"v0": "kcal/mol"},
        series={"ks": "kcal/mol/rad^n"},
        constant="v0",
        equation="v0 + sum_n ks_n theta^n",
        source="mlcg, QuarticRawAngles",
        energy=energy,
    ),
)
