"""The fraction of native contacts: Q = mean over contacts of 1 / (1 + exp(beta (r - lambda r0))), a plain number.

Best, Hummer & Eaton, PNAS 110, 17874 (2013).

| symbol | here                                              |
|--------|---------------------------------------------------|
| r      | distance of the two beads of a contact, Å         |
| r0     | `weights`, the same in the native structure, Å    |
| beta   | `constants[0]`, steepness, 1/Å                    |
| lambda | `constants[1]`, `stretch`                         |
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated

import numpy as np
import numpy.typing as npt
from pydantic import BeforeValidator, Field, PlainSerializer

from mdflash.compiled.deferred import njit
from mdflash.core.quantity import Length, Whole, describe, read_quantity, show_quantity
from mdflash.core.section import Section
from mdflash.errors import InputError
from mdflash.potentials.variables.base import (
    Beads,
    Options,
    Selected,
    Variable,
    VariableArrays,
    one_group,
    plumed_atoms,
)
from mdflash.potentials.variables.vectors import between

if TYPE_CHECKING:
    from torch import Tensor

    from mdflash.core.system import System
    from mdflash.core.types import FloatArray, IntArray


def _read_inverse_length(value: object) -> float:
    number = value if isinstance(value, float) else read_quantity(value, "inverse length", "5 /angstrom", "beta")
    if number <= 0:
        raise ValueError(f"must be more than 0, found {describe(value)}; for example `beta: 5 /angstrom`")
    return number


def _show_inverse_length(value: float) -> str:
    return show_quantity(value, "inverse length", ("/angstrom",))


class Contacts(Section):
    """Which contacts are native, and Q = mean of 1 / (1 + exp(beta (r - stretch r0)))."""

    cutoff: Length = Field(default=8.0, description="pairs nearer than this in the reference are native contacts")
    separation: Annotated[int, Whole(0, 10**6)] = Field(
        default=3, description="only pairs more residues apart than this, or of different chains"
    )
    beta: Annotated[
        float,
        BeforeValidator(_read_inverse_length, json_schema_input_type=str),
        PlainSerializer(_show_inverse_length, return_type=str),
    ] = Field(default=5.0, description="steepness", examples=["5 /angstrom"])
    stretch: Annotated[float, Field(gt=0.0, le=10.0)] = Field(
        default=1.2, description="lambda: how far a contact may stretch; 1.8 is usual for all atoms"
    )


class NativeContacts(Variable):
    """The fraction of native contacts Q."""

    name, dimension, highest, needs_reference = "native_contacts", None, 1.0, True
    options = Options("contacts", Contacts, "which they are")

    def __init__(
        self, system: System, contacts: npt.ArrayLike, r0: npt.ArrayLike, beta: float = 5.0, stretch: float = 1.2
    ) -> None:
        """
        Args:
            system: the molecule.
            contacts: [C, 2] pairs of beads.
            r0: [C] their native distances, Å.
            beta: steepness, 1/Å.
            stretch: lambda; 1.2 suits models with one bead per residue, 1.8 all atoms.
        """
        pairs = np.asarray(contacts, np.int64).reshape(-1, 2)
        native = np.asarray(r0, np.float64)
        if not len(pairs) or native.shape != (len(pairs),) or not (native > 0).all():
            raise InputError(
                f"native contacts need one r0 > 0 for each pair, found {len(pairs)} pairs and {native.size} r0"
            )
        for pair in pairs:
            one_group(system, pair)
        super().__init__((pairs.ravel(),), (np.repeat(native, 2),), constants=(float(beta), float(stretch)))

    @classmethod
    def select(cls, system: System, selected: Selected) -> NativeContacts:
        """As every variable."""
        rule, reference = selected.options, selected.reference
        assert isinstance(rule, Contacts) and reference is not None
        pairs = contacts_of(system, selected.beads, reference, rule.cutoff, rule.separation)
        if not len(pairs):
            raise InputError(
                f"the reference has no native contacts among these {len(selected.beads)} beads: no two are nearer than "
                f"{rule.cutoff:g} Å and more than {rule.separation} residues apart; see `contacts:`"
            )
        r0 = np.linalg.norm(reference[pairs[:, 1]] - reference[pairs[:, 0]], axis=1)
        return cls(system, pairs, r0, rule.beta, rule.stretch)

    def plumed(self, label: str) -> list[str]:
        """As every variable."""
        beta, stretch = self.constants
        pairs, native = self.groups[0].reshape(-1, 2), self.weights[0][::2].tolist()
        lines = [f"{label}: CONTACTMAP ..."]
        for k, (pair, r0) in enumerate(zip(pairs, native, strict=True), 1):
            # R_0 is asked for, and not used by Q
            rule = f"{{Q R_0=0.1 BETA={beta:.12g} LAMBDA={stretch:.12g} REF={r0:.12g}}}"
            lines.append(f"  ATOMS{k}={plumed_atoms(pair)} SWITCH{k}={rule} WEIGHT{k}={1.0 / len(pairs):.12g}")
        return [*lines, "  SUM NOPBC", "... CONTACTMAP"]

    def value(self, x: Tensor) -> Tensor:
        """As every variable."""
        import torch

        from mdflash.potentials.priors.geometry import distance

        beta, stretch = self.constants
        r0 = torch.from_numpy(self.weights[0][::2]).to(x)
        r = distance(x, torch.from_numpy(self.groups[0]).reshape(-1, 2))
        return torch.sigmoid(-beta * (r - stretch * r0)).mean(dim=1)


def contacts_of(system: System, beads: Beads, structure: npt.ArrayLike, cutoff: float, separation: int) -> IntArray:
    """[C, 2] pairs of `beads` nearer than `cutoff` (Å) in a structure [N, 3], in residues more than `separation` apart.

    Residues of different chains are always far apart.
    """
    x = np.asarray(structure, np.float64)
    group = np.sort(one_group(system, beads))
    i, j = (group[k] for k in np.triu_indices(len(group), k=1))
    residue = system.residue_index
    chain = np.array(system.chain_ids)
    apart = (np.abs(residue[j] - residue[i]) > separation) | (chain[residue[i]] != chain[residue[j]])
    near = np.linalg.norm(x[j] - x[i], axis=1) < cutoff
    return np.asarray(np.stack([i, j], axis=1)[apart & near])


@njit
def value_gradient(v: VariableArrays, x: FloatArray, g: FloatArray) -> float:
    """Q at x [N, 3]; overwrites g [M, 3] with its gradient. The two beads of each contact follow each other."""
    beta, stretch = v.constants[0], v.constants[1]
    n = len(v.beads) // 2
    total = 0.0
    for m in range(0, len(v.beads), 2):
        r = between(x[v.beads[m]], x[v.beads[m + 1]], g[m + 1])
        share = 1.0 / (1.0 + math.exp(beta * (r - stretch * v.weight[m])))
        total += share
        slope = -beta * share * (1.0 - share) / n
        for d in range(3):
            g[m + 1, d] *= slope / r if r > 0.0 else 0.0
            g[m, d] = -g[m + 1, d]
    return total / n
