"""The rotation that superposes a reference on beads, on the device; see `variables.superposition`.

Rotations in the planes (0, 1) and (2, 3) do not see each other, nor do the next two pairs: so the machine does two at
once.
"""

from __future__ import annotations

import triton
import triton.language as tl

from mdflash.potentials.variables.superposition import SWEEPS

_SWEEPS = tl.constexpr(SWEEPS)
_NOTHING = tl.constexpr(1e-150)  # Å²; its square is a number still


@triton.jit
def _turn(pp: tl.tensor, qq: tl.tensor, pq: tl.tensor) -> tuple[tl.tensor, tl.tensor, tl.tensor]:
    """Tangent, cosine and sine of the rotation that takes the entry pq of a symmetric matrix to 0."""
    done = tl.abs(pq) < _NOTHING
    theta = 0.5 * (qq - pp) / tl.where(done, 1.0, pq)
    size = tl.minimum(tl.abs(theta), 1.0 / _NOTHING)
    t = 1.0 / (size + tl.sqrt(size * size + 1.0))
    t = tl.where(done, 0.0, tl.where(theta < 0.0, -t, t))
    c = 1.0 / tl.sqrt(t * t + 1.0)
    return t, c, t * c


@triton.jit
def _both(p: tl.tensor, q: tl.tensor, c: tl.tensor, s: tl.tensor) -> tuple[tl.tensor, tl.tensor]:
    """Two columns, turned."""
    return c * p - s * q, s * p + c * q


@triton.jit
def _better(
    value: tl.tensor, w: tl.tensor, i: tl.tensor, j: tl.tensor, k: tl.tensor, best: tl.tuple
) -> tuple[tl.tensor, tl.tensor, tl.tensor, tl.tensor, tl.tensor]:
    """The vector of the larger value; the earlier one where they are the same."""
    more = value > best[0]
    return (
        tl.where(more, value, best[0]), tl.where(more, w, best[1]), tl.where(more, i, best[2]),
        tl.where(more, j, best[3]), tl.where(more, k, best[4]),
    )  # fmt: skip


@triton.jit
def superposition(
    s00: tl.tensor, s01: tl.tensor, s02: tl.tensor, s10: tl.tensor, s11: tl.tensor, s12: tl.tensor, s20: tl.tensor,
    s21: tl.tensor, s22: tl.tensor,
) -> tuple[
    tl.tensor, tl.tensor, tl.tensor, tl.tensor, tl.tensor, tl.tensor, tl.tensor, tl.tensor, tl.tensor
]:  # fmt: skip
    """The rotation that takes the reference to the beads, row by row, from s = sum of reference_a x_b."""
    a = s00 + s11 + s22
    b = s00 - s11 - s22
    c = s11 - s00 - s22
    d = s22 - s00 - s11
    ab = s12 - s21
    ac = s20 - s02
    ad = s01 - s10
    bc = s01 + s10
    bd = s20 + s02
    cd = s12 + s21
    one = 0.0 * a + 1.0
    nil = 0.0 * a
    # the eigenvectors, one after the other
    a0, a1, a2, a3 = one, nil, nil, nil
    b0, b1, b2, b3 = nil, one, nil, nil
    c0, c1, c2, c3 = nil, nil, one, nil
    d0, d1, d2, d3 = nil, nil, nil, one
    sweep = 0
    off = tl.abs(ab) + tl.abs(ac) + tl.abs(ad) + tl.abs(bc) + tl.abs(bd) + tl.abs(cd)
    while (off > 0.0) & (sweep < _SWEEPS):
        t, cosine, sine = _turn(a, b, ab)
        u, cosine2, sine2 = _turn(c, d, cd)
        a, b, c, d = a - t * ab, b + t * ab, c - u * cd, d + u * cd
        ab, cd = nil, nil
        ac, bc = _both(ac, bc, cosine, sine)
        ad, bd = _both(ad, bd, cosine, sine)
        ac, ad = _both(ac, ad, cosine2, sine2)
        bc, bd = _both(bc, bd, cosine2, sine2)
        a0, b0 = _both(a0, b0, cosine, sine)
        a1, b1 = _both(a1, b1, cosine, sine)
        a2, b2 = _both(a2, b2, cosine, sine)
        a3, b3 = _both(a3, b3, cosine, sine)
        c0, d0 = _both(c0, d0, cosine2, sine2)
        c1, d1 = _both(c1, d1, cosine2, sine2)
        c2, d2 = _both(c2, d2, cosine2, sine2)
        c3, d3 = _both(c3, d3, cosine2, sine2)

        t, cosine, sine = _turn(a, c, ac)
        u, cosine2, sine2 = _turn(b, d, bd)
        a, c, b, d = a - t * ac, c + t * ac, b - u * bd, d + u * bd
        ac, bd = nil, nil
        ab, bc = _both(ab, bc, cosine, sine)
        ad, cd = _both(ad, cd, cosine, sine)
        ab, ad = _both(ab, ad, cosine2, sine2)
        bc, cd = _both(bc, cd, cosine2, sine2)
        a0, c0 = _both(a0, c0, cosine, sine)
        a1, c1 = _both(a1, c1, cosine, sine)
        a2, c2 = _both(a2, c2, cosine, sine)
        a3, c3 = _both(a3, c3, cosine, sine)
        b0, d0 = _both(b0, d0, cosine2, sine2)
        b1, d1 = _both(b1, d1, cosine2, sine2)
        b2, d2 = _both(b2, d2, cosine2, sine2)
        b3, d3 = _both(b3, d3, cosine2, sine2)

        t, cosine, sine = _turn(a, d, ad)
        u, cosine2, sine2 = _turn(b, c, bc)
        a, d, b, c = a - t * ad, d + t * ad, b - u * bc, c + u * bc
        ad, bc = nil, nil
        ab, bd = _both(ab, bd, cosine, sine)
        ac, cd = _both(ac, cd, cosine, sine)
        ab, ac = _both(ab, ac, cosine2, sine2)
        bd, cd = _both(bd, cd, cosine2, sine2)
        a0, d0 = _both(a0, d0, cosine, sine)
        a1, d1 = _both(a1, d1, cosine, sine)
        a2, d2 = _both(a2, d2, cosine, sine)
        a3, d3 = _both(a3, d3, cosine, sine)
        b0, c0 = _both(b0, c0, cosine2, sine2)
        b1, c1 = _both(b1, c1, cosine2, sine2)
        b2, c2 = _both(b2, c2, cosine2, sine2)
        b3, c3 = _both(b3, c3, cosine2, sine2)
        off = tl.abs(ab) + tl.abs(ac) + tl.abs(ad) + tl.abs(bc) + tl.abs(bd) + tl.abs(cd)
        sweep += 1
    best = _better(b, b0, b1, b2, b3, (a, a0, a1, a2, a3))
    best = _better(c, c0, c1, c2, c3, best)
    _, w, i, j, k = _better(d, d0, d1, d2, d3, best)
    return (
        w * w + i * i - j * j - k * k, 2.0 * (i * j - w * k), 2.0 * (i * k + w * j),
        2.0 * (i * j + w * k), w * w - i * i + j * j - k * k, 2.0 * (j * k - w * i),
        2.0 * (i * k - w * j), 2.0 * (j * k + w * i), w * w - i * i - j * j + k * k,
    )  # fmt: skip
