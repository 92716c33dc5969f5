"""N, CA, CB, C and O of each residue, with the bead types and interaction lists of mlcg's transferable priors.

Types: the residue's name on CB (on CA of glycine, which has no CB), else the atom's name. Lists, for each chain:

====================================  ===============================================================
n_term_bonds, bulk_bonds, c_term_...  bonds that touch the first residue, none, or the last residue
n_term_angles, bulk_..., c_term_...   angles likewise
ALA_phi ... VAL_phi                   C of the residue before, N, CA, C
ALA_psi ... VAL_psi                   N, CA, C, N of the residue after
pro_omega, non_pro_omega              CA, C, and N, CA of the residue after, which is proline or not
gamma_1                               N, CB, C, CA: which hand
gamma_2                               CA, O, N of the residue after, C: how flat
====================================  ===============================================================

N. E. Charron et al., Nat. Chem. (2025); mlcg.
"""

from __future__ import annotations

from itertools import groupby

import numpy as np

from mdflash.core.types import IntArray
from mdflash.errors import InputError
from mdflash.mapping.beads import BeadMap, make_beads, refuse_long_bonds
from mdflash.mapping.interactions import from_bonds
from mdflash.mapping.read import Residue, Structure
from mdflash.mapping.residues import ELEMENT_MASS, RESIDUE_MASS

Rows = dict[str, list[tuple[int, ...]]]


def five_bead(structure: Structure, name: str) -> BeadMap:
    """The beads of a structure, see the module.

    Raises:
        InputError: a residue lacks one of the atoms.
    """
    residues = structure.residues
    beads: list[tuple[str, str, float, list[int]]] = []
    numbers: list[dict[str, int]] = []  # atom name -> bead, of each residue
    for residue in residues:
        own = {}
        for atom in ("N", "CA", "CB", "C", "O"):
            if atom == "CB" and residue.name == "GLY":
                continue
            if atom not in residue.atoms:
                raise InputError(
                    f"residue {residue.place} has no {atom} atom, which the mapping five-bead needs; "
                    "complete the structure (PDBFixer adds missing atoms)",
                    file=structure.file,
                )
            distinct = atom == "CB" or (atom == "CA" and residue.name == "GLY")
            own[atom] = len(beads)
            beads.append((atom, residue.name if distinct else atom, ELEMENT_MASS[atom[0]], [residue.atoms[atom]]))
        numbers.append(own)
    owner = np.repeat(np.arange(len(residues)), [len(own) for own in numbers])
    lists = _lists(residues, numbers, owner)
    bonds = [row for key in ("n_term_bonds", "bulk_bonds", "c_term_bonds") for row in lists[key]]
    order = {"bonds": 2, "angles": 3}
    tables = {
        key: np.array(rows, np.int64).reshape(-1, order.get(key.rsplit("_", 1)[1], 4)) for key, rows in lists.items()
    }
    mapped = make_beads(structure, residues, beads, owner, np.array(bonds, np.int64), name, tables)
    refuse_long_bonds(structure, mapped)
    return mapped


def _lists(residues: tuple[Residue, ...], numbers: list[dict[str, int]], owner: IntArray) -> Rows:
    lists: Rows = {f"{part}_{what}": [] for what in ("bonds", "angles") for part in ("n_term", "bulk", "c_term")}
    lists |= {f"{name}_{angle}": [] for angle in ("phi", "psi") for name in sorted(RESIDUE_MASS)}
    lists |= {name: [] for name in ("pro_omega", "non_pro_omega", "gamma_1", "gamma_2")}
    for _, group in groupby(range(len(residues)), key=lambda k: residues[k].chain_index):
        chain = list(group)
        bonds = _bonds([numbers[k] for k in chain])
        angles = from_bonds(len(owner), np.array(bonds, np.int64))["angles"]
        for what, rows in (("bonds", bonds), ("angles", sorted(map(tuple, angles.tolist())))):
            for row in rows:
                touched = {int(owner[bead]) for bead in row}
                part = "n_term" if chain[0] in touched else "c_term" if chain[-1] in touched else "bulk"
                lists[f"{part}_{what}"].append(row)
        for k in chain:
            kind, own = residues[k].name, numbers[k]
            if "CB" in own:
                lists["gamma_1"].append((own["N"], own["CB"], own["C"], own["CA"]))
            if k != chain[0]:
                lists[f"{kind}_phi"].append((numbers[k - 1]["C"], own["N"], own["CA"], own["C"]))
            if k != chain[-1]:
                after = numbers[k + 1]
                omega = "pro_omega" if residues[k + 1].name == "PRO" else "non_pro_omega"
                lists[f"{kind}_psi"].append((own["N"], own["CA"], own["C"], after["N"]))
                lists[omega].append((own["CA"], own["C"], after["N"], after["CA"]))
                lists["gamma_2"].append((own["CA"], own["O"], after["N"], own["C"]))
    return lists


def _bonds(chain: list[dict[str, int]]) -> list[tuple[int, ...]]:
    """Bonds of one chain, sorted."""
    found: list[tuple[int, ...]] = []
    for k, own in enumerate(chain):
        found += [(own[a], own[b]) for a, b in (("N", "CA"), ("CA", "CB"), ("CA", "C"), ("C", "O")) if b in own]
        if k + 1 < len(chain):
            found.append((own["C"], chain[k + 1]["N"]))
    return sorted(found)
