"""mlcg's AtomicData -> Systems with start frames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from mdflash.core.system import System
from mdflash.core.types import FloatArray, IntArray
from mdflash.errors import InputError
from mdflash.importers.mlcg_objects import configurations, translating
from mdflash.importers.mlcg_types import BACKBONE, RESIDUES, type_name
from mdflash.importers.unpickle import Inert, load_torch
from mdflash.units import ACCELERATION

EXCLUDED: Final = "excluded"
"""The name of the interaction list that keeps the pairs without network messages."""
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"


@dataclass(frozen=True, eq=False)
class Configuration:
    """One AtomicData.

    Attributes:
        positions: [N, 3] Å.
        types: [N] mlcg's type numbers.
        masses: [N] Da.
        lists: name -> [M, order] interactions.
        beta: 1 / kT in mol/kcal, if it was kept.
    """

    positions: FloatArray
    types: IntArray
    masses: FloatArray
    lists: Mapping[str, IntArray]
    beta: float | None


def read_structures(file: Path) -> tuple[Configuration, ...]:
    """The AtomicData of a structures file.

    Raises:
        InputError: no such file, or it holds something else.
    """
    found = configurations(load_torch(file))
    if not found:
        raise InputError(
            "holds no structures; expected a list of mlcg's AtomicData (a model file comes without --structures)",
            file=file,
        )
    return parse_configurations(found, file)


def parse_configurations(records: Sequence[Inert], file: Path) -> tuple[Configuration, ...]:
    """AtomicData records as Configurations; `file` is named in errors."""
    with translating(file):
        return tuple(_configuration(record, file, i) for i, record in enumerate(records))


def _configuration(record: Inert, file: Path, number: int) -> Configuration:
    store = record.state.get("_store")
    data: Any = store.state.get("_mapping", store.state) if isinstance(store, Inert) else record.state

    def fail(message: str) -> InputError:
        return InputError(f"structure {number}: {message}", file=file)

    def array(key: str) -> Any:
        value = data.get(key)
        if not isinstance(value, np.ndarray):
            raise fail(f"has no '{key}'")
        return value

    positions, types = array("pos").astype(np.float64), array("atom_types").astype(np.int64).reshape(-1)
    n = len(types)
    if positions.shape != (n, 3):
        raise fail(f"has {n} bead types but positions of shape {list(positions.shape)}")
    if data.get("n_atoms") is not None and np.size(data["n_atoms"]) != 1:
        raise fail(f"is a batch of {np.size(data['n_atoms'])} molecules; save the list of single AtomicData")
    if not np.isfinite(positions).all():
        raise fail(f"the position of bead {np.argwhere(~np.isfinite(positions))[0, 0]} is not a finite number")
    if data.get("pbc") is not None and np.any(data["pbc"]):
        raise fail("has a periodic cell, which is not imported; set `box` in system.yaml and remove pbc here")
    lists = {}
    for name, entry in (data.get("neighbor_list") or {}).items():
        index = entry.get("index_mapping") if isinstance(entry, dict) else None
        if not isinstance(index, np.ndarray) or index.ndim != 2:
            raise fail(f"the neighbor list '{name}' has no index_mapping")
        if index.size and (index.min() < 0 or index.max() >= n):
            raise fail(f"the neighbor list '{name}' names bead {index.max()}, but the last bead is {n - 1}")
        lists[str(name)] = np.ascontiguousarray(index.T, np.int64)
    excluded = data.get("exc_pair_index")
    if isinstance(excluded, np.ndarray):
        lists[EXCLUDED] = np.unique(np.sort(excluded.T.astype(np.int64), axis=1), axis=0)
    beta = data.get("beta")
    return Configuration(
        positions,
        types,
        array("masses").astype(np.float64).reshape(-1) * ACCELERATION,
        lists,
        float(np.ravel(beta)[0]) if isinstance(beta, (np.ndarray, float)) else None,
    )


def _residues(types: IntArray) -> tuple[IntArray, list[str], list[str]]:
    """Residue of each bead, residue names, bead names, read off the type numbers.

    A five-bead model starts each residue with N; otherwise every bead is a residue.
    """
    if not np.isin(types, list(BACKBONE)).any():
        return np.arange(len(types)), [type_name(int(t)) for t in types], ["CA"] * len(types)
    index = np.cumsum(types == 21) - (1 if types[0] == 21 else 0)
    names, beads = [], []
    for r in range(int(index[-1]) + 1):
        own = types[index == r].tolist()
        side = [t for t in own if t not in BACKBONE]
        names.append(type_name(side[0]) if len(side) == 1 and side[0] <= len(RESIDUES) else "UNK")
        beads += [BACKBONE.get(t, "CB" if 22 in own else "CA") for t in own]
    return index, names, beads


def _chains(bonds: IntArray, residue_index: IntArray, n_residues: int) -> list[str]:
    """A letter for each residue: bonded parts of the molecule are chains; without bonds there is one."""
    if not len(bonds):
        return ["A"] * n_residues
    part = np.arange(len(residue_index))
    for i, j in bonds.tolist():
        part[part == max(part[i], part[j])] = min(part[i], part[j])
    first = [int(part[np.argmax(residue_index == r)]) for r in range(n_residues)]
    order = {p: k for k, p in enumerate(dict.fromkeys(first))}
    return [_LETTERS[order[p] % len(_LETTERS)] for p in first]


def build_system(name: str, conf: Configuration, used: Sequence[str], bonded: Sequence[str]) -> System:
    """The molecule of a configuration.

    Args:
        name: of the System.
        used: names of the interaction lists to keep: those of terms keyed by bead types.
        bonded: names of the lists that are bonds.
    """
    residue_index, residue_names, bead_names = _residues(conf.types)
    bonds = np.concatenate([np.zeros((0, 2), np.int64), *(conf.lists[b] for b in bonded if b in conf.lists)])
    bonds = np.unique(np.sort(bonds, axis=1), axis=0)
    return System(
        name=name,
        types=tuple(type_name(int(t)) for t in conf.types),
        bead_names=tuple(bead_names),
        residue_index=residue_index,
        residue_names=tuple(residue_names),
        residue_ids=tuple(range(1, len(residue_names) + 1)),
        chain_ids=tuple(_chains(bonds, residue_index, len(residue_names))),
        masses=conf.masses,
        bonds=bonds,
        interactions={key: conf.lists[key] for key in used if key in conf.lists},
    )


def group_systems(
    name: str, confs: Sequence[Configuration], used: Sequence[str], bonded: Sequence[str]
) -> list[tuple[System, FloatArray]]:
    """Equal molecules become one System with several start frames [F, N, 3].

    One molecule is called `name`, several `name-1`, `name-2`, ...
    """
    groups: dict[System, list[FloatArray]] = {}
    for conf in confs:
        groups.setdefault(build_system(name, conf, used, bonded), []).append(conf.positions)
    if len(groups) == 1:
        return [(system, np.stack(frames)) for system, frames in groups.items()]
    from dataclasses import replace

    return [
        (replace(system, name=f"{name}-{k}"), np.stack(frames)) for k, (system, frames) in enumerate(groups.items(), 1)
    ]
