"""A SchNet on the device: packed weights, work arrays, and the sequence of kernels of one evaluation.

One evaluation of L blocks launches L gathers, 3 L - 1 dense layers forward, as many backward, L scatters, and the
output network. With filters in parts, a sweep of near pairs is followed by one of far pairs (`far.py`), and one of
those in the middle (`gathered.py`). Work arrays are allocated once; nothing returns to the host.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
from torch import Tensor

from mdflash.compiled.activations import CODES
from mdflash.core.types import Precision
from mdflash.errors import InputError
from mdflash.neighbors.mapped import MappedLists
from mdflash.neighbors.tiles import TileLists
from mdflash.potentials.schnet.network import SchNet
from mdflash.potentials.schnet.split import SplitFilters
from mdflash.potentials.schnet.tables import FilterTables
from mdflash.potentials.schnet.triton import dense, filters, message
from mdflash.potentials.schnet.triton.far_field import DeviceFarField, FarShape
from mdflash.potentials.schnet.triton.middle_field import DeviceMiddleField

Part = TypeVar("Part")
HALF_RANGE = 32768.0
"""The largest number of a table of 16 bits: with one scale for v, s, c and e, the small ones stay normal numbers."""
LARGEST = 1024
"""Features, filters, basis functions or output widths that the kernels' tiles can hold."""


@dataclass(frozen=True)
class Tiles:
    """Shapes of the kernels' tiles: they change speed, and the last bits.

    Attributes:
        channels: slice of a program of the message kernels; None: 64 where tables are of 16 bits, or else 32.
        lanes: channels that the threads of a warp take side by side; the rest are for the registers of each.
        edges, warps: of the message kernels.
        exact_edges, exact_warps: of those with the exact filters; chunk: hidden units they take at a time.
        rows, columns, depth, dense_warps: of the dense layers.
        precision: of the products of tiles in fp32: "ieee", "tf32x3" or "tf32" (which put forces off by up to 4e-3
            for a fifth of the dense layers' time).
        far: of the kernels of far and middle pairs.
    """

    channels: int | None = None
    lanes: int = 16
    edges: int = 8
    warps: int = 1
    exact_edges: int = 32
    exact_warps: int = 8
    chunk: int = 16
    rows: int = 32
    columns: int = 64
    depth: int = 32
    dense_warps: int = 4
    precision: str = "ieee"
    far: FarShape = field(default_factory=FarShape)


TILES = Tiles()
"""The default shapes."""


@dataclass(frozen=True)
class NearList:
    """The near neighbors, as `neighbors.triton.select_near` leaves them; see there for shapes.

    `far` are the tiles of the pairs beyond them, and `middle` the neighbors between the two, for filters in parts.
    """

    near: Tensor
    place: Tensor
    toward: Tensor
    count: Tensor
    capacity: int
    far: TileLists | None = None
    middle: MappedLists | None = None


def why_not(model: SchNet, exact: bool) -> str | None:
    """Why the kernels cannot evaluate this network; None if they can."""
    hyper = model.hyper
    widest = max(hyper.features, hyper.filters, hyper.basis_size, *hyper.filter_hidden, *hyper.output, 0)
    if widest > LARGEST:
        return f"a layer of the network is {widest} wide, the GPU kernels hold {LARGEST}"
    if exact and "quintic" in (hyper.basis_envelope, hyper.filter_envelope):
        return "filters: exact knows no quintic envelope; filters: table does"
    if exact and len(hyper.filter_hidden) != 1:
        return f"filters: exact needs a filter network with one hidden layer, this one has {len(hyper.filter_hidden)}"
    return None


def _up(n: int) -> int:
    """The next power of two, at least 16 (the smallest side of a product of tiles)."""
    return max(16, 1 << (n - 1).bit_length())


def _pad(matrix: Tensor, *sizes: int) -> Tensor:
    """Filled up with zeros: a padded channel is 0 and has no weight."""
    out = matrix.new_zeros(sizes)
    out[tuple(slice(0, n) for n in matrix.shape)] = matrix
    return out


@dataclass(frozen=True)
class Layer:
    """A linear layer [K, N], padded; `back` is its transpose."""

    weight: Tensor
    back: Tensor
    bias: Tensor | None


@dataclass(frozen=True)
class Parts:
    """What a network on the device consists of, for kernels that evaluate all of it at once.

    Attributes:
        input, update, output: layers; of `input` and `update` those of each block.
        last, last_bias: of the readout; its operand is as wide as `widths[-1]`.
        widths: of the features, and of what each layer of `output` gives.
        tables: of each block [slices, K, C, 4], and the scales [F] of its channels.
        start: [n, H] features before the first block; first: [n, F] what its messages carry.
    """

    input: list[Layer]
    update: list[tuple[Layer, Layer]]
    output: list[Layer]
    last: Tensor
    last_bias: Tensor
    widths: list[int]
    tables: list[tuple[Tensor, Tensor]]
    start: Tensor
    first: Tensor


class DeviceSchNet:
    """One network over the beads `first` to `first + n` of the flat batch.

    Args:
        model: the network.
        tables: its filters as tables, or in parts; None: exact filters.
        types: [n] embedding row of each bead.
        first: their first flat row.
        precision: "fp64", "fp32", or "mixed16" (16-bit tables and gathered features; fp32 sums).
        device: where the kernels run.
        tiles: shapes of the tiles.

    Raises:
        InputError: a network that the kernels cannot hold.

    Attributes:
        cutoff: of the near neighbors, Å.
        far: what acts beyond them; None where nothing does.
        middle: what acts between the two, likewise.
    """

    def __init__(
        self,
        model: SchNet,
        tables: FilterTables | SplitFilters | None,
        types: Tensor,
        first: int,
        precision: Precision,
        device: torch.device,
        tiles: Tiles = TILES,
    ) -> None:
        reason = why_not(model, exact=tables is None)
        if reason is not None:
            raise InputError(reason)
        hyper = model.hyper
        self.hyper, self.first, self.n, self.tiles = hyper, first, len(types), tiles
        self.dtype = torch.float64 if precision == "fp64" else torch.float32
        self._mixed = precision == "mixed16"
        self._stored = torch.float16 if self._mixed else self.dtype
        self.device = device
        self._act = CODES[hyper.activation]
        self.H, self.F = _up(hyper.features), _up(hyper.filters)
        self.far: DeviceFarField | None = None
        self.middle: DeviceMiddleField | None = None
        if isinstance(tables, SplitFilters):
            if precision == "fp64":
                raise InputError("filters in parts are products in 16 bits: write `precision: fp32` or `mixed16`")
            self.far = DeviceFarField(tables, hyper.blocks, (self.n, self.F), self._mixed, device, tiles.far)
            if tables.middle is not None:
                self.middle = DeviceMiddleField(tables.middle, self.far)
            tables = tables.near
        self.cutoff = hyper.cutoff if tables is None else tables.cutoff
        self._exact = tables is None
        self.channels = self.F if tables is None else min(tiles.channels or (64 if self._mixed else 32), self.F)
        blocks = self._at_each_depth([self._block(b) for b in model.blocks])
        self._input = [b[0] for b in blocks]
        self._update = [(b[1], b[2]) for b in blocks]
        self._output = [self._layer(layer) for layer in list(model.output)[:-1]]
        last: Any = model.output[-1]
        self._widths = [self.H, *(int(layer.weight.shape[1]) for layer in self._output)]
        self._last = self._put(_pad(last.weight.detach()[0].double(), self._widths[-1]))
        self._last_bias = self._put(torch.zeros(1) if last.bias is None else last.bias.detach())
        if tables is None:
            self._filters = self._at_each_depth([self._filter_weights(model, b) for b in range(len(model.blocks))])
        else:
            self._step = tables.cutoff / tables.intervals
            self._intervals = tables.intervals
            if self._intervals & (self._intervals - 1):
                raise InputError(f"tables of {self._intervals} intervals: the GPU kernels take powers of two")
            self._tables = self._at_each_depth([self._table(torch.from_numpy(rows)) for rows in tables.rows])
        self._allocate(model, types)

    def _at_each_depth(self, own: list[Part]) -> list[Part]:
        """Parts of the blocks; tied ones share theirs."""
        return [own[depth % len(own)] for depth in range(self.hyper.blocks)]

    def _put(self, x: Tensor, dtype: torch.dtype | None = None) -> Tensor:
        return x.detach().to(self.device, dtype or self.dtype).contiguous()

    def _layer(self, linear: Any) -> Layer:
        weight = linear.weight.detach().double().T
        weight = _pad(weight, *map(_up, weight.shape))
        bias = None if linear.bias is None else self._put(_pad(linear.bias.detach().double(), weight.shape[1]))
        return Layer(self._put(weight), self._put(weight.T), bias)

    def _block(self, block: Any) -> tuple[Layer, Layer, Layer]:
        return self._layer(block.input), self._layer(block.update[0]), self._layer(block.update[1])

    def _table(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """[K + 1, 3, F] -> cubics [F / C, K, C, 4], and the scale [F] of a channel."""
        rows = _pad(rows, rows.shape[0], 3, self.F)
        v, s, c = rows[:-1].unbind(1)
        cubics = torch.stack([v, s, c, (rows[1:, 1] - s - 2.0 * c) / 3.0], dim=-1)  # [K, F, 4]
        scale = torch.ones(self.F)
        if self._mixed:
            largest = cubics.abs().amax(dim=(0, 2))
            scale = torch.where(largest > 0, largest / HALF_RANGE, torch.ones_like(largest))
        sliced = (cubics / scale[:, None]).reshape(len(v), -1, self.channels, 4).transpose(0, 1)
        return self._put(sliced, self._stored), self._put(scale)

    def _filter_weights(self, model: SchNet, block: int) -> tuple[Tensor, ...]:
        """centers, gamma, w1, b1, w2, b2 of the kernels in `filters.py`."""
        net: Any = model.blocks[block]
        first, second = net.filter
        r, hidden = _up(first.in_features), _up(first.out_features)
        bias = second.weight.new_zeros(second.out_features) if second.bias is None else second.bias.detach()
        return (
            self._put(_pad(model.basis.centers.double(), r)),
            self._put(_pad(model.basis.gamma.double(), r)),
            self._put(_pad(first.weight.detach().double().T, r, hidden)),
            self._put(_pad(first.bias.detach().double(), hidden)),
            self._put(_pad(second.weight.detach().double().T, hidden, self.F)),
            self._put(_pad(bias.double(), self.F)),
        )

    def _allocate(self, model: SchNet, types: Tensor) -> None:
        def new(width: int, dtype: torch.dtype = self.dtype) -> Tensor:
            return torch.zeros(self.n, width, dtype=dtype, device=self.device)

        embedding = model.embedding.detach().double()
        start: Any = model.blocks[0]
        rows = types.long().cpu()
        self._x0 = self._put(_pad(embedding, len(embedding), self.H)[rows])
        first = embedding @ start.input.weight.detach().double().T
        self._h = [self._put(_pad(first, len(first), self.F)[rows], self._stored)]
        self._h += [new(self.F, self._stored) for _ in range(1, model.hyper.blocks)]
        self._z = [new(self.H) for _ in range(model.hyper.blocks)]
        self._outputs = [new(width) for width in self._widths[1:]]
        self._x, self._message, self._gh = new(self.H), new(self.F), new(self.F)
        self._gx, self._gt, self._ga = new(self.H), new(self.H), new(self.F)
        self._gout = [new(width) for width in self._widths]
        self._gout[-1][:] = self._last  # all there is to a gradient where the output network is one layer

    def parts(self) -> Parts:
        """What the network consists of; its filters must be tables."""
        return Parts(
            self._input, self._update, self._output, self._last, self._last_bias, self._widths, self._tables,
            self._x0, self._h[0],
        )  # fmt: skip

    def table_shape(self) -> dict[str, Any]:
        """How the kernels find the interval of a distance."""
        return {
            "INTERVALS": self._intervals, "STEP": self._step, "SHIFT": 32 - self._intervals.bit_length(),
        }  # fmt: skip

    def run(self, neighbors: NearList, energy: Tensor, forces: Tensor) -> None:
        """Add the energy of each bead to `energy` [B] float64; write the forces to `forces` [F / C, B, 3]."""
        x = self._x0
        for b, (first, second) in enumerate(self._update):
            self._gather(b, neighbors)
            self._dense(self._message, first, self._z[b])
            self._dense(self._z[b], second, self._x, prelude=dense.ACTIVATED, residual=x)
            x = self._x
            if b + 1 < len(self._update):
                self._dense(x, self._input[b + 1], self._h[b + 1])
        gradient = self._output_network(energy)
        for b in reversed(range(len(self._update))):
            first, second = self._update[b]
            self._dense(gradient, second, self._gt, back=True)
            self._dense(self._gt, first, self._ga, prelude=dense.SLOPED, z=self._z[b], back=True)
            self._scatter(b, neighbors, forces)
            if b > 0:
                self._dense(self._gh, self._input[b], self._gx, residual=gradient, back=True)
                gradient = self._gx

    def _output_network(self, energy: Tensor) -> Tensor:
        """The energies of the beads, and their gradient with respect to the features [n, H]."""
        z, prelude = self._x, dense.PLAIN
        for layer, out in zip(self._output, self._outputs, strict=True):
            self._dense(z, layer, out, prelude=prelude)
            z, prelude = out, dense.ACTIVATED
        grid = (-(-self.n // 32),)
        dense.readout[grid](
            z, self._last, self._last_bias, energy, self.n, self.first,
            K=self._widths[-1], ACTIVATED=prelude == dense.ACTIVATED, ACT=self._act, BM=32, num_warps=4,
        )  # fmt: skip
        if not self._output:
            return self._gout[0]
        g, broadcast = self._last, True
        for k in reversed(range(len(self._output))):
            out = self._gout[k]
            self._dense(
                g, self._output[k], out, prelude=dense.SLOPED, z=self._outputs[k], back=True, broadcast=broadcast
            )
            g, broadcast = out, False
        return g

    def _dense(
        self, a: Tensor, layer: Layer, out: Tensor, prelude: int = dense.PLAIN, z: Tensor | None = None,
        residual: Tensor | None = None, back: bool = False, broadcast: bool = False,
    ) -> None:  # fmt: skip
        weight, bias = (layer.back, None) if back else (layer.weight, layer.bias)
        k, n = weight.shape
        columns = min(self.tiles.columns, n)
        grid = (-(-self.n // self.tiles.rows), n // columns)
        dense.dense[grid](
            a, a if z is None else z, weight, weight if bias is None else bias,
            out if residual is None else residual, out, self.n,
            STRIDE=0 if broadcast else k, K=k, N=n, PRELUDE=prelude, ACT=self._act,
            BIASED=bias is not None, ADD=residual is not None, PRECISION=self.tiles.precision,
            BM=self.tiles.rows, BN=columns, BK=min(self.tiles.depth, k), num_warps=self.tiles.dense_warps,
        )  # fmt: skip

    def _gather(self, block: int, near: NearList) -> None:
        listed = (near.near, near.place, near.count, self._message, near.capacity, self.first)
        if self._exact:
            filters.gather_messages_exact[(self.n,)](
                self._h[block], *self._filters[block], *listed, **self._exact_shape(block)
            )
            return
        message.gather_messages[(self.n, self.F // self.channels)](
            self._h[block], *self._tables[block], *listed, **self._table_shape()
        )
        if self.far is not None and near.far is not None:
            self.far.add_messages(block, self._h[block], near.far, self._message, self.first)
        if self.middle is not None and near.middle is not None:
            self.middle.add_messages(block, self._h[block], near.middle, self._message, self.first)

    def _scatter(self, block: int, near: NearList, forces: Tensor) -> None:
        common: dict[str, Any] = {"FEATURES": block > 0, "ADD": block < len(self._update) - 1}
        listed = (near.near, near.place, near.toward, near.count, self._gh, forces, near.capacity)
        if self._exact:
            filters.scatter_gradients_exact[(self.n,)](
                self._h[block], self._ga, *self._filters[block], *listed, self.first,
                **common, **self._exact_shape(block),
            )  # fmt: skip
            return
        message.scatter_gradients[(self.n, self.F // self.channels)](
            self._h[block], self._ga, *self._tables[block], *listed, self.first, forces.shape[1],
            **common, **self._table_shape(),
        )  # fmt: skip
        if self.far is not None and near.far is not None:
            self.far.add_gradients(
                block, self._h[block], self._ga, near.far, self._gh, self.first,
                features=block > 0, add=block < len(self._update) - 1,
            )  # fmt: skip
            if block == 0:
                self.far.add_forces(near.far, forces[0])
        if self.middle is not None and near.middle is not None:
            self.middle.add_gradients(
                block, self._h[block], self._ga, near.middle, self._gh, forces[0], self.first, features=block > 0
            )

    def _table_shape(self) -> dict[str, Any]:
        return {
            **self.table_shape(), "F": self.F,
            "LANES": min(self.tiles.lanes, self.channels), "DEPTH": max(1, self.channels // self.tiles.lanes),
            "E": self.tiles.edges, "num_warps": self.tiles.warps,
        }  # fmt: skip

    def _exact_shape(self, block: int) -> dict[str, Any]:
        hyper = self.hyper
        r, hidden = self._filters[block][2].shape
        return {
            "F": self.F, "R": r, "HIDDEN": hidden, "ACT": self._act, "EXPNORMAL": hyper.basis == "expnormal",
            "ALPHA": hyper.alpha, "ORIGIN": hyper.basis_lower, "BASIS_COSINE": hyper.basis_envelope == "cosine",
            "COSINE": hyper.filter_envelope == "cosine", "LOWER": hyper.lower, "UPPER": hyper.cutoff,
            "FILTER_UPPER": hyper.filter_cutoff or hyper.cutoff, "PRECISION": self.tiles.precision,
            "CHUNK": min(self.tiles.chunk, hidden), "E": self.tiles.exact_edges, "num_warps": self.tiles.exact_warps,
        }  # fmt: skip
