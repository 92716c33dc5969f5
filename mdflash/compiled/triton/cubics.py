"""Tables of cubics in Triton."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def cubic_at(
    d: tl.tensor, table: tl.tensor, START: tl.constexpr, STOP: tl.constexpr, INTERVALS: tl.constexpr
) -> tuple[tl.tensor, tl.tensor]:
    """Value and slope at d of the cubics [INTERVALS, 4] from START to STOP; d is taken into that range."""
    u = (tl.minimum(tl.maximum(d, START), STOP) - START) * (INTERVALS / (STOP - START))
    k = tl.minimum(u.to(tl.int32), INTERVALS - 1)
    t = u - k.to(u.dtype)
    v = tl.load(table + 4 * k)
    s = tl.load(table + 4 * k + 1)
    c = tl.load(table + 4 * k + 2)
    e = tl.load(table + 4 * k + 3)
    return v + t * (s + t * (c + t * e)), (s + t * (2.0 * c + t * 3.0 * e)) * (INTERVALS / (STOP - START))
