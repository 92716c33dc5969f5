"""Folded domains for a model of disordered proteins: harmonic restraints hold each domain in the shape of a structure.

Cao, von Bülow, Tesei & Lindorff-Larsen, Protein Science 33, e5172 (2024) (CALVADOS 3); z marks the structure:

    E = sum over pairs i, j of one domain, |i - j| >= 2, r_z < 9 Å   k (r - r_z)^2     k = 350 kJ/mol/nm^2
      + sum over bonds                                               k_b (r - r_b)^2   as in the force field

A restrained pair has no other interaction. r_b is r_z where one of both beads is in a domain, else the force field's.
Beads of domains lie in the centers of mass of their residues, the others at their CA atoms.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from mdflash.core.geometry import distances
from mdflash.core.system import System
from mdflash.core.types import FloatArray, IntArray
from mdflash.errors import InputError
from mdflash.forcefields.build import bind_term
from mdflash.forcefields.model import ForceField, Term
from mdflash.mapping.read import Structure
from mdflash.mapping.residues import ELEMENT_MASS

REACH: Final = 9.0
"""Å; pairs of a domain that lie nearer are restrained."""
STIFFNESS: Final = 350.0 / 4.184 / 100.0
"""kcal/mol/Å^2, of k (r - r_z)^2."""
TERM: Final = "domains"

Domains = Sequence[IntArray]
"""The beads of each domain, ascending."""


def parse_domains(text: str, system: System) -> list[IntArray]:
    """The domains of `11-89, 105-179`: residue numbers as in the structure, ends included.

    A domain of several parts has plus signs (`287-294+323-466`), a chain stands before its numbers (`B:11-89`).

    Raises:
        InputError: not of this form, no such residue, or a residue in two domains; names it.
    """
    number = {(chain, key): k for k, (chain, key) in enumerate(zip(system.chain_ids, system.residue_ids, strict=True))}
    chains = dict.fromkeys(system.chain_ids)
    owner: dict[int, str] = {}
    found = []
    for domain in text.split(","):
        beads: list[int] = []
        for part in domain.split("+"):
            match = re.fullmatch(r"\s*(?:(\w+):)?(-?\d+)\s*-\s*(-?\d+)\s*", part)
            if match is None:
                raise InputError(
                    f"'{part.strip()}' is no range of residues; expected for example '11-89, 105-179', or "
                    "'287-294+323-466' for a domain of two parts, or 'B:11-89' in chain B",
                    key="--domains",
                )
            if match[1] is None and len(chains) > 1:
                raise InputError(
                    f"'{part.strip()}': {system.name} has the chains {', '.join(chains)}; name one, for example "
                    f"'{next(iter(chains))}:{part.strip()}'",
                    key="--domains",
                )
            chain = match[1] or next(iter(chains))
            ends = [number.get((chain, int(end))) for end in match.group(2, 3)]
            if ends[0] is None or ends[1] is None or ends[0] >= ends[1]:
                mine = [i for c, i in zip(system.chain_ids, system.residue_ids, strict=True) if c == chain]
                there = f"has residues {min(mine)} to {max(mine)}" if mine else "is not there"
                raise InputError(
                    f"'{part.strip()}' is no range of residues of chain {chain}, which {there}", key="--domains"
                )
            beads += range(ends[0], ends[1] + 1)
        for bead in beads:
            if bead in owner:
                raise InputError(
                    f"residue {system.residue_names[bead]} {system.residue_ids[bead]} is in '{owner[bead]}' and in "
                    f"'{domain.strip()}'; a residue belongs to one domain",
                    key="--domains",
                )
            owner[bead] = domain.strip()
        found.append(np.array(sorted(beads), np.int64))
    return found


def show_domains(domains: Domains, system: System) -> str:
    """The domains as `parse_domains` reads them."""
    many = len(set(system.chain_ids)) > 1
    texts = []
    for beads in domains:
        parts = np.split(beads, np.flatnonzero(np.diff(beads) > 1) + 1)
        texts.append(
            "+".join(
                (f"{system.chain_ids[p[0]]}:" if many else "")
                + f"{system.residue_ids[p[0]]}-{system.residue_ids[p[-1]]}"
                for p in parts
            )
        )
    return ", ".join(texts)


def place_beads(structure: Structure, ca: FloatArray, domains: Domains) -> FloatArray:
    """[N, 3] Å: centers of mass of the heavy atoms for residues of domains, `ca` [N, 3] for the others."""
    x: FloatArray = np.array(ca)
    if structure.ca_only:
        return x
    for beads in domains:
        for bead in beads.tolist():
            atoms = structure.residues[bead].atoms
            mass = np.array([ELEMENT_MASS.get(name[0], ELEMENT_MASS["C"]) for name in atoms])
            x[bead] = mass @ structure.positions[0, list(atoms.values())] / mass.sum()
    return x


def restrain(forcefield: ForceField, system: System, x: FloatArray, domains: Domains) -> ForceField:
    """The force field for one molecule, which holds its domains as they are at `x`.

    Args:
        forcefield: one that holds for any sequence, with its bonds as a harmonic term of bead types.
        system: one bead for each residue, fitted to the force field.
        x: [N, 3] Å, becomes the start frame.
        domains: beads of each.

    Raises:
        InputError: the force field has no such bonds, or holds domains already.
    """
    bonds = next((t for t in forcefield.terms if t.form == "harmonic_bond" and t.keyed_by == "types"), None)
    if bonds is None or any(t.keyed_by == "beads" for t in forcefield.terms):
        raise InputError(
            f"domains can be held in a force field for any sequence, such as calvados3; '{forcefield.name}' is not one"
        )
    index, parameters = bind_term(forcefield, bonds, system)
    member = np.zeros(system.n_beads, bool)
    member[np.concatenate(domains)] = True
    held = member[index].any(axis=1)
    chain = Term(
        bonds.name, bonds.form, "beads", index,
        {"k": parameters["k"], "x0": np.where(held, distances(x, index), parameters["x0"])},
    )  # fmt: skip
    pairs = restrained_pairs(system, x, domains)
    restraints = Term(
        TERM, "harmonic_bond", "beads", pairs, {"k": np.full(len(pairs), STIFFNESS), "x0": distances(x, pairs)}
    )

    def own(term: Term) -> tuple[Term, ...]:
        if term is bonds:
            return (chain, restraints)
        return (replace(term, exclude_terms=(*term.exclude_terms, TERM)) if term.keyed_by == "neighbors" else term,)

    return replace(
        forcefield,
        name=f"{forcefield.name}-{system.name}",
        terms=tuple(t for term in forcefield.terms for t in own(term)),
        systems=((replace(system, interactions={}), x[None].copy()),),
        provenance={
            **forcefield.provenance,
            "domains": show_domains(domains, system),
            "restraints": f"{len(pairs)} pairs of one domain within {REACH:g} angstrom in the structure",
        },
    )


def restrained_pairs(system: System, x: FloatArray, domains: Domains) -> IntArray:
    """[M, 2] pairs i < j of one domain nearer than `REACH` at x [N, 3], save bonded ones, sorted."""
    bonded = {tuple(bond) for bond in system.bonds.tolist()}
    found: list[tuple[int, int]] = []
    for beads in domains:
        i, j = (beads[k] for k in np.triu_indices(len(beads), 1))
        near = np.linalg.norm(x[i] - x[j], axis=1) < REACH
        found += [p for p in zip(i[near].tolist(), j[near].tolist(), strict=True) if p not in bonded]
    return np.array(sorted(found), np.int64).reshape(-1, 2)
