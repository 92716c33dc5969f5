"""The forms of a bias: its energy as a function of d = q - center, the nearest image where q is periodic."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Literal

BiasForm = Literal["harmonic", "flat-bottom", "linear", "lower-wall", "upper-wall"]

EQUATIONS: Final[Mapping[BiasForm, str]] = MappingProxyType(
    {
        "harmonic": "1/2 k d^2",
        "flat-bottom": "1/2 k (|d| - width)^2 beyond width",
        "linear": "k d",
        "lower-wall": "1/2 k d^2 below center",
        "upper-wall": "1/2 k d^2 above center",
    }
)
"""Of each form, for help texts. A flat bottom of width 0 is harmonic, so both are one formula in the kernels."""

NUMBERS: Final[Mapping[BiasForm, int]] = MappingProxyType({form: k for k, form in enumerate(EQUATIONS)})
"""By which kernels know a form."""

ONE_SIDED: Final[tuple[BiasForm, ...]] = ("linear", "lower-wall", "upper-wall")
"""Forms that have a lower and an upper side, which the values of a periodic variable have not."""
