"""What is in a structure file beside protein, and what becomes of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from mdflash.core.plural import plural
from mdflash.core.types import FloatArray
from mdflash.errors import InputError
from mdflash.mapping.chains import PEPTIDE_BOND, Link, Residue
from mdflash.mapping.choices import Reading, advice
from mdflash.mapping.grouping import Group
from mdflash.mapping.residues import (
    CAPS,
    DNA,
    IONS,
    PARENT_RESIDUE,
    RESIDUE_MASS,
    RNA,
    WATERS,
    amino_acid,
    as_parent,
)

Kind = Literal["protein", "cap", "modified", "unknown", "water", "ion", "DNA", "RNA", "ligand"]
SHOWN = 8
"""So many residues of a kind are named in a message."""
_HALOGENS_AND_NOBLE_GASES = (2, 9, 10, 17, 18, 35, 36, 53, 54, 86)


@dataclass
class Found:
    """The protein of a file, and what was said about the rest.

    Attributes:
        links: protein residues and caps in the file's order; rows are those of the file.
        by_id: whether the chains asked for were chosen by the file's own ids.
        split: the residues with alternate locations.
        thiols: rows of the sulfur atoms that hold a hydrogen, so that no disulfide begins there.
        notes: for people.
    """

    links: list[Link] = field(default_factory=list)
    by_id: bool = True
    split: list[str] = field(default_factory=list)
    thiols: set[int] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)


def sort_out(
    groups: Sequence[Group],
    positions: FloatArray,
    parents: Mapping[str, str],
    also_known: frozenset[str],
    reading: Reading,
    file: Path,
) -> Found:
    """Tell the protein from the rest.

    Args:
        groups: the residues of a file.
        positions: [atoms, 3] Å.
        parents: of modified residues, as the file states them.
        also_known: residue names to accept besides the twenty amino acids.
        reading: what to do with the rest.
        file: for messages.

    Raises:
        InputError: there is no protein, a residue has no CA, or there is something that `reading` does not choose
            about; all of it is named at once.
    """
    found = Found()
    if reading.chains:
        groups, found.by_id = _of_chains(groups, reading.chains, file)
    kinds = [_kind(g, parents, also_known) for g in groups]
    kinds = _bonded_only(groups, kinds, parents, positions)
    _refuse(groups, kinds, parents, reading, file)
    parent_of: dict[str, list[str]] = {}
    for g, kind in zip(groups, kinds, strict=True):
        if kind not in ("protein", "cap", "modified"):
            continue
        name, atoms = g.first.residue, g.chosen()
        if name not in also_known:
            name = amino_acid(name)
        if kind == "modified":
            name = _parent(g, parents) or name
            atoms = as_parent(name, atoms)
            parent_of.setdefault(name, []).append(_label(g))
        residue = Residue(name, g.first.number, g.first.chain, 0, atoms, g.first.code)
        if kind != "cap" and "CA" not in atoms:
            raise InputError(
                f"residue {residue.place} has no CA atom; complete the structure (PDBFixer adds missing atoms) "
                "or remove the residue",
                file=file,
            )
        if not atoms:
            continue
        if g.is_split:
            found.split.append(residue.place)
        if any(hydrogen in ("HG", "HG1") for hydrogen, _, _ in g.hydrogens) and "SG" in atoms:
            found.thiols.add(atoms["SG"])
        found.links.append(Link(residue, g.first.segment, g.first.part, g.first.sequence, g.starts))
    count = Counter(kinds)
    if not count["protein"] + count["modified"]:
        there = [_counted(count[kind], kind) for kind in count if count[kind]]
        raise InputError(
            f"holds no protein (found {', '.join(there)}); expected a structure with amino acids", file=file
        )
    found.notes += [f"skipped {plural(count[kind], kind)}" for kind in ("water", "ion") if count[kind]]
    found.notes += [f"read {_some(of)} as {parent}" for parent, of in parent_of.items()]
    found.notes += [f"left out {text}" for text in _rest(groups, kinds)]
    return found


def _of_chains(groups: Sequence[Group], wanted: Sequence[str], file: Path) -> tuple[list[Group], bool]:
    """The groups of some chains, by chain id or else by segment id (mmCIF's label); False: ids are yet to be given."""
    for ids in ([g.first.chain for g in groups], [g.first.segment for g in groups]):
        if set(wanted) <= set(ids):
            return [g for g, own in zip(groups, ids, strict=True) if own in wanted], True
    there = dict.fromkeys(g.first.chain for g in groups)
    if "" in there:
        return [g for g in groups if not g.first.chain], False
    absent = next(c for c in wanted if c not in there)
    raise InputError(f"has no chain {absent}; its chains are {', '.join(there)}", file=file)


def _kind(g: Group, parents: Mapping[str, str], also_known: frozenset[str]) -> Kind:
    from gemmi import ResidueKind, find_tabulated_residue

    name = g.first.residue
    atoms = {atom for atom, _ in g.places}
    if name in also_known or amino_acid(name) in RESIDUE_MASS:
        return "protein"
    if name in WATERS or (atoms & {"OW", "OH2"} and len(atoms) <= 3):  # beside oxygen: sites without mass
        return "water"
    if _is_ion(name, atoms | {atom for atom, _, _ in g.hydrogens}):  # hydrogen by its name: HG
        return "ion"
    if amino_acid(name) in CAPS and len(atoms) <= 3:
        return "cap"
    if "CA" in atoms and _parent(g, parents):
        return "modified"
    table = find_tabulated_residue(name).kind
    if name in DNA | RNA or table in (ResidueKind.DNA, ResidueKind.RNA):
        sugar = atoms & {"O2'", "O2*"} if atoms & {"C2'", "C2*"} else name in RNA or table == ResidueKind.RNA
        return "RNA" if sugar else "DNA"
    if table == ResidueKind.HOH:
        return "water"
    return "unknown" if {"N", "CA", "C"} <= atoms or atoms == {"CA"} else "ligand"


def _is_ion(name: str, atoms: set[str]) -> bool:
    """Whether a residue is one ion or noble gas: by its name, or where name and atom are an element's (YB, 3CO)."""
    from gemmi import Element

    if len(atoms) != 1:
        return False
    symbol = name.strip("0123456789+-")
    element = Element(symbol)
    single = element.is_metal or element.atomic_number in _HALOGENS_AND_NOBLE_GASES
    own = next(iter(atoms)).strip("0123456789+-") == symbol == element.name.upper()
    return name in IONS or (own and single)


def _parent(g: Group, parents: Mapping[str, str]) -> str | None:
    """The amino acid that a residue comes from: as the file says, or as is known."""
    from gemmi import ResidueKind, expand_one_letter, find_tabulated_residue

    name = g.first.residue
    stated = amino_acid(parents.get(name, ""))
    if stated in RESIDUE_MASS:
        return stated
    if name in PARENT_RESIDUE:
        return PARENT_RESIDUE[name]
    info = find_tabulated_residue(name)
    if not info.is_amino_acid() or not info.one_letter_code.strip():
        return None
    parent = expand_one_letter(info.one_letter_code.upper(), ResidueKind.AA)
    return parent if parent in RESIDUE_MASS else None


def _bonded_only(
    groups: Sequence[Group], kinds: Sequence[Kind], parents: Mapping[str, str], x: FloatArray
) -> list[Kind]:
    """Modified and unknown amino acids that no peptide bond holds are ligands, unless the file names a parent; standard
    ones if they are HETATM."""
    chain = [
        g.chosen() for g, kind in zip(groups, kinds, strict=True) if kind in ("protein", "cap", "modified", "unknown")
    ]
    n, c = ([own[atom] for own in chain if atom in own] for atom in ("N", "C"))

    def held(g: Group) -> bool:
        own = g.chosen()
        if not {"N", "C"} <= own.keys():
            return True
        before = np.linalg.norm(x[c] - x[own["N"]], axis=1)
        after = np.linalg.norm(x[n] - x[own["C"]], axis=1)
        return bool(
            (before[[row != own["C"] for row in c]] <= PEPTIDE_BOND).any()
            or (after[[row != own["N"] for row in n]] <= PEPTIDE_BOND).any()
        )

    return [
        "ligand"
        if (kind in ("modified", "unknown") or (kind == "protein" and g.first.hetero))
        and g.first.residue not in parents
        and not held(g)
        else kind
        for g, kind in zip(groups, kinds, strict=True)
    ]


def _refuse(
    groups: Sequence[Group], kinds: Sequence[Kind], parents: Mapping[str, str], reading: Reading, file: Path
) -> None:
    """Refuse what `reading` makes no choice about."""
    problems = []
    modified = [g for g, kind in zip(groups, kinds, strict=True) if kind == "modified"]
    if modified and reading.modified == "refuse":
        problems.append(
            f"modified residues: {_some([f'{_label(g)} (from {_parent(g, parents)})' for g in modified])}; "
            f"{advice('modified', 'parent')} reads each as the amino acid it comes from"
        )
    unknown = [_label(g) for g, kind in zip(groups, kinds, strict=True) if kind == "unknown"]
    if unknown:
        problems.append(
            f"unknown residues in a chain: {_some(unknown)}; rename each to the amino acid it comes from (known are "
            f"{', '.join(sorted(RESIDUE_MASS))}), or read other chains (--chain)"
        )
    if reading.keep == "all" and (rest := _rest(groups, kinds)):
        problems.append(
            f"not protein: {'; '.join(rest)}; mdflash simulates proteins, and {advice('keep', 'protein')} leaves the "
            "rest out"
        )
    if problems:
        raise InputError(". ".join(problems), file=file)


def _rest(groups: Sequence[Group], kinds: Sequence[Kind]) -> list[str]:
    """Nucleic acids and ligands in words."""
    texts = []
    for kind in ("DNA", "RNA"):
        there = [g for g, k in zip(groups, kinds, strict=True) if k == kind]
        if there:
            chains = [c for c in dict.fromkeys(g.first.chain for g in there) if c]
            where = f" (chain{'s' if len(chains) > 1 else ''} {', '.join(chains)})" if chains else ""
            texts.append(f"{plural(len(there), 'residue')} of {kind}{where}")
    ligands: dict[str, list[str]] = {}
    for g, k in zip(groups, kinds, strict=True):
        if k == "ligand":
            ligands.setdefault(g.first.residue, []).append(_label(g))
    named = [
        labels[0] if len(set(labels)) == 1 else f"{name} ({len(set(labels))}, the first is {labels[0]})"
        for name, labels in ligands.items()
    ]
    return [*texts, *([f"ligands {_some(named)}"] if named else [])]


def _label(g: Group) -> str:
    a = g.first
    return f"{a.residue} {a.number}{a.code}{f' of chain {a.chain}' if a.chain else ''}"


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def _counted(n: int, kind: str) -> str:
    """'1 water', '3 modified residues', '2 residues of DNA'."""
    words = {"protein": "amino acid", "modified": "modified residue", "unknown": "unknown residue"}
    return f"{plural(n, 'residue')} of {kind}" if kind in ("DNA", "RNA") else plural(n, words.get(kind, kind))
