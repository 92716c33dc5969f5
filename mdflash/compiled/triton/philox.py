"""Philox4x32-10 in Triton: the random numbers of `compiled.philox`, word for word."""

from __future__ import annotations

import triton
import triton.language as tl

_TWO_PI = tl.constexpr(6.283185307179586)
_TO_UNIT = tl.constexpr(2.0**-32)


@triton.jit
def philox4x32(
    c0: tl.tensor, c1: tl.tensor, c2: tl.tensor, c3: tl.tensor, k0: tl.tensor, k1: tl.tensor
) -> tuple[tl.tensor, tl.tensor, tl.tensor, tl.tensor]:
    """Ten rounds of Philox4x32; everything uint32. See `compiled/philox.py`."""
    for _ in tl.static_range(10):
        m0 = tl.full(c0.shape, 0xD2511F53, tl.uint32)
        m1 = tl.full(c0.shape, 0xCD9E8D57, tl.uint32)
        high0 = tl.umulhi(c0, m0)
        high1 = tl.umulhi(c2, m1)
        low0 = c0 * m0
        low1 = c2 * m1
        c0 = high1 ^ c1 ^ k0
        c1 = low1
        c2 = high0 ^ c3 ^ k1
        c3 = low0
        k0 = k0 + 0x9E3779B9
        k1 = k1 + 0xBB67AE85
    return c0, c1, c2, c3


@triton.jit
def _unit(word: tl.tensor) -> tl.tensor:
    """A uint32 -> float64 inside (0, 1)."""
    return (word.to(tl.float64) + 0.5) * _TO_UNIT  # type: ignore[no-any-return]


@triton.jit
def normal3(
    seed: tl.tensor, replica: tl.tensor, step: tl.tensor, bead: tl.tensor
) -> tuple[tl.tensor, tl.tensor, tl.tensor]:
    """Three standard normal numbers, float64, of the thermostat's stream; arguments int64 [N]."""
    zero = (bead * 0).to(tl.uint32)
    b0, b1, b2, b3 = philox4x32(
        (step & 0xFFFFFFFF).to(tl.uint32) + zero, (step >> 32).to(tl.uint32) + zero, bead.to(tl.uint32), zero,
        seed.to(tl.uint32) + zero, replica.to(tl.uint32) + zero,
    )  # fmt: skip
    radius = tl.sqrt(-2.0 * tl.log(_unit(b0)))
    angle = _unit(b1) * _TWO_PI
    third = tl.sqrt(-2.0 * tl.log(_unit(b2)))
    return radius * tl.cos(angle), radius * tl.sin(angle), third * tl.cos(_unit(b3) * _TWO_PI)
