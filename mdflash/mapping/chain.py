"""A chain of one bead for each residue, from its sequence alone: the molecule, and random coils to start from."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Final

import numpy as np

from mdflash.core.system import System
from mdflash.core.types import FloatArray
from mdflash.errors import InputError
from mdflash.forcefields.model import ForceField
from mdflash.mapping.residues import RESIDUE_MASS
from mdflash.mapping.sequence import read_sequence
from mdflash.mapping.structure import fit_system

BOND: Final = 3.8
"""Å, between CA atoms."""
SECOND: Final = (5.0, 7.2)
"""Å, the least and the largest distance of CA atoms two bonds apart: angles of 82 and 143 degrees."""
APART: Final = 6.0
"""Å, between beads that are three bonds apart or more."""
_TRIES, _BACK = 16, 12


def chain_of(sequence: str, forcefield: ForceField, name: str, frames: int = 1) -> tuple[System, FloatArray]:
    """One chain, and start positions [F, N, 3] in Å, each a different coil.

    Args:
        sequence: one-letter amino acids.
        forcefield: gives the masses, and says which interactions the molecule lists.
        name: of the System.
        frames: how many coils; the first ones are the same whatever the number.

    Raises:
        InputError: a letter that is no amino acid, or a force field that does not take one bead for each residue.
        ForceFieldError: the force field has no such bead type.
    """
    residues = residues_of(sequence, name)
    return linear_system(residues, forcefield, name), coils(len(residues), frames, zlib.crc32(sequence.encode()))


def residues_of(sequence: str, name: str) -> tuple[str, ...]:
    """The residue names of the molecule `name`.

    Raises:
        InputError: a letter that is no amino acid.
    """
    try:
        return read_sequence(sequence)
    except ValueError as error:
        raise InputError(f"'{name}': {error}") from None


def linear_system(residues: Sequence[str], forcefield: ForceField, name: str) -> System:
    """A chain A of residues 1 to N, one CA bead each, as the force field wants it.

    Raises:
        InputError: a force field that does not take one bead for each residue.
        ForceFieldError: it has no such bead type.
    """
    if forcefield.mapping != "ca":
        raise InputError(
            f"a sequence can start a force field of one bead for each residue (mapping: ca); '{forcefield.name}' has "
            f"mapping '{forcefield.mapping}': build a structure with all atoms, mdflash build --sequence ..."
        )
    n = len(residues)
    first = np.arange(n - 1)
    system = System(
        name=name,
        types=tuple(residues),
        bead_names=("CA",) * n,
        residue_index=np.arange(n),
        residue_names=tuple(residues),
        residue_ids=tuple(range(1, n + 1)),
        chain_ids=("A",) * n,
        masses=np.array([RESIDUE_MASS.get(r, 110.0) for r in residues]),
        bonds=np.stack([first, first + 1], axis=1),
    )
    return fit_system(system, forcefield, "ca")


def coils(n: int, frames: int, seed: int) -> FloatArray:
    """[F, N, 3] Å: self-avoiding random walks of bonds `BOND`, each with its middle at the origin.

    Args:
        n: number of beads.
        frames: how many; frame i depends on `seed` and i alone.
        seed: of the random numbers.
    """
    return np.stack([_coil(n, np.random.default_rng([seed, i])) for i in range(frames)])


def _coil(n: int, rng: np.random.Generator) -> FloatArray:
    x = np.zeros((n, 3))
    k, failures = 1, 0
    while k < n:
        step = rng.normal(size=(_TRIES, 3))
        tried = x[k - 1] + BOND * step / np.linalg.norm(step, axis=1, keepdims=True)
        good = np.ones(_TRIES, bool)
        if k > 1:
            second = np.linalg.norm(tried - x[k - 2], axis=1)
            good &= (second > SECOND[0]) & (second < SECOND[1])
        if k > 2:
            good &= ((tried[:, None] - x[None, : k - 2]) ** 2).sum(axis=2).min(axis=1) > APART**2
        if good.any():
            x[k] = tried[np.argmax(good)]
            k, failures = k + 1, 0
        elif (failures := failures + 1) > 4:  # it has run into itself
            k, failures = max(1, k - _BACK), 0
    centered: FloatArray = x - x.mean(axis=0)
    return centered
