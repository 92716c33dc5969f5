"""Contacts between the copies of a molecule that a structure holds, as within one: the symmetrized Gō model.

Yang, Cho, Levy, Cheung, Levine & Onuchic, Proc. Natl. Acad. Sci. 101, 13786 (2004): residues i and j that touch within
a chain attract each other also where i is of one copy and j of another, at the same distance; so domains may swap.
What touches between two copies does so between every two. Native contacts keep their own distances.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Final, NamedTuple

import numpy as np

from mdflash.core.system import System
from mdflash.core.types import FloatArray, IntArray
from mdflash.errors import InputError

_ALIKE: Final = 0.5
"""The share of residues that two copies must both have."""


class Symmetric(NamedTuple):
    """Contacts that follow by symmetry from native ones.

    Attributes:
        pairs: [C, 2] residues i < j, sorted; none of them is a native contact.
        r0: [C] Å.
        swapped: how many are those within a chain; the others are those of an interface.
    """

    pairs: IntArray
    r0: FloatArray
    swapped: int


def symmetric_contacts(system: System, native: IntArray, r0: FloatArray, chains: IntArray) -> Symmetric:
    """The contacts between copies that native ones imply; where several imply one, their mean distance.

    Args:
        system: one bead per residue.
        native: [C, 2] native contacts.
        r0: [C] Å.
        chains: [N] number of the chain of each residue.

    Raises:
        InputError: no two chains are copies of a molecule.
    """
    kind, place = _places(system, chains)
    beads: dict[tuple[int, int], list[int]] = defaultdict(list)  # all copies of a residue
    for bead in range(system.n_beads):
        beads[kind[bead], place[bead]].append(bead)
    if all(len(copies) == 1 for copies in beads.values()):
        raise InputError(
            f"no two chains of '{system.name}' are copies of a molecule, so no contact follows by symmetry; write "
            "--between-chains native"
        )
    taken = {(int(i), int(j)) for i, j in np.sort(native, axis=1)}
    found: dict[tuple[int, int], float] = {}
    swapped = 0
    within = chains[native[:, 0]] == chains[native[:, 1]]
    for rows in (np.flatnonzero(~within), np.flatnonzero(within)):  # an interface goes before what is within a chain
        implied: dict[tuple[int, int], list[float]] = defaultdict(list)
        for c in rows:
            i, j = native[c]
            for a in beads[kind[i], place[i]]:
                for b in beads[kind[j], place[j]]:
                    pair = (min(a, b), max(a, b))
                    if chains[a] != chains[b] and pair not in taken and pair not in found:
                        implied[pair].append(float(r0[c]))
        found |= {pair: float(np.mean(values)) for pair, values in implied.items()}
        swapped = len(implied)
    order = sorted(found)
    pairs = np.array(order, np.int64).reshape(-1, 2)
    return Symmetric(pairs, np.array([found[pair] for pair in order]), swapped)


def _places(system: System, chains: IntArray) -> tuple[list[int], list[int]]:
    """[N] the molecule that each residue's chain is a copy of, and [N] its place there.

    Chains are copies if their sequences are equal, or if most of their residues share numbers, and all those names.
    """
    kind, place = [0] * system.n_beads, [0] * system.n_beads
    molecules: list[_Molecule] = []
    codes = system.insertion_codes or ("",) * system.n_residues
    for chain in np.unique(chains):
        own = np.flatnonzero(chains == chain).tolist()
        residues = system.residue_index[own].tolist()
        names = [system.residue_names[r] for r in residues]
        numbers = [(system.residue_ids[r], codes[r]) for r in residues]
        found = next(((k, at) for k, m in enumerate(molecules) if (at := m.places(names, numbers)) is not None), None)
        if found is None:
            found = len(molecules), list(range(len(own)))
            molecules.append(_Molecule(names, dict(zip(numbers, names, strict=True))))
        for bead, where in zip(own, found[1], strict=True):
            kind[bead], place[bead] = found[0], where
    return kind, place


class _Molecule(NamedTuple):
    """A molecule, as its first copy shows it; residues that only others show come last."""

    names: list[str]
    numbered: dict[tuple[int, str], str]

    def places(self, names: list[str], numbers: list[tuple[int, str]]) -> list[int] | None:
        """Of the residues of another chain; None if it is no copy."""
        if names == self.names:
            return list(range(len(names)))
        alike = sum(number in self.numbered for number in numbers)
        if alike < _ALIKE * max(len(names), len(self.names)):
            return None
        if any(self.numbered.get(number, name) != name for number, name in zip(numbers, names, strict=True)):
            return None
        for number, name in zip(numbers, names, strict=True):
            self.numbered.setdefault(number, name)
        where = {number: place for place, number in enumerate(self.numbered)}
        return [where[number] for number in numbers]
