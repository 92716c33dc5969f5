"""How near to each other beads come under the priors of a force field."""

from __future__ import annotations

from typing import Final

import numpy as np
import torch

from mdflash.core.types import FloatArray
from mdflash.forcefields.model import ForceField, Term
from mdflash.potentials.forms import FORMS
from mdflash.potentials.schnet.tables import SHORTEST, Distances

ALLOWED: Final = 3.0
"""kcal/mol above its lowest energy that an interaction is given: five times kT at 300 K."""
HOLDS: Final = 20.0
"""kcal/mol that a bond costs at `FAR`; a contact costs less."""
NEAR, FAR, POINTS = 0.5, 20.0, 1951
"""Å; where energies are looked up, every 0.01 Å."""


def distances_of(ff: ForceField) -> Distances | None:
    """Lengths of bonds and the nearest contact that the priors allow; None for a force field without bonds.

    Without a prior on contacts they may be as short as those of any protein model.
    """
    r = np.linspace(NEAR, FAR, POINTS)
    bonds, contacts = [], [np.zeros(0)]
    for term in ff.terms:
        if FORMS[term.form].on in ("distance", "pair") and len(term.keys):
            u = _energies(term, r)  # [K, points]
            above = u - u.min(axis=1, keepdims=True)
            allowed = above <= ALLOWED
            first, last = r[allowed.argmax(axis=1)], r[POINTS - 1 - allowed[:, ::-1].argmax(axis=1)]
            bond = above[:, -1] > HOLDS
            bonds.append(np.stack([first[bond], last[bond]], axis=1))
            contacts.append(first[~bond])
    lengths, nearest = np.concatenate(bonds or [np.zeros((0, 2))]), np.concatenate(contacts)
    if not len(lengths):
        return None
    return Distances(lengths, max(float(nearest.min(initial=FAR)) if len(nearest) else 0.0, SHORTEST.contact))


def _energies(term: Term, r: FloatArray) -> FloatArray:
    """[K, points] kcal/mol, of each row of a term at each distance."""
    form, q = FORMS[term.form], torch.from_numpy(r)[None]
    parameters = {name: torch.from_numpy(np.asarray(v, np.float64))[:, None] for name, v in term.parameters.items()}
    if term.cutoff is None:
        return np.asarray(form.energy(q, **parameters))
    return np.asarray(torch.where(q < term.cutoff, form.energy(q, **parameters, cutoff=term.cutoff), 0.0))
