"""The activations that compiled kernels know, on the CPU and on a GPU."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

ACTIVATION_CODES: Final[Mapping[str, int]] = MappingProxyType(
    {
        "tanh": 0,
        "silu": 1,
        "relu": 2,
        "elu": 3,
        "gelu": 4,
        "sigmoid": 5,
        "softplus": 6,
        "shifted_softplus": 7,
    }
)
"""The kernels' number of each activation of a SchNet."""
