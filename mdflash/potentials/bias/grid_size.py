"""How large grids of biases may be; light to import, for the rules of a run file."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

MOST_AXES: Final = 3
MOST_NODES: Final = 4_000_000
"""Of one grid: 128 MB over two variables, 256 MB over three."""
MOST_BYTES: Final = 2_000_000_000
"""Of all grids of one bias; every checkpoint holds them too."""


def grid_bytes(points: Sequence[int]) -> int:
    """Of one grid with so many nodes along each axis: a node has 2^D numbers, see `surface`."""
    return 8 * math.prod([2 * n for n in points])
