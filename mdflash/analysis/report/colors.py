"""Colors that people with any kind of color vision tell apart."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mdflash.core.types import FloatArray

LINES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8a6d3b", "#555555")
"""Okabe & Ito, Color Universal Design (2008), without yellow and black."""

_VIRIDIS = (
    "440154", "481467", "482576", "453781", "404688", "39558c", "33638d", "2d718e", "287d8e", "238a8d", "1f968b",
    "20a386", "29af7f", "3cbc75", "56c667", "74d055", "94d840", "b8de29", "dce319", "fde725",
)  # fmt: skip
_BALANCE = ("2166ac", "4393c3", "92c5de", "d1e5f0", "f7f7f7", "fddbc7", "f4a582", "d6604d", "b2182b")
_BLUES = ("ffffff", "e3eef8", "c6dcef", "9dc9e2", "68acd5", "3f8cc4", "1f6cb1", "0a4d94", "08306b")
_STOPS = {"heat": _VIRIDIS, "blues": _BLUES, "balance": _BALANCE}


def shade(share: float) -> str:
    """A color from cold (0) to hot (1), dark enough for a line on white."""
    r, g, b, _ = paint(np.array(0.88 * share), "heat").tolist()
    return f"#{r:02x}{g:02x}{b:02x}"


def paint(values: FloatArray, palette: str) -> npt.NDArray[np.uint8]:
    """[..., 4] red, green, blue, alpha of values from 0 to 1; NaN is transparent."""
    stops = np.array([[int(s[k : k + 2], 16) for k in (0, 2, 4)] for s in _STOPS[palette]], np.float64)
    known = np.isfinite(values)
    at = np.clip(np.where(known, values, 0.0), 0.0, 1.0) * (len(stops) - 1)
    low = np.minimum(at.astype(np.int64), len(stops) - 2)
    share = (at - low)[..., None]
    rgb = (1.0 - share) * stops[low] + share * stops[low + 1]
    return np.concatenate([rgb.round(), np.where(known, 255.0, 0.0)[..., None]], axis=-1).astype(np.uint8)
