"""Types that are used throughout the package, each written once."""

from __future__ import annotations

from typing import Any, Final, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

FloatArray: TypeAlias = npt.NDArray[np.float64]
IntArray: TypeAlias = npt.NDArray[np.int64]
Int32Array: TypeAlias = npt.NDArray[np.int32]
Reals: TypeAlias = npt.NDArray[Any]
"""float32 or float64, by precision."""

Box: TypeAlias = tuple[float, float, float]
"""Edges of an orthorhombic periodic box, Å."""

Precision: TypeAlias = Literal["fp64", "fp32", "mixed16"]
"""Arithmetic of networks; "mixed16" keeps filter tables in 16 bits, and on a GPU features too."""
FilterKind: TypeAlias = Literal["auto", "table", "exact", "split", "gathered"]
"""How a network's filters are evaluated: from tables, by its own layers, or from tables where they are exact enough.

"split", on a GPU: tables for near pairs, and products of matrices for all others; "gathered": as that, and pairs at
middle distances are products of gathered rows.
"""
IN_PARTS: Final[tuple[FilterKind, ...]] = ("split", "gathered")
"""Those that only a GPU has kernels for, whose products are in 16 bits."""
Kernels: TypeAlias = Literal["auto", "reference"]
"""The fastest code that fits, or the plain one for comparison."""
StepKernels: TypeAlias = Literal["auto", "whole", "reference"]
"""As `Kernels`, of runs; "whole", on a GPU: one program runs all steps of a block of a small molecule's replica."""
Device: TypeAlias = Literal["cpu", "cuda"]
"""Where potentials are evaluated."""
