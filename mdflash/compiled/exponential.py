"""e^x and e^x - 1 of vectors of float32, both to a few units in the last place."""

from __future__ import annotations

import math
from typing import Final

from mdflash.compiled.jit import njit
from mdflash.compiled.simd import Vector, fma, rint, splat, times_power

LN2_HIGH: Final = 0.693145751953125
LN2_LOW: Final = 1.42860682030941723212e-6
"""Their sum is log 2; whole multiples of the first are exact in float32 too."""


@njit(cache=True, error_model="numpy")
def exp_and_expm1(x: Vector) -> tuple[Vector, Vector]:
    """e^x and e^x - 1 in float32, for |x| <= 80; a NaN stays one. The polynomial is that of Cephes (expf.c)."""
    k = rint(x * splat(x, 1.0 / math.log(2.0)))
    r = fma(k, splat(x, -LN2_LOW), fma(k, splat(x, -LN2_HIGH), x))
    p = splat(x, 1.9875691500e-4)
    p = fma(p, r, splat(x, 1.3981999507e-3))
    p = fma(p, r, splat(x, 8.3334519073e-3))
    p = fma(p, r, splat(x, 4.1665795894e-2))
    p = fma(p, r, splat(x, 1.6666665459e-1))
    p = fma(p, r, splat(x, 5.0000001201e-1))
    p = fma(p * r, r, r)  # e^r - 1
    one = splat(x, 1.0)
    power = times_power(one, k)
    return fma(power, p, power), fma(power, p, power - one)
