"""Everything that goes over the pairs of one replica: sorting, messages, their gradients, forces.

Pairs nearer than the cutoff are sorted by interval of the table, so that a row is read once and stays in registers for
all its pairs; within an interval they keep the order (i, j) of the neighbor list. No sum depends on how the list came
about, and nothing of size [pairs, features] exists. A large molecule is sorted in chunks of beads, so that what a
chunk touches stays in the cache.
"""

from __future__ import annotations

import math

import numpy as np

from mdflash.compiled.jit import njit
from mdflash.compiled.panels import panel_width
from mdflash.compiled.simd import Vector, fma, lane, load, load_scaled, splat, store, total
from mdflash.core.types import FloatArray, IntArray, Reals
from mdflash.neighbors.cpu import nearest_image
from mdflash.potentials.schnet.arrays import CHUNK, RANGES, PairWork, Shape, Tables, Weights, Work, shape_of


@njit(cache=True, error_model="numpy")
def measure_pairs(
    net: Shape,
    cutoff: float,
    box: FloatArray,  # [3] edges in Å, 0 for no box
    start: IntArray,  # [N + 1]
    neighbor: IntArray,  # [P]
    x: FloatArray,  # [N, 3] Å
    pairs: PairWork,
    begin: int,
    stride: int,
) -> None:
    """Distance and interval of the pairs of every stride-th bead from `begin` on; interval K: beyond the cutoff."""
    scale = net.intervals / cutoff
    for i in range(begin, x.shape[0], stride):
        for p in range(start[i], start[i + 1]):
            j = neighbor[p]
            dx = nearest_image(x[j, 0] - x[i, 0], box[0])
            dy = nearest_image(x[j, 1] - x[i, 1], box[1])
            dz = nearest_image(x[j, 2] - x[i, 2], box[2])
            d = math.sqrt(dx * dx + dy * dy + dz * dz)
            pairs.key[p] = min(int(d * scale), net.intervals - 1) if d < cutoff else net.intervals
            pairs.distance[p] = d


@njit(cache=True, error_model="numpy")
def sort_pairs(
    net: Shape,
    cutoff: float,
    start: IntArray,  # [N + 1]
    neighbor: IntArray,  # [P]
    n: int,
    pairs: PairWork,
    chunk: int,
) -> None:
    """Fill the sorted arrays of one chunk, from `measure_pairs`."""
    begin, run, knot = pairs.begin[chunk], pairs.run[chunk], pairs.knot[chunk]
    scale = net.intervals / cutoff
    first, last = (0, n) if pairs.runs.shape[0] == 1 else (chunk * CHUNK, min((chunk + 1) * CHUNK, n))
    begin[:] = 0
    for p in range(start[first], start[last]):
        begin[pairs.key[p] + 1] += 1
    begin[0] = start[first]
    runs = 0
    for k in range(net.intervals):
        if begin[k + 1] > 0:
            knot[runs], run[runs] = k, begin[k]
            runs += 1
        begin[k + 1] += begin[k]
    run[runs] = begin[net.intervals]
    pairs.runs[chunk] = runs
    for i in range(first, last):
        for p in range(start[i], start[i + 1]):
            key = pairs.key[p]
            if key == net.intervals:
                continue
            d = pairs.distance[p]
            q = begin[key]
            begin[key] += 1
            pairs.first[q], pairs.second[q] = i, neighbor[p]
            pairs.t[q] = d * scale - key
            # two beads in one place push each other nowhere
            pairs.inverse[q] = 1.0 / d if d > 0.0 else 0.0


@njit(cache=True, error_model="numpy")
def _cubic(
    tables: Tables,  # flat
    row: int,
    scales: Reals,  # flat
    unit: int,
    after: int,
    width: int,
) -> tuple[Vector, Vector, Vector, Vector]:
    """The polynomial of one interval, in half a panel: v + t (s + t (c + t e)); `unit`, `after`: scales of its ends."""
    v = load_scaled(tables, row, scales, unit)
    s = load_scaled(tables, row + width, scales, unit + width)
    next_s = load_scaled(tables, row + 4 * width, scales, after + width)
    c = load_scaled(tables, row + 2 * width, scales, unit + 2 * width)
    return v, s, c, (next_s - s - splat(c, 2.0) * c) * splat(c, 1.0 / 3.0)


@njit(cache=True, error_model="numpy")
def add_messages(
    weights: Weights, tables: Tables, system: int, block: int, panel: int, pairs: PairWork, work: Work
) -> None:
    """m <- sum of messages, in one panel of channels."""
    net = shape_of(weights, system)
    y, m, scales = work.y, work.m, weights.scales
    width = panel_width(y)
    half = width // 2
    size = work.rows * width
    m0, y0 = panel * size, (block * (net.filters // width) + panel) * size
    m[m0 : m0 + size] = 0.0
    at = block % net.table_blocks * (net.filters // width) + panel
    base, units = net.tables + at * (net.intervals + 1) * 3 * width, net.scales + at * (RANGES + 1) * 3 * width
    knots = net.intervals // RANGES  # of one range
    for chunk in range(pairs.runs.shape[0]):
        for r in range(pairs.runs[chunk]):
            knot = pairs.knot[chunk, r]
            row = base + knot * 3 * width
            unit, after = units + knot // knots * 3 * width, units + (knot + 1) // knots * 3 * width
            v0, s0, c0, e0 = _cubic(tables, row, scales, unit, after, width)
            v1, s1, c1, e1 = _cubic(tables, row + half, scales, unit + half, after + half, width)
            for p in range(pairs.run[chunk, r], pairs.run[chunk, r + 1]):
                q = np.uint64(p)  # an index that cannot be negative saves its check
                t = lane(pairs.t, p)
                i, j = pairs.first[q] * width, pairs.second[q] * width
                w = fma(t, fma(t, fma(t, e0, c0), s0), v0)
                yi, yj = load(y, y0 + i), load(y, y0 + j)
                store(m, m0 + i, fma(w, yj, load(m, m0 + i)))
                store(m, m0 + j, fma(w, yi, load(m, m0 + j)))
                i += half
                j += half
                w = fma(t, fma(t, fma(t, e1, c1), s1), v1)
                yi, yj = load(y, y0 + i), load(y, y0 + j)
                store(m, m0 + i, fma(w, yj, load(m, m0 + i)))
                store(m, m0 + j, fma(w, yi, load(m, m0 + j)))


@njit(cache=True, error_model="numpy")
def add_message_gradients(
    weights: Weights, tables: Tables, system: int, block: int, panel: int, pairs: PairWork, work: Work
) -> None:
    """pairs.slope += dE/dt by this block, and (but in the first block) m <- gy, in one panel of channels."""
    net = shape_of(weights, system)
    y, g, gy, scales = work.y, work.gm, work.m, weights.scales
    width = panel_width(y)
    half = width // 2
    size = work.rows * width
    g0, y0 = panel * size, (block * (net.filters // width) + panel) * size
    slope = pairs.slope[panel]
    if block > 0:
        gy[g0 : g0 + size] = 0.0
    at = block % net.table_blocks * (net.filters // width) + panel
    base, units = net.tables + at * (net.intervals + 1) * 3 * width, net.scales + at * (RANGES + 1) * 3 * width
    knots = net.intervals // RANGES  # of one range
    for chunk in range(pairs.runs.shape[0]):
        runs = pairs.runs[chunk]
        if block == net.blocks - 1:
            slope[pairs.run[chunk, 0] : pairs.run[chunk, runs]] = 0.0
        for r in range(runs):
            knot = pairs.knot[chunk, r]
            row = base + knot * 3 * width
            unit, after = units + knot // knots * 3 * width, units + (knot + 1) // knots * 3 * width
            v0, s0, c0, e0 = _cubic(tables, row, scales, unit, after, width)
            v1, s1, c1, e1 = _cubic(tables, row + half, scales, unit + half, after + half, width)
            for p in range(pairs.run[chunk, r], pairs.run[chunk, r + 1]):
                q = np.uint64(p)  # an index that cannot be negative saves its check
                t = lane(pairs.t, p)
                t2 = t + t
                t3 = t * (t + t2)
                i, j = pairs.first[q] * width, pairs.second[q] * width
                gi, gj = load(g, g0 + i), load(g, g0 + j)
                dw = fma(t3, e0, fma(t2, c0, s0))
                share = dw * fma(gi, load(y, y0 + j), gj * load(y, y0 + i))
                if block > 0:
                    w = fma(t, fma(t, fma(t, e0, c0), s0), v0)
                    store(gy, g0 + i, fma(w, gj, load(gy, g0 + i)))
                    store(gy, g0 + j, fma(w, gi, load(gy, g0 + j)))
                i += half
                j += half
                gi, gj = load(g, g0 + i), load(g, g0 + j)
                dw = fma(t3, e1, fma(t2, c1, s1))
                share = fma(dw, fma(gi, load(y, y0 + j), gj * load(y, y0 + i)), share)
                if block > 0:
                    w = fma(t, fma(t, fma(t, e1, c1), s1), v1)
                    store(gy, g0 + i, fma(w, gj, load(gy, g0 + i)))
                    store(gy, g0 + j, fma(w, gi, load(gy, g0 + j)))
                slope[q] += total(share)


@njit(cache=True, error_model="numpy")
def pair_forces(
    net: Shape,
    cutoff: float,
    box: FloatArray,  # [3] edges in Å, 0 for no box
    x: FloatArray,  # [N, 3] Å
    pairs: PairWork,
    force: FloatArray,  # [2, N, 3]
    firsts: bool,
    seconds: bool,
) -> None:
    """Forces on the first beads of all pairs (`firsts`), on the second ones (`seconds`), or on both."""
    scale = net.intervals / cutoff
    if firsts:
        force[0] = 0.0
    if seconds:
        force[1] = 0.0
    for chunk in range(pairs.runs.shape[0]):
        for p in range(pairs.run[chunk, 0], pairs.run[chunk, pairs.runs[chunk]]):
            slope = 0.0
            for panel in range(pairs.slope.shape[0]):
                slope += pairs.slope[panel, p]
            slope *= scale * pairs.inverse[p]
            i, j = pairs.first[p], pairs.second[p]
            for c in range(3):
                pull = slope * nearest_image(x[j, c] - x[i, c], box[c])
                if firsts:
                    force[0, i, c] += pull
                if seconds:
                    force[1, j, c] -= pull
