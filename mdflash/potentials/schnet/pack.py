"""Pack SchNet potentials into the flat arrays that the compiled kernels read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, NamedTuple, cast

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn

from mdflash.compiled.activations import CODES
from mdflash.compiled.panels import PANEL_BYTES
from mdflash.core.state import Layout
from mdflash.core.types import FloatArray, Precision
from mdflash.potentials.backbones.arrays import Rule
from mdflash.potentials.backbones.backbone import ResidualStack
from mdflash.potentials.backbones.cpu import fields
from mdflash.potentials.backbones.pack import opened_at_start, pack_merge, pack_rule, start_state
from mdflash.potentials.backbones.residual import Connection
from mdflash.potentials.schnet.arrays import Layer, Networks, Shape, Weights
from mdflash.potentials.schnet.network import Block, SchNet
from mdflash.potentials.schnet.potential import SchNetPotential
from mdflash.potentials.schnet.tables import FilterTables

DTYPES: Final[Mapping[Precision, type[np.floating]]] = MappingProxyType(
    {"fp64": np.float64, "fp32": np.float32, "mixed16": np.float32}
)
"""Of the kernels' arithmetic; "mixed16" keeps its tables in 16 bits."""


class _Flat:
    """One long array, filled part by part; every part is a whole number of panels."""

    def __init__(self, dtype: npt.DTypeLike, width: int) -> None:
        self.dtype, self.width = np.dtype(dtype), width
        self._parts: list[npt.NDArray[Any]] = []
        self._size = 0

    def up(self, n: int) -> int:
        """n rounded up to whole panels."""
        return -(-n // self.width) * self.width

    def panels(self, matrix: FloatArray) -> FloatArray:
        """[rows, n] -> [n / width, rows, width], filled up with zeros."""
        padded = np.pad(matrix, ((0, 0), (0, self.up(matrix.shape[1]) - matrix.shape[1])))
        return np.asarray(padded.reshape(len(matrix), -1, self.width).transpose(1, 0, 2))

    def add(self, values: npt.NDArray[Any]) -> int:
        """Append; returns where the part begins."""
        flat = values.astype(self.dtype).ravel()
        flat = np.pad(flat, (0, self.up(len(flat)) - len(flat)))
        self._parts.append(flat)
        self._size += len(flat)
        return self._size - len(flat)

    def weights(self, matrix: FloatArray) -> int:
        """Append [n_in, n_out] as a layer's weights."""
        return self.add(self.panels(np.pad(matrix, ((0, self.up(len(matrix)) - len(matrix)), (0, 0)))))

    def array(self) -> npt.NDArray[Any]:
        """Everything, beginning on a cache line."""
        spare = 64 // self.dtype.itemsize
        buffer = np.empty(self._size + spare, self.dtype)
        skip = -(buffer.ctypes.data // self.dtype.itemsize) % spare
        out = buffer[skip : skip + self._size]
        if self._parts:
            np.concatenate(self._parts, out=out)
        return out


class _Parts(NamedTuple):
    data: _Flat
    tables: _Flat
    scales: _Flat


def pack_networks(
    potentials: Sequence[SchNetPotential],
    tables: Mapping[int, FilterTables],
    layout: Layout,
    precision: Precision,
) -> Networks:
    """The networks of a batch, for kernels in `precision`.

    Args:
        potentials: at most one of them has a network for any one system.
        tables: of each network, by `id`.
        layout: the batch.
    """
    dtype = DTYPES[precision]
    width = PANEL_BYTES // np.dtype(dtype).itemsize
    parts = _Parts(
        _Flat(dtype, width), _Flat(np.int16 if precision == "mixed16" else dtype, width), _Flat(dtype, width)
    )
    shapes: list[Shape] = []
    layers: list[Layer] = []
    rules: list[Rule] = []
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
                shapes.append(_pack_one(model, tables[id(model)], parts, layers, rules))
            network[s], cutoff[s] = known[id(model)], model.hyper.cutoff
            types[s][:] = potential.types[s].numpy()
            excluded = potential.excluded[s][np.lexsort(potential.excluded[s].T[::-1])]
        starts.append(count + np.searchsorted(excluded[:, 0], np.arange(n + 1)))
        exclusion.append(excluded[:, 1])
        count += len(excluded)
    weights = Weights(
        network,
        np.concatenate(types),
        np.concatenate(([0], np.cumsum(sizes))),
        np.concatenate(starts),
        np.concatenate(exclusion),
        cutoff,
        np.array(shapes, np.int64).reshape(-1, len(Shape._fields)),
        np.array(layers, np.int64).reshape(-1, len(Layer._fields)),
        parts.data.array(),
        parts.scales.array(),
    )
    joined = np.array(rules, np.int64).reshape(-1, len(Rule._fields)) if rules else None
    return Networks(weights, parts.tables.array(), joined)


def _numpy(tensor: Tensor) -> FloatArray:
    return tensor.detach().cpu().double().numpy()


def _pack_layer(linear: nn.Linear, data: _Flat) -> Layer:
    matrix = _numpy(linear.weight).T  # [n_in, n_out]
    bias = -1 if linear.bias is None else data.add(_numpy(linear.bias))
    n_in, n_out = map(data.up, matrix.shape)
    return Layer(n_in, n_out, data.weights(matrix), data.weights(matrix.T), bias)


def _pack_one(model: SchNet, tables: FilterTables, parts: _Parts, layers: list[Layer], rules: list[Rule]) -> Shape:
    data = parts.data
    embedding = _numpy(model.embedding)
    first = len(layers)
    blocks = cast(list[Block], list(model.blocks))
    packed = []
    for block in blocks:
        linears = [block.input, *cast(list[nn.Linear], list(block.update))]
        packed.append([_pack_layer(linear, data) for linear in linears])
    for depth in range(model.hyper.blocks):
        layers += packed[depth % len(blocks)]
    *hidden, last = cast(list[nn.Linear], list(model.output))
    layers += [_pack_layer(linear, data) for linear in hidden]
    outputs = [data.up(linear.out_features) for linear in hidden]
    bias = np.zeros(1) if last.bias is None else _numpy(last.bias)
    last_row = _numpy(last.weight)[0]
    last_row = np.concatenate([np.pad(last_row, (0, data.up(len(last_row)) - len(last_row))), bias])
    rows: npt.NDArray[Any] = tables.rows
    scales = np.ones_like(tables.rows[:, :1])
    if parts.tables.dtype == np.int16:
        rows, scales = tables.sixteen_bits()
    h, f = data.up(model.hyper.features), data.up(model.hyper.filters)
    state, read, joined = _pack_backbone(model.residual, embedding, data, rules)
    return Shape(
        features=h,
        filters=f,
        blocks=model.hyper.blocks,
        intervals=tables.intervals,
        activation=CODES[model.hyper.activation],
        hidden=len(hidden),
        types=len(embedding),
        embedding=data.add(data.panels(state)),
        first_y=data.add(data.panels(read @ _numpy(blocks[0].input.weight).T)),
        last=data.add(last_row),
        layers=first,
        tables=parts.tables.add(_table_panels(rows, data)),
        scales=parts.scales.add(_table_panels(scales, data)),
        table_blocks=len(blocks),
        widest=max(h, f, *outputs, 0),
        slopes=model.hyper.blocks * h + sum(outputs),
        real_features=model.hyper.features,
        **joined,
    )


_NO_BACKBONE = {
    "rules": -1,
    "streams": 1,
    "merge": -1,
    "merge_norm": 0,
    "maps": 0,
    "numbers": 0,
    "start": -1,
    "opened": 0,
}


def _pack_backbone(
    residual: ResidualStack | None, embedding: FloatArray, data: _Flat, rules: list[Rule]
) -> tuple[FloatArray, FloatArray, dict[str, int]]:
    """The state in front of the first block and what it reads, by bead type, and the `Shape` of the backbone."""
    if residual is None:
        return embedding, embedding, _NO_BACKBONE
    types, features = embedding.shape
    state, read, numbers = start_state(residual, embedding)
    first = len(rules)
    own = [pack_rule(c, features, data) for c in cast(list[Connection], list(residual.connections))]
    own[0] = own[0]._replace(opened=opened_at_start(residual, read, data))
    rules += own
    padded = np.pad(state, ((0, 0), (0, 0), (0, data.up(features) - features)))
    shape = {
        "rules": first,
        "streams": own[0].streams,
        "merge": pack_merge(residual, data),
        "merge_norm": int(cast(Connection, residual.connections[0]).normed),
        "maps": own[0].wide,
        "numbers": fields(own[0]),
        "start": data.add(numbers.T),
        "opened": int(own[0].project >= 0),
    }
    return padded.reshape(types, -1), read, shape


def _table_panels(rows: npt.NDArray[Any], flat: _Flat) -> npt.NDArray[Any]:
    """[blocks, knots, 3, F] -> [blocks, F / width, knots, 3, width]."""
    blocks, knots, three, f = rows.shape
    padded = np.pad(rows, ((0, 0), (0, 0), (0, 0), (0, flat.up(f) - f)))
    return np.asarray(padded.reshape(blocks, knots, three, -1, flat.width).transpose(0, 3, 1, 2, 4))
