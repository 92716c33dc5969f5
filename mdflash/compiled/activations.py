"""The nonlinearities of networks: their names in forcefield.yaml, and the kernels' number of each."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

NAMES: Final = ("tanh", "silu", "relu", "elu", "gelu", "sigmoid", "softplus", "shifted_softplus")

CODES: Final[Mapping[str, int]] = MappingProxyType({name: code for code, name in enumerate(NAMES)})

TANH, SILU, RELU, ELU, GELU, SIGMOID, SOFTPLUS, SHIFTED = range(len(NAMES))
