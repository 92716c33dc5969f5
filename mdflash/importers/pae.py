"""Domains from the confidence of a prediction: AlphaFold's aligned errors (PAE) and pLDDT.

Residues of one domain are placed well relative to each other, so their mutual errors are small. Residues whose pLDDT is
at least `CONFIDENT` are clustered by average linkage of their errors, cut at `ERROR`; holes of at most `HOLE` residues
are filled, and what is smaller than `SMALLEST` is no domain. The rule is ours; look at what it finds.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np

from mdflash.core.regular import MOST, read_json
from mdflash.core.types import FloatArray, IntArray
from mdflash.errors import InputError
from mdflash.mapping.formats import read_content
from mdflash.mapping.read import Structure

CONFIDENT: Final = 70.0
ERROR: Final = 8.0
"""Å, the mean error between two halves of a domain."""
HOLE: Final = 8
SMALLEST: Final = 20


def read_pae(file: Path) -> tuple[FloatArray, FloatArray | None]:
    """Errors [N, N] in Å and, where the file has them, pLDDT [N].

    Read are the files of the AlphaFold database (`predicted_aligned_error`, inside a list of one or not; the older ones
    list `residue1`, `residue2`, `distance`), of ColabFold (`pae`, `plddt`) and of AlphaFold 3 (`pae`).

    Raises:
        InputError: none of these; says what was found.
    """
    try:
        data: Any = read_json(file, MOST)
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", file=file) from None
    except ValueError:
        raise InputError("is not JSON; expected the PAE file of AlphaFold or ColabFold", file=file) from None
    if isinstance(data, list) and len(data) == 1:
        data = data[0]
    keys = list(data) if isinstance(data, dict) else []
    if {"residue1", "residue2", "distance"} <= set(keys):
        return _listed(data, file), None
    key = next((k for k in ("predicted_aligned_error", "pae") if k in keys), None)
    if key is None:
        raise InputError(
            f"has no 'predicted_aligned_error' (AlphaFold) and no 'pae' (ColabFold); its keys are "
            f"{', '.join(keys) or 'none'}",
            file=file,
        )
    try:
        pae = np.array(data[key], np.float64)
        plddt = np.array(data["plddt"], np.float64) if "plddt" in data else None
    except (TypeError, ValueError):
        raise InputError(f"'{key}' is not a table of numbers", file=file) from None
    if pae.ndim != 2 or pae.shape[0] != pae.shape[1] or not np.isfinite(pae).all():
        raise InputError(f"'{key}' must be a square table of numbers, found shape {list(pae.shape)}", file=file)
    _refuse_negative(pae, key, file)
    if plddt is not None and plddt.shape != (len(pae),):
        raise InputError(f"'plddt' has {plddt.size} numbers for {len(pae)} residues", file=file)
    return pae, plddt


def _listed(data: dict[str, Any], file: Path) -> FloatArray:
    """[N, N] errors of the older files of the AlphaFold database: pairs of residues from 1, one after the other."""
    try:
        i, j = (np.array(data[key], np.int64) - 1 for key in ("residue1", "residue2"))
        error = np.array(data["distance"], np.float64)
    except (TypeError, ValueError, OverflowError):
        raise InputError("'residue1', 'residue2' or 'distance' is no list of numbers", file=file) from None
    n = int(i.max(initial=-1)) + 1
    if not (i.shape == j.shape == error.shape == (n * n,) and n > 0 and min(i.min(), j.min()) == 0 and j.max() < n):
        raise InputError("'residue1', 'residue2' and 'distance' must list every pair of residues once", file=file)
    pae = np.full((n, n), np.nan)
    pae[i, j] = error
    if not np.isfinite(pae).all():
        raise InputError("'distance' must have a number for every pair of residues", file=file)
    _refuse_negative(pae, "distance", file)
    return pae


def _refuse_negative(pae: FloatArray, key: str, file: Path) -> None:
    if pae.min() < 0.0:
        i, j = (int(k) + 1 for k in np.unravel_index(pae.argmin(), pae.shape))
        raise InputError(
            f"'{key}' has the error {pae.min():g} Å between residues {i} and {j}; none is below 0", file=file
        )


def read_plddt(file: Path, structure: Structure) -> FloatArray | None:
    """[residues] 0 to 100, the B-factors of CA atoms, where AlphaFold writes pLDDT (ESMFold: 0 to 1); None if there
    are none."""
    found: dict[tuple[str, int, str], float] = {}
    for atom in read_content(file).models[0].atoms:
        if atom.name == "CA":
            found.setdefault((atom.chain, atom.number, atom.code), atom.b_factor)
    values = [
        found.get((r.chain, r.number, r.code), found.get(("", r.number, r.code), np.nan)) for r in structure.residues
    ]
    plddt = np.array(values, np.float64)
    if not (np.isfinite(plddt).all() and 0.0 < plddt.max() <= 100.0 and plddt.min() >= 0.0):
        return None
    return plddt * 100.0 if plddt.max() <= 1.0 else plddt


def domains_from_pae(pae: FloatArray, plddt: FloatArray | None = None) -> list[IntArray]:
    """The residues of each domain, ascending, first domain first.

    Args:
        pae: [N, N] Å.
        plddt: [N], 0 to 100; None: all residues count as confident.
    """
    from scipy.cluster.hierarchy import fcluster, linkage
    from scipy.spatial.distance import squareform

    n = len(pae)
    sure = np.flatnonzero(np.ones(n, bool) if plddt is None else plddt >= CONFIDENT)
    if len(sure) < SMALLEST:
        return []
    error = ((pae + pae.T) / 2.0)[np.ix_(sure, sure)]
    np.fill_diagonal(error, 0.0)
    label = fcluster(linkage(squareform(error, checks=False), "average"), ERROR, "distance")
    taken = np.zeros(n, np.int64)
    taken[sure] = label
    found = []
    for mark in np.unique(label):
        members = np.flatnonzero(taken == mark)
        gaps = np.flatnonzero((np.diff(members) > 1) & (np.diff(members) <= HOLE + 1))
        holes = [np.arange(members[k] + 1, members[k + 1]) for k in gaps]
        free = [hole[taken[hole] == 0] for hole in holes]
        whole = np.unique(np.concatenate([members, *free]))
        parts = np.split(whole, np.flatnonzero(np.diff(whole) > 1) + 1)
        kept = [part for part in parts if len(part) > 3]  # a residue or two elsewhere are an accident
        if sum(map(len, kept)) >= SMALLEST:
            found.append(np.concatenate(kept))
    return sorted(found, key=lambda beads: int(beads[0]))
