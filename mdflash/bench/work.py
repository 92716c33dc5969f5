"""What one evaluation of a SchNet reads, writes and computes, counted from its sizes.

With N beads, P pairs within the cutoff, K table intervals that have pairs, L blocks, F filters, H features (both in
whole panels), and an element of s bytes:

    messages, forward   multiply-adds  5 P F       a cubic (3) and its product with two beads' features (2)
                        bytes          6 P F s     features of two beads read, sums of two beads read and written
    their gradient      multiply-adds  10 P F      derivative (2), its product (3), and for l > 0 filter and sums (5)
                        bytes          8 P F s     four rows read; for l > 0 two more read and written
    both                bytes          6 K F s     two rows of the table (v, s, c) for each interval
                                       (8 + s) P F / width   the pairs' beads and places in the interval
    dense layers        multiply-adds  N n_in n_out            for each layer, forward and backward
                        bytes          N n_in n_out s / T      weights, read once for each tile of T rows

Single additions and products count as multiply-adds. Activations, geometry and the sorting of pairs are left out: a
few per cent. Most bytes come from a cache, so their rate may exceed the bandwidth of the memory.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from mdflash.compiled.panels import PANEL_BYTES, TILE_ROWS
from mdflash.core.state import Layout
from mdflash.core.types import Box
from mdflash.neighbors.verlet import VerletList
from mdflash.potentials.base import Pairs
from mdflash.potentials.schnet.arrays import Layer, Networks, Shape

_CHUNK = 1 << 20
"""Pairs whose distances are held at a time."""


@dataclass(frozen=True)
class Work:
    """Counts of one evaluation, or of one step of a batch.

    Attributes:
        message_multiply_adds, dense_multiply_adds: operations.
        message_bytes, dense_bytes: read and written by the inner loops.
    """

    message_multiply_adds: float = 0.0
    dense_multiply_adds: float = 0.0
    message_bytes: float = 0.0
    dense_bytes: float = 0.0

    @property
    def multiply_adds(self) -> float:
        return self.message_multiply_adds + self.dense_multiply_adds

    @property
    def bytes(self) -> float:
        return self.message_bytes + self.dense_bytes

    def __add__(self, other: Work) -> Work:
        return Work(*(a + b for a, b in zip(vars(self).values(), vars(other).values(), strict=True)))


def shape_of(networks: Networks, system: int) -> Shape:
    """The sizes of a system's network."""
    return Shape(*networks.weights.shape[networks.weights.network[system]].tolist())


def dense_layers(networks: Networks, system: int) -> list[Layer]:
    """The layers that an evaluation multiplies by, each once forward and once backward."""
    net = shape_of(networks, system)
    rows = networks.weights.layers[net.layers : net.layers + 3 * net.blocks + net.hidden]
    return [Layer(*row) for row in rows[1:].tolist()]  # the first block's y depend on nothing but the bead types


def schnet_work(networks: Networks, system: int, beads: int, pairs: int, intervals: int) -> Work:
    """The counts of one evaluation; equations in the module's docstring.

    Args:
        networks: networks of the run.
        system: system of the network.
        beads: N.
        pairs: P, each counted once.
        intervals: K.
    """
    net = shape_of(networks, system)
    s = networks.weights.data.dtype.itemsize
    width = PANEL_BYTES // s
    per_channel = float(pairs * net.filters)
    first, others = 1, net.blocks - 1
    multiply_adds = per_channel * (5 * net.blocks + 5 * first + 10 * others)
    channel_bytes = per_channel * s * (6 * net.blocks + 4 * first + 8 * others)
    tables = 2 * net.blocks * 6.0 * intervals * net.filters * networks.tables.dtype.itemsize
    index = 2 * net.blocks * (8.0 + s) * pairs * net.filters / width
    dense = 2.0 * beads * sum(layer.n_in * layer.n_out for layer in dense_layers(networks, system))
    return Work(multiply_adds, dense, channel_bytes + tables + index, dense * s / TILE_ROWS)


@dataclass(frozen=True)
class Neighborhood:
    """What lies within the cutoff of a system's network: pairs of one replica (each once), and table intervals used."""

    pairs: int
    intervals: int


def neighborhood(
    layout: Layout,
    positions: torch.Tensor,
    cutoff: float,
    intervals: int,
    box: Box | None,
    replicas: range,
) -> list[Neighborhood]:
    """Count the pairs of `replicas` at `positions` [B, 3] Å, those that exchange no messages included."""
    pairs = VerletList(layout, cutoff, 0.0, box).pairs(positions)
    begin = np.searchsorted(pairs.first.numpy(), layout.bead_offset)  # rows are sorted
    found = []
    for r in replicas:
        count, used = 0, np.zeros(intervals + 1, bool)
        for first in range(int(begin[r]), int(begin[r + 1]), _CHUNK):
            rows = slice(first, min(first + _CHUNK, int(begin[r + 1])))
            shift = None if pairs.shift is None else pairs.shift[rows]
            part = Pairs(pairs.first[rows], pairs.second[rows], shift, pairs.cutoff)
            d = part.displacements(positions).norm(dim=1).numpy()
            d = d[d < cutoff]
            count += len(d)
            used[(d * (intervals / cutoff)).astype(np.int64)] = True
        found.append(Neighborhood(count, int(used.sum())))
    return found
