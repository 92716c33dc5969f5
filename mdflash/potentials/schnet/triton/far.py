"""Messages between far pairs, as products of matrices on tensor cores.

With filters W(d) = sum_k C_k cos(k theta(d)) (`split.py`), and R cosines of a pair instead of all its channels,

    forward    S_i = sum_j U_ij h_j          U_ij [R] = cos(k theta_ij), 0 where there is no message
               a_i += sum_k C_k S_i,k
    backward   T_i = sum_j U_ij g_j          g = dL/da
               dL/dh_i += sum_k C_k T_i,k
               p_ij = sum_k -k sin(k theta_ij) (C_k g_i . h_j)                 dE/dtheta_ij = p_ij + p_ji
    once       F_i += sum_j u_ij theta'(d_ij) (p_ij + p_ji)                    u_ij = (x_j - x_i) / d_ij

A program owns a row of tiles (`neighbors.tiles`): ROWS beads, and R functions of each, are the ROWS R rows of its
products, which walk the row's tiles in ascending order. So every sum has one owner and one order, p_ij is written by
the program of i alone, and nothing is added atomically. U never leaves the registers.

Operands are 16-bit floats, sums fp32. With PRODUCTS = 1 each product is one; with 3 every operand is the sum of two
16-bit floats, and three of the four products are taken (the fourth is below the rounding of fp32). Features and
gradients come scaled by powers of two (`halve`), and C takes them back: exactly, but for what is below 6e-8 of 1.
"""

from __future__ import annotations

import triton
import triton.language as tl

from mdflash.compiled.triton.cubics import cubic_at
from mdflash.core.gpu import interpreted
from mdflash.neighbors.tiles import squares

_INTERPRETED = tl.constexpr(interpreted())
_TURN = tl.constexpr(6.283185307179586)
_LARGEST = tl.constexpr(65504.0)


@triton.jit
def half_turn(place: tl.tensor, order: tl.tensor, PRODUCTS: tl.constexpr) -> tl.tensor:
    """order * place turns in radians; for three products from -pi to pi, where the hardware's cosine is best."""
    if PRODUCTS == 1:
        radians: tl.tensor = place * (order * _TURN)
        return radians
    else:
        whole = (place * order + 12582912.0) - 12582912.0  # 1.5 x 2^23: rounds to a whole number
        reduced: tl.tensor = tl.fma(place, order, -whole) * _TURN
        return reduced


@triton.jit
def cosine(x: tl.tensor) -> tl.tensor:
    if _INTERPRETED:
        return tl.cos(x)
    else:
        return tl.inline_asm_elementwise("cos.approx.f32 $0, $1;", "=f,f", [x], dtype=tl.float32, is_pure=True, pack=1)


@triton.jit
def sine(x: tl.tensor) -> tl.tensor:
    if _INTERPRETED:
        return tl.sin(x)
    else:
        return tl.inline_asm_elementwise("sin.approx.f32 $0, $1;", "=f,f", [x], dtype=tl.float32, is_pure=True, pack=1)


@triton.jit(do_not_specialize=["numbers"])
def halve(
    x: tl.tensor,
    high: tl.tensor,
    low: tl.tensor,
    scale: tl.tensor,
    numbers: tl.tensor,
    PRODUCTS: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    """x * scale [numbers] as 16-bit floats: the nearest one, and for three products what is left of it.

    Args:
        scale: [1] float32, a power of two. What leaves the range of 16 bits becomes the largest number of it.
    """
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = at < numbers
    y = tl.load(x + at, mask=inside, other=0.0).to(tl.float32) * tl.load(scale)
    y = tl.where(y > _LARGEST, _LARGEST, tl.where(y < -_LARGEST, -_LARGEST, y))  # and NaN stays what it is
    h = y.to(tl.float16)
    tl.store(high + at, h, mask=inside)
    if PRODUCTS == 3:
        tl.store(low + at, (y - h.to(tl.float32)).to(tl.float16), mask=inside)


@triton.jit
def product(a: tl.tensor, b: tl.tensor, b_low: tl.tensor, acc: tl.tensor, PRODUCTS: tl.constexpr) -> tl.tensor:
    """acc + a b with a in fp32 and b in one or two parts."""
    high = a.to(tl.float16)
    acc = tl.dot(high, b, acc)
    if PRODUCTS == 3:
        acc = tl.dot(high, b_low, acc)
        acc = tl.dot((a - high.to(tl.float32)).to(tl.float16), b, acc)
    return acc


@triton.jit(do_not_specialize=["capacity", "first"])
def far_messages(
    h: tl.tensor, h_low: tl.tensor, coefficients: tl.tensor, rows: tl.tensor, place: tl.tensor, tile: tl.tensor,
    count: tl.tensor, out: tl.tensor, capacity: tl.tensor, first: tl.tensor, F: tl.constexpr, R: tl.constexpr,
    PRODUCTS: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
) -> None:  # fmt: skip
    """out[i] += sum_j h_j w(d_ij) over far pairs: the forward sweep; grid (rows,).

    Args:
        h, h_low: [n, F] float16 features of the n beads from `first` on, from `halve`.
        coefficients: [R, F] float32 C, over the scale of h.
        rows, place, tile, count: see `neighbors.tiles.place_tiles`.
        out: [n, F] float32.
    """
    row = tl.program_id(0)
    begin = tl.load(rows + 4 * row)
    end = tl.load(rows + 4 * row + 2)
    start = row.to(tl.int64) * capacity
    f = tl.arange(0, F)
    m = tl.arange(0, ROWS * R)
    column = tl.arange(0, COLUMNS)
    order = (m % R).to(tl.float32)[:, None]
    in_tile = (m // R)[:, None] * COLUMNS + column[None, :]
    acc = tl.zeros([ROWS * R, F], tl.float32)
    for slot in range(0, tl.load(count + row)):
        j = tl.load(tile + start + slot) + column
        at = (j - first)[:, None] * F + f[None, :]
        inside = (j < end)[:, None]
        p = tl.load(place + (start + slot) * (ROWS * COLUMNS) + in_tile)
        u = tl.where(p < 1.0, cosine(half_turn(p, order, PRODUCTS)), 0.0)
        hj = tl.load(h + at, mask=inside, other=0.0)
        low = hj
        if PRODUCTS == 3:
            low = tl.load(h_low + at, mask=inside, other=0.0)
        acc = product(u, hj, low, acc, PRODUCTS)
    c = tl.load(coefficients + tl.arange(0, R)[:, None] * F + f[None, :])
    i = begin + tl.arange(0, ROWS)
    to = out + (i - first)[:, None] * F + f[None, :]
    own = (i < end)[:, None]
    total = tl.sum(tl.reshape(acc, [ROWS, R, F]) * c[None, :, :], axis=1)
    tl.store(to, tl.load(to, mask=own, other=0.0) + total, mask=own)


@triton.jit(do_not_specialize=["capacity", "first"])
def far_gradients(
    h: tl.tensor, h_low: tl.tensor, g: tl.tensor, g_high: tl.tensor, g_low: tl.tensor, coefficients: tl.tensor,
    left: tl.tensor, orders: tl.tensor, rows: tl.tensor, place: tl.tensor, tile: tl.tensor, count: tl.tensor,
    out: tl.tensor, pull: tl.tensor, capacity: tl.tensor, first: tl.tensor, F: tl.constexpr, R: tl.constexpr,
    PRODUCTS: tl.constexpr, FEATURES: tl.constexpr, ADD: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
) -> None:  # fmt: skip
    """The backward sweep; grid (rows,); see the module's equations, and above.

    Args:
        g: [n, F] float32 dL/da; g_high, g_low: [n, F] float16, from `halve`.
        coefficients: [R, F] float32 C, over the scale of g.
        left: [R, F] float32 C times what brings C_k g_i to about 1; orders: [R] float32 -2 pi k over that and the scale
            of h.
        out: [n, F] float32 dL/dh, added to, where FEATURES.
        pull: [rows, capacity, ROWS, COLUMNS] float32 p_ij, by turns instead of radians; added to where ADD.
    """
    row = tl.program_id(0)
    begin = tl.load(rows + 4 * row)
    end = tl.load(rows + 4 * row + 2)
    start = row.to(tl.int64) * capacity
    f = tl.arange(0, F)
    k = tl.arange(0, R)
    m = tl.arange(0, ROWS * R)
    line = tl.arange(0, ROWS)
    column = tl.arange(0, COLUMNS)
    order = (m % R).to(tl.float32)[:, None]
    in_tile = (m // R)[:, None] * COLUMNS + column[None, :]
    factor = tl.load(orders + m % R)[:, None]
    i = begin + line
    own = (i < end)[:, None]
    at_i = (i - first)[:, None] * F + f[None, :]
    gi = tl.load(g + at_i, mask=own, other=0.0)
    c = tl.load(left + k[:, None] * F + f[None, :])
    a = tl.reshape(gi[:, None, :] * c[None, :, :], [ROWS * R, F])
    acc = tl.zeros([ROWS * R, F], tl.float32)
    for slot in range(0, tl.load(count + row)):
        j = tl.load(tile + start + slot) + column
        at = (j - first)[:, None] * F + f[None, :]
        inside = (j < end)[:, None]
        first_place = (start + slot) * (ROWS * COLUMNS)
        p = tl.load(place + first_place + in_tile)
        x = half_turn(p, order, PRODUCTS)
        if FEATURES:
            gj = tl.load(g_high + at, mask=inside, other=0.0)
            gj_low = gj
            if PRODUCTS == 3:
                gj_low = tl.load(g_low + at, mask=inside, other=0.0)
            acc = product(tl.where(p < 1.0, cosine(x), 0.0), gj, gj_low, acc, PRODUCTS)
        hj = tl.load(h + at, mask=inside, other=0.0)
        hj_low = hj
        if PRODUCTS == 3:
            hj_low = tl.load(h_low + at, mask=inside, other=0.0)
        zero = tl.zeros([ROWS * R, COLUMNS], tl.float32)
        q = product(a, tl.trans(hj), tl.trans(hj_low), zero, PRODUCTS)
        q *= tl.where(p < 1.0, sine(x) * factor, 0.0)
        to = pull + first_place + line[:, None] * COLUMNS + column[None, :]
        total = tl.sum(tl.reshape(q, [ROWS, R, COLUMNS]), axis=1)
        if ADD:
            total += tl.load(to)
        tl.store(to, total)
    if FEATURES:
        c = tl.load(coefficients + k[:, None] * F + f[None, :])
        to = out + at_i
        total = tl.sum(tl.reshape(acc, [ROWS, R, F]) * c[None, :, :], axis=1)
        tl.store(to, tl.load(to, mask=own, other=0.0) + total, mask=own)


@triton.jit(do_not_specialize=["capacity"])
def far_forces(
    x: tl.tensor, box: tl.tensor, table: tl.tensor, rows: tl.tensor, place: tl.tensor, tile: tl.tensor,
    count: tl.tensor, pull: tl.tensor, forces: tl.tensor, capacity: tl.tensor, START: tl.constexpr, STOP: tl.constexpr,
    INTERVALS: tl.constexpr, PERIODIC: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, CHUNK: tl.constexpr,
) -> None:  # fmt: skip
    """F_i += sum_j u_ij theta'(d_ij) (p_ij + p_ji) over far pairs; grid (rows,).

    Args:
        x: [B, 3] float64 Å.
        table: [INTERVALS, 4] float64 cubics of theta.
        forces: [B, 3] float32, added to.
    """
    row = tl.program_id(0)
    begin = tl.load(rows + 4 * row)
    origin = tl.load(rows + 4 * row + 1)
    end = tl.load(rows + 4 * row + 2)
    first_row = tl.load(rows + 4 * row + 3)
    start = row.to(tl.int64) * capacity
    line = tl.arange(0, ROWS)
    column = tl.arange(0, COLUMNS)
    i = begin + line
    own_column = begin - (begin - origin) % COLUMNS
    fx = tl.zeros([ROWS, COLUMNS], tl.float32)
    fy = tl.zeros([ROWS, COLUMNS], tl.float32)
    fz = tl.zeros([ROWS, COLUMNS], tl.float32)
    for slot in range(0, tl.load(count + row)):
        j = tl.load(tile + start + slot) + column
        in_tile = (start + slot) * (ROWS * COLUMNS) + line[:, None] * COLUMNS + column[None, :]
        far = tl.load(place + in_tile) < 1.0
        # the same pair in the row of j: its tile's number is how many columns of that row stand before i's
        other = first_row + (j - origin) // ROWS
        listed = tl.load(count + other, mask=j < end, other=0)
        before = j * 0
        for chunk in range(0, capacity, CHUNK):
            s = chunk + tl.arange(0, CHUNK)
            there = s[None, :] < listed[:, None]
            entry = tl.load(tile + other.to(tl.int64)[:, None] * capacity + s[None, :], mask=there, other=0)
            before += tl.sum((there & (entry < own_column)).to(tl.int32), axis=1)
        before = tl.minimum(before, capacity - 1)  # a row that overflowed may lack the tile; the block is replayed
        turned = (other.to(tl.int64) * capacity + before) * (ROWS * COLUMNS) + (j - origin) % ROWS * COLUMNS
        mine = tl.load(pull + in_tile, mask=far, other=0.0)
        theirs = tl.load(pull + turned[None, :] + (i - own_column)[:, None], mask=far, other=0.0)
        dx, dy, dz, square, _ = squares(x, i, j, end, end, box, PERIODIC)
        d = tl.sqrt(tl.where(far, square, 1.0))
        _, slope = cubic_at(d, table, START, STOP, INTERVALS)
        scale = tl.where(far, slope / d, 0.0)
        total = mine + theirs
        fx += total * (dx * scale).to(tl.float32)
        fy += total * (dy * scale).to(tl.float32)
        fz += total * (dz * scale).to(tl.float32)
    to = forces + 3 * i
    own = i < end
    tl.store(to, tl.load(to, mask=own, other=0.0) + tl.sum(fx, axis=1), mask=own)
    tl.store(to + 1, tl.load(to + 1, mask=own, other=0.0) + tl.sum(fy, axis=1), mask=own)
    tl.store(to + 2, tl.load(to + 2, mask=own, other=0.0) + tl.sum(fz, axis=1), mask=own)
