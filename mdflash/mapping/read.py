"""Read the protein of a structure file: its residues, atoms and coordinates, checked.

What a file may hold is seen in four steps: `formats` gives the atoms as they are written, `grouping` the residues,
`contents` tells protein from the rest, and `chains` finds which residues follow each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np

from mdflash.core.types import FloatArray, IntArray
from mdflash.errors import InputError
from mdflash.mapping.atoms import Content, Model
from mdflash.mapping.bonds import find_bonds
from mdflash.mapping.chains import Chains, Link
from mdflash.mapping.chains import Residue as Residue
from mdflash.mapping.choices import AS_IT_IS, Reading, advice
from mdflash.mapping.contents import Found, sort_out
from mdflash.mapping.formats import is_assembly, read_content
from mdflash.mapping.grouping import Group, group, without_variants

SAME_PLACE = 0.1
"""Å; residues whose CA are nearer than this are one residue written twice."""
SAME_RESIDUE_TWICE = 1.5
"""Å; the same for residues of one name and number."""
RIGID, BESIDE = 0.02, 3.0
"""Å; models whose distances agree to the first and that come no nearer than the second are parts of an assembly."""
SHOWN = 8
"""So many residues are named in a note."""


@dataclass(frozen=True)
class Structure:
    """The protein of a structure file.

    Attributes:
        file: where it came from.
        residues: protein residues, chain after chain.
        with_caps: as `residues`, with the terminal caps (ACE, NME, ...) among them.
        positions: [F, atoms, 3] Å, all models of the file and all its atoms but the alternate locations left out.
        bonds: [bonds, 2] rows of atoms that a standard residue, its neighbors or the file itself bond.
        notes: what was skipped or looks odd, for people.
    """

    file: Path
    residues: tuple[Residue, ...]
    with_caps: tuple[Residue, ...]
    positions: FloatArray
    bonds: IntArray
    notes: tuple[str, ...]

    @property
    def ca_only(self) -> bool:
        """Whether every residue consists of its CA alone."""
        return all(len(r.heavy) == 1 for r in self.residues)

    def heavy_atoms(self, frame: int = 0) -> list[FloatArray]:
        """For each residue, the positions [atoms, 3] of its heavy atoms in Å."""
        return [self.positions[frame, r.heavy] for r in self.residues]


def read_structure(file: Path, also_known: frozenset[str] = frozenset(), reading: Reading = AS_IT_IS) -> Structure:
    """Read the protein of a PDB, mmCIF or GRO file, which may be compressed.

    Waters and ions are skipped and noted. Of alternate locations that of the highest occupancy is read.

    Args:
        file: the structure; several models become several frames.
        also_known: residue names to accept besides the twenty amino acids.
        reading: what to do where a file asks for a choice.

    Raises:
        InputError: missing or unreadable file, another format, no protein, residues of unknown name,
            a residue without CA or there twice, missing residues, models that differ, a coordinate that is not a
            finite number.
    """
    content = read_content(file)
    models = _models(content, reading, file)
    first = models[0]
    groups, gone = without_variants(group(first.atoms, first.positions))
    found = sort_out(groups, first.positions, content.parents, also_known, reading, file)
    _check_finite(found, models, file)
    positions, row = _frames(found, groups, gone, models, file)
    links = [replace(link, residue=_moved(link.residue, row)) for link in found.links]
    _check_unit([link.residue for link in links], positions[0], file)
    chains = Chains(links, positions, [m.box for m in models], file)
    with_caps = chains.residues(reading.gaps)
    if reading.chains and not found.by_id:
        with_caps = _only(with_caps, reading.chains, file)
    residues = tuple(r for r in with_caps if "CA" in r.atoms)
    _refuse_twice(residues, chains.positions, file)
    _refuse_parts(chains.positions[:, [r.ca for r in residues]], file)
    conect = [(row[i], row[j]) for i, j in content.bonds if first is content.models[0] and row[i] >= 0 <= row[j]]
    return Structure(
        file=file,
        residues=residues,
        with_caps=with_caps,
        positions=chains.positions,
        bonds=find_bonds(with_caps, chains.positions[0], conect, {int(row[k]) for k in found.thiols}),
        notes=(*found.notes, *_about_alternates(found, gone), *chains.notes),
    )


def _models(content: Content, reading: Reading, file: Path) -> tuple[Model, ...]:
    if reading.model is None and len(content.models) > 1 and is_assembly(file):
        raise _is_assembly(len(content.models), file)
    if reading.model is None:
        return content.models
    chosen = [m for m in content.models if m.number == reading.model]
    if not chosen:
        numbers = [m.number for m in content.models]
        there = f"{numbers[0]}" if len(numbers) == 1 else f"{numbers[0]} to {numbers[-1]}"
        raise InputError(f"has no model {reading.model}; its models are {there}", file=file)
    return (chosen[0],)


def _is_assembly(models: int, file: Path) -> InputError:
    return InputError(
        f"its {models} models are the parts of one assembly, not frames; take the assembly as mmCIF "
        f"(-assembly1.cif), where each part has a chain id, or one part with {advice('model', '1')}",
        file=file,
    )


def _refuse_parts(ca: FloatArray, file: Path) -> None:
    """Refuse models that are the same rigid body beside each other: no two frames are, but parts of an assembly.

    Args:
        ca: [F, residues, 3] Å.
        file: for the message.
    """
    from scipy.spatial import cKDTree

    frames, n = ca.shape[:2]
    if frames < 2 or n < 10:  # shorter pieces may well be alike
        return
    some = np.linspace(0, n - 1, min(n, 60)).astype(np.int64)
    shape = np.linalg.norm(ca[:, some, None] - ca[:, None, some], axis=-1)
    if np.abs(shape - shape[0]).max() > RIGID:
        return
    tree = cKDTree(ca[0])
    if all(tree.query(ca[f])[0].min() > BESIDE for f in range(1, frames)):
        raise _is_assembly(frames, file)


def _moved(residue: Residue, row: IntArray) -> Residue:
    return replace(residue, atoms={name: int(row[k]) for name, k in residue.atoms.items()})


def _frames(
    found: Found, groups: Sequence[Group], gone: Sequence[tuple[Group, Group]], models: Sequence[Model], file: Path
) -> tuple[FloatArray, IntArray]:
    """[F, kept, 3] Å, and where each atom of the first model went; -1 for alternate locations that were left out."""
    first = models[0]
    left = {row for g in groups for row in g.passed_over()}
    for _, other in gone:
        left |= {*other.places.values(), *(row for _, _, row in other.hydrogens)}
    keep = np.array([row for row in range(len(first.atoms)) if row not in left], np.int64)
    row = np.full(len(first.atoms), -1)
    row[keep] = np.arange(len(keep))
    names = [a[:5] for a in first.atoms]
    frames = [first.positions]
    for model in models[1:]:
        if [a[:5] for a in model.atoms] == names:
            frames.append(model.positions)
        else:
            frames.append(_matched(found, first, model, file))
    return np.stack(frames)[:, keep], row


def _matched(found: Found, first: Model, model: Model, file: Path) -> FloatArray:
    """Positions of a model that holds other atoms, in the order of the first; only the protein's are of use."""
    theirs: dict[tuple[str, str, str, int, str], dict[str, int]] = {}
    for g in without_variants(group(model.atoms, model.positions))[0]:
        theirs.setdefault((g.first.residue, *g.key), g.chosen())
    x: FloatArray = first.positions.copy()
    for link in found.links:
        a = first.atoms[next(iter(link.residue.atoms.values()))]
        own = theirs.get((a.residue, a.chain, a.segment, a.number, a.code), {})
        missing = [name for name in link.residue.atoms if name not in own]
        if missing:
            raise InputError(
                f"model {model.number} is another molecule than model {first.number}: it has no atom {missing[0]} of "
                f"{link.residue.place}. {_instead(first, model)}",
                file=file,
            )
        x[list(link.residue.atoms.values())] = model.positions[[own[name] for name in link.residue.atoms]]
    extra = theirs.keys() - {_key(first, link) for link in found.links}
    protein = {k for k in extra if "CA" in theirs[k] and "N" in theirs[k]}
    if protein:
        name, chain, _, number, code = sorted(protein)[0]
        raise InputError(
            f"model {model.number} is another molecule than model {first.number}: only it has {name} {number}{code}"
            f"{f' of chain {chain}' if chain else ''}. {_instead(first, model)}",
            file=file,
        )
    return x


def _instead(first: Model, model: Model) -> str:
    one = f"Read one with {advice('model', str(first.number))}"
    return f"{one}, or remove the line END before it to read both as one structure" if model.by_end else one


def _key(first: Model, link: Link) -> tuple[str, str, str, int, str]:
    a = first.atoms[next(iter(link.residue.atoms.values()))]
    return a.residue, a.chain, a.segment, a.number, a.code


def _only(residues: tuple[Residue, ...], wanted: tuple[str, ...], file: Path) -> tuple[Residue, ...]:
    """The residues of some chains, by the letters that chains without an id got."""
    there = list(dict.fromkeys(r.chain for r in residues))
    absent = [c for c in wanted if c not in there]
    if absent:
        raise InputError(f"has no chain {absent[0]}; its chains are {', '.join(there)}", file=file)
    return tuple(r for r in residues if r.chain in wanted)


def _check_finite(found: Found, models: Sequence[Model], file: Path) -> None:
    for link in found.links:
        for name, row in link.residue.atoms.items():
            for model in models:
                if row < len(model.positions) and not np.isfinite(model.positions[row]).all():
                    raise InputError(
                        f"atom {name} of residue {link.residue.place} in model {model.number} is at "
                        f"{model.positions[row].tolist()}; every coordinate must be a finite number",
                        file=file,
                    )


def _check_unit(residues: Sequence[Residue], x: FloatArray, file: Path) -> None:
    """Refuse nanometers for Å and the reverse: by N and CA, 1.46 Å apart, or by consecutive CA, 3.8 Å apart."""
    backbone = [r for r in residues if "N" in r.atoms and "CA" in r.atoms]
    trace = [(a, b) for a, b in pairwise(residues) if "CA" in a.atoms and "CA" in b.atoms and a.chain == b.chain]
    if backbone:
        what, usual = "N and CA of a residue", 1.46
        d = x[[r.atoms["N"] for r in backbone]] - x[[r.ca for r in backbone]]
    elif trace:
        what, usual = "CA of consecutive residues", 3.8
        d = x[[a.ca for a, _ in trace]] - x[[b.ca for _, b in trace]]
    else:
        return
    apart = float(np.median(np.linalg.norm(d, axis=1)))
    if np.isclose(apart, usual / 10, rtol=0.3) or np.isclose(apart, usual * 10, rtol=0.3):
        raise InputError(
            f"{what} are {apart:.2f} Å apart, where they should be {usual} Å: the coordinates are in another unit; "
            "write PDB and mmCIF in Å, GRO in nm",
            file=file,
        )


def _refuse_twice(residues: Sequence[Residue], x: FloatArray, file: Path) -> None:
    """Residues that stand in the file twice, in all its models, would be beads in one place."""
    from scipy.spatial import cKDTree

    ca = x[:, [r.ca for r in residues]]
    for i, j in sorted(cKDTree(ca[0]).query_pairs(SAME_RESIDUE_TWICE)):
        one, other = residues[i], residues[j]
        apart = float(np.linalg.norm(ca[:, i] - ca[:, j], axis=1).max())
        same = (one.name, one.number, one.code) == (other.name, other.number, other.code)
        if same or apart < SAME_PLACE:
            raise InputError(
                f"{one.place} and {other.place} lie in one place (CA {apart:.2f} Å apart): the file holds this residue "
                "twice; remove one, or mark them as alternate locations (column 17)",
                file=file,
            )


def _about_alternates(found: Found, gone: Sequence[tuple[Group, Group]]) -> list[str]:
    notes = []
    if found.split:
        names = ", ".join(found.split[:SHOWN])
        more = f" and {len(found.split) - SHOWN} more" if len(found.split) > SHOWN else ""
        notes.append(f"alternate locations of {names}{more}: of each the one with the highest occupancy was read")
    for stays, other in gone:
        a, b = stays.first, other.first
        notes.append(
            f"residue {a.number}{a.code} of chain {a.chain} is {a.residue} or {b.residue} (alternate locations): read "
            f"as {a.residue}"
        )
    return notes
