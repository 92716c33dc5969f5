"""More weight to the residual along the ways on which contacts form, so that forces add up to the right free energy.

A contact pulls over several Å at tenths of kcal/mol/Å, which a mean over squared components hardly contains; a network
that pulls each of a hundred contacts a little too weakly has small residuals and folds wrongly. For native contacts of
one kind (near in the chain, or far) and a shell of distances about lambda r0, with pulls

    g = - grad sum over contacts of 1 / (1 + exp(beta (r - lambda r0))) / beta

the loss gains weight (g . r)^2 / (|g|^2 + a little), the square of the residual along g. As with torsions (see
`torsions`), the weights are a function of the positions alone, so the mean force stays the minimum.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from mdflash.core.system import System
from mdflash.core.types import FloatArray
from mdflash.errors import InputError
from mdflash.potentials.variables.native_contacts import contacts_of

CONTACT, SEPARATION = 8.0, 3
"""CA beads nearer than this (Å) in the native structure, and more residues apart, are in contact."""
BETA, SHELLS = 3.0, (0.9, 1.05, 1.2, 1.4, 1.6, 1.8, 2.0, 2.3)
"""1/Å, and lambda of each shell."""
FAINT = 0.01
"""Added to |g|^2, so that a shell fades that has no contact near it (one contact in it: 0.125)."""
NEAR = 5
"""Residues; contacts of beads not farther apart in the chain, as within a helix, are a kind of their own."""


class ContactWeight:
    """What the weight along contacts adds to the matrix M of the loss of one molecule.

    Args:
        system: the molecule.
        native: its native structure [N, 3] Å, or None.
        weight: weight of the residual along each g relative to a force component.
        device: device of the positions.

    Raises:
        InputError: there is no structure, or it has no contacts.
    """

    def __init__(
        self, system: System, native: FloatArray | None, weight: float, device: torch.device | str = "cpu"
    ) -> None:
        ca = np.flatnonzero(np.array(system.bead_names) == "CA")
        if native is None or not len(ca):
            what = "its dataset has no start structure" if native is None else "it has no CA beads"
            raise InputError(
                f"'{system.name}' has no native contacts: {what}; leave it out", key="training.contact_weight"
            )
        pairs = contacts_of(system, ca, native, CONTACT, SEPARATION)
        if not len(pairs):
            raise InputError(
                f"the start structure of '{system.name}' has no native contacts (CA beads nearer than {CONTACT:g} Å, "
                f"more than {SEPARATION} residues apart); leave it out",
                key="training.contact_weight",
            )
        r0 = np.linalg.norm(native[pairs[:, 1]] - native[pairs[:, 0]], axis=1)
        residue = system.residue_index[pairs]
        near = np.abs(residue[:, 1] - residue[:, 0]) <= NEAR
        onto = np.zeros((2, len(pairs), system.n_beads))
        for kind, mine in enumerate((near, ~near)):
            onto[kind, mine, pairs[mine, 0]], onto[kind, mine, pairs[mine, 1]] = -1.0, 1.0
        self.weight = weight
        self._first, self._second = torch.from_numpy(pairs).to(device).unbind(dim=1)
        self._reach = torch.from_numpy(np.outer(SHELLS, r0)).to(device)  # [S, C]
        self._onto = torch.from_numpy(onto).to(device)  # [2, C, N]: a pair's pull on its beads, by kind

    def __call__(self, positions: Tensor, residual: Tensor) -> Tensor:
        """What M r has beside r [M, N, 3], for residuals r at positions [M, N, 3] of M frames."""
        away = positions[:, self._second] - positions[:, self._first]
        r = torch.linalg.vector_norm(away, dim=-1)  # [M, C]
        formed = torch.sigmoid(-BETA * (r[:, None] - self._reach.to(r)))  # [M, S, C]
        pull = (formed * (1.0 - formed) / r[:, None])[..., None] * away[:, None]  # [M, S, C, 3]
        way = torch.einsum("mscx,kcn->msknx", pull, self._onto.to(r)).flatten(1, 2)  # [M, W, N, 3]
        square = way.square().sum(dim=(2, 3)) + FAINT
        along = torch.einsum("mwnx,mnx->mw", way, residual) / square
        return self.weight * torch.einsum("mw,mwnx->mnx", along, way)
