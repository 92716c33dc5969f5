"""A force field: bead types, prior terms as readable tables, networks; a folder without pickle.

    FOLDER/forcefield.yaml       everything the user may want to read
    FOLDER/weights.safetensors   network weights (where there is a network)
    FOLDER/systems/NAME.safetensors   molecules that came with it (optional)

`read` and `write` are exact inverses, to the last bit of every parameter.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from mdflash.core.files import atomic_write, storage_errors
from mdflash.core.regular import own_folder
from mdflash.core.system import load_system, save_system
from mdflash.core.words import is_word, what_a_word_is
from mdflash.core.yamlfile import load_yaml
from mdflash.errors import ForceFieldError, InputError
from mdflash.forcefields.model import SCHEMA, ForceField, describe, dump, repeated_row
from mdflash.forcefields.reader import Reader
from mdflash.forcefields.shipped import find_shipped, list_shipped


def save_forcefield(folder: Path | str, ff: ForceField) -> None:
    """Write a force field folder (created if needed; files of the same names are replaced, each at once).

    Raises:
        ForceFieldError: a name is no plain word, or a term has two rows for the same beads or types.
        StorageError: it cannot be written.
    """
    from safetensors.numpy import save

    folder = Path(folder)
    for term in ff.terms:
        if (found := repeated_row(term.keyed_by, term.keys)) is not None:
            raise ForceFieldError(f"term '{term.name}' has the same {term.keyed_by} in rows {found[1]} and {found[0]}")
    for what, name in (
        ("force field", ff.name),
        *(("term", t.name) for t in ff.terms),
        *(("network", n.name) for n in ff.networks),
    ):
        if not is_word(name):
            raise ForceFieldError(f"the name of the {what} {what_a_word_is(name)}", file=folder)
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        if ff.systems:
            own_folder(folder / "systems")
    # (np.ascontiguousarray would make a lone number an array of one)
    weights = {f"{n.name}/{key}": np.asarray(array, order="C") for n in ff.networks for key, array in n.weights.items()}
    if weights:
        atomic_write(folder / "weights.safetensors", save(weights))
    for system, start in ff.systems:
        save_system(folder / "systems" / f"{system.name}.safetensors", system, start)
    atomic_write(folder / "forcefield.yaml", dump(describe(ff)))
    if not weights:
        with storage_errors(folder):
            (folder / "weights.safetensors").unlink(missing_ok=True)  # of networks that are no longer described


def load_forcefield(folder: Path | str) -> ForceField:
    """Read a force field folder.

    Args:
        folder: its path, or the name of a shipped one ("go-chignolin").

    Raises:
        ForceFieldError: a file, key, column, type or weight is missing or does not fit; the message names it.
        InputError: neither a path nor a name.
    """
    if not isinstance(folder, (str, os.PathLike)):
        raise InputError(
            f"a force field is given by its folder or name, such as 'go-chignolin'; found {type(folder).__name__}"
        )
    path = Path(folder)
    if not os.path.isfile(path / "forcefield.yaml"):  # False for a name too long, which Path.is_file raises
        shipped = find_shipped("forcefields", str(folder))
        if shipped is None:
            raise ForceFieldError(
                f"is not a force field folder: it has no forcefield.yaml; {list_shipped('forcefields', str(folder))}",
                file=folder,
            )
        path = shipped
    file = path / "forcefield.yaml"
    document = load_yaml(file)
    data = document.data
    if not isinstance(data, dict) or data.get("mdflash_forcefield") != SCHEMA:
        raise ForceFieldError(f"expected 'mdflash_forcefield: {SCHEMA}' as the first line", file=file, line=1)
    reader = Reader(document)
    reader.head()
    types = reader.bead_types()
    provenance, dynamics = reader.section("provenance"), reader.section("dynamics")
    terms = tuple(reader.term(i, types) for i in range(len(reader.get(("terms",), list))))
    termini = reader.termini()
    reader.unread(terms)
    names = [t.name for t in terms]
    for i, term in enumerate(terms):
        if term.name in names[:i]:
            reader.fail(f"two terms are called '{term.name}'", ("terms", i, "name"))
        for other in term.exclude_terms:
            if other not in names:
                reader.fail(f"excludes '{other}', but the terms are {', '.join(names)}", ("terms", i, "exclude_terms"))
    return ForceField(
        name=reader.word(("name",)),
        bead_types=types,
        mapping=reader.get(("mapping",), str),
        terms=terms,
        networks=reader.networks(path / "weights.safetensors"),
        systems=tuple(load_system(p) for p in sorted((path / "systems").glob("*.safetensors"))),
        provenance=provenance,
        environment=reader.environment(terms, types),
        termini=termini,
        dynamics=dynamics,
        folder=path,
    )


def suggested_dynamics(folder: Path) -> dict[str, Any]:
    """What the force field in `folder` wants `mdflash init` to write into `dynamics:`; the rest of it is not read."""
    data = load_yaml(folder / "forcefield.yaml").data
    found = data.get("dynamics") if isinstance(data, dict) else None
    return dict(found) if isinstance(found, dict) else {}
