"""Messages between pairs at middle distances, as products of gathered rows on tensor cores.

The equations are those of `far.py`. There a tile is dense: most beads of a column are far from a row's. At middle
distances a bead has some ten or twenty neighbors that stand nowhere together, so a program owns one bead, gathers the
features of E neighbors at a time from its row (`neighbors.mapped`), and multiplies

    forward    S_k += sum_j cos(k theta_ij) h_j                            [R, E] x [E, F]
    backward   T_k += sum_j cos(k theta_ij) g_j                            [R, E] x [E, F]
               P_jk = h_j . (C_k g_i) + g_j . (C_k h_i)                    [E, F] x [F, R], twice
               F_i += sum_j u_ij theta'(d_ij) sum_k -k sin(k theta_ij) P_jk

Both directions of a pair are in P, so a force needs no other program's numbers. Its operands that stay are on the
right, where a processor reads them from shared memory: on the left they took every register. Sums run along the row,
which is ascending: their order depends on positions alone.
"""

from __future__ import annotations

import triton
import triton.language as tl

from mdflash.potentials.schnet.triton.far import cosine, half_turn, product, sine


@triton.jit
def _gather(
    high: tl.tensor, low: tl.tensor, j: tl.tensor, inside: tl.tensor, F: tl.constexpr, PRODUCTS: tl.constexpr
) -> tuple[tl.tensor, tl.tensor]:
    """Rows j [E] of an operand, [E, F], and what is left of them."""
    at = j[:, None] * F + tl.arange(0, F)[None, :]
    rows = tl.load(high + at, mask=inside[:, None], other=0.0)
    rest = rows
    if PRODUCTS == 3:
        rest = tl.load(low + at, mask=inside[:, None], other=0.0)
    return rows, rest


@triton.jit
def _right_product(a: tl.tensor, a_low: tl.tensor, b: tl.tensor, acc: tl.tensor, PRODUCTS: tl.constexpr) -> tl.tensor:
    """acc + a b with a in one or two parts and b in fp32."""
    high = b.to(tl.float16)
    acc = tl.dot(a, high, acc)
    if PRODUCTS == 3:
        acc = tl.dot(a_low, high, acc)
        acc = tl.dot(a, (b - high.to(tl.float32)).to(tl.float16), acc)
    return acc


@triton.jit(do_not_specialize=["capacity", "first"])
def gathered_messages(
    h: tl.tensor, h_low: tl.tensor, coefficients: tl.tensor, near: tl.tensor, place: tl.tensor, count: tl.tensor,
    out: tl.tensor, capacity: tl.tensor, first: tl.tensor, F: tl.constexpr, R: tl.constexpr, PRODUCTS: tl.constexpr,
    E: tl.constexpr,
) -> None:  # fmt: skip
    """out[i] += sum_j h_j w(d_ij) over a bead's row: the forward sweep; grid (beads,).

    Args:
        h, h_low: [n, F] float16 features of the n beads from `first` on, from `far.halve`.
        coefficients: [R, F] float32 C, over the scale of h.
        near, place, count: see `neighbors.mapped.select_mapped`.
        out: [n, F] float32.
    """
    i = tl.program_id(0)
    n = tl.load(count + first + i)
    row = (first + i).to(tl.int64) * capacity
    k = tl.arange(0, R)
    f = tl.arange(0, F)
    edge = tl.arange(0, E)
    order = k.to(tl.float32)[:, None]
    acc = tl.zeros([R, F], tl.float32)
    for m in range(0, n, E):
        inside = m + edge < n
        j = tl.load(near + row + m + edge, mask=inside, other=0) - first
        p = tl.load(place + row + m + edge, mask=inside, other=0.0)
        u = tl.where(inside[None, :], cosine(half_turn(p[None, :], order, PRODUCTS)), 0.0)
        hj, low = _gather(h, h_low, j, inside, F, PRODUCTS)
        acc = product(u, hj, low, acc, PRODUCTS)
    c = tl.load(coefficients + k[:, None] * F + f[None, :])
    to = out + i.to(tl.int64) * F + f
    tl.store(to, tl.load(to) + tl.sum(acc * c, axis=0))


@triton.jit(do_not_specialize=["capacity", "first"])
def gathered_gradients(
    h: tl.tensor, h_low: tl.tensor, g: tl.tensor, g_high: tl.tensor, g_low: tl.tensor, coefficients: tl.tensor,
    of_gradients: tl.tensor, of_features: tl.tensor, orders: tl.tensor, near: tl.tensor, place: tl.tensor,
    toward: tl.tensor, count: tl.tensor, out: tl.tensor, forces: tl.tensor, capacity: tl.tensor, first: tl.tensor,
    F: tl.constexpr, R: tl.constexpr, PRODUCTS: tl.constexpr, FEATURES: tl.constexpr, E: tl.constexpr,
) -> None:  # fmt: skip
    """The backward sweep; grid (beads,); see the module's equations, and above.

    Args:
        g: [n, F] float32 dL/da; g_high, g_low: [n, F] float16, from `far.halve`.
        coefficients: [R, F] float32 C, over the scale of g.
        of_gradients, of_features: [R, F] float32 C times what brings C_k g_i, and C_k h_i of scaled features, to
            about 1; orders: [R] float32 -2 pi k over all of these scales.
        toward: [B, 3, capacity] float32 u_ij times the slope of the mapped distance.
        out: [n, F] float32 dL/dh, added to, where FEATURES.
        forces: [B, 3] float32, added to.
    """
    i = tl.program_id(0)
    flat = first + i
    n = tl.load(count + flat)
    row = flat.to(tl.int64) * capacity
    k = tl.arange(0, R)
    f = tl.arange(0, F)
    edge = tl.arange(0, E)
    order = k.to(tl.float32)[:, None]
    factor = tl.load(orders + k)[None, :]
    turned = f[:, None] + k[None, :] * F
    own = i.to(tl.int64) * F + f
    hi = tl.load(h + own).to(tl.float32)
    if PRODUCTS == 3:
        hi += tl.load(h_low + own).to(tl.float32)
    a = tl.load(of_gradients + turned) * tl.load(g + own)[:, None]
    b = tl.load(of_features + turned) * hi[:, None]
    acc = tl.zeros([R, F], tl.float32)
    fx = tl.zeros([E], tl.float32)
    fy = tl.zeros([E], tl.float32)
    fz = tl.zeros([E], tl.float32)
    for m in range(0, n, E):
        inside = m + edge < n
        j = tl.load(near + row + m + edge, mask=inside, other=0) - first
        p = tl.load(place + row + m + edge, mask=inside, other=0.0)
        hj, hj_low = _gather(h, h_low, j, inside, F, PRODUCTS)
        gj, gj_low = _gather(g_high, g_low, j, inside, F, PRODUCTS)
        if FEATURES:
            u = tl.where(inside[None, :], cosine(half_turn(p[None, :], order, PRODUCTS)), 0.0)
            acc = product(u, gj, gj_low, acc, PRODUCTS)
        q = _right_product(hj, hj_low, a, tl.zeros([E, R], tl.float32), PRODUCTS)
        q = _right_product(gj, gj_low, b, q, PRODUCTS)
        x = half_turn(p[:, None], k.to(tl.float32)[None, :], PRODUCTS)
        pull = tl.sum(q * sine(x) * factor, axis=1)
        to_j = toward + 3 * row + m + edge
        fx += pull * tl.load(to_j, mask=inside, other=0.0)
        fy += pull * tl.load(to_j + capacity, mask=inside, other=0.0)
        fz += pull * tl.load(to_j + 2 * capacity, mask=inside, other=0.0)
    if FEATURES:
        c = tl.load(coefficients + k[:, None] * F + f[None, :])
        tl.store(out + own, tl.load(out + own) + tl.sum(acc * c, axis=0))
    to = forces + 3 * flat
    tl.store(to, tl.load(to) + tl.sum(fx, axis=0))
    tl.store(to + 1, tl.load(to + 1) + tl.sum(fy, axis=0))
    tl.store(to + 2, tl.load(to + 2) + tl.sum(fz, axis=0))
