"""Variables of the centers of mass of a few groups of beads, and these centers, compiled."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from mdflash.compiled.deferred import njit
from mdflash.errors import InputError
from mdflash.potentials.variables.base import (
    Beads,
    Selected,
    Variable,
    VariableArrays,
    mass_shares,
    one_group,
    plumed_atoms,
)

if TYPE_CHECKING:
    from torch import Tensor

    from mdflash.core.system import System
    from mdflash.core.types import FloatArray


class OfCenters(Variable):
    """A variable of the centers of mass of `takes` groups; the group of one bead has its center there.

    Attributes:
        action: PLUMED's name of it; "" where PLUMED has none.
    """

    action: ClassVar[str] = ""

    def __init__(self, system: System, *groups: Beads) -> None:
        """
        Raises:
            InputError: a bead the molecule does not have, an empty group, a bead named twice, the same group twice.
        """
        found = tuple(one_group(system, group) for group in groups)
        for a, b in combinations(found, 2):
            if set(a.tolist()) == set(b.tolist()):
                what = f"bead {a[0]}" if len(a) == 1 else f"the group {a.tolist()}"
                raise InputError(
                    f"{self.name} of system '{system.name}' names {what} twice; each has a place of its own"
                )
        super().__init__(found, tuple(mass_shares(system, group) for group in found))

    @classmethod
    def select(cls, system: System, selected: Selected) -> OfCenters:
        """As every variable."""
        return cls(system, *selected.groups)

    def centers(self, x: Tensor) -> Tensor:
        """[n, groups, 3] of x [n, N, 3]."""
        import torch

        def center(k: int) -> Tensor:
            weight = torch.from_numpy(self.weights[k]).to(x)[:, None]
            return (weight * x[:, torch.from_numpy(self.groups[k])]).sum(dim=1)

        return torch.stack([center(k) for k in range(len(self.groups))], dim=1)

    def plumed(self, label: str) -> list[str]:
        """As every variable, where the subclass names PLUMED's action."""
        if not self.action:
            return []
        lines, names = [], []
        for k, (group, weights) in enumerate(zip(self.groups, self.weights, strict=True)):
            if len(group) == 1:
                names.append(plumed_atoms(group))
                continue
            names.append(f"{label}_{k}")
            shares = ",".join(f"{w:.12g}" for w in weights.tolist())
            lines.append(f"{label}_{k}: CENTER ATOMS={plumed_atoms(group)} WEIGHTS={shares} NOPBC")
        whole = "" if self.box is not None else " NOPBC"
        return [*lines, f"{label}: {self.action} ATOMS={','.join(names)}{whole}"]

    def coordinate(self, function: Callable[[Tensor, Tensor], Tensor], x: Tensor) -> Tensor:
        """[n] an internal coordinate (see `priors.geometry`) of the centers, taken in turn."""
        import torch

        return function(self.centers(x), torch.arange(len(self.groups))[None])[:, 0]


@njit
def centers(v: VariableArrays, x: FloatArray) -> FloatArray:
    """[4, 3] weighted centers of the groups."""
    center = np.zeros((4, 3))
    for k in range(4):
        for m in range(v.start[k], v.start[k + 1]):
            for d in range(3):
                center[k, d] += v.weight[m] * x[v.beads[m], d]
    return center


@njit
def spread(v: VariableArrays, slope: FloatArray, g: FloatArray) -> None:
    """From dq/d(center) [4, 3] to dq/dx of each listed bead: overwrites g [M, 3]."""
    for k in range(4):
        for m in range(v.start[k], v.start[k + 1]):
            for d in range(3):
                g[m, d] = v.weight[m] * slope[k, d]
