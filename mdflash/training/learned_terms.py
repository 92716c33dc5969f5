"""The parameters of listed terms (bonds, angles, torsions, contacts), learned along with the network.

Each number of their tables has a step s, 0 at the start. What is positive, such as a force constant or a length,
becomes p exp(s) and stays positive; what may have any value becomes p + s, within its ends if it has any (an angle). So
a step of 0.01 is a small one for all of them, and one learning rate fits.

Constants move nothing and stay. So do whole numbers, and terms of all near pairs: their ranges decide which pairs
are searched for, and the network sees the same distances.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from mdflash.core.ranges import ANY
from mdflash.core.system import System
from mdflash.errors import InputError
from mdflash.forcefields.build import bind_term
from mdflash.forcefields.model import ForceField, Term
from mdflash.potentials.forms import FORMS
from mdflash.potentials.priors.geometry import COORDINATES
from mdflash.training.added import AddedEnergy


@dataclass(frozen=True, eq=False)
class Column:
    """One parameter of one term.

    Attributes:
        term, name: whose.
        start: [K] or [K, degree] the table at the start, float64.
        first: of its steps.
    """

    term: Term
    name: str
    start: Tensor
    first: int

    def now(self, steps: Tensor) -> Tensor:
        """The table, float64, with all steps [S]."""
        step = steps[self.first : self.first + self.start.numel()].view(self.start.shape).double()
        form = FORMS[self.term.form]
        allowed = form.ranges.get(self.name, ANY)
        if allowed.least == 0.0 and form.units[self.name] != "rad":
            return self.start * step.exp()
        return (self.start + step).clamp(allowed.least, allowed.most)


@dataclass(frozen=True, eq=False)
class BoundTerm:
    """A term in one molecule.

    Attributes:
        term: which.
        beads: [M, order].
        row: [M] of the table.
        given: the parameters that do not learn, [M] or [M, degree], float64.
        columns: those that do.
    """

    term: Term
    beads: Tensor
    row: Tensor
    given: Mapping[str, Tensor]
    columns: tuple[Column, ...]

    def change(self, x: Tensor, steps: Tensor) -> Tensor:
        """[n] kcal/mol at x [n, N, 3], less what it was at the start."""
        form = FORMS[self.term.form]
        q = COORDINATES[form.on](x, self.beads)
        now = {column.name: column.now(steps)[self.row] for column in self.columns}
        start = {column.name: column.start[self.row] for column in self.columns}
        u, before = (form.energy(q, **self.given, **learned) for learned in (now, start))
        changed: Tensor = (u - before).sum(dim=1)
        return changed


@dataclass(frozen=True, eq=False)
class TermChanges(AddedEnergy):
    """What learning has changed of the energy of one molecule's terms.

    Attributes:
        steps: [S].
        terms: at least one.
    """

    steps: Tensor
    terms: tuple[BoundTerm, ...]

    def energies(self, positions: Tensor) -> Tensor:
        x = positions.double()  # small differences of stiff terms
        total = torch.stack([term.change(x, self.steps) for term in self.terms]).sum(dim=0)
        return total.to(positions)


class LearnedTerms(nn.Module):
    """The steps of every parameter of some priors that can learn.

    Attributes:
        steps: [S], 0 at the start.

    Raises:
        InputError: there is no such parameter.
    """

    def __init__(self, priors: ForceField, key: str) -> None:
        """
        Args:
            priors: with terms.
            key: of the recipe, which errors name.
        """
        super().__init__()
        self.priors = priors
        self.columns = _columns(priors)
        if not self.columns:
            raise InputError(
                f"the force field '{priors.name}' has no table of bonds, angles, torsions or contacts that could "
                "learn; write `fixed`",
                key=key,
            )
        self.steps = nn.Parameter(torch.zeros(sum(column.start.numel() for column in self.columns)))

    def of(self, system: System) -> TermChanges | None:
        """Those of one molecule; None if none of them acts on it."""
        bound = []
        for term in dict.fromkeys(column.term for column in self.columns):
            numbered = replace(term, parameters={"row": np.arange(len(term.keys), dtype=np.float64)})
            index, found = bind_term(self.priors, numbered, system)
            row = found.pop("row").astype(np.int64)
            own = tuple(column for column in self.columns if column.term is term)
            names = {column.name for column in own}
            given = found | {name: values[row] for name, values in term.parameters.items() if name not in names}
            if len(index):
                bound.append(self._on_device(BoundTerm(
                    term, torch.from_numpy(np.array(index)), torch.from_numpy(row),
                    {name: torch.from_numpy(np.asarray(values, np.float64)) for name, values in given.items()}, own,
                )))  # fmt: skip
        return TermChanges(self.steps, tuple(bound)) if bound else None

    def _on_device(self, bound: BoundTerm) -> BoundTerm:
        device = self.steps.device
        return replace(
            bound, beads=bound.beads.to(device), row=bound.row.to(device),
            given={name: values.to(device) for name, values in bound.given.items()},
            columns=tuple(replace(column, start=column.start.to(device)) for column in bound.columns),
        )  # fmt: skip


def with_steps(priors: ForceField, steps: Tensor) -> ForceField:
    """The priors with what their terms have learned, [S]."""
    steps = steps.detach().cpu()
    columns = _columns(priors)
    terms = []
    for term in priors.terms:
        now = {column.name: column.now(steps).numpy() for column in columns if column.term is term}
        terms.append(replace(term, parameters={**term.parameters, **now}) if now else term)
    return replace(priors, terms=tuple(terms))


def _columns(priors: ForceField) -> tuple[Column, ...]:
    """The parameters that learn, and where their steps are."""
    found: list[Column] = []
    first = 0
    for term in priors.terms:
        form = FORMS[term.form]
        if form.on == "pair":
            continue
        for name in term.columns:
            if name == form.constant or name in form.whole:
                continue
            start = torch.from_numpy(np.array(term.parameters[name], np.float64))
            found.append(Column(term, name, start, first))
            first += start.numel()
    return tuple(found)
