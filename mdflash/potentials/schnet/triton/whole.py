"""A SchNet inside a program that owns a whole molecule: the sweeps of `message.py` and `dense.py`, all beads at once.

The program (`engine.gpu.whole`) has one replica of at most 64 beads. Every function here ends behind a
barrier, so that the next one may read what any thread has written. Work arrays belong to one replica. They are
small enough to stay in the L1 cache (64 features) or in L2.

What is computed is what `network.DeviceSchNet` launches; sums run over the same neighbors in the same order, in
another tree. A tile of messages is [rows, edges, channels]: some beads, some neighbors of each, all channels.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from mdflash.compiled.triton.vectors import load_vector
from mdflash.potentials.schnet.triton.activation import activate
from mdflash.potentials.schnet.triton.dense import layer_tile
from mdflash.potentials.schnet.triton.message import interval
from mdflash.potentials.schnet.triton.network import Layer, Parts


class WholeNetwork(NamedTuple):
    """The weights of all blocks behind each other; shapes are those of `network.Layer`, padded.

    Attributes:
        input, input_back: [blocks, H, F] and its transposes.
        first, first_back, first_bias: [blocks, F, H], [blocks, H, F], [blocks, H] from messages to features.
        second, second_back, second_bias: [blocks, H, H], [blocks, H, H], [blocks, H] behind the activation.
        output, output_back, output_bias: of each layer of the output network.
        last, last_bias: of the readout.
        table: [blocks, K, F, 4], in units of `scale` [blocks, F].
        start: [N, H] features of the molecule's beads before the first block.
    """

    input: Tensor
    input_back: Tensor
    first: Tensor
    first_back: Tensor
    first_bias: Tensor
    second: Tensor
    second_back: Tensor
    second_bias: Tensor
    output: tuple[Tensor, ...]
    output_back: tuple[Tensor, ...]
    output_bias: tuple[Tensor, ...]
    last: Tensor
    last_bias: Tensor
    table: Tensor
    scale: Tensor
    start: Tensor

    @staticmethod
    def of(parts: Parts, beads: int) -> WholeNetwork:
        """A network of one molecule, filled up to `beads` beads."""

        def stacked(layers: list[Layer]) -> tuple[Tensor, ...]:
            return tuple(torch.stack(each) for each in zip(*map(_whole_layer, layers), strict=True))

        into, into_back, _ = stacked(parts.input)
        first, first_back, first_bias = stacked([a for a, _ in parts.update])
        second, second_back, second_bias = stacked([b for _, b in parts.update])
        start = parts.start.new_zeros(beads, parts.start.shape[1])
        start[: len(parts.start)] = parts.start
        output = [_whole_layer(layer) for layer in parts.output]
        return WholeNetwork(
            into, into_back, first, first_back, first_bias, second, second_back, second_bias,
            tuple(o[0] for o in output), tuple(o[1] for o in output), tuple(o[2] for o in output),
            parts.last, parts.last_bias,
            torch.stack([table.reshape(table.shape[1], -1, 4) for table, _ in parts.tables]),
            torch.stack([scale for _, scale in parts.tables]), start,
        )  # fmt: skip


def _whole_layer(layer: Layer) -> tuple[Tensor, Tensor, Tensor]:
    """A layer's weight, its transpose and its bias, zeros where it has none."""
    bias = layer.bias if layer.bias is not None else layer.weight.new_zeros(layer.weight.shape[1])
    return layer.weight, layer.back.contiguous(), bias


class Lists(NamedTuple):
    """The near neighbors of one replica's beads, as `select_near` has those of a batch.

    Attributes:
        near: [N, N] int32 beads of the molecule, ascending; place, toward ([N, N, 3]): as there;
        length: [N] int32 how many.
    """

    near: Tensor
    place: Tensor
    toward: Tensor
    length: Tensor


class NetworkWork(NamedTuple):
    """Work arrays, [R, ...] each.

    Attributes:
        h: [blocks, N, F] what messages carry; the first block's is filled once.
        z: [blocks, N, H] pre-activations.
        x, gx, gt: [N, H]; message, ga, gh: [N, F].
        out: for each layer of the output network its pre-activations, and gout: gradients by them; [N, width].
        energy: [N], share: [N, 3] forces.
    """

    h: Tensor
    z: Tensor
    x: Tensor
    gx: Tensor
    gt: Tensor
    message: Tensor
    ga: Tensor
    gh: Tensor
    out: tuple[Tensor, ...]
    gout: tuple[Tensor, ...]
    energy: Tensor
    share: Tensor


@triton.jit
def near_of_all(
    x: tl.tensor, beads: tl.tensor, silent: tl.tensor, near: tl.tensor, place: tl.tensor, toward: tl.tensor,
    count: tl.tensor, CUTOFF: tl.constexpr, N: tl.constexpr, ROWS: tl.constexpr,
) -> None:  # fmt: skip
    """The neighbors of every bead that are nearer than CUTOFF, of all pairs; as `neighbors.triton.select_near`.

    Args:
        x: [beads, 3] float64 Å of this replica.
        silent: [N] int64: bit j of row i is set where i and j exchange no message.
        near, place, toward, count: `Lists` of this replica, out.
    """
    j = tl.arange(0, N)
    there = j < beads
    bit = j.to(tl.int64)[None, :]
    xj, yj, zj = load_vector(x, j, there)
    for start in range(0, N, ROWS):
        i = start + tl.arange(0, ROWS)
        mine = i < beads
        xi, yi, zi = load_vector(x, i, mine)
        quiet = tl.load(silent + i)[:, None]
        dx = xj[None, :] - xi[:, None]
        dy = yj[None, :] - yi[:, None]
        dz = zj[None, :] - zi[:, None]
        square = dx * dx + dy * dy + dz * dz
        keep = there[None, :] & mine[:, None] & (square < CUTOFF * CUTOFF) & (((quiet >> bit) & 1) == 0)
        kept = keep.to(tl.int32)
        at = i[:, None] * N + tl.cumsum(kept, axis=1) - 1
        d = tl.sqrt(square)
        tl.store(near + at, j[None, :] + i[:, None] * 0, mask=keep)
        if place.dtype.element_ty == tl.int32:
            tl.store(place + at, tl.minimum(d * (2147483648.0 / CUTOFF), 2147483647.0).to(tl.int32), mask=keep)
        else:
            tl.store(place + at, d, mask=keep)
        scale = tl.where(square > 0, 1.0 / tl.where(square > 0, d, 1.0), 0.0)
        tl.store(toward + 3 * at, dx * scale, mask=keep)
        tl.store(toward + 3 * at + 1, dy * scale, mask=keep)
        tl.store(toward + 3 * at + 2, dz * scale, mask=keep)
        tl.store(count + i, tl.sum(kept, axis=1))
    tl.debug_barrier()


@triton.jit
def _cubics(
    table: tl.tensor, k: tl.tensor, c: tl.tensor, F: tl.constexpr, ROWS: tl.constexpr, E: tl.constexpr,
    CHANNELS: tl.constexpr, DTYPE: tl.constexpr,
) -> tuple[tl.tensor, tl.tensor, tl.tensor, tl.tensor]:  # fmt: skip
    """v, s, c and e of the channels c at the intervals k [ROWS, E]: [ROWS, E, CHANNELS] each."""
    part = tl.arange(0, 4)[None, None, None, :]
    tile = tl.load(table + k[:, :, None, None] * (4 * F) + (4 * c)[None, None, :, None] + part)
    even, odd = tl.split(tl.reshape(tile, [ROWS, E, CHANNELS, 2, 2]))
    v, curve = tl.split(even)
    slope, last = tl.split(odd)
    return v.to(DTYPE), slope.to(DTYPE), curve.to(DTYPE), last.to(DTYPE)


@triton.jit
def _neighbors(
    near: tl.tensor, place: tl.tensor, i: tl.tensor, number: tl.tensor, m: tl.tensor | int, N: tl.constexpr,
    INTERVALS: tl.constexpr, STEP: tl.constexpr, SHIFT: tl.constexpr, E: tl.constexpr,
) -> tuple[tl.tensor, tl.tensor, tl.tensor, tl.tensor, tl.tensor]:  # fmt: skip
    """The neighbors m:m + E of the beads i [ROWS]: entries, which there are, beads, intervals, and places in them."""
    e = m + tl.arange(0, E)
    inside = e[None, :] < number[:, None]
    at = i[:, None] * N + e[None, :]
    j = tl.load(near + at, mask=inside, other=0)
    k, t = interval(tl.load(place + at, mask=inside, other=0), INTERVALS, STEP, SHIFT)
    return at, inside, j, k, t


@triton.jit
def _messages(
    h: tl.tensor, table: tl.tensor, scale: tl.tensor, near: tl.tensor, place: tl.tensor, count: tl.tensor,
    out: tl.tensor, N: tl.constexpr, F: tl.constexpr, INTERVALS: tl.constexpr, STEP: tl.constexpr,
    SHIFT: tl.constexpr, ROWS: tl.constexpr, E: tl.constexpr, CHANNELS: tl.constexpr,
) -> None:  # fmt: skip
    """out[i] = sum_j h_j w(d_ij) of all beads; see `message.gather_messages`."""
    DTYPE: tl.constexpr = out.dtype.element_ty
    for start in range(0, N, ROWS):
        i = start + tl.arange(0, ROWS)
        number = tl.load(count + i)
        most = tl.max(number, axis=0)
        for slice_ in range(0, F, CHANNELS):
            c = slice_ + tl.arange(0, CHANNELS)
            acc = tl.zeros([ROWS, E, CHANNELS], DTYPE)
            for m in range(0, most, E):
                _at, inside, j, k, t = _neighbors(near, place, i, number, m, N, INTERVALS, STEP, SHIFT, E)
                v, s, curve, last = _cubics(table, k, c, F, ROWS, E, CHANNELS, DTYPE)
                hj = tl.load(h + j[:, :, None] * F + c[None, None, :], mask=inside[:, :, None], other=0.0)
                t = t[:, :, None]
                acc += (v + t * (s + t * (curve + t * last))) * hj.to(DTYPE)
            tl.store(out + i[:, None] * F + c[None, :], tl.sum(acc, axis=1) * tl.load(scale + c)[None, :])
    tl.debug_barrier()


@triton.jit
def _gradients(
    h: tl.tensor, g: tl.tensor, table: tl.tensor, scale: tl.tensor, near: tl.tensor, place: tl.tensor,
    toward: tl.tensor, count: tl.tensor, out: tl.tensor, share: tl.tensor, N: tl.constexpr, F: tl.constexpr,
    INTERVALS: tl.constexpr, STEP: tl.constexpr, SHIFT: tl.constexpr, FEATURES: tl.constexpr, ROWS: tl.constexpr,
    E: tl.constexpr, CHANNELS: tl.constexpr,
) -> None:  # fmt: skip
    """The backward sweep of all beads, forces added to `share` [N, 3]; see `message.scatter_gradients`."""
    DTYPE: tl.constexpr = g.dtype.element_ty
    for start in range(0, N, ROWS):
        i = start + tl.arange(0, ROWS)
        number = tl.load(count + i)
        most = tl.max(number, axis=0)
        fx = tl.zeros([ROWS, E], DTYPE)
        fy = tl.zeros([ROWS, E], DTYPE)
        fz = tl.zeros([ROWS, E], DTYPE)
        for slice_ in range(0, F, CHANNELS):
            c = slice_ + tl.arange(0, CHANNELS)
            own = i[:, None] * F + c[None, :]
            unit = tl.load(scale + c)[None, :]
            gi = (tl.load(g + own) * unit * (1.0 / STEP))[:, None, :]
            hi = (tl.load(h + own).to(DTYPE) * unit * (1.0 / STEP))[:, None, :]
            acc = tl.zeros([ROWS, E, CHANNELS], DTYPE)
            for m in range(0, most, E):
                at, inside, j, k, t = _neighbors(near, place, i, number, m, N, INTERVALS, STEP, SHIFT, E)
                ux, uy, uz = load_vector(toward, at, inside)
                v, s, curve, last = _cubics(table, k, c, F, ROWS, E, CHANNELS, DTYPE)
                others = j[:, :, None] * F + c[None, None, :]
                gj = tl.load(g + others, mask=inside[:, :, None], other=0.0)
                hj = tl.load(h + others, mask=inside[:, :, None], other=0.0).to(DTYPE)
                t = t[:, :, None]
                rest = curve + t * last
                slope = s + t * rest
                if FEATURES:
                    acc += gj * (v + t * slope)
                slope += t * (rest + t * last)
                pull = tl.sum(slope * (gi * hj + gj * hi), axis=2)
                fx += pull * ux
                fy += pull * uy
                fz += pull * uz
            if FEATURES:
                tl.store(out + own, tl.sum(acc, axis=1) * unit)
        _add_to(share, i, tl.sum(fx, axis=1), tl.sum(fy, axis=1), tl.sum(fz, axis=1))
    tl.debug_barrier()


@triton.jit
def _add_to(share: tl.tensor, i: tl.tensor, fx: tl.tensor, fy: tl.tensor, fz: tl.tensor) -> None:
    """share[i] += f."""
    tl.store(share + 3 * i, tl.load(share + 3 * i) + fx)
    tl.store(share + 3 * i + 1, tl.load(share + 3 * i + 1) + fy)
    tl.store(share + 3 * i + 2, tl.load(share + 3 * i + 2) + fz)


@triton.jit
def _layer(
    a: tl.tensor, z: tl.tensor, weight: tl.tensor, bias: tl.tensor, residual: tl.tensor, out: tl.tensor,
    STRIDE: tl.constexpr, K: tl.constexpr, M: tl.constexpr, PRELUDE: tl.constexpr, ACT: tl.constexpr,
    BIASED: tl.constexpr, ADD: tl.constexpr, PRECISION: tl.constexpr, N: tl.constexpr, TILE: tl.constexpr,
) -> None:  # fmt: skip
    """A layer [K, M] of all beads; see `dense.dense`. TILE: rows, columns and depth of a product."""
    ROWS: tl.constexpr = TILE[0]
    WIDE: tl.constexpr = TILE[1] if TILE[1] < M else M
    DEEP: tl.constexpr = TILE[2] if TILE[2] < K else K
    for row in range(0, N, ROWS):
        m = row + tl.arange(0, ROWS)
        for column in range(0, M, WIDE):
            layer_tile(
                a, z, weight, bias, residual, out, m, column + tl.arange(0, WIDE), N, STRIDE, K, M, PRELUDE, ACT,
                BIASED, ADD, PRECISION, ROWS, WIDE, DEEP,
            )  # fmt: skip
    tl.debug_barrier()


@triton.jit
def network_of_one(
    net: tl.core.base_value, lists: tl.core.base_value, work: tl.core.base_value, p: tl.tensor, BLOCKS: tl.constexpr,
    N: tl.constexpr, F: tl.constexpr, WIDTHS: tl.constexpr, ACT: tl.constexpr,
    INTERVALS: tl.constexpr, STEP: tl.constexpr, SHIFT: tl.constexpr, ROWS: tl.constexpr, EDGES: tl.constexpr,
    CHANNELS: tl.constexpr, TILE: tl.constexpr, PRECISION: tl.constexpr,
) -> None:  # fmt: skip
    """Energies `work.energy` [N] and forces `work.share` [N, 3] of the beads of replica p.

    Args:
        net: `WholeNetwork`.
        lists, work: `Lists`, `NetworkWork`.
        p: int64, the replica's row in them.
        BLOCKS: how many.
        WIDTHS: of the features, and of what each layer of the output network gives.
        ROWS, EDGES, CHANNELS: of a tile of messages; TILE: rows, columns and depth of a product.
    """
    H: tl.constexpr = WIDTHS[0]
    LAYERS: tl.constexpr = len(WIDTHS) - 1
    near = lists.near + p * (N * N)
    place = lists.place + p * (N * N)
    toward = lists.toward + p * (3 * N * N)
    count = lists.length + p * N
    h = work.h + p * (BLOCKS * N * F)
    z = work.z + p * (BLOCKS * N * H)
    x = work.x + p * (N * H)
    gx = work.gx + p * (N * H)
    gt = work.gt + p * (N * H)
    message = work.message + p * (N * F)
    ga = work.ga + p * (N * F)
    gh = work.gh + p * (N * F)
    share = work.share + p * (3 * N)
    n = tl.arange(0, N)
    at = n[:, None] * H + tl.arange(0, H)[None, :]
    tl.store(x + at, tl.load(net.start + at))
    zero = (n * 0).to(work.share.dtype.element_ty)
    tl.store(share + 3 * n, zero)
    tl.store(share + 3 * n + 1, zero)
    tl.store(share + 3 * n + 2, zero)
    for b in range(0, BLOCKS):
        _messages(
            h + b * (N * F), net.table + b * (4 * F * INTERVALS), net.scale + b * F, near, place, count, message,
            N, F, INTERVALS, STEP, SHIFT, ROWS, EDGES, CHANNELS,
        )  # fmt: skip
        zb = z + b * (N * H)
        _layer(
            message, message, net.first + b * (F * H), net.first_bias + b * H, zb, zb, F, F, H, 0, ACT, True,
            False, PRECISION, N, TILE,
        )  # fmt: skip
        _layer(
            zb, zb, net.second + b * (H * H), net.second_bias + b * H, x, x, H, H, H, 1, ACT, True, True,
            PRECISION, N, TILE,
        )  # fmt: skip
        if b + 1 < BLOCKS:
            _layer(
                x, x, net.input + (b + 1) * (H * F), net.first_bias, x, h + (b + 1) * (N * F), H, H, F, 0, ACT,
                False, False, PRECISION, N, TILE,
            )  # fmt: skip
    for k in tl.static_range(LAYERS):
        a = x if k == 0 else work.out[k - 1] + p * (N * WIDTHS[k])
        out = work.out[k] + p * (N * WIDTHS[k + 1])
        _layer(
            a, a, net.output[k], net.output_bias[k], a, out, WIDTHS[k], WIDTHS[k], WIDTHS[k + 1], 0 if k == 0 else 1,
            ACT, True, False, PRECISION, N, TILE,
        )  # fmt: skip
    a = x if LAYERS == 0 else work.out[LAYERS - 1] + p * (N * WIDTHS[LAYERS])
    _readout(net.last, net.last_bias, a, work.energy + p * N, N, WIDTHS[LAYERS], LAYERS > 0, ACT)
    if LAYERS == 0:
        tl.store(gx + at, tl.load(net.last + tl.arange(0, H))[None, :] + 0.0 * at)
        tl.debug_barrier()
    for k in tl.static_range(LAYERS - 1, -1, -1):
        g = net.last if k == LAYERS - 1 else work.gout[k] + p * (N * WIDTHS[k + 1])
        into = gx if k == 0 else work.gout[k - 1] + p * (N * WIDTHS[k])
        a = work.out[k] + p * (N * WIDTHS[k + 1])
        _layer(
            g, a, net.output_back[k], net.last, g, into, 0 if k == LAYERS - 1 else WIDTHS[k + 1],
            WIDTHS[k + 1], WIDTHS[k], 2, ACT, False, False, PRECISION, N, TILE,
        )  # fmt: skip
    for back in range(0, BLOCKS):
        b = BLOCKS - 1 - back
        zb = z + b * (N * H)
        _layer(
            gx, gx, net.second_back + b * (H * H), net.last, gt, gt, H, H, H, 0, ACT, False, False, PRECISION, N, TILE
        )
        _layer(
            gt, zb, net.first_back + b * (H * F), net.last, ga, ga, H, H, F, 2, ACT, False, False, PRECISION, N, TILE
        )
        hb = h + b * (N * F)
        table = net.table + b * (4 * F * INTERVALS)
        scale = net.scale + b * F
        if b > 0:
            _gradients(
                hb, ga, table, scale, near, place, toward, count, gh, share, N, F, INTERVALS, STEP, SHIFT, True, ROWS,
                EDGES, CHANNELS,
            )  # fmt: skip
            _layer(
                gh, gh, net.input_back + b * (H * F), net.last, gx, gx, F, F, H, 0, ACT, False, True, PRECISION, N,
                TILE,
            )  # fmt: skip
        else:
            _gradients(
                hb, ga, table, scale, near, place, toward, count, gh, share, N, F, INTERVALS, STEP, SHIFT, False, ROWS,
                EDGES, CHANNELS,
            )  # fmt: skip


@triton.jit
def _readout(
    last: tl.tensor, bias: tl.tensor, z: tl.tensor, energy: tl.tensor, N: tl.constexpr, K: tl.constexpr,
    ACTIVATED: tl.constexpr, ACT: tl.constexpr,
) -> None:  # fmt: skip
    """energy[i] = act(z[i]) . weight + bias: the last layer, one output; nobody reads it before the next barrier."""
    n = tl.arange(0, N)
    k = tl.arange(0, K)
    x = tl.load(z + n[:, None] * K + k[None, :])
    if ACTIVATED:
        x = activate(x, ACT)[0]
    tl.store(energy + n, tl.sum(x * tl.load(last + k)[None, :], axis=1) + tl.load(bias))
