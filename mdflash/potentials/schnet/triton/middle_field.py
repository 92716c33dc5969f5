"""The middle field of a network on the device: its coefficients, and the kernels of `gathered.py`."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from mdflash.neighbors.mapped import MappedLists
from mdflash.neighbors.tiles import Mapped
from mdflash.potentials.schnet.split import FarField
from mdflash.potentials.schnet.triton import gathered
from mdflash.potentials.schnet.triton.far_field import DeviceFarField


class DeviceMiddleField:
    """The middle field of every block. It shares operands with the far field, whose sweeps come first.

    Args:
        field: the cosines.
        far: the far field of the same network, on the device.

    Attributes:
        mapped: the distances that it acts at.
    """

    def __init__(self, field: FarField, far: DeviceFarField) -> None:
        self.mapped = Mapped(field.start, field.cutoff, field.angles)
        self._rank, self._far = field.rank, far
        self._blocks = far.blocks_of(field)

    def add_messages(self, block: int, h: Tensor, lists: MappedLists, out: Tensor, first: int) -> None:
        """out [n, F] += the messages of middle pairs, of features h [n, F]."""
        gathered.gathered_messages[(len(out),)](
            *self._far.features(block, h), self._blocks[block].messages, lists.near, lists.place, lists.count, out,
            lists.capacity, first, **self._constants(),
        )  # fmt: skip

    def add_gradients(
        self, block: int, h: Tensor, g: Tensor, lists: MappedLists, out: Tensor, forces: Tensor, first: int, *,
        features: bool,
    ) -> None:  # fmt: skip
        """out [n, F] += dL/dh from g = dL/da [n, F], where `features`; forces [B, 3] += those of middle pairs."""
        own = self._blocks[block]
        gathered.gathered_gradients[(len(out),)](
            *self._far.features(block, h), g, *self._far.gradients, own.gradients, own.of_gradients, own.of_features,
            own.orders, lists.near, lists.place, lists.toward, lists.count, out, forces, lists.capacity, first,
            FEATURES=features, **self._constants(),
        )  # fmt: skip

    def _constants(self) -> dict[str, Any]:
        far, shape = self._far, self._far.shape
        return {
            "F": far.width, "R": self._rank, "PRODUCTS": far.products, "E": shape.edges,
            "num_warps": shape.gathered_warps, "num_stages": 1,  # rows that are loaded ahead would pass by the L1
        }  # fmt: skip
