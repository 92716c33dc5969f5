"""All pairs within a cutoff by comparing every bead with every other: slow, plainly right."""

from __future__ import annotations

import torch
from torch import Tensor

from mdflash.core.state import Layout
from mdflash.core.types import Box
from mdflash.errors import InputError
from mdflash.neighbors.pairs import Pairs


def all_pairs(
    positions: Tensor,
    layout: Layout,
    cutoff: float,
    box: Box | None = None,
) -> Pairs:
    """Every pair i < j of one replica with |x_j - x_i| < cutoff, sorted by (i, j).

    Args:
        positions: [B, 3] Å.
        layout: which rows belong to which replica; pairs never join two replicas.
        cutoff: Å.
        box: edges of the orthorhombic periodic box, Å; distances are then to the nearest image.

    Raises:
        InputError: the cutoff exceeds half the shortest edge, where more than one image is near.
    """
    if box is not None and cutoff > min(box) / 2:
        raise InputError(
            f"the cutoff of {cutoff:g} Å is more than half the box's shortest edge ({min(box):g} Å), so a pair "
            f"could meet twice; the box needs edges of at least {2 * cutoff:g} Å"
        )
    edges = None if box is None else torch.tensor(box, dtype=positions.dtype, device=positions.device)
    first, second, shift = [], [], []
    for r in range(layout.n_replicas):
        x = positions[layout.rows(r)]
        i, j = torch.triu_indices(len(x), len(x), offset=1, device=x.device)
        d = x[j] - x[i]
        images = torch.zeros_like(d) if edges is None else -edges * torch.round(d / edges)
        near = torch.linalg.vector_norm(d + images, dim=-1) < cutoff
        first.append(i[near] + int(layout.bead_offset[r]))
        second.append(j[near] + int(layout.bead_offset[r]))
        shift.append(images[near])
    return Pairs(torch.cat(first), torch.cat(second), None if edges is None else torch.cat(shift), cutoff)
