"""The variables with a Triton twin, which read and write what the compiled function of the CPU does, in float64.

A variable has its file here, beside its description one floor up, because a description is read without Triton, which
takes longer to import than a file takes to check. A bias on a variable that is not in this list runs on the CPU.
"""

# ruff: noqa: SIM102 (the outer condition is known when a kernel is compiled, the inner one when it runs)

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import triton
import triton.language as tl

from mdflash.potentials.variables import VARIABLES
from mdflash.potentials.variables.triton import (
    angle,
    dihedral,
    distance,
    native_contacts,
    position,
    radius_of_gyration,
    rmsd,
)

_NAMES = ("distance", "angle", "dihedral", "position", "rmsd", "radius_of_gyration", "native_contacts")
ON_GPU: Final[Mapping[str, int]] = MappingProxyType({name: 1 << list(VARIABLES).index(name) for name in _NAMES})
"""By name, what kernels know them by."""
_DISTANCE, _ANGLE, _DIHEDRAL, _POSITION, _RMSD, _SIZE, _CONTACTS = (tl.constexpr(code) for code in ON_GPU.values())


@triton.jit
def value_gradient(
    code: tl.tensor, v: tl.core.base_value, b: tl.tensor, x: tl.tensor, g: tl.tensor, OCCUR: tl.constexpr
) -> tl.tensor:
    """Variable b of the tables, a number; overwrites its gradient.

    Args:
        code: of the variable.
        v: `entries.Variables`.
        b: its number there.
        x: to the molecule's positions [N, 3].
        g: to the gradient [M, 3] of its entries.
        OCCUR: the codes that are compiled for.
    """
    q = 0.0 * tl.load(x)
    if _DISTANCE & OCCUR:
        if code == _DISTANCE:
            q = distance.value_gradient(v, b, x, g)
    if _ANGLE & OCCUR:
        if code == _ANGLE:
            q = angle.value_gradient(v, b, x, g)
    if _DIHEDRAL & OCCUR:
        if code == _DIHEDRAL:
            q = dihedral.value_gradient(v, b, x, g)
    if _POSITION & OCCUR:
        if code == _POSITION:
            q = position.value_gradient(v, b, x, g)
    if _RMSD & OCCUR:
        if code == _RMSD:
            q = rmsd.value_gradient(v, b, x, g)
    if _SIZE & OCCUR:
        if code == _SIZE:
            q = radius_of_gyration.value_gradient(v, b, x, g)
    if _CONTACTS & OCCUR:
        if code == _CONTACTS:
            q = native_contacts.value_gradient(v, b, x, g)
    return q
