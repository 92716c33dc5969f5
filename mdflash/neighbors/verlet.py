"""The Verlet list of a batch, for potentials that are evaluated from Python.

Each replica is rebuilt on its own, when one of its beads has moved more than half the skin (Verlet, Phys. Rev. 159, 98
(1967)). Compiled blocks have lists of their own; all use `build_half_list`.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from mdflash.core.state import Layout
from mdflash.core.types import Box, FloatArray, IntArray
from mdflash.errors import InputError
from mdflash.neighbors.cpu import build_half_list, moved_too_far
from mdflash.neighbors.pairs import Pairs


def check_box(box: Box | None, reach: float) -> None:
    """Refuse a box in which a bead could meet two images of another.

    Raises:
        InputError: an edge shorter than twice the reach (cutoff + skin), Å.
    """
    if box is not None and min(box) < 2 * reach:
        raise InputError(
            f"the box of {' x '.join(f'{edge:.6g}' for edge in box)} Å is too small: every edge must be at least twice "
            f"cutoff + skin = {2 * reach:.6g} Å",
            key="box",
        )


class VerletList:
    """Neighbor pairs within a cutoff, kept up to date with a skin.

    Args:
        layout: the batch.
        cutoff: Å.
        skin: Å; more skin means longer lists that live longer.
        box: periodic edges in Å, or None.

    Attributes:
        builds: how many times a replica's list was built.
    """

    def __init__(self, layout: Layout, cutoff: float, skin: float, box: Box | None = None) -> None:
        check_box(box, cutoff + skin)
        self.layout, self.cutoff, self.skin = layout, cutoff, skin
        self.builds = 0
        self._box = np.zeros(3) if box is None else np.array(box)
        self._built_at = np.full((layout.n_beads, 3), np.nan)
        self._first: list[IntArray] = [np.empty(0, np.int64)] * layout.n_replicas
        self._second: list[IntArray] = [np.empty(0, np.int64)] * layout.n_replicas

    def pairs(self, positions: Tensor) -> Pairs:
        """Every pair within the cutoff at `positions` [B, 3] (and some beyond, in the skin)."""
        x = positions.detach().to("cpu", torch.float64).numpy()
        stale = False
        for r in range(self.layout.n_replicas):
            rows = self.layout.rows(r)
            if moved_too_far(x[rows], self._built_at[rows], self.skin):
                self._build(r, x[rows])
                stale = True
        if stale:
            self._i = np.concatenate(self._first)
            self._j = np.concatenate(self._second)
        shift = None
        if self._box.any():
            d = x[self._j] - x[self._i]
            shift = torch.from_numpy(-self._box * np.floor(d / self._box + 0.5)).to(positions)
        return Pairs(
            torch.from_numpy(self._i).to(positions.device),
            torch.from_numpy(self._j).to(positions.device),
            shift,
            self.cutoff,
        )

    def _build(self, replica: int, x: FloatArray) -> None:
        n = len(x)
        start = np.empty(n + 1, np.int64)
        no_exclusions = np.zeros(n + 1, np.int64), np.empty(0, np.int64)
        neighbor = np.empty(max(len(self._second[replica]) * 5 // 4, 8 * n), np.int64)
        count = build_half_list(x, self.cutoff + self.skin, self._box, *no_exclusions, start, neighbor)
        if count > len(neighbor):
            neighbor = np.empty(count, np.int64)
            build_half_list(x, self.cutoff + self.skin, self._box, *no_exclusions, start, neighbor)
        offset = self.layout.rows(replica).start
        self._first[replica] = np.repeat(np.arange(n), np.diff(start)) + offset
        self._second[replica] = neighbor[:count] + offset
        self._built_at[offset : offset + n] = x
        self.builds += 1
