"""The forms of a bias: its energy as a function of d = q - center, the nearest image where q is periodic."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Literal

BiasForm = Literal["harmonic", "flat-bottom", "linear"]

EQUATIONS: Final[Mapping[BiasForm, str]] = MappingProxyType(
    {"harmonic": "1/2 k d^2", "flat-bottom": "1/2 k (|d| - width)^2 beyond width", "linear": "k d"}
)
"""Of each form, for help texts. A flat bottom of width 0 is harmonic, so both are one formula in the kernels."""
