"""Pack SchNet potentials into the flat arrays that the compiled kernels read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import numpy as np
from torch import Tensor, nn

from mdflash.potentials.schnet.cpu import Floats, Layer, Networks, Shape
from mdflash.potentials.schnet.dense import CODES, PANEL_BYTES
from mdflash.potentials.schnet.network import Block, SchNet
from mdflash.potentials.schnet.potential import SchNetPotential
from mdflash.potentials.schnet.tables import FilterTables
from mdflash.state import Layout
from mdflash.system import FloatArray


class _Flat:
    """One long array, filled part by part; every part is a whole number of panels."""

    def __init__(self, dtype: type[np.floating]) -> None:
        self.dtype = np.dtype(dtype)
        self.width = PANEL_BYTES // self.dtype.itemsize
        self._parts: list[Floats] = []
        self._size = 0

    def up(self, n: int) -> int:
        """n rounded up to whole panels."""
        return -(-n // self.width) * self.width

    def panels(self, matrix: FloatArray) -> FloatArray:
        """[rows, n] -> [n / width, rows, width], filled up with zeros."""
        padded = np.pad(matrix, ((0, 0), (0, self.up(matrix.shape[1]) - matrix.shape[1])))
        return np.asarray(padded.reshape(len(matrix), -1, self.width).transpose(1, 0, 2))

    def add(self, values: FloatArray) -> int:
        """Append; returns where the part begins."""
        flat = values.astype(self.dtype).ravel()
        flat = np.pad(flat, (0, self.up(len(flat)) - len(flat)))
        self._parts.append(flat)
        self._size += len(flat)
        return self._size - len(flat)

    def weights(self, matrix: FloatArray) -> int:
        """Append [n_in, n_out] as a layer's weights."""
        return self.add(self.panels(np.pad(matrix, ((0, self.up(len(matrix)) - len(matrix)), (0, 0)))))

    def array(self) -> Floats:
        """Everything, beginning on a cache line."""
        spare = 64 // self.dtype.itemsize
        buffer = np.empty(self._size + spare, self.dtype)
        skip = -(buffer.ctypes.data // self.dtype.itemsize) % spare
        out = buffer[skip : skip + self._size]
        if self._parts:
            np.concatenate(self._parts, out=out)
        return out


def pack_networks(
    potentials: Sequence[SchNetPotential],
    tables: Mapping[int, FilterTables],
    layout: Layout,
    dtype: type[np.floating],
) -> Networks:
    """The networks of a batch, for kernels in `dtype` (np.float32 or np.float64).

    Args:
        potentials: at most one of them has a network for any one system.
        tables: of each network, by `id`.
        layout: the batch.
    """
    data, filters = _Flat(dtype), _Flat(dtype)
    shapes: list[Shape] = []
    layers: list[Layer] = []
    known: dict[int, int] = {}
    sizes = [system.n_beads for system in layout.systems]
    network = np.full(len(sizes), -1, np.int64)
    cutoff = np.zeros(len(sizes))
    types, starts, exclusion = [], [], []
    count = 0
    for s, n in enumerate(sizes):
        types.append(np.zeros(n, np.int32))
        excluded = np.zeros((0, 2), np.int64)
        for potential in potentials:
            model = potential.networks[s]
            if model is None:
                continue
            if id(model) not in known:
                known[id(model)] = len(shapes)
                shapes.append(_pack_one(model, tables[id(model)], data, filters, layers))
            network[s], cutoff[s] = known[id(model)], model.hyper.cutoff
            types[s][:] = potential.types[s].numpy()
            excluded = potential.excluded[s][np.lexsort(potential.excluded[s].T[::-1])]
        starts.append(count + np.searchsorted(excluded[:, 0], np.arange(n + 1)))
        exclusion.append(excluded[:, 1])
        count += len(excluded)
    return Networks(
        network,
        np.concatenate(types),
        np.concatenate(([0], np.cumsum(sizes))),
        np.concatenate(starts),
        np.concatenate(exclusion),
        cutoff,
        np.array(shapes, np.int64).reshape(-1, len(Shape._fields)),
        np.array(layers, np.int64).reshape(-1, len(Layer._fields)),
        data.array(),
        filters.array(),
    )


def _numpy(tensor: Tensor) -> FloatArray:
    return tensor.detach().cpu().double().numpy()


def _pack_layer(linear: nn.Linear, data: _Flat) -> Layer:
    matrix = _numpy(linear.weight).T  # [n_in, n_out]
    bias = -1 if linear.bias is None else data.add(_numpy(linear.bias))
    n_in, n_out = map(data.up, matrix.shape)
    return Layer(n_in, n_out, data.weights(matrix), data.weights(matrix.T), bias)


def _pack_one(model: SchNet, tables: FilterTables, data: _Flat, filters: _Flat, layers: list[Layer]) -> Shape:
    embedding = _numpy(model.embedding)
    first = len(layers)
    blocks = cast(list[Block], list(model.blocks))
    for block in blocks:
        linears = [block.input, *cast(list[nn.Linear], list(block.update))]
        layers += [_pack_layer(linear, data) for linear in linears]
    *hidden, last = cast(list[nn.Linear], list(model.output))
    layers += [_pack_layer(linear, data) for linear in hidden]
    outputs = [data.up(linear.out_features) for linear in hidden]
    bias = np.zeros(1) if last.bias is None else _numpy(last.bias)
    last_row = _numpy(last.weight)[0]
    last_row = np.concatenate([np.pad(last_row, (0, data.up(len(last_row)) - len(last_row))), bias])
    h, f = data.up(model.hyper.features), data.up(model.hyper.filters)
    return Shape(
        features=h,
        filters=f,
        blocks=model.hyper.blocks,
        intervals=tables.intervals,
        activation=CODES[model.hyper.activation],
        hidden=len(hidden),
        types=len(embedding),
        embedding=data.add(data.panels(embedding)),
        first_y=data.add(data.panels(embedding @ _numpy(blocks[0].input.weight).T)),
        last=data.add(last_row),
        layers=first,
        tables=filters.add(_table_panels(tables, filters)),
        widest=max(h, f, *outputs, 0),
        slopes=model.hyper.blocks * h + sum(outputs),
    )


def _table_panels(tables: FilterTables, filters: _Flat) -> FloatArray:
    """[blocks, K + 1, 3, F] -> [blocks, F / width, K + 1, 3, width]."""
    blocks, knots, rows, f = tables.rows.shape
    padded = np.pad(tables.rows, ((0, 0), (0, 0), (0, 0), (0, filters.up(f) - f)))
    return np.asarray(padded.reshape(blocks, knots, rows, -1, filters.width).transpose(0, 3, 1, 2, 4))
