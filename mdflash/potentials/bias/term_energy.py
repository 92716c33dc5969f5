"""The energy of a listed term of the force field, as a variable; in no list, since exchanges make it, not files.

A linear bias on it scales the term: with force constant s - 1 the term counts s times.
"""

from __future__ import annotations

import numpy as np
from torch import Tensor

from mdflash.core.system import System
from mdflash.errors import InputError
from mdflash.potentials.priors.term import PriorTerm
from mdflash.potentials.variables.base import Selected, Variable


class TermEnergy(Variable):
    """The energy of a listed term, kcal/mol.

    Attributes:
        term: the term.
        number: of the molecule among the systems that the term knows.
    """

    name, dimension, between_molecules = "energy", None, True

    def __init__(self, system: System, term: PriorTerm, number: int = 0) -> None:
        beads = np.arange(system.n_beads)
        super().__init__((beads,), (np.zeros(len(beads)),))
        self.term, self.number = term, number

    @classmethod
    def select(cls, system: System, selected: Selected) -> TermEnergy:
        """Not from a file: `exchange.scale` names terms."""
        raise InputError("the energy of a term is scaled by `scale:` under `exchange:`")

    @property
    def unit(self) -> str:
        """As columns name it: beside the energy of the bias."""
        return "term_kcal_mol"

    def value(self, x: Tensor) -> Tensor:
        """As every variable."""
        return self.term.energies(self.number, x)

    def stamp(self) -> bytes:
        """The form, beads and parameters of the term."""
        index, parameters = self.term.tables[self.number]
        return self.term.form.name.encode() + index.tobytes() + self.term.form.rows(parameters).tobytes()
