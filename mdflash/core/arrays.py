"""Arrays that a caller gives, as NumPy's: nothing of them is left out on the way."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from mdflash.core.types import FloatArray


def as_array(value: Any) -> npt.NDArray[Any]:
    """Lists and NumPy's arrays, and torch's of any device, with gradients or without."""
    return np.asarray(value.detach().cpu() if hasattr(value, "detach") else value)


def as_numbers(value: Any) -> FloatArray:
    """An array of float64.

    Raises:
        ValueError: text, complex numbers, or a masked entry.
    """
    if np.ma.is_masked(value):
        raise ValueError("some entries are masked; fill them, or leave their frames out")
    array = as_array(value)
    if array.dtype.kind not in "biufO":
        what = {"c": "complex numbers", "U": "text", "S": "text"}.get(array.dtype.kind, f"{array.dtype}")
        raise ValueError(f"found {what}")
    return np.asarray(array, np.float64)
