"""Normal numbers r cos(2 pi u) and r sin(2 pi u), r = sqrt(-2 log t), of two uniform ones t and u.

Box & Muller, Ann. Math. Stat. 29, 610 (1958). Every operation is written out, of those that all processors round alike:
+ - * / sqrt, and multiply-adds of one rounding. So the bits depend on the numbers alone, not on the C library or on how
many numbers a register holds.

Uniform numbers are odd multiples of 2^-33 here. Angles are in turns, so to bring them into the first eighth of a turn
is exact, and results are good to 3 units in the last place even where sine or cosine nearly vanishes. Coefficients are
those of the least relative error at its worst (Remez), rounded to float64.
"""

from __future__ import annotations

from typing import Final

from mdflash.compiled.jit import njit
from mdflash.compiled.lanes import Real, fused, magnitude, split, sqrt, where, with_sign

_LN2_HIGH: Final = 0.6931471803691238
_LN2_LOW: Final = 1.9082149292705877e-10
"""Their sum is log 2; whole multiples of the first are exact."""
_ATANH: Final = (0.14795472977700655, 0.15314099070288953, 0.18183562395272276, 0.22222198610991123, 0.2857142874201315,
                 0.39999999999416386, 0.6666666666666734)  # fmt: skip
"""(2 atanh(s) / s - 2) / s^2 as a polynomial of s^2, highest power first; |s| < 0.172; to 2^-59 of atanh."""
_TWO_PI: Final = 6.283185307179586
_TWO_PI_LOW: Final = 2.4492935982947064e-16
_SINE: Final = (3.7812242489375985, -15.093822763655243, 42.058685394130045, -76.70585970790633, 81.60524927596524,
                -41.34170224039967)  # fmt: skip
"""(sin(2 pi a) / a - 2 pi) / a^2 as a polynomial of a^2, for a up to 1/8; to 2^-57 of the sine."""
_COSINE: Final = (-1.6968347108832378, 7.903091588877228, -26.426250927265883, 60.24464132938529, -85.45681720652829,
                  64.93939402266798, -19.739208802178716)  # fmt: skip
"""(cos(2 pi a) - 1) / a^2 as a polynomial of a^2, for a up to 1/8; to 2^-64 of the cosine."""


@njit(cache=True, error_model="numpy")
def _radius(t: Real) -> Real:
    """sqrt(-2 log t). The logarithm is that of fdlibm: log(1 + f) = f - f^2/2 + s (f^2/2 + R), s = f / (2 + f)."""
    m, k = split(t)
    f = m - 1.0
    s = f / (f + 2.0)
    z = s * s
    p = fused(z, _ATANH[0], _ATANH[1])
    for c in _ATANH[2:]:
        p = fused(p, z, c)
    half = (f * 0.5) * f
    rest = fused(s, fused(p, z, half), k * _LN2_LOW)
    return sqrt(fused(k, _LN2_HIGH, f - (half - rest)) * -2.0)


@njit(cache=True, error_model="numpy")
def _legs(r: Real, a: Real) -> tuple[Real, Real]:
    """r sin(2 pi a), r cos(2 pi a) for a from 0 to 1/4."""
    beyond = a > 0.125
    b = where(beyond, 0.25 - a, a)
    z = b * b
    p, q = fused(z, _SINE[0], _SINE[1]), fused(z, _COSINE[0], _COSINE[1])
    for c in _SINE[2:]:
        p = fused(p, z, c)
    for c in _COSINE[2:]:
        q = fused(q, z, c)
    rb = r * b
    sine, cosine = fused(rb, _TWO_PI, rb * fused(z, p, _TWO_PI_LOW)), fused(r * z, q, r)
    return where(beyond, cosine, sine), where(beyond, sine, cosine)


@njit(cache=True, error_model="numpy")
def three_normals(u0: Real, u1: Real, u2: Real, u3: Real) -> tuple[Real, Real, Real]:
    """Cosine and sine of the first two numbers, and the cosine of the others."""
    r = _radius(u0)
    h = 0.5 - u1
    w = magnitude(h) - 0.25  # cos(2 pi u) = sin(2 pi w), |sin(2 pi u)| = cos(2 pi w), with the sign of h
    x, y = _legs(r, magnitude(w))
    v = magnitude(0.5 - u3) - 0.25
    z, _ = _legs(_radius(u2), magnitude(v))
    return with_sign(x, w), with_sign(y, h), with_sign(z, v)
