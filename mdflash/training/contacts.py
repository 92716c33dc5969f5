"""More weight to the residual along folding, so that forces add up to the right free energy.

A contact forms over several Å at forces of a few tenths of kcal/mol/Å, which a mean over squared components hardly
hears; a network that pulls all of a hundred contacts a little too weakly has small residuals and folds wrongly. With
the unit vector q [3N] along the gradient of the fraction of native contacts

    Q = mean over contacts of 1 / (1 + exp(beta (r - lambda r0)))

the loss gains weight (q . r)^2. As with torsions (see `torsions`), the weights are a function of the positions alone,
so the mean force stays the minimum. beta is softer here than where Q tells states apart: what counts is the whole way
on which contacts pull.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from mdflash.errors import InputError
from mdflash.potentials.bias.variables import contacts_of
from mdflash.system import FloatArray, System

CONTACT, SEPARATION = 8.0, 3
"""CA beads nearer than this (Å) in the native structure, and more residues apart, are in contact."""
BETA, STRETCH = 1.5, 1.2
"""1/Å, and lambda."""


class ContactWeight:
    """What the weight along Q adds to the matrix M of the loss of one molecule.

    Args:
        system: the molecule.
        native: its native structure [N, 3] Å, or None.
        weight: of the residual along Q against a force component's.
        device: of the positions to come.

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
        onto = np.zeros((len(pairs), system.n_beads))
        onto[np.arange(len(pairs)), pairs[:, 0]], onto[np.arange(len(pairs)), pairs[:, 1]] = -1.0, 1.0
        self.weight = weight
        self._first, self._second = torch.from_numpy(pairs).to(device).unbind(dim=1)
        self._reach = torch.from_numpy(STRETCH * r0).to(device)
        self._onto = torch.from_numpy(onto).to(device)  # [C, N]: of a pair's pull on its beads

    def __call__(self, positions: Tensor, residual: Tensor) -> Tensor:
        """What M r has beside r [M, N, 3], for residuals r at positions [M, N, 3] of M frames."""
        away = positions[:, self._second] - positions[:, self._first]
        r = torch.linalg.vector_norm(away, dim=-1)  # [M, C]
        formed = torch.sigmoid(-BETA * (r - self._reach.to(r)))
        slope = formed * (1.0 - formed) / r
        gradient = torch.einsum("mc,mcx,cn->mnx", slope, away, self._onto.to(r))  # of -Q, but for its length
        square = gradient.square().sum(dim=(1, 2), keepdim=True).clamp_min(torch.finfo(r.dtype).tiny)
        along = (gradient * residual).sum(dim=(1, 2), keepdim=True)
        return self.weight * along / square * gradient
