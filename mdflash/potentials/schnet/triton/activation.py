"""Activations and their slopes inside Triton kernels.

`activate(x, code)` returns (y, dy/dx). tanh near 0 is the rational function of Cephes (tanh.c), since
1 - 2/(exp(2x) + 1) loses there what a gradient needs.
"""

# mypy: allow-untyped-defs, allow-untyped-calls, allow-untyped-decorators

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _sigmoid(x):
    e = tl.exp(-tl.abs(x))
    return tl.where(x >= 0, 1.0, e) / (1.0 + e)


@triton.jit
def _tanh(x):
    z = x * x
    p = (-9.64399179425052238628e-1 * z - 9.92877231001918586564e1) * z - 1.61468768441708447952e3
    q = ((z + 1.12811678491632931402e2) * z + 2.23548839060100448583e3) * z + 4.84406305325125486048e3
    small = tl.abs(x) < 0.625
    near = x + x * tl.where(small, z, 0.0) * (tl.where(small, p, 0.0) / tl.where(small, q, 1.0))
    far = 1.0 - 2.0 / (tl.exp(2.0 * tl.abs(x)) + 1.0)
    return tl.where(small, near, tl.where(x < 0, -far, far))


@triton.jit
def activate(x, CODE: tl.constexpr):
    """y and dy/dx of the activation with that code, elementwise."""
    if CODE == 0:
        y = _tanh(x)
        slope = 1.0 - y * y
    elif CODE == 1:
        s = _sigmoid(x)
        y = x * s
        slope = s + y * (1.0 - s)
    elif CODE == 2:
        y = tl.where(x > 0, x, 0.0)
        slope = tl.where(x > 0, 1.0, x * 0.0)
    elif CODE == 3:
        e = tl.exp(tl.where(x > 0, 0.0, x))
        y = tl.where(x > 0, x, e - 1.0)
        slope = e
    elif CODE == 4:
        normal = 0.5 * (1.0 + tl.erf(x * 0.7071067811865476))
        y = x * normal
        slope = normal + x * 0.3989422804014327 * tl.exp(-0.5 * x * x)
    elif CODE == 5:
        y = _sigmoid(x)
        slope = y * (1.0 - y)
    else:
        y = tl.where(x > 0, x, 0.0) + tl.log(1.0 + tl.exp(-tl.abs(x)))
        slope = _sigmoid(x)
        if CODE == 7:
            y -= 0.6931471805599453
    return y, slope
