"""Fraction of native contacts."""

from __future__ import annotations

from mdflash.analysis.measures import fraction_of_contacts
from mdflash.analysis.molecule import FEWEST_CONTACTS, Molecule
from mdflash.analysis.observables.base import Observable, Values


def _values(m: Molecule) -> Values | None:
    if len(m.contacts) < FEWEST_CONTACTS:
        return None
    return lambda x: fraction_of_contacts(x, m.contacts, m.lengths)


NATIVE_CONTACTS = Observable(
    "q",
    "fraction of native contacts",
    "",
    _values,
    span=(0.0, 1.0),
    source="Q: fraction of native contacts shorter than 1.2 times their native length (Clementi et al. 2000)",
)
