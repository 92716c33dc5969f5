"""The neighbor-list terms on a GPU: every form of near pairs in one launch, without atomics.

A program owns four beads, a row of tiles (`neighbors.clusters`), and meets the columns in its list: a lane for each
pair, so the beads of a column are loaded together, and neither is anything sorted nor packed. All terms of a search are
evaluated at each tile. A pair is evaluated twice, once for each of its beads: so every sum has one owner and one order.

Arithmetic is float64 or float32; displacements have the relative error of that, wherever the beads are
(`clusters.place`).
"""

from __future__ import annotations

import triton
import triton.language as tl

from mdflash.neighbors.clusters import COLUMN, ROW, halves
from mdflash.neighbors.triton import nearest_image
from mdflash.potentials.forms import gpu_pair

_ROW, _COLUMN, _HIGH = tl.constexpr(ROW), tl.constexpr(COLUMN), tl.constexpr(COLUMN // ROW)


@triton.jit
def _three(table: tl.tensor, stride: tl.tensor, at: tl.tensor) -> tuple[tl.tensor, tl.tensor, tl.tensor]:
    """Columns of a [3, stride] array."""
    return tl.load(table + at), tl.load(table + stride + at), tl.load(table + 2 * stride + at)


@triton.jit
def _edge(
    box: tl.tensor, k: tl.constexpr, PERIODIC: tl.constexpr, SPLIT: tl.constexpr
) -> tuple[tl.tensor, tl.tensor, tl.tensor]:
    """An edge of the box as `_apart` reads it: in float32 in two parts, and its inverse."""
    edge = tl.load(box + k)
    high = edge
    low = edge
    inverse = edge
    if PERIODIC and SPLIT:
        high, low = halves(edge)
        inverse = (1.0 / edge).to(tl.float32)
    return high, low, inverse


@triton.jit
def _apart(
    hi: tl.tensor, hj: tl.tensor, li: tl.tensor, lj: tl.tensor, edge: tl.tuple, PERIODIC: tl.constexpr,
    SPLIT: tl.constexpr,
) -> tl.tensor:  # fmt: skip
    """One component [rows, columns] of x_j - x_i, by the minimum-image rule."""
    d = hj[None, :] - hi[:, None]
    if SPLIT:
        rest = lj[None, :] - li[:, None]
        if PERIODIC:
            image = tl.floor(d * edge[2] + 0.5)
            d -= image * edge[0]
            rest -= image * edge[1]
        d += rest
    else:
        d = nearest_image(d, edge[0], PERIODIC)
    return d


@triton.jit
def of_pairs(
    r: tl.tensor, numbers: tl.tensor, size: tl.tensor, kinds: tl.tensor, inside: tl.tensor, code: tl.tensor,
    cutoff: tl.tensor, OCCUR: tl.constexpr,
) -> tuple[tl.tensor, tl.tensor]:  # fmt: skip
    """u and (du/dr) / r of one term at pairs r apart; `kinds`: their place in its matrices `numbers`."""
    u = r * 0.0
    pull = r * 0.0
    for f in tl.static_range(len(OCCUR)):
        if code == OCCUR[f][0]:
            p = ()
            for c in tl.static_range(OCCUR[f][1]):
                value = tl.load(numbers + c * size * size + kinds, mask=inside, other=0.0)
                p = p + (value,)  # type: ignore[assignment]  # noqa: RUF005
            value, slope = gpu_pair(r, code, p, cutoff, OCCUR[f][0])
            u = value
            pull = slope / r
    return u, pull


@triton.jit
def near_pairs(
    places: tl.core.base_value, box: tl.tensor, members: tl.core.base_value, groups: tl.core.base_value,
    columns: tl.core.base_value, terms: tl.core.base_value, energy: tl.tensor, forces: tl.tensor, OCCUR: tl.constexpr,
    PERIODIC: tl.constexpr, SPLIT: tl.constexpr,
) -> None:  # fmt: skip
    """Energy shares and forces of the four beads of a row, from the terms of one search; REAL is float64 or float32.

    Args:
        places, members, groups, columns: of `clusters.ClusterLists`.
        box: [3] float64 Å.
        terms: `device_pairs.PairTerms`.
        energy, forces: [searches of a system, B] and [.., B, 3] REAL, out: each search has a layer of its own.
        OCCUR: which forms there are, `((1 << code, parameters), ...)`.
        SPLIT: whether REAL is float32.
    """
    w = tl.program_id(0)
    g = tl.load(groups.of_row + w)
    search = tl.load(groups.search + g)
    origin = tl.load(groups.origin + g)
    first = tl.load(members.first + search)
    base = tl.load(groups.column + g)
    own = first + (w - base * _HIGH) * _ROW + tl.arange(0, _ROW)
    bead = tl.load(members.bead + own)
    kind = tl.load(terms.kind + own)
    size = tl.load(terms.size + search)
    ex = _edge(box, 0, PERIODIC, SPLIT)
    ey = _edge(box, 1, PERIODIC, SPLIT)
    ez = _edge(box, 2, PERIODIC, SPLIT)
    hi = _three(places.high, places.stride, w * _ROW + tl.arange(0, _ROW))
    li = hi
    if SPLIT:
        li = _three(places.low, places.stride, w * _ROW + tl.arange(0, _ROW))
    bit = _COLUMN * tl.arange(0, _ROW)[:, None] + tl.arange(0, _COLUMN)[None, :]
    e = tl.zeros([_ROW, _COLUMN], places.high.dtype.element_ty)
    fx = e
    fy = e
    fz = e
    row = w.to(tl.int64) * columns.capacity
    begin = tl.load(terms.row + search)
    end = tl.load(terms.row + search + 1)
    for k in range(0, tl.load(columns.length + w)):
        column = tl.load(columns.column + row + k)
        acts = ((tl.load(columns.acts + row + k) >> bit) & 1) != 0
        kinds = tl.load(terms.kind + first + column * _COLUMN + tl.arange(0, _COLUMN))
        kinds = kind[:, None] * size + kinds[None, :]
        j = (base + column) * _COLUMN + tl.arange(0, _COLUMN)
        hj = _three(places.high, places.stride, j)
        lj = hj
        if SPLIT:
            lj = _three(places.low, places.stride, j)
        dx = _apart(hi[0], hj[0], li[0], lj[0], ex, PERIODIC, SPLIT)
        dy = _apart(hi[1], hj[1], li[1], lj[1], ey, PERIODIC, SPLIT)
        dz = _apart(hi[2], hj[2], li[2], lj[2], ez, PERIODIC, SPLIT)
        square = dx * dx + dy * dy + dz * dz
        for t in range(begin, end):
            cutoff = tl.load(terms.cutoff + t)
            inside = acts & (square < cutoff * cutoff)
            r = tl.where(inside, tl.sqrt(square), 1.0)
            code = tl.load(terms.code + t)
            numbers = terms.numbers + tl.load(terms.table + t)
            u, pull = of_pairs(r, numbers, size, kinds, inside, code, cutoff, OCCUR)
            pull = tl.where(inside, pull, 0.0)
            e += tl.where(inside, 0.5 * u, 0.0)
            fx += pull * dx
            fy += pull * dy
            fz += pull * dz
    out = tl.load(terms.layer + search) * terms.beads + origin + bead
    tl.store(energy + out, tl.sum(e, axis=1), mask=bead >= 0)
    tl.store(forces + 3 * out, tl.sum(fx, axis=1), mask=bead >= 0)
    tl.store(forces + 3 * out + 1, tl.sum(fy, axis=1), mask=bead >= 0)
    tl.store(forces + 3 * out + 2, tl.sum(fz, axis=1), mask=bead >= 0)
