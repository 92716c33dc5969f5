"""`system:` and `box:`: where each molecule is from, and what names it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from mdflash.config.molecules import Source
from mdflash.config.rules.problem import Problem
from mdflash.config.schema import RunConfig
from mdflash.config.section import MAX_REPLICAS


def system_rules(config: RunConfig) -> Iterator[Problem]:
    if config.n_replicas > MAX_REPLICAS:
        yield Problem(
            ("replicas", "count"),
            f"{config.n_replicas} replicas in all; one run holds at most {MAX_REPLICAS}",
        )
    for entry in config.system:
        own = bool(entry.molecules) and all(molecule.forcefield is not None for molecule in entry.molecules)
        if entry.forcefield is None and config.model.forcefield is None and not own:
            yield Problem(
                ("model", "forcefield"),
                f"is missing, and system '{entry.name}' names no force field of its own; "
                "add for example `forcefield: my-forcefield` under `model:`",
            )
            break
    for i, entry in enumerate(config.system):
        if entry.molecules:
            yield from _many(config, i)
            continue
        yield from _source(entry, ("system", i))
        for key in ("geometry", "thickness", "compress"):
            if getattr(entry, key) != type(entry).model_fields[key].default:
                yield Problem(("system", i, key), "places the copies of `molecules:`, and there are none; remove it")
    yield from _one_box(config)
    names = Counter(entry.name for entry in config.system)
    for i, entry in enumerate(config.system):
        if names[entry.name] > 1:
            yield Problem(
                ("system", i, "name"),
                f"'{entry.name}' is the name of {names[entry.name]} systems, and names their files; "
                f"give each its own, for example `name: {entry.name}-{i + 1}`",
            )
            break


def _source(entry: Source, path: tuple[str | int, ...]) -> Iterator[Problem]:
    """A molecule is from one place."""
    if entry.structure is None and entry.sequence is None:
        yield Problem(
            (*path, "structure"), "is missing; add for example `structure: protein.pdb`, or `sequence: MSRAALPSLENL`"
        )
    elif entry.structure is not None and entry.sequence is not None:
        yield Problem((*path, "sequence"), "stands beside a structure, which has its own; remove one of them")


def _many(config: RunConfig, i: int) -> Iterator[Problem]:
    """A box of many molecules."""
    entry = config.system[i]
    own = {key: getattr(entry, key) for key in Source.model_fields if key not in ("name", "forcefield", "mapping")}
    for key, value in own.items():
        if value != Source.model_fields[key].default:
            yield Problem(("system", i, key), "stands beside `molecules:`; write it for one of them, below its `-`")
    for j, molecule in enumerate(entry.molecules):
        yield from _source(molecule, ("system", i, "molecules", j))
        if molecule.between_copies != "none" and molecule.count == 1:
            yield Problem(
                ("system", i, "molecules", j, "between_copies"),
                "is for copies, and there is one of this molecule; write `count: 2` or more, or remove it",
            )
    names = Counter(molecule.name for molecule in entry.molecules)
    for j, molecule in enumerate(entry.molecules):
        if names[molecule.name] > 1:
            yield Problem(
                ("system", i, "molecules", j, "name"),
                f"'{molecule.name}' is the name of {names[molecule.name]} molecules; give each its own, for example "
                f"`name: {molecule.name}-{j + 1}` (copies of one need no name: `count: 2`)",
            )
            break
    if entry.compress is not None and len(config.system) > 1:
        yield Problem(
            ("system", i, "compress"),
            f"shrinks a box while molecules move in it, and this run has {len(config.system)} systems in one box; make "
            "a run of each",
        )
    if entry.compress is not None and entry.start is not None:
        yield Problem(("system", i, "compress"), "is for molecules that are placed, and `start` says where they are")
    box = entry.box or config.box
    if box is None:
        yield Problem(
            ("system", i, "box"), "is missing; many molecules need a periodic box: `box: [15 nm, 15 nm, 150 nm]`"
        )
    elif entry.thickness is not None and entry.geometry != "slab":
        yield Problem(("system", i, "thickness"), "is that of a slab; write `geometry: slab` too, or remove it")
    elif entry.thickness is not None and entry.thickness > max(box):
        yield Problem(
            ("system", i, "thickness"),
            f"is {entry.thickness:g} angstrom, and the longest edge of the box is {max(box):g} angstrom; write less",
        )


def _one_box(config: RunConfig) -> Iterator[Problem]:
    """A run has one box, wherever it is written."""
    boxes = {box for box in (config.box, *(entry.box for entry in config.system)) if box is not None}
    for i, entry in enumerate(config.system):
        if entry.box is not None and len(boxes) > 1:
            yield Problem(
                ("system", i, "box"),
                "is not the box of the others, and a run has one for all; write it once, as `box:` of the run",
            )
            return
