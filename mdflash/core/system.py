"""System: one molecule (or complex) of beads, frozen and hashable.

A System describes what is there (beads, residues, chains, masses, bonds) and which beads each term of a
force field acts on; it holds neither coordinates nor parameters.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from mdflash.core.files import atomic_write
from mdflash.core.ranges import MASS
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
        InputError: lengths that differ, a mass that no bead has, an index out of range, a bead twice in a row.
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

    def __reduce__(self) -> tuple[Any, ...]:
        """Copies and pickles are made anew, for a read-only mapping has none."""
        kept = {f.name: getattr(self, f.name) for f in fields(self)}
        return System, tuple((kept | {"interactions": dict(self.interactions)}).values())

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
        if (heavy := MASS.worst(self.masses)) is not None:
            fail(f"the mass of {self.bead_label(heavy[0])} {MASS.problem(heavy[1], 'Da')}")
        for what, rows in (("bonds", self.bonds), *self.interactions.items()):
            if rows.ndim != 2:
                fail(f"'{what}' must be a table [M, order], found shape {rows.shape}")
            if rows.size and (rows.min() < 0 or rows.max() >= n):
                wrong = rows.min() if rows.min() < 0 else rows.max()
                fail(f"'{what}' names bead {wrong}, but the beads are 0 to {n - 1}")
            ordered = np.sort(rows, axis=1)
            twice = np.flatnonzero((ordered[:, 1:] == ordered[:, :-1]).any(axis=1))
            if len(twice):
                fail(f"'{what}', row {twice[0]}, names a bead twice: {rows[twice[0]].tolist()}")

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


_TEXTS = ("types", "bead_names", "residue_names", "chain_ids", "insertion_codes")
"""Keys of the header that are lists of words; `residue_ids` are whole numbers."""


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
        InputError: not such a file, a name that is no plain word, or one that says what no molecule can be.
    """
    try:
        tensors, metadata = read_tensors(path)
        header = json.loads(metadata.get("header", "{}"))
    except (ValueError, OSError, RecursionError) as error:
        raise InputError(f"cannot be read as an mdflash system: {error}", file=path) from None
    if not isinstance(header, dict) or header.pop("mdflash_system", None) not in (1, 2):
        raise InputError(
            "is a safetensors file, but not an mdflash system of version 1 or 2 (weights belong in a force field)",
            file=path,
        )
    _check_header(header, path)
    _check_names(path, header["name"], tensors)
    interactions = {key.partition("/")[2]: _table(tensors, key, 2, path) for key in tensors if "/" in key}
    for key in tensors:
        if key not in ("residue_index", "masses", "bonds", "start") and not key.startswith("interactions/"):
            raise InputError(f"holds '{key}', which is not known in a system", file=path, key=key)
    start = _table(tensors, "start", 3, path, real=True) if "start" in tensors else None
    try:
        system = System(
            **header,
            residue_index=_table(tensors, "residue_index", 1, path),
            masses=_table(tensors, "masses", 1, path, real=True),
            bonds=_pairs(_table(tensors, "bonds", 2, path), path),
            interactions=interactions,
        )
    except InputError as error:
        raise InputError(error.message, file=path) from None
    if start is not None and (start.shape[1:] != (system.n_beads, 3) or not np.isfinite(start).all()):
        raise InputError(
            f"must be finite numbers [frames, {system.n_beads}, 3] in Å, found {list(start.shape)}",
            file=path,
            key="start",
        )
    return system, start


def _pairs(bonds: npt.NDArray[Any], path: Path | str) -> npt.NDArray[Any]:
    if bonds.shape[1] != 2:
        raise InputError(f"expected pairs of beads [bonds, 2], found {list(bonds.shape)}", file=path, key="bonds")
    return bonds


def _check_header(header: dict[str, Any], path: Path | str) -> None:
    """That the keys are those of a System, each of its kind."""
    for key in ("name", *_TEXTS, "residue_ids"):
        if key not in header and key != "insertion_codes":
            raise InputError("is missing in the header", file=path, key=key)
    for key, value in header.items():
        if key == "name":
            fits, wanted = isinstance(value, str), "a word"
        elif key in _TEXTS:
            fits, wanted = isinstance(value, list) and all(isinstance(v, str) for v in value), "a list of words"
        elif key == "residue_ids":
            whole = isinstance(value, list) and all(type(v) is int and abs(v) < 2**31 for v in value)
            fits, wanted = whole, "a list of whole numbers"
        else:
            raise InputError("is not known in the header of a system", file=path, key=key)
        if not fits:
            raise InputError(f"expected {wanted} in the header, found {str(value)[:60]}", file=path, key=key)


def _table(
    tensors: Mapping[str, npt.NDArray[Any]], key: str, axes: int, path: Path | str, real: bool = False
) -> npt.NDArray[Any]:
    """An array of the file, of the kind and the number of axes that it must have."""
    if key not in tensors:
        raise InputError("is missing", file=path, key=key)
    found = tensors[key]
    if found.dtype.kind not in ("f" if real else "iu") or found.ndim != axes:
        raise InputError(
            f"expected {'real' if real else 'whole'} numbers with {axes} axes, found {found.dtype} {list(found.shape)}",
            file=path,
            key=key,
        )
    return found
