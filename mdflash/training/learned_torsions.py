"""Torsions learned along with the network, which sees distances alone: a structure and its mirror image are one to it.

So no network corrects chirality errors of the priors' dihedrals and impropers. There are such errors, because Boltzmann
inversion of one angle's distribution puts into its term what other interactions do. Here the terms learn too: their
potentials

    V(phi) + sum_n a_n sin(n phi) + b_n cos(n phi)        n = 1 ... degree

are linear in a and b, which start at 0 and have the network's loss.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from mdflash.core.system import System
from mdflash.errors import InputError
from mdflash.forcefields.build import bind_term
from mdflash.forcefields.model import ForceField, Term
from mdflash.potentials.forms import fourier
from mdflash.potentials.priors import geometry
from mdflash.training.added import AddedEnergy

FORM = "fourier_dihedral"


@dataclass(frozen=True, eq=False)
class Torsions(AddedEnergy):
    """The torsions of one molecule.

    Attributes:
        coefficients: [K, degree, 2] a and b, of all terms together, kcal/mol.
        beads: [T, 4]; row: [T] whose coefficients.
    """

    coefficients: Tensor
    beads: Tensor
    row: Tensor

    def energies(self, positions: Tensor) -> Tensor:
        a, b = self.coefficients[self.row].unbind(dim=-1)  # [T, degree]
        return fourier.energy(geometry.dihedral(positions, self.beads), a.new_zeros(()), a, b).sum(dim=-1)


class LearnedTorsions(nn.Module):
    """The coefficients of every torsion term of some priors.

    Raises:
        InputError: there is no such term.
    """

    def __init__(self, priors: ForceField) -> None:
        super().__init__()
        self.terms = tuple(t for t in priors.terms if t.form == FORM)
        if not self.terms:
            raise InputError(
                "the priors have neither dihedrals nor impropers to learn; leave it out", key="training.learn_torsions"
            )
        self.priors = priors
        degree = max(t.parameters["k1"].shape[1] for t in self.terms)
        self.coefficients = nn.Parameter(torch.zeros(sum(len(t.keys) for t in self.terms), degree, 2))

    def of(self, system: System) -> Torsions:
        """Those of one molecule."""
        beads, rows, first = [], [], 0
        for term in self.terms:
            numbered = replace(term, parameters={"row": first + np.arange(len(term.keys), dtype=np.float64)})
            index, found = bind_term(self.priors, numbered, system)
            beads.append(index)
            rows.append(found["row"].astype(np.int64))
            first += len(term.keys)
        device = self.coefficients.device
        which, row = (torch.from_numpy(np.concatenate(part)).to(device) for part in (beads, rows))
        return Torsions(self.coefficients, which, row)


def with_coefficients(priors: ForceField, coefficients: Tensor) -> ForceField:
    """The priors with what their torsions have learned, [K, degree, 2]."""
    learned = coefficients.double().cpu().numpy()
    terms: dict[str, Term] = {t.name: t for t in priors.terms}
    for term in (t for t in priors.terms if t.form == FORM):
        own, learned = np.split(learned, [len(term.keys)])
        parameters = dict(term.parameters)
        for name, more in (("k1", own[..., 0]), ("k2", own[..., 1])):
            had = parameters[name]  # [K, its degree]
            parameters[name] = more + np.pad(had, ((0, 0), (0, more.shape[1] - had.shape[1])))
        terms[term.name] = replace(term, parameters=parameters)
    return replace(priors, terms=tuple(terms.values()))
