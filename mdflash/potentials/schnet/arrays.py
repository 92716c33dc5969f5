"""The flat arrays of the compiled SchNet: networks, what they belong to, and what an evaluation writes."""

from __future__ import annotations

from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from mdflash.compiled.arrays import integers
from mdflash.compiled.jit import njit
from mdflash.compiled.panels import ROW_STEP, panel_width
from mdflash.core.types import FloatArray, Int32Array, IntArray, Reals
from mdflash.potentials.backbones.arrays import Rule, Streams
from mdflash.potentials.backbones.maps import PART

CHUNK: Final = 512
"""Beads whose pairs are sorted together in a large molecule: its table rows, and the features that its pairs touch,
stay in a core's own cache."""
WHOLE: Final = 1024
"""Beads up to which a molecule is one chunk."""
RANGES: Final = 32
"""Ranges of distance with scales of their own in tables of 16 bits; a table has at least so many intervals."""


Tables: TypeAlias = npt.NDArray[Any]
"""[n] of floats, or of int16."""


class Weights(NamedTuple):
    """All networks of a run but for what `Networks` adds, and who uses them.

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
        scales: [block][panel of F][range][v, s, c][width] what an int16 of a table counts; see `tables.FilterTables`.
    """

    network: IntArray
    type: Int32Array
    first: IntArray
    exclusion_start: IntArray
    exclusion: IntArray
    cutoff: FloatArray
    shape: IntArray
    layers: IntArray
    data: Reals
    scales: Reals


class Networks(NamedTuple):
    """All networks of a run; made by `pack.pack_networks`.

    What is one type for some networks and another for others stands apart: what does not read it is compiled once.

    Attributes:
        weights: see there.
        tables: [block][panel of F][knot][v, s, c][width]; numbers of the dtype of the weights, or int16.
        rules: [blocks of all networks with a backbone, fields of `backbones.arrays.Rule`]; None where none has one.
    """

    weights: Weights
    tables: Tables
    rules: IntArray | None


class Shape(NamedTuple):
    """One network: sizes (in whole panels) and where its parts begin in `data`, `layers`, `tables` and `scales`."""

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
    scales: int
    table_blocks: int  # blocks with tables of their own: all, or 1 where weights are tied
    widest: int
    slopes: int  # channels of all activations
    rules: int  # of the first block, or -1 without a backbone
    streams: int
    merge: int  # shares of the streams, then of the blocks, in what the output reads
    merge_norm: int
    real_features: int
    maps: int  # see `Rule.wide`
    numbers: int  # see `backbones.cpu.fields`
    start: int  # see `backbones.cpu.start`
    opened: int  # 1 with a gate on the messages


class Layer(NamedTuple):
    """One dense layer; `backward` is its transpose."""

    n_in: int
    n_out: int
    forward: int
    backward: int
    bias: int


class Work(NamedTuple):
    """Arrays that an evaluation writes, for one replica; flat, see the table of `cpu`."""

    rows: int
    x: Reals
    gx: Reals
    y: Reals
    m: Reals
    gm: Reals
    a: Reals
    b: Reals
    slopes: Reals
    bead_energy: Reals
    force: FloatArray  # [2, N, 3] on the first and on the second beads of pairs
    state: Reals  # from here on as in `Streams`; empty without a backbone
    message: Reals
    logits: Reals
    stream_gradient: Reals
    numbers: Reals
    opened: Reals
    merged: Reals  # [H] what the output reads, before its norm


class PairWork(NamedTuple):
    """Pairs of one replica. `key` and `distance` are in the order of the neighbor list.

    The rest is in runs of one interval each, chunk by chunk of the first bead: the pairs of a chunk begin where its
    rows begin in the neighbor list.
    """

    key: Int32Array
    distance: FloatArray
    begin: IntArray  # [chunks, K + 2]
    runs: IntArray  # [chunks] intervals that have pairs
    run: IntArray  # [chunks, K + 1] where their pairs begin, and the end of the last
    knot: IntArray  # [chunks, K] their numbers
    first: Int32Array  # [P]
    second: Int32Array  # [P]
    t: Reals  # [P]
    inverse: Reals  # [P] 1 / distance, 1/Å
    slope: Reals  # [F / width, P] share of each panel in dE/dt


@njit(cache=True)
def shape_of(weights: Weights, system: int) -> Shape:
    s = weights.shape[weights.network[system]]  # number by number: `to_fixed_tuple` reads all, a tenth of a small step
    return Shape(
        s[0], s[1], s[2], s[3], s[4], s[5], s[6], s[7], s[8], s[9], s[10], s[11], s[12], s[13], s[14], s[15], s[16],
        s[17], s[18], s[19], s[20], s[21], s[22], s[23], s[24],
    )  # fmt: skip


@njit(cache=True)
def layer_of(weights: Weights, index: int) -> Layer:
    t = weights.layers[index]
    return Layer(t[0], t[1], t[2], t[3], t[4])


@njit(cache=True)
def rule_of(
    rules: IntArray,  # [rules, fields]
    index: int,
) -> Rule:
    t = rules[index]
    return Rule(
        t[0], t[1], t[2], t[3], t[4], t[5], t[6], t[7], t[8], t[9], t[10], t[11], t[12], t[13], t[14], t[15], t[16],
        t[17], t[18],
    )  # fmt: skip


@njit(cache=True)
def streams_of(work: Work) -> Streams:
    return Streams(work.state, work.message, work.logits, work.stream_gradient, work.numbers, work.opened)


@njit(cache=True)
def _aligned(size: int, like: Reals) -> Reals:
    """An empty array that begins on a cache line: vectors then never straddle two."""
    spare = 64 // like.itemsize
    a = np.empty(size + spare, like.dtype)
    skip = (-(a.ctypes.data // like.itemsize)) % spare
    return a[skip : skip + size]


@njit(cache=True)
def make_work(weights: Weights, system: int, n: int) -> Work:
    """Arrays for a replica of n beads."""
    net, like = shape_of(weights, system), weights.data
    rows = (n + ROW_STEP - 1) // ROW_STEP * ROW_STEP
    parts = (rows + PART - 1) // PART
    streams = net.streams if net.rules >= 0 else 0
    joined = streams * net.features * rows
    state = _aligned((net.blocks + 1) * joined, like)
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
        np.empty((2, n, 3)),
        state,
        _aligned(rows * net.features * net.blocks if streams else 0, like),
        _aligned(rows * net.maps, like),
        state[net.blocks * joined :],  # (once the output has read the last state)
        _aligned((net.blocks + 1) * parts * PART * net.numbers, like),
        _aligned(rows * net.features * net.blocks * net.opened, like),
        _aligned(rows * net.features if streams else 0, like),
    )


@njit(cache=True)
def make_pairs(weights: Weights, system: int, capacity: int) -> PairWork:
    """Arrays for a neighbor list of at most `capacity` pairs."""
    net, dtype = shape_of(weights, system), weights.data.dtype
    n = weights.first[system + 1] - weights.first[system]
    chunks = 1 if n <= WHOLE else (n + CHUNK - 1) // CHUNK
    return PairWork(
        np.empty(capacity, np.int32),
        np.empty(capacity),
        np.empty((chunks, net.intervals + 2), np.int64),
        integers(chunks),
        np.empty((chunks, net.intervals + 1), np.int64),
        np.empty((chunks, net.intervals), np.int64),
        np.empty(capacity, np.int32),
        np.empty(capacity, np.int32),
        np.empty(capacity, dtype),
        np.empty(capacity, dtype),
        np.empty((net.filters // panel_width(weights.data), capacity), dtype),
    )
