"""A Gō force field of an ideal three-helix bundle of 54 residues, made by construction.

python examples/teacher/bundle.py runs/teacher/go-bundle

Beside it, in runs/teacher/go-bundle-priors, are its terms without the contacts: the priors of its student. Dihedrals
have a chirality, which a distance-only network cannot learn; those fitted to frames that fold and unfold are not the
teacher's.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy.optimize import minimize
from scipy.spatial import cKDTree

from mdflash import System, save_forcefield
from mdflash.importers.go_model import GoParameters, build_go

HELIX, LOOP, APART = 16, 3, 9.0  # residues, residues, Å between the axes
RISE, RADIUS, TURN, BOND = 1.5, 2.3, np.radians(100.0), 3.8  # of an alpha helix, Å and rad per residue


def helix(corner: int) -> np.ndarray:
    """[16, 3] CA atoms of a helix along z, every other one upside down, at a corner of a triangle."""
    angle = TURN * np.arange(HELIX)
    x = np.stack([RADIUS * np.cos(angle), RADIUS * np.sin(angle), RISE * (np.arange(HELIX) - (HELIX - 1) / 2)], axis=1)
    if corner % 2:
        x = x * [1.0, -1.0, -1.0]  # a half turn about x keeps the chirality
    around = 2.0 * np.pi * corner / 3.0
    return x + APART / np.sqrt(3.0) * np.array([np.cos(around), np.sin(around), 0.0])


def loop(before: np.ndarray, after: np.ndarray, others: np.ndarray) -> np.ndarray:
    """[3, 3] CA atoms between two ends: 3.8 Å apart from one to the next, 5 Å from everything else."""
    tree = cKDTree(others)
    outward = np.array([0.0, 0.0, np.sign(before[2] + after[2])])

    def badness(flat: np.ndarray) -> float:
        x = flat.reshape(LOOP, 3)
        chain = np.concatenate([before[None], x, after[None]])
        bonds = np.linalg.norm(np.diff(chain, axis=0), axis=1) - BOND
        seconds = np.minimum(np.linalg.norm(chain[2:] - chain[:-2], axis=1) - 5.5, 0.0)
        clashes = np.minimum(tree.query(x)[0] - 5.0, 0.0)
        return 100.0 * (bonds**2).sum() + 10.0 * (seconds**2).sum() + (clashes**2).sum()

    start = before + (after - before) * np.arange(1, LOOP + 1)[:, None] / (LOOP + 1) + 3.0 * outward
    return minimize(badness, start.ravel()).x.reshape(LOOP, 3)


def bundle() -> tuple[System, np.ndarray]:
    """The molecule and its native structure [54, 3] in Å."""
    helices = [helix(k) for k in range(3)]
    everything = np.concatenate(helices)
    parts = [helices[0]]
    for k in (0, 1):
        ends = helices[k][-1], helices[k + 1][0]
        others = everything[[not any(np.array_equal(x, e) for e in ends) for x in everything]]
        parts += [loop(*ends, others), helices[k + 1]]
    native = np.concatenate(parts)
    n = len(native)
    names = ["ALA", "LEU", "GLU", "LYS", "ILE", "GLN", "VAL", "ARG"]
    residues = tuple(names[(k * k + 3 * k) % 8] if k % 19 < HELIX else "GLY" for k in range(n))
    types = tuple(f"{name}-{k + 1}" for k, name in enumerate(residues))  # a Gō contact knows its two residues
    system = System(
        name="bundle", types=types, bead_names=("CA",) * n, residue_index=np.arange(n), residue_names=residues,
        residue_ids=tuple(range(1, n + 1)), chain_ids=("A",) * n, masses=np.full(n, 110.0),
        bonds=np.stack([np.arange(n - 1), np.arange(1, n)], axis=1),
    )  # fmt: skip
    return system, native


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--epsilon", type=float, default=0.65, help="kcal/mol for a native contact")
    options = parser.parse_args()
    molecule, structure = bundle()
    forcefield = build_go(molecule, structure, None, GoParameters(epsilon=options.epsilon))
    save_forcefield(options.out, forcefield)
    priors = tuple(replace(t, exclude_terms=()) for t in forcefield.terms if t.name != "contacts")
    name = f"{options.out.name}-priors"
    save_forcefield(options.out.with_name(name), replace(forcefield, name=name, terms=priors))
    print(f"wrote {options.out}: {molecule.n_beads} beads, {len(forcefield.terms[3].keys)} native contacts")
