"""Contacts between the chains of a box of many: which residues of one touch which of another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from mdflash.analysis.measures import CONTACT
from mdflash.analysis.molecule import Molecule
from mdflash.analysis.observables.base import Profile
from mdflash.analysis.observables.pairs import MOST_RESIDUES, traces
from mdflash.core.types import FloatArray, IntArray


def _near(x: FloatArray, box: FloatArray) -> tuple[IntArray, IntArray]:
    """The pairs of beads [N, 3] Å nearer than a contact, by the minimum image."""
    from mdflash.neighbors.cpu import build_half_list

    n = len(x)
    start, none = np.zeros(n + 1, np.int64), (np.zeros(n + 1, np.int64), np.zeros(0, np.int64))
    count, neighbor = 16 * n, np.zeros(0, np.int64)
    while count > len(neighbor):
        neighbor = np.empty(count, np.int64)
        count = build_half_list(x, CONTACT, box, *none, start, neighbor)
    return np.repeat(np.arange(n), np.diff(start)), neighbor[:count]


def _parts(m: Molecule) -> Any:
    if not m.many or m.box is None:
        return None
    beads, box = traces(m), np.array(m.box)
    chains, n = beads.shape
    if chains < 2 or n > MOST_RESIDUES:
        return None

    def sums(x: FloatArray) -> dict[str, FloatArray]:
        total = np.zeros(n * n)
        for frame in x[:, beads.ravel()]:
            i, j = _near(np.ascontiguousarray(frame), box)
            other = i // n != j // n
            total += np.bincount(i[other] % n * n + j[other] % n, minlength=n * n)
        both = total.reshape(n, n)
        return {"contacts": (both + both.T) / chains}

    return sums


def _result(m: Molecule, means: Mapping[str, FloatArray]) -> dict[str, Any]:
    return {"between": means["contacts"], "contacts_between": float(means["contacts"].sum())}


BETWEEN = Profile(
    "between",
    "contacts between chains",
    _parts,
    _result,
    lambda m: 300 * m.system.n_beads,
    source=f"contacts between chains of the first kind: residues of two chains within {CONTACT:g} Å, minimum image",
)
