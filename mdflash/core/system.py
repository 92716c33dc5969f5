"""System: one molecule (or complex) of beads, frozen and hashable.

A System describes what is there (beads, residues, chains, masses, bonds) and which beads each term of a
force field acts on; it holds neither coordinates nor parameters.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from mdflash.core.files import atomic_write
from mdflash.core.tensors import read_tensors
from mdflash.core.types import FloatArray, IntArray
from mdflash.core.words import is_word, what_a_word_is
from mdflash.errors import InputError


def _frozen(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    array = np.ascontiguousarray(array)
    if array.flags.writeable:
        array = array.copy()
        array.flags.writeable = False
    return array


@dataclass(frozen=True, eq=False)
class System:
    """The beads of one molecule.

    Attributes:
        name: a short name; names files.
        types: [N] names of the bead types, as the force field calls them ("ALA", "CA", ...).
        bead_names: [N] PDB-style names ("CA", "CB").
        residue_index: [N] which residue each bead belongs to, 0-based, never decreasing.
        residue_names: [residues] three-letter names.
        residue_ids: [residues] numbers as in the structure file.
        chain_ids: [residues] chain of each residue.
        masses: [N] in Da, all > 0.
        bonds: [bonds, 2] bead indices, each row ascending; the molecule's drawing and the base of exclusions.
        interactions: for a force field term keyed by bead types, the beads it acts on, [M, order].
        insertion_codes: [residues] what tells residues of one number apart (4, 4A, 4B); () where no residue has one.

    Raises:
        InputError: lengths that differ, a mass that is not positive and finite, an index out of range.
    """

    name: str
    types: tuple[str, ...]
    bead_names: tuple[str, ...]
    residue_index: IntArray
    residue_names: tuple[str, ...]
    residue_ids: tuple[int, ...]
    chain_ids: tuple[str, ...]
    masses: FloatArray
    bonds: IntArray
    interactions: Mapping[str, IntArray] = field(default_factory=dict)
    insertion_codes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        def fail(message: str) -> None:
            raise InputError(f"system '{self.name}': {message}")

        def put(name: str, value: object) -> None:
            object.__setattr__(self, name, value)

        put("types", tuple(self.types))
        put("bead_names", tuple(self.bead_names))
        put("residue_names", tuple(self.residue_names))
        put("residue_ids", tuple(int(i) for i in self.residue_ids))
        put("chain_ids", tuple(self.chain_ids))
        put("insertion_codes", tuple(self.insertion_codes) if any(self.insertion_codes) else ())
        put("residue_index", _frozen(np.asarray(self.residue_index, np.int64)))
        put("masses", _frozen(np.asarray(self.masses, np.float64)))
        put("bonds", _frozen(np.sort(np.asarray(self.bonds, np.int64).reshape(-1, 2), axis=1)))
        put(
            "interactions",
            MappingProxyType({name: _frozen(np.asarray(rows, np.int64)) for name, rows in self.interactions.items()}),
        )

        n, residues = len(self.types), len(self.residue_names)
        if n == 0:
            fail("has no beads")
        if len(self.bead_names) != n or self.residue_index.shape != (n,) or self.masses.shape != (n,):
            fail(
                f"{n} bead types, but {len(self.bead_names)} bead names, "
                f"{len(self.residue_index)} residue indices, {len(self.masses)} masses"
            )
        if len(self.residue_ids) != residues or len(self.chain_ids) != residues:
            fail(
                f"{residues} residue names, but {len(self.residue_ids)} residue numbers "
                f"and {len(self.chain_ids)} chain ids"
            )
        if len(self.insertion_codes) not in (0, residues):
            fail(f"{residues} residue names, but {len(self.insertion_codes)} insertion codes")
        steps = np.diff(self.residue_index)
        if self.residue_index[0] != 0 or (steps < 0).any() or self.residue_index[-1] != residues - 1:
            fail(f"residue_index must rise from 0 to {residues - 1}")
        bad = np.flatnonzero(~(np.isfinite(self.masses) & (self.masses > 0)))
        if len(bad):
            fail(f"bead {bad[0]} has mass {self.masses[bad[0]]} Da; masses must be positive")
        for what, rows in (("bonds", self.bonds), *self.interactions.items()):
            if rows.ndim != 2:
                fail(f"'{what}' must be a table [M, order], found shape {rows.shape}")
            if rows.size and (rows.min() < 0 or rows.max() >= n):
                fail(f"'{what}' names bead {rows.max()}, but the last bead is {n - 1}")

    @property
    def n_beads(self) -> int:
        return len(self.types)

    @property
    def n_residues(self) -> int:
        return len(self.residue_names)

    def bead_label(self, bead: int) -> str:
        """The name of a bead in messages: 'TYR 2 CA (bead 4)'."""
        r = int(self.residue_index[bead])
        number = f"{self.residue_ids[r]}{self.insertion_code(r)}"
        return f"{self.residue_names[r]} {number} {self.bead_names[bead]} (bead {bead})"

    def insertion_code(self, residue: int) -> str:
        """The insertion code of a residue, or ""."""
        return self.insertion_codes[residue] if self.insertion_codes else ""

    @property
    def chain_index(self) -> IntArray:
        """[residues] counts chains. Residues of one chain id that no bond joins are two chains, if others are joined.

        So two molecules of one id stay two, and so do the two sides of a gap.
        """
        joined = np.zeros(self.n_residues, bool)  # to the residue before
        lower, upper = np.sort(self.residue_index[self.bonds], axis=1).T
        joined[upper[upper == lower + 1]] = True
        ids = np.array(self.chain_ids)
        new_id = np.r_[True, ids[1:] != ids[:-1]]
        group = np.cumsum(new_id) - 1
        has_bonds = np.bincount(group, weights=joined & ~new_id) > 0
        counted: IntArray = np.cumsum(new_id | (~joined & has_bonds[group])) - 1
        return counted

    def _header(self) -> dict[str, Any]:
        return {
            "mdflash_system": 2 if self.insertion_codes else 1,
            "name": self.name,
            "types": self.types,
            "bead_names": self.bead_names,
            "residue_names": self.residue_names,
            "residue_ids": self.residue_ids,
            "chain_ids": self.chain_ids,
            **({"insertion_codes": self.insertion_codes} if self.insertion_codes else {}),
        }

    @property
    def digest(self) -> str:
        """SHA-256 over everything the System holds, hexadecimal."""
        h = hashlib.sha256(json.dumps(self._header(), sort_keys=True).encode())
        for name, rows in (
            ("residue_index", self.residue_index),
            ("masses", self.masses),
            ("bonds", self.bonds),
            *sorted(self.interactions.items()),
        ):
            h.update(f"{name}{rows.shape}{rows.dtype}".encode())
            h.update(rows.tobytes())
        return h.hexdigest()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, System) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)


def save_system(path: Path | str, system: System, start: npt.NDArray[np.floating[Any]] | None = None) -> None:
    """Write a System, with optional start frames [F, N, 3] in Å, as one safetensors file.

    Raises:
        InputError: a name is no plain word.
        StorageError: it cannot be written.
    """
    from safetensors.numpy import save

    _check_names(path, system.name, [f"interactions/{name}" for name in system.interactions])
    tensors: dict[str, npt.NDArray[Any]] = {
        "residue_index": system.residue_index,
        "masses": system.masses,
        "bonds": system.bonds,
    }
    tensors |= {f"interactions/{name}": rows for name, rows in system.interactions.items()}
    if start is not None:
        tensors["start"] = np.ascontiguousarray(start, np.float64)
    atomic_write(Path(path), save(tensors, metadata={"header": json.dumps(system._header())}))


def _check_names(path: Path | str, name: object, tensors: Iterable[str]) -> None:
    """Refuse names that may lead out of a folder: files are called after systems and terms."""
    if not is_word(name):
        raise InputError(f"its name {what_a_word_is(name)}", file=path)
    for key in tensors:
        term = key.removeprefix("interactions/")
        if term != key and not is_word(term):
            raise InputError(f"the name of the interactions '{key}' {what_a_word_is(term)}", file=path)


def load_system(path: Path | str) -> tuple[System, FloatArray | None]:
    """Read what `save_system` wrote: the System and its start frames [F, N, 3] in Å, or None.

    Raises:
        InputError: not such a file, or a name that is no plain word.
    """
    try:
        tensors, metadata = read_tensors(path)
    except (ValueError, OSError) as error:
        raise InputError(f"cannot be read as an mdflash system: {error}", file=path) from None
    header = json.loads(metadata.get("header", "{}"))
    if header.pop("mdflash_system", None) not in (1, 2):
        raise InputError(
            "is a safetensors file, but not an mdflash system of version 1 or 2 (weights belong in a force field)",
            file=path,
        )
    _check_names(path, header.get("name"), tensors)
    interactions = {
        key.removeprefix("interactions/"): rows for key, rows in tensors.items() if key.startswith("interactions/")
    }
    system = System(
        **header,
        residue_index=tensors["residue_index"],
        masses=tensors["masses"],
        bonds=tensors["bonds"],
        interactions=interactions,
    )
    return system, tensors.get("start")
