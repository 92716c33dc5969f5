"""CA structures of three small molecules, made by construction: natives of Gō teachers beside chignolin.

    python benchmarks/peptides.py runs/peptides
    mdflash go runs/peptides/cage.pdb --out runs/go-cage

| molecule | residues | what it is like |
|---|---|---|
| helix | 15 | an alpha helix; melts from its ends, with no barrier |
| hairpin | 16 | two twisted strands of seven and a turn of two, as the hairpin of protein G |
| cage | 20 | a helix of nine, a turn, and an extended end that lies on the helix, as Trp-cage |

No deposited coordinates are used: bonds of 3.8 Å, helices of 1.5 Å and 100° a residue, strands 5 Å apart; turns are
where bonds are right and nothing clashes.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from scipy.optimize import minimize

BOND = 3.8  # Å
SEQUENCES = {"helix": "AEAAAKEAAAKEAAA", "hairpin": "GEWTYDDATKTFTVTE", "cage": "NLYIQWLKDGGPSSGRPPPS"}
NAMES = {
    "A": "ALA", "D": "ASP", "E": "GLU", "F": "PHE", "G": "GLY", "I": "ILE", "K": "LYS", "L": "LEU", "N": "ASN",
    "P": "PRO", "Q": "GLN", "R": "ARG", "S": "SER", "T": "THR", "V": "VAL", "W": "TRP", "Y": "TYR",
}  # fmt: skip


def helix(n: int) -> np.ndarray:
    """[n, 3] along z."""
    angle = np.radians(100.0) * np.arange(n)
    return np.stack([2.3 * np.cos(angle), 2.3 * np.sin(angle), 1.5 * np.arange(n)], axis=1)


def strand(n: int, rise: float = 3.3) -> np.ndarray:
    """[n, 3] along z, with a pleat along x that keeps bonds at 3.8 Å."""
    pleat = 0.5 * np.sqrt(BOND**2 - rise**2) * (-1.0) ** np.arange(n)
    return np.stack([pleat, np.zeros(n), rise * np.arange(n)], axis=1)


def about_z(x: np.ndarray, angle: np.ndarray | float) -> np.ndarray:
    """Turned about z, each bead by its own angle."""
    c, s = np.cos(angle), np.sin(angle)
    return np.stack([c * x[:, 0] - s * x[:, 1], s * x[:, 0] + c * x[:, 1], x[:, 2]], axis=1)


def join(before: np.ndarray, n: int, after: np.ndarray, outward: np.ndarray) -> np.ndarray:
    """`before`, n beads and `after`: the n where bonds, angles and distances are those of a chain."""
    rest = np.concatenate([before[:-1], after[1:]])

    def badness(flat: np.ndarray) -> float:
        x = flat.reshape(n, 3)
        chain = np.concatenate([before[-2:], x, after[:2]])
        bonds = np.linalg.norm(np.diff(chain, axis=0), axis=1) - BOND
        seconds = np.linalg.norm(chain[2:] - chain[:-2], axis=1)
        clashes = np.minimum(np.linalg.norm(x[:, None] - rest, axis=2) - 4.8, 0.0)
        apart = np.maximum(5.2 - seconds, 0.0) + np.maximum(seconds - 7.0, 0.0)
        return float(100.0 * (bonds**2).sum() + 10.0 * (apart**2).sum() + (clashes**2).sum())

    share = np.arange(1, n + 1)[:, None] / (n + 1)
    start = before[-1] + (after[0] - before[-1]) * share + 8.0 * share * (1.0 - share) * outward
    return np.concatenate([before, minimize(badness, start.ravel()).x.reshape(n, 3), after])


def relaxed(x: np.ndarray) -> np.ndarray:
    """The structure near x whose bonds are 3.8 Å and whose beads keep 4.5 Å from those that are not next to them."""
    first, second = np.triu_indices(len(x), 2)

    def badness(flat: np.ndarray) -> float:
        y = flat.reshape(x.shape)
        bonds = np.linalg.norm(np.diff(y, axis=0), axis=1) - BOND
        near = np.minimum(np.linalg.norm(y[first] - y[second], axis=1) - 4.8, 0.0)
        return float(100.0 * (bonds**2).sum() + 10.0 * (near**2).sum() + 0.1 * ((y - x) ** 2).sum())

    return np.asarray(minimize(badness, x.ravel()).x).reshape(x.shape)


def structure(name: str) -> np.ndarray:
    """[N, 3] Å."""
    if name == "helix":
        return helix(15)
    if name == "hairpin":
        up = strand(7) - np.array([0.0, 2.5, 0.0])
        down = strand(7)[::-1] + np.array([0.0, 2.5, 0.0])
        both = np.concatenate([up, down])
        both = about_z(both, np.radians(-7.0) * both[:, 2])  # left-handed along the strands, as sheets are
        return relaxed(join(both[:7], 2, both[7:], np.array([0.0, 0.0, 3.0])))
    first = helix(9)
    end = strand(6, 3.1)[::-1]
    end = end @ np.array([[1.0, 0.0, 0.0], [0.0, np.cos(0.6), np.sin(0.6)], [0.0, -np.sin(0.6), np.cos(0.6)]])
    end = end - end.mean(axis=0) + [7.4, 0.0, 5.5]
    return relaxed(join(first, 5, end, np.array([1.0, 1.0, 4.0])))


def write(file: Path, name: str) -> None:
    """A PDB file of CA atoms."""
    lines = [f"REMARK   1 {name.upper()}, CA ATOMS BY CONSTRUCTION (BENCHMARKS/PEPTIDES.PY)"]
    for k, (letter, (x, y, z)) in enumerate(zip(SEQUENCES[name], structure(name), strict=True), 1):
        lines.append(f"ATOM  {k:5d}  CA  {NAMES[letter]} A{k:4d}    {x:8.3f}{y:8.3f}{z:8.3f}  1.00  0.00           C")
    file.write_text("\n".join([*lines, "TER", "END"]) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    for name in SEQUENCES:
        write(out / f"{name}.pdb", name)
