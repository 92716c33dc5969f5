"""SchNet of one replica, compiled: energy and forces from filter tables, backward pass written out.

    forward, block l:   y = B x          m_i = sum_j y_j * w(d_ij)     x += U2 act(U1 m + u1) + u2
    output:             E = sum_i MLP(x_i)
    backward, block l:  gm = U1' (act' * U2' gx)          dE/dd_ij += sum_f w'(d_ij) (gm_i y_j + gm_j y_i)
                        gy_i = sum_j gm_j * w(d_ij)       gx += B' gy      (not for l = 0: its y are constants)

| symbol | variable    | shape in panels          |
|--------|-------------|--------------------------|
| x, gx  | x, gx       | [H / width, rows, width] |
| y      | y           | [blocks, F / width, ...] |
| m, gy  | m           | [F / width, ...]         |
| gm     | gm          | [F / width, ...]         |
| act'   | slopes      | one matrix per activation |

Pairs nearer than the cutoff are sorted by interval of the table, so that a row is read once and stays in registers for
all its pairs; within an interval they keep the order (i, j) of the neighbour list. No sum depends on how the list came
about, and nothing of size [pairs, features] exists. Geometry is float64; everything per feature has the dtype of the
tables.

Threads of one replica share the work by panels of channels (messages) and by rows (dense layers): no two write to the
same place and every sum has one order, so bits do not depend on their number.
"""

from __future__ import annotations

import math
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from mdflash.kernels import njit, prange
from mdflash.neighbors.cpu import nearest_image
from mdflash.potentials.schnet.dense import TILE, activate, multiply, panel_width
from mdflash.potentials.schnet.simd import fma, lane, load, splat, store, total

ROWS, TEAM_ROWS = 64, 16
"""Beads whose dense layers are done together by one thread, alone or among others."""

TOGETHER_FROM: Final = 64
"""Beads from which several threads on one replica are faster than one."""

Floats = npt.NDArray[Any]
"""float32 or float64, by precision."""


class Networks(NamedTuple):
    """All networks of a run, and who uses them; made by `pack.pack_networks`.

    Attributes:
        network: [systems] which network a system has, or -1.
        type: [sum of beads over systems] int32 row of each bead in its network's embedding.
        first: [systems + 1] where each system's beads begin in `type`; plus the system's number, in
            `exclusion_start`.
        exclusion_start, exclusion: CSR rows of the pairs (i, j > i) that exchange no messages.
        cutoff: [systems] Å; 0 where a system has no network.
        shape: [networks, fields of `Shape`].
        layers: [layers of all networks, fields of `Layer`].
        data: weights, in the layout of `dense`.
        tables: [block][panel of F][knot][v, s, c][width].
    """

    network: npt.NDArray[np.int64]
    type: npt.NDArray[np.int32]
    first: npt.NDArray[np.int64]
    exclusion_start: npt.NDArray[np.int64]
    exclusion: npt.NDArray[np.int64]
    cutoff: npt.NDArray[np.float64]
    shape: npt.NDArray[np.int64]
    layers: npt.NDArray[np.int64]
    data: Floats
    tables: Floats


class Shape(NamedTuple):
    """One network: sizes (in whole panels) and where its parts begin in `data`, `layers` and `tables`."""

    features: int
    filters: int
    blocks: int
    intervals: int
    activation: int
    hidden: int  # activations of the output network
    types: int
    embedding: int  # [H / width, types, width]
    first_y: int  # B E of the first block, [F / width, types, width]
    last: int  # last row of the output network [n / width, width], then its bias
    layers: int  # three for each block (B, U1, U2), then the output network but for its last
    tables: int
    widest: int
    slopes: int  # channels of all activations


class Layer(NamedTuple):
    """One dense layer; `backward` is its transpose."""

    n_in: int
    n_out: int
    forward: int
    backward: int
    bias: int


class Work(NamedTuple):
    """Arrays that an evaluation writes, for one replica; flat, see the module's table."""

    rows: int
    x: Floats
    gx: Floats
    y: Floats
    m: Floats
    gm: Floats
    a: Floats
    b: Floats
    slopes: Floats
    bead_energy: Floats
    force: npt.NDArray[np.float64]  # [N, 3]


class PairWork(NamedTuple):
    """Pairs of one replica, in runs of one interval each; `key` and `distance` in the order of the neighbour list."""

    key: npt.NDArray[np.int32]
    distance: npt.NDArray[np.float64]
    begin: npt.NDArray[np.int64]  # [K + 2]
    run: npt.NDArray[np.int64]  # [K + 1] where each interval that has pairs begins, and the end of the last
    knot: npt.NDArray[np.int64]  # [K] the intervals that have pairs
    first: npt.NDArray[np.int32]  # [P]
    second: npt.NDArray[np.int32]  # [P]
    t: Floats  # [P]
    unit: Floats  # [P, 3] from the first bead to the second
    slope: Floats  # [F / width, P] share of each panel in dE/dt


@njit(cache=True)
def _shape(networks, system):
    s = networks.shape[networks.network[system]]
    return Shape(s[0], s[1], s[2], s[3], s[4], s[5], s[6], s[7], s[8], s[9], s[10], s[11], s[12], s[13])


@njit(cache=True)
def _layer(networks, index):
    t = networks.layers[index]
    return Layer(t[0], t[1], t[2], t[3], t[4])


@njit(cache=True)
def _aligned(size, like):
    """An empty array that begins on a cache line: vectors then never straddle two."""
    spare = 64 // like.itemsize
    a = np.empty(size + spare, like.dtype)
    skip = (-(a.ctypes.data // like.itemsize)) % spare
    return a[skip : skip + size]


@njit(cache=True)
def make_work(networks, system, n):
    """Arrays for a replica of n beads."""
    net, like = _shape(networks, system), networks.data
    rows = (n + TILE - 1) // TILE * TILE
    return Work(
        rows,
        _aligned(rows * net.features, like),
        _aligned(rows * net.features, like),
        _aligned(rows * net.filters * net.blocks, like),
        _aligned(rows * net.filters, like),
        _aligned(rows * net.filters, like),
        _aligned(rows * net.widest, like),
        _aligned(rows * net.widest, like),
        _aligned(rows * net.slopes, like),
        np.empty(n, like.dtype),
        np.empty((n, 3)),
    )


@njit(cache=True)
def make_pairs(networks, system, capacity):
    """Arrays for a neighbour list of at most `capacity` pairs."""
    net, dtype = _shape(networks, system), networks.data.dtype
    return PairWork(
        np.empty(capacity, np.int32),
        np.empty(capacity),
        np.empty(net.intervals + 2, np.int64),
        np.empty(net.intervals + 1, np.int64),
        np.empty(net.intervals, np.int64),
        np.empty(capacity, np.int32),
        np.empty(capacity, np.int32),
        np.empty(capacity, dtype),
        np.empty((capacity, 3), dtype),
        np.empty((net.filters // panel_width(networks.data), capacity), dtype),
    )


@njit(cache=True, error_model="numpy")
def _sort_pairs(net, cutoff, box, start, neighbor, x, pairs):
    """Fill the sorted arrays from the neighbour list; returns the number of intervals that have pairs."""
    begin, scale = pairs.begin, net.intervals / cutoff
    begin[:] = 0
    for i in range(x.shape[0]):
        for p in range(start[i], start[i + 1]):
            j = neighbor[p]
            dx = nearest_image(x[j, 0] - x[i, 0], box[0])
            dy = nearest_image(x[j, 1] - x[i, 1], box[1])
            dz = nearest_image(x[j, 2] - x[i, 2], box[2])
            d = math.sqrt(dx * dx + dy * dy + dz * dz)
            key = min(int(d * scale), net.intervals - 1) if d < cutoff else net.intervals
            pairs.key[p], pairs.distance[p] = key, d
            begin[key + 1] += 1
    runs = 0
    for k in range(net.intervals):
        if begin[k + 1] > 0:
            pairs.knot[runs], pairs.run[runs] = k, begin[k]
            runs += 1
        begin[k + 1] += begin[k]
    pairs.run[runs] = begin[net.intervals]
    for i in range(x.shape[0]):
        for p in range(start[i], start[i + 1]):
            key = pairs.key[p]
            if key == net.intervals:
                continue
            j, d = neighbor[p], pairs.distance[p]
            q = begin[key]
            begin[key] += 1
            pairs.first[q], pairs.second[q] = i, j
            pairs.t[q] = d * scale - key
            # two beads in one place push each other nowhere
            inverse = 1.0 / d if d > 0.0 else 0.0
            for c in range(3):
                pairs.unit[q, c] = nearest_image(x[j, c] - x[i, c], box[c]) * inverse
    return runs


@njit(cache=True, error_model="numpy")
def _messages(networks, system, block, panel, runs, pairs, work):
    """m <- sum of messages, in one panel of channels."""
    net = _shape(networks, system)
    y, m, table = work.y, work.m, networks.tables
    width = panel_width(y)
    half = width // 2
    size = work.rows * width
    m0, y0 = panel * size, (block * (net.filters // width) + panel) * size
    m[m0 : m0 + size] = 0.0
    base = net.tables + (block * (net.filters // width) + panel) * (net.intervals + 1) * 3 * width
    third = splat(load(table, base), 1.0 / 3.0)
    two = splat(third, 2.0)
    for r in range(runs):
        row = base + pairs.knot[r] * 3 * width
        v0, v1 = load(table, row), load(table, row + half)
        s0, s1 = load(table, row + width), load(table, row + width + half)
        c0, c1 = load(table, row + 2 * width), load(table, row + 2 * width + half)
        e0 = (load(table, row + 4 * width) - s0 - two * c0) * third
        e1 = (load(table, row + 4 * width + half) - s1 - two * c1) * third
        for p in range(pairs.run[r], pairs.run[r + 1]):
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
def _message_gradients(networks, system, block, panel, runs, pairs, work):
    """pairs.slope += dE/dt by this block, and (but in the first block) m <- gy, in one panel of channels."""
    net = _shape(networks, system)
    y, g, gy, table = work.y, work.gm, work.m, networks.tables
    width = panel_width(y)
    half = width // 2
    size = work.rows * width
    g0, y0 = panel * size, (block * (net.filters // width) + panel) * size
    slope = pairs.slope[panel]
    if block == net.blocks - 1:
        slope[: pairs.run[runs]] = 0.0
    if block > 0:
        gy[g0 : g0 + size] = 0.0
    base = net.tables + (block * (net.filters // width) + panel) * (net.intervals + 1) * 3 * width
    third = splat(load(table, base), 1.0 / 3.0)
    two = splat(third, 2.0)
    for r in range(runs):
        row = base + pairs.knot[r] * 3 * width
        v0, v1 = load(table, row), load(table, row + half)
        s0, s1 = load(table, row + width), load(table, row + width + half)
        c0, c1 = load(table, row + 2 * width), load(table, row + 2 * width + half)
        e0 = (load(table, row + 4 * width) - s0 - two * c0) * third
        e1 = (load(table, row + 4 * width + half) - s1 - two * c1) * third
        for p in range(pairs.run[r], pairs.run[r + 1]):
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


@njit(cache=True)
def _gather(data, source, n, types, type_, out, o, rows, begin, end):
    """Rows of a matrix [types, n] in panels, by bead type; 0 for the rows that fill up the last tile."""
    width = panel_width(data)
    for p in range(n // width):
        for i in range(begin, end):
            to = o + (p * rows + i) * width
            for c in range(width):
                out[to + c] = data[source + (p * types + type_[i]) * width + c] if i < type_.shape[0] else 0.0


@njit(cache=True, error_model="numpy")
def _begin_rows(networks, system, work, begin, end):
    net = _shape(networks, system)
    type_ = networks.type[networks.first[system] : networks.first[system + 1]]
    _gather(networks.data, net.embedding, net.features, net.types, type_, work.x, 0, work.rows, begin, end)
    _gather(networks.data, net.first_y, net.filters, net.types, type_, work.y, 0, work.rows, begin, end)


@njit(cache=True, error_model="numpy")
def _update_rows(networks, system, block, work, begin, end):
    """x from the messages of a block, then the next block's y, or the output network and back to gm."""
    net = _shape(networks, system)
    data, rows = networks.data, work.rows
    u1, u2 = _layer(networks, net.layers + 3 * block + 1), _layer(networks, net.layers + 3 * block + 2)
    multiply(work.m, 0, u1.n_in, data, u1.forward, u1.bias, work.a, 0, u1.n_out, rows, begin, end, False)
    s = block * net.features * rows
    activate(net.activation, work.a, 0, work.slopes, s, u1.n_out, rows, begin, end)
    multiply(work.a, 0, u2.n_in, data, u2.forward, u2.bias, work.x, 0, u2.n_out, rows, begin, end, True)
    if block + 1 < net.blocks:
        b = _layer(networks, net.layers + 3 * (block + 1))
        y = (block + 1) * net.filters * rows
        multiply(work.x, 0, b.n_in, data, b.forward, -1, work.y, y, b.n_out, rows, begin, end, False)
    else:
        _output_rows(net, networks, work, begin, end)
        _update_gradient(net, networks, block, work, begin, end)


@njit(cache=True, error_model="numpy")
def _output_rows(net, networks, work, begin, end):
    """Energy of each bead, and its gradient gx."""
    data, rows = networks.data, work.rows
    first = net.layers + 3 * net.blocks
    s = net.blocks * net.features * rows
    h, other, n = work.x, work.a, net.features
    for k in range(net.hidden):
        o = _layer(networks, first + k)
        multiply(h, 0, o.n_in, data, o.forward, o.bias, other, 0, o.n_out, rows, begin, end, False)
        activate(net.activation, other, 0, work.slopes, s, o.n_out, rows, begin, end)
        h, other = other, (work.b if k % 2 == 0 else work.a)
        s += o.n_out * rows
        n = o.n_out
    _last_layer(net, data, h, n, work, begin, end)
    g = work.gx if net.hidden == 0 else other
    width = panel_width(data)
    for p in range(n // width):
        for e in range((p * rows + begin) * width, (p * rows + end) * width):
            g[e] = data[net.last + p * width + e % width]
    for k in range(net.hidden - 1, -1, -1):
        o = _layer(networks, first + k)
        s -= o.n_out * rows
        _scale(g, work.slopes, s, o.n_out, rows, begin, end)
        to = work.gx if k == 0 else h
        multiply(g, 0, o.n_out, data, o.backward, -1, to, 0, o.n_in, rows, begin, end, False)
        g, h = to, g


@njit(cache=True, error_model="numpy")
def _last_layer(net, data, h, n, work, begin, end):
    width = panel_width(data)
    half = width // 2
    for i in range(begin, min(end, work.bead_energy.shape[0])):
        energy = splat(load(data, net.last), 0.0)
        for p in range(n // width):
            at, w = (p * work.rows + i) * width, net.last + p * width
            energy = fma(load(h, at), load(data, w), energy)
            energy = fma(load(h, at + half), load(data, w + half), energy)
        work.bead_energy[i] = total(energy) + data[net.last + n]


@njit(cache=True, error_model="numpy")
def _scale(a, s, s0, n, rows, begin, end):
    """A <- A * S, elementwise."""
    width = panel_width(a)
    for p in range(n // width):
        for e in range((p * rows + begin) * width, (p * rows + end) * width, width // 2):
            store(a, e, load(a, e) * load(s, s0 + e))


@njit(cache=True, error_model="numpy")
def _update_gradient(net, networks, block, work, begin, end):
    """gm of a block, from gx behind it."""
    data, rows = networks.data, work.rows
    u1, u2 = _layer(networks, net.layers + 3 * block + 1), _layer(networks, net.layers + 3 * block + 2)
    multiply(work.gx, 0, u2.n_out, data, u2.backward, -1, work.a, 0, u2.n_in, rows, begin, end, False)
    _scale(work.a, work.slopes, block * net.features * rows, u2.n_in, rows, begin, end)
    multiply(work.a, 0, u1.n_out, data, u1.backward, -1, work.gm, 0, u1.n_in, rows, begin, end, False)


@njit(cache=True, error_model="numpy")
def _gradient_rows(networks, system, block, work, begin, end):
    """gx in front of a block, from its gy; then gm of the block before."""
    net = _shape(networks, system)
    b = _layer(networks, net.layers + 3 * block)
    multiply(
        work.m, 0, b.n_out, networks.data, b.backward, -1, work.gx, 0, b.n_in, work.rows, begin, end, True
    )  # fmt: skip
    _update_gradient(net, networks, block - 1, work, begin, end)


@njit(cache=True, error_model="numpy")
def _finish(net, cutoff, runs, x, pairs, work, f):
    """Add the forces to f; returns the energy (NaN where a position is not finite: its pairs were not listed)."""
    force = work.force
    force[:] = 0.0
    scale = net.intervals / cutoff
    for p in range(pairs.run[runs]):
        slope = 0.0
        for panel in range(pairs.slope.shape[0]):
            slope += pairs.slope[panel, p]
        i, j = pairs.first[p], pairs.second[p]
        for c in range(3):
            pull = slope * scale * pairs.unit[p, c]
            force[i, c] += pull
            force[j, c] -= pull
    energy = 0.0
    for i in range(x.shape[0]):
        energy += work.bead_energy[i]
        for c in range(3):
            f[i, c] += force[i, c]
            energy += 0.0 * x[i, c]
    return energy


def _evaluation(team: bool) -> Any:
    """Compile the evaluation for one thread, or for all threads on one replica; the same bits."""

    @njit(cache=True, parallel={"prange": True, "numpy": False} if team else False, error_model="numpy")
    def evaluate(networks, system, box, start, neighbor, x, pairs, work, f):
        # (a parallel loop takes no tuple of one kind of numbers: its body looks the shape up again)
        net, cutoff = _shape(networks, system), networks.cutoff[system]
        runs = _sort_pairs(net, cutoff, box, start, neighbor, x, pairs)
        panels = net.filters // panel_width(networks.data)
        each = TEAM_ROWS if team else ROWS
        parts = (work.rows + each - 1) // each
        for part in prange(parts):
            begin = np.int64(part) * each
            _begin_rows(networks, system, work, begin, min(begin + each, work.rows))
        for block in range(net.blocks):
            for panel in prange(panels):
                _messages(networks, system, block, np.int64(panel), runs, pairs, work)
            for part in prange(parts):
                begin = np.int64(part) * each
                _update_rows(networks, system, block, work, begin, min(begin + each, work.rows))
        for back in range(net.blocks):
            block = net.blocks - 1 - back
            for panel in prange(panels):
                _message_gradients(networks, system, block, np.int64(panel), runs, pairs, work)
            if block > 0:
                for part in prange(parts):
                    begin = np.int64(part) * each
                    _gradient_rows(networks, system, block, work, begin, min(begin + each, work.rows))
        return _finish(net, cutoff, runs, x, pairs, work, f)

    return evaluate


evaluate_alone = _evaluation(team=False)
evaluate_together = _evaluation(team=True)
