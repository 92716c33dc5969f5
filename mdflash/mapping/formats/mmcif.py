"""mmCIF files: the atom table with the author's chain ids and residue numbers, as papers and PDB files have them.

gemmi reads the CIF syntax (M. Wojdyr, J. Open Source Softw. 7, 4200 (2022)).
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from mdflash.core.types import FloatArray
from mdflash.errors import InputError
from mdflash.mapping.atoms import Atom, Content, Model, box_vectors, from_nanometers

_NONE = ("", ".", "?")


def read(data: bytes, file: Path) -> Content:
    """What the first data block with atoms holds.

    Raises:
        InputError: no CIF, no atoms, or an atom without a place.
    """
    from gemmi import cif

    try:
        document = cif.read_string(data.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "replace"))
    except (ValueError, RuntimeError) as error:
        reason = str(error).strip().split("\n")[0]
        raise InputError(f"cannot be read as mmCIF: {reason}", file=file) from None
    blocks = [b for b in document if len(_column(b, "id")) or len(_column(b, "Cartn_x"))]
    if not blocks:
        raise InputError("cannot be read as mmCIF: it has no _atom_site table", file=file)
    if len(blocks) > 1:
        names = ", ".join(f"data_{b.name}" for b in blocks)
        raise InputError(
            f"has {len(blocks)} structures ({names}); write each data block into a file of its own", file=file
        )
    _check_columns(blocks[0], file)
    return Content(_models(blocks[0], file), _parents(blocks[0]))


def _column(block: Any, key: str) -> list[str]:
    """A column of the atom table; empty where there is none."""
    from gemmi import cif

    return [cif.as_string(value) for value in block.find_values(f"_atom_site.{key}")]


def _check_columns(block: Any, file: Path) -> None:
    needed: list[tuple[str, ...]] = [(f"Cartn_{axis}",) for axis in "xyz"]
    needed += [(f"auth_{what}", f"label_{what}") for what in ("atom_id", "comp_id", "seq_id")]
    for keys in needed:
        if not any(len(_column(block, key)) for key in keys):
            raise InputError(
                f"cannot be read as mmCIF: its _atom_site table has no column {' or '.join(keys)}", file=file
            )


def _models(block: Any, file: Path) -> tuple[Model, ...]:
    n = len(_column(block, "Cartn_x"))

    def column(*keys: str, other: str = "") -> list[str]:
        """The first of these columns that says something, atom by atom."""
        given = [values for key in keys if len(values := _column(block, key)) == n]
        return [next((v for v in row if v not in _NONE), other) for row in zip(*given, strict=True)] or [other] * n

    places = list(zip(*(column(f"Cartn_{axis}") for axis in "xyz"), strict=True))
    table = list(
        zip(
            column("auth_atom_id", "label_atom_id"),
            column("auth_comp_id", "label_comp_id"),
            column("auth_seq_id", "label_seq_id", other="0"),
            column("pdbx_PDB_ins_code"),
            column("auth_asym_id", "label_asym_id"),
            column("label_asym_id"),
            column("label_alt_id"),
            column("occupancy", other="1"),
            column("label_seq_id"),
            column("pdbx_PDB_model_num", other="1"),
            column("group_PDB"),
            column("B_iso_or_equiv"),
            strict=True,
        )
    )
    atoms: dict[str, list[Atom]] = {}
    xyz: dict[str, list[tuple[float, float, float]]] = {}
    for k, (row, place) in enumerate(zip(table, places, strict=True), start=1):
        name, residue, number, code, chain, label, alternate, occupancy, sequence, model, record, b = row
        try:
            x, y, z = (float(word.split("(")[0]) for word in place)
            atom = Atom(
                name.upper(), residue.upper(), int(number), code, chain, label, 0, alternate,
                _number(occupancy, 1.0), int(sequence) if sequence.lstrip("-").isdigit() else None,
                record.upper() == "HETATM", _number(b, math.nan),
            )  # fmt: skip
        except ValueError:
            raise InputError(
                f"row {k} of _atom_site ({name} of {residue} {number}) must hold three coordinates and a whole residue "
                f"number, found {' '.join(place)} and '{number}'",
                file=file,
            ) from None
        atoms.setdefault(model, []).append(atom)
        xyz.setdefault(model, []).append((x, y, z))
    box = _box(block)
    return tuple(
        Model(int(_number(model, k)), tuple(atoms[model]), from_nanometers(np.array(xyz[model]) / 10.0), box)
        for k, model in enumerate(atoms, start=1)
    )


def _parents(block: Any) -> dict[str, str]:
    from gemmi import cif

    found: dict[str, str] = {}
    for key in ("auth_comp_id", "label_comp_id"):
        table = block.find("_pdbx_struct_mod_residue.", [key, "parent_comp_id"])
        found |= {cif.as_string(row[0]).upper(): cif.as_string(row[1]).upper() for row in table}
    return {residue: parent for residue, parent in found.items() if parent not in _NONE}


def _box(block: Any) -> FloatArray | None:
    from gemmi import cif

    keys = ("length_a", "length_b", "length_c", "angle_alpha", "angle_beta", "angle_gamma")
    values = [block.find_value(f"_cell.{key}") for key in keys]
    if None in values:
        return None
    a, b, c, alpha, beta, gamma = (cif.as_number(value) for value in values)
    return box_vectors((a, b, c), (alpha, beta, gamma))


def _number(text: str, other: float) -> float:
    try:
        return float(text.split("(")[0])
    except ValueError:
        return other
