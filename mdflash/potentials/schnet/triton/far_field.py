"""The far field of a network on the device: its coefficients, operands in 16 bits, and the kernels of `far.py`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mdflash.errors import InputError
from mdflash.neighbors.tiles import COLUMNS, Mapped, TileLists
from mdflash.potentials.schnet.split import FarField, SplitFilters
from mdflash.potentials.schnet.triton import far

WIDEST = 128
"""Filters that fit the registers of a program beside the functions of its beads."""
ROWS_OF_A_PRODUCT = 128
"""Beads of a row of tiles times functions of each: two groups of four warps have a matrix of 64 rows each."""


@dataclass(frozen=True)
class FarShape:
    """How the kernels are launched: it changes speed, and no bits but where it says so.

    Attributes:
        warps: of both sweeps.
        stages, back_stages: tiles that are loaded ahead, forward and backward.
        edges, gathered_warps: of the sweeps of middle pairs; `edges` changes the last bits.
    """

    warps: int = 8
    stages: int = 3
    back_stages: int = 2
    edges: int = 16
    gathered_warps: int = 2


@dataclass(frozen=True, eq=False)
class Block:
    """Coefficients of a block, see `far.py`; scales are powers of two."""

    scale_h: Tensor  # [1]
    scale_g: Tensor  # [1]
    messages: Tensor  # [R, F] C / scale_h
    gradients: Tensor  # [R, F] C / scale_g
    of_gradients: Tensor  # [R, F] C fit scale_g, with a fit that brings the largest C to about 1
    of_features: Tensor  # [R, F] C fit
    orders: Tensor  # [R] -2 pi k / (fit scale_g scale_h)


class DeviceFarField:
    """The far field of every block.

    Args:
        split: of the network.
        depths: blocks of the network; tied ones count as often as they are used.
        size: n, its beads in the batch, and F, filled up.
        mixed: one product in place of three, and features that are 16-bit floats already.
        device: where the kernels run.
        shape: of the launches.

    Raises:
        InputError: too many filters.

    Attributes:
        height: beads of a row of tiles.
        mapped: the distances that are far.
        width: F; products: of 16-bit floats for one product; shape: of the launches.
        gradients: the halves of dL/da, after `add_gradients`.
    """

    def __init__(
        self, split: SplitFilters, depths: int, size: tuple[int, int], mixed: bool, device: torch.device,
        shape: FarShape,
    ) -> None:  # fmt: skip
        field, (_, width) = split.far, size
        if width > WIDEST:
            raise InputError(
                f"asks for products that hold {WIDEST} filters, and this network has {field.coefficients.shape[2]}; "
                "write `filters: auto`",
                key="model.filters",
            )
        self.rank, self.height = field.rank, ROWS_OF_A_PRODUCT // field.rank
        self.mapped = Mapped(field.start, field.cutoff, field.angles)
        self.width, self._mixed, self.shape = width, mixed, shape
        self.products = 1 if mixed else 3
        self._scales, self._depths, self._device = split.scales, depths, device
        self._blocks = self.blocks_of(field)

        def new() -> Tensor:
            return torch.zeros(size, dtype=torch.float16, device=device)

        self._h = [] if mixed else [(new(), new()) for _ in self._blocks]
        self.gradients = (high := new(), high if mixed else new())
        self._pull = torch.zeros(0, device=device)

    def blocks_of(self, field: FarField) -> list[Block]:
        """What the kernels read of a field with this one's operands, at each depth."""
        own = [
            _block(np.pad(c, ((0, 0), (0, self.width - c.shape[1]))), 1.0 if self._mixed else h, g, self._device)
            for c, (h, g) in zip(field.coefficients, self._scales, strict=True)
        ]
        return [own[depth % len(own)] for depth in range(self._depths)]

    def add_messages(self, block: int, h: Tensor, lists: TileLists, out: Tensor, first: int) -> None:
        """out [n, F] += the messages of far pairs, of features h [n, F]."""
        own = self._blocks[block]
        if not self._mixed:
            self._halve(h, self._h[block], own.scale_h)
        tiles = lists.tiles
        far.far_messages[(len(tiles.rows),)](
            *self.features(block, h), own.messages, tiles.rows, tiles.place, tiles.tile, tiles.count, out,
            tiles.capacity, first, **self._constants(), num_warps=self.shape.warps, num_stages=self.shape.stages,
        )  # fmt: skip

    def add_gradients(
        self, block: int, h: Tensor, g: Tensor, lists: TileLists, out: Tensor, first: int, *, features: bool, add: bool
    ) -> None:
        """out [n, F] += dL/dh from g = dL/da [n, F], where `features`; and what the pairs feel, added where `add`."""
        own, tiles = self._blocks[block], lists.tiles
        if self._pull.shape != tiles.place.shape:
            self._pull = torch.zeros_like(tiles.place)
        self._halve(g, self.gradients, own.scale_g)
        far.far_gradients[(len(tiles.rows),)](
            *self.features(block, h), g, *self.gradients, own.gradients, own.of_gradients, own.orders, tiles.rows,
            tiles.place, tiles.tile, tiles.count, out, self._pull, tiles.capacity, first, FEATURES=features, ADD=add,
            **self._constants(), num_warps=self.shape.warps, num_stages=self.shape.back_stages,
        )  # fmt: skip

    def add_forces(self, lists: TileLists, forces: Tensor) -> None:
        """forces [B, 3] += those of far pairs, behind `add_gradients` of every block."""
        tiles, beads = lists.tiles, lists.beads
        far.far_forces[(len(tiles.rows),)](
            beads.x, beads.box, lists.table, tiles.rows, tiles.place, tiles.tile, tiles.count, self._pull, forces,
            tiles.capacity, START=self.mapped.start, STOP=self.mapped.stop, INTERVALS=len(self.mapped.cubics),
            PERIODIC=beads.periodic, ROWS=self.height, COLUMNS=COLUMNS, CHUNK=16, num_warps=4,
        )  # fmt: skip

    def features(self, block: int, h: Tensor) -> tuple[Tensor, Tensor]:
        """The halves of features h [n, F], after `add_messages`."""
        return (h, h) if self._mixed else self._h[block]

    def _halve(self, x: Tensor, halves: tuple[Tensor, Tensor], scale: Tensor) -> None:
        far.halve[(-(-x.numel() // 1024),)](
            x, *halves, scale, x.numel(), PRODUCTS=self.products, BLOCK=1024, num_warps=4
        )

    def _constants(self) -> dict[str, Any]:
        return {
            "F": self.width, "R": self.rank, "PRODUCTS": self.products, "ROWS": self.height, "COLUMNS": COLUMNS,
        }  # fmt: skip


def _block(c: np.ndarray, scale_h: float, scale_g: float, device: torch.device) -> Block:
    largest = float(np.abs(c).max())
    fit = 2.0 ** -np.ceil(np.log2(largest)) if largest > 0.0 else 1.0
    scale = fit * scale_g
    arrays = (
        np.array([scale_h]), np.array([scale_g]), c / scale_h, c / scale_g, c * scale, c * fit,
        -2.0 * np.pi * np.arange(len(c)) / (scale * scale_h),
    )  # fmt: skip
    return Block(*(torch.from_numpy(a).to(device, torch.float32).contiguous() for a in arrays))
