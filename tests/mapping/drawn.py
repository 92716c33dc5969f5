"""Random proteins, and writers that put them into files as the many programs do."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from mdflash.mapping.formats.pdb import show_residue_number
from mdflash.mapping.peptide import _backbone
from mdflash.mapping.residues import RESIDUE_MASS

NAMES = sorted(RESIDUE_MASS)


@dataclass(frozen=True)
class Line:
    """One atom as a file has it."""

    name: str
    residue: str
    number: int
    xyz: tuple[float, float, float]
    chain: str = "A"
    code: str = ""
    alternate: str = ""
    occupancy: float = 1.0
    segment: str = ""
    model: int = 1


def draw(rng: np.random.Generator, n: int, **columns: object) -> list[Line]:
    """A chain of n random residues, numbered from a random place; `columns` as in `Line`."""
    names = [str(name) for name in rng.choice(NAMES, n)]
    angles = [(-70 + 8 * rng.normal(), 150 + 8 * rng.normal()) for _ in range(n)]
    first = int(columns.pop("first", rng.integers(1, 300)))  # type: ignore[call-overload]
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    turn *= np.sign(np.linalg.det(turn))
    atoms = _backbone(names, angles)
    center = np.mean([own["CA"] for own in atoms], axis=0)
    return [
        Line(atom, name, first + k, tuple(np.round((x - center) @ turn, 3)), **columns)  # type: ignore[arg-type]
        for k, (name, own) in enumerate(zip(names, atoms, strict=True))
        for atom, x in own.items()
    ]


def moved(lines: Iterable[Line], by: Sequence[float], **columns: object) -> list[Line]:
    """The same elsewhere."""
    return [
        replace(a, xyz=tuple(np.round(np.add(a.xyz, by), 3)), **columns)  # type: ignore[arg-type]
        for a in lines
    ]


def renumbered(lines: Iterable[Line], number: Callable[[int], tuple[int, str]]) -> list[Line]:
    """The residues under other numbers and insertion codes."""
    out = []
    for a in lines:
        new, code = number(a.number)
        out.append(replace(a, number=new, code=code))
    return out


def residues(lines: Iterable[Line]) -> list[tuple[str, int, str, str]]:
    """Chain, number, code and name of each residue, by its CA."""
    return list(dict.fromkeys((a.chain, a.number, a.code, a.residue) for a in lines if a.name == "CA"))


def pdb_line(a: Line, serial: str = "1") -> str:
    name = f" {a.name:<3}" if len(a.name) < 4 else a.name
    x, y, z = a.xyz
    return (
        f"ATOM  {serial:>5} {name}{a.alternate:1}{a.residue:>3} {a.chain:1}{show_residue_number(a.number)}{a.code:1}   "
        f"{x:8.3f}{y:8.3f}{z:8.3f}{a.occupancy:6.2f}  0.00      {a.segment:<4}{a.name[:1]:>2}"
    )


def pdb(lines: Iterable[Line], ter: Iterable[int] = (), head: str = "") -> str:
    """PDB text; a TER stands behind the lines `ter`."""
    after = set(ter)
    text = [head] if head else []
    for k, a in enumerate(lines):
        text.append(pdb_line(a, str(k + 1)))
        if k in after:
            text.append("TER")
    return "\n".join([*text, "END", ""])


def cif(lines: Iterable[Line]) -> str:
    """mmCIF text: label ids that differ from the author's, as in files of the PDB."""
    keys = (
        "group_PDB id type_symbol label_atom_id label_alt_id label_comp_id label_asym_id label_entity_id label_seq_id "
        "pdbx_PDB_ins_code Cartn_x Cartn_y Cartn_z occupancy auth_seq_id auth_comp_id auth_asym_id auth_atom_id "
        "pdbx_PDB_model_num"
    ).split()
    rows, order = [], {}
    for k, a in enumerate(lines, start=1):
        sequence = order.setdefault((a.chain, a.segment, a.number, a.code), len(order) + 1)
        label = f"X{a.chain}{a.segment}" if a.chain else "."
        rows.append(
            f"ATOM {k} {a.name[:1]} {a.name} {a.alternate or '.'} {a.residue} {label} 1 {sequence} {a.code or '?'} "
            f"{a.xyz[0]} {a.xyz[1]} {a.xyz[2]} {a.occupancy} {a.number} {a.residue} {a.chain or '.'} {a.name} {a.model}"
        )
    return "\n".join(["data_drawn", "loop_", *(f"_atom_site.{key}" for key in keys), *rows, "#", ""])
