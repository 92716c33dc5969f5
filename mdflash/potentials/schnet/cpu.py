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

`arrays.py` has the arrays, `messages.py` what goes over pairs, `dense.py` the layers. Geometry is float64; everything
per feature has the dtype of the weights.

Threads of one replica share the work by panels of channels (messages) and by rows (dense layers): no two write to the
same place and every sum has one order, so bits do not depend on their number.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from mdflash.compiled.jit import int64, njit, prange
from mdflash.compiled.panels import activate, multiply, panel_width
from mdflash.compiled.simd import fma, load, splat, store, total
from mdflash.core.types import FloatArray, Int32Array, IntArray, Reals
from mdflash.potentials.backbones import cpu as backbone
from mdflash.potentials.backbones.merge import merge, merge_gradient, share_gradient
from mdflash.potentials.schnet.arrays import (
    PairWork,
    Shape,
    Tables,
    Weights,
    Work,
    layer_of,
    rule_of,
    shape_of,
    streams_of,
)
from mdflash.potentials.schnet.messages import (
    add_message_gradients,
    add_messages,
    measure_pairs,
    pair_forces,
    sort_pairs,
)

ROWS, TEAM_ROWS = 64, 16
"""Beads whose dense layers are done together by one thread, alone or among others."""

ZERO, NONE = int64(0), int64(-1)
"""Arguments of `multiply`; numba would compile it again for every literal number."""

TOGETHER_FROM: Final = 64
"""Beads from which several threads on one replica are faster than one."""


Evaluation = Callable[
    [Weights, Tables, IntArray | None, int, FloatArray, IntArray, IntArray, FloatArray, PairWork, Work, FloatArray],
    float,
]


@njit(cache=True)
def _gather(
    data: Reals,  # [n]
    source: int,
    n: int,
    types: int,
    type_: Int32Array,  # [N]
    out: Reals,  # flat
    o: int,
    rows: int,
    begin: int,
    end: int,
) -> None:
    """Rows of a matrix [types, n] in panels, by bead type; 0 for the rows that fill up the last tile."""
    width = panel_width(data)
    half = width // 2
    nothing = splat(load(data, source), 0.0)
    for p in range(n // width):
        for i in range(begin, end):
            to = o + (p * rows + i) * width
            v0, v1 = nothing, nothing
            if i < type_.shape[0]:
                at = source + (p * types + type_[i]) * width
                v0, v1 = load(data, at), load(data, at + half)
            store(out, to, v0)
            store(out, to + half, v1)


@njit(cache=True, error_model="numpy")
def _begin_rows(
    weights: Weights,
    rules: IntArray | None,
    system: int,
    work: Work,
    begin: int,
    end: int,
) -> None:
    net = shape_of(weights, system)
    type_ = weights.type[weights.first[system] : weights.first[system + 1]]
    plain = True
    if rules is not None:
        plain = net.rules < 0
        if not plain:
            channels = net.streams * net.features
            _gather(weights.data, net.embedding, channels, net.types, type_, work.state, ZERO, work.rows, begin, end)
            rule = rule_of(rules, net.rules)
            backbone.start(rule, weights.data, net.start, net.types, type_, streams_of(work), work.rows, begin, end)
    if plain:
        _gather(weights.data, net.embedding, net.features, net.types, type_, work.x, ZERO, work.rows, begin, end)
    _gather(weights.data, net.first_y, net.filters, net.types, type_, work.y, ZERO, work.rows, begin, end)


@njit(cache=True, error_model="numpy")
def _update_rows(
    weights: Weights, rules: IntArray | None, system: int, block: int, work: Work, begin: int, end: int
) -> None:
    """x from the messages of a block, then the next block's y, or the output network and back to gm."""
    net = shape_of(weights, system)
    data, rows = weights.data, work.rows
    u1, u2 = layer_of(weights, net.layers + 3 * block + 1), layer_of(weights, net.layers + 3 * block + 2)
    multiply(work.m, ZERO, u1.n_in, data, u1.forward, u1.bias, work.a, ZERO, u1.n_out, rows, begin, end, False)
    s = block * net.features * rows
    activate(net.activation, work.a, 0, work.slopes, s, u1.n_out, rows, begin, end)
    plain = True
    if rules is not None:
        plain = net.rules < 0
        if not plain:
            o = block * net.features * rows
            multiply(
                work.a, ZERO, u2.n_in, data, u2.forward, u2.bias, work.message, o, u2.n_out, rows, begin, end, False
            )
            _join_rows(net, weights, rules, block, work, begin, end)
    if plain:
        multiply(work.a, ZERO, u2.n_in, data, u2.forward, u2.bias, work.x, ZERO, u2.n_out, rows, begin, end, True)
    if block + 1 < net.blocks:
        b = layer_of(weights, net.layers + 3 * (block + 1))
        y = (block + 1) * net.filters * rows
        multiply(work.x, ZERO, b.n_in, data, b.forward, NONE, work.y, y, b.n_out, rows, begin, end, False)
    else:
        _output_rows(net, weights, work, begin, end)
        if rules is not None and net.rules >= 0:
            merge_gradient(net, data, work, begin, end)
        _update_gradient(net, weights, rules, block, work, begin, end)


@njit(cache=True, error_model="numpy")
def _join_rows(net: Shape, weights: Weights, rules: IntArray, block: int, work: Work, begin: int, end: int) -> None:
    """The residual streams behind a block, then what the next block or the output reads of them."""
    data, rows, streams = weights.data, work.rows, streams_of(work)
    size = net.streams * net.features * rows
    backbone.write(rule_of(rules, net.rules + block), data, streams, block * size, block, rows, begin, end)
    if block + 1 < net.blocks:
        after = rule_of(rules, net.rules + block + 1)
        backbone.read(after, data, streams, (block + 1) * size, block + 1, rows, begin, end, work.x, 0)
    else:
        merge(net, data, work, begin, end)


@njit(cache=True, error_model="numpy")
def _output_rows(net: Shape, weights: Weights, work: Work, begin: int, end: int) -> None:
    """Energy of each bead, and its gradient gx."""
    data, rows = weights.data, work.rows
    first = net.layers + 3 * net.blocks
    s = net.blocks * net.features * rows
    h, other, n = work.x, work.a, net.features
    for k in range(net.hidden):
        o = layer_of(weights, first + k)
        multiply(h, ZERO, o.n_in, data, o.forward, o.bias, other, ZERO, o.n_out, rows, begin, end, False)
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
        o = layer_of(weights, first + k)
        s -= o.n_out * rows
        _scale(g, work.slopes, s, o.n_out, rows, begin, end)
        to = work.gx if k == 0 else h
        multiply(g, ZERO, o.n_out, data, o.backward, NONE, to, ZERO, o.n_in, rows, begin, end, False)
        g, h = to, g


@njit(cache=True, error_model="numpy")
def _last_layer(
    net: Shape,
    data: Reals,  # [n]
    h: Reals,  # [n / width, rows, width]
    n: int,
    work: Work,
    begin: int,
    end: int,
) -> None:
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
def _scale(
    a: Reals,  # flat
    s: Reals,  # flat
    s0: int,
    n: int,
    rows: int,
    begin: int,
    end: int,
) -> None:
    """A <- A * S, elementwise."""
    width = panel_width(a)
    for p in range(n // width):
        for e in range((p * rows + begin) * width, (p * rows + end) * width, width // 2):
            store(a, e, load(a, e) * load(s, s0 + e))


@njit(cache=True, error_model="numpy")
def _update_gradient(
    net: Shape, weights: Weights, rules: IntArray | None, block: int, work: Work, begin: int, end: int
) -> None:
    """gm of a block, from gx behind it; with a backbone, from the gradient of the streams."""
    data, rows = weights.data, work.rows
    if rules is not None and net.rules >= 0:
        size = net.streams * net.features * rows
        rule = rule_of(rules, net.rules + block)
        backbone.write_gradient(rule, data, streams_of(work), block * size, block, rows, begin, end, work.gx, ZERO)
    u1, u2 = layer_of(weights, net.layers + 3 * block + 1), layer_of(weights, net.layers + 3 * block + 2)
    multiply(work.gx, ZERO, u2.n_out, data, u2.backward, NONE, work.a, ZERO, u2.n_in, rows, begin, end, False)
    _scale(work.a, work.slopes, block * net.features * rows, u2.n_in, rows, begin, end)
    multiply(work.a, ZERO, u1.n_out, data, u1.backward, NONE, work.gm, ZERO, u1.n_in, rows, begin, end, False)


@njit(cache=True, error_model="numpy")
def _gradient_rows(
    weights: Weights, rules: IntArray | None, system: int, block: int, work: Work, begin: int, end: int
) -> None:
    """gx in front of a block, from its gy; then gm of the block before."""
    net = shape_of(weights, system)
    b = layer_of(weights, net.layers + 3 * block)
    data, rows = weights.data, work.rows
    plain = True
    if rules is not None:
        plain = net.rules < 0
    multiply(work.m, ZERO, b.n_out, data, b.backward, NONE, work.gx, ZERO, b.n_in, rows, begin, end, plain)
    if rules is not None and not plain:
        streams = streams_of(work)
        size = net.streams * net.features * rows
        rule = rule_of(rules, net.rules + block)
        backbone.read_gradient(rule, data, streams, block * size, block, rows, begin, end, work.gx, 0)
        share_gradient(net, block - 1, data, work, begin, end)
    _update_gradient(net, weights, rules, block - 1, work, begin, end)


@njit(cache=True, error_model="numpy")
def _finish(
    x: FloatArray,  # [N, 3] Å
    work: Work,
    f: FloatArray,  # [N, 3] kcal/mol/Å
) -> float:
    """Add the forces to f; returns the energy (NaN where a position is not finite: its pairs were not listed)."""
    energy = 0.0
    for i in range(x.shape[0]):
        energy += work.bead_energy[i]
        for c in range(3):
            f[i, c] += work.force[0, i, c] + work.force[1, i, c]
            energy += 0.0 * x[i, c]
    return energy


def _evaluation(team: bool) -> Evaluation:
    """Compile the evaluation for one thread, or for all threads on one replica; the same bits."""

    @njit(cache=True, unit=True, parallel={"prange": True, "numpy": False} if team else False, error_model="numpy")
    def evaluate(
        weights: Weights,
        tables: Tables,
        rules: IntArray | None,
        system: int,
        box: FloatArray,  # [3] edges in Å, 0 for no box
        start: IntArray,  # [N + 1]
        neighbor: IntArray,  # [P]
        x: FloatArray,  # [N, 3] Å
        pairs: PairWork,
        work: Work,
        f: FloatArray,  # [N, 3] kcal/mol/Å
    ) -> float:
        # (a parallel loop takes no tuple of one kind of numbers: its body looks the shape up again)
        net, cutoff = shape_of(weights, system), weights.cutoff[system]
        shares = TEAM_ROWS if team else 1
        for share in prange(shares):
            measure_pairs(
                shape_of(weights, system), cutoff, box, start, neighbor, x, pairs, int64(share), shares
            )  # fmt: skip
        for chunk in prange(pairs.runs.shape[0]):
            sort_pairs(shape_of(weights, system), cutoff, start, neighbor, x.shape[0], pairs, int64(chunk))
        panels = net.filters // panel_width(weights.data)
        each = TEAM_ROWS if team else ROWS
        parts = (work.rows + each - 1) // each
        for part in prange(parts):
            begin = int64(part) * each
            _begin_rows(weights, rules, system, work, begin, min(begin + each, work.rows))
        for block in range(net.blocks):
            for panel in prange(panels):
                add_messages(weights, tables, system, block, int64(panel), pairs, work)
            for part in prange(parts):
                begin = int64(part) * each
                _update_rows(weights, rules, system, block, work, begin, min(begin + each, work.rows))
        for back in range(net.blocks):
            block = net.blocks - 1 - back
            for panel in prange(panels):
                add_message_gradients(weights, tables, system, block, int64(panel), pairs, work)
            if block > 0:
                for part in prange(parts):
                    begin = int64(part) * each
                    _gradient_rows(weights, rules, system, block, work, begin, min(begin + each, work.rows))
        sides = 2 if team else 1
        for side in prange(sides):
            both = sides == 1
            pair_forces(
                shape_of(weights, system), cutoff, box, x, pairs, work.force, both or side == 0, both or side == 1
            )  # fmt: skip
        return _finish(x, work, f)

    return evaluate


evaluate_alone = _evaluation(team=False)
evaluate_together = _evaluation(team=True)
