"""The energy of a bias at values of its variable, in NumPy; the kernels have their own, see `kernels_cpu`."""

from __future__ import annotations

import numpy as np

from mdflash.core.types import FloatArray


def bias_energy(
    values: FloatArray,
    constant: float,
    center: float,
    width: float = 0.0,
    form: str = "harmonic",
    periodic: bool = False,
) -> FloatArray:
    """[N] kcal/mol at values [N] of the variable, by `bias_form.EQUATIONS`; parameters in the variable's own unit."""
    d = values - center
    if periodic:
        d = d - 2.0 * np.pi * np.round(d / (2.0 * np.pi))
    if form == "linear":
        return np.asarray(constant * d)
    if form == "lower-wall":
        d = np.minimum(d, 0.0)
    elif form == "upper-wall":
        d = np.maximum(d, 0.0)
    return np.asarray(0.5 * constant * np.maximum(np.abs(d) - width, 0.0) ** 2)
