"""From the arguments of `Simulation` to what can run."""

from __future__ import annotations

import dataclasses
import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from mdflash.config import rules
from mdflash.config.from_call import Points, argument_error, as_length, describe_run
from mdflash.config.molecules import StartFrames
from mdflash.core.quantity import plain_word
from mdflash.core.system import System
from mdflash.core.types import FloatArray
from mdflash.forcefields.forcefield import load_forcefield
from mdflash.forcefields.model import ForceField
from mdflash.mapping.formats import bare_name, is_structure
from mdflash.potentials.base import Potential, SumPotential
from mdflash.runs.entries import read_molecule
from mdflash.runs.prepare import Prepared, assemble
from mdflash.runs.starts import start_frames

PathLike: TypeAlias = str | os.PathLike[str]
Molecule: TypeAlias = System | PathLike
"""A System, a structure file, or the name of a molecule that came with the force field."""
ForceFieldLike: TypeAlias = ForceField | PathLike
"""A ForceField, its folder, or the name of a shipped one."""
Start: TypeAlias = Points | PathLike
"""Positions, or a trajectory file."""


class Called(NamedTuple):
    """What a call describes.

    Attributes:
        prepared: the run, but for potentials that no description has.
        potential: the run's terms, and those potentials.
        forcefields: one for each molecule, as given.
    """

    prepared: Prepared
    potential: SumPotential
    forcefields: tuple[ForceField, ...]


def prepare_call(
    systems: Molecule | Sequence[Molecule],
    forcefield: ForceFieldLike | Sequence[ForceFieldLike],
    replicas: int | Sequence[int],
    start: Start | Sequence[Start | None] | None,
    biases: Sequence[Mapping[str, Any] | Potential],
    sections: Mapping[str, Any],
) -> Called:
    """What the arguments of `Simulation` describe, of which `sections` are those that are a key of system.yaml.

    Raises:
        InputError: an argument or file is wrong.
    """
    many = isinstance(systems, (list, tuple))
    given = systems if isinstance(systems, (list, tuple)) else [systems]
    if not given:
        raise argument_error("systems", "the list is empty; name at least one molecule, such as 'protein.pdb'")
    forcefields = _forcefields(forcefield, len(given))
    notes: list[str] = []
    molecules = [_molecule(what, ff, notes) for what, ff in zip(given, forcefields, strict=True)]
    described, potentials = _sorted_biases(biases)
    starts = _one_each(start, len(given), "start") if many else [start]
    config = describe_run([system for system, _ in molecules], replicas, {**sections, "biases": described})
    if config.guards.spread is not None:
        message = (
            "looks at the frames of a run folder, which a Simulation does not write; leave it out, or use mdflash run"
        )
        raise argument_error("guard", f"'spread' {message}")
    for sentence in rules.warnings(config):
        warnings.warn(sentence, stacklevel=3)  # at the line that calls Simulation
    framed = [
        (s, _frames(s, own, x, n, notes)) for (s, own), x, n in zip(molecules, starts, config.counts, strict=True)
    ]
    prepared = assemble(config, framed, forcefields, notes)
    return Called(prepared, SumPotential([*prepared.potential.terms, *potentials]), tuple(forcefields))


def _one_each(value: Any, count: int, name: str) -> Sequence[Any]:
    """`value`, a list with one entry for each molecule, or None."""
    if value is None:
        return [None] * count
    if not isinstance(value, (list, tuple)) or len(value) != count:
        found = f"{len(value)} entries" if isinstance(value, (list, tuple)) else type(value).__name__
        raise argument_error(name, f"expected a list with one entry for each of the {count} molecules, found {found}")
    return value


def _forcefields(given: Any, count: int) -> list[ForceField]:
    """One for each molecule."""
    many = isinstance(given, (list, tuple))
    loaded: dict[str, ForceField] = {}
    found = []
    for item in _one_each(given, count, "forcefield") if many else [given] * count:
        if isinstance(item, (str, os.PathLike)):
            key = os.fspath(item)
            if key not in loaded:
                loaded[key] = load_forcefield(key)
            item = loaded[key]
        if not isinstance(item, ForceField):
            raise argument_error(
                "forcefield", f"expected a folder, a shipped name or a ForceField, found {type(item).__name__}"
            )
        found.append(item)
    return found


def _molecule(given: Any, ff: ForceField, notes: list[str]) -> tuple[System, FloatArray | None]:
    """A molecule and the start frames [F, N, 3] Å that are known for it."""
    if isinstance(given, System):
        known = [frames for system, frames in ff.systems if dataclasses.replace(system, name=given.name) == given]
        return given, known[0] if known else None
    if not isinstance(given, (str, os.PathLike)):
        raise argument_error("systems", f"expected a System, a structure file or a name, found {type(given).__name__}")
    path = Path(given).expanduser()
    if path.is_file() or path.suffix == ".safetensors" or is_structure(path):
        return read_molecule(path, ff.mapping, ff, plain_word(bare_name(path)), notes)
    names = [system.name for system, _ in ff.systems]
    if str(given) in names:
        return ff.system(str(given))
    raise argument_error(
        "systems",
        f"'{given}' is neither a structure file nor a molecule of the force field '{ff.name}', "
        f"which holds {', '.join(names) or 'none'}; write for example 'protein.pdb'",
    )


def _frames(system: System, own: FloatArray | None, start: Any, count: int, notes: list[str]) -> FloatArray:
    """[F, N, 3] Å, where a molecule starts."""
    if isinstance(start, (str, os.PathLike)):
        if not Path(start).is_file():
            raise argument_error("start", f"no such file: {start}")
        return start_frames(StartFrames.model_construct(file=Path(start), frame="each"), system, count, notes)
    if start is None:
        if own is None or not len(own):
            raise argument_error(
                "start", f"no positions are known for '{system.name}'; write `start=x`, x an array [N, 3] in Å"
            )
        return own
    try:
        x = as_length(start)
    except (TypeError, ValueError) as error:
        raise argument_error("start", f"expected positions in Å or a trajectory file: {error}") from None
    x = x[None] if x.ndim == 2 else x
    if x.ndim != 3 or x.shape[1:] != (system.n_beads, 3) or not len(x):
        n = system.n_beads
        raise argument_error("start", f"'{system.name}' needs [{n}, 3] or [F, {n}, 3] in Å, found {list(x.shape)}")
    return x


def _sorted_biases(
    biases: Sequence[Mapping[str, Any] | Potential],
) -> tuple[list[Mapping[str, Any]], list[Potential]]:
    """Those described as in a system.yaml, and those that are potentials."""
    if isinstance(biases, (Mapping, Potential)):
        raise argument_error("biases", "expected a list, found a single bias; write `biases=[...]`")
    for bias in biases:
        if not isinstance(bias, (Mapping, Potential)):
            raise argument_error("biases", f"expected dicts or potentials, found {type(bias).__name__} in the list")
    described = [bias for bias in biases if isinstance(bias, Mapping)]
    return described, [bias for bias in biases if isinstance(bias, Potential)]
