"""Copies of a molecule that attract each other by its own native contacts: a Gō model of many copies in a box.

Residues i and j that are a native contact of the molecule are one between any two copies as well, i of the one with j
of the other and j with i, at the same distance (Yang et al., Proc. Natl. Acad. Sci. 101, 13786 (2004), for any number
of copies). Contacts within a copy stay a list of beads. Those between copies are a term of near pairs, which sees
nearest images; each bead is a type of its own there, and types in contact do not repel each other.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final, TypeVar

import numpy as np

from mdflash.core.types import IntArray
from mdflash.errors import ForceFieldError
from mdflash.forcefields.build import bind_term
from mdflash.forcefields.copies import Part
from mdflash.forcefields.model import ForceField, Term
from mdflash.potentials.forms import FORMS
from mdflash.potentials.forms.contact import FORMS as CONTACTS
from mdflash.potentials.forms.near_contact import END
from mdflash.potentials.forms.near_contact import FORMS as NEAR

BETWEEN: Final = "contacts_between_copies"
"""The name of the term."""

P = TypeVar("P", bound=Part)


def contacts_between(part: P) -> P:
    """The molecule, as one whose copies attract each other by its own native contacts.

    Raises:
        ForceFieldError: its force field has no native contacts of the form contact_12_10, or more than a Gō model has.
    """
    ff, system, n = part.forcefield, part.system, part.system.n_beads
    native = [t for t in ff.terms if t.form == CONTACTS[0].name and t.keyed_by == "beads"]
    _check(ff, native)
    bound = [bind_term(ff, t, system) for t in native]
    pairs = np.sort(np.concatenate([index for index, _ in bound]), axis=1)
    every = np.stack(np.triu_indices(n), axis=1)
    contact = np.searchsorted(_number(every, n), _number(pairs, n))
    epsilon, r0 = np.zeros(len(every)), np.full(len(every), min(values["r0"].min() for _, values in bound))
    epsilon[contact] = np.concatenate([values["epsilon"] for _, values in bound])
    r0[contact] = np.concatenate([values["r0"] for _, values in bound])
    names = tuple(f"{name}.{bead + 1}" for bead, name in enumerate(system.types))
    old = ff.type_indices(system)
    terms = tuple(_by_bead(ff, t, part, old, every, contact) for t in ff.terms)
    # the exclusions of another pair term, so that the two share a list: all that near contacts must leave out is there
    like = next((t for t in ff.terms if t.keyed_by == "neighbors"), None)
    attraction = Term(
        BETWEEN, NEAR[0].name, "neighbors", every, {"epsilon": epsilon, "r0": r0}, cutoff=END * float(r0.max()),
        exclude_bonds=0 if like is None else like.exclude_bonds,
        exclude_terms=tuple(t.name for t in native) if like is None else like.exclude_terms,
    )  # fmt: skip
    own = replace(system, types=names)
    types = tuple(
        replace(ff.bead_types[k], name=name, index=bead) for bead, (name, k) in enumerate(zip(names, old, strict=True))
    )
    made = replace(ff, bead_types=types, terms=(*terms, attraction), systems=())
    return replace(part, forcefield=made, system=own)


def describe_contacts(part: Part) -> str:
    """'6 pairs of copies, each with 170 contacts (85 native ones, ...)', of what `contacts_between` made."""
    (term,) = (t for t in part.forcefield.terms if t.name == BETWEEN)
    native = int((term.parameters["epsilon"] > 0).sum())
    between = part.count * (part.count - 1) // 2
    return (
        f"native contacts act between copies too, residue i of one with j of the other: {between:,} pairs of copies, "
        f"{2 * native:,} contacts each ({native:,} native ones, both ways)"
    )


def _number(pairs: IntArray, n: int) -> IntArray:
    found: IntArray = pairs[:, 0] * n + pairs[:, 1]
    return found


def _by_bead(ff: ForceField, term: Term, part: Part, old: IntArray, every: IntArray, contact: IntArray) -> Term:
    """A term for types that are single beads."""
    if term.keyed_by != "neighbors":
        index, values = bind_term(ff, term, part.system)
        return Term(term.name, term.form, "beads", index, values)
    k = len(ff.bead_types)
    row = np.full((k, k), -1, np.int64)
    row[term.keys[:, 0], term.keys[:, 1]] = row[term.keys[:, 1], term.keys[:, 0]] = np.arange(len(term.keys))
    wanted = row[old[every[:, 0]], old[every[:, 1]]]
    if (wanted < 0).any():
        i, j = every[int(np.flatnonzero(wanted < 0)[0])]
        raise ForceFieldError(
            f"term '{term.name}' of force field '{ff.name}' has no row for the bead types {part.system.types[i]} and "
            f"{part.system.types[j]}",
            file=ff.folder,
        )
    values = {p: v[wanted].copy() for p, v in term.parameters.items()}
    values[FORMS[term.form].strength][contact] = 0.0
    return replace(term, keys=every, parameters=values)


def _check(ff: ForceField, native: list[Term]) -> None:
    if not any(len(t.keys) for t in native):
        raise ForceFieldError(
            f"force field '{ff.name}' has no native contacts of the form {CONTACTS[0].name}, so none can act between "
            "copies; a Gō model has them (mdflash go), or write `between_copies: none`",
            file=ff.folder,
        )
    listed = {t.name for t in native}
    odd = [t.name for t in ff.terms if t.keyed_by == "neighbors" and (t.rules or not listed <= set(t.exclude_terms))]
    odd += [network.name for network in ff.networks]
    if odd:
        raise ForceFieldError(
            f"force field '{ff.name}' is more than a Gō model: {', '.join(odd)} would act beside the contacts between "
            "copies; write `between_copies: none`",
            file=ff.folder,
        )
